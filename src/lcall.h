/*
** lcall.h - what the two halves of the calls' binding share: lcall.c walks
** over the caller's parameters, lbody.c makes the body of them.
**
** What is wrong with a call raises a message without a position: the client
** adds that of its own caller.
*/
#ifndef BILLHOOK_LCALL_H
#define BILLHOOK_LCALL_H

#include "compat.h"
#include "call.h"

#pragma GCC visibility push(hidden)

enum { ARG_PARAMS = 3, ARG_PATHS = 4 }; /* where prepare's stand */

typedef struct call_request {
  const call_op *op;
  const call_route *route;
  slice path; /* the route's, or the client's own */
} call_request;

/* raises; the types are so that it can stand in a return */
int lcall_fail(lua_State *L, const char *format, ...);

/* raises: the value at i is not what was expected. name is as the caller
** would write it, "items[2].price" */
int lcall_bad(lua_State *L, const call_op *op, const char *name,
              const char *expected, int i);

/* checks and writes the value at i */
void lcall_put(lua_State *L, const call_op *op, const call_param *param,
               const char *name, int i, int encoded, call_out *out);

/* a list at i without gaps, names or emptiness: its length */
int lcall_checklist(lua_State *L, const call_op *op, const char *name, int i);

/* pushes the name of a list's element */
const char *lcall_element(lua_State *L, const char *name, int n);

/* pushes the parameter of this name, if 1 */
int lcall_given(lua_State *L, const char *name);

/* sets the body of the table on top, if the operation has one */
void lcall_set_body(lua_State *L, const call_request *r);

/* pushes the metatable of numbers that are sent as they are written: tables
** with their text at 1 */
void lcall_pushnumbers(lua_State *L);

#pragma GCC visibility pop

#endif
