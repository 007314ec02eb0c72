/* with: text.c */
/*
** fuzz/text.c - the encodings of the web: what is written is read again, what
** is read is written the same, and no byte beyond the room is touched.
*/
#include "text.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int good) {
  if (!good) abort();
}

/* a block of so many bytes, so that one too far is seen */
static char *room(size_t n) {
  char *p = malloc(n > 0 ? n : 1);
  must(p != NULL);
  return p;
}

static void hex(slice in) {
  char *out = room(2 * in.n), *back = room(in.n), *bytes = room(in.n / 2);
  slice text = {out, 2 * in.n};
  text_hex(in.p, in.n, out);
  must(text_unhex(text, back, in.n) && memcmp(back, in.p, in.n) == 0);
  if (text_unhex(in, bytes, in.n / 2)) {
    text_hex(bytes, in.n / 2, out);
    must(slice_same((slice){out, in.n}, in));
  }
  free(out), free(back), free(bytes);
}

static void base64(slice in) {
  size_t n = TEXT_BASE64(in.n);
  char *out = room(n), *back = room(in.n), *again;
  slice text = {out, n};
  int got;
  must(text_base64(in.p, in.n, out) == n);
  must(text_unbase64(text, back, in.n) == (int)in.n);
  must(memcmp(back, in.p, in.n) == 0);
  got = text_unbase64(in, back, in.n);
  must(got <= (int)in.n);
  if (got >= 0) { /* one text, one spelling: but for alphabet and padding */
    size_t i, m = TEXT_BASE64((size_t)got);
    again = room(m);
    must(text_base64(back, (size_t)got, again) == m && in.n <= m);
    for (i = 0; i < in.n; i++) {
      char c = in.p[i];
      if (c == '-') c = '+';
      if (c == '_') c = '/';
      must(again[i] == c);
    }
    must(got == 0 || text_unbase64(in, back, (size_t)got) == got);
    must(got == 0 || text_unbase64(in, back, (size_t)got - 1) == -1);
    free(again);
  }
  free(out), free(back);
}

static int digit(char c) {
  return c <= '9' ? c - '0' : c - 'A' + 10;
}

static void percent(slice in) {
  char *out = room(3 * in.n);
  size_t n = text_percent(in, out), i, at = 0;
  must(n >= in.n && n <= 3 * in.n);
  for (i = 0; i < in.n; i++) {
    unsigned char c = (unsigned char)in.p[i];
    if (out[at] == '%') {
      must(at + 2 < n && digit(out[at + 1]) * 16 + digit(out[at + 2]) == c);
      at += 3;
    } else {
      must(out[at++] == (char)c && strchr("&=?#/+% \"<>", c) == NULL);
      must(c > ' ' && c < 127);
    }
  }
  must(at == n);
  free(out);
}

static void digits(slice in) {
  int64_t n = -1;
  char text[32];
  if (!text_digits(in, &n)) return;
  must(n >= 0 && in.n >= 1 && in.n <= 18);
  memcpy(text, in.p, in.n);
  text[in.n] = '\0';
  must(strtoll(text, NULL, 10) == n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char *copy = room(size);
  slice in = {copy, size};
  if (size > 0) memcpy(copy, data, size);
  hex(in);
  base64(in);
  percent(in);
  digits(in);
  free(copy);
  return 0;
}
