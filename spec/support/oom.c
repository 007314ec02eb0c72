/*
** oom.c - a Lua module and, for LD_PRELOAD, the allocator of its process: the
** n-th allocation while a function runs fails, or that and all after it.
**
**   failed, ok, ... = oom.run(n, all, fn)   as pcall; failed: did one fail?
**
** Lua's own allocations are counted where they are made: by malloc, or, where
** the state has an allocator of its own (-DOWN_ALLOCATOR: LuaJIT), by a wrapper
** around that.
*/
#define _GNU_SOURCE 1
#include <lauxlib.h>
#include <lua.h>
#include <stddef.h>
#include <stdlib.h>

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);

static __thread long left = -1; /* until one fails; below 0: none */
static __thread int all, failed;

static int fails(void) {
  if (left < 0 || (left > 0 && --left > 0)) return 0;
  if (!all) left = -1;
  failed = 1;
  return 1;
}

void *malloc(size_t n) {
  return fails() ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size) {
  return fails() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n) {
  return n > 0 && fails() ? NULL : __libc_realloc(p, n);
}

#ifdef OWN_ALLOCATOR
static lua_Alloc own;

static void *counted(void *ud, void *p, size_t before, size_t n) {
  if (n > before && fails()) return NULL;
  return own(ud, p, before, n);
}
#endif

static int l_run(lua_State *L) {
  long n = (long)luaL_checkinteger(L, 1);
  int every = lua_toboolean(L, 2), status, was;
#ifdef OWN_ALLOCATOR
  void *ud;
  own = lua_getallocf(L, &ud);
  lua_setallocf(L, counted, ud);
#endif
  lua_settop(L, 3);
  luaL_checkstack(L, 20, "results");
  all = every, failed = 0, left = n;
  status = lua_pcall(L, 0, 2, 0); /* [n all first second] */
  left = -1, was = failed;
#ifdef OWN_ALLOCATOR
  lua_setallocf(L, own, ud);
#endif
  lua_pushboolean(L, was);
  lua_replace(L, 1);
  lua_pushboolean(L, status == 0);
  lua_replace(L, 2);
  if (status != 0) { /* [failed ok message] */
    lua_settop(L, 3);
  }
  return lua_gettop(L);
}

int luaopen_oom(lua_State *L) {
  lua_newtable(L);
  lua_pushcfunction(L, l_run);
  lua_setfield(L, -2, "run");
  return 1;
}
