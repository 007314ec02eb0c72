/*
** ltext.c - core.text: encodings, digests, random bytes, clocks and dates.
*/
#include "core.h"

#include <time.h>

#include "date.h"
#include "head.h"
#include "say.h"
#include "sign.h"
#include "text.h"

#include <string.h>

#define MAXRANDOM 65536

static slice checkslice(lua_State *L, int i) {
  slice s;
  s.p = luaL_checklstring(L, i, &s.n);
  return s;
}

/* room on the stack for n parts of size bytes each, size small */
static void *scratch(lua_State *L, size_t n, size_t size) {
  if (n > SIZE_MAX / 8) luaL_error(L, "string too long");
  return lua_newuserdatauv(L, n * size + 1, 0);
}

static int l_hex(lua_State *L) {
  slice s = checkslice(L, 1);
  char *out = scratch(L, s.n, 2);
  text_hex(s.p, s.n, out);
  lua_pushlstring(L, out, 2 * s.n);
  return 1;
}

static int l_unhex(lua_State *L) {
  slice s = checkslice(L, 1);
  char *out = scratch(L, s.n / 2, 1);
  if (text_unhex(s, out, s.n / 2))
    lua_pushlstring(L, out, s.n / 2);
  else
    lua_pushnil(L);
  return 1;
}

static int l_base64(lua_State *L) {
  slice s = checkslice(L, 1);
  char *out = scratch(L, TEXT_BASE64(s.n), 1);
  lua_pushlstring(L, out, text_base64(s.p, s.n, out));
  return 1;
}

static int l_unbase64(lua_State *L) {
  slice s = checkslice(L, 1);
  char *out = scratch(L, s.n, 1);
  int n = text_unbase64(s, out, s.n);
  if (n >= 0)
    lua_pushlstring(L, out, (size_t)n);
  else
    lua_pushnil(L);
  return 1;
}

static int l_percent(lua_State *L) {
  slice s = checkslice(L, 1);
  char *out = scratch(L, s.n, 3);
  lua_pushlstring(L, out, text_percent(s, out));
  return 1;
}

static int l_equal(lua_State *L) {
  slice a = checkslice(L, 1), b = checkslice(L, 2);
  lua_pushboolean(L, a.n == b.n && sign_equal(a.p, b.p, a.n));
  return 1;
}

static int l_before(lua_State *L) {
  slice a = checkslice(L, 1), b = checkslice(L, 2);
  int order = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
  lua_pushboolean(L, order < 0 || (order == 0 && a.n < b.n));
  return 1;
}

static int l_sha256(lua_State *L) {
  unsigned char digest[SIGN_SIZE];
  char out[2 * SIGN_SIZE];
  if (!sign_sha256(checkslice(L, 1), digest))
    return luaL_error(L, "not enough memory");
  text_hex(digest, SIGN_SIZE, out);
  lua_pushlstring(L, out, sizeof out);
  return 1;
}

static int l_random(lua_State *L) {
  lua_Integer n = luaL_checkinteger(L, 1);
  char *out;
  luaL_argcheck(L, n >= 0 && n <= MAXRANDOM, 1, "from 0 to 65536 bytes");
  out = scratch(L, (size_t)n, 1);
  if (!sign_random(out, (size_t)n))
    return luaL_error(L, "no random bytes to be had");
  lua_pushlstring(L, out, (size_t)n);
  return 1;
}

/* say(line): to stderr at once, or not at all: then false */
static int l_say(lua_State *L) {
  slice s = checkslice(L, 1);
  luaL_argcheck(L, s.n <= SAY_MOST, 1, "longer than 4096 bytes");
  lua_pushboolean(L, say_now(2, s.p, s.n));
  return 1;
}

static int pushclock(lua_State *L, clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  lua_pushnumber(L, (double)t.tv_sec + (double)t.tv_nsec * 1e-9);
  return 1;
}

static int l_now(lua_State *L) {
  return pushclock(L, CLOCK_REALTIME);
}

static int l_monotonic(lua_State *L) {
  return pushclock(L, CLOCK_MONOTONIC);
}

static int l_retry_after(lua_State *L) {
  slice value = {NULL, 0};
  double now = luaL_checknumber(L, 2), seconds;
  if (!lua_isnoneornil(L, 1)) value = checkslice(L, 1);
  if (head_retry_after(value, now, &seconds))
    lua_pushnumber(L, seconds);
  else
    lua_pushnil(L);
  return 1;
}

static int l_datetime(lua_State *L) {
  double epoch;
  if (date_read(checkslice(L, 1), &epoch) == DATE_MOMENT)
    lua_pushnumber(L, epoch);
  else
    lua_pushnil(L);
  return 1;
}

/* day("2026-11-21"): the number of the day, from 1970-01-01 on; or nil */
static int l_day(lua_State *L) {
  double epoch;
  if (date_read(checkslice(L, 1), &epoch) == DATE_DAY)
    lua_pushinteger(L, (lua_Integer)(epoch / 86400));
  else
    lua_pushnil(L);
  return 1;
}

static int l_iso(lua_State *L) {
  double epoch = luaL_checknumber(L, 1);
  char out[DATE_ROOM];
  int64_t whole;
  /* keeps from the cast what no int64 holds, NaN too */
  luaL_argcheck(L, epoch > -1e15 && epoch < 1e15, 1,
                "not within the years 1 to 9999");
  whole = (int64_t)epoch;
  if ((double)whole > epoch) whole--;
  luaL_argcheck(L, date_write(whole, out), 1,
                "not within the years 1 to 9999");
  lua_pushlstring(L, out, sizeof out);
  return 1;
}

static const luaL_Reg functions[] = {
    {"hex", l_hex},
    {"unhex", l_unhex},
    {"base64", l_base64},
    {"unbase64", l_unbase64},
    {"percent", l_percent},
    {"equal", l_equal},
    {"before", l_before},
    {"sha256", l_sha256},
    {"random", l_random},
    {"now", l_now},
    {"monotonic", l_monotonic},
    {"retry_after", l_retry_after},
    {"datetime", l_datetime},
    {"day", l_day},
    {"iso", l_iso},
    {"say", l_say},
    {NULL, NULL},
};

int open_text(lua_State *L) {
  luaL_newlib(L, functions);
  return 1;
}
