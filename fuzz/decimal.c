/* with: decimal.c text.c */
/*
** fuzz/decimal.c - two decimals and what is done with them: what is read is
** written as it stood, sums and shares add up, rounding stays within a unit.
*/
#include "decimal.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int good) {
  if (!good) abort();
}

static void reread(decimal d) {
  char text[DECIMAL_ROOM];
  slice s = {text, decimal_text(d, text)};
  decimal again = {0, 0};
  int malformed;
  must(s.n <= sizeof text && decimal_parse(s, &again, &malformed));
  must(again.coefficient == d.coefficient && again.scale == d.scale);
}

static void round_and_split(decimal d, const uint8_t *data, size_t size) {
  decimal_share shares[8];
  decimal out = {0, 0}, back = {0, 0};
  int64_t sum = 0;
  size_t i;
  unsigned digits = size > 0 ? data[0] % 20 : 0;
  if (decimal_round(d, digits, (decimal_mode)(digits % 4), &out)) {
    decimal unit = {1, out.scale};
    must(out.scale == digits);
    reread(out);
    if (decimal_add(out, decimal_neg(d), &back)) {
      if (back.coefficient < 0) back = decimal_neg(back);
      must(decimal_compare(back, unit) < 0);
    }
  }
  for (i = 0; i < 8; i++) {
    shares[i].ratio = i < size ? data[i] : 0;
    shares[i].index = i;
  }
  if (!decimal_allocate(d, shares, 8)) return;
  for (i = 0; i < 8; i++) {
    must(shares[i].ratio > 0 || shares[i].units == 0);
    sum += shares[i].units;
  }
  must(sum == d.coefficient);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  slice a = {(const char *)data, 0}, b;
  decimal x = {0, 0}, y = {0, 0}, sum, back;
  int malformed;
  while (a.n < size && a.p[a.n] != ' ')
    a.n++;
  b.p = a.p + a.n + (a.n < size);
  b.n = size - a.n - (a.n < size);
  if (!decimal_parse(a, &x, &malformed)) return 0;
  reread(x);
  round_and_split(x, (const uint8_t *)b.p, b.n);
  if (!decimal_parse(b, &y, &malformed)) return 0;
  must(decimal_compare(x, y) == -decimal_compare(y, x));
  if (decimal_add(x, y, &sum)) {
    reread(sum);
    if (decimal_add(sum, decimal_neg(y), &back))
      must(decimal_compare(back, x) == 0);
  }
  if (decimal_mul(x, y, &sum)) reread(sum);
  return 0;
}
