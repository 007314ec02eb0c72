/*
** decimal.c - see decimal.h. Sums and products are made in 128 bits, which
** always hold them, and brought back to 64 by fit.
*/
#include "decimal.h"
#include <stdlib.h>

__extension__ typedef __int128 wide; /* ISO C has no name for it */

static const int64_t power[DECIMAL_MAXSCALE + 1] = {
    1,
    10,
    100,
    1000,
    10000,
    100000,
    1000000,
    10000000,
    100000000,
    1000000000,
    10000000000,
    100000000000,
    1000000000000,
    10000000000000,
    100000000000000,
    1000000000000000,
    10000000000000000,
    100000000000000000,
    1000000000000000000,
};

/* drops zeros at the end, but only as many as it takes */
static int fit(wide n, unsigned scale, decimal *out) {
  while (scale > DECIMAL_MAXSCALE || n > INT64_MAX || n < -INT64_MAX) {
    if (scale == 0 || n % 10 != 0) return 0;
    n /= 10;
    scale--;
  }
  out->coefficient = (int64_t)n;
  out->scale = (uint8_t)scale;
  return 1;
}

int decimal_integer(int64_t n, decimal *out) {
  return fit(n, 0, out);
}

static int isdigit_ascii(char c) {
  return c >= '0' && c <= '9';
}

/* digits, with one point between them: 1, or 0 */
static int well_formed(slice s) {
  size_t i, points = 0;
  if (s.n == 0 || !isdigit_ascii(s.p[0]) || !isdigit_ascii(s.p[s.n - 1]))
    return 0;
  for (i = 0; i < s.n; i++) {
    if (s.p[i] == '.')
      points++;
    else if (!isdigit_ascii(s.p[i]))
      return 0;
  }
  return points <= 1;
}

int decimal_parse(slice s, decimal *out, int *malformed) {
  int minus = s.n > 0 && s.p[0] == '-';
  int64_t n = 0;
  unsigned scale = 0;
  int fraction = 0;
  size_t i;
  s.p += minus;
  s.n -= (size_t)minus;
  *malformed = !well_formed(s);
  if (*malformed) return 0;
  for (i = 0; i < s.n; i++) {
    if (s.p[i] == '.') {
      fraction = 1;
      continue;
    }
    if (__builtin_mul_overflow(n, 10, &n) ||
        __builtin_add_overflow(n, s.p[i] - '0', &n))
      return 0;
    scale += (unsigned)fraction;
    if (scale > DECIMAL_MAXSCALE) return 0;
  }
  out->coefficient = minus ? -n : n;
  out->scale = (uint8_t)scale;
  return 1;
}

size_t decimal_text(decimal d, char *out) {
  char digits[DECIMAL_ROOM]; /* backwards */
  size_t n = 0, len = 0;
  int64_t rest = d.coefficient < 0 ? -d.coefficient : d.coefficient;
  do {
    digits[n++] = (char)('0' + rest % 10);
    rest /= 10;
    if (n == d.scale) digits[n++] = '.';
  } while (rest > 0 || n < (d.scale > 0 ? d.scale + 2U : 1U));
  if (d.coefficient < 0) out[len++] = '-';
  while (n > 0)
    out[len++] = digits[--n];
  return len;
}

/* a's coefficient as it would be with this scale, which is not smaller */
static wide scaled(decimal a, unsigned scale) {
  return (wide)a.coefficient * power[scale - a.scale];
}

static unsigned larger_scale(decimal a, decimal b) {
  return a.scale > b.scale ? a.scale : b.scale;
}

int decimal_add(decimal a, decimal b, decimal *out) {
  unsigned scale = larger_scale(a, b);
  return fit(scaled(a, scale) + scaled(b, scale), scale, out);
}

int decimal_mul(decimal a, decimal b, decimal *out) {
  return fit((wide)a.coefficient * b.coefficient, (unsigned)a.scale + b.scale,
             out);
}

decimal decimal_neg(decimal a) {
  a.coefficient = -a.coefficient;
  return a;
}

int decimal_compare(decimal a, decimal b) {
  unsigned scale = larger_scale(a, b);
  wide x = scaled(a, scale), y = scaled(b, scale);
  return (x > y) - (x < y);
}

/* whether what is cut off (its size, below unit) takes the digit before it,
** which is odd or not, one further from zero */
static int goes_up(int64_t cut, int64_t unit, int odd, decimal_mode mode) {
  int64_t half = cut - (unit - cut); /* below 0: less than a half */
  switch (mode) {
  case DECIMAL_DOWN:
    return 0;
  case DECIMAL_UP:
    return cut > 0;
  case DECIMAL_HALF_EVEN:
    return half > 0 || (half == 0 && odd);
  case DECIMAL_HALF_AWAY:
    break;
  }
  return half >= 0;
}

int decimal_round(decimal a, unsigned digits, decimal_mode mode,
                  decimal *out) {
  int64_t unit, kept, cut;
  wide n;
  if (digits > DECIMAL_MAXSCALE) return 0;
  if (digits >= a.scale) {
    n = scaled(a, digits);
    if (n > INT64_MAX || n < -INT64_MAX) return 0;
    out->coefficient = (int64_t)n;
    out->scale = (uint8_t)digits;
    return 1;
  }
  unit = power[a.scale - digits];
  kept = a.coefficient / unit;
  cut = a.coefficient % unit;
  if (goes_up(cut < 0 ? -cut : cut, unit, kept % 2 != 0, mode))
    kept += a.coefficient < 0 ? -1 : 1;
  out->coefficient = kept;
  out->scale = (uint8_t)digits;
  return 1;
}

int decimal_whole(decimal a, int64_t *out) {
  if (a.coefficient % power[a.scale] != 0) return 0;
  *out = a.coefficient / power[a.scale];
  return 1;
}

static int by_remainder(const void *left, const void *right) {
  const decimal_share *a = left, *b = right;
  if (a->remainder != b->remainder)
    return a->remainder < b->remainder ? 1 : -1;
  return (a->index > b->index) - (a->index < b->index);
}

int decimal_allocate(decimal d, decimal_share *shares, size_t n) {
  int minus = d.coefficient < 0;
  int64_t total = 0, left = minus ? -d.coefficient : d.coefficient;
  wide whole = left;
  size_t i;
  for (i = 0; i < n; i++)
    if (shares[i].ratio < 0 ||
        __builtin_add_overflow(total, shares[i].ratio, &total))
      return 0;
  if (total == 0) return 0;
  for (i = 0; i < n; i++) {
    wide part = whole * shares[i].ratio;
    shares[i].units = (int64_t)(part / total);
    shares[i].remainder = (int64_t)(part % total);
    left -= shares[i].units;
  }
  qsort(shares, n, sizeof *shares, by_remainder);
  for (i = 0; i < n; i++) {
    shares[i].units += (int64_t)i < left; /* fewer than have a remainder */
    if (minus) shares[i].units = -shares[i].units;
  }
  return 1;
}
