/*
** peer.c - a server that does what the URL says, for specs of transports.
**
**   peer [--tls CERT KEY] [--tls-max 1.1] [--alpn NAME] [--address A]
**        [--before SCRIPT] [--instead SCRIPT] --log FILE
**
** Prints "PORT PID" once it listens. The path of a request is a script, its
** actions between slashes, percent-encoded:
**   send=TEXT  repeat=N,TEXT  send; each # in TEXT is the running number
**   file=PATH                 send what is in a file
**   wait=MS                   do nothing
**   note=TEXT                 a line of the log
**   eat=MS                    read, until nothing comes for so long
**   close  reset              end the connection
**   early                     anywhere: do not read the request's body first
** After the last action the next request is read. CONNECT is a tunnel to that
** port of this machine, whatever its host. --before is run as soon as a
** connection is accepted, before TLS; --instead after TLS, and no request is
** read at all.
**
** What comes is appended to the log file before anything is answered: a line
** "connection N", a line "resumed" where a TLS session was, then each request,
** head and body as they came, and what was eaten; and a line "closed" when the
** connection is.
**
** The process ends when nobody holds its output any more, or with its parent.
*/
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD 65536

typedef struct peer {
  SSL_CTX *tls;
  const char *alpn, *before, *instead;
  int log;
} peer;

typedef struct connection {
  const peer *of;
  SSL *ssl; /* NULL: plain */
  int fd, number, over;
  char head[HEAD];
  size_t have; /* bytes in head */
} connection;

static void die(const char *what) {
  perror(what);
  exit(2);
}

static ssize_t get(connection *c, void *buffer, size_t n) {
  if (c->ssl == NULL) return recv(c->fd, buffer, n, 0);
  return SSL_read(c->ssl, buffer, (int)n);
}

static void put(connection *c, const char *bytes, size_t n) {
  while (n > 0 && !c->over) {
    ssize_t done = c->ssl == NULL
                       ? send(c->fd, bytes, n, MSG_NOSIGNAL)
                       : SSL_write(c->ssl, bytes, n > 16384 ? 16384 : (int)n);
    if (done <= 0) {
      c->over = 1;
      return;
    }
    bytes += done;
    n -= (size_t)done;
  }
}

static void record(const peer *p, const char *bytes, size_t n) {
  if (write(p->log, bytes, n) != (ssize_t)n) die("log");
}

/* the actions */

static void send_file(connection *c, const char *path) {
  char buffer[65536];
  ssize_t n;
  int fd = open(path, O_RDONLY);
  if (fd < 0) die(path);
  while (!c->over && (n = read(fd, buffer, sizeof(buffer))) > 0)
    put(c, buffer, (size_t)n);
  close(fd);
}

/* many small writes would be slow: they are gathered */
static void repeat(connection *c, const char *value) {
  char out[131072];
  size_t used = 0;
  long i, n = strtol(value, NULL, 10);
  const char *text = strchr(value, ','), *p;
  if (text == NULL) return;
  for (i = 1; i <= n && !c->over; i++) {
    for (p = text + 1; *p != '\0'; p++) {
      if (*p == '#')
        used += (size_t)sprintf(out + used, "%ld", i);
      else
        out[used++] = *p;
    }
    if (used > sizeof(out) / 2 || i == n) {
      put(c, out, used);
      used = 0;
    }
  }
}

static void eat(connection *c, int ms) {
  char buffer[16384];
  struct pollfd p = {.fd = c->fd, .events = POLLIN};
  ssize_t n;
  while (poll(&p, 1, ms) > 0) {
    if ((n = get(c, buffer, sizeof(buffer))) <= 0) break;
    record(c->of, buffer, (size_t)n);
  }
}

static void note(connection *c, const char *text) {
  char line[256];
  int n = snprintf(line, sizeof(line), "%s\n", text);
  if (n > 0 && (size_t)n < sizeof(line)) record(c->of, line, (size_t)n);
}

static void end(connection *c, int reset) {
  struct linger now = {.l_onoff = 1, .l_linger = 0};
  if (reset)
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  else if (c->ssl != NULL)
    SSL_shutdown(c->ssl);
  c->over = 1;
}

static size_t decode(const char *from, char *to) {
  size_t n = 0;
  for (; *from != '\0'; from++) {
    char hex[3] = {0};
    if (*from == '%' && from[1] != '\0' && from[2] != '\0') {
      memcpy(hex, from + 1, 2);
      to[n++] = (char)strtol(hex, NULL, 16);
      from += 2;
    } else
      to[n++] = *from;
  }
  to[n] = '\0';
  return n;
}

static void act(connection *c, const char *action) {
  char text[HEAD];
  char *value;
  size_t n = decode(action, text);
  if ((value = strchr(text, '=')) != NULL) *value++ = '\0';
  if (strcmp(text, "close") == 0)
    end(c, 0);
  else if (strcmp(text, "reset") == 0)
    end(c, 1);
  else if (strcmp(text, "early") == 0)
    return;
  else if (value == NULL)
    end(c, 0);
  else if (strcmp(text, "send") == 0)
    put(c, value, n - 5);
  else if (strcmp(text, "repeat") == 0)
    repeat(c, value);
  else if (strcmp(text, "file") == 0)
    send_file(c, value);
  else if (strcmp(text, "wait") == 0)
    poll(NULL, 0, atoi(value));
  else if (strcmp(text, "eat") == 0)
    eat(c, atoi(value));
  else if (strcmp(text, "note") == 0)
    note(c, value);
  else
    end(c, 0);
}

static void perform(connection *c, const char *script) {
  char *copy = strdup(script), *rest = copy, *action;
  while (!c->over && (action = strsep(&rest, "/")) != NULL)
    if (*action != '\0') act(c, action);
  free(copy);
}

/* requests */

static int fill(connection *c) {
  ssize_t n;
  if (c->have == HEAD - 1) return 0;
  n = get(c, c->head + c->have, HEAD - 1 - c->have);
  if (n <= 0) return 0;
  c->have += (size_t)n;
  c->head[c->have] = '\0';
  return 1;
}

static size_t body_length(const char *head) {
  const char *line = strcasestr(head, "\r\nContent-Length:");
  return line != NULL ? (size_t)strtoul(line + 17, NULL, 10) : 0;
}

/* records all of the body, of which `have` bytes are at hand */
static void take_body(connection *c, const char *at, size_t have, size_t n) {
  char buffer[16384];
  ssize_t got = 0;
  record(c->of, at, have < n ? have : n);
  for (n -= have < n ? have : n; n > 0; n -= (size_t)got) {
    got = get(c, buffer, n < sizeof(buffer) ? n : sizeof(buffer));
    if (got <= 0) return;
    record(c->of, buffer, (size_t)got);
  }
}

/* "GET /script?query HTTP/1.1" or, through a proxy, "GET http://h:1/script";
** the script ends where the query begins */
static char *script_of(const char *head) {
  const char *path = strchr(head, ' ');
  char *copy;
  if (path == NULL) return NULL;
  path += strncmp(path, " http://", 8) == 0 ? 8 : 1;
  path += strcspn(path, "/ ");
  copy = strdup(path);
  copy[strcspn(copy, "? \r\n")] = '\0';
  return copy;
}

/* one way of a tunnel; 0: its end */
static int pump(int from, int to) {
  char buffer[16384];
  ssize_t n = recv(from, buffer, sizeof(buffer), 0);
  return n > 0 && send(to, buffer, (size_t)n, MSG_NOSIGNAL) == n;
}

static void tunnel(connection *c, const char *port) {
  struct sockaddr_in to = {.sin_family = AF_INET,
                           .sin_port = htons((uint16_t)atoi(port))};
  struct pollfd p[2] = {{.fd = c->fd, .events = POLLIN}, {.events = POLLIN}};
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  p[1].fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(p[1].fd, (struct sockaddr *)&to, sizeof(to)) == 0) {
    put(c, "HTTP/1.1 200 Go\r\nX-Proxy: 1\r\n\r\n", 31);
    while (poll(p, 2, -1) > 0)
      if ((p[0].revents && !pump(p[0].fd, p[1].fd)) ||
          (p[1].revents && !pump(p[1].fd, p[0].fd)))
        break;
  }
  close(p[1].fd);
  c->over = 1;
}

static int serve_one(connection *c) {
  char *stop, *script;
  size_t head, body;
  while ((stop = strstr(c->head, "\r\n\r\n")) == NULL)
    if (!fill(c)) return 0;
  head = (size_t)(stop - c->head) + 4;
  body = body_length(c->head);
  record(c->of, c->head, head);
  if (strncmp(c->head, "CONNECT ", 8) == 0 && strchr(c->head, ':')) {
    tunnel(c, strchr(c->head, ':') + 1);
    return 0;
  }
  if ((script = script_of(c->head)) == NULL) return 0;
  if (strstr(script, "early") == NULL)
    take_body(c, c->head + head, c->have - head, body);
  record(c->of, "\n", 1);
  body = c->have - head < body ? c->have - head : body;
  c->have -= head + body;
  memmove(c->head, c->head + head + body, c->have + 1);
  perform(c, script);
  free(script);
  return !c->over;
}

static int choose(SSL *ssl, const unsigned char **out, unsigned char *outlen,
                  const unsigned char *in, unsigned int inlen, void *user) {
  const char *want = user;
  unsigned int i;
  (void)ssl;
  for (i = 0; i < inlen; i += in[i] + 1u)
    if (in[i] == strlen(want) && memcmp(in + i + 1, want, in[i]) == 0) {
      *out = in + i + 1;
      *outlen = in[i];
      return SSL_TLSEXT_ERR_OK;
    }
  return SSL_TLSEXT_ERR_NOACK;
}

static void *serve(void *argument) {
  connection *c = argument;
  char note[64];
  record(c->of, note,
         (size_t)snprintf(note, sizeof(note), "connection %d\n", c->number));
  if (c->of->before != NULL) perform(c, c->of->before);
  if (c->of->tls != NULL && !c->over) {
    c->ssl = SSL_new(c->of->tls);
    SSL_set_fd(c->ssl, c->fd);
    if (SSL_accept(c->ssl) <= 0)
      c->over = 1;
    else if (SSL_session_reused(c->ssl))
      record(c->of, "resumed\n", 8);
  }
  if (c->of->instead != NULL)
    perform(c, c->of->instead);
  else
    while (!c->over && serve_one(c))
      ;
  if (c->ssl != NULL) SSL_free(c->ssl);
  close(c->fd);
  record(c->of, "closed\n", 7);
  free(c);
  return NULL;
}

/* the listener */

static SSL_CTX *context(const char *cert, const char *key) {
  SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
  SSL_CTX_set_security_level(tls, 0); /* so that TLS 1.1 can be offered */
  SSL_CTX_set_session_id_context(tls, (const unsigned char *)"peer", 4);
  if (SSL_CTX_use_certificate_chain_file(tls, cert) != 1 ||
      SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1)
    die(cert);
  return tls;
}

static int listen_on(const char *address) {
  struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_PASSIVE,
                           .ai_socktype = SOCK_STREAM};
  struct addrinfo *info;
  struct sockaddr_storage got;
  socklen_t n = sizeof(got);
  char port[16];
  int fd;
  if (getaddrinfo(address, "0", &hints, &info) != 0) die(address);
  fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, info->ai_addr, info->ai_addrlen) != 0 ||
      listen(fd, 128) != 0)
    die(address);
  freeaddrinfo(info);
  getsockname(fd, (struct sockaddr *)&got, &n);
  getnameinfo((struct sockaddr *)&got, n, NULL, 0, port, sizeof(port),
              NI_NUMERICSERV);
  printf("%s %ld\n", port, (long)getpid());
  fflush(stdout);
  return fd;
}

static void options(peer *p, const char **address, char **argv) {
  for (; *argv != NULL; argv++) {
    const char *name = *argv++;
    if (strcmp(name, "--tls") == 0) {
      p->tls = context(argv[0], argv[1]);
      argv++;
    } else if (strcmp(name, "--tls-max") == 0) {
      int v = strcmp(*argv, "1.1") == 0 ? TLS1_1_VERSION : TLS1_2_VERSION;
      SSL_CTX_set_min_proto_version(p->tls, TLS1_VERSION);
      SSL_CTX_set_max_proto_version(p->tls, v);
    } else if (strcmp(name, "--alpn") == 0)
      SSL_CTX_set_alpn_select_cb(p->tls, choose, *argv);
    else if (strcmp(name, "--address") == 0)
      *address = *argv;
    else if (strcmp(name, "--before") == 0)
      p->before = *argv;
    else if (strcmp(name, "--instead") == 0)
      p->instead = *argv;
    else if (strcmp(name, "--log") == 0)
      p->log = open(*argv, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    else
      die(name);
  }
}

/* a connection: 1; the output was closed at the other end: 0 */
static int wait_for(int fd) {
  struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = 1}};
  while (poll(p, 2, -1) < 0)
    ;
  return p[1].revents == 0;
}

int main(int argc, char **argv) {
  peer p = {.log = -1};
  const char *address = "127.0.0.1";
  int fd, number = 0;
  (void)argc;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  signal(SIGPIPE, SIG_IGN);
  options(&p, &address, argv + 1);
  fd = listen_on(address);
  while (wait_for(fd)) {
    pthread_t thread;
    connection *c = calloc(1, sizeof(*c));
    if (c == NULL) die("calloc");
    c->of = &p;
    c->number = ++number;
    c->fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    if (c->fd < 0) die("accept");
    if (pthread_create(&thread, NULL, serve, c) != 0) die("thread");
    pthread_detach(thread);
  }
  return 0;
}
