/*
** relay.c - hands on the lines of a log without ever waiting for who reads
** them: whoever writes into a pipe that this empties goes on, too.
*/
#define _GNU_SOURCE 1

#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK    65536 /* read at once */
#define PIECE    4096  /* written at once: a pipe that can take any takes it */
#define MARGIN   128   /* room for the line that tells of dropped ones */
#define PATIENCE 1000  /* ms for a reader that stands still, at the end */
#define PAUSE    2000  /* us: who writes much is not woken for by each line */

typedef enum { AT_START, KEEPING, DROPPING } place;

typedef struct relay {
  char *ring;
  size_t size, first, count;
  unsigned long dropped; /* lines, since it was last told */
  place at;              /* where in a line the input is */
  int out, is_socket;    /* out is -1 where the reader has gone */
  int failing;           /* what was written last could not be: a full disk */
} relay;

static size_t least(size_t a, size_t b) {
  return a < b ? a : b;
}

static void put(relay *r, const char *p, size_t n) {
  size_t at = (r->first + r->count) % r->size;
  size_t straight = least(n, r->size - at);
  memcpy(r->ring + at, p, straight);
  memcpy(r->ring, p + straight, n - straight);
  r->count += n;
}

static int has_room(const relay *r, size_t n) {
  return r->size - r->count >= n + MARGIN;
}

/* once some room has come back, so that it is not told line by line */
static void tell(relay *r) {
  char text[MARGIN];
  int n;
  if (r->dropped == 0 || r->failing) return;
  if (r->at == KEEPING || r->count > r->size / 2) return;
  n = snprintf(text, sizeof text,
               "billhook level=warn event=log_dropped lines=%lu\n",
               r->dropped);
  put(r, text, (size_t)n);
  r->dropped = 0;
}

static void drop(relay *r) {
  r->at = DROPPING;
  r->dropped++;
}

/* a part of one line, up to its end where that has come */
static void take(relay *r, const char *p, size_t n) {
  if (r->at == AT_START) {
    if ((r->dropped == 0 || r->failing) && has_room(r, n))
      r->at = KEEPING;
    else
      drop(r);
  } else if (r->at == KEEPING && !has_room(r, n)) {
    put(r, "\n", 1); /* the rest of it is lost */
    drop(r);
  }
  if (r->at == KEEPING) put(r, p, n);
  if (p[n - 1] == '\n') r->at = AT_START;
}

/* 0: nobody writes any more */
static int fill(relay *r, int in) {
  char chunk[CHUNK];
  ssize_t n = read(in, chunk, sizeof chunk);
  size_t at = 0;
  if (n < 0 && errno == EINTR) return 1;
  while (n > 0 && at < (size_t)n && r->out >= 0) {
    const char *end = memchr(chunk + at, '\n', (size_t)n - at);
    size_t part = end ? (size_t)(end - chunk) + 1 - at : (size_t)n - at;
    tell(r);
    take(r, chunk + at, part);
    at += part;
  }
  return n > 0;
}

/* what was kept can't be written; the next line is tried */
static void lose(relay *r) {
  r->failing = 1;
  if (r->at == KEEPING) drop(r);
  for (; r->count > 0; r->count--) {
    if (r->ring[r->first] == '\n') r->dropped++;
    r->first = (r->first + 1) % r->size;
  }
}

static void drain(relay *r) {
  size_t piece = least(least(r->count, PIECE), r->size - r->first);
  const char *p = r->ring + r->first;
  ssize_t n = r->is_socket
                  ? send(r->out, p, piece, MSG_DONTWAIT | MSG_NOSIGNAL)
                  : write(r->out, p, piece);
  if (n >= 0) {
    r->failing = 0;
    r->first = (r->first + (size_t)n) % r->size;
    r->count -= (size_t)n;
  } else if (errno == EPIPE) {
    r->out = -1;
    r->count = 0;
  } else if (errno != EAGAIN && errno != EINTR) {
    lose(r);
  }
}

static void run(relay *r, int in) {
  int more = 1;
  while (more || r->count > 0) {
    struct pollfd p[2] = {{in, POLLIN, 0}, {r->out, POLLOUT, 0}};
    if (!more) p[0].fd = -1;
    if (r->count == 0) p[1].fd = -1;
    if (poll(p, 2, more ? -1 : PATIENCE) == 0) return;
    if (p[0].revents != 0) more = fill(r, in);
    if (p[1].revents != 0) drain(r);
    if (r->at != KEEPING) tell(r);
    if (p[0].revents != 0 && more) usleep(PAUSE);
  }
}

/*
** A pipe and a terminal are opened anew, so that only our side of them does
** not wait: the flag would be the shell's as well. Where that is not allowed,
** they are written to as they are, a piece that fits.
*/
static int unwaiting(int out, mode_t mode) {
  char name[40];
  int again;
  if (!S_ISFIFO(mode) && !S_ISCHR(mode)) return out;
  snprintf(name, sizeof name, "/proc/self/fd/%d", out);
  again = open(name, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  return again >= 0 ? again : out;
}

int relay_run(int in, int out, size_t room) {
  struct stat s;
  relay r;
  int ours;
  memset(&r, 0, sizeof r);
  r.size = room + 2 * MARGIN;
  r.ring = malloc(r.size);
  if (r.ring == NULL) return -1;
  if (fstat(out, &s) != 0) s.st_mode = 0;
  r.is_socket = S_ISSOCK(s.st_mode);
  r.out = ours = unwaiting(out, s.st_mode);
  run(&r, in);
  if (ours != out) close(ours);
  free(r.ring);
  return 0;
}
