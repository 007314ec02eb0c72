/*
** gather.h - writes to SQLite's write-ahead log, put together.
**
** SQLite writes a page of it by two calls of the system, and a commit of many
** rows has some hundred pages. Here they are collected and written by a few
** calls, before the log is synced or read.
*/
#ifndef BILLHOOK_GATHER_H
#define BILLHOOK_GATHER_H

#include <sqlite3.h>

#pragma GCC visibility push(hidden)

/* From now on, for the log of this connection, which must be open. The
** connection must sync the log at every commit, synchronous=FULL or EXTRA:
** what others are told is in the log is in it only then. 0: it does not, it
** has no log, or there is no memory; all stays as it was. */
int gather_log(sqlite3 *db);

#pragma GCC visibility pop

#endif
