/*
** lmark.h - marks (see call.h) as Lua objects: see lmark.c.
*/
#ifndef BILLHOOK_LMARK_H
#define BILLHOOK_LMARK_H

#include "compat.h"
#include "call.h"

#pragma GCC visibility push(hidden)

void lmark_open(lua_State *L); /* once, before the first */
void lmark_push(lua_State *L, const call_mark *mark); /* or NULL */

#pragma GCC visibility pop

#endif
