/*
** lcurl.c - luaopen_billhook_curl: pools and tickets for Lua.
**
**   pool = curl.new()
**   ticket = pool:add(request[, stall])   raises where it is unusable; with
**                            request.stall's default it is a stream
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

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include "stay.h"

#define POOL   "billhook.curl"
#define TICKET "billhook.curl.ticket"

/* the most bytes that read gives: larger strings come and go slowly, as they
** are mapped into memory one by one */
#define PIECE 16384

typedef struct holder {
  pool *pool;
  transfer *t; /* of pool:run, while no ticket holds it */
} holder;

typedef struct ticket {
  transfer *t; /* NULL: cancelled, or its result was taken */
} ticket;

/* Requests: the rules of lua/billhook/transport/request.lua once more, for
** speed. Messages carry no position: the caller knows whom to blame. */

static int refuse(lua_State *L, const char *format, ...) {
  va_list list;
  va_start(list, format);
  lua_pushvfstring(L, format, list);
  va_end(list);
  return lua_error(L);
}

typedef struct text {
  const char *s; /* NULL: absent */
  size_t n;
} text;

/* The strings are the request table's, which stays on the stack and which no
** Lua code changes meanwhile. */
typedef struct request {
  text method, url, body, ca_file, proxy;
  double timeout, connect_timeout, stall, limit;
  int fresh;
} request;

#define FIELD(member, type)                                                  \
  { #member, sizeof(#member) - 1, type, offsetof(request, member) }

static const struct {
  const char *name;
  size_t n; /* its length */
  int type;
  size_t at;
} fields[] = {
    FIELD(method, LUA_TSTRING),  FIELD(url, LUA_TSTRING),
    {"headers", 7, LUA_TTABLE, 0},
    FIELD(body, LUA_TSTRING),    FIELD(timeout, LUA_TNUMBER),
    FIELD(connect_timeout, LUA_TNUMBER),
    FIELD(stall, LUA_TNUMBER),   FIELD(fresh, LUA_TBOOLEAN),
    FIELD(limit, LUA_TNUMBER),   FIELD(ca_file, LUA_TSTRING),
    FIELD(proxy, LUA_TSTRING),   {NULL, 0, 0, 0},
};

/* [name value] */
static void read_field(lua_State *L, request *r) {
  size_t n = 0, i = 0;
  const char *name = lua_type(L, -2) == LUA_TSTRING
                         ? lua_tolstring(L, -2, &n)
                         : lua_typename(L, lua_type(L, -2));
  char *to = (char *)r;
  while (fields[i].name != NULL &&
         (fields[i].n != n || memcmp(fields[i].name, name, n) != 0))
    i++;
  if (fields[i].name == NULL) refuse(L, "request.%s is not known", name);
  if (lua_type(L, -1) != fields[i].type)
    refuse(L, "request.%s must be a %s", name,
           lua_typename(L, fields[i].type));
  to += fields[i].at;
  if (fields[i].type == LUA_TSTRING) {
    text *t = (text *)(void *)to;
    t->s = lua_tolstring(L, -1, &t->n);
  } else if (fields[i].type == LUA_TNUMBER)
    *(double *)(void *)to = lua_tonumber(L, -1);
  else if (fields[i].type == LUA_TBOOLEAN)
    r->fresh = lua_toboolean(L, -1);
}

static int is_one_of(text t, const char *const *names) {
  for (; *names != NULL; names++)
    if (strlen(*names) == t.n && curl_strnequal(*names, t.s, t.n)) return 1;
  return 0;
}

static int is_safe(text method) {
  return strcmp(method.s, "GET") == 0 || strcmp(method.s, "HEAD") == 0;
}

static void check_method(lua_State *L, const request *r) {
  static const char *const names[] = {"GET",   "HEAD",   "POST", "PUT",
                                      "PATCH", "DELETE", NULL};
  size_t i;
  for (i = 0; r->method.s != NULL && names[i] != NULL; i++)
    if (strlen(names[i]) == r->method.n && strcmp(names[i], r->method.s) == 0)
      break;
  if (r->method.s == NULL || names[i] == NULL)
    refuse(L, "request.method must be GET, HEAD, POST, PUT, PATCH or DELETE");
  if (r->body.s != NULL && is_safe(r->method))
    refuse(L, "request.body is not for %s", r->method.s);
}

static int is_printable(text t) {
  size_t i;
  for (i = 0; i < t.n; i++)
    if (t.s[i] <= ' ' || t.s[i] > '~') return 0;
  return 1;
}

/* after the scheme: the length of the authority; 0 without either */
static size_t authority(const char *s, const char *const *schemes,
                        const char **at) {
  for (; *schemes != NULL; schemes++) {
    size_t n = strlen(*schemes);
    if (!curl_strnequal(s, *schemes, n)) continue;
    *at = s + n;
    return strcspn(s + n, "/?#");
  }
  return 0;
}

static void check_url(lua_State *L, text url) {
  static const char *const schemes[] = {"http://", "https://", NULL};
  const char *at;
  size_t n;
  if (url.s == NULL) refuse(L, "request.url is missing");
  if (!is_printable(url) || memchr(url.s, '\\', url.n) != NULL)
    refuse(L, "request.url has a character that must be percent-encoded");
  if ((n = authority(url.s, schemes, &at)) == 0)
    refuse(L, "request.url must begin with https:// or http:// and a host");
  if (memchr(at, '@', n) != NULL)
    refuse(L, "request.url must not carry a user name or password");
}

static void check_proxy(lua_State *L, text proxy) {
  static const char *const schemes[] = {"http://", "https://", "socks5://",
                                        "socks5h://", NULL};
  const char *at;
  size_t n;
  if (proxy.s == NULL) return;
  n = is_printable(proxy) ? authority(proxy.s, schemes, &at) : 0;
  if (n == 0 || (at[n] != '\0' && strcmp(at + n, "/") != 0))
    refuse(L, "request.proxy must be http://host:port, or https, socks5 or"
              " socks5h");
}

static long milliseconds(lua_State *L, double s, const char *name) {
  if (!(s > 0 && s < HUGE_VAL))
    refuse(L, "request.%s must be more than 0 seconds", name);
  if (s > 2000000) s = 2000000;
  return s < 0.001 ? 1 : (long)(s * 1000); /* 0 would mean for ever */
}

static void to_order(lua_State *L, int i, double stall, order *o) {
  request r = {
      .timeout = 30, .connect_timeout = 10, .stall = stall, .limit = 64 << 20};
  if (!lua_istable(L, i)) refuse(L, "request must be a table");
  lua_pushnil(L);
  while (lua_next(L, i)) { /* [name value] */
    read_field(L, &r);
    lua_pop(L, 1);
  }
  check_method(L, &r);
  check_url(L, r.url);
  check_proxy(L, r.proxy);
  if (r.ca_file.s != NULL && strlen(r.ca_file.s) != r.ca_file.n)
    refuse(L, "request.ca_file holds a NUL byte");
  if (!(r.limit >= 0 && r.limit < 9007199254740992.0))
    refuse(L, "request.limit must be a number of bytes");
  memset(o, 0, sizeof(*o));
  o->timeout = milliseconds(L, r.timeout, "timeout");
  o->connect_timeout = milliseconds(L, r.connect_timeout, "connect_timeout");
  if (r.stall > -HUGE_VAL) o->stall = milliseconds(L, r.stall, "stall");
  o->method = r.method.s;
  o->url = r.url.s;
  o->body = r.body.s;
  o->size = r.body.n;
  o->ca_file = r.ca_file.s;
  o->proxy = r.proxy.s;
  o->limit = (size_t)r.limit;
  o->fresh = r.fresh || !is_safe(r.method);
}

/* headers */

static const char *const own[] = {"host",
                                  "content-length",
                                  "transfer-encoding",
                                  "te",
                                  "connection",
                                  "keep-alive",
                                  "upgrade",
                                  "trailer",
                                  "expect",
                                  "accept-encoding",
                                  "proxy-authorization",
                                  "proxy-connection",
                                  NULL};

static int is_token(text t) {
  size_t i;
  for (i = 0; i < t.n; i++) {
    char c = t.s[i];
    int letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                 (c >= '0' && c <= '9');
    if (!letter && (c == '\0' || strchr("!#$%&'*+.^_`|~-", c) == NULL))
      return 0;
  }
  return t.n > 0;
}

static int is_value(text t) {
  size_t i;
  for (i = 0; i < t.n; i++) {
    unsigned char c = (unsigned char)t.s[i];
    if (c == 127 || (c < ' ' && c != '\t')) return 0;
  }
  return 1;
}

/* [name value] */
static void add_header(lua_State *L, transfer *t, int *typed) {
  text name = {NULL, 0}, value = {NULL, 0};
  if (lua_type(L, -2) == LUA_TSTRING) name.s = lua_tolstring(L, -2, &name.n);
  if (lua_type(L, -1) == LUA_TSTRING)
    value.s = lua_tolstring(L, -1, &value.n);
  *typed |= name.n == 12 && curl_strequal(name.s, "content-type");
  if (name.n > 0 && value.n > 0 &&
      transfer_repeats(t, name.s, name.n, value.s, value.n))
    return;
  if (!is_token(name)) refuse(L, "request.headers has a malformed name");
  if (is_one_of(name, own))
    refuse(L, "request.headers: %s is the transport's own", name.s);
  if (transfer_has(t, name.s))
    refuse(L, "request.headers has %s twice", name.s);
  if (value.s == NULL)
    refuse(L, "request.headers: %s must be a string", name.s);
  if (!is_value(value))
    refuse(L, "request.headers: %s has a control character", name.s);
  if (!transfer_header(t, name.s, value.s)) luaL_error(L, "not enough memory");
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

static void drop(holder *h) {
  if (h->t != NULL) transfer_free(h->t);
  h->t = NULL;
}

static holder *to_holder(lua_State *L) {
  holder *h = luaL_checkudata(L, 1, POOL);
  if (h->pool == NULL) luaL_error(L, "the transport is closed");
  drop(h); /* an error left it */
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
  h->t = NULL;
  luaL_setmetatable(L, POOL);
  h->pool = new_pool(L);
  return 1;
}

static int l_close(lua_State *L) {
  holder *h = luaL_checkudata(L, 1, POOL);
  drop(h);
  if (h->pool != NULL) pool_drop(h->pool);
  h->pool = NULL;
  return 0;
}

static ticket *new_ticket(lua_State *L) {
  ticket *k = lua_newuserdatauv(L, sizeof(*k), 0); /* [ticket] */
  k->t = NULL;
  luaL_setmetatable(L, TICKET);
  return k;
}

/* starts the request at 2 in the holder */
static transfer *start(lua_State *L, pool *p, double stall, int stream) {
  holder *h = lua_touserdata(L, 1);
  CURLcode code;
  order o;
  to_order(L, 2, stall, &o);
  o.stream = stream;
  if ((h->t = transfer_new(p)) == NULL) luaL_error(L, "not enough memory");
  add_headers(L, h->t, 2, &o);
  code = transfer_start(h->t, &o);
  if (code != CURLE_OK) refuse(L, "libcurl: %s", curl_easy_strerror(code));
  return h->t;
}

/* [ticket] takes over what the holder has */
static int hand_over(lua_State *L, ticket *k) {
  holder *h = lua_touserdata(L, 1);
  k->t = h->t;
  h->t = NULL;
  return 1;
}

static int l_add(lua_State *L) {
  pool *p = to_pool(L);
  lua_settop(L, 3);
  start(L, p, luaL_optnumber(L, 3, -HUGE_VAL), !lua_isnil(L, 3));
  return hand_over(L, new_ticket(L));
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

static int l_head(lua_State *L) {
  transfer *t = to_transfer(L);
  if (!t->headed) return 0;
  lua_pushinteger(L, (lua_Integer)t->status);
  push_headers(L, t);
  return 2;
}

static int l_read(lua_State *L) {
  transfer *t = to_transfer(L);
  size_t n = t->used - t->at < PIECE ? t->used - t->at : PIECE;
  if (t->used == 0 || !t->stream || pool_foreign(t->pool)) return 0;
  lua_pushlstring(L, t->bytes + t->at, n); /* may raise: they stay there */
  transfer_taken(t, n);
  return 1;
}

/* All that is there, for a stream of JSON, which copies it: a string would be
** garbage as soon as it was made. */
static int l_feed(lua_State *L) {
  transfer *t = to_transfer(L);
  size_t n = t->used - t->at;
  luaL_checkudata(L, 2, "billhook.json.stream");
  if (t->used == 0 || !t->stream || pool_foreign(t->pool)) return 0;
  lua_settop(L, 2);
  lua_getfield(L, 2, "feed");
  lua_insert(L, 2); /* [ticket feed stream] */
  lua_pushlightuserdata(L, t->bytes + t->at);
  lua_pushnumber(L, (lua_Number)n);
  lua_call(L, 3, 2); /* [ticket fed why]; may raise: they stay there */
  transfer_taken(t, n);
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

static int push_result(lua_State *L, transfer *t) {
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
  pool *p = to_pool(L);
  long ms = to_ms(L, 3);
  transfer *t = start(L, p, -HUGE_VAL, 0);
  int n;
  if (!transfer_wait(t, ms)) return hand_over(L, new_ticket(L));
  n = push_result(L, t);
  drop(lua_touserdata(L, 1));
  return n;
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
  if (!is_over(t)) return 0;
  n = push_result(L, t);
  k->t = NULL;
  transfer_free(t);
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
