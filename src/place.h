/*
** place.h - the place of an SQLite file, and the files beside it.
**
** SQLite finds a file's log (-wal) and the log's index (-shm) by their names,
** but holds all three open. If one of them is renamed or replaced, one
** database becomes two, or two become one: later writes are lost, or destroy
** existing data. So each file is identified by its device and inode here.
*/
#ifndef BILLHOOK_PLACE_H
#define BILLHOOK_PLACE_H

#include <limits.h>
#include <sys/stat.h>

#pragma GCC visibility push(hidden)

#define PLACE_ID 48 /* bytes of a "device:inode" */

typedef struct place {
  char path[PATH_MAX]; /* absolute, without symbolic links where it exists */
  struct stat file, log, index; /* st_ino 0: not there */
  char of[PLACE_ID]; /* the file whose log it is said to be; "": unknown */
} place;

/* Looks at what is at `path` now; -1 where that is too long. */
int place_look(place *p, const char *path);

/* What of it is not there any more, seen from `path`: "file", "log", "index",
** or "size", where the file was cut off; NULL: all is as it was. */
const char *place_moved(place *known, const char *path);

int place_same(const struct stat *a, const struct stat *b);
void place_id(const struct stat *st, char id[PLACE_ID]);

/* Notes at the log whose it is, where the file system keeps such a note: a
** log is found by its name also when the file beside it is another one. */
void place_mark(const place *p);

/* Removes the names of the log and its index, where they are still these. */
void place_remove(const place *p);

/* Who has the log open says so by a shared lock on it, for which a descriptor
** stands; -1: no. Is that the only one? (SQLite locks the file and the index,
** never the log.) */
int place_share(const place *p);
int place_alone(int fd);

/* One process or thread at a time changes what belongs together. Gives a
** descriptor for place_unlock, or -1: others took longer than that, or the
** folder cannot be opened. */
int place_lock(const char *path, int ms);
void place_unlock(int fd);

#pragma GCC visibility pop

#endif
