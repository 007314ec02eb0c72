/*
** gather.c - the log's file gets methods of its own in front of SQLite's. They
** live as long as the file is open; all that is not here goes to SQLite's.
**
** SQLite tells others of a commit after the log is synced, and a transaction
** whose pages could not be written is none. So an error may come as late as
** from the sync.
*/
#include "gather.h"

#include <stdlib.h>
#include <string.h>

#define ROOM 131072 /* bytes: they stay in a processor's cache */

typedef struct gather {
  sqlite3_io_methods methods; /* must be first: the file points to it */
  const sqlite3_io_methods *real;
  sqlite3_int64 at; /* where in the file the bytes belong */
  int n;
  char bytes[ROOM];
} gather;

/* whose methods the file has */
static gather *of(sqlite3_file *file) {
  gather *g;
  memcpy(&g, &file->pMethods, sizeof g);
  return g;
}

static int flush(sqlite3_file *file) {
  gather *g = of(file);
  int n = g->n;
  g->n = 0;
  return n == 0 ? SQLITE_OK : g->real->xWrite(file, g->bytes, n, g->at);
}

static int g_write(sqlite3_file *file, const void *p, int n,
                   sqlite3_int64 at) {
  gather *g = of(file);
  if (g->n > 0 && (at != g->at + g->n || n > ROOM - g->n)) {
    int code = flush(file);
    if (code != SQLITE_OK) return code;
  }
  if (n > ROOM) return g->real->xWrite(file, p, n, at);
  if (g->n == 0) g->at = at;
  memcpy(g->bytes + g->n, p, (size_t)n);
  g->n += n;
  return SQLITE_OK;
}

static int g_read(sqlite3_file *file, void *p, int n, sqlite3_int64 at) {
  int code = flush(file);
  return code != SQLITE_OK ? code : of(file)->real->xRead(file, p, n, at);
}

static int g_sync(sqlite3_file *file, int flags) {
  int code = flush(file);
  return code != SQLITE_OK ? code : of(file)->real->xSync(file, flags);
}

static int g_truncate(sqlite3_file *file, sqlite3_int64 size) {
  int code = flush(file);
  return code != SQLITE_OK ? code : of(file)->real->xTruncate(file, size);
}

static int g_size(sqlite3_file *file, sqlite3_int64 *size) {
  int code = flush(file);
  return code != SQLITE_OK ? code : of(file)->real->xFileSize(file, size);
}

/* what was never synced is of no transaction */
static int g_close(sqlite3_file *file) {
  gather *g = of(file);
  file->pMethods = g->real;
  free(g);
  return file->pMethods->xClose(file);
}

/* the first column of the only row, as text in `out` */
static void ask(sqlite3 *db, const char *sql, char *out, size_t room) {
  sqlite3_stmt *s = NULL;
  out[0] = '\0';
  if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK &&
      sqlite3_step(s) == SQLITE_ROW && sqlite3_column_text(s, 0) != NULL)
    sqlite3_snprintf((int)room, out, "%s", sqlite3_column_text(s, 0));
  sqlite3_finalize(s);
}

static sqlite3_file *log_of(sqlite3 *db) {
  sqlite3_file *file = NULL;
  char mode[8], sync[8], tables[16];
  ask(db, "PRAGMA journal_mode", mode, sizeof mode);
  ask(db, "PRAGMA synchronous", sync, sizeof sync);
  if (strcmp(mode, "wal") != 0 || sync[0] < '2') return NULL;
  /* only what reads opens the log */
  ask(db, "SELECT COUNT(*) FROM sqlite_master", tables, sizeof tables);
  if (sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &file) !=
      SQLITE_OK)
    return NULL;
  return file != NULL && file->pMethods != NULL ? file : NULL;
}

int gather_log(sqlite3 *db) {
  sqlite3_file *file = log_of(db);
  gather *g;
  if (file == NULL) return 0;
  if (file->pMethods->xWrite == g_write) return 1;
  g = malloc(sizeof *g);
  if (g == NULL) return 0;
  g->real = file->pMethods;
  g->methods = *g->real;
  g->methods.xClose = g_close;
  g->methods.xRead = g_read;
  g->methods.xWrite = g_write;
  g->methods.xTruncate = g_truncate;
  g->methods.xSync = g_sync;
  g->methods.xFileSize = g_size;
  g->at = 0;
  g->n = 0;
  file->pMethods = &g->methods;
  return 1;
}
