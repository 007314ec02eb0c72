/* rescue.c - see rescue.h. */
#include "rescue.h"
#include <string.h>
#include <time.h>

#define PATIENCE  200  /* ms that a rescue waits for locks */
#define LOCK_WAIT 2000 /* ms that closing waits for others' changes */

const char *anchor_moved(anchor *d) {
  if (d->noted.file.st_ino == 0) return NULL;
  return place_moved(&d->noted, d->path);
}

/* Somebody who is none of us has a log of his own with our index. */
static int mixed_up(anchor *d) {
  place now;
  return place_look(&now, d->noted.path) == 0 && now.log.st_ino != 0 &&
         !place_same(&now.log, &d->noted.log) &&
         place_same(&now.index, &d->noted.index);
}

sqlite3_file *anchor_log(anchor *d) {
  sqlite3_file *file = NULL;
  if (sqlite3_file_control(d->db, "main", SQLITE_FCNTL_JOURNAL_POINTER,
                           &file) != SQLITE_OK ||
      file == NULL || file->pMethods == NULL)
    return NULL;
  return file;
}

static int log_is_empty(anchor *d) {
  sqlite3_file *log = anchor_log(d);
  sqlite3_int64 size = -1;
  return log != NULL && log->pMethods->xFileSize(log, &size) == SQLITE_OK &&
         size == 0;
}

/* Another file is at the path, and is to have a log of its own. Where none is
** there, the names say that one is missing. */
static void give_up_names(anchor *d) {
  place now;
  if (place_look(&now, d->path) == 0 && now.file.st_ino != 0 &&
      !place_same(&now.file, &d->noted.file) &&
      strcmp(now.path, d->noted.path) == 0)
    place_remove(&d->noted);
}

static long milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* While somebody else is at the same, SQLite does not wait by itself. */
static int write_back(anchor *d, int mode) {
  const struct timespec pause = {0, 2000000};
  long till = milliseconds() + d->patience;
  int code;
  for (;;) {
    code = sqlite3_wal_checkpoint_v2(d->db, "main", mode, NULL, NULL);
    if ((code & 0xff) != SQLITE_BUSY || milliseconds() >= till) return code;
    nanosleep(&pause, NULL);
  }
}

/* All that is in the log goes into the file, by the descriptors that are open,
** under the locks of all who have them. Then the names are given up under the
** lock of a writer: others look at the names once they have that lock, so
** nobody writes to this log any more. */
int anchor_rescue(anchor *d) {
  int code = SQLITE_BUSY, patience = d->patience, tries;
  if (!sqlite3_get_autocommit(d->db))
    sqlite3_exec(d->db, "ROLLBACK", NULL, NULL, NULL);
  if (mixed_up(d)) return SQLITE_PROTOCOL;
  d->patience = PATIENCE;
  for (tries = 0; tries < 3; tries++) {
    int empty;
    code = write_back(d, SQLITE_CHECKPOINT_TRUNCATE);
    if (code == SQLITE_OK)
      code = sqlite3_exec(d->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (code != SQLITE_OK) break;
    empty = log_is_empty(d);
    if (empty) give_up_names(d);
    sqlite3_exec(d->db, "ROLLBACK", NULL, NULL, NULL);
    if (empty) break;
    code = SQLITE_BUSY;
  }
  d->patience = patience;
  return code;
}

/* The last to close a file writes its log into it and deletes what has the
** log's name, whatever that is by now. */
void anchor_close(anchor *d) {
  const char *what;
  int lock = -1;
  if (d->noted.file.st_ino != 0) {
    lock = place_lock(d->noted.path, LOCK_WAIT);
    what = anchor_moved(d);
    if (what != NULL) {
      if (strcmp(what, "size") != 0) anchor_rescue(d);
      sqlite3_db_config(d->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    }
  }
  sqlite3_close_v2(d->db);
  place_unlock(d->log);
  d->log = -1;
  place_unlock(lock);
}

int anchor_checkpoint(anchor *d) {
  int in_log = 0, in_file = 0, code;
  if (mixed_up(d)) return SQLITE_PROTOCOL;
  code = sqlite3_wal_checkpoint_v2(d->db, "main", SQLITE_CHECKPOINT_PASSIVE,
                                   &in_log, &in_file);
  if (code == SQLITE_OK && in_log == in_file) return SQLITE_OK;
  return write_back(d, SQLITE_CHECKPOINT_FULL);
}
