/*
** lcall.c - calls in Lua: the walk over the caller's parameters, which
** call.c judges one by one, and the tables that come of it; their bodies are
** lbody.c's.
*/
#include "core.h"

#include <inttypes.h>
#include <stdio.h>

#include "lbody.h"
#include "lmark.h"
#include "lparam.h"
#include "text.h"

#include <string.h>

static slice checkslice(lua_State *L, int i) {
  slice s;
  s.p = luaL_checklstring(L, i, &s.n);
  return s;
}

static const call_vendor *checkvendor(lua_State *L) {
  const call_vendor *vendor = call_find_vendor(checkslice(L, 1));
  if (vendor == NULL)
    lparam_fail(L, "unknown vendor '%s'", lua_tostring(L, 1));
  return vendor;
}

static const call_op *checkop(lua_State *L, const call_vendor *vendor) {
  const call_op *op = call_find(vendor, checkslice(L, 2));
  if (op == NULL)
    lparam_fail(L, "unknown operation '%s' of %s", lua_tostring(L, 2),
                vendor->name);
  return op;
}

/* sets a field of the table on top, as the next two do */
static void set_text(lua_State *L, const char *name, slice value) {
  if (value.p == NULL) return;
  lua_pushlstring(L, value.p, value.n);
  lua_setfield(L, -2, name);
}

static void set_flag(lua_State *L, const char *name, int on) {
  lua_pushboolean(L, on);
  lua_setfield(L, -2, name);
}

static void set_number(lua_State *L, const char *name, int64_t n) {
  if (n > BH_MAXINTEGER) return; /* no number that this Lua can tell */
  lua_pushinteger(L, (lua_Integer)n);
  lua_setfield(L, -2, name);
}

/* --- path and query --------------------------------------------------- */

static void put_path(lua_State *L, const lbody_request *r, call_out *out) {
  slice path = r->path, literal, name;
  while (call_piece(&path, &literal, &name)) {
    const call_param *param;
    call_put(out, literal);
    if (name.p == NULL) continue;
    param = call_find_param(r->op->params, name);
    lparam_given(L, param->name); /* it is: what a path names is required */
    lparam_put(L, r->op, param, param->name, lua_gettop(L), 1, out);
    lua_pop(L, 1);
  }
}

/* the value on top, popped; a list joined with commas */
static void put_values(lua_State *L, const call_op *op,
                       const call_param *param, call_out *out) {
  int top = lua_gettop(L), i, n;
  if (!(param->flags & CALL_LIST) || !lua_istable(L, top)) {
    lparam_put(L, op, param, param->name, top, 1, out);
  } else {
    n = lparam_checklist(L, op, param->name, top);
    for (i = 1; i <= n; i++) {
      const char *name = lparam_element(L, param->name, i); /* [list name] */
      if (i > 1) call_put(out, slice_of(","));
      lua_rawgeti(L, top, i); /* [list name value] */
      lparam_put(L, op, param, name, lua_gettop(L), 1, out);
      lua_settop(L, top);
    }
  }
  lua_settop(L, top - 1);
}

static void put_query(lua_State *L, const lbody_request *r, call_out *out) {
  const call_param *param;
  size_t before = out->n;
  for (param = r->op->params; param->name != NULL; param++) {
    if (param->place != CALL_QUERY || !lparam_given(L, param->name)) continue;
    if (out->n > before) call_put(out, slice_of("&"));
    call_put(out, slice_of(param->name));
    call_put(out, slice_of("="));
    put_values(L, r->op, param, out);
  }
}

/* the fields of a request and of what client/request.lua adds to it */
#define PLAN 32

/* what most paths and queries have room in */
#define ROOM 512

/* sets path and query of the table on top: from the stack where they fit,
** else written once more, with the room that they turned out to need */
static void set_url(lua_State *L, const lbody_request *r) {
  char room[2 * ROOM];
  call_out path = {room, 0, ROOM}, query = {room + ROOM, 0, ROOM};
  put_path(L, r, &path);
  put_query(L, r, &query);
  if (path.n > ROOM || query.n > ROOM) {
    path.room = path.n;
    query.room = query.n;
    path.p = lua_newuserdatauv(L, path.n + query.n, 0); /* [t room] */
    query.p = path.p + path.n;
    path.n = query.n = 0;
    put_path(L, r, &path);
    put_query(L, r, &query);
    lua_insert(L, -2); /* [room t] */
  }
  set_text(L, "path", (slice){path.p, path.n});
  if (query.n > 0) set_text(L, "query", (slice){query.p, query.n});
}

/* the path of the table on top must not be another operation's */
static void checkpath(lua_State *L, const call_vendor *vendor,
                      const call_op *op) {
  const call_op *other;
  slice path;
  lua_getfield(L, -1, "path");
  path.p = lua_tolstring(L, -1, &path.n);
  other = call_strayed(vendor, op, path);
  lua_pop(L, 1);
  if (other != NULL)
    lparam_fail(L, "%s: with these parameters its path is that of %s",
                op->name, other->name);
}

/* sets the header of an operation that has its own credentials */
static void set_basic(lua_State *L, const lbody_request *r) {
  const call_param *param;
  char *room;
  int top = lua_gettop(L), n = 0; /* [t] */
  size_t size, length = 0;
  const char *joined;
  for (param = r->op->params; param->name != NULL; param++) {
    if (param->place != CALL_BASIC) continue;
    if (n++ > 0) lua_pushliteral(L, ":");
    lparam_given(L, param->name); /* it is: it is required */
    lparam_put(L, r->op, param, param->name, lua_gettop(L), 0,
               &(call_out){NULL, 0, 0});
    if (n == 1 && strchr(lua_tostring(L, -1), ':') != NULL)
      lparam_fail(L, "%s: '%s' must be a text without a colon", r->op->name,
                  param->name);
  }
  if (n == 0) return;
  lua_concat(L, lua_gettop(L) - top); /* [t joined] */
  joined = lua_tolstring(L, -1, &length);
  size = TEXT_BASE64(length);
  room = lua_newuserdatauv(L, size + 6, 0); /* [t joined room] */
  memcpy(room, "Basic ", 6);
  size = 6 + text_base64(joined, length, room + 6);
  lua_pushlstring(L, room, size);
  lua_setfield(L, top, "authorization");
  lua_settop(L, top);
}

/* --- prepare ---------------------------------------------------------- */

static void checkparams(lua_State *L, const call_op *op) {
  lua_settop(L, LPARAM_PATHS);
  if (lua_isnil(L, LPARAM_PARAMS)) {
    lua_newtable(L);
    lua_replace(L, LPARAM_PARAMS);
  }
  if (!lua_istable(L, LPARAM_PARAMS))
    lparam_fail(L, "%s: 'parameters' must be a table, got %s", op->name,
                luaL_typename(L, LPARAM_PARAMS));
  lua_pushnil(L);
  while (lua_next(L, LPARAM_PARAMS) != 0) { /* [key value] */
    slice name = {NULL, 0};
    lua_pop(L, 1);
    if (lua_type(L, -1) != LUA_TSTRING)
      lparam_unknown(
          L, op, op->params,
          lua_pushfstring(L, "[%s]", lparam_describe(L, lua_gettop(L))));
    name.p = lua_tolstring(L, -1, &name.n);
    if (call_find_param(op->params, name) == NULL)
      lparam_unknown(L, op, op->params, lua_pushfstring(L, "'%s'", name.p));
  }
}

/* the client's own path instead of the operation's; stays on the stack */
static slice ownpath(lua_State *L, const call_op *op) {
  slice path = {NULL, 0}, name = {NULL, 0};
  const char *wrong;
  if (!lua_istable(L, LPARAM_PATHS)) return path;
  lua_getfield(L, LPARAM_PATHS, op->name);
  if (lua_isnil(L, -1)) return path;
  if (lua_type(L, -1) == LUA_TSTRING) path.p = lua_tolstring(L, -1, &path.n);
  wrong = call_check_path(op, path, &name);
  if (wrong == NULL) return path;
  if (name.n == 0) lparam_fail(L, "bad path of %s (%s)", op->name, wrong);
  lua_pushlstring(L, name.p, name.n);
  lparam_fail(L, "bad path of %s (%s: %s)", op->name, lua_tostring(L, -1),
              wrong);
  return path;
}

static void choose(lua_State *L, lbody_request *r) {
  const call_route *route = r->op->routes;
  while (route->param != NULL && !lparam_given(L, route->param))
    route++;
  if (route->param == NULL)
    r->path = ownpath(L, r->op);
  else
    lua_pop(L, 1);
  r->route = route;
  if (r->path.p == NULL) r->path = slice_of(route->path);
}

static void checkgiven(lua_State *L, const lbody_request *r) {
  const call_param *param;
  for (param = r->op->params; param->name != NULL; param++) {
    int out = call_leaves_out(r->route, r->path, param);
    if (lparam_given(L, param->name)) {
      lua_pop(L, 1);
      if (out)
        lparam_fail(L, "%s: '%s' does not go with '%s'", r->op->name,
                    param->name, r->route->param);
    } else if ((param->flags & CALL_REQUIRED) && !out) {
      lparam_missing(L, r->op, param->name);
    }
  }
}

static void set_op(lua_State *L, const call_op *op, const call_route *route) {
  set_text(L, "method", slice_of(route->method));
  set_text(L, "answer", slice_of(call_form_name((call_form)op->form)));
  set_text(L, "unwrap", slice_of(op->unwrap));
  set_flag(L, "safe", (op->flags & CALL_SAFE) != 0);
  set_flag(L, "idempotent", (op->flags & CALL_IDEMPOTENT) != 0);
}

/* prepare(vendor, operation, parameters, paths) -> request */
static int l_call_prepare(lua_State *L) {
  lbody_request request = {NULL, NULL, {NULL, 0}};
  const call_vendor *vendor = checkvendor(L);
  request.op = checkop(L, vendor);
  luaL_checkstack(L, 40, "parameters");
  checkparams(L, request.op);
  choose(L, &request);
  checkgiven(L, &request);
  lua_createtable(L, 0, PLAN); /* [t] */
  set_op(L, request.op, request.route);
  set_url(L, &request);
  checkpath(L, vendor, request.op);
  lbody_set(L, &request);
  set_basic(L, &request);
  return 1;
}

/* --- conclude --------------------------------------------------------- */

/* the header's value, which its table keeps */
static slice header(lua_State *L, int headers, const char *name) {
  slice value = {NULL, 0};
  lua_pushstring(L, name);
  lua_rawget(L, headers);
  if (lua_type(L, -1) == LUA_TSTRING) value.p = lua_tolstring(L, -1, &value.n);
  lua_pop(L, 1);
  return value;
}

static void pushoutcome(lua_State *L, const call_outcome *out,
                        const call_answer *answer, slice retry_after) {
  char digits[24];
  lua_createtable(L, 0, out->ok ? 1 : 5); /* [t] */
  set_flag(L, "ok", out->ok);
  if (!out->ok) {
    set_text(L, "kind", slice_of(out->kind));
    set_text(L, "message", slice_of(out->message));
    set_flag(L, "retryable", out->retryable);
    if (out->refused) set_flag(L, "processed", 0);
    set_flag(L, "open", out->open);
    set_text(L, "retry_after", retry_after);
    return;
  }
  if (out->gone) set_flag(L, "gone", 1);
  set_text(L, "location", answer->location);
  if (out->id > BH_MAXINTEGER) {
    snprintf(digits, sizeof digits, "%" PRId64, out->id);
    set_text(L, "id", slice_of(digits)); /* no number can tell it */
  } else if (out->id > 0) {
    set_number(L, "id", out->id);
  }
  if (out->count >= 0) set_number(L, "count", out->count);
}

/* conclude(vendor, operation, status, headers, attempt, base_url, path) ->
** outcome; header names in lower case. Without the base URL only a Location
** without a host gives an id; path is the request's. */
static int l_call_conclude(lua_State *L) {
  const call_vendor *vendor = checkvendor(L);
  const call_op *op = checkop(L, vendor);
  call_answer answer = {0, 1, {NULL, 0}, {NULL, 0}, {NULL, 0}, {NULL, 0}};
  call_outcome out;
  answer.status = (int)luaL_checkinteger(L, 3);
  luaL_checktype(L, 4, LUA_TTABLE);
  answer.attempt = (int64_t)luaL_optinteger(L, 5, 1);
  if (!lua_isnoneornil(L, 6)) answer.base = checkslice(L, 6);
  if (!lua_isnoneornil(L, 7)) answer.path = checkslice(L, 7);
  answer.location = header(L, 4, "location");
  answer.count = header(L, 4, "x-count");
  out = call_conclude(vendor, op, &answer);
  pushoutcome(L, &out, &answer, header(L, 4, "retry-after"));
  return 1;
}

/* --- list ------------------------------------------------------------- */

static void pushparams(lua_State *L, const call_param *params);

static void pushparam(lua_State *L, const call_param *param) {
  static const char *const places[] = {"path", "query", "field", "body",
                                       "basic"};
  int i;
  lua_newtable(L); /* [t] */
  set_text(L, "name", slice_of(param->name));
  set_text(L, "type", slice_of(call_type_name((call_type)param->type)));
  set_text(L, "place", slice_of(places[param->place]));
  set_flag(L, "required", (param->flags & CALL_REQUIRED) != 0);
  set_flag(L, "list", (param->flags & CALL_LIST) != 0);
  if (param->flags & CALL_DRY) set_flag(L, "dry", 1);
  if (param->type == CALL_RECORD) {
    pushparams(L, param->detail.fields);
    lua_setfield(L, -2, "fields");
  } else if (param->type == CALL_CHOICE) {
    lua_newtable(L); /* [t choices] */
    for (i = 0; param->detail.choices[i] != NULL; i++) {
      lua_pushstring(L, param->detail.choices[i]);
      lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "choices");
  }
}

static void pushparams(lua_State *L, const call_param *params) {
  int i;
  lua_newtable(L); /* [list] */
  for (i = 0; params[i].name != NULL; i++) {
    pushparam(L, &params[i]);
    lua_rawseti(L, -2, i + 1);
  }
}

/* the ways besides the main one, by the parameter that takes them */
static void pushroutes(lua_State *L, const call_route *route) {
  lua_newtable(L);
  for (; route->param != NULL; route++) {
    lua_pushfstring(L, "%s %s", route->method, route->path);
    lua_setfield(L, -2, route->param);
  }
}

static void pushmark(lua_State *L, const call_mark *mark) {
  lua_newtable(L); /* [t] */
  set_text(L, "member", slice_of(mark->member));
  set_text(L, "type", slice_of(call_type_name((call_type)mark->type)));
  set_text(L, "same", slice_of(mark->same));
}

/* list(vendor) -> the operations, in the tables' order */
static int l_call_list(lua_State *L) {
  const call_op *op = checkvendor(L)->ops;
  int i;
  lua_newtable(L); /* [list] */
  for (i = 1; op->name != NULL; op++, i++) {
    const call_route *route = call_main_route(op);
    lua_newtable(L); /* [list t] */
    set_text(L, "name", slice_of(op->name));
    set_text(L, "path", slice_of(route->path));
    set_op(L, op, route);
    set_flag(L, "unverified", (op->flags & CALL_UNVERIFIED) != 0);
    set_text(L, "about", slice_of(op->about));
    set_text(L, "service", slice_of(op->service));
    set_flag(L, "invoices", (op->flags & CALL_INVOICES) != 0);
    set_flag(L, "private", (op->flags & CALL_PRIVATE) != 0);
    pushparams(L, op->params);
    lua_setfield(L, -2, "params");
    pushroutes(L, op->routes);
    lua_setfield(L, -2, "routes");
    if (op->mark != NULL) {
      pushmark(L, op->mark);
      lua_setfield(L, -2, "mark");
    }
    lua_rawseti(L, -2, i);
  }
  return 1;
}

/* wrong_path(vendor, operation, path) -> nil, or what is wrong with a path
** that is to stand for the operation's */
static int l_call_wrong_path(lua_State *L) {
  const call_op *op = checkop(L, checkvendor(L));
  slice name = {NULL, 0};
  const char *wrong = call_check_path(op, checkslice(L, 3), &name);
  if (wrong == NULL) return 0;
  lua_pushlstring(L, name.n > 0 ? name.p : "", name.n);
  lua_pushfstring(L, name.n > 0 ? "%s: %s" : "%s%s", lua_tostring(L, -1),
                  wrong);
  return 1;
}

/* mark(vendor, operation), or mark(): see lmark.c */
static int l_call_mark(lua_State *L) {
  const call_mark *mark = NULL;
  if (!lua_isnoneornil(L, 1)) mark = checkop(L, checkvendor(L))->mark;
  lmark_push(L, mark);
  return 1;
}

static const luaL_Reg functions[] = {
    {"list", l_call_list},
    {"mark", l_call_mark},
    {"prepare", l_call_prepare},
    {"wrong_path", l_call_wrong_path},
    {"conclude", l_call_conclude},
    {NULL, NULL},
};

int open_call(lua_State *L) {
  lmark_open(L);
  luaL_newlib(L, functions);
  lbody_pushnumbers(L); /* [call numbers] */
  lua_setfield(L, -2, "number");
  return 1;
}
