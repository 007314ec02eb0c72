/*
** core.c - luaopen_billhook_core: one table with a field for each part.
** Links libcrypto and nothing else: what needs libcurl or a database is a
** shared object of its own.
*/
#define _GNU_SOURCE 1 /* dladdr */
#include "core.h"
#include "stay.h"

BILLHOOK_API int luaopen_billhook_core(lua_State *L);

static const luaL_Reg parts[] = {
    {"json", open_json}, {"decimal", open_decimal}, {"verify", open_verify},
    {"call", open_call}, {"request", open_request}, {"text", open_text},
    {NULL, NULL},
};

int luaopen_billhook_core(lua_State *L) {
  const luaL_Reg *part;
  stay_loaded();
  lua_newtable(L); /* [core] */
  for (part = parts; part->name != NULL; part++) {
    part->func(L); /* [core part] */
    lua_setfield(L, -2, part->name);
  }
  return 1;
}
