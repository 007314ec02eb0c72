/* durable.c - see durable.h. */
#include "durable.h"
#include <stddef.h>
#include <stdint.h>

/* The log's index, as SQLite's "WAL-mode File Format" describes it. */
#define INDEX_VERSION 3007000
#define REGION        32768 /* bytes of its first part */
#define COPIED        24 /* number of the 32-bit word that counts the frames */

/* This runs within a checkpoint, whose locks keep out every other one, and
** everybody who relies on the file alone. What is set here is what it would be
** after the log was recovered. Once the sync has succeeded, SQLite counts all
** of the log as copied. */
static void nothing_is_copied(sqlite3_file *file) {
  void volatile *region = NULL;
  uint32_t volatile *index;
  if (file->pMethods->xShmMap(file, 0, REGION, 0, &region) != SQLITE_OK)
    return;
  index = (uint32_t volatile *)region;
  if (index != NULL && index[0] == INDEX_VERSION)
    __atomic_store_n(&index[COPIED], 0, __ATOMIC_SEQ_CST);
}

static int watched_sync(sqlite3_file *file, int flags) {
  const watch *w = (const watch *)file->pMethods;
  int code;
  if (w->of->noted.file.st_ino == 0) return w->sync(file, flags);
  nothing_is_copied(file); /* before: the process may be killed in the sync */
  code = w->sync(file, flags);
  if (code != SQLITE_OK) w->of->failed = 1;
  return code;
}

void durable_watch(anchor *d) {
  sqlite3_file *file = NULL;
  if (sqlite3_file_control(d->db, "main", SQLITE_FCNTL_FILE_POINTER, &file) !=
          SQLITE_OK ||
      file == NULL || file->pMethods == NULL)
    return; /* in memory */
  d->file.methods = *file->pMethods;
  if (d->file.methods.iVersion > 3) d->file.methods.iVersion = 3;
  d->file.sync = d->file.methods.xSync;
  d->file.of = d;
  d->file.methods.xSync = watched_sync;
  file->pMethods = &d->file.methods;
}

/* --- the log ---------------------------------------------------------- */

static int write_again(sqlite3_file *log) {
  char bytes[16384];
  sqlite3_int64 size = 0, at = 0;
  int code = log->pMethods->xFileSize(log, &size);
  while (code == SQLITE_OK && at < size) {
    int n = size - at < (sqlite3_int64)sizeof(bytes) ? (int)(size - at)
                                                     : (int)sizeof(bytes);
    code = log->pMethods->xRead(log, bytes, n, at);
    if (code == SQLITE_OK) code = log->pMethods->xWrite(log, bytes, n, at);
    at += n;
  }
  if (code != SQLITE_OK || size == 0) return code;
  return log->pMethods->xSync(log, SQLITE_SYNC_NORMAL);
}

/* A sync may fail for what others have written before. It says so once. */
static int renew(anchor *d) {
  sqlite3_file *log = anchor_log(d);
  int code;
  if (log == NULL) return SQLITE_OK;
  code = write_again(log);
  return code == SQLITE_IOERR_FSYNC ? write_again(log) : code;
}

static int noted_by_others(anchor *d) {
  place now;
  int fd = place_look(&now, d->path) == 0 ? place_share(&now) : -1;
  int others = fd >= 0 && !place_alone(fd);
  place_unlock(fd);
  return others;
}

/* Under the lock of a writer: nobody changes the log, nor looks whether it was
** noted, until it is. */
int durable_note(anchor *d) {
  int code = sqlite3_exec(d->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
  if (code != SQLITE_OK) return code;
  place_unlock(d->log);
  d->log = -1;
  if (!noted_by_others(d)) code = renew(d);
  if (code == SQLITE_OK && place_look(&d->noted, d->path) == 0 &&
      d->noted.log.st_ino != 0) {
    place_mark(&d->noted);
    d->log = place_share(&d->noted);
  }
  sqlite3_exec(d->db, "ROLLBACK", NULL, NULL, NULL);
  return code;
}
