/*
** ldecimal.c - decimals in Lua: immutable userdata with operators.
** A Lua number is looked at here and nowhere below: one with a fraction is
** taken only where its shortest text is certain, and never in arithmetic.
*/
#include "core.h"
#include "ldecimal.h"

#define DECIMAL_MT "billhook.decimal"
#define MAXSHARES  100000

const char *const ldecimal_faults[] = {
    NULL,
    "decimal expected",
    "malformed decimal",
    "decimal overflow",
    "a number that is not finite",
    "a number with a fraction or with more than 15 digits: pass a string",
};

static void pushdecimal(lua_State *L, decimal d) {
  decimal *out = lua_newuserdatauv(L, sizeof *out, 0);
  luaL_setmetatable(L, DECIMAL_MT);
  *out = d;
}

BH_RAISES static void overflow(lua_State *L) {
  luaL_where(L, 1);
  lua_pushstring(L, ldecimal_faults[LDECIMAL_OVERFLOW]);
  lua_concat(L, 2);
  bh_raise(L);
}

/* --- reading Lua values ----------------------------------------------- */

int ldecimal_integer(lua_State *L, int i, int64_t *out) {
  double d;
  if (lua_type(L, i) != LUA_TNUMBER) return 0;
  if (lua_isinteger(L, i)) {
    *out = (int64_t)lua_tointeger(L, i);
    return 1;
  }
  d = lua_tonumber(L, i);
  if (!(d >= -9007199254740992.0 && d <= 9007199254740992.0)) return 0;
  *out = (int64_t)d;
  return (double)*out == d;
}

/* The decimal of at most 15 digits that reads as this very double, if there
** is one: there are never two. Both operands of the last step are exact, so
** it rounds once, as reading the text would; no locale takes part. */
static ldecimal_fault fromnumber(volatile double d, decimal *out) {
  volatile double unit = 1, back, n;
  int scale, zeros;
  if (d - d != 0) return LDECIMAL_INFINITE;
  if (d >= 9223372036854775807.0 || d <= -9223372036854775807.0)
    return LDECIMAL_OVERFLOW;
  for (scale = 0; scale <= DECIMAL_MAXSCALE; scale++, unit *= 10) {
    n = d * unit;
    if (n > 999999999999999.5 || n < -999999999999999.5) break;
    out->coefficient = (int64_t)(n < 0 ? n - 0.5 : n + 0.5);
    out->scale = (uint8_t)scale;
    back = (double)out->coefficient / unit;
    if (back == d) return LDECIMAL_OK;
  }
  for (zeros = 1, unit = 10; scale == 0 && zeros <= 4; zeros++, unit *= 10) {
    int64_t digits;
    n = d / unit;
    if (n > 999999999999999.5 || n < -999999999999999.5) continue;
    digits = (int64_t)(n < 0 ? n - 0.5 : n + 0.5);
    back = (double)digits * unit;
    if (back == d &&
        !__builtin_mul_overflow(digits, (int64_t)unit, &out->coefficient)) {
      out->scale = 0;
      return LDECIMAL_OK;
    }
  }
  return LDECIMAL_VAGUE;
}

static ldecimal_fault fromstring(lua_State *L, int i, decimal *out) {
  slice text;
  int malformed;
  text.p = lua_tolstring(L, i, &text.n);
  if (decimal_parse(text, out, &malformed)) return LDECIMAL_OK;
  return malformed ? LDECIMAL_MALFORMED : LDECIMAL_OVERFLOW;
}

/* what an operator takes: no number with a fraction */
static ldecimal_fault tooperand(lua_State *L, int i, decimal *out) {
  const decimal *d = luaL_testudata(L, i, DECIMAL_MT);
  int64_t n;
  if (d != NULL) {
    *out = *d;
    return LDECIMAL_OK;
  }
  if (lua_type(L, i) == LUA_TSTRING) return fromstring(L, i, out);
  if (ldecimal_integer(L, i, &n))
    return decimal_integer(n, out) ? LDECIMAL_OK : LDECIMAL_OVERFLOW;
  return lua_type(L, i) == LUA_TNUMBER ? LDECIMAL_VAGUE : LDECIMAL_NONE;
}

ldecimal_fault ldecimal_read(lua_State *L, int i, decimal *out) {
  ldecimal_fault fault = tooperand(L, i, out);
  if (fault == LDECIMAL_VAGUE) fault = fromnumber(lua_tonumber(L, i), out);
  return fault;
}

static decimal checkdecimal(lua_State *L, int i) {
  return *(const decimal *)luaL_checkudata(L, i, DECIMAL_MT);
}

BH_RAISES static void raise(lua_State *L, int i, ldecimal_fault fault) {
  const char *why = ldecimal_faults[fault];
  if (fault == LDECIMAL_OVERFLOW) overflow(L);
  if (fault == LDECIMAL_NONE)
    why = lua_pushfstring(L, "%s, got %s", why, luaL_typename(L, i));
  luaL_argerror(L, i, why);
  __builtin_unreachable();
}

static decimal checkoperand(lua_State *L, int i) {
  decimal d = {0, 0};
  ldecimal_fault fault = tooperand(L, i, &d);
  if (fault != LDECIMAL_OK) raise(L, i, fault);
  return d;
}

/* --- operators -------------------------------------------------------- */

static int result(lua_State *L, int fits, decimal d) {
  if (!fits) overflow(L);
  pushdecimal(L, d);
  return 1;
}

static int l_decimal_add(lua_State *L) {
  decimal a = checkoperand(L, 1), b = checkoperand(L, 2), sum = {0, 0};
  return result(L, decimal_add(a, b, &sum), sum);
}

static int l_decimal_sub(lua_State *L) {
  decimal a = checkoperand(L, 1), b = checkoperand(L, 2), sum = {0, 0};
  return result(L, decimal_add(a, decimal_neg(b), &sum), sum);
}

static int l_decimal_mul(lua_State *L) {
  decimal a = checkoperand(L, 1), b = checkoperand(L, 2), product = {0, 0};
  return result(L, decimal_mul(a, b, &product), product);
}

static int l_decimal_unm(lua_State *L) {
  return result(L, 1, decimal_neg(checkdecimal(L, 1)));
}

static int compare(lua_State *L) {
  decimal a = checkoperand(L, 1), b = checkoperand(L, 2);
  return decimal_compare(a, b);
}

static int l_decimal_eq(lua_State *L) {
  lua_pushboolean(L, compare(L) == 0);
  return 1;
}

static int l_decimal_lt(lua_State *L) {
  lua_pushboolean(L, compare(L) < 0);
  return 1;
}

static int l_decimal_le(lua_State *L) {
  lua_pushboolean(L, compare(L) <= 0);
  return 1;
}

static int l_decimal_tostring(lua_State *L) {
  char text[DECIMAL_ROOM];
  size_t n = decimal_text(checkdecimal(L, 1), text);
  lua_pushlstring(L, text, n);
  return 1;
}

/* ".." as numbers have it; one side is a decimal, the other may be text */
static int l_decimal_concat(lua_State *L) {
  int i;
  for (i = 1; i <= 2; i++) {
    if (luaL_testudata(L, i, DECIMAL_MT) == NULL) {
      luaL_checkstring(L, i);
      lua_pushvalue(L, i);
    } else {
      char text[DECIMAL_ROOM];
      size_t n = decimal_text(checkdecimal(L, i), text);
      lua_pushlstring(L, text, n);
    }
  }
  lua_concat(L, 2);
  return 1;
}

/* --- methods ---------------------------------------------------------- */

static int l_decimal_round(lua_State *L) {
  static const char *const modes[] = {"half_away", "half_even", "down", "up",
                                      NULL};
  decimal d = checkdecimal(L, 1), rounded = {0, 0};
  int64_t digits = -1;
  decimal_mode mode;
  luaL_argcheck(L,
                ldecimal_integer(L, 2, &digits) && digits >= 0 &&
                    digits <= DECIMAL_MAXSCALE,
                2, "digits from 0 to 18 expected");
  mode = (decimal_mode)luaL_checkoption(L, 3, modes[0], modes);
  return result(L, decimal_round(d, (unsigned)digits, mode, &rounded),
                rounded);
}

/* a share's ratio: the value on top, which is popped */
static int64_t checkratio(lua_State *L, size_t i) {
  int64_t ratio = -1;
  if (!ldecimal_integer(L, -1, &ratio) || ratio < 0) {
    const char *why = lua_pushfstring(
        L, "ratio %d is not a whole number from 0 up", (int)(i + 1));
    luaL_argerror(L, 2, why);
  }
  lua_pop(L, 1);
  return ratio;
}

static size_t checkshares(lua_State *L) {
  int64_t n = -1;
  if (lua_istable(L, 2))
    n = (int64_t)lua_rawlen(L, 2);
  else if (!ldecimal_integer(L, 2, &n))
    luaL_argerror(L, 2, "list of ratios or number of shares expected");
  luaL_argcheck(L, n >= 1 && n <= MAXSHARES, 2, "1 to 100000 shares expected");
  return (size_t)n;
}

static int l_decimal_allocate(lua_State *L) {
  decimal d = checkdecimal(L, 1);
  size_t i, n = checkshares(L);
  decimal_share *shares = lua_newuserdatauv(L, n * sizeof *shares, 0);
  for (i = 0; i < n; i++) {
    shares[i].index = i;
    shares[i].ratio = 1;
    if (lua_istable(L, 2)) {
      lua_rawgeti(L, 2, (int)(i + 1));
      shares[i].ratio = checkratio(L, i);
    }
  }
  if (!decimal_allocate(d, shares, n))
    return luaL_argerror(L, 2, "ratios add up to nothing, or to too much");
  lua_createtable(L, (int)n, 0);
  for (i = 0; i < n; i++) {
    decimal share = {shares[i].units, d.scale};
    pushdecimal(L, share); /* [shares list share] */
    lua_rawseti(L, -2, (int)(shares[i].index + 1));
  }
  return 1;
}

static int l_decimal_scale(lua_State *L) {
  lua_pushinteger(L, checkdecimal(L, 1).scale);
  return 1;
}

static int l_decimal_sign(lua_State *L) {
  int64_t n = checkdecimal(L, 1).coefficient;
  lua_pushinteger(L, (n > 0) - (n < 0));
  return 1;
}

static int l_decimal_is_zero(lua_State *L) {
  lua_pushboolean(L, checkdecimal(L, 1).coefficient == 0);
  return 1;
}

static int l_decimal_abs(lua_State *L) {
  decimal d = checkdecimal(L, 1);
  return result(L, 1, d.coefficient < 0 ? decimal_neg(d) : d);
}

/* nil where there is a fraction, or more than this Lua's integers keep */
static int l_decimal_integer(lua_State *L) {
  int64_t n;
  if (decimal_whole(checkdecimal(L, 1), &n) && n <= BH_MAXINTEGER &&
      n >= -BH_MAXINTEGER)
    lua_pushinteger(L, (lua_Integer)n);
  else
    lua_pushnil(L);
  return 1;
}

/* --- the module ------------------------------------------------------- */

static int l_decimal_new(lua_State *L) {
  decimal d = {0, 0};
  ldecimal_fault fault;
  luaL_checkany(L, 1);
  fault = ldecimal_read(L, 1, &d);
  if (fault != LDECIMAL_OK) raise(L, 1, fault);
  pushdecimal(L, d);
  return 1;
}

/* for what comes from outside: nil and a message instead of an error */
static int l_decimal_read(lua_State *L) {
  decimal d = {0, 0};
  ldecimal_fault fault;
  luaL_checkany(L, 1);
  fault = ldecimal_read(L, 1, &d);
  if (fault == LDECIMAL_OK) {
    pushdecimal(L, d);
    return 1;
  }
  lua_pushnil(L);
  lua_pushstring(L, ldecimal_faults[fault]);
  return 2;
}

static int l_decimal_is(lua_State *L) {
  luaL_checkany(L, 1);
  lua_pushboolean(L, luaL_testudata(L, 1, DECIMAL_MT) != NULL);
  return 1;
}

static const luaL_Reg operators[] = {
    {"__add", l_decimal_add},
    {"__sub", l_decimal_sub},
    {"__mul", l_decimal_mul},
    {"__unm", l_decimal_unm},
    {"__eq", l_decimal_eq},
    {"__lt", l_decimal_lt},
    {"__le", l_decimal_le},
    {"__concat", l_decimal_concat},
    {"__tostring", l_decimal_tostring},
    {NULL, NULL},
};

/* eq, lt and le are also methods, because the operators == everywhere, and
** < on LuaJIT, only ever see two decimals */
static const luaL_Reg methods[] = {
    {"eq", l_decimal_eq},
    {"lt", l_decimal_lt},
    {"le", l_decimal_le},
    {"round", l_decimal_round},
    {"allocate", l_decimal_allocate},
    {"scale", l_decimal_scale},
    {"sign", l_decimal_sign},
    {"is_zero", l_decimal_is_zero},
    {"abs", l_decimal_abs},
    {"integer", l_decimal_integer},
    {NULL, NULL},
};

static const luaL_Reg functions[] = {
    {"new", l_decimal_new},
    {"read", l_decimal_read},
    {"is", l_decimal_is},
    {NULL, NULL},
};

int open_decimal(lua_State *L) {
  luaL_newmetatable(L, DECIMAL_MT); /* [mt] */
  luaL_setfuncs(L, operators, 0);
  luaL_newlib(L, methods); /* [mt methods] */
  lua_setfield(L, -2, "__index");
  lua_pushliteral(L, DECIMAL_MT); /* [mt name] */
  lua_pushvalue(L, -1);
  lua_setfield(L, -3, "__name");
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  return 1;
}
