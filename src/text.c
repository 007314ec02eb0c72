/*
** text.c - see text.h.
*/
#include "text.h"

#include <limits.h>

static const char hexdigits[] = "0123456789abcdef";
static const char HEXDIGITS[] = "0123456789ABCDEF";
static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "abcdefghijklmnopqrstuvwxyz0123456789+/";

void text_hex(const void *in, size_t n, char *out) {
  const unsigned char *p = in;
  size_t i;
  for (i = 0; i < n; i++) {
    *out++ = hexdigits[p[i] >> 4];
    *out++ = hexdigits[p[i] & 15];
  }
}

static int hexvalue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

int text_unhex(slice in, void *out, size_t room) {
  unsigned char *o = out;
  size_t i;
  if (in.n % 2 != 0 || in.n / 2 != room) return 0;
  for (i = 0; i < room; i++) {
    int high = hexvalue(in.p[2 * i]), low = hexvalue(in.p[2 * i + 1]);
    if (high < 0 || low < 0) return 0;
    o[i] = (unsigned char)(high << 4 | low);
  }
  return 1;
}

size_t text_base64(const void *in, size_t n, char *out) {
  const unsigned char *p = in;
  char *o = out;
  for (; n >= 3; n -= 3, p += 3) {
    *o++ = alphabet[p[0] >> 2];
    *o++ = alphabet[(p[0] & 3) << 4 | p[1] >> 4];
    *o++ = alphabet[(p[1] & 15) << 2 | p[2] >> 6];
    *o++ = alphabet[p[2] & 63];
  }
  if (n > 0) {
    unsigned second = n == 2 ? p[1] : 0;
    *o++ = alphabet[p[0] >> 2];
    *o++ = alphabet[(p[0] & 3) << 4 | second >> 4];
    *o++ = n == 2 ? alphabet[(second & 15) << 2] : '=';
    *o++ = '=';
  }
  return (size_t)(o - out);
}

/* the six bits of a character; *kind gathers which alphabet it is from */
static int sixbits(char c, int *kind) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+' || c == '/') {
    *kind |= 1;
    return c == '+' ? 62 : 63;
  }
  if (c == '-' || c == '_') {
    *kind |= 2;
    return c == '-' ? 62 : 63;
  }
  return -1;
}

/* without right padding: 1; with none: 1; with wrong one: 0 */
static int unpad(slice *in) {
  size_t pad = 0;
  while (pad < 2 && pad < in->n && in->p[in->n - 1 - pad] == '=')
    pad++;
  if (pad > 0 && in->n % 4 != 0) return 0;
  in->n -= pad;
  return in->n % 4 != 1;
}

int text_unbase64(slice in, void *out, size_t room) {
  unsigned char *o = out;
  uint32_t bits = 0;
  size_t i, size;
  int have = 0, kind = 0;
  if (!unpad(&in)) return -1;
  size = in.n / 4 * 3 + in.n % 4 * 3 / 4;
  if (size > room || size > INT_MAX) return -1;
  for (i = 0; i < in.n; i++) {
    int six = sixbits(in.p[i], &kind);
    if (six < 0) return -1;
    bits = (bits << 6 | (uint32_t)six) & 0xffffff;
    have += 6;
    if (have >= 8) have -= 8, *o++ = (unsigned char)(bits >> have);
  }
  if ((bits & ((1u << have) - 1)) != 0 || kind == 3) return -1;
  return (int)size;
}

static int unreserved(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
         (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' ||
         c == '~';
}

size_t text_percent(slice in, char *out) {
  char *o = out;
  size_t i;
  for (i = 0; i < in.n; i++) {
    unsigned char c = (unsigned char)in.p[i];
    if (unreserved(in.p[i])) {
      *o++ = in.p[i];
    } else {
      *o++ = '%';
      *o++ = HEXDIGITS[c >> 4];
      *o++ = HEXDIGITS[c & 15];
    }
  }
  return (size_t)(o - out);
}

int text_digits(slice in, int64_t *out) {
  int64_t value = 0;
  size_t i;
  if (in.n < 1 || in.n > 18) return 0;
  for (i = 0; i < in.n; i++) {
    if (in.p[i] < '0' || in.p[i] > '9') return 0;
    value = value * 10 + (in.p[i] - '0');
  }
  *out = value;
  return 1;
}
