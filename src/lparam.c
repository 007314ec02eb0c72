/*
** lparam.c - the caller's parameters, one by one: from Lua's values to those
** of call.c, and what is said of those that are none.
*/
#include "lparam.h"
#include "ldecimal.h"
#include <stdarg.h>

void lparam_fail(lua_State *L, const char *format, ...) {
  va_list args;
  va_start(args, format);
  lua_pushvfstring(L, format, args);
  va_end(args);
  bh_raise(L);
}

int lparam_given(lua_State *L, const char *name) {
  lua_pushstring(L, name);
  lua_rawget(L, LPARAM_PARAMS);
  if (!lua_isnil(L, -1)) return 1;
  lua_pop(L, 1);
  return 0;
}

call_value lparam_value(lua_State *L, int i, char *room) {
  call_value value = {CALL_IS_OTHER, 0, {NULL, 0}};
  decimal d;
  if (lua_isnil(L, i)) {
    value.kind = CALL_IS_NONE;
  } else if (lua_isboolean(L, i)) {
    value.kind = CALL_IS_BOOLEAN;
    value.integer = lua_toboolean(L, i);
  } else if (lua_type(L, i) == LUA_TSTRING) {
    value.kind = CALL_IS_TEXT;
    value.text.p = lua_tolstring(L, i, &value.text.n);
  } else if (ldecimal_integer(L, i, &value.integer)) {
    value.kind = CALL_IS_INTEGER;
  } else if (ldecimal_read(L, i, &d) == LDECIMAL_OK) {
    value.kind = CALL_IS_DECIMAL;
    value.text.p = room;
    value.text.n = decimal_text(d, room);
  }
  return value;
}

const char *lparam_describe(lua_State *L, int i) {
  size_t n;
  if (lua_type(L, i) == LUA_TNUMBER) {
    lua_pushvalue(L, i);
    lua_tostring(L, -1);
    luaL_gsub(L, lua_tostring(L, -1), ",", "."); /* some locales write one */
    lua_remove(L, -2);
    return lua_tostring(L, -1);
  }
  if (lua_type(L, i) != LUA_TSTRING) return luaL_typename(L, i);
  lua_tolstring(L, i, &n);
  return n > 40 ? "string" : lua_pushfstring(L, "\"%s\"", lua_tostring(L, i));
}

void lparam_bad(lua_State *L, const call_op *op, const char *name,
                const char *must, int i) {
  lparam_fail(L, "%s: '%s' %s, got %s", op->name, name, must,
              lparam_describe(L, i));
}

void lparam_missing(lua_State *L, const call_op *op, const char *name) {
  lparam_fail(L, "%s: '%s' is missing", op->name, name);
}

/* pushes which ones there are */
static const char *push_choices(lua_State *L, const char *const *choices) {
  luaL_Buffer text;
  int i;
  luaL_buffinit(L, &text);
  luaL_addstring(&text, "must be one of ");
  for (i = 0; choices[i] != NULL; i++) {
    if (i > 0) luaL_addstring(&text, ", ");
    luaL_addstring(&text, choices[i]);
  }
  luaL_pushresult(&text);
  return lua_tostring(L, -1);
}

void lparam_unknown(lua_State *L, const call_op *op, const call_param *known,
                    const char *name) {
  luaL_Buffer names;
  const call_param *param;
  luaL_buffinit(L, &names);
  for (param = known; param->name != NULL; param++) {
    if (param > known) luaL_addstring(&names, ", ");
    luaL_addstring(&names, param->name);
  }
  luaL_pushresult(&names); /* [names] */
  if (known->name == NULL)
    lparam_fail(L, "%s: %s is not known: there are no parameters", op->name,
                name);
  lparam_fail(L, "%s: %s is not known: there are %s", op->name, name,
              lua_tostring(L, -1));
}

void lparam_put(lua_State *L, const call_op *op, const call_param *param,
                const char *name, int i, int encoded, call_out *out) {
  char room[DECIMAL_ROOM];
  call_value value = lparam_value(L, i, room);
  const char *must = call_write(param, &value, encoded, out);
  decimal d;
  if (must == NULL) return;
  if (value.kind == CALL_IS_OTHER && ldecimal_read(L, i, &d) == LDECIMAL_VAGUE)
    must = "must be a string, for a number keeps only 15 digits";
  else if (param->type == CALL_CHOICE)
    must = push_choices(L, param->detail.choices);
  if (value.kind != CALL_IS_OTHER && param->type != CALL_BOOLEAN &&
      param->place != CALL_BASIC)
    lparam_bad(L, op, name, must, i);
  lparam_fail(L, "%s: '%s' %s, got %s", op->name, name, must,
              luaL_typename(L, i));
}

int lparam_checklist(lua_State *L, const call_op *op, const char *name,
                     int i) {
  int n = (int)lua_rawlen(L, i), members = 0;
  if (n == 0)
    lparam_fail(L, "%s: '%s' must be a list of one or more", op->name, name);
  lua_pushnil(L);
  while (lua_next(L, i) != 0) { /* [key value] */
    lua_pop(L, 1);
    members++;
  }
  if (members != n)
    lparam_fail(L, "%s: '%s' must be a list without gaps or names", op->name,
                name);
  return n;
}

const char *lparam_element(lua_State *L, const char *name, int n) {
  return lua_pushfstring(L, "%s[%d]", name, n);
}
