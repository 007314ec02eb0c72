/*
** clock.c - for LD_PRELOAD: the clock that can be set (not the monotonic one)
** goes wrong by as many seconds as the file CLOCK_FILE says (16 characters);
** they may change at any time.
*/
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { LENGTH = 16 };

static const volatile char *wrong;

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("CLOCK_FILE");
  int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  void *p;
  if (fd < 0) return;
  p = mmap(NULL, LENGTH, PROT_READ, MAP_SHARED, fd, 0);
  if (p != MAP_FAILED) wrong = p;
  close(fd);
}

#define REAL(type, name, parameters)                                          \
  type(*real) parameters = (type(*) parameters)dlsym(RTLD_NEXT, name)

static time_t seconds(void) {
  char text[LENGTH + 1] = "";
  for (int i = 0; wrong != NULL && i < LENGTH; i++) text[i] = wrong[i];
  return atol(text);
}

int clock_gettime(clockid_t id, struct timespec *ts) {
  REAL(int, "clock_gettime", (clockid_t, struct timespec *));
  int status = real(id, ts);
  if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)
    ts->tv_sec += seconds();
  return status;
}

int gettimeofday(struct timeval *restrict tv, void *restrict tz) {
  REAL(int, "gettimeofday", (struct timeval *, void *));
  int status = real(tv, tz);
  tv->tv_sec += seconds();
  return status;
}

time_t time(time_t *out) {
  struct timespec ts;
  clock_gettime(CLOCK_REALTIME, &ts);
  if (out != NULL) *out = ts.tv_sec;
  return ts.tv_sec;
}
