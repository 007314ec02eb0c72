/*
** ldecimal.h - how a Lua value is read as a decimal, for the bindings that
** take amounts.
*/
#ifndef BILLHOOK_LDECIMAL_H
#define BILLHOOK_LDECIMAL_H

#include "compat.h"
#include "decimal.h"

#pragma GCC visibility push(hidden)

typedef enum decimal_fault {
  DECIMAL_OK,
  DECIMAL_NONE,      /* no kind of value that could be one */
  DECIMAL_MALFORMED, /* a text that is not one */
  DECIMAL_OVERFLOW,  /* more digits than fit */
  DECIMAL_INFINITE,  /* a number that is infinite, or not a number */
  DECIMAL_VAGUE      /* a number whose digits are not certain */
} decimal_fault;

/* A decimal, a decimal text, an integer, or a number of up to 15 digits.
** Never raises; what a fault means to a reader is in decimal_faults. */
decimal_fault todecimal(lua_State *L, int i, decimal *out);
extern const char *const decimal_faults[];

/* a whole number within what a double keeps, or any 5.4 integer: 1, or 0 */
int tointeger(lua_State *L, int i, int64_t *out);

#pragma GCC visibility pop

#endif
