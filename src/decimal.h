/*
** decimal.h - exact decimal numbers for amounts of money.
**
** A decimal is an integer coefficient and a scale, the number of digits
** after the point: 19.90 is 1990 with scale 2, and stays so. Values
** are rounded only on request, and are never doubles. A value that does not
** fit is an error. Plain values; nothing here allocates.
*/
#ifndef BILLHOOK_DECIMAL_H
#define BILLHOOK_DECIMAL_H

#include <stddef.h>
#include <stdint.h>
#include "slice.h"

#pragma GCC visibility push(hidden)

#define DECIMAL_MAXSCALE 18
#define DECIMAL_ROOM     24 /* bytes that any decimal's text fits in */

typedef struct decimal {
  int64_t coefficient; /* never INT64_MIN, so that it can be negated */
  uint8_t scale;       /* 0 to DECIMAL_MAXSCALE */
} decimal;

typedef enum decimal_mode {
  DECIMAL_HALF_AWAY, /* to the nearest, a half away from zero */
  DECIMAL_HALF_EVEN, /* to the nearest, a half to the even digit */
  DECIMAL_DOWN,      /* towards zero */
  DECIMAL_UP         /* away from zero */
} decimal_mode;

/* The ones that give an int give 1, or 0 where the result does not fit; out
** is then untouched. */

int decimal_integer(int64_t n, decimal *out);

/* -?digits[.digits] and nothing else. Where it gives 0, malformed tells a
** bad text (1) from one that is only too long (0). */
int decimal_parse(slice text, decimal *out, int *malformed);

/* the wire text; gives its length, at most DECIMAL_ROOM */
size_t decimal_text(decimal d, char *out);

/* the larger scale of the two; zeros at the end go where they must, to fit */
int decimal_add(decimal a, decimal b, decimal *out);
/* both scales added; the same about zeros */
int decimal_mul(decimal a, decimal b, decimal *out);
decimal decimal_neg(decimal a);

/* by value: below 0, 0, above 0. 1.0 and 1.00 are equal */
int decimal_compare(decimal a, decimal b);

/* to exactly so many digits, 0 to DECIMAL_MAXSCALE, with zeros added where
** there were fewer */
int decimal_round(decimal a, unsigned digits, decimal_mode mode, decimal *out);

/* whole numbers only, whatever the scale (5.00 is 5): 1, or 0 */
int decimal_whole(decimal a, int64_t *out);

typedef struct decimal_share {
  int64_t ratio;     /* in: 0 or more */
  int64_t units;     /* out: the share, in units of d's last digit */
  int64_t remainder; /* what was cut off, for who gets the units left over */
  size_t index;      /* in: anything that tells the shares apart, ascending */
} decimal_share;

/* Splits d in proportion to the ratios without losing a unit: what integer
** division leaves goes to the largest remainders, the first of equals first.
** The shares may come back in another order. 0: no ratio is above zero, or
** they are too large to add. */
int decimal_allocate(decimal d, decimal_share *shares, size_t n);

#pragma GCC visibility pop

#endif
