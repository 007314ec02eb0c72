/*
** How many rows a second SQLite makes durable: WAL, synchronous=FULL, a table
** with a unique id and a body, and nothing else around it. What a receiver
** can reach at most on this machine and this filesystem.
**
**   cc -O2 bench/commit.c -lsqlite3 -o build/bench-commit
**   build/bench-commit FILE SECONDS ROWS BYTES   (ROWS a commit, BYTES a body)
**
** Prints rows a second, and the processor's time for a row in microseconds.
*/
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu(void) {
  struct rusage r;
  getrusage(RUSAGE_SELF, &r);
  return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
         (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static void must(sqlite3 *db, int code) {
  if (code == SQLITE_OK || code == SQLITE_DONE || code == SQLITE_ROW) return;
  fprintf(stderr, "commit: %s\n", sqlite3_errmsg(db));
  exit(1);
}

static void run(sqlite3 *db, const char *text) {
  must(db, sqlite3_exec(db, text, NULL, NULL, NULL));
}

static void insert(sqlite3 *db, sqlite3_stmt *row, const char *body,
                   int bytes) {
  static unsigned long long n; /* ids as random as a vendor's */
  char id[40];
  unsigned long long x = ++n * 0x9e3779b97f4a7c15u;
  snprintf(id, sizeof id, "%016llx-%016llx", x ^ (x >> 31), n);
  must(db, sqlite3_bind_text(row, 1, id, -1, SQLITE_STATIC));
  must(db, sqlite3_bind_text(row, 2, body, bytes, SQLITE_STATIC));
  must(db, sqlite3_step(row));
  must(db, sqlite3_reset(row));
}

int main(int argc, char **argv) {
  sqlite3 *db;
  sqlite3_stmt *row, *begin, *commit;
  double start, seconds, used;
  long rows = 0, group;
  int bytes;
  char *body;
  if (argc != 5) return 2;
  seconds = atof(argv[2]);
  group = atol(argv[3]);
  bytes = atoi(argv[4]);
  body = malloc((size_t)bytes + 1);
  if (body == NULL || sqlite3_open(argv[1], &db) != SQLITE_OK) return 1;
  memset(body, 'x', (size_t)bytes);
  run(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
          "PRAGMA cache_size = -16000;"
          "CREATE TABLE IF NOT EXISTS deliveries (seq INTEGER PRIMARY KEY,"
          " id TEXT NOT NULL UNIQUE, body TEXT NOT NULL)");
  must(db, sqlite3_prepare_v2(
               db, "INSERT INTO deliveries (id, body) VALUES (?, ?)", -1, &row,
               NULL));
  must(db, sqlite3_prepare_v2(db, "BEGIN IMMEDIATE", -1, &begin, NULL));
  must(db, sqlite3_prepare_v2(db, "COMMIT", -1, &commit, NULL));
  start = now();
  used = cpu();
  while (now() - start < seconds) {
    must(db, sqlite3_step(begin));
    must(db, sqlite3_reset(begin));
    for (long i = 0; i < group; i++, rows++)
      insert(db, row, body, bytes);
    must(db, sqlite3_step(commit));
    must(db, sqlite3_reset(commit));
  }
  printf("%.0f %.1f\n", (double)rows / (now() - start),
         (cpu() - used) / (double)rows * 1e6);
  return 0;
}
