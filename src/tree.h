/*
** tree.h - removing what stands below a folder.
*/
#ifndef BILLHOOK_TREE_H
#define BILLHOOK_TREE_H

#pragma GCC visibility push(hidden)

/* removes a folder and all in it, or a file; follows no link. 0, or errno */
int tree_remove(const char *path);

#pragma GCC visibility pop

#endif
