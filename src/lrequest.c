/*
** lrequest.c - see lrequest.h.
*/
#include "lrequest.h"

#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#define CALLER 2 /* of the function that called the C function */

void lrequest_refuse(lua_State *L, const char *format, ...) {
  va_list list;
  va_start(list, format);
  luaL_where(L, CALLER);
  lua_pushvfstring(L, format, list);
  va_end(list);
  lua_concat(L, 2);
  bh_raise(L);
}

#define FIELD(member, type)                                                  \
  { #member, sizeof(#member) - 1, type, offsetof(request, member) }

static const struct {
  const char *name;
  size_t n; /* its length */
  int type;
  size_t at;
} fields[] = {
    FIELD(method, LUA_TSTRING),
    FIELD(url, LUA_TSTRING),
    {"headers", 7, LUA_TTABLE, 0},
    FIELD(body, LUA_TSTRING),
    FIELD(timeout, LUA_TNUMBER),
    FIELD(connect_timeout, LUA_TNUMBER),
    FIELD(stall, LUA_TNUMBER),
    FIELD(fresh, LUA_TBOOLEAN),
    FIELD(limit, LUA_TNUMBER),
    FIELD(ca_file, LUA_TSTRING),
    FIELD(proxy, LUA_TSTRING),
    {NULL, 0, 0, 0},
};

/* [name value] */
static void read_field(lua_State *L, request *r) {
  size_t n = 0, i = 0;
  const char *name = lua_type(L, -2) == LUA_TSTRING
                         ? lua_tolstring(L, -2, &n)
                         : luaL_typename(L, -2);
  char *to = (char *)r;
  while (fields[i].name != NULL &&
         (fields[i].n != n || memcmp(fields[i].name, name, n) != 0))
    i++;
  if (fields[i].name == NULL)
    lrequest_refuse(L, "request.%s is not known", name);
  if (lua_type(L, -1) != fields[i].type)
    lrequest_refuse(L, "request.%s must be a %s", name,
                    lua_typename(L, fields[i].type));
  to += fields[i].at;
  if (fields[i].type == LUA_TSTRING) {
    slice *text = (slice *)(void *)to;
    text->p = lua_tolstring(L, -1, &text->n);
  } else if (fields[i].type == LUA_TNUMBER)
    *(double *)(void *)to = lua_tonumber(L, -1);
  else if (fields[i].type == LUA_TBOOLEAN)
    r->fresh = lua_toboolean(L, -1);
}

void lrequest_read(lua_State *L, int i, int stream, request *r) {
  static const request none = REQUEST_DEFAULTS;
  const char *fault;
  if (!lua_istable(L, i)) lrequest_refuse(L, "request must be a table");
  *r = none;
  lua_pushnil(L);
  while (lua_next(L, i)) { /* [name value] */
    read_field(L, r);
    lua_pop(L, 1);
  }
  fault = request_check(r, stream);
  if (fault != NULL) lrequest_refuse(L, "%s", fault);
}

void lrequest_peek(lua_State *L, slice *name, slice *value) {
  static const slice none = {NULL, 0};
  *name = *value = none;
  if (lua_type(L, -2) == LUA_TSTRING)
    name->p = lua_tolstring(L, -2, &name->n);
  if (lua_type(L, -1) == LUA_TSTRING)
    value->p = lua_tolstring(L, -1, &value->n);
}

void lrequest_header(lua_State *L, slice name, slice value) {
  const char *fault = request_header_fault(name, value);
  if (fault == NULL) return;
  lua_pushfstring(L, fault, name.p);
  lrequest_refuse(L, "request.headers%s", lua_tostring(L, -1));
}
