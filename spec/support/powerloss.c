/*
** powerloss.c - for LD_PRELOAD: what a process does to the files of the folder
** POWERLOSS_FOLDER goes into the file POWERLOSS_LOG too, in order, so that it
** can be done again up to any point (see powerloss.lua). A record is a line,
** and for a write and a mark its bytes and a line feed:
**
**   create INODE NAME        write INODE OFFSET LENGTH      sync INODE
**   rename NAME NAME         size INODE LENGTH              folder
**   unlink NAME              other WHAT                     mark LENGTH
**
** "folder" is a sync of the folder itself; "other" is what would change a file
** in a way that is not told here: a shared mapping of anything but the -shm.
** Marks are written by the process itself. Syncs are told and not done.
*/
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(type, name, parameters)                                          \
  type(*real) parameters = (type(*) parameters)dlsym(RTLD_NEXT, name)

/* the name within the folder, "" for the folder itself, NULL for others */
static const char *within(const char *path) {
  const char *folder = getenv("POWERLOSS_FOLDER");
  size_t n = folder != NULL ? strlen(folder) : 0;
  if (n == 0 || strncmp(path, folder, n) != 0) return NULL;
  if (path[n] == '\0') return path + n;
  return path[n] == '/' ? path + n + 1 : NULL;
}

/* the same of an open file */
static const char *name_of(int fd, char path[512]) {
  char link[64];
  ssize_t n;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  n = readlink(link, path, 511);
  if (n <= 0) return NULL;
  path[n] = '\0';
  return within(path);
}

static unsigned long long inode(int fd) {
  struct stat st;
  if (fstat(fd, &st) != 0) abort();
  return (unsigned long long)st.st_ino;
}

static unsigned long long inode_at(const char *path) {
  struct stat st;
  return lstat(path, &st) == 0 ? (unsigned long long)st.st_ino : 0;
}

static void tell(const char *line, const void *data, size_t n) {
  REAL(int, "open", (const char *, int, ...));
  char end[] = "\n";
  struct iovec parts[3] = {{(void *)(size_t)line, strlen(line)},
                           {(void *)(size_t)data, n},
                           {end, data != NULL ? 1 : 0}};
  ssize_t all = (ssize_t)(parts[0].iov_len + n + parts[2].iov_len);
  int kept = errno;
  int fd = real(getenv("POWERLOSS_LOG"), O_WRONLY | O_APPEND | O_CREAT, 0600);
  if (fd < 0 || writev(fd, parts, 3) != all) abort();
  close(fd);
  errno = kept;
}

__attribute__((format(printf, 1, 2))) static void note(const char *f, ...) {
  char line[1100];
  va_list args;
  va_start(args, f);
  vsnprintf(line, sizeof line, f, args);
  va_end(args);
  tell(line, NULL, 0);
}

static void wrote(int fd, const void *data, ssize_t n, off64_t at) {
  char path[512], line[100];
  if (n <= 0 || name_of(fd, path) == NULL) return;
  snprintf(line, sizeof line, "write %llu %lld %zd\n", inode(fd),
           (long long)at, n);
  tell(line, data, (size_t)n);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at) {
  REAL(ssize_t, "pwrite", (int, const void *, size_t, off_t));
  ssize_t done = real(fd, p, n, at);
  wrote(fd, p, done, at);
  return done;
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at) {
  REAL(ssize_t, "pwrite64", (int, const void *, size_t, off64_t));
  ssize_t done = real(fd, p, n, at);
  wrote(fd, p, done, at);
  return done;
}

ssize_t write(int fd, const void *p, size_t n) {
  REAL(ssize_t, "write", (int, const void *, size_t));
  ssize_t done = real(fd, p, n);
  wrote(fd, p, done, lseek64(fd, 0, SEEK_CUR) - done);
  return done;
}

static int resized(int fd, off64_t size, int failed) {
  char path[512];
  if (!failed && name_of(fd, path) != NULL)
    note("size %llu %lld\n", inode(fd), (long long)size);
  return failed;
}

int ftruncate(int fd, off_t size) {
  REAL(int, "ftruncate", (int, off_t));
  return resized(fd, size, real(fd, size));
}

int ftruncate64(int fd, off64_t size) {
  REAL(int, "ftruncate64", (int, off64_t));
  return resized(fd, size, real(fd, size));
}

static int synced(int fd) {
  char path[512];
  const char *name = name_of(fd, path);
  if (name == NULL) return 0;
  if (name[0] == '\0')
    note("folder\n");
  else
    note("sync %llu\n", inode(fd));
  return 1;
}

int fsync(int fd) {
  REAL(int, "fsync", (int));
  return synced(fd) ? 0 : real(fd);
}

int fdatasync(int fd) {
  REAL(int, "fdatasync", (int));
  return synced(fd) ? 0 : real(fd);
}

static int opened(const char *path, int flags, int fd, int was_there) {
  const char *name = within(path);
  if (fd < 0 || name == NULL || name[0] == '\0') return fd;
  if (!was_there)
    note("create %llu %s\n", inode(fd), name);
  else if (flags & O_TRUNC)
    note("size %llu 0\n", inode(fd));
  return fd;
}

#define OPEN(name)                                                            \
  int name(const char *path, int flags, ...) {                                \
    REAL(int, #name, (const char *, int, ...));                               \
    int was_there = inode_at(path) != 0;                                      \
    mode_t mode;                                                              \
    va_list args;                                                             \
    va_start(args, flags);                                                    \
    mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;                        \
    va_end(args);                                                             \
    return opened(path, flags, real(path, flags, mode), was_there);           \
  }

OPEN(open)
OPEN(open64)

int mknod(const char *path, mode_t mode, dev_t device) {
  REAL(int, "mknod", (const char *, mode_t, dev_t));
  int failed = real(path, mode, device);
  const char *name = within(path);
  if (!failed && name != NULL) note("create %llu %s\n", inode_at(path), name);
  return failed;
}

int unlink(const char *path) {
  REAL(int, "unlink", (const char *));
  int failed = real(path);
  const char *name = within(path);
  if (!failed && name != NULL) note("unlink %s\n", name);
  return failed;
}

int rename(const char *from, const char *to) {
  REAL(int, "rename", (const char *, const char *));
  int failed = real(from, to);
  const char *old = within(from), *new = within(to);
  if (!failed && old != NULL && new != NULL)
    note("rename %s %s\n", old, new);
  else if (!failed && (old != NULL || new != NULL))
    note("other rename\n");
  return failed;
}

static void mapped(int how, int flags, int fd) {
  char path[512];
  const char *name = fd >= 0 ? name_of(fd, path) : NULL;
  if (name == NULL || !(how & PROT_WRITE) || !(flags & MAP_SHARED)) return;
  if (strlen(name) < 4 || strcmp(name + strlen(name) - 4, "-shm") != 0)
    note("other mapping of %s\n", name);
}

#define MMAP(name, offset)                                                    \
  void *name(void *p, size_t n, int how, int flags, int fd, offset at) {      \
    REAL(void *, #name, (void *, size_t, int, int, int, offset));             \
    mapped(how, flags, fd);                                                   \
    return real(p, n, how, flags, fd, at);                                    \
  }

MMAP(mmap, off_t)
MMAP(mmap64, off64_t)
