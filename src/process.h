/*
** process.h - what the files of billhook.process share.
**
** relay_run() and tree_remove() are engines; process_files are the functions
** of lfiles.c, which process.c hands out with its own.
*/
#ifndef BILLHOOK_PROCESS_H
#define BILLHOOK_PROCESS_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

/*
** Copies lines from `in` to `out` until nobody has the other end of `in` any
** more. It never waits for `out`: up to `room` bytes are kept for a reader
** that has stopped, what comes beyond that is dropped by whole lines, and one
** line says how many. Some bytes short of memory it gives -1, else 0.
*/
int relay_run(int in, int out, size_t room);

/* removes a folder and all in it, or a file; follows no link. 0, or errno */
int tree_remove(const char *path);

#pragma GCC visibility pop

#endif
