/* with: say.c tree.c */
/*
** say_test.c - lines that are taken at once or not at all, whoever reads; and
** folders that go.
*/
#define _GNU_SOURCE 1

#include "tree.h"
#include "say.h"

#include <fcntl.h>
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

/* until it is full; nobody reads: what waits would never come back */
static int fill(int fd) {
  int n = 0;
  while (n < 1000000 && say_now(fd, "a line of a log\n", 16))
    n++;
  return n;
}

static void test_stopped(int reads, int writes) {
  char line[16];
  int n = fill(writes);
  CHECK(n > 0 && n < 1000000);
  CHECK(!say_now(writes, "lost\n", 5));
  for (int i = 0; i < n; i++)
    CHECK(read(reads, line, 16) == 16
          && memcmp(line, "a line of a log\n", 16) == 0);
  CHECK(say_now(writes, "a line of a log\n", 16));
  close(reads);
  CHECK(!say_now(writes, "nobody\n", 7)); /* and no SIGPIPE */
  close(writes);
}

static void test_long(void) {
  static char text[SAY_MOST + 1];
  int ends[2];
  CHECK(pipe(ends) == 0);
  CHECK(say_now(ends[1], text, SAY_MOST));
  CHECK(!say_now(ends[1], text, SAY_MOST + 1));
  close(ends[0]), close(ends[1]);
}

static void test_file(void) {
  char name[] = "/tmp/say_test.XXXXXX", text[32];
  int fd = mkstemp(name);
  CHECK(say_now(fd, "one\n", 4) && say_now(fd, "two\n", 4));
  CHECK(pread(fd, text, sizeof text, 0) == 8);
  CHECK(memcmp(text, "one\ntwo\n", 8) == 0);
  close(fd);
  CHECK(!say_now(fd, "closed\n", 7));
  fd = open("/dev/full", O_WRONLY);
  CHECK(!say_now(fd, "lost\n", 5));
  close(fd);
  CHECK(tree_remove(name) == 0 && access(name, F_OK) != 0);
}

static void test_tree(void) {
  char top[] = "/tmp/say_test.XXXXXX", inner[64], kept[] = "/tmp/kept.XXXXXX";
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
  int ends[2];
  CHECK(pipe(ends) == 0);
  test_stopped(ends[0], ends[1]);
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  test_stopped(ends[0], ends[1]);
  test_long();
  test_file();
  test_tree();
  printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
