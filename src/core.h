/*
** core.h - the parts of billhook.core. Each opener pushes one table.
*/
#ifndef BILLHOOK_CORE_H
#define BILLHOOK_CORE_H

#include "compat.h"

#pragma GCC visibility push(hidden)

int open_json(lua_State *L);    /* ljson.c */
int open_decimal(lua_State *L); /* ldecimal.c */
int open_verify(lua_State *L);  /* lverify.c */
int open_call(lua_State *L);    /* lcall.c */
int open_request(lua_State *L); /* lcheck.c */
int open_text(lua_State *L);    /* ltext.c */

#pragma GCC visibility pop

#endif
