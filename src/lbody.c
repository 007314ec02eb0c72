/*
** lbody.c - the body of a call, as a table that json.lua encodes: fields that
** the operation's table names, or the caller's own table.
*/
#include "lbody.h"
#include "lparam.h"
#include "ldecimal.h"

#include <string.h>

/* the one null, which open_json keeps there */
static void pushnull(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, "billhook.json.null");
}

void lbody_pushnumbers(lua_State *L) {
  luaL_newmetatable(L, "billhook.json.number");
}

/* pushes a number that no Lua number keeps as it is written */
static void pushexact(lua_State *L, slice written) {
  lua_createtable(L, 1, 0);
  lua_pushlstring(L, written.p, written.n);
  lua_rawseti(L, -2, 1);
  lbody_pushnumbers(L);
  lua_setmetatable(L, -2);
}

/* pushes a single value that is no table */
static void pushscalar(lua_State *L, const call_op *op,
                       const call_param *param, const char *name, int i) {
  char text[64]; /* all that is not the caller's own text is shorter */
  call_out out = {text, 0, sizeof text};
  slice written = {text, 0};
  int64_t n;
  lparam_put(L, op, param, name, i, 0, &out);
  written.n = out.n;
  if (lua_isboolean(L, i) && param->type == CALL_BOOLEAN)
    lua_pushvalue(L, i);
  else if (out.n <= sizeof text && call_number(param, written, &n) &&
           n <= BH_MAXINTEGER && n >= -BH_MAXINTEGER)
    lua_pushinteger(L, (lua_Integer)n);
  else if (param->type == CALL_NUMBER)
    pushexact(L, written);
  else if (lua_type(L, i) == LUA_TSTRING && param->type < CALL_DECIMAL)
    lua_pushvalue(L, i);
  else
    lua_pushlstring(L, text, out.n);
}

/* whether the key on top means a field: its name, or its place where the
** record is a tuple */
static int isfield(lua_State *L, const call_param *fields, int tuple) {
  int64_t at = 0, n = 0;
  slice name;
  if (tuple) {
    while (fields[n].name != NULL)
      n++;
    return ldecimal_integer(L, -1, &at) && at >= 1 && at <= n;
  }
  if (lua_type(L, -1) != LUA_TSTRING) return 0;
  name.p = lua_tolstring(L, -1, &name.n);
  return call_find_param(fields, name) != NULL;
}

static void checkfields(lua_State *L, const call_op *op,
                        const call_param *fields, const char *name, int i) {
  int tuple = lua_rawlen(L, i) > 0;
  lua_pushnil(L);
  while (lua_next(L, i) != 0) { /* [key value] */
    lua_pop(L, 1);
    if (isfield(L, fields, tuple)) continue;
    lua_pushvalue(L, -1);
    lparam_unknown(L, op, fields,
                   lua_pushfstring(L, "'%s.%s'", name, lua_tostring(L, -1)));
  }
}

static int isabsent(lua_State *L, int i) { /* leaves null on the stack */
  pushnull(L);
  return lua_isnil(L, i) || lua_rawequal(L, i, -1);
}

/* sets one field of the table below the top from the value on top, which is
** popped */
static void setfield(lua_State *L, const call_op *op, const call_param *field,
                     const char *name) {
  int value = lua_gettop(L);
  const char *path = lua_pushfstring(L, "%s.%s", name, field->name);
  if (!isabsent(L, value)) {
    pushscalar(L, op, field, path, value);
    lua_setfield(L, value - 1, field->name);
  } else if (field->flags & CALL_NULL) {
    lua_setfield(L, value - 1, field->name);
  } else if (field->flags & CALL_REQUIRED) {
    lparam_missing(L, op, path);
  }
  lua_settop(L, value - 1);
}

/* pushes the record at i: {item = ..., price = ...} or {..., ...} */
static void pushrecord(lua_State *L, const call_op *op,
                       const call_param *param, const char *name, int i) {
  const call_param *fields = param->detail.fields;
  int at;
  if (!lua_istable(L, i)) lparam_bad(L, op, name, "must be a table", i);
  checkfields(L, op, fields, name, i);
  lua_newtable(L); /* [t] */
  for (at = 0; fields[at].name != NULL; at++) {
    if (lua_rawlen(L, i) > 0)
      lua_pushinteger(L, at + 1);
    else
      lua_pushstring(L, fields[at].name);
    lua_rawget(L, i);
    setfield(L, op, &fields[at], name); /* [t value] -> [t] */
  }
  lua_pushnil(L);
  if (lua_next(L, -2) == 0)
    lparam_fail(L, "%s: '%s' must have one field or more", op->name, name);
  lua_pop(L, 2);
}

/* { id = n } */
static void pushnumbered(lua_State *L, const call_op *op,
                         const call_param *param, const char *name, int i) {
  lua_newtable(L); /* [t] */
  lua_pushnil(L);
  while (lua_next(L, i) != 0) { /* [t key value] */
    if (lua_type(L, -2) != LUA_TSTRING ||
        strcmp(lua_tostring(L, -2), "id") != 0)
      lparam_bad(L, op, name, "must be a whole number or { id = one }", i);
    name = lua_pushfstring(L, "%s.id", param->name);
    pushscalar(L, op, param, name, lua_gettop(L) - 1);
    lua_setfield(L, -5, "id"); /* [t key value name] */
    lua_pop(L, 2);
  }
  lua_getfield(L, -1, "id");
  if (lua_isnil(L, -1))
    lparam_bad(L, op, name, "must be a whole number or { id = one }", i);
  lua_pop(L, 1);
}

/* are the vendor's numbers spelt as texts here? */
static int is_spelt(lua_State *L, const call_op *op) {
  const call_param *param = op->params;
  int spelt;
  while (param->name != NULL && param->type != CALL_NUMBERED)
    param++;
  if (param->name == NULL || !lparam_given(L, param->name)) return 0;
  spelt = lua_istable(L, -1);
  lua_pop(L, 1);
  return spelt;
}

/* pushes the amount at i as its text */
static void pushspelt(lua_State *L, const call_op *op, const call_param *param,
                      const char *name, int i) {
  char text[64];
  call_out out = {text, 0, sizeof text};
  lparam_put(L, op, param, name, i, 0, &out);
  lua_pushlstring(L, text, out.n);
}

static void pushone(lua_State *L, const call_op *op, const call_param *param,
                    const char *name, int i) {
  if (param->type == CALL_RECORD) {
    pushrecord(L, op, param, name, i);
  } else if (param->type == CALL_OBJECT) {
    if (!lua_istable(L, i) || lua_rawlen(L, i) > 0)
      lparam_bad(L, op, name, "must be a table with names", i);
    lua_pushvalue(L, i);
  } else if (param->type == CALL_NUMBERED && lua_istable(L, i)) {
    pushnumbered(L, op, param, name, i);
  } else if ((param->flags & CALL_SPELT) && is_spelt(L, op)) {
    pushspelt(L, op, param, name, i);
  } else {
    pushscalar(L, op, param, name, i);
  }
}

static void pushlist(lua_State *L, const call_op *op, const call_param *param,
                     int i) {
  int k, n = lparam_checklist(L, op, param->name, i);
  lua_createtable(L, n, 0); /* [list] */
  for (k = 1; k <= n; k++) {
    const char *name = lparam_element(L, param->name, k); /* [list name] */
    lua_rawgeti(L, i, k); /* [list name value] */
    pushone(L, op, param, name, lua_gettop(L));
    lua_rawseti(L, -4, k);
    lua_pop(L, 2);
  }
}

/* pushes what the parameter's value at i is in the body */
static void pushmember(lua_State *L, const call_op *op,
                       const call_param *param, int i) {
  if (!(param->flags & CALL_LIST)) {
    pushone(L, op, param, param->name, i);
  } else if (lua_istable(L, i)) {
    pushlist(L, op, param, i);
  } else if (param->type == CALL_RECORD) {
    lparam_bad(L, op, param->name, "must be a list of tables", i);
  } else {
    lua_createtable(L, 1, 0); /* [list] */
    pushone(L, op, param, param->name, i);
    lua_rawseti(L, -2, 1);
  }
}

static const call_param *in_place(const call_param *params, int place) {
  while (params->name != NULL && params->place != place)
    params++;
  return params->name != NULL ? params : NULL;
}

void lbody_set(lua_State *L, const lbody_request *r) {
  const call_param *param = in_place(r->op->params, CALL_BODY);
  if (param != NULL && lparam_given(L, param->name)) { /* [t value] */
    pushmember(L, r->op, param, lua_gettop(L));
    lua_setfield(L, -3, "body");
    lua_pop(L, 1);
    return;
  }
  if (in_place(r->op->params, CALL_FIELD) == NULL) return;
  lua_newtable(L); /* [t body] */
  for (param = r->op->params; param->name != NULL; param++) {
    if (param->place != CALL_FIELD) continue;
    if (!lparam_given(L, param->name)) {
      if (!(param->flags & CALL_FIRST)) continue;
      lua_pushstring(L, param->detail.choices[0]); /* [t body value] */
    }
    pushmember(L, r->op, param, lua_gettop(L)); /* [t body value member] */
    lua_setfield(L, -3, param->name);
    lua_pop(L, 1);
  }
  lua_pushnil(L);
  if (lua_next(L, -2) == 0) /* it would change nothing */
    lparam_fail(L, "%s: there must be one parameter or more to send",
                r->op->name);
  lua_pop(L, 2);
  if (r->route->wrap != NULL) {
    lua_newtable(L); /* [t body wrap] */
    lua_insert(L, -2);
    lua_setfield(L, -2, r->route->wrap);
  }
  lua_setfield(L, -2, "body");
}
