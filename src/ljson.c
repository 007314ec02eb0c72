/*
** ljson.c - core.json: JSON texts into Lua values, digests, redacted texts,
** and streams of elements.
**
** The tape and the room for texts live in a userdata that is kept in the
** registry and used by one call after another. A call marks it as busy; a
** call that finds it busy (it runs in a finalizer while another decodes, or
** an error cut another one short) leaves it alone and makes a new one.
*/
#include "core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "json_names.h"
#include "sign.h"
#include "text.h"

#define SCRATCH "billhook.json.scratch" /* metatable */
#define KEPT    "billhook.json.kept"    /* the scratch of this state */
#define NULLS   "billhook.json.null"    /* the null of this state */
#define STREAM  "billhook.json.stream"  /* metatable */
#define ARRAY   "billhook.json.array"   /* metatable of an empty list */

#define KEEP (1024 * 1024) /* bytes of scratch that are kept between calls */

#define MAXELEMENT (8 * 1024 * 1024) /* of a stream, by default */

/* ======= scratch ======= */

typedef struct scratch {
  json_doc doc;
  char *room;
  size_t size; /* of room */
  int busy;
  int gone; /* finalised: nobody frees what it still gets */
} scratch;

static scratch *new_scratch(lua_State *L) {
  scratch *s = lua_newuserdatauv(L, sizeof *s, 0);
  json_open(&s->doc);
  s->room = NULL;
  s->size = 0;
  s->busy = 0;
  s->gone = 0;
  luaL_setmetatable(L, SCRATCH);
  lua_pushvalue(L, -1);
  lua_setfield(L, LUA_REGISTRYINDEX, KEPT);
  return s;
}

/* pushes the scratch, so that it lives as long as the call */
static scratch *take(lua_State *L) {
  scratch *s;
  lua_getfield(L, LUA_REGISTRYINDEX, KEPT);
  s = lua_touserdata(L, -1);
  if (s == NULL || s->busy) s = new_scratch(L);
  s->busy = 1;
  s->doc.texts = 0;
  return s;
}

static void free_room(scratch *s) {
  free(s->room);
  s->room = NULL;
  s->size = 0;
}

static void give(scratch *s) {
  if (s->gone || s->doc.room > KEEP / sizeof(json_node)) json_close(&s->doc);
  if (s->gone || s->size > KEEP) free_room(s);
  s->busy = 0;
}

static char *room_for(lua_State *L, scratch *s, size_t n) {
  if (n <= s->size) return s->room;
  free_room(s);
  s->room = malloc(n);
  if (s->room == NULL) luaL_error(L, "not enough memory");
  s->size = n;
  return s->room;
}

static int l_scratch_gc(lua_State *L) {
  scratch *s = luaL_checkudata(L, 1, SCRATCH);
  s->gone = 1;
  json_close(&s->doc);
  free_room(s);
  return 0;
}

/* ======= arguments and answers ======= */

static slice check_text(lua_State *L, int i) {
  slice text;
  luaL_checktype(L, i, LUA_TSTRING);
  text.p = lua_tolstring(L, i, &text.n);
  return text;
}

/* A list of strings, or nothing, as slices in a userdata that is pushed. The
** strings stay in the list. */
static slice *check_names(lua_State *L, int i, size_t *n) {
  slice *names;
  size_t k;
  *n = 0;
  if (lua_isnoneornil(L, i)) return NULL;
  luaL_checktype(L, i, LUA_TTABLE);
  *n = lua_rawlen(L, i);
  names = lua_newuserdatauv(L, (*n + 1) * sizeof *names, 0);
  for (k = 0; k < *n; k++) {
    lua_rawgeti(L, i, (int)(k + 1));
    luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, i,
                  "a list of names expected");
    names[k].p = lua_tolstring(L, -1, &names[k].n);
    lua_pop(L, 1);
  }
  return names;
}

/* nil and what is wrong with the text; bytes count from 1 as string.sub's */
static int refuse(lua_State *L, scratch *s) {
  char message[96];
  snprintf(message, sizeof message, "%s at byte %zu", s->doc.error,
           s->doc.error_at + 1);
  give(s);
  lua_pushnil(L);
  lua_pushstring(L, message);
  return 2;
}

static int answer(lua_State *L, scratch *s, const char *text, size_t n) {
  lua_pushlstring(L, text, n);
  give(s);
  return 1;
}

/* ======= decode ======= */

typedef struct decoder {
  lua_State *L;
  scratch *s;
  unsigned depth;
  int keep; /* what was read is to be written as it was */
  json_names *names; /* those of a stream, or NULL, */
  int strings;       /* and where on the stack their strings are */
} decoder;

static void push_value(decoder *d, uint32_t node);

static void push_string(decoder *d, uint32_t node) {
  size_t n = json_room(&d->s->doc, node);
  char *room = n > 0 ? room_for(d->L, d->s, n) : NULL;
  slice text = json_text(&d->s->doc, node, room);
  lua_pushlstring(d->L, text.p, text.n);
}

static void push_integer(lua_State *L, int64_t n) {
  if (sizeof(lua_Integer) >= sizeof n)
    lua_pushinteger(L, (lua_Integer)n);
  else
    lua_pushnumber(L, (lua_Number)n);
}

/* the least one is one below -BH_MAXINTEGER where integers are integers */
static int fits(int64_t n) {
  int64_t least = -BH_MAXINTEGER - (BH_MAXINTEGER == INT64_MAX);
  return n >= least && n <= BH_MAXINTEGER;
}

static void push_number(decoder *d, uint32_t node) {
  const json_doc *doc = &d->s->doc;
  slice raw = json_raw(doc, node);
  int64_t n;
  double x;
  if (json_int64(doc, node, &n) && fits(n))
    push_integer(d->L, n);
  else if (doc->nodes[node].escaped && json_double(doc, node, &x))
    lua_pushnumber(d->L, x);
  else
    lua_pushlstring(d->L, raw.p, raw.n);
}

/* Is it a number that Lua would write another way? */
static int is_spelt(const json_doc *doc, uint32_t node) {
  int64_t n;
  return doc->nodes[node].kind == JSON_NUMBER
         && !(json_int64(doc, node, &n) && fits(n));
}

/* remembers what stands under the key on top, which is popped: [t key] or
** [t kept key] -> [t kept] */
static void remember(decoder *d, uint32_t value, int table) {
  slice raw = json_raw(&d->s->doc, value);
  if (lua_gettop(d->L) == table + 1) {
    lua_newtable(d->L); /* [t key kept] */
    lua_insert(d->L, -2);
  }
  if (d->s->doc.nodes[value].kind == JSON_NULL)
    lua_getfield(d->L, LUA_REGISTRYINDEX, NULLS);
  else
    lua_pushlstring(d->L, raw.p, raw.n);
  lua_rawset(d->L, -3);
}

/* [t kept] -> [t], with a metatable that holds it */
static void set_kept(decoder *d, int table, int list) {
  if (lua_gettop(d->L) == table) return;
  lua_createtable(d->L, 0, 2); /* [t kept meta] */
  lua_insert(d->L, -2);
  lua_setfield(d->L, -2, "kept");
  lua_pushboolean(d->L, list);
  lua_setfield(d->L, -2, "list");
  lua_setmetatable(d->L, -2);
}

static void push_array(decoder *d, uint32_t node) {
  const json_node *nodes = d->s->doc.nodes;
  uint32_t i, end = nodes[node].next;
  int n = 0, table;
  lua_createtable(d->L, (int)nodes[node].count, 0);
  table = lua_gettop(d->L);
  for (i = node + 1; i < end; i = nodes[i].next) {
    push_value(d, i);
    lua_rawseti(d->L, table, ++n);
    if (!d->keep || !is_spelt(&d->s->doc, i)) continue;
    lua_pushinteger(d->L, n);
    remember(d, i, table);
  }
  set_kept(d, table, 1);
  if (n == 0 && d->keep) luaL_setmetatable(d->L, ARRAY);
}

/* An id: what stands under it is an element, and one that is null is no
** member that is absent. */
static int is_element(const json_doc *doc, uint32_t name) {
  slice raw = json_raw(doc, name);
  int64_t n;
  raw.p++; /* its quotes */
  raw.n -= 2;
  return text_digits(raw, &n);
}

static void push_name(decoder *d, uint32_t node) {
  int number = (int)d->s->doc.nodes[node].count;
  if (number > 0) {
    lua_rawgeti(d->L, d->strings, number);
    if (!lua_isnil(d->L, -1)) return;
    lua_pop(d->L, 1);
  }
  push_string(d, node);
  if (number == 0) return;
  lua_pushvalue(d->L, -1);
  lua_rawseti(d->L, d->strings, number);
}

/* a table with room for the members that are not null */
static void new_object(decoder *d, uint32_t node) {
  const json_node *nodes = d->s->doc.nodes;
  uint32_t i, end = nodes[node].next;
  int n = 0;
  for (i = node + 1; i < end; i = nodes[i + 1].next)
    n += nodes[i + 1].kind != JSON_NULL;
  lua_createtable(d->L, 0, n);
}

static void push_object(decoder *d, uint32_t node) {
  const json_node *nodes = d->s->doc.nodes;
  uint32_t i, end = nodes[node].next;
  int table;
  new_object(d, node);
  table = lua_gettop(d->L);
  for (i = node + 1; i < end; i = nodes[i + 1].next) {
    int absent = nodes[i + 1].kind == JSON_NULL
                 && !is_element(&d->s->doc, i);
    if (d->keep && (absent || is_spelt(&d->s->doc, i + 1))) {
      push_name(d, i);
      remember(d, i + 1, table);
    }
    if (absent && !d->s->doc.lenient) continue;
    push_name(d, i);
    if (absent)
      lua_pushnil(d->L); /* the same name before it is no more */
    else
      push_value(d, i + 1);
    lua_rawset(d->L, table);
  }
  set_kept(d, table, 0);
}

/* one too deep as its text, as a number that is too long */
static void push_container(decoder *d, uint32_t node) {
  slice raw = json_raw(&d->s->doc, node);
  if (d->depth == JSON_MAXDEPTH) {
    lua_pushlstring(d->L, raw.p, raw.n);
    return;
  }
  d->depth++;
  if (d->s->doc.nodes[node].kind == JSON_OBJECT)
    push_object(d, node);
  else
    push_array(d, node);
  d->depth--;
}

static void push_value(decoder *d, uint32_t node) {
  switch (d->s->doc.nodes[node].kind) {
  case JSON_STRING:
    push_string(d, node);
    break;
  case JSON_NUMBER:
    push_number(d, node);
    break;
  case JSON_OBJECT:
  case JSON_ARRAY:
    push_container(d, node);
    break;
  case JSON_TRUE:
    lua_pushboolean(d->L, 1);
    break;
  case JSON_FALSE:
    lua_pushboolean(d->L, 0);
    break;
  default:
    lua_getfield(d->L, LUA_REGISTRYINDEX, NULLS);
    break;
  }
}

/* what was parsed, whose text must not move or go meanwhile: pushing can run
** finalizers */
static int push_doc(decoder *d) {
  json_doc *doc = &d->s->doc;
  int fine = doc->error == NULL;
  if (fine && !(d->names != NULL && names_mark(d->names, doc)))
    fine = doc->lenient || json_unique(doc);
  if (!fine) return refuse(d->L, d->s);
  luaL_checkstack(d->L, 3 * JSON_MAXDEPTH + 8, "too many levels");
  push_value(d, 0);
  give(d->s);
  return 1;
}

static int push_text(lua_State *L, scratch *s, int keep) {
  decoder d = {L, s, 0, keep, NULL, 0};
  return push_doc(&d);
}

/* (text, how): "keep" to write it as it was, "answer" to take odd strings
** as well */
static int l_decode(lua_State *L) {
  static const char *const ways[] = {"plainly", "keep", "answer", NULL};
  slice text = check_text(L, 1);
  int how = luaL_checkoption(L, 2, "plainly", ways);
  scratch *s = take(L); /* [text ... scratch] */
  s->doc.texts = how == 2;
  json_parse(&s->doc, text.p, text.n);
  return push_text(L, s, how > 0);
}

static int l_read(lua_State *L) {
  slice text = check_text(L, 1);
  scratch *s = take(L); /* [text ... scratch] */
  json_read(&s->doc, text.p, text.n);
  return push_text(L, s, 0);
}

/* ======= other texts ======= */

static int no_digest(lua_State *L, scratch *s, long why) {
  give(s);
  lua_pushnil(L);
  lua_pushstring(L, why == JSON_DOUBLE ? "a member comes twice"
                                       : "out of memory");
  return 2;
}

static int l_digest(lua_State *L) {
  slice text = check_text(L, 1), canonical;
  unsigned char digest[SIGN_SIZE];
  char hex[2 * SIGN_SIZE], *room;
  size_t n;
  slice *skip = check_names(L, 2, &n);
  scratch *s = take(L); /* [text skip names scratch] */
  long len;
  if (!json_parse(&s->doc, text.p, text.n)) return refuse(L, s);
  room = room_for(L, s, text.n);
  len = json_canonical(&s->doc, 0, skip, n, room);
  if (len < 0) return no_digest(L, s, len);
  canonical.p = room;
  canonical.n = (size_t)len;
  if (!sign_sha256(canonical, digest)) return no_digest(L, s, JSON_NOMEMORY);
  text_hex(digest, sizeof digest, hex);
  return answer(L, s, hex, sizeof hex);
}

/* (text, names, below, kept): see json_redact */
static int l_redact(lua_State *L) {
  slice text = check_text(L, 1);
  json_secrets secrets = {NULL, 0, NULL, 0, NULL, 0};
  scratch *s;
  size_t size;
  char *room;
  lua_settop(L, 4);
  secrets.names = check_names(L, 2, &secrets.n);
  secrets.below = check_names(L, 3, &secrets.nbelow);
  secrets.kept = check_names(L, 4, &secrets.nkept);
  s = take(L); /* [text names below kept ... scratch] */
  if (!json_read(&s->doc, text.p, text.n) && json_starved(&s->doc))
    return luaL_error(L, "not enough memory");
  if (!json_hide(&s->doc, &secrets)) { /* the same text */
    give(s);
    lua_pushvalue(L, 1);
    return 1;
  }
  size = json_redact(&s->doc, &secrets, NULL);
  room = room_for(L, s, size + 1);
  json_redact(&s->doc, &secrets, room);
  return answer(L, s, room, size);
}

static int l_stringify(lua_State *L) {
  slice text = check_text(L, 1);
  scratch *s = take(L); /* [text scratch] */
  char *room;
  if (!json_parse(&s->doc, text.p, text.n)) return refuse(L, s);
  room = room_for(L, s, text.n);
  return answer(L, s, room, json_stringify(text, room));
}

/* ======= streams ======= */

typedef struct holder {
  json_stream *stream;
  int busy;  /* one of its elements is being decoded, where it lies */
  int gone;  /* finalised */
  int texts; /* odd strings are taken */
  json_names names; /* their strings are in its user value */
} holder;

static json_stream *opened(lua_State *L, holder *h) {
  if (h->busy) luaL_error(L, "the stream is in use");
  if (h->gone || h->stream == NULL) luaL_error(L, "the stream is closed");
  return h->stream;
}

static json_stream *check_stream(lua_State *L) {
  return opened(L, luaL_checkudata(L, 1, STREAM));
}

static int l_stream(lua_State *L) {
  slice under = {NULL, 0};
  lua_Number limit = luaL_optnumber(L, 2, MAXELEMENT);
  int texts = lua_toboolean(L, 3);
  holder *h;
  if (!lua_isnoneornil(L, 1)) under = check_text(L, 1);
  luaL_argcheck(L, limit >= 1 && limit <= UINT32_MAX - 16, 2,
                "limit out of range");
  h = lua_newuserdatauv(L, sizeof *h, 1); /* [under limit stream] */
  memset(h, 0, sizeof *h);
  h->texts = texts;
  luaL_setmetatable(L, STREAM);
  lua_createtable(L, JSON_NAMES, 0);
  lua_setiuservalue(L, -2, 1);
  h->stream = json_stream_open(under, (size_t)limit);
  if (h->stream == NULL) return luaL_error(L, "not enough memory");
  return 1;
}

/* a copy of why: making a string may run a finaliser that closes the stream */
static int broken(lua_State *L, const json_stream *s) {
  char why[128];
  snprintf(why, sizeof why, "%s", json_stream_error(s));
  lua_pushnil(L);
  lua_pushstring(L, why);
  return 2;
}

static void close_stream(holder *h) {
  json_stream_close(h->stream);
  h->stream = NULL;
}

/* what lies in the stream is made into values of Lua's, which may run
** finalisers; for good, where that raises */
static void begin_use(holder *h) {
  h->busy = 1;
}

static void end_use(holder *h) {
  h->busy = 0;
  if (h->gone) close_stream(h);
}

/* The bytes of a string or, from the binding of libcurl, those at a pointer,
** and how many there are. */
static int l_stream_feed(lua_State *L) {
  json_stream *s = check_stream(L);
  slice chunk = {NULL, 0};
  if (lua_islightuserdata(L, 2) && lua_touserdata(L, 2) != NULL) {
    chunk.p = lua_touserdata(L, 2);
    chunk.n = (size_t)luaL_checknumber(L, 3);
  } else
    chunk = check_text(L, 2);
  if (!json_stream_feed(s, chunk.p, chunk.n)) return broken(L, s);
  lua_pushboolean(L, 1);
  return 1;
}

static int l_stream_next(lua_State *L) {
  json_stream *s = check_stream(L);
  holder *h = lua_touserdata(L, 1);
  slice element;
  int found = json_stream_next(s, &element);
  if (found < 0) return broken(L, s);
  if (found == 0) {
    lua_pushnil(L);
    return 1;
  }
  begin_use(h);
  lua_pushlstring(L, element.p, element.n);
  end_use(h);
  return 1;
}

/* beside an element: no fault, and its name */
static int push_key(lua_State *L, slice key) {
  lua_pushnil(L);
  if (key.p == NULL) return 2;
  lua_pushlstring(L, key.p, key.n);
  return 3;
}

/* the next element, decoded, and its name after a nil; one that cannot be is
** nil and why, too */
static int l_stream_value(lua_State *L) {
  json_stream *stream = check_stream(L);
  holder *h = lua_touserdata(L, 1);
  scratch *s = take(L); /* [stream ... scratch], and may run finalisers */
  decoder d = {L, s, 0, 0, &h->names, 0};
  slice element;
  int found;
  if (h->busy || h->gone) {
    give(s);
    opened(L, h);
  }
  s->doc.texts = h->texts;
  found = json_stream_value(stream, &s->doc, &element);
  if (found <= 0) {
    give(s);
    return found < 0 ? broken(L, stream) : 0;
  }
  begin_use(h);
  lua_getiuservalue(L, 1, 1); /* [stream ... scratch strings] */
  d.strings = lua_gettop(L);
  found = push_doc(&d);
  if (found == 1) found = push_key(L, json_stream_key(stream));
  end_use(h);
  return found;
}

static int l_stream_finish(lua_State *L) {
  json_stream *s = check_stream(L);
  if (!json_stream_end(s)) return broken(L, s);
  lua_pushboolean(L, 1);
  return 1;
}

/* only the collector can call it: the metatable is hidden */
static int l_stream_gc(lua_State *L) {
  holder *h = luaL_checkudata(L, 1, STREAM);
  h->gone = 1;
  if (!h->busy) close_stream(h);
  return 0;
}

/* ======= registration ======= */

static int l_null_tostring(lua_State *L) {
  lua_pushliteral(L, "null");
  return 1;
}

static const luaL_Reg functions[] = {
    {"decode", l_decode}, {"read", l_read},           {"digest", l_digest},
    {"redact", l_redact}, {"stringify", l_stringify}, {"stream", l_stream},
    {NULL, NULL},
};

static const luaL_Reg scratch_meta[] = {
    {"__gc", l_scratch_gc},
    {NULL, NULL},
};

static const luaL_Reg stream_meta[] = {
    {"__gc", l_stream_gc},
    {NULL, NULL},
};

static const luaL_Reg stream_methods[] = {
    {"feed", l_stream_feed},
    {"next", l_stream_next},
    {"value", l_stream_value},
    {"finish", l_stream_finish},
    {NULL, NULL},
};

static const luaL_Reg null_meta[] = {
    {"__tostring", l_null_tostring},
    {NULL, NULL},
};

/* pushes a metatable that Lua cannot get at */
static void new_meta(lua_State *L, const char *name, const luaL_Reg *meta) {
  luaL_newmetatable(L, name);
  luaL_setfuncs(L, meta, 0);
  lua_pushstring(L, name);
  lua_setfield(L, -2, "__name");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
}

/* pushes the one null of this state */
static void push_null(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, NULLS);
  if (!lua_isnil(L, -1)) return;
  lua_pop(L, 1);
  lua_newuserdatauv(L, 1, 0); /* [null] */
  lua_newtable(L);            /* [null meta] */
  luaL_setfuncs(L, null_meta, 0);
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_setmetatable(L, -2);
  lua_pushvalue(L, -1);
  lua_setfield(L, LUA_REGISTRYINDEX, NULLS);
}

int open_json(lua_State *L) {
  new_meta(L, SCRATCH, scratch_meta);
  new_meta(L, STREAM, stream_meta);
  luaL_newlib(L, stream_methods);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 2);
  luaL_newlib(L, functions); /* [json] */
  push_null(L);
  lua_setfield(L, -2, "null");
  luaL_newmetatable(L, ARRAY); /* [json meta] */
  lua_pushboolean(L, 1);
  lua_setfield(L, -2, "list");
  lua_setfield(L, -2, "array");
  return 1;
}
