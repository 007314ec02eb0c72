/*
** rescue.h - a connection to SQLite whose file, log (-wal) or index (-shm) may
** be moved or deleted, and how committed data gets into the file all the same.
*/
#ifndef BILLHOOK_RESCUE_H
#define BILLHOOK_RESCUE_H

#include "place.h"
#include <sqlite3.h>

#pragma GCC visibility push(hidden)

struct anchor;

/* The file's methods, with a sync of our own (see durable.h). */
typedef struct watch {
  sqlite3_io_methods methods; /* the first: SQLite knows its address */
  int (*sync)(sqlite3_file *, int);
  struct anchor *of;
} watch;

typedef struct anchor {
  sqlite3 *db;         /* NULL: closed */
  int patience;        /* ms to wait for another's lock */
  char path[PATH_MAX]; /* as it was given, absolute */
  place noted;         /* file.st_ino 0: nothing yet */
  int log;             /* holds a shared lock on the log; -1: none */
  watch file;          /* outlives the connection */
  int failed;          /* has a sync of the file failed? */
} anchor;

/* the log that is open, or NULL */
sqlite3_file *anchor_log(anchor *d);

/* see place_moved; NULL also where nothing was noted */
const char *anchor_moved(anchor *d);

/* These return a result code of SQLite; SQLITE_PROTOCOL: there is another log
** beside the file, and nothing was done. */
int anchor_rescue(anchor *d);
int anchor_checkpoint(anchor *d);

void anchor_close(anchor *d);

#pragma GCC visibility pop

#endif
