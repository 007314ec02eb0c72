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
**
** With POWERLOSS_FAIL=N about one sync of N fails with EIO, and the kernel's
** own writing fails now and then before one is asked for, while there is a
** file POWERLOSS_WHILE: "failed INODE". This is as on Linux since 4.17, whose
** name for it is errseq_t:
**   * What was to be written counts as clean after that, and stays readable;
**     a later sync does not write it unless its page is written to once more.
**   * Each descriptor that was open before reports an error once: its next
**     sync gives EIO although it writes all that is dirty. One that is opened
**     later does so only if nobody has been told yet.
**   * Nothing fails where nothing is dirty, nor does a folder.
** POWERLOSS_STATE is a file for what the kernel knows of this: it outlives
** the process. POWERLOSS_SEED begins the row of what is drawn.
**
** With POWERLOSS_KILL=N the process is killed at its N-th write or sync. With
** POWERLOSS_PLAIN nobody finds SQLite's file objects: what durable.c does with
** them is not done.
*/
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
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

/* --- failures --------------------------------------------------------- */

#define FILES 64
#define FDS   1024

typedef struct file {
  unsigned long long inode;
  unsigned errors; /* so many until now */
  int told;        /* has the last one been reported to anybody? */
  int dirty;
} file;

static struct kernel {
  unsigned long long drawn; /* 0: not begun */
  file files[FILES];
} *kernel;

static unsigned seen[FDS]; /* errors, of the file that the descriptor is for */

static const struct kernel *begun(void) {
  REAL(int, "open", (const char *, int, ...));
  const char *state = getenv("POWERLOSS_STATE"), *seed;
  int fd;
  if (kernel != NULL || state == NULL) return kernel;
  fd = real(state, O_RDWR | O_CREAT, 0600);
  if (fd < 0 || ftruncate(fd, sizeof *kernel) != 0) abort();
  kernel = mmap(NULL, sizeof *kernel, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                0);
  if (kernel == MAP_FAILED) abort();
  close(fd);
  seed = getenv("POWERLOSS_SEED");
  if (kernel->drawn == 0)
    kernel->drawn = (seed != NULL ? strtoull(seed, NULL, 10) : 0) * 2 + 1;
  return kernel;
}

/* one time of n */
static int drawn(unsigned n) {
  kernel->drawn =
      kernel->drawn * 6364136223846793005u + 1442695040888963407u;
  return (kernel->drawn >> 33) % n == 0;
}

static file *file_of(unsigned long long inode) {
  int i = 0;
  if (begun() == NULL) return NULL;
  while (kernel->files[i].inode != inode && kernel->files[i].inode != 0)
    if (++i == FILES) abort();
  kernel->files[i].inode = inode;
  return &kernel->files[i];
}

/* its number goes to the next file that is made */
static void forget(unsigned long long number) {
  file *f = file_of(number);
  if (f == NULL) return;
  f->errors = 0;
  f->told = f->dirty = 0;
}

static unsigned failing(void) {
  const char *every = getenv("POWERLOSS_FAIL"), *now;
  if (every == NULL || begun() == NULL) return 0;
  now = getenv("POWERLOSS_WHILE");
  return now != NULL && access(now, F_OK) == 0 ? (unsigned)atol(every) : 0;
}

static void lost(file *f) {
  f->errors++;
  f->dirty = f->told = 0;
  note("failed %llu\n", f->inode);
}

/* Of a file that is dirty no longer. 0, or -1: it fails. */
static int sync_result(int fd) {
  file *f = file_of(inode(fd));
  unsigned every = failing();
  if (f != NULL && every > 0 && f->dirty && drawn(every)) {
    lost(f);
  } else {
    if (f != NULL) f->dirty = 0;
    note("sync %llu\n", inode(fd));
  }
  if (f == NULL || fd >= FDS || seen[fd] == f->errors) return 0;
  seen[fd] = f->errors;
  f->told = 1;
  errno = EIO;
  return -1;
}

static void dirtied(int fd) {
  file *f = file_of(inode(fd));
  unsigned every = failing();
  if (f == NULL) return;
  if (every > 1 && f->dirty && drawn(every * 50)) lost(f);
  f->dirty = 1;
}

static void may_be_killed(void) {
  static long calls;
  const char *at = getenv("POWERLOSS_KILL");
  if (at != NULL && ++calls == atol(at)) kill(getpid(), SIGKILL);
}

/* --- what is done ----------------------------------------------------- */

static void wrote(int fd, const void *data, ssize_t n, off64_t at) {
  char path[512], line[100];
  if (n <= 0 || name_of(fd, path) == NULL) return;
  dirtied(fd);
  snprintf(line, sizeof line, "write %llu %lld %zd\n", inode(fd),
           (long long)at, n);
  tell(line, data, (size_t)n);
  may_be_killed();
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

/* is it a file of the folder? then *result is what its sync gives */
static int synced(int fd, int *result) {
  char path[512];
  const char *name = name_of(fd, path);
  *result = 0;
  if (name == NULL) return 0;
  if (name[0] == '\0')
    note("folder\n");
  else
    *result = sync_result(fd);
  may_be_killed();
  return 1;
}

int fsync(int fd) {
  REAL(int, "fsync", (int));
  int result;
  return synced(fd, &result) ? result : real(fd);
}

int fdatasync(int fd) {
  REAL(int, "fdatasync", (int));
  int result;
  return synced(fd, &result) ? result : real(fd);
}

static int opened(const char *path, int flags, int fd, int was_there) {
  const char *name = within(path);
  file *f;
  if (fd < 0 || name == NULL || name[0] == '\0') return fd;
  if (!was_there) {
    note("create %llu %s\n", inode(fd), name);
    forget(inode(fd));
  } else if (flags & O_TRUNC) {
    note("size %llu 0\n", inode(fd));
  }
  f = file_of(inode(fd));
  if (f != NULL && fd < FDS) seen[fd] = f->told ? f->errors : 0;
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
  if (failed || name == NULL) return failed;
  note("create %llu %s\n", inode_at(path), name);
  forget(inode_at(path));
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

/* its library is not one of those that the program itself was linked to */
int sqlite3_file_control(void *db, const char *name, int op, void *p) {
  void *library = dlopen("libsqlite3.so.0", RTLD_LAZY | RTLD_NOLOAD);
  int (*real)(void *, const char *, int, void *) =
      library != NULL ? (int (*)(void *, const char *, int, void *))dlsym(
                            library, "sqlite3_file_control")
                      : NULL;
  if (real == NULL) abort();
  dlclose(library);
  return getenv("POWERLOSS_PLAIN") != NULL ? 12 /* SQLITE_NOTFOUND */
                                           : real(db, name, op, p);
}
