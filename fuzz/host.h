/*
** host.h - a Lua state with billhook.core in it, for the fuzz targets of what
** is above the engines. The Lua file's function gets the bytes; what it
** raises is a finding.
*/
#ifndef FUZZ_HOST_H
#define FUZZ_HOST_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int luaopen_billhook_core(lua_State *L);
int luaopen_billhook_sqlite(lua_State *L) __attribute__((weak));
int luaopen_billhook_process(lua_State *L) __attribute__((weak));

static lua_State *host; /* stays until the process ends */

static void host_fail(void) {
  fprintf(stderr, "%s\n", lua_tostring(host, -1));
  abort();
}

/* run from the top of the project */
static void host_open(const char *path) {
  host = luaL_newstate();
  if (host == NULL) abort();
  luaL_openlibs(host);
  luaL_requiref(host, "billhook.core", luaopen_billhook_core, 0);
  if (luaopen_billhook_sqlite != NULL)
    luaL_requiref(host, "billhook.sqlite", luaopen_billhook_sqlite, 0);
  if (luaopen_billhook_process != NULL)
    luaL_requiref(host, "billhook.process", luaopen_billhook_process, 0);
  lua_getglobal(host, "package");
  lua_pushliteral(host, "lua/?.lua;lua/?/init.lua");
  lua_setfield(host, -2, "path");
  lua_settop(host, 0);
  if (luaL_loadfile(host, path) != LUA_OK || lua_pcall(host, 0, 1, 0)) {
    host_fail();
  }
}

static int host_trace(lua_State *L) {
  luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
  return 1;
}

static void host_run(const char *path, const uint8_t *data, size_t size) {
  if (host == NULL) host_open(path);
  lua_settop(host, 1);
  lua_pushcfunction(host, host_trace);
  lua_pushvalue(host, 1);
  lua_pushlstring(host, (const char *)data, size);
  if (lua_pcall(host, 1, 0, 2) != LUA_OK) host_fail();
}

#endif
