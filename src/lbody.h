/*
** lbody.h - the body of a call, made of the caller's parameters.
*/
#ifndef BILLHOOK_LBODY_H
#define BILLHOOK_LBODY_H

#include "compat.h"
#include "call.h"

#pragma GCC visibility push(hidden)

typedef struct lbody_request {
  const call_op *op;
  const call_route *route;
  slice path; /* the route's, or the client's own */
} lbody_request;

/* sets the body of the table on top, if the operation has one */
void lbody_set(lua_State *L, const lbody_request *r);

/* pushes the metatable of numbers that are sent as they are written: tables
** with their text at 1 */
void lbody_pushnumbers(lua_State *L);

#pragma GCC visibility pop

#endif
