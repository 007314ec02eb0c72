/*
** slice.h - bytes that somebody else owns: a body, a header, a Lua string.
*/
#ifndef BILLHOOK_SLICE_H
#define BILLHOOK_SLICE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct slice {
  const char *p; /* NULL: absent */
  size_t n;
} slice;

/* of a C string; NULL gives absence */
static inline slice slice_of(const char *text) {
  slice s = {text, text != NULL ? strlen(text) : 0};
  return s;
}

static inline int slice_equal(slice a, slice b) {
  /* memcmp must not see the NULL of an absent slice */
  return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* without regard to ASCII case */
static inline int slice_same(slice a, slice b) {
  size_t i;
  if (a.n != b.n) return 0;
  for (i = 0; i < a.n; i++) {
    char x = a.p[i], y = b.p[i];
    if (x >= 'A' && x <= 'Z') x = (char)(x + 32);
    if (y >= 'A' && y <= 'Z') y = (char)(y + 32);
    if (x != y) return 0;
  }
  return 1;
}

/* without spaces and tabs at both ends */
static inline slice slice_trim(slice s) {
  while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
    s.n--;
  while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
    s.p++, s.n--;
  return s;
}

#endif
