/*
** json_scan.h - what the three JSON engines share beneath json.h.
**
** Stepping over plain bytes of a string is where most of the time goes, so
** it is done 16 at a time where the machine has SSE2, 8 at a time elsewhere,
** and never touches a byte at or behind the end. The escape functions trust
** their input: json_parse has checked it.
*/
#ifndef BILLHOOK_JSON_SCAN_H
#define BILLHOOK_JSON_SCAN_H

#include <string.h>
#include "json.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#pragma GCC visibility push(hidden)

typedef const unsigned char *scan_bytes;

static inline int scan_is_space(unsigned char c) {
  return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* printable ASCII but the two that mean something in a string */
static inline int scan_is_plain(unsigned char c) {
  return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

#ifdef __SSE2__
#define SCAN_STEP 16

/* which of 16 bytes are not plain, one bit each; a byte from 0x80 on is
** negative, so the one comparison with a space finds it and the controls */
static inline uint64_t scan_stops(scan_bytes p) {
  __m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
  __m128i quote = _mm_cmpeq_epi8(x, _mm_set1_epi8('"'));
  __m128i slash = _mm_cmpeq_epi8(x, _mm_set1_epi8('\\'));
  __m128i other = _mm_cmplt_epi8(x, _mm_set1_epi8(' '));
  __m128i any = _mm_or_si128(_mm_or_si128(quote, slash), other);
  return (unsigned)_mm_movemask_epi8(any);
}

static inline scan_bytes scan_first_stop(scan_bytes p, uint64_t stops) {
  return p + __builtin_ctzll(stops);
}

#else
#define SCAN_STEP 8

/* not 0 where one of 8 bytes is not plain */
static inline uint64_t scan_stops(scan_bytes p) {
  const uint64_t ones = UINT64_C(0x0101010101010101), high = ones << 7;
  uint64_t x, quote, slash;
  memcpy(&x, p, sizeof x);
  quote = x ^ ones * '"'; /* a byte is 0 where it was equal */
  slash = x ^ ones * '\\';
  return ((quote - ones) | (slash - ones) | (x - ones * ' ') | x) & high;
}

static inline scan_bytes scan_first_stop(scan_bytes p, uint64_t stops) {
  (void)stops;
  while (scan_is_plain(*p))
    p++;
  return p;
}

#endif

/* the first byte from p on that is not plain, or end */
static inline scan_bytes scan_skip_plain(scan_bytes p, scan_bytes end) {
  for (; end - p >= SCAN_STEP; p += SCAN_STEP) {
    uint64_t stops = scan_stops(p);
    if (stops != 0) return scan_first_stop(p, stops);
  }
  while (p < end && scan_is_plain(*p))
    p++;
  return p;
}

/* The character of the escape whose backslash is at *p; steps over it, over
** both halves of a surrogate pair. A half alone is given as it is. */
uint32_t scan_unescape(const char **p);

size_t scan_utf8(uint32_t c, char *out); /* 1 to 4 bytes */

static inline int scan_is_half(uint32_t c) { /* of a surrogate pair */
  return c >= 0xd800 && c <= 0xdfff;
}

int32_t scan_hex4(scan_bytes p, scan_bytes end); /* four digits, or -1 */

/* is this the string's text, however it is spelt? */
int scan_is(const json_doc *doc, uint32_t node, slice text);

/* A number in parts: its digits before and behind the point, without zeros
** at their outer ends, and the power of ten that the last of them counts. No
** digits: it is zero. */
typedef struct scan_digits {
  slice whole, part;
  int64_t power;
  int negative;
  int huge; /* the exponent has too many digits: power says nothing */
} scan_digits;

scan_digits scan_split(const json_doc *doc, uint32_t node);

#pragma GCC visibility pop

#endif
