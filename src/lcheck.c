/*
** lcheck.c - core.request: a request checked, for the transports that are
** not libcurl's.
*/
#include "core.h"
#include "lrequest.h"

/* of the headers' names at the index, this one in any case: how many */
static int count(lua_State *L, int headers, slice wanted) {
  int n = 0;
  lua_pushnil(L);
  while (lua_next(L, headers)) { /* [name value] */
    slice name, value;
    lrequest_peek(L, &name, &value);
    n += slice_same(name, wanted);
    lua_pop(L, 1);
  }
  return n;
}

/* the headers of the request at 1, or none */
static void push_headers(lua_State *L) {
  int headers;
  lua_pushliteral(L, "headers");
  lua_rawget(L, 1);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_newtable(L);
  }
  headers = lua_gettop(L);
  lua_pushnil(L);
  while (lua_next(L, headers)) { /* [headers name value] */
    slice name, value;
    lrequest_peek(L, &name, &value);
    lrequest_header(L, name, value);
    if (count(L, headers, name) > 1)
      lrequest_refuse(L, "request.headers has %s twice", name.p);
    lua_pop(L, 1);
  }
}

static void set_text(lua_State *L, const char *name, slice text) {
  if (text.p == NULL) return;
  lua_pushlstring(L, text.p, text.n);
  lua_setfield(L, -2, name);
}

static void set_number(lua_State *L, const char *name, double n) {
  lua_pushnumber(L, n);
  lua_setfield(L, -2, name);
}

/* check(request[, stream]) -> a copy with the defaults filled in */
static int l_request_check(lua_State *L) {
  request r;
  lua_settop(L, 2);
  lrequest_read(L, 1, lua_toboolean(L, 2), &r);
  lua_createtable(L, 0, 12); /* [t] */
  push_headers(L);
  lua_setfield(L, -2, "headers");
  set_text(L, "method", r.method);
  set_text(L, "url", r.url);
  set_text(L, "body", r.body);
  set_text(L, "ca_file", r.ca_file);
  set_text(L, "proxy", r.proxy);
  set_number(L, "timeout", r.timeout);
  set_number(L, "connect_timeout", r.connect_timeout);
  if (r.stall != REQUEST_NO_STALL) set_number(L, "stall", r.stall);
  set_number(L, "limit", r.limit);
  lua_pushboolean(L, r.fresh);
  lua_setfield(L, -2, "fresh");
  return 1;
}

static const luaL_Reg functions[] = {{"check", l_request_check},
                                     {NULL, NULL}};

int open_request(lua_State *L) {
  luaL_newlib(L, functions);
  return 1;
}
