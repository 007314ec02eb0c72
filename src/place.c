/*
** place.c - see place.h.
**
** The mark is an extended attribute of the log. It names the log's own inode
** as well: a copy that has taken the attribute with it belongs to no file.
**
** The lock is one on the folder, for it must be neither of the files: a
** process that closes any descriptor of a file loses all of its locks there.
*/
#include "place.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define MARK "user.billhook.file"

int place_same(const struct stat *a, const struct stat *b) {
  return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

void place_id(const struct stat *st, char id[PLACE_ID]) {
  snprintf(id, PLACE_ID, "%llx:%llx", (unsigned long long)st->st_dev,
           (unsigned long long)st->st_ino);
}

static int beside(const place *p, const char *end, char out[PATH_MAX]) {
  size_t n = strlen(p->path), m = strlen(end);
  if (n + m >= PATH_MAX) return -1;
  memcpy(out, p->path, n);
  memcpy(out + n, end, m + 1);
  return 0;
}

static void look(struct stat *st, const char *path) {
  if (stat(path, st) != 0) memset(st, 0, sizeof(*st));
}

/* "the log's inode the file's inode": the devices' numbers may be others
** after the next boot */
static void mark_of(const place *p, char out[2 * PLACE_ID]) {
  snprintf(out, 2 * PLACE_ID, "%llx %llx", (unsigned long long)p->log.st_ino,
           (unsigned long long)p->file.st_ino);
}

static void read_mark(place *p, const char *log) {
  char text[2 * PLACE_ID];
  unsigned long long own, file;
  struct stat st = p->file;
  ssize_t n = getxattr(log, MARK, text, sizeof(text) - 1);
  p->of[0] = '\0';
  if (n <= 0) return;
  text[n] = '\0';
  if (sscanf(text, "%llx %llx", &own, &file) != 2) return;
  if (own != (unsigned long long)p->log.st_ino) return;
  st.st_dev = p->log.st_dev;
  st.st_ino = (ino_t)file;
  place_id(&st, p->of);
}

/* An absolute path: the process may change its folder. */
static int absolute(const char *path, char out[PATH_MAX]) {
  size_t n = 0;
  if (realpath(path, out) != NULL) return 0;
  if (path[0] != '/') {
    if (getcwd(out, PATH_MAX - 1) == NULL) return -1;
    n = strlen(out);
    out[n++] = '/';
  }
  if (n + strlen(path) >= PATH_MAX) return -1;
  strcpy(out + n, path);
  return 0;
}

int place_look(place *p, const char *path) {
  char name[PATH_MAX];
  memset(p, 0, sizeof(*p));
  if (absolute(path, p->path) != 0) return -1;
  look(&p->file, p->path);
  if (beside(p, "-shm", name) != 0) return -1;
  look(&p->index, name);
  if (beside(p, "-wal", name) != 0) return -1;
  look(&p->log, name);
  if (p->log.st_ino != 0) read_mark(p, name);
  return 0;
}

static int is_beside(const place *p, const char *end,
                     const struct stat *known) {
  char name[PATH_MAX];
  struct stat st;
  if (beside(p, end, name) != 0) return 0;
  look(&st, name);
  return place_same(&st, known);
}

const char *place_moved(place *known, const char *path) {
  struct stat st;
  look(&st, path);
  if (!place_same(&st, &known->file)) return "file";
  if (st.st_size < known->file.st_size) return "size";
  known->file.st_size = st.st_size;
  if (!is_beside(known, "-wal", &known->log)) return "log";
  return is_beside(known, "-shm", &known->index) ? NULL : "index";
}

void place_mark(const place *p) {
  char name[PATH_MAX], text[2 * PLACE_ID];
  if (beside(p, "-wal", name) != 0) return;
  mark_of(p, text);
  (void)!setxattr(name, MARK, text, strlen(text), 0);
}

static void remove_name(const place *p, const char *end,
                        const struct stat *known) {
  char name[PATH_MAX];
  struct stat st;
  if (known->st_ino == 0 || beside(p, end, name) != 0) return;
  if (lstat(name, &st) == 0 && place_same(&st, known)) unlink(name);
}

void place_remove(const place *p) {
  remove_name(p, "-wal", &p->log);
  remove_name(p, "-shm", &p->index);
}

int place_share(const place *p) {
  char name[PATH_MAX];
  struct stat st;
  int fd;
  if (beside(p, "-wal", name) != 0) return -1;
  fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return -1;
  if (fstat(fd, &st) == 0 && place_same(&st, &p->log) &&
      flock(fd, LOCK_SH | LOCK_NB) == 0)
    return fd;
  close(fd);
  return -1;
}

int place_alone(int fd) {
  int alone = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
  if (fd >= 0)
    (void)!flock(fd, LOCK_SH | LOCK_NB); /* it is another now, or none */
  return alone;
}

static int open_folder(const char *path) {
  char name[PATH_MAX], *end;
  if (absolute(path, name) != 0) return -1;
  end = strrchr(name, '/');
  end[end == name] = '\0';
  return open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int place_lock(const char *path, int ms) {
  const struct timespec pause = {0, 2000000};
  int fd = open_folder(path);
  while (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if ((ms -= 2) < 0 || (errno != EWOULDBLOCK && errno != EINTR)) {
      close(fd);
      return -1;
    }
    nanosleep(&pause, NULL);
  }
  return fd;
}

void place_unlock(int fd) {
  if (fd >= 0) close(fd);
}
