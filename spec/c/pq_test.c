/* with: pq.c -lpq */
/*
** pq_test.c - what the engine of billhook.pq says without a server: of URLs,
** of a connection that is closed, and of one that a fork has copied.
*/
#include "pq.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int passed, failed;

static void expect(const char *what, int ok) {
  if (ok) {
    passed++;
  } else {
    failed++;
    printf("FAILED: %s\n", what);
  }
}

static int says(const pq_database *d, const char *code, const char *message) {
  char state[PQ_STATE];
  const char *text;
  return strcmp(pq_failure(d, state, &text), code) == 0 &&
         strcmp(text, message) == 0;
}

static void test_urls(void) {
  static const char *const bad[] = {"", "postgres", "postgresql://u:p@[::1/db",
                                    "postgresql://h/db?no=1", "host='"};
  size_t i;
  for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
    pq_database d;
    memset(&d, 0, sizeof(d));
    if (bad[i][0] == '\0') continue; /* libpq's defaults */
    expect(bad[i], !pq_open(&d, bad[i], 1000));
    expect(bad[i],
           says(&d, "PG_MISUSE", "this is no URL of a PostgreSQL database"));
    pq_close(&d);
    pq_close(&d);
  }
}

static void test_unusable(void) {
  pq_database d;
  memset(&d, 0, sizeof(d));
  d.opener = getpid();
  expect("no connection", !pq_usable(&d) && pq_lost(&d));
  expect("no connection: why",
         says(&d, "PG_CONNECTION", "the connection has ended"));
  pq_close(&d);
  expect("closed", !pq_usable(&d) && pq_lost(&d));
  expect("closed: why", says(&d, "PG_MISUSE", "the database is closed"));
}

/* the connection that stands for the parent's is left alone */
static void test_fork(void) {
  pq_database d;
  PGconn *conn = PQconnectStart("host=/nowhere");
  memset(&d, 0, sizeof(d));
  d.opener = getpid() + 1;
  d.conn = conn;
  expect("forked", !pq_usable(&d) && pq_lost(&d));
  expect("forked: why",
         says(&d, "PG_MISUSE", "the database was opened before a fork"));
  pq_close(&d);
  expect("forked: not closed", d.conn == conn);
  PQfinish(conn);
}

int main(void) {
  test_urls();
  test_unusable();
  test_fork();
  printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
