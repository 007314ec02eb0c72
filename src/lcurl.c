/*
** lcurl.c - luaopen_billhook_curl: pools and tickets for Lua.
**
**   pool = curl.new()
**   ticket = pool:add(request[, stream])   raises where it is unusable
**   ticket = pool:run(request, seconds)   the same, and waits so long: gives
**                            what result() does where that was long enough
**   pool:poll(seconds)       true when something finished or moved
**   pool:sleep(seconds)      while transfers go on
**   pool:close()
**   ticket:done()
**   ticket:result()          status, headers, body | nil, kind, message, sent
**   ticket:head()            status, headers, or nothing yet
**   ticket:read()            of a stream: bytes, or nothing yet
**   ticket:feed(stream)      the same to a core.json.stream: what that says of
**                            it, or nothing yet
**   ticket:cancel()
*/
#define _GNU_SOURCE /* dladdr */
#include "compat.h"
#include "curl.h"
#include "lrequest.h"
#include "stay.h"

#include <string.h>

#define POOL   "billhook.curl"
#define TICKET "billhook.curl.ticket"

/* the most bytes that read gives: larger strings come and go slowly, as they
** are mapped into memory one by one */
#define PIECE 16384

typedef struct holder {
  pool *pool; /* NULL: closed */
} holder;

typedef struct ticket {
  transfer *t; /* NULL: cancelled, or its result was taken */
  int busy;    /* values of Lua's are made of it: that may run finalisers */
  int gone;    /* one of these has cancelled it */
} ticket;

/* requests */

static long milliseconds(double s) {
  if (s > 2000000) s = 2000000;
  return s < 0.001 ? 1 : (long)(s * 1000); /* 0 would mean for ever */
}

/* The strings are the request table's, which stays on the stack and which no
** Lua code changes meanwhile. */
static void to_order(lua_State *L, int i, int stream, order *o) {
  request r;
  lrequest_read(L, i, stream, &r);
  memset(o, 0, sizeof(*o));
  o->timeout = milliseconds(r.timeout);
  o->connect_timeout = milliseconds(r.connect_timeout);
  if (r.stall != REQUEST_NO_STALL) o->stall = milliseconds(r.stall);
  o->method = r.method.p;
  o->url = r.url.p;
  o->body = r.body.p;
  o->size = r.body.n;
  o->ca_file = r.ca_file.p;
  o->proxy = r.proxy.p;
  o->limit = (size_t)r.limit;
  o->fresh = r.fresh;
  o->stream = stream;
}

/* [name value] */
static void add_header(lua_State *L, transfer *t, int *typed) {
  slice name, value;
  lrequest_peek(L, &name, &value);
  *typed |= slice_same(name, slice_of("content-type"));
  if (name.n > 0 && value.n > 0 &&
      transfer_repeats(t, name.p, name.n, value.p, value.n))
    return;
  lrequest_header(L, name, value);
  if (transfer_has(t, name.p))
    lrequest_refuse(L, "request.headers has %s twice", name.p);
  if (!transfer_header(t, name.p, value.p)) luaL_error(L, "not enough memory");
}

static void add_headers(lua_State *L, transfer *t, int i, const order *o) {
  int typed = 0, fit = 1;
  lua_pushliteral(L, "headers");
  lua_rawget(L, i); /* [headers] */
  if (lua_istable(L, -1)) {
    lua_pushnil(L);
    while (lua_next(L, -2)) { /* [headers name value] */
      add_header(L, t, &typed);
      lua_pop(L, 1);
    }
  }
  lua_pop(L, 1);
  if (strcmp(o->method, "GET") == 0) return;
  /* never wait for 100 (Continue); the type that libcurl would make up for a
  ** body is never the right one */
  fit = transfer_header(t, "Expect", NULL) &&
        (typed || transfer_header(t, "Content-Type", NULL));
  if (!fit) luaL_error(L, "not enough memory");
}

/* pools */

static pool *new_pool(lua_State *L) {
  pool *p = pool_new();
  if (p == NULL) luaL_error(L, "not enough memory");
  return p;
}

static holder *to_holder(lua_State *L) {
  holder *h = luaL_checkudata(L, 1, POOL);
  if (h->pool == NULL) lrequest_refuse(L, "the transport is closed");
  return h;
}

/* After a fork the child starts anew and leaves the parent's pool alone. */
static pool *to_pool(lua_State *L) {
  holder *h = to_holder(L);
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

static ticket *new_ticket(lua_State *L) {
  ticket *k = lua_newuserdatauv(L, sizeof(*k), 0); /* [ticket] */
  memset(k, 0, sizeof(*k));
  luaL_setmetatable(L, TICKET);
  return k;
}

/* [ticket], with the request at 2 on its way: where that raises, the ticket's
** finaliser ends it */
static ticket *start(lua_State *L, int stream) {
  ticket *k = new_ticket(L);
  CURLcode code;
  order o;
  to_order(L, 2, stream, &o); /* may run finalisers: the pool is taken later */
  if ((k->t = transfer_new(to_pool(L))) == NULL)
    luaL_error(L, "not enough memory");
  add_headers(L, k->t, 2, &o);
  code = transfer_start(k->t, &o);
  if (code != CURLE_OK)
    lrequest_refuse(L, "libcurl: %s", curl_easy_strerror(code));
  return k;
}

static int l_add(lua_State *L) {
  to_holder(L);
  lua_settop(L, 3);
  start(L, lua_toboolean(L, 3));
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
  if (k->busy) luaL_error(L, "the ticket is in use");
  if (k->t == NULL) luaL_error(L, "the ticket was cancelled or used up");
  return k->t;
}

static void let_go(ticket *k) {
  if (k->t != NULL) transfer_free(k->t);
  k->t = NULL;
}

/* What `make` pushes of the ticket at i, which is cancelled after that where a
** finaliser has done so meanwhile. Gives how many values. */
static int made_of(lua_State *L, int i, lua_CFunction make) {
  ticket *k = lua_touserdata(L, i);
  int top = lua_gettop(L), raised;
  lua_pushcfunction(L, make); /* may run finalisers */
  lua_pushvalue(L, i);
  if (k->t == NULL) luaL_error(L, "the ticket was cancelled or used up");
  k->busy = 1;
  raised = lua_pcall(L, 1, LUA_MULTRET, 0);
  k->busy = 0;
  if (k->gone) let_go(k);
  if (raised) lua_error(L);
  return lua_gettop(L) - top;
}

static int is_over(const transfer *t) {
  return t->done || pool_foreign(t->pool);
}

static int l_done(lua_State *L) {
  lua_pushboolean(L, is_over(to_transfer(L)));
  return 1;
}

/* [headers] -> [headers], with one more; repeated ones are joined */
static void put_header(lua_State *L, const char *name, const char *value) {
  lua_pushstring(L, name); /* [headers name] */
  lua_pushvalue(L, -1);    /* [headers name name] */
  lua_rawget(L, -3);       /* [headers name old] */
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_pushstring(L, value);
  } else {
    lua_pushfstring(L, ", %s", value);
    lua_concat(L, 2);
  } /* [headers name value] */
  lua_rawset(L, -3);
}

static void push_headers(lua_State *L, const transfer *t) {
  const char *name = NULL, *value = NULL;
  lua_createtable(L, 0, (int)t->head.lines);
  while (curl_head_next(&t->head, &name, &value))
    put_header(L, name, value);
}

static int push_head(lua_State *L) {
  const ticket *k = lua_touserdata(L, 1);
  lua_pushinteger(L, (lua_Integer)k->t->status);
  push_headers(L, k->t);
  return 2;
}

static int l_head(lua_State *L) {
  if (!to_transfer(L)->headed) return 0;
  return made_of(L, 1, push_head);
}

static int l_read(lua_State *L) {
  char piece[PIECE]; /* a finaliser may poll, which moves what has come */
  transfer *t = to_transfer(L);
  const ticket *k = lua_touserdata(L, 1);
  size_t at = t->at, n = t->used - at < PIECE ? t->used - at : PIECE;
  if (t->used == 0 || !t->stream || pool_foreign(t->pool)) return 0;
  memcpy(piece, t->bytes + at, n);
  lua_pushlstring(L, piece, n); /* may raise: they stay there */
  if (k->t == t && t->at == at) transfer_taken(t, n);
  return 1;
}

/* All that is there, for a stream of JSON, which copies it: a string would be
** garbage as soon as it was made. */
static int l_feed(lua_State *L) {
  transfer *t = to_transfer(L);
  const ticket *k = lua_touserdata(L, 1);
  size_t at = t->at, n = t->used - at;
  luaL_checkudata(L, 2, "billhook.json.stream");
  if (t->used == 0 || !t->stream || pool_foreign(t->pool)) return 0;
  lua_settop(L, 2);
  lua_getfield(L, 2, "feed"); /* may run finalisers, in making its name */
  if (k->t != t || t->at != at) luaL_error(L, "the ticket is in use");
  lua_insert(L, 2); /* [ticket feed stream] */
  n = t->used - at;
  lua_pushlightuserdata(L, t->bytes + at);
  lua_pushnumber(L, (lua_Number)n);
  lua_call(L, 3, 2); /* [ticket fed why]; may raise: they stay there */
  if (k->t == t && t->at == at) transfer_taken(t, n);
  return 2;
}

static int push_failure(lua_State *L, const char *kind, const char *message,
                        int sent) {
  lua_pushnil(L);
  lua_pushstring(L, kind);
  lua_pushstring(L, message);
  lua_pushboolean(L, sent);
  return 4;
}

static int push_result(lua_State *L) {
  const transfer *t = ((const ticket *)lua_touserdata(L, 1))->t;
  if (!t->done)
    return push_failure(L, "network", "sent before this process was forked",
                        1);
  if (t->kind != NULL)
    return push_failure(L, t->kind, t->message, t->sends > 0);
  lua_pushinteger(L, (lua_Integer)t->status);
  push_headers(L, t);
  lua_pushlstring(L, t->bytes != NULL ? t->bytes : "", t->used);
  return 3;
}

static int l_run(lua_State *L) {
  long ms = to_ms(L, 3);
  ticket *k;
  int n;
  to_holder(L);
  lua_settop(L, 3);
  k = start(L, 0); /* [pool request seconds ticket] */
  if (!transfer_wait(k->t, ms)) return 1;
  n = made_of(L, 4, push_result);
  let_go(k);
  return n;
}

static int l_cancel(lua_State *L) {
  ticket *k = to_ticket(L);
  if (k->busy)
    k->gone = 1;
  else
    let_go(k);
  return 0;
}

static int l_result(lua_State *L) {
  ticket *k = to_ticket(L);
  int n;
  if (!is_over(to_transfer(L))) return 0;
  n = made_of(L, 1, push_result);
  let_go(k);
  return n;
}

/* the module */

static const luaL_Reg pool_methods[] = {{"add", l_add},
                                        {"run", l_run},
                                        {"poll", l_poll},
                                        {"sleep", l_sleep},
                                        {"close", l_close},
                                        {NULL, NULL}};

static const luaL_Reg pool_events[] = {
    {"__gc", l_close}, {"__close", l_close}, {NULL, NULL}};

static const luaL_Reg ticket_methods[] = {
    {"done", l_done},     {"head", l_head},     {"read", l_read},
    {"feed", l_feed},
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

/* libcurl counts its initialisations and locks them itself (since 7.84); the
** count is never taken back: a resolver's thread may outlive its transfer, so
** libcurl is never unloaded. */
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
