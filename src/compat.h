/*
** compat.h - one C source for Lua 5.4, LuaJIT and plain Lua 5.1.
**
** The code is written for the newer API; what 5.1 lacks is supplied here,
** and only from functions that plain 5.1 exports, so that an object built
** with LuaJIT's headers also loads in plain Lua 5.1. This is the only file
** that looks at LUA_VERSION_NUM. It also marks what a shared object exports.
*/
#ifndef BILLHOOK_COMPAT_H
#define BILLHOOK_COMPAT_H

#include <lua.h>
#include <lauxlib.h>
#include <stdint.h>

#define BILLHOOK_API __attribute__((visibility("default")))

/* of a function that raises, and so never comes back */
#define BH_RAISES __attribute__((noreturn))

/* lua_error, whose own declaration does not say so */
BH_RAISES static inline void bh_raise(lua_State *L) {
  lua_error(L);
  __builtin_unreachable();
}

#if LUA_VERSION_NUM == 501

#undef luaL_newlib
#define lua_rawlen(L, i)            lua_objlen(L, i)
#define lua_newuserdatauv(L, n, u)  lua_newuserdata(L, n)
#define lua_getiuservalue(L, i, n)  lua_getfenv(L, i)
#define lua_setiuservalue(L, i, n)  lua_setfenv(L, i)
#define lua_isinteger(L, i)         (0)
#define luaL_setmetatable(L, tname) bh_setmetatable(L, tname)
#define luaL_testudata(L, i, tname) bh_testudata(L, i, tname)
#define luaL_setfuncs(L, l, nup)    bh_setfuncs(L, l)
#define luaL_newlib(L, l)                                        \
  (lua_createtable(L, 0, (int)(sizeof(l) / sizeof((l)[0]) - 1)), \
   bh_setfuncs(L, l))
#define lua_absindex(L, i) \
  ((i) > 0 || (i) <= LUA_REGISTRYINDEX ? (i) : lua_gettop(L) + (i) + 1)

static inline void bh_setmetatable(lua_State *L, const char *tname) {
  luaL_getmetatable(L, tname);
  lua_setmetatable(L, -2);
}

static inline void *bh_testudata(lua_State *L, int i, const char *tname) {
  void *p = lua_touserdata(L, i);
  if (p == NULL || !lua_getmetatable(L, i)) return NULL;
  luaL_getmetatable(L, tname);
  if (!lua_rawequal(L, -1, -2)) p = NULL;
  lua_pop(L, 2);
  return p;
}

/* without upvalues: nothing here needs them */
static inline void bh_setfuncs(lua_State *L, const luaL_Reg *l) {
  for (; l->name != NULL; l++) {
    lua_pushcfunction(L, l->func);
    lua_setfield(L, -2, l->name);
  }
}

/* integers are doubles there; what a double cannot hold must stay text */
#define BH_MAXINTEGER INT64_C(9007199254740992)

#else

#define BH_MAXINTEGER INT64_MAX

#endif

#endif
