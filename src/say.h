/*
** say.h - writes a line to a log without waiting.
*/
#ifndef BILLHOOK_SAY_H
#define BILLHOOK_SAY_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

/* what a pipe takes as a whole or not at all; longer lines are to be cut */
#define SAY_MOST 4096

/* Writes up to SAY_MOST bytes to fd if it can take them at once: 1. Else 0:
** a reader has stopped, or has gone, or the disk is full. */
int say_now(int fd, const char *p, size_t n);

#pragma GCC visibility pop

#endif
