/*
** lverify.c - core.verify: webhook keys, and one delivery checked.
**
** Keys are a userdata that prints as "***" and is wiped when it goes. It also
** holds the room that deliveries are read in. Making the answer's tables may
** run finalisers, and those may check another delivery with the same keys:
** while the room is in use, such a call gets a room of its own. Keys outlive
** their own finaliser where another object's finaliser still has them (when
** the Lua state is closed): then they are wiped, and using them raises. Where
** the finaliser is called while they are in use, they are wiped after that.
*/
#include "core.h"

#include <string.h>
#include <time.h>

#include "verify.h"

#define KEYS "billhook.keys"
#define WORK "billhook.work"

typedef struct keys {
  verify_keys keys;
  verify_work work;
  int open;
  int busy; /* stays so where a call was broken off for lack of memory */
} keys;

/* --- keys -------------------------------------------------------------- */

static void wipe(keys *k) {
  verify_keys_close(&k->keys);
  verify_work_close(&k->work);
}

static int l_keys_gc(lua_State *L) {
  keys *k = luaL_checkudata(L, 1, KEYS);
  k->open = 0;
  if (!k->busy) wipe(k);
  return 0;
}

static keys *checkkeys(lua_State *L, int i) {
  keys *k = luaL_checkudata(L, i, KEYS);
  if (!k->open) luaL_error(L, "the webhook keys are closed");
  return k;
}

static int l_keys_tostring(lua_State *L) {
  lua_pushliteral(L, "***");
  return 1;
}

static int l_work_gc(lua_State *L) {
  verify_work_close(luaL_checkudata(L, 1, WORK));
  return 0;
}

static slice toslice(lua_State *L, int i) {
  slice s = {NULL, 0};
  if (lua_type(L, i) == LUA_TSTRING) s.p = lua_tolstring(L, i, &s.n);
  return s;
}

typedef const char *adder(verify_keys *keys, slice value);

/* the value on the top, which it pops; at: its place in a list, or 0 */
static void add(lua_State *L, keys *k, adder *take, const char *name, int at) {
  slice s = toslice(L, -1);
  const char *why = s.p != NULL ? take(&k->keys, s) : "is not a string";
  if (why != NULL && at > 0) luaL_error(L, "%s[%d] %s", name, at, why);
  if (why != NULL) luaL_error(L, "%s %s", name, why);
  lua_pop(L, 1);
}

/* the option at the top, which it pops: a string or a list of them */
static void addall(lua_State *L, keys *k, adder *take, const char *name) {
  int i, n;
  if (!lua_istable(L, -1)) {
    add(L, k, take, name, 0);
    return;
  }
  n = (int)lua_rawlen(L, -1);
  if (n == 0) luaL_error(L, "%s is an empty list", name);
  for (i = 1; i <= n; i++) {
    lua_rawgeti(L, -1, i); /* [list element] */
    add(L, k, take, name, i);
  }
  lua_pop(L, 1);
}

/* the option at the top, which it pops: { user, password } */
static void setbasic(lua_State *L, keys *k) {
  slice user, password;
  const char *why = "is not a list of user and password";
  if (lua_istable(L, -1) && lua_rawlen(L, -1) == 2) {
    lua_rawgeti(L, -1, 1);
    lua_rawgeti(L, -2, 2); /* [basic user password] */
    user = toslice(L, -2);
    password = toslice(L, -1);
    if (user.p != NULL && password.p != NULL)
      why = verify_set_basic(&k->keys, user, password);
    lua_pop(L, 2);
  }
  if (why != NULL) luaL_error(L, "basic %s", why);
  lua_pop(L, 1);
}

/* one option: its name is in the stack at -2, its value at -1, popped */
static void setoption(lua_State *L, keys *k) {
  slice name = toslice(L, -2);
  if (slice_equal(name, slice_of("secret")))
    addall(L, k, verify_add_secret, "secret");
  else if (slice_equal(name, slice_of("authorization")))
    addall(L, k, verify_add_authorization, "authorization");
  else if (slice_equal(name, slice_of("basic")))
    setbasic(L, k);
  else
    luaL_error(L, "unknown option: %s", name.p != NULL ? name.p : "not text");
}

static keys *newkeys(lua_State *L) {
  keys *k = lua_newuserdatauv(L, sizeof *k, 0); /* [keys] */
  memset(k, 0, sizeof *k);
  luaL_setmetatable(L, KEYS);
  if (!verify_keys_open(&k->keys)) luaL_error(L, "not enough memory");
  verify_work_open(&k->work);
  k->open = 1;
  return k;
}

static int l_keys(lua_State *L) {
  keys *k;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  k = newkeys(L); /* [options keys] */
  lua_pushnil(L);
  while (lua_next(L, 1) != 0) /* [options keys name value] */
    setoption(L, k);          /* [options keys name] */
  return 1;
}

/* --- words ------------------------------------------------------------- */

/* What options are read by and answers are made of. The functions below have
** these as upvalues, because Lua looks a C string up anew at every use. */
#define OPTIONS(X)  X(tolerance) X(now) X(tenant) X(digest)
#define DELIVERY(X) X(vendor) X(trust) X(secret) X(events)
#define TRUST(X)    X(id) X(sender) X(body)
#define EVENT(X) \
  X(native) X(invoice) X(attempt_id) X(data) X(bad) X(live) X(occurred_at)
#define WORDS(X) OPTIONS(X) DELIVERY(X) TRUST(X) EVENT(X)

#define NUMBERED(word) W_##word,
#define SPELT(word)    #word,

enum { W_NONE, WORDS(NUMBERED) W_END };

static const char *const words[] = {NULL, WORDS(SPELT)};

static void pushword(lua_State *L, int word) {
  lua_pushvalue(L, lua_upvalueindex(word));
}

static void pushfunction(lua_State *L, lua_CFunction f) {
  int word;
  for (word = W_NONE + 1; word < W_END; word++)
    lua_pushstring(L, words[word]);
  lua_pushcclosure(L, f, W_END - 1);
}

/* --- the request ------------------------------------------------------- */

static verify_vendor checkvendor(lua_State *L, int i) {
  static const char *const names[] = {"dreamapply", "dreamclass", "betterez",
                                      NULL};
  static const verify_vendor vendors[] = {VERIFY_DREAMAPPLY, VERIFY_DREAMCLASS,
                                          VERIFY_BETTEREZ};
  return vendors[luaL_checkoption(L, i, NULL, names)];
}

/* The headers of the table at i, name to text or list of texts. Their text
** stays in that table, which is an argument. */
static void getheaders(lua_State *L, int i, verify_request *r) {
  luaL_checktype(L, i, LUA_TTABLE);
  lua_pushnil(L);
  while (lua_next(L, i) != 0) { /* [name value] */
    slice name = toslice(L, -2);
    int k, n = lua_istable(L, -1) ? (int)lua_rawlen(L, -1) : 0;
    if (n == 0) verify_header(r, name, toslice(L, -1));
    for (k = 1; k <= n; k++) {
      lua_rawgeti(L, -1, k); /* [name value element] */
      verify_header(r, name, toslice(L, -1));
      lua_pop(L, 1);
    }
    lua_pop(L, 1);
  }
}

/* pushes one of the options at i */
static void getoption(lua_State *L, int i, int word) {
  pushword(L, word);
  lua_gettable(L, i);
}

/* a number of the options at i, or otherwise */
static double getnumber(lua_State *L, int i, int word, double otherwise) {
  double n = otherwise;
  getoption(L, i, word);
  if (lua_type(L, -1) == LUA_TNUMBER) {
    n = lua_tonumber(L, -1);
    if (!(n >= 0)) luaL_error(L, "%s is negative", words[word]);
  } else if (!lua_isnil(L, -1)) {
    luaL_error(L, "%s is not a number", words[word]);
  }
  lua_pop(L, 1);
  return n;
}

static double clock_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int isfalse(lua_State *L, int i, int word) {
  int is;
  if (lua_isnoneornil(L, i)) return 0;
  getoption(L, i, word);
  is = lua_isboolean(L, -1) && !lua_toboolean(L, -1);
  lua_pop(L, 1);
  return is;
}

/* [tenant]: it may come from a metamethod, and then is nowhere else */
static void getoptions(lua_State *L, int i, verify_request *r) {
  r->tolerance = -1;
  r->now = -1;
  if (!lua_isnoneornil(L, i)) {
    luaL_checktype(L, i, LUA_TTABLE);
    r->tolerance = getnumber(L, i, W_tolerance, -1);
    r->now = getnumber(L, i, W_now, -1);
    getoption(L, i, W_tenant);
    r->tenant = toslice(L, -1);
    if (r->tenant.p == NULL && !lua_isnil(L, -1))
      luaL_error(L, "tenant is not a string");
    r->undigested = isfalse(L, i, W_digest);
  }
  if (r->now < 0) r->now = clock_now();
}

/* --- the answer -------------------------------------------------------- */

static void setslice(lua_State *L, int word, slice s) {
  if (s.p == NULL) return;
  pushword(L, word);
  lua_pushlstring(L, s.p, s.n);
  lua_rawset(L, -3);
}

static void setbad(lua_State *L, const verify_event *e) {
  if (e->bad == NULL) return;
  pushword(L, W_bad);
  if (e->part != NULL)
    lua_pushfstring(L, "%s %s", e->part, e->bad);
  else if (e->at > 0)
    lua_pushfstring(L, "%s at byte %d", e->bad, (int)e->at);
  else
    lua_pushstring(L, e->bad);
  lua_rawset(L, -3);
}

static void pushevent(lua_State *L, const verify_event *e, int dataless) {
  slice digest = {e->digest[0] != 0 ? e->digest : NULL, sizeof e->digest};
  lua_createtable(L, 0, 8); /* [event] */
  setslice(L, W_id, e->id);
  setslice(L, W_native, e->native);
  setslice(L, W_invoice, e->invoice);
  setslice(L, W_attempt_id, e->attempt);
  if (!dataless) setslice(L, W_data, e->data);
  setslice(L, W_digest, digest);
  setbad(L, e);
  pushword(L, W_live);
  lua_pushboolean(L, e->live);
  lua_rawset(L, -3);
  if (!e->timed) return;
  pushword(L, W_occurred_at);
  lua_pushnumber(L, e->occurred_at);
  lua_rawset(L, -3);
}

static int trust_of(verify_vendor vendor) {
  if (vendor == VERIFY_BETTEREZ) return W_body;
  return vendor == VERIFY_DREAMCLASS ? W_id : W_sender;
}

static void pushevents(lua_State *L, verify_keys *k, verify_work *work,
                       uint32_t n, int dataless) {
  verify_event e;
  int i, more;
  lua_createtable(L, (int)n, 0); /* [events] */
  for (i = 1; (more = verify_next(k, work, &e)) > 0; i++) {
    pushevent(L, &e, dataless);
    lua_rawseti(L, -2, i);
  }
  if (more < 0) luaL_error(L, "not enough memory");
}

static int pushdelivery(lua_State *L, verify_keys *k, verify_work *work,
                        const verify_request *r, const verify_answer *a) {
  lua_createtable(L, 0, a->tenant.p != NULL ? 5 : 4); /* [delivery] */
  pushword(L, W_vendor);
  lua_pushvalue(L, 1);
  lua_rawset(L, -3);
  pushword(L, W_trust);
  pushword(L, trust_of(r->vendor));
  lua_rawset(L, -3);
  pushword(L, W_secret);
  lua_pushinteger(L, a->secret);
  lua_rawset(L, -3);
  setslice(L, W_tenant, a->tenant);
  pushword(L, W_events);
  pushevents(L, k, work, a->events, isfalse(L, 5, W_data));
  lua_rawset(L, -3); /* [delivery] */
  return 1;
}

static int pushrefusal(lua_State *L, verify_code code,
                       const verify_answer *a) {
  if (code == VERIFY_MEMORY) return luaL_error(L, "%s", a->why);
  lua_pushnil(L);
  lua_pushstring(L, verify_name(code));
  if (a->part != NULL)
    lua_pushfstring(L, "%s %s", a->part, a->why);
  else if (a->at >= 0)
    lua_pushfstring(L, "%s at byte %d", a->why, (int)a->at);
  else
    lua_pushstring(L, a->why);
  return 3;
}

static int answer(lua_State *L, verify_keys *k, verify_work *work,
                  const verify_request *r) {
  verify_answer a;
  verify_code code = verify_check(k, work, r, &a);
  if (code != VERIFY_OK) return pushrefusal(L, code, &a);
  return pushdelivery(L, k, work, r, &a);
}

/* (vendor, headers, body, keys, options): with `digest` or `data` false its
** events have none */
static int l_check(lua_State *L) {
  verify_request r;
  verify_work *work;
  keys *k = NULL;
  int n;
  memset(&r, 0, sizeof r);
  lua_settop(L, 5);
  r.vendor = checkvendor(L, 1);
  r.body.p = luaL_checklstring(L, 3, &r.body.n);
  getoptions(L, 5, &r); /* may run metamethods: before all that is borrowed */
  if (!lua_isnoneornil(L, 4)) k = checkkeys(L, 4);
  getheaders(L, 2, &r);
  if (k != NULL && !k->busy) {
    k->busy = 1;
    n = answer(L, &k->keys, &k->work, &r);
    verify_work_trim(&k->work);
    k->busy = 0;
    if (!k->open) wipe(k);
    return n;
  }
  work = lua_newuserdatauv(L, sizeof *work, 0);
  verify_work_open(work);
  luaL_setmetatable(L, WORK);
  if (k != NULL) checkkeys(L, 4); /* making the room may run finalisers */
  return answer(L, k != NULL ? &k->keys : NULL, work, &r);
}

/* (vendor, headers, keys) -> true, or a refusal that needs no body */
static int l_headers(lua_State *L) {
  verify_request r;
  verify_answer a;
  verify_code code;
  keys *k = NULL;
  memset(&r, 0, sizeof r);
  r.vendor = checkvendor(L, 1);
  if (!lua_isnoneornil(L, 3)) k = checkkeys(L, 3);
  getheaders(L, 2, &r);
  code = verify_headers(k != NULL ? &k->keys : NULL, &r, &a);
  if (code != VERIFY_OK) return pushrefusal(L, code, &a);
  lua_pushboolean(L, 1);
  return 1;
}

/* --- beside deliveries ------------------------------------------------- */

/* (text) -> events of DreamApply's journal, as its API gives it */
static int l_items(lua_State *L) {
  verify_request r;
  verify_answer a;
  verify_code code;
  keys *k;
  memset(&r, 0, sizeof r);
  r.vendor = VERIFY_DREAMAPPLY;
  r.body.p = luaL_checklstring(L, 1, &r.body.n);
  k = newkeys(L);
  code = verify_items(&k->keys, &k->work, &r, &a);
  if (code != VERIFY_OK) return pushrefusal(L, code, &a);
  pushevents(L, &k->keys, &k->work, a.events, 0);
  return 1;
}

/* (secret, text) -> 32 bytes */
static int l_hmac(lua_State *L) {
  unsigned char code[SIGN_SIZE];
  slice secret, text;
  secret.p = luaL_checklstring(L, 1, &secret.n);
  text.p = luaL_checklstring(L, 2, &text.n);
  if (!sign_hmac(secret, text, code))
    return luaL_error(L, "not enough memory");
  lua_pushlstring(L, (const char *)code, sizeof code);
  return 1;
}

/* (text, name) -> first and last byte of that member of the top object */
static int l_member(lua_State *L) {
  verify_work *work;
  slice text, name, raw;
  uint32_t node = JSON_NONE;
  text.p = luaL_checklstring(L, 1, &text.n);
  name.p = luaL_checklstring(L, 2, &name.n);
  work = lua_newuserdatauv(L, sizeof *work, 0);
  verify_work_open(work);
  luaL_setmetatable(L, WORK);
  if (json_read(&work->doc, text.p, text.n))
    node = json_member(&work->doc, 0, name);
  if (node >= JSON_TWICE) return 0;
  raw = json_raw(&work->doc, node);
  lua_pushinteger(L, (lua_Integer)(raw.p - text.p) + 1);
  lua_pushinteger(L, (lua_Integer)(raw.p - text.p) + (lua_Integer)raw.n);
  return 2;
}

static const luaL_Reg functions[] = {
    {"keys", l_keys},
    {"headers", l_headers},
    {"hmac", l_hmac},
    {"member", l_member},
    {NULL, NULL},
};

static void register_type(lua_State *L, const char *name, lua_CFunction gc) {
  luaL_newmetatable(L, name); /* [mt] */
  lua_pushcfunction(L, gc);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, l_keys_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}

int open_verify(lua_State *L) {
  register_type(L, KEYS, l_keys_gc);
  register_type(L, WORK, l_work_gc);
  luaL_newlib(L, functions); /* [verify] */
  pushfunction(L, l_check);
  lua_setfield(L, -2, "check");
  pushfunction(L, l_items);
  lua_setfield(L, -2, "items");
  return 1;
}
