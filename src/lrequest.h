/*
** lrequest.h - requests in Lua, as the binding of libcurl and, for the
** other transports, core.request read them: see request.h.
**
** What is wrong raises at the line of whoever called the transport, which is
** the function that called the C function here.
*/
#ifndef BILLHOOK_LREQUEST_H
#define BILLHOOK_LREQUEST_H

#include "compat.h"
#include "request.h"

#pragma GCC visibility push(hidden)

BH_RAISES void lrequest_refuse(lua_State *L, const char *format, ...);

/* The table at i, whose strings it points to. */
void lrequest_read(lua_State *L, int i, int stream, request *r);

/* [name value]: a header's, checked; what is at hand of them before that */
void lrequest_peek(lua_State *L, slice *name, slice *value);
void lrequest_header(lua_State *L, slice name, slice value);

#pragma GCC visibility pop

#endif
