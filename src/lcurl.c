/*
** lcurl.c - luaopen_billhook_curl: pools and tickets for Lua.
**
**   pool = curl.new()
**   ticket = pool:add(request)      raises where the request is unusable
**   pool:poll(seconds)              true when something finished or moved
**   pool:sleep(seconds)             while transfers go on
**   ticket:done()
**   ticket:result()                 status, headers, body
**                                   | nil, kind, message, sent
**   ticket:head()                   status, headers, or nothing yet
**   ticket:read()                   of a stream: bytes, or nothing yet
**   ticket:cancel()
**
** A request is what lua/billhook/transport/request.lua makes of one: every
** field there, plus `stream`. It is checked here again as far as memory and
** header injection go.
*/
#define _GNU_SOURCE /* dladdr */
#include "compat.h"
#include "curl.h"

#include <dlfcn.h>
#include <string.h>

#define POOL   "billhook.curl"
#define TICKET "billhook.curl.ticket"

typedef struct holder {
  pool *pool;
} holder;

typedef struct ticket {
  transfer *t; /* NULL: cancelled, or its result was taken */
} ticket;

/* arguments */

/* A string without a NUL; it stays alive because the request table holds it,
** and the callers keep it on the stack. Pushes one value. */
static const char *field(lua_State *L, int i, const char *name, int needed) {
  size_t n;
  const char *s;
  lua_getfield(L, i, name); /* [value] */
  if (lua_isnil(L, -1) && !needed) return NULL;
  if (lua_type(L, -1) != LUA_TSTRING)
    luaL_error(L, "request.%s must be a string", name);
  s = lua_tolstring(L, -1, &n);
  if (strlen(s) != n) luaL_error(L, "request.%s holds a NUL byte", name);
  return s;
}

static const char *body_field(lua_State *L, int i, size_t *n) {
  lua_getfield(L, i, "body"); /* [value] */
  if (lua_isnil(L, -1)) return NULL;
  if (lua_type(L, -1) != LUA_TSTRING)
    luaL_error(L, "request.body must be a string");
  return lua_tolstring(L, -1, n);
}

static double number_field(lua_State *L, int i, const char *name, double max) {
  double x;
  lua_getfield(L, i, name);
  x = lua_tonumber(L, -1);
  if (lua_type(L, -1) != LUA_TNUMBER || !(x >= 0))
    luaL_error(L, "request.%s must be a number", name);
  lua_pop(L, 1);
  return x < max ? x : max;
}

static long ms_field(lua_State *L, int i, const char *name) {
  double ms = number_field(L, i, name, 2000000) * 1000;
  return ms < 1 ? 1 : (long)ms; /* 0 would mean for ever */
}

static int true_field(lua_State *L, int i, const char *name) {
  int is;
  lua_getfield(L, i, name);
  is = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return is;
}

/* leaves the strings of the order on the stack */
static void to_order(lua_State *L, int i, order *o) {
  memset(o, 0, sizeof(*o));
  luaL_checktype(L, i, LUA_TTABLE);
  luaL_checkstack(L, 8, NULL);
  o->method = field(L, i, "method", 1);
  o->url = field(L, i, "url", 1);
  o->ca_file = field(L, i, "ca_file", 0);
  o->proxy = field(L, i, "proxy", 0);
  o->body = body_field(L, i, &o->size);
  o->limit = (size_t)number_field(L, i, "limit", (double)(SIZE_MAX / 4));
  o->timeout = ms_field(L, i, "timeout");
  o->connect_timeout = ms_field(L, i, "connect_timeout");
  o->fresh = true_field(L, i, "fresh");
  o->stream = true_field(L, i, "stream");
}

static int is_clean(const char *s, size_t n) {
  return strlen(s) == n && strpbrk(s, "\r\n") == NULL;
}

/* [name value] -> [name value line]; libcurl writes "Name;" for a header
** without a value, where "Name:" would take one away */
static const char *push_line(lua_State *L) {
  size_t n, m;
  const char *name, *value;
  if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING)
    luaL_error(L, "request.headers must map strings to strings");
  name = lua_tolstring(L, -2, &n);
  value = lua_tolstring(L, -1, &m);
  if (n == 0 || !is_clean(name, n) || strpbrk(name, ":; ") != NULL)
    luaL_error(L, "request.headers has a malformed name");
  if (!is_clean(value, m))
    luaL_error(L, "request.headers: the value of %s has a line break", name);
  return m == 0 ? lua_pushfstring(L, "%s;", name)
                : lua_pushfstring(L, "%s: %s", name, value);
}

static void add_line(lua_State *L, transfer *t, const char *line) {
  if (!transfer_header(t, line)) luaL_error(L, "not enough memory");
}

static void add_headers(lua_State *L, transfer *t, int i) {
  int typed = 0;
  add_line(L, t, "Expect:"); /* never wait for 100 (Continue) */
  lua_getfield(L, i, "headers");
  if (!lua_istable(L, -1)) luaL_error(L, "request.headers must be a table");
  lua_pushnil(L);
  while (lua_next(L, -2)) { /* [headers name value] */
    add_line(L, t, push_line(L));
    typed |= curl_strequal(lua_tostring(L, -3), "content-type");
    lua_pop(L, 2);
  }
  lua_pop(L, 1);
  /* the type that libcurl would make up for a body is never the right one */
  if (!typed) add_line(L, t, "Content-Type:");
}

/* pools */

static pool *new_pool(lua_State *L) {
  pool *p = pool_new();
  if (p == NULL) luaL_error(L, "not enough memory");
  return p;
}

/* After a fork the child starts anew and leaves the parent's pool alone. */
static pool *to_pool(lua_State *L) {
  holder *h = luaL_checkudata(L, 1, POOL);
  if (h->pool == NULL) luaL_error(L, "the transport is closed");
  if (pool_foreign(h->pool)) h->pool = new_pool(L);
  return h->pool;
}

static int l_new(lua_State *L) {
  holder *h = lua_newuserdatauv(L, sizeof(*h), 0); /* [holder] */
  h->pool = NULL;
  luaL_setmetatable(L, POOL);
  h->pool = new_pool(L);
  return 1;
}

static int l_close(lua_State *L) {
  holder *h = luaL_checkudata(L, 1, POOL);
  if (h->pool != NULL) pool_drop(h->pool);
  h->pool = NULL;
  return 0;
}

static ticket *new_ticket(lua_State *L, pool *p) {
  ticket *k = lua_newuserdatauv(L, sizeof(*k), 0); /* [ticket] */
  k->t = NULL;
  luaL_setmetatable(L, TICKET);
  if ((k->t = transfer_new(p)) == NULL) luaL_error(L, "not enough memory");
  return k;
}

static int l_add(lua_State *L) {
  pool *p = to_pool(L);
  order o;
  ticket *k;
  CURLcode code;
  lua_settop(L, 2);
  to_order(L, 2, &o);
  k = new_ticket(L, p);
  add_headers(L, k->t, 2);
  code = transfer_start(k->t, &o);
  if (code != CURLE_OK)
    return luaL_error(L, "libcurl: %s", curl_easy_strerror(code));
  return 1;
}

static long to_ms(lua_State *L, int i) {
  double seconds = luaL_checknumber(L, i);
  luaL_argcheck(L, seconds >= 0, i, "must not be negative");
  return (long)((seconds < 2000000 ? seconds : 2000000) * 1000 + 0.999);
}

static int l_poll(lua_State *L) {
  pool *p = to_pool(L);
  lua_pushboolean(L, pool_poll(p, to_ms(L, 2)));
  return 1;
}

static int l_sleep(lua_State *L) {
  pool *p = to_pool(L);
  pool_sleep(p, to_ms(L, 2));
  return 0;
}

/* tickets */

static ticket *to_ticket(lua_State *L) {
  return luaL_checkudata(L, 1, TICKET);
}

static transfer *to_transfer(lua_State *L) {
  ticket *k = to_ticket(L);
  if (k->t == NULL) luaL_error(L, "the ticket was cancelled or used up");
  return k->t;
}

static int l_done(lua_State *L) {
  transfer *t = to_transfer(L);
  lua_pushboolean(L, t->done || pool_foreign(t->pool));
  return 1;
}

static void push_lower(lua_State *L, const char *s) {
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  for (; *s != '\0'; s++)
    luaL_addchar(&b, *s >= 'A' && *s <= 'Z' ? (char)(*s + 32) : *s);
  luaL_pushresult(&b);
}

/* [headers] -> [headers], with one more; repeated ones are joined */
static void put_header(lua_State *L, const struct curl_header *h) {
  push_lower(L, h->name); /* [headers name] */
  lua_pushvalue(L, -1);   /* [headers name name] */
  lua_rawget(L, -3);      /* [headers name old] */
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_pushstring(L, h->value);
  } else {
    lua_pushfstring(L, ", %s", h->value);
    lua_concat(L, 2);
  } /* [headers name value] */
  lua_rawset(L, -3);
}

static void push_headers(lua_State *L, transfer *t) {
  struct curl_header *h = NULL;
  lua_createtable(L, 0, (int)t->head_lines);
  while ((h = curl_easy_nextheader(t->easy, CURLH_HEADER, -1, h)) != NULL)
    put_header(L, h);
}

static int l_head(lua_State *L) {
  transfer *t = to_transfer(L);
  if (pool_foreign(t->pool) || !t->headed) return 0;
  lua_pushinteger(L, (lua_Integer)t->status);
  push_headers(L, t);
  return 2;
}

static int l_read(lua_State *L) {
  transfer *t = to_transfer(L);
  if (t->used == 0 || !t->stream || pool_foreign(t->pool)) return 0;
  lua_pushlstring(L, t->bytes, t->used); /* may raise: then it is all there */
  transfer_taken(t);
  return 1;
}

static int push_failure(lua_State *L, const char *kind, const char *message,
                        int sent) {
  lua_pushnil(L);
  lua_pushstring(L, kind);
  lua_pushstring(L, message);
  lua_pushboolean(L, sent);
  return 4;
}

static int push_result(lua_State *L, transfer *t) {
  if (pool_foreign(t->pool))
    return push_failure(L, "network", "sent before this process was forked",
                        1);
  if (t->kind != NULL)
    return push_failure(L, t->kind, t->message, t->sends > 0);
  lua_pushinteger(L, (lua_Integer)t->status);
  push_headers(L, t);
  lua_pushlstring(L, t->bytes != NULL ? t->bytes : "", t->used);
  return 3;
}

static int l_cancel(lua_State *L) {
  ticket *k = to_ticket(L);
  if (k->t != NULL) transfer_free(k->t);
  k->t = NULL;
  return 0;
}

static int l_result(lua_State *L) {
  ticket *k = to_ticket(L);
  transfer *t = to_transfer(L);
  int n;
  if (!t->done && !pool_foreign(t->pool)) return 0;
  n = push_result(L, t);
  k->t = NULL;
  transfer_free(t);
  return n;
}

/* the module */

static const luaL_Reg pool_methods[] = {{"add", l_add},
                                        {"poll", l_poll},
                                        {"sleep", l_sleep},
                                        {"close", l_close},
                                        {NULL, NULL}};

static const luaL_Reg pool_events[] = {
    {"__gc", l_close}, {"__close", l_close}, {NULL, NULL}};

static const luaL_Reg ticket_methods[] = {
    {"done", l_done},     {"head", l_head},     {"read", l_read},
    {"result", l_result}, {"cancel", l_cancel}, {NULL, NULL}};

static const luaL_Reg ticket_events[] = {
    {"__gc", l_cancel}, {"__close", l_cancel}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"new", l_new}, {NULL, NULL}};

static void new_class(lua_State *L, const char *name, const luaL_Reg *methods,
                      const luaL_Reg *events) {
  luaL_newmetatable(L, name); /* [meta] */
  luaL_setfuncs(L, events, 0);
  lua_newtable(L); /* [meta methods] */
  luaL_setfuncs(L, methods, 0);
  lua_setfield(L, -2, "__index");
  lua_pushstring(L, name);
  lua_setfield(L, -2, "__name");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}

/* A resolver's thread may outlive its transfer, so the code that it runs must
** outlive the Lua state: this object is never unloaded, nor libcurl. */
static void stay_loaded(void) {
  Dl_info self;
  static const char here = 0;
  if (dladdr(&here, &self) != 0)
    (void)dlopen(self.dli_fname, RTLD_NOW | RTLD_NODELETE | RTLD_NOLOAD);
}

/* libcurl counts its initialisations and locks them itself (since 7.84); the
** count is never taken back, for the reason above. */
BILLHOOK_API int luaopen_billhook_curl(lua_State *L);

int luaopen_billhook_curl(lua_State *L) {
  stay_loaded();
  if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
    return luaL_error(L, "libcurl does not start");
  new_class(L, POOL, pool_methods, pool_events);
  new_class(L, TICKET, ticket_methods, ticket_events);
  luaL_newlib(L, functions);
  return 1;
}
