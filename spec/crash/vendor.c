/*
** vendor.c - a vendor's API for the crash tests, which takes its time and
** never forgets: invoices that are created and listed, of any application,
** and those whose states the sender counts up (delivery.h), each by itself
** and all of them, whatever a list is asked to leave out.
**
**   vendor PORT LOG DELAY STATES
**
** Every request is answered after up to DELAY ms. A line of the log is one
** invoice that was made: its small print. What begins with /made is another
** school, which has no invoices but these.
*/
#define _GNU_SOURCE 1
#include "delivery.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ROOM 65536
#define MOST 200000

typedef struct invoice {
  char application[32];
  char *text; /* as it was asked for */
} invoice;

static struct {
  pthread_mutex_t lock;
  invoice all[MOST];
  int count, log, delay;
} store = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Reads one request into p: its length, or 0. */
static size_t receive(int fd, char *p) {
  size_t n = 0, whole = 0;
  while (whole == 0 || n < whole) {
    char *end, *length;
    ssize_t more = recv(fd, p + n, ROOM - 1 - n, 0);
    if (more <= 0) return 0;
    n += (size_t)more;
    p[n] = '\0';
    end = strstr(p, "\r\n\r\n");
    if (end == NULL) continue;
    length = strcasestr(p, "\r\nContent-Length:");
    whole = (size_t)(end + 4 - p);
    if (length != NULL && length < end)
      whole += strtoul(length + 17, NULL, 10);
  }
  return n;
}

static void answer(int fd, const char *status, const char *fields,
                   const char *body) {
  char head[512];
  int n = snprintf(head, sizeof head,
                   "HTTP/1.1 %s\r\nContent-Type: application/json\r\n%s"
                   "Content-Length: %zu\r\n\r\n",
                   status, fields, strlen(body));
  send(fd, head, (size_t)n, MSG_NOSIGNAL);
  send(fd, body, strlen(body), MSG_NOSIGNAL);
}

static void log_of(const char *body) {
  const char *from = strstr(body, "\"smallprint\":\"");
  char line[512];
  size_t n;
  if (from == NULL) abort();
  from += 14;
  n = strcspn(from, "\"");
  if (n >= sizeof line - 1) abort();
  memcpy(line, from, n);
  line[n++] = '\n';
  if (write(store.log, line, n) != (ssize_t)n) abort();
}

static void create(int fd, const char *application, const char *body) {
  char fields[128];
  int id;
  pthread_mutex_lock(&store.lock);
  if (store.count == MOST) abort();
  id = store.count++;
  snprintf(store.all[id].application, 32, "%s", application);
  store.all[id].text = strdup(body);
  log_of(body);
  pthread_mutex_unlock(&store.lock);
  snprintf(fields, sizeof fields,
           "Location: /api/applications/%s/invoices/%d\r\n", application,
           id + 1);
  answer(fd, "201 Created", fields, "");
}

static void list(int fd, const char *application) {
  char out[ROOM] = "{", fields[64];
  size_t n = 1;
  int found = 0;
  pthread_mutex_lock(&store.lock);
  for (int i = 0; i < store.count; i++) {
    if (strcmp(store.all[i].application, application) != 0) continue;
    n += (size_t)snprintf(out + n, sizeof out - n, "%s\"%d\":{\"id\":%d,%s",
                          found++ > 0 ? "," : "", i + 1, i + 1,
                          store.all[i].text + 1);
    if (n >= sizeof out) abort();
  }
  pthread_mutex_unlock(&store.lock);
  snprintf(out + n, sizeof out - n, "}");
  snprintf(fields, sizeof fields, "X-Count: %d\r\n", found);
  answer(fd, "200 OK", fields, out);
}

static const uint32_t *states;

static int put_state(char *out, size_t room, unsigned id) {
  uint32_t n = __atomic_load_n(&states[id], __ATOMIC_SEQ_CST);
  if (n == 0) return 0;
  return snprintf(out, room,
                  "{\"id\":%u,\"issued\":\"2037-01-01T00:00:00+00:00\","
                  "\"currency\":\"EUR\",\"items\":[{\"item\":\"Fee\","
                  "\"price\":\"%u.00\",\"qty\":1}],\"transactions\":[]}",
                  id, (unsigned)n);
}

static void known(int fd, const char *path) {
  static const unsigned all = DELIVERY_STATES * DELIVERY_THREADS;
  char *out = malloc(256 * (all + 1)), fields[64];
  size_t n = 1;
  unsigned found = 0, id;
  if (out == NULL) abort();
  if (sscanf(path, "/api/v9/invoices/%u", &id) == 1) {
    int length = id < all ? put_state(out, 256, id) : 0;
    answer(fd, length > 0 ? "200 OK" : "404 Not Found", "",
           length > 0 ? out : "");
  } else {
    out[0] = '{';
    for (id = 1; id < all && strncmp(path, "/made/", 6) != 0; id++) {
      char one[256];
      if (put_state(one, sizeof one, id) == 0) continue;
      n += (size_t)sprintf(out + n, "%s\"%u\":%s", found++ > 0 ? "," : "", id,
                           one);
    }
    memcpy(out + n, "}", 2);
    snprintf(fields, sizeof fields, "X-Count: %u\r\n", found);
    answer(fd, "200 OK", fields, out);
  }
  free(out);
}

static void *serve(void *given) {
  int fd = (int)(intptr_t)given;
  char *p = malloc(ROOM), method[8], application[32], path[256];
  while (p != NULL && receive(fd, p) > 0) {
    long wait = store.delay > 0 ? random() % (store.delay * 1000L) : 0;
    struct timespec t = {wait / 1000000, wait % 1000000 * 1000};
    nanosleep(&t, NULL);
    if (sscanf(p, "%7s %255s", method, path) != 2) abort();
    if (strstr(path, "/api/v9/invoices") != NULL)
      known(fd, path);
    else if (sscanf(path, "/made/api/v9/applications/%31[0-9]/invoices",
                    application) != 1)
      answer(fd, "404 Not Found", "", "");
    else if (strcmp(method, "POST") == 0)
      create(fd, application, strstr(p, "\r\n\r\n") + 4);
    else
      list(fd, application);
  }
  free(p);
  close(fd);
  return NULL;
}

static const uint32_t *map(const char *path) {
  size_t bytes = sizeof(uint32_t) * DELIVERY_STATES * DELIVERY_THREADS;
  int file = open(path, O_RDONLY | O_CLOEXEC);
  void *p = MAP_FAILED;
  if (file >= 0) p = mmap(NULL, bytes, PROT_READ, MAP_SHARED, file, 0);
  if (p == MAP_FAILED) abort();
  close(file);
  return p;
}

int main(int argc, char **argv) {
  struct sockaddr_in at = {.sin_family = AF_INET};
  int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), client;
  if (argc != 5) return 2;
  at.sin_port = htons((uint16_t)atoi(argv[1]));
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  store.log = open(argv[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  store.delay = atoi(argv[3]);
  states = map(argv[4]);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0) return 1;
  if (listen(fd, 512) != 0) return 1;
  while ((client = accept4(fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)client) != 0)
      return 1;
    pthread_detach(thread);
  }
  return 1;
}
