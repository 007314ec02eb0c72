/*
** failing_disk.c - for LD_PRELOAD: the FAULT_AT-th write, sync or change of
** size of a file whose path has FAULT_PATH in it fails with EIO, once; how
** many there were is written to FAULT_COUNT when the process exits.
**
** While there is a file FAULT_WHILE, each sync fails of files whose path ends
** as it says. While there is a file FAULT_FULL, there is no room (ENOSPC) in
** files whose path has in it what that says; what stdio writes is not seen
** here. Both also hold for a process that has lost its environment.
*/
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static long calls;
static char failing[512], full[512];

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("FAULT_WHILE");
  if (path != NULL) snprintf(failing, sizeof failing, "%s", path);
  path = getenv("FAULT_FULL");
  if (path != NULL) snprintf(full, sizeof full, "%s", path);
}

static int path_of(int fd, char path[512]) {
  char link[64];
  ssize_t n;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  n = readlink(link, path, 511);
  if (n <= 0) return 0;
  path[n] = '\0';
  return 1;
}

/* what a file says, if it is there: so many bytes */
static size_t text_of(const char *name, char text[100]) {
  FILE *file = name[0] != '\0' ? fopen(name, "r") : NULL;
  size_t n;
  if (file == NULL) return 0;
  n = fread(text, 1, 99, file);
  text[n] = '\0';
  fclose(file);
  return n;
}

static int has_no_room(int fd) {
  char path[512], part[100];
  if (text_of(full, part) == 0 || !path_of(fd, path)) return 0;
  if (strstr(path, part) == NULL) return 0;
  errno = ENOSPC;
  return 1;
}

static int sync_fails(int fd) {
  char path[512], end[100];
  size_t n = text_of(failing, end), m;
  if (n == 0 || !path_of(fd, path)) return 0;
  m = strlen(path);
  if (m < n || memcmp(path + m - n, end, n) != 0) return 0;
  errno = EIO;
  return 1;
}

static int fails(int fd) {
  const char *part = getenv("FAULT_PATH"), *at = getenv("FAULT_AT");
  char path[512];
  if (part == NULL || at == NULL || !path_of(fd, path)) return 0;
  if (strstr(path, part) == NULL || ++calls != atol(at)) return 0;
  errno = EIO;
  return 1;
}

#define REAL(type, name, parameters)                                          \
  type(*real) parameters = (type(*) parameters)dlsym(RTLD_NEXT, name)

ssize_t write(int fd, const void *p, size_t n) {
  REAL(ssize_t, "write", (int, const void *, size_t));
  return has_no_room(fd) ? -1 : real(fd, p, n);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at) {
  REAL(ssize_t, "pwrite", (int, const void *, size_t, off_t));
  return fails(fd) || has_no_room(fd) ? -1 : real(fd, p, n, at);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at) {
  REAL(ssize_t, "pwrite64", (int, const void *, size_t, off64_t));
  return fails(fd) || has_no_room(fd) ? -1 : real(fd, p, n, at);
}

int fsync(int fd) {
  REAL(int, "fsync", (int));
  return fails(fd) || sync_fails(fd) ? -1 : real(fd);
}

int fdatasync(int fd) {
  REAL(int, "fdatasync", (int));
  return fails(fd) || sync_fails(fd) ? -1 : real(fd);
}

int ftruncate(int fd, off_t size) {
  REAL(int, "ftruncate", (int, off_t));
  return fails(fd) || has_no_room(fd) ? -1 : real(fd, size);
}

int ftruncate64(int fd, off64_t size) {
  REAL(int, "ftruncate64", (int, off64_t));
  return fails(fd) || has_no_room(fd) ? -1 : real(fd, size);
}

__attribute__((destructor)) static void tell(void) {
  const char *path = getenv("FAULT_COUNT");
  FILE *file = path != NULL ? fopen(path, "w") : NULL;
  if (file == NULL) return;
  fprintf(file, "%ld\n", calls);
  fclose(file);
}
