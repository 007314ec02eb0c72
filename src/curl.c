/*
** curl.c - see curl.h.
*/
#include "curl.h"

#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define IDLE    32         /* transfers kept for later */
#define PRESIZE (16 << 20) /* a length that is believed before it came */
#define KEEP    (64 << 10) /* bytes of a body's room that are kept */
#define SOCKETS 5          /* the most that libcurl has for one transfer */

struct pool {
  CURLM *multi;
  CURLSH *share; /* TLS sessions: libcurl has them a handle otherwise */
  transfer *running;
  size_t runs; /* how many they are */
  struct pollfd *watched; /* the sockets that libcurl waits for */
  size_t watches, room;
  int broken;  /* libcurl had no memory for what a transfer needs */
  int64_t due; /* when it wants to be called without any; NEVER: not at all */
  transfer *idle; /* a list by next: done with, to be used again */
  size_t idles;
  size_t holders;
  unsigned forks; /* those before it was made */
  int news;       /* since the current pool_poll began */
};

/* How many forks lie between the first process and this one. A call asks for
** it several times, and asking the system who we are costs as much as sending
** a few bytes. */
static unsigned forks;

static void count_fork(void) {
  forks++;
}

static void watch_forks(void) {
  pthread_atfork(NULL, NULL, count_fork);
}

/* what libcurl waits for */

/* Each transfer is driven by its own sockets and by libcurl's timer:
** curl_multi_perform would look at all of them, with a call of the system for
** each, whenever something came for one. */

#define NEVER INT64_MAX

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int on_timer(CURLM *multi, long ms, void *user) {
  (void)multi;
  ((pool *)user)->due = ms < 0 ? NEVER : now() + ms;
  return 0;
}

/* Room was made when the transfer began. Where there is none, the socket is no
** transfer's, but one that a newer libcurl closes at leisure. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *user,
                     void *mine) {
  pool *p = user;
  struct pollfd *w = p->watched, *end = w + p->watches;
  (void)easy, (void)mine;
  while (w < end && w->fd != fd)
    w++;
  if (what == CURL_POLL_REMOVE) {
    if (w < end) *w = p->watched[--p->watches];
    return 0;
  }
  if (w == end) {
    if (p->watches == p->room) return 0;
    p->watches++;
    w->fd = fd;
    w->revents = 0;
  }
  w->events = (short)((what & CURL_POLL_IN ? POLLIN : 0) |
                      (what & CURL_POLL_OUT ? POLLOUT : 0));
  return 0;
}

/* for the sockets of one transfer more */
static int room_to_watch(pool *p) {
  size_t need = SOCKETS * (p->runs + 1);
  struct pollfd *w;
  if (need <= p->room) return 1;
  w = realloc(p->watched, 2 * need * sizeof *w);
  if (w == NULL) return 0;
  p->watched = w;
  p->room = 2 * need;
  return 1;
}

/* the pool */

static CURLM *new_multi(pool *p) {
  CURLM *multi = curl_multi_init();
  if (multi == NULL) return NULL;
  curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, 64L);
  curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
  curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, p);
  curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
  curl_multi_setopt(multi, CURLMOPT_TIMERDATA, p);
#if LIBCURL_VERSION_NUM >= 0x081400 /* nor an end, see CURLOPT_QUICK_EXIT */
  curl_multi_setopt(multi, CURLMOPT_QUICK_EXIT, 1L);
#endif
  return multi;
}

pool *pool_new(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pool *p = calloc(1, sizeof(pool));
  if (p == NULL) return NULL;
  pthread_once(&once, watch_forks);
  p->holders = 1;
  p->forks = forks;
  p->due = NEVER;
  p->multi = new_multi(p);
  p->share = curl_share_init();
  if (p->multi == NULL || p->share == NULL ||
      curl_share_setopt(p->share, CURLSHOPT_SHARE,
                        CURL_LOCK_DATA_SSL_SESSION) != CURLSHE_OK) {
    pool_drop(p);
    return NULL;
  }
  return p;
}

int pool_foreign(const pool *p) {
  return p->forks != forks;
}

/* what is not libcurl's: that of a parent stays the parent's */
static void forget(transfer *t) {
  free(t->ca_file);
  free(t->proxy);
  free(t->bytes);
  curl_head_free(&t->head);
  free(t);
}

static void destroy(transfer *t) {
  curl_easy_cleanup(t->easy);
  curl_slist_free_all(t->headers);
  forget(t);
}

void pool_drop(pool *p) {
  transfer *t;
  if (--p->holders > 0 || pool_foreign(p)) return;
  while ((t = p->idle) != NULL) {
    p->idle = t->next;
    destroy(t);
  }
  curl_multi_cleanup(p->multi);
  curl_share_cleanup(p->share);
  free(p->watched);
  free(p);
}

static void enlist(transfer *t) {
  pool *p = t->pool;
  t->next = p->running;
  t->prev = NULL;
  if (p->running != NULL) p->running->prev = t;
  p->running = t;
  p->runs++;
  t->running = 1;
}

static void delist(transfer *t) {
  if (t->prev != NULL)
    t->prev->next = t->next;
  else
    t->pool->running = t->next;
  if (t->next != NULL) t->next->prev = t->prev;
  t->pool->runs--;
  t->running = 0;
}

/* how a transfer ended */

#define TOO_LARGE 100 /* CURLE_TOO_LARGE, which libcurl has since 8.6 */

/* libcurl's own words name hosts, ports, certificates and times, but for
** other codes may quote what was given or what came: those are left out */
static int quotable(CURLcode code) {
  switch (code) {
  case CURLE_COULDNT_RESOLVE_HOST:
  case CURLE_COULDNT_CONNECT:
  case CURLE_OPERATION_TIMEDOUT:
  case CURLE_SSL_CONNECT_ERROR:
  case CURLE_PEER_FAILED_VERIFICATION:
  case CURLE_GOT_NOTHING:
  case CURLE_SEND_ERROR:
  case CURLE_RECV_ERROR:
  case CURLE_PARTIAL_FILE:
  case CURLE_HTTP2:
  case CURLE_HTTP2_STREAM:
    return 1;
  default:
    return 0;
  }
}

static const char *kind_of(CURLcode code) {
  switch (code) {
  case CURLE_OPERATION_TIMEDOUT:
    return "timeout";
  case CURLE_SSL_CONNECT_ERROR:
  case CURLE_PEER_FAILED_VERIFICATION:
  case CURLE_SSL_CACERT_BADFILE:
  case CURLE_SSL_CERTPROBLEM:
  case CURLE_SSL_CIPHER:
  case CURLE_SSL_CRL_BADFILE:
  case CURLE_SSL_ENGINE_INITFAILED:
  case CURLE_SSL_ENGINE_NOTFOUND:
  case CURLE_SSL_ENGINE_SETFAILED:
  case CURLE_SSL_INVALIDCERTSTATUS:
  case CURLE_SSL_ISSUER_ERROR:
  case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
  case CURLE_USE_SSL_FAILED:
    return "tls";
  case CURLE_FILESIZE_EXCEEDED:
    return "too_large";
  case CURLE_BAD_CONTENT_ENCODING:
  case CURLE_WEIRD_SERVER_REPLY:
  case CURLE_UNSUPPORTED_PROTOCOL: /* an answer that is no HTTP/1 or 2 */
    return "decode";
  default:
    return "network";
  }
}

static void say(transfer *t, const char *text) {
  size_t n = strlen(text), i;
  if (n >= sizeof(t->message)) n = sizeof(t->message) - 1;
  for (i = 0; i < n; i++)
    t->message[i] = text[i] < ' ' || text[i] > '~' ? '?' : text[i];
  t->message[n] = '\0';
}

static void fail(transfer *t, const char *kind, const char *message) {
  t->kind = kind;
  say(t, message);
}

static void judge(transfer *t, CURLcode code) {
  if (t->fault != NULL)
    fail(t, t->head.malformed ? "decode" : "too_large", t->fault);
  else if (code == CURLE_ABORTED_BY_CALLBACK)
    fail(t, "network", "the connection died before an answer came");
  else if (quotable(code) && t->said[0] != '\0')
    fail(t, kind_of(code), t->said);
  else if (code == CURLE_UNSUPPORTED_PROTOCOL)
    fail(t, "decode", "the answer is not HTTP");
  else if (code == CURLE_OUT_OF_MEMORY || (int)code == TOO_LARGE)
    fail(t, "too_large", "a header line is too long, or memory ran out");
  else if (code != CURLE_OK)
    fail(t, kind_of(code), curl_easy_strerror(code));
  else if (!t->headed) /* libcurl lets half a head pass for a whole one */
    fail(t, "network", "the connection was closed amid the headers");
}

static void finish(transfer *t, CURLcode code) {
  curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &t->status);
  curl_multi_remove_handle(t->pool->multi, t->easy);
  delist(t);
  judge(t, code);
  t->done = 1;
  t->pool->news = 1;
}

/* callbacks */

static size_t refuse(transfer *t, const char *why) {
  t->fault = why;
  return (size_t)-1; /* any number but the given one stops the transfer */
}

/* Called before each sending, when the connection stands. Once is the rule:
** a second time means that libcurl is about to repeat the request. */
static int on_send(void *user, char *ip, char *from, int port, int local) {
  transfer *t = user;
  (void)ip, (void)from, (void)port, (void)local;
  t->moved = 1;
  return t->sends++ == 0 ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

static size_t on_head(char *line, size_t one, size_t n, void *user) {
  transfer *t = user;
  int end;
  const char *wrong = curl_head_add(&t->head, line, n, &end);
  (void)one;
  t->moved = 1;
  if (wrong != NULL) return refuse(t, wrong);
  if (!end) return n;
  curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &t->status);
  if (t->status >= 200) t->headed = t->head.whole = 1;
  if (t->stream && t->headed) t->pool->news = 1;
  return n;
}

/* how much of the body is announced, as far as that is to be believed */
static size_t announced(const transfer *t) {
  curl_off_t told = -1;
  curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &told);
  if (t->stream || told < 0 || told > PRESIZE) return 0;
  return (size_t)told < t->limit ? (size_t)told : t->limit;
}

static int reserve(transfer *t, size_t n) {
  size_t room = t->room > 0 ? t->room : 4096;
  char *bytes;
  if (t->room - t->used >= n) return 1;
  if (t->used == 0 && room < announced(t)) room = announced(t);
  while (room - t->used < n)
    room *= 2; /* cannot overflow: what it holds is in memory already */
  if ((bytes = realloc(t->bytes, room)) == NULL) return 0;
  t->bytes = bytes;
  t->room = room;
  return 1;
}

static size_t on_body(char *data, size_t one, size_t n, void *user) {
  transfer *t = user;
  size_t fit = n < t->limit - t->total ? n : t->limit - t->total;
  size_t most = t->used < t->total ? CURL_WINDOW : CURL_FEW;
  (void)one, t->moved = 1;
  if (t->stream && t->used >= most) {
    t->paused = 1;
    return CURL_WRITEFUNC_PAUSE;
  }
  if (!reserve(t, fit)) return refuse(t, "there is no memory for the body");
  memcpy(t->bytes + t->used, data, fit); /* a stream's reader gets these */
  t->used += fit;
  t->total += fit;
  if (t->stream) t->pool->news = 1;
  return fit == n ? n : refuse(t, "the body is over the limit");
}

/* options */

static const struct {
  CURLoption option;
  long value;
} rules[] = {
    {CURLOPT_NOSIGNAL, 1},
    {CURLOPT_QUICK_EXIT, 1}, /* a slow resolver must not hold up a time-out */
    {CURLOPT_FOLLOWLOCATION, 0},
    {CURLOPT_HTTP09_ALLOWED, 0},
    {CURLOPT_NETRC, CURL_NETRC_IGNORED},
    {CURLOPT_SSL_VERIFYPEER, 1},
    {CURLOPT_SSL_VERIFYHOST, 2},
    {CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2},
    {CURLOPT_PROXY_SSL_VERIFYPEER, 1},
    {CURLOPT_PROXY_SSL_VERIFYHOST, 2},
    {CURLOPT_PROXY_SSLVERSION, CURL_SSLVERSION_TLSv1_2},
    {CURLOPT_DISALLOW_USERNAME_IN_URL, 1},
};

static CURLcode set_rules(CURL *easy) {
  CURLcode code = CURLE_OK;
  size_t i;
  for (i = 0; i < sizeof(rules) / sizeof(rules[0]) && code == CURLE_OK; i++)
    code = curl_easy_setopt(easy, rules[i].option, rules[i].value);
  if (code == CURLE_OK)
    code = curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  if (code == CURLE_OK) /* what this libcurl can undo, it may be sent */
    code = curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
  return code;
}

static void set_callbacks(CURL *easy, transfer *t) {
  curl_easy_setopt(easy, CURLOPT_PRIVATE, t);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->said);
  curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_send);
  curl_easy_setopt(easy, CURLOPT_PREREQDATA, t);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_head);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, t);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
}

/* What to open as a file of certificates: of a pipe or a device, which would
** be waited for past all limits of time, a path where there is none. */
static const char *certificates(const char *path, char other[PATH_MAX]) {
  struct stat s;
  if (stat(path, &s) != 0 || S_ISREG(s.st_mode)) return path;
  snprintf(other, PATH_MAX, "%s/", path);
  return other;
}

/* An empty proxy and no list of exceptions: what stands in the environment
** decides nothing about where a key goes. */
static CURLcode set_way(CURL *easy, const order *o) {
  const char *proxy = o->proxy != NULL ? o->proxy : "";
  CURLcode code = curl_easy_setopt(easy, CURLOPT_PROXY, proxy);
  char other[PATH_MAX];
  const char *ca_file;
  if (code == CURLE_OK) code = curl_easy_setopt(easy, CURLOPT_NOPROXY, "");
  if (code != CURLE_OK || o->ca_file == NULL) return code;
  /* these authorities and no others, so not the system's folder either */
  curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
  curl_easy_setopt(easy, CURLOPT_PROXY_CAPATH, NULL);
  ca_file = certificates(o->ca_file, other);
  code = curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file);
  if (code == CURLE_OK)
    code = curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO, ca_file);
  return code;
}

static CURLcode set_body(CURL *easy, const char *body, size_t size) {
  CURLcode code =
      curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)size);
  if (code == CURLE_OK)
    code = curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, body);
  return code;
}

static CURLcode set_method(CURL *easy, const order *o) {
  const char *m = o->method;
  CURLcode code;
  if (strcmp(m, "HEAD") == 0)
    return curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  if (strcmp(m, "GET") == 0)
    return curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
  if (o->body != NULL)
    code = set_body(easy, o->body, o->size);
  else if (strcmp(m, "DELETE") == 0)
    code = curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
  else
    code = set_body(easy, "", 0);
  if (code == CURLE_OK && strcmp(m, "POST") != 0)
    code = curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, m);
  return code;
}

/* A request that must not be repeated has a connection to itself, and one
** without HTTP/2, whose streams can be refused and tried again. Nor has it
** what is read slowly: libcurl would keep its megabytes, to read others'. */
static void set_connection(CURL *easy, const order *o) {
  int one = o->fresh || o->stream;
  long version = one ? CURL_HTTP_VERSION_1_1 : CURL_HTTP_VERSION_2TLS;
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, version);
  curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, (long)o->fresh);
  curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, (long)o->fresh);
}

/* transfers */

/* A transfer is used again with its handle and its room. What comes back in
** either is written anew; said is libcurl's to empty. */
static transfer *take_idle(pool *p) {
  transfer *t = p->idle;
  if (t == NULL) return NULL;
  p->idle = t->next;
  p->idles--;
  curl_head_clear(&t->head);
  t->at = t->used = t->total = 0;
  t->paused = t->moved = t->headed = t->done = 0;
  t->quiet = 0;
  t->sends = 0;
  t->kind = t->fault = NULL;
  t->said[0] = '\0';
  return t;
}

transfer *transfer_new(pool *p) {
  transfer *t = take_idle(p);
  if (t == NULL) {
    if ((t = calloc(1, sizeof(transfer))) == NULL) return NULL;
    if ((t->easy = curl_easy_init()) == NULL) {
      free(t);
      return NULL;
    }
  }
  t->pool = p;
  t->next_header = &t->headers;
  p->holders++;
  return t;
}

/* Headers are kept with their transfer: the next request's are mostly the
** same. Those before next_header are this request's. */

int transfer_has(const transfer *t, const char *name) {
  size_t n = strlen(name);
  const struct curl_slist *h;
  for (h = t->headers; h != *t->next_header; h = h->next)
    if (curl_strnequal(h->data, name, n) && strchr(":;", h->data[n])) return 1;
  return 0;
}

int transfer_repeats(transfer *t, const char *name, size_t n,
                     const char *value, size_t m) {
  struct curl_slist *h = *t->next_header;
  if (h == NULL || m == 0 || strncmp(h->data, name, n) != 0) return 0;
  if (h->data[n] != ':' || h->data[n + 1] != ' ') return 0;
  if (strlen(h->data + n + 2) != m) return 0;
  if (memcmp(h->data + n + 2, value, m) != 0) return 0;
  t->next_header = &h->next;
  return 1;
}

static void drop_old_headers(transfer *t) {
  curl_slist_free_all(*t->next_header);
  *t->next_header = NULL;
}

/* libcurl writes "Name;" for a header without a value; "Name:" takes one of
** its own away */
int transfer_header(transfer *t, const char *name, const char *value) {
  const char *sign = value == NULL ? ":" : *value == '\0' ? ";" : ": ";
  struct curl_slist *headers;
  size_t n = strlen(name), m = value != NULL ? strlen(value) : 0;
  drop_old_headers(t);
  if (!reserve(t, n + m + 3)) return 0;
  memcpy(t->bytes, name, n);
  strcpy(t->bytes + n, sign);
  memcpy(t->bytes + n + strlen(sign), value != NULL ? value : "", m + 1);
  headers = curl_slist_append(t->headers, t->bytes);
  if (headers == NULL) return 0;
  t->headers = headers;
  while (*t->next_header != NULL)
    t->next_header = &(*t->next_header)->next;
  return 1;
}

static int same(const char *a, const char *b) {
  return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static CURLcode keep(char **to, const char *from) {
  free(*to);
  *to = from != NULL ? strdup(from) : NULL;
  return from == NULL || *to != NULL ? CURLE_OK : CURLE_OUT_OF_MEMORY;
}

/* A handle that carried a plain request well keeps its options: the next one
** of that kind, by the same way, need not set them all again. */
static CURLcode set_kind(transfer *t, const order *o) {
  CURL *easy = t->easy;
  int plain = strcmp(o->method, "GET") == 0 && !o->fresh && !o->stream;
  CURLcode code;
  if (t->primed && plain && same(t->ca_file, o->ca_file) &&
      same(t->proxy, o->proxy))
    return CURLE_OK;
  if (t->primed) curl_easy_reset(easy);
  t->primed = plain;
  set_callbacks(easy, t);
  set_connection(easy, o);
  code = curl_easy_setopt(easy, CURLOPT_SHARE, t->pool->share);
  if (code == CURLE_OK) code = set_rules(easy);
  if (o->stream) curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, CURL_WINDOW);
  if (code == CURLE_OK) code = set_way(easy, o);
  if (code == CURLE_OK) code = set_method(easy, o);
  if (code == CURLE_OK) code = keep(&t->ca_file, o->ca_file);
  if (code == CURLE_OK) code = keep(&t->proxy, o->proxy);
  return code;
}

CURLcode transfer_start(transfer *t, const order *o) {
  CURLcode code = set_kind(t, o);
  drop_old_headers(t);
  t->limit = o->limit;
  t->stream = o->stream;
  t->stall = o->stall;
  curl_easy_setopt(t->easy, CURLOPT_TIMEOUT_MS, o->timeout);
  curl_easy_setopt(t->easy, CURLOPT_CONNECTTIMEOUT_MS, o->connect_timeout);
  curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
  if (code == CURLE_OK) code = curl_easy_setopt(t->easy, CURLOPT_URL, o->url);
  if (t->pool->multi == NULL) t->pool->multi = new_multi(t->pool);
  if (code == CURLE_OK && !room_to_watch(t->pool)) code = CURLE_OUT_OF_MEMORY;
  if (code == CURLE_OK &&
      curl_multi_add_handle(t->pool->multi, t->easy) != CURLM_OK)
    code = CURLE_OUT_OF_MEMORY;
  if (code == CURLE_OK) enlist(t);
  return code;
}

void transfer_taken(transfer *t, size_t n) {
  CURLcode code;
  t->at += n;
  if (t->at < t->used) return;
  t->at = t->used = 0;
  if (!t->paused) return;
  t->paused = 0;
  if (!t->running) return;
  /* calls on_body at once; a refusal ends the transfer in the next poll */
  code = curl_easy_pause(t->easy, CURLPAUSE_CONT);
  if (code == CURLE_OUT_OF_MEMORY || code == CURLE_ABORTED_BY_CALLBACK)
    t->pool->broken = 1;
}

static void give_idle(pool *p, transfer *t) {
  if (p->idles == IDLE) {
    destroy(t);
    return;
  }
  t->primed = t->primed && t->done && t->kind == NULL;
  if (!t->primed) curl_easy_reset(t->easy);
  if (t->head.room > KEEP) curl_head_free(&t->head);
  if (t->room > KEEP) {
    free(t->bytes);
    t->bytes = NULL;
    t->room = 0;
  }
  t->next = p->idle;
  p->idle = t;
  p->idles++;
}

void transfer_free(transfer *t) {
  pool *p = t->pool;
  if (pool_foreign(p)) {
    forget(t);
  } else {
    if (t->running) {
      curl_multi_remove_handle(p->multi, t->easy);
      delist(t);
    }
    give_idle(p, t);
  }
  pool_drop(p);
}

/* the loop */

static void collect(pool *p) {
  CURLMsg *m;
  int left;
  char *t;
  while ((m = curl_multi_info_read(p->multi, &left)) != NULL) {
    CURLcode code = m->data.result; /* m is gone with its handle */
    if (m->msg == CURLMSG_DONE &&
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t) == CURLE_OK)
      finish((transfer *)(void *)t, code);
  }
}

/* Memory ran out in libcurl. What it remembers of a socket may be half of it,
** and it divides by zero (7.88) when that socket's number comes again: it
** begins anew, and the kept connections go. */
static void give_up(pool *p) {
  while (p->running != NULL)
    finish(p->running, CURLE_OUT_OF_MEMORY);
  curl_multi_cleanup(p->multi);
  p->watches = 0;
  p->due = NEVER;
  p->broken = 0;
  p->multi = new_multi(p);
}

/* Only time in which a byte would have been taken counts as silence: neither
** while the reader holds the transfer back, nor while nobody polls. */
static void end_stalled(pool *p) {
  transfer *t, *next;
  for (t = p->running; t != NULL; t = next) {
    next = t->next;
    if (t->moved || t->paused) t->quiet = 0;
    t->moved = 0;
    if (t->stall == 0 || t->quiet < t->stall) continue;
    snprintf(t->said, sizeof(t->said), "nothing came for %ld milliseconds",
             t->stall);
    finish(t, CURLE_OPERATION_TIMEDOUT);
  }
}

/* Waits for something to do, or until a transfer has been silent too long. */
static void await(pool *p, int64_t ms) {
  int64_t began = now(), took;
  transfer *t;
  if (ms > 60000) ms = 60000;
  if (ms > p->due - began) ms = p->due > began ? p->due - began : 0;
  for (t = p->running; t != NULL; t = t->next)
    if (t->stall > 0 && !t->paused && t->stall - t->quiet < ms)
      ms = t->stall - t->quiet;
  poll(p->watched, (nfds_t)p->watches, ms > 0 ? (int)ms : 0);
  took = now() - began;
  for (t = p->running; t != NULL; t = t->next)
    t->quiet += took;
}

static int bits_of(short events) {
  int failed = (events & (POLLERR | POLLHUP | POLLNVAL)) != 0;
  return (events & POLLIN || failed ? CURL_CSELECT_IN : 0) |
         (events & POLLOUT ? CURL_CSELECT_OUT : 0) |
         (failed ? CURL_CSELECT_ERR : 0);
}

/* Lets libcurl do what is due, and what can be done with the sockets that the
** last wait found ready. It changes their list meanwhile, but adds none that
** is ready. */
static CURLMcode act(pool *p) {
  CURLMcode code = CURLM_OK;
  int running;
  size_t i;
  if (p->due != NEVER && p->due <= now()) {
    p->due = NEVER; /* unless it asks again */
    code = curl_multi_socket_action(p->multi, CURL_SOCKET_TIMEOUT, 0,
                                    &running);
  }
  for (i = 0; i < p->watches && code == CURLM_OK;) {
    struct pollfd *w = &p->watched[i];
    int bits = bits_of(w->revents);
    w->revents = 0;
    if (bits == 0) {
      i++;
      continue;
    }
    code = curl_multi_socket_action(p->multi, w->fd, bits, &running);
    i = 0; /* others may have moved */
  }
  return code;
}

int pool_poll(pool *p, long ms) {
  int64_t end = now() + ms, left = ms;
  p->news = 0;
  for (;;) {
    await(p, left);
    if (p->broken || act(p) != CURLM_OK) give_up(p);
    collect(p);
    end_stalled(p);
    left = end - now();
    if (p->news || left <= 0) return p->news;
  }
}

int transfer_wait(transfer *t, long ms) {
  int64_t end = now() + ms;
  while (!t->done && ms > 0) {
    pool_poll(t->pool, ms);
    ms = (long)(end - now());
  }
  return t->done;
}

void pool_sleep(pool *p, long ms) {
  int64_t end = now() + ms, left;
  while ((left = end - now()) > 0)
    pool_poll(p, (long)left);
}
