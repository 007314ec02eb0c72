/*
** process.h - what the files of billhook.process share.
**
** tree_remove() is an engine; process_files are the functions of lfiles.c,
** which process.c hands out with its own.
*/
#ifndef BILLHOOK_PROCESS_H
#define BILLHOOK_PROCESS_H

#pragma GCC visibility push(hidden)

/* removes a folder and all in it, or a file; follows no link. 0, or errno */
int tree_remove(const char *path);

#pragma GCC visibility pop

#endif
