/*
** lmark.c - marks: the member by which an object in an answer is recognized.
** Some servers answer failures with 200: a page of HTML, {"success":false}, or
** another object than the one that was asked for. So a status alone proves
** nothing; an object counts if it has the mark.
**
**   mark = core.call.mark(vendor, operation)   core.call.mark(): none, of
**                           which any object with members will do
**   mark:id(value)          what an object is known by, as text; or nothing
**   mark:unlike(value[, wanted])   why a value is no such object, or not the
**                           one with the id that was wanted; or nothing
**   mark:unlike_element(value[, name])   the same of an element of a list;
**                           name is its id, where it stands under that
**   mark:name(value)        what came, for a message
*/
#include "lmark.h"
#include "ldecimal.h"
#include "lparam.h"

#define MARK "billhook.mark"
#define LONGEST 40 /* bytes of an id in a message */

typedef struct box {
  const call_mark *mark; /* or NULL */
} box;

static const call_mark *check_mark(lua_State *L) {
  return ((const box *)luaL_checkudata(L, 1, MARK))->mark;
}

void lmark_push(lua_State *L, const call_mark *mark) {
  box *b = lua_newuserdatauv(L, sizeof *b, 0);
  b->mark = mark;
  luaL_setmetatable(L, MARK);
}

/* What the table at i is known by; absent where that is nothing. Pushes what
** it points into; room has DECIMAL_ROOM bytes. */
static slice id_of(lua_State *L, const call_mark *mark, int i, char *room) {
  slice id = {NULL, 0};
  call_value value;
  lua_pushstring(L, mark->member);
  lua_rawget(L, i);
  if (lua_isnil(L, -1) && strcmp(mark->member, "_id") == 0) {
    lua_pushliteral(L, "id");
    lua_rawget(L, i);
  }
  value = lparam_value(L, lua_gettop(L), room);
  if (!call_says(mark, &value, room, &id)) id.p = NULL;
  return id;
}

static int l_mark_id(lua_State *L) {
  const call_mark *mark = check_mark(L);
  char room[DECIMAL_ROOM];
  luaL_Buffer b;
  slice id = {NULL, 0};
  size_t i;
  if (mark != NULL && lua_istable(L, 2)) id = id_of(L, mark, 2, room);
  if (id.p == NULL) return 0;
  luaL_buffinit(L, &b);
  for (i = 0; i < id.n; i++) { /* in one spelling */
    char c = id.p[i];
    luaL_addchar(&b, c >= 'A' && c <= 'Z' ? (char)(c + 32) : c);
  }
  luaL_pushresult(&b);
  return 1;
}

static int is_empty(lua_State *L, int i) {
  lua_pushnil(L);
  if (!lua_next(L, i)) return 1;
  lua_pop(L, 2);
  return 0;
}

/* without what a terminal would take for a command */
static const char *shown(lua_State *L, slice text) {
  char out[LONGEST + 1];
  size_t i, n = text.n < LONGEST ? text.n : LONGEST;
  for (i = 0; i < n; i++)
    out[i] = (unsigned char)text.p[i] < ' ' || text.p[i] == 127 ? '?'
                                                                : text.p[i];
  out[n] = '\0';
  return lua_pushfstring(L, "%s", out);
}

/* pushes it */
static const char *name_of(lua_State *L, const call_mark *mark, int i) {
  char room[DECIMAL_ROOM];
  slice id;
  switch (lua_type(L, i)) {
  case LUA_TTABLE:
    break;
  case LUA_TNUMBER:
    return "a number";
  case LUA_TSTRING:
    return "a text";
  case LUA_TBOOLEAN:
    return lua_toboolean(L, i) ? "true" : "false";
  default:
    return "null";
  }
  if (is_empty(L, i)) return "an empty one";
  if (lua_rawlen(L, i) > 0) return "a list";
  if (mark == NULL) return "one without members";
  id = id_of(L, mark, i, room);
  if (id.p != NULL)
    return lua_pushfstring(L, "one with the %s %s", mark->member,
                           shown(L, id));
  return lua_pushfstring(L, "one without a good '%s'", mark->member);
}

static int l_mark_name(lua_State *L) {
  const call_mark *mark = check_mark(L);
  luaL_checkany(L, 2);
  lua_pushstring(L, name_of(L, mark, 2));
  return 1;
}

/* is the value at 2 such an object, or, with a wanted id, that one? */
static int is_like(lua_State *L, const call_mark *mark, slice wanted) {
  char room[DECIMAL_ROOM];
  slice id;
  int top = lua_gettop(L), fine;
  if (!lua_istable(L, 2)) return 0;
  if (mark == NULL) return !is_empty(L, 2) && lua_rawlen(L, 2) == 0;
  id = id_of(L, mark, 2, room);
  fine = id.p != NULL && (wanted.p == NULL || slice_same(id, wanted));
  lua_settop(L, top);
  return fine;
}

/* pushes why it is not */
static void push_unlike(lua_State *L, const call_mark *mark, slice wanted) {
  const char *which = "";
  if (mark != NULL && wanted.p != NULL)
    which = lua_pushfstring(L, " with the %s %s", mark->member, wanted.p);
  else if (mark != NULL)
    which = lua_pushfstring(L, " with '%s'", mark->member);
  lua_pushfstring(L, "an object%s was expected, and %s came", which,
                  name_of(L, mark, 2));
}

static slice opt_text(lua_State *L, int i) {
  slice text = {NULL, 0};
  if (!lua_isnoneornil(L, i)) text.p = luaL_checklstring(L, i, &text.n);
  return text;
}

static int l_mark_unlike(lua_State *L) {
  const call_mark *mark = check_mark(L);
  slice wanted = opt_text(L, 3);
  lua_settop(L, 3);
  if (is_like(L, mark, wanted)) return 0;
  push_unlike(L, mark, wanted);
  return 1;
}

static int is_digits(slice text) {
  size_t i;
  for (i = 0; i < text.n; i++)
    if (text.p[i] < '0' || text.p[i] > '9') return 0;
  return text.n > 0;
}

static int l_mark_unlike_element(lua_State *L) {
  const call_mark *mark = check_mark(L);
  slice name = opt_text(L, 3), none = {NULL, 0};
  lua_settop(L, 3);
  if (is_like(L, mark, mark != NULL ? name : none) &&
      (mark != NULL || name.p == NULL || is_digits(name)))
    return 0;
  if (!lua_istable(L, 2)) {
    lua_pushfstring(L, "a list of objects was expected, and %s is in it",
                    name_of(L, mark, 2));
  } else if (!is_like(L, mark, none)) {
    push_unlike(L, mark, none);
    lua_pushfstring(L, "in the list, %s", lua_tostring(L, -1));
  } else if (mark == NULL) {
    lua_pushfstring(L, "an object by its id was expected, and '%s' came",
                    shown(L, name));
  } else {
    lua_pushfstring(L, "in the list, the object under '%s' is %s", name.p,
                    name_of(L, mark, 2));
  }
  return 1;
}

static const luaL_Reg methods[] = {{"id", l_mark_id},
                                   {"name", l_mark_name},
                                   {"unlike", l_mark_unlike},
                                   {"unlike_element", l_mark_unlike_element},
                                   {NULL, NULL}};

void lmark_open(lua_State *L) {
  luaL_newmetatable(L, MARK); /* [meta] */
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushliteral(L, MARK);
  lua_setfield(L, -2, "__name");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}
