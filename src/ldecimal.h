/*
** ldecimal.h - how a Lua value is read as a decimal, for the bindings that
** take amounts.
*/
#ifndef BILLHOOK_LDECIMAL_H
#define BILLHOOK_LDECIMAL_H

#include "compat.h"
#include "decimal.h"

#pragma GCC visibility push(hidden)

typedef enum ldecimal_fault {
  LDECIMAL_OK,
  LDECIMAL_NONE,      /* no kind of value that could be one */
  LDECIMAL_MALFORMED, /* a text that is not one */
  LDECIMAL_OVERFLOW,  /* more digits than fit */
  LDECIMAL_INFINITE,  /* a number that is infinite, or not a number */
  LDECIMAL_VAGUE      /* a number whose digits are not certain */
} ldecimal_fault;

/* A decimal, a decimal text, an integer, or a number of up to 15 digits.
** Never raises; what a fault means to a reader is in ldecimal_faults. */
ldecimal_fault ldecimal_read(lua_State *L, int i, decimal *out);
extern const char *const ldecimal_faults[];

/* a whole number within what a double keeps, or any 5.4 integer: 1, or 0 */
int ldecimal_integer(lua_State *L, int i, int64_t *out);

#pragma GCC visibility pop

#endif
