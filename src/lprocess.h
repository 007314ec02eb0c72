/*
** lprocess.h - what lfiles.c has for process.c, the other binding of
** billhook.process.
*/
#ifndef BILLHOOK_LPROCESS_H
#define BILLHOOK_LPROCESS_H

#include "compat.h"

#pragma GCC visibility push(hidden)

/* nil and "what: why" of an errno */
int lprocess_fault(lua_State *L, const char *what, int code);

/* true, where the result of a system call is 0; else the same of errno */
int lprocess_done(lua_State *L, const char *what, int result);

/* sets the functions of lfiles.c in the table on the top */
void lprocess_add_files(lua_State *L);

#pragma GCC visibility pop

#endif
