/*
** sender.c - posts signed deliveries at full speed until it is told to stop,
** and writes down what became of each.
**
**   sender LOG STATES SEED THREADS OPTIONS PORT...
**
** OPTIONS is "-" or letters: c: a connection for every request; e: every
** third request asks with "Expect: 100-continue" before it sends its body.
** SIGUSR1 has it pause, SIGUSR2 go on, SIGTERM end after the answers that it
** waits for. A server that is not there is asked again; a delivery without a
** good answer is sent again, or given up, or comes again much later, and so
** do some that were answered.
**
** A line of the log is one event of one attempt (times in ns, monotonic):
**
**   account id invoice began ended outcome port fresh state again
**
** outcome: a status, or what came instead of one: "refused" (no connection),
** "closed" (before any byte of an answer), "torn" (in the middle of one),
** "forsaken" (told to go on, and then no answer), "silent" (none in time).
** fresh: 1 where the connection was made for this request. state: of the
** invoice, as the API gives it since before the delivery was sent (0: it has
** none). again: 1 where it was sent before.
*/
#define _GNU_SOURCE 1
#include "delivery.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PORTS   4
#define RING    64 /* deliveries that may come again */
#define SILENCE 30 /* seconds without an answer */

static volatile sig_atomic_t stopped, paused;

static uint32_t *states; /* see delivery.h */

static const char *const REFUSED = "refused", *const CLOSED = "closed",
                         *const TORN = "torn", *const FORSAKEN = "forsaken",
                         *const SILENT = "silent";

typedef struct sender {
  pthread_t thread;
  int log, ports[PORTS], count, fds[PORTS];
  int close, expect, again;
  uint64_t dice, next;
  delivery ring[RING];
  size_t kept;
} sender;

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void nap(long ms) {
  struct timespec t = {ms / 1000, ms % 1000 * 1000000};
  nanosleep(&t, NULL);
}

static uint64_t roll(sender *s, uint64_t sides) {
  s->dice = delivery_mix(s->dice);
  return s->dice % sides;
}

/* --- one exchange -------------------------------------------------------- */

static int dial(int port) {
  struct sockaddr_in to = {.sin_family = AF_INET};
  struct timeval most = {SILENCE, 0};
  int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  to.sin_port = htons((uint16_t)port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0) return -1;
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0) return fd;
  close(fd);
  return -1;
}

/* what is lost in sending shows in the answer */
static void put(int fd, const char *p, size_t n) {
  while (n > 0) {
    ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
    if (sent <= 0) return;
    p += sent;
    n -= (size_t)sent;
  }
}

typedef struct answer {
  char bytes[8192];
  size_t n, head, body;
  int status, last; /* last: the connection ends with it */
} answer;

/* Reads one answer: NULL, or what came instead of it. */
static const char *get(int fd, answer *a) {
  memset(a, 0, sizeof *a);
  while (a->head == 0 || a->n < a->head + a->body) {
    ssize_t n;
    char *end, *field;
    if (a->n + 1 >= sizeof a->bytes) return TORN;
    n = recv(fd, a->bytes + a->n, sizeof a->bytes - 1 - a->n, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return SILENT;
    if (n <= 0) return a->n > 0 ? TORN : CLOSED;
    a->n += (size_t)n;
    a->bytes[a->n] = '\0';
    end = strstr(a->bytes, "\r\n\r\n");
    if (a->head != 0 || end == NULL) continue;
    a->head = (size_t)(end + 4 - a->bytes);
    if (sscanf(a->bytes, "HTTP/1.1 %d", &a->status) != 1) return TORN;
    field = strcasestr(a->bytes, "\r\nContent-Length:");
    if (field != NULL && field < end) a->body = strtoul(field + 17, NULL, 10);
    field = strcasestr(a->bytes, "\r\nConnection: close");
    a->last = field != NULL && field < end;
  }
  return NULL;
}

/* The same for one that was asked to go on: it sends the body in between. */
static const char *get_after(int fd, const char *body, size_t n, answer *a) {
  const char *fault = get(fd, a);
  if (fault != NULL || a->status != 100) return fault;
  put(fd, body, n);
  fault = get(fd, a);
  return fault == NULL ? NULL : FORSAKEN;
}

static uint32_t *state_of(const delivery *d, int item) {
  char invoice[64];
  delivery_invoice(d, item, invoice);
  if (d->account != ADMISSIONS || invoice[0] == '-') return NULL;
  return &states[strtoul(invoice, NULL, 10)];
}

static void note(sender *s, const delivery *d, uint64_t began, int status,
                 const char *fault, int port, int fresh,
                 const uint32_t *told) {
  char lines[DELIVERY_ITEMS * 256];
  size_t n = 0;
  uint64_t ended = now();
  for (int i = 0; i < d->items; i++) {
    char id[64], invoice[64], outcome[16];
    delivery_id(d, i, id);
    delivery_invoice(d, i, invoice);
    snprintf(outcome, sizeof outcome, "%d", status);
    n += (size_t)snprintf(lines + n, sizeof lines - n,
                          "%s %s %s %llu %llu %s %d %d %u %d\n",
                          delivery_accounts[d->account], id, invoice,
                          (unsigned long long)began, (unsigned long long)ended,
                          fault != NULL ? fault : outcome, port, fresh, told[i],
                          s->again);
  }
  if (write(s->log, lines, n) != (ssize_t)n) abort();
}

/* gives whether it was answered with success */
static int post(sender *s, const delivery *d) {
  char request[DELIVERY_ROOM + 1024];
  answer a;
  size_t whole, head;
  uint64_t began = now();
  uint32_t told[DELIVERY_ITEMS];
  const char *fault = REFUSED;
  int at = (int)roll(s, (uint64_t)s->count), fresh = s->fds[at] < 0, fd;
  int expect = s->expect && roll(s, 3) == 0;
  for (int i = 0; i < d->items; i++) {
    const uint32_t *state = state_of(d, i);
    told[i] = state != NULL ? __atomic_load_n(state, __ATOMIC_SEQ_CST) : 0;
  }
  if (fresh) s->fds[at] = dial(s->ports[at]);
  fd = s->fds[at];
  a.status = 0;
  if (fd >= 0) {
    head =
        delivery_request(d, expect, s->close, request, sizeof request, &whole);
    put(fd, request, expect ? head : whole);
    fault =
        expect ? get_after(fd, request + head, whole - head, &a) : get(fd, &a);
  }
  note(s, d, began, a.status, fault, s->ports[at], fresh, told);
  s->again = 1;
  if (fd >= 0 && (fault != NULL || a.last || s->close)) {
    close(fd);
    s->fds[at] = -1;
  }
  return fault == NULL && a.status >= 200 && a.status < 300;
}

/* --- what to send -------------------------------------------------------- */

static delivery fresh_one(sender *s) {
  delivery d = {(delivery_account)roll(s, 3), s->next, 1};
  if (d.account == ADMISSIONS)
    d.items = roll(s, 2) == 0 ? 1 : 1 + (int)roll(s, DELIVERY_ITEMS);
  s->next += (uint64_t)d.items;
  s->ring[s->kept++ % RING] = d;
  s->again = 0;
  for (int i = 0; i < d.items; i++) {
    uint32_t *state = state_of(&d, i);
    if (state != NULL) __atomic_add_fetch(state, 1, __ATOMIC_SEQ_CST);
  }
  return d;
}

static delivery choose(sender *s) {
  size_t known = s->kept < RING ? s->kept : RING;
  s->again = 1;
  if (known > 0 && roll(s, 20) == 0) return s->ring[roll(s, known)];
  return fresh_one(s);
}

static void *work(void *given) {
  sender *s = given;
  while (!stopped) {
    delivery d;
    if (paused) {
      nap(2);
      continue;
    }
    d = choose(s);
    /* a vendor that gets no success tries again, some five times */
    while (!post(s, &d) && !stopped) {
      nap(1 + (long)roll(s, 20));
      if (roll(s, 5) == 0) break;
    }
  }
  return NULL;
}

/* --- start and end ------------------------------------------------------- */

static void obey(int number) {
  if (number == SIGTERM) stopped = 1;
  if (number != SIGTERM) paused = number == SIGUSR1;
}

static uint32_t *map(const char *path) {
  size_t bytes = sizeof(uint32_t) * DELIVERY_STATES * DELIVERY_THREADS;
  int fd = open(path, O_RDWR | O_CLOEXEC);
  void *p = MAP_FAILED;
  if (fd >= 0) p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (p == MAP_FAILED) abort();
  close(fd);
  return p;
}

int main(int argc, char **argv) {
  struct sigaction act = {.sa_handler = obey, .sa_flags = SA_RESTART};
  sigset_t ours;
  int log, threads, i, j;
  sender *all;
  if (argc < 7 || argc > 6 + PORTS || atoi(argv[4]) >= DELIVERY_THREADS) {
    fprintf(stderr, "usage: sender LOG STATES SEED THREADS OPTIONS PORT...\n");
    return 2;
  }
  states = map(argv[2]);
  sigaction(SIGTERM, &act, NULL);
  sigaction(SIGUSR1, &act, NULL);
  sigaction(SIGUSR2, &act, NULL);
  /* for this thread alone: one that has a time-out on its socket would be
  ** interrupted in connect or recv, restart or not, and tell of a fault */
  sigemptyset(&ours);
  sigaddset(&ours, SIGTERM);
  sigaddset(&ours, SIGUSR1);
  sigaddset(&ours, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &ours, NULL);
  threads = atoi(argv[4]);
  log = open(argv[1], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  all = calloc((size_t)threads, sizeof *all);
  if (log < 0 || all == NULL) return 1;
  for (i = 0; i < threads; i++) {
    sender *s = &all[i];
    s->log = log;
    s->close = strchr(argv[5], 'c') != NULL;
    s->expect = strchr(argv[5], 'e') != NULL;
    s->dice = strtoull(argv[3], NULL, 10) * 1000 + (uint64_t)i;
    s->next = (uint64_t)(i + 1) * 1000000000u + 1;
    for (j = 6; j < argc; j++) {
      s->fds[s->count] = -1;
      s->ports[s->count++] = atoi(argv[j]);
    }
    if (pthread_create(&s->thread, NULL, work, s) != 0) return 1;
  }
  pthread_sigmask(SIG_UNBLOCK, &ours, NULL);
  for (i = 0; i < threads; i++)
    pthread_join(all[i].thread, NULL);
  return 0;
}
