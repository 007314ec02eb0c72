/* with: relay.c tree.c -pthread */
/*
** relay_test.c - lines that go through a relay with a reader who reads at
** once, late, slowly, never, or has gone: no byte is made up, no line is torn
** apart, and what is missing is told. Folders that go.
*/
#define _GNU_SOURCE 1

#include "process.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int passed, failed;

static void check(int ok, const char *what, int line) {
  if (ok)
    passed++;
  else
    failed++, printf("line %d: %s\n", line, what);
}
#define CHECK(x) check((x), #x, __LINE__)

typedef struct job {
  int in, out;
  size_t room;
} job;

static void *work(void *arg) {
  job *j = arg;
  relay_run(j->in, j->out, j->room);
  close(j->out);
  return NULL;
}

static void put(int fd, const char *p, size_t n) {
  while (n > 0) {
    ssize_t one = write(fd, p, n);
    if (one <= 0) return;
    p += one, n -= (size_t)one;
  }
}

/* lines of many lengths, some of them longer than all room */
static size_t line(char *p, int i) {
  size_t n = (size_t)sprintf(p, "%d:", i);
  size_t body = i % 97 == 0 ? 9000 : (size_t)(i * 7 % 300);
  memset(p + n, 'a' + i % 26, body);
  p[n + body] = '\n';
  return n + body + 1;
}

typedef struct seen {
  int kept, cut, wrong, last;
  long dropped;
} seen;

static void look(seen *s, const char *p) {
  char want[16384];
  unsigned long lines;
  int i;
  if (sscanf(p, "billhook level=warn event=log_dropped lines=%lu", &lines) ==
      1) {
    s->dropped += (long)lines;
    return;
  }
  i = atoi(p);
  want[line(want, i) - 1] = '\0';
  if (i <= s->last)
    s->wrong++;
  else if (strcmp(p, want) == 0)
    s->kept++;
  else if (strncmp(p, want, strlen(p)) == 0)
    s->cut++; /* counted among the dropped ones as well */
  else
    s->wrong++;
  s->last = i;
}

static seen read_all(int fd, int slowly) {
  static char text[1 << 22];
  size_t n = 0;
  ssize_t one;
  seen s = {0, 0, 0, 0, 0};
  char *p = text, *end;
  while ((one = read(fd, text + n, slowly ? 700 : sizeof text - n - 1)) > 0) {
    n += (size_t)one;
    if (slowly && n % 5 == 0) usleep(200);
  }
  text[n] = '\0';
  for (; (end = strchr(p, '\n')) != NULL; p = end + 1) {
    *end = '\0';
    look(&s, p);
  }
  if (*p != '\0') s.wrong++;
  return s;
}

static void open_out(int sockets, int out[2]) {
  if (sockets)
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, out) == 0);
  else
    CHECK(pipe(out) == 0);
}

/* all lines written; the reader begins before, or when all is said */
static seen play(int lines, size_t room, int sockets, int late, int slowly) {
  int in[2], out[2];
  pthread_t thread;
  char text[16384];
  seen s;
  job j;
  CHECK(pipe(in) == 0);
  open_out(sockets, out);
  j.in = in[0], j.out = out[1], j.room = room;
  pthread_create(&thread, NULL, work, &j);
  for (int i = 1; i <= lines; i++) {
    size_t n = line(text, i);
    put(in[1], text, n / 2); /* they come in parts */
    put(in[1], text + n / 2, n - n / 2);
  }
  if (!late) close(in[1]);
  if (late) usleep(20000), close(in[1]);
  s = read_all(out[0], slowly);
  pthread_join(thread, NULL);
  close(in[0]), close(out[0]);
  return s;
}

static void test_lines(void) {
  for (int sockets = 0; sockets < 2; sockets++) {
    seen s = play(500, 1 << 20, sockets, 0, 0); /* there is room for all */
    CHECK(s.kept == 500 && s.dropped == 0 && s.wrong == 0 && s.cut == 0);
    s = play(5000, 8192, sockets, 1, 0);
    CHECK(s.kept > 100 && s.dropped > 100 && s.wrong == 0);
    CHECK(s.kept + s.dropped == 5000);
    s = play(5000, 8192, sockets, 0, 1);
    CHECK(s.wrong == 0 && s.kept + s.dropped == 5000);
  }
}

static void test_none(void) {
  int in[2], out[2];
  pthread_t thread;
  job j;
  CHECK(pipe(in) == 0 && pipe(out) == 0);
  j.in = in[0], j.out = out[1], j.room = 4096;
  close(out[0]); /* the reader has gone: all is taken, and nothing said */
  pthread_create(&thread, NULL, work, &j);
  for (int i = 0; i < 20000; i++)
    put(in[1], "nobody reads this line\n", 23);
  close(in[1]);
  pthread_join(thread, NULL);
  close(in[0]);
  CHECK(pipe(in) == 0 && pipe(out) == 0);
  j.in = in[0], j.out = out[1];
  close(in[1]); /* nobody says anything */
  pthread_create(&thread, NULL, work, &j);
  CHECK(read(out[0], &j, 1) == 0);
  pthread_join(thread, NULL);
  close(in[0]), close(out[0]);
}

static void test_file(void) {
  char name[] = "/tmp/relay_test.XXXXXX", text[32];
  int in[2], fd = mkstemp(name);
  CHECK(pipe(in) == 0 && write(fd, "before\n", 7) == 7);
  put(in[1], "after\n", 6);
  close(in[1]);
  CHECK(relay_run(in[0], fd, 4096) == 0);
  CHECK(pread(fd, text, sizeof text, 0) == 13);
  CHECK(memcmp(text, "before\nafter\n", 13) == 0);
  close(in[0]), close(fd);
  CHECK(pipe(in) == 0); /* a full disk */
  fd = open("/dev/full", O_WRONLY);
  for (int i = 0; i < 100; i++)
    put(in[1], "lost\n", 5);
  close(in[1]);
  CHECK(relay_run(in[0], fd, 4096) == 0);
  close(in[0]), close(fd);
  CHECK(tree_remove(name) == 0 && access(name, F_OK) != 0);
}

static void test_tree(void) {
  char top[] = "/tmp/relay_test.XXXXXX", inner[64],
       kept[] = "/tmp/kept.XXXXXX";
  CHECK(mkdtemp(top) != NULL && mkdtemp(kept) != NULL);
  snprintf(inner, sizeof inner, "%s/a", top);
  CHECK(mkdir(inner, 0700) == 0);
  snprintf(inner, sizeof inner, "%s/a/link", top);
  CHECK(symlink(kept, inner) == 0);
  CHECK(tree_remove(top) == 0 && access(top, F_OK) != 0);
  CHECK(access(kept, F_OK) == 0 && rmdir(kept) == 0);
  CHECK(tree_remove(top) != 0);
}

int main(void) {
  signal(SIGPIPE, SIG_IGN);
  test_lines();
  test_none();
  test_file();
  test_tree();
  printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
