/*
** tree.c - removes a folder with all that is in it. Every step goes from an
** open folder to a name in it, so that nobody who may rename things meanwhile
** leads it elsewhere.
*/
#define _GNU_SOURCE 1

#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define DEEPEST 32

static int remove_at(int folder, const char *name, int depth);

/* closes the folder; goes on after a failure, and gives the first one */
static int empty(int folder, int depth) {
  const struct dirent *e;
  int code = 0, one;
  DIR *d = fdopendir(folder);
  if (d == NULL) {
    close(folder);
    return errno;
  }
  while ((e = readdir(d)) != NULL) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    one = remove_at(dirfd(d), e->d_name, depth + 1);
    if (code == 0) code = one;
  }
  closedir(d);
  return code;
}

static int remove_at(int folder, const char *name, int depth) {
  int inner, code;
  if (unlinkat(folder, name, 0) == 0) return 0;
  if (errno == ENOENT && depth > 0) return 0; /* somebody else's work */
  if (errno != EISDIR && errno != EPERM) return errno;
  if (depth > DEEPEST) return ELOOP;
  inner =
      openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (inner < 0) return errno;
  code = empty(inner, depth);
  return unlinkat(folder, name, AT_REMOVEDIR) == 0 ? 0 : code ? code : errno;
}

int tree_remove(const char *path) {
  return remove_at(AT_FDCWD, path, 0);
}
