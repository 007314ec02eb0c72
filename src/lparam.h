/*
** lparam.h - the caller's parameters, one by one, as the walk over them
** (lcall.c) and the making of a body (lbody.c) ask for them.
**
** What is wrong with a call raises a message without a position: the client
** adds that of its own caller.
*/
#ifndef BILLHOOK_LPARAM_H
#define BILLHOOK_LPARAM_H

#include "compat.h"
#include "call.h"

#pragma GCC visibility push(hidden)

enum { LPARAM_PARAMS = 3, LPARAM_PATHS = 4 }; /* where prepare's stand */

BH_RAISES void lparam_fail(lua_State *L, const char *format, ...);

/* raises: the value at i is not what it must be. name is as the caller
** would write it, "items[2].price" */
BH_RAISES void lparam_bad(lua_State *L, const call_op *op, const char *name,
                          const char *must, int i);

/* raises: a required one is not there */
BH_RAISES void lparam_missing(lua_State *L, const call_op *op,
                              const char *name);

/* raises: there is no parameter of this name, which is written as it is to be
** shown; says which ones there are */
BH_RAISES void lparam_unknown(lua_State *L, const call_op *op,
                              const call_param *known, const char *name);

/* what a value is, for a message: short texts and numbers as they are. May
** push */
const char *lparam_describe(lua_State *L, int i);

/* the value at i; a decimal's text goes into room, DECIMAL_ROOM bytes */
call_value lparam_value(lua_State *L, int i, char *room);

/* checks and writes the value at i */
void lparam_put(lua_State *L, const call_op *op, const call_param *param,
                const char *name, int i, int encoded, call_out *out);

/* a list at i without gaps, names or emptiness: its length */
int lparam_checklist(lua_State *L, const call_op *op, const char *name, int i);

/* pushes the name of a list's element */
const char *lparam_element(lua_State *L, const char *name, int n);

/* pushes the parameter of this name, if 1 */
int lparam_given(lua_State *L, const char *name);

#pragma GCC visibility pop

#endif
