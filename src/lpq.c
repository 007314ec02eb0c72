/*
** lpq.c - luaopen_billhook_pq: the few calls of libpq that the inbox needs,
** in the shape of sqlite.c, so that one store runs on both.
**
**   db = pq.open(url [, {timeout = ms}])   or nil, code, message
**   db:exec(sql)         true; any number of statements, no values
**   db:query(sql, ...)   rows, and how many it has changed; one statement, a
**                        value a parameter
**   db:lost()            has the server closed the connection meanwhile?
**   db:within([ms])      all that follows has to be answered by then,
**                        together; nil: each in its own time
**   db:close()
**
** A row is a table by column name, with NULL as absence. Integers stay
** integers (on LuaJIT up to 2^53, text beyond), booleans are 0 and 1, bytea is
** its bytes, other types come as PostgreSQL writes them. A parameter takes the
** type that the statement gives it: nil is NULL, and a list of strings or of
** numbers an array (text[], bytea[], bigint[]), with false for NULL.
**
** Whatever the server refuses comes back as nil, the name of its SQLSTATE
** ("PG_UNIQUE_VIOLATION"), and its message without the row that it is about;
** a connection that does not come about or has ended is "PG_CONNECTION", a
** server that is silent for too long "PG_TIMEOUT": that connection is given
** up. Only wrong use raises. No message has the URL or the password in it.
**
** The answer is a field of the userdata, so nothing is lost where Lua raises.
** Making rows of it may run finalisers: meanwhile the connection is in use,
** and closed only after that.
*/
#define _GNU_SOURCE 1 /* dladdr */
#include "compat.h"
#include "pq.h"
#include "stay.h"
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

BILLHOOK_API int luaopen_billhook_pq(lua_State *L);

#define METANAME "billhook.pq"

/* from pg_type, which has no header for clients */
enum {
  BOOL = 16,
  BYTEA = 17,
  INT8 = 20,
  INT2 = 21,
  INT4 = 23,
  TEXT = 25,
  OID = 26,
  FLOAT4 = 700,
  FLOAT8 = 701,
  BYTEAS = 1001,
  TEXTS = 1009,
  INT8S = 1016
};

static pq_database *check(lua_State *L) {
  return (pq_database *)luaL_checkudata(L, 1, METANAME);
}

static pq_database *check_idle(lua_State *L) {
  pq_database *d = check(L);
  if (d->busy) luaL_error(L, "the database is in use");
  return d;
}

/* in one line: libpq writes a line a host, and advice */
static void pushline(lua_State *L, const char *text) {
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  while (*text != '\0') {
    size_t blanks = strspn(text, " \t\r\n");
    text += blanks;
    if (blanks > 0 && *text != '\0') luaL_addchar(&b, ' ');
    if (*text != '\0') luaL_addchar(&b, *text++);
  }
  luaL_pushresult(&b);
}

/* a copy of the message: making a string may run a finaliser that closes it */
static int fail(lua_State *L, const pq_database *d) {
  char state[PQ_STATE], copy[2048];
  const char *message, *code = pq_failure(d, state, &message);
  snprintf(copy, sizeof copy, "%s", message);
  lua_pushnil(L);
  lua_pushstring(L, code);
  pushline(L, copy);
  return 3;
}

/* --- open and close --------------------------------------------------- */

static int timeout_of(lua_State *L, int i) {
  int ms = 30000;
  if (lua_isnoneornil(L, i)) return ms;
  luaL_checktype(L, i, LUA_TTABLE);
  lua_getfield(L, i, "timeout"); /* [timeout] */
  if (!lua_isnil(L, -1)) ms = (int)luaL_checknumber(L, -1);
  lua_pop(L, 1);
  return ms;
}

static int l_open(lua_State *L) {
  const char *url = luaL_checkstring(L, 1);
  int timeout = timeout_of(L, 2);
  pq_database *d = (pq_database *)lua_newuserdatauv(L, sizeof(*d), 0);
  memset(d, 0, sizeof(*d));
  luaL_setmetatable(L, METANAME);
  return pq_open(d, url, timeout) ? 1 : fail(L, d);
}

static int l_close(lua_State *L) {
  pq_database *d = check(L);
  if (d->busy)
    d->closing = 1;
  else
    pq_close(d);
  return 0;
}

static int l_lost(lua_State *L) {
  lua_pushboolean(L, pq_lost(check_idle(L)));
  return 1;
}

static int l_within(lua_State *L) {
  pq_within(check_idle(L), (int)luaL_optnumber(L, 2, 0));
  return 0;
}

static int l_tostring(lua_State *L) {
  lua_pushstring(L, check(L)->closed ? METANAME " (closed)" : METANAME);
  return 1;
}

/* --- lists ------------------------------------------------------------ */

static int is_list(Oid type) {
  return type == INT8S || type == TEXTS || type == BYTEAS;
}

static char *put32(char *at, uint32_t n) {
  int i;
  for (i = 3; i >= 0; i--, n >>= 8)
    at[i] = (char)(n & 0xff);
  return at + 4;
}

static char *put64(char *at, int64_t n) {
  at = put32(at, (uint32_t)((uint64_t)n >> 32));
  return put32(at, (uint32_t)n);
}

#define EXACT 9007199254740992.0 /* up to here a double has no gaps */

static int is_whole(lua_Number x) {
  return floor(x) == x && fabs(x) <= EXACT;
}

static int is_null(lua_State *L) {
  return lua_isboolean(L, -1) && !lua_toboolean(L, -1);
}

/* how many bytes the element on the top takes */
static size_t element_size(lua_State *L, int i, int numbers) {
  if (is_null(L)) return 4;
  if (lua_type(L, -1) != (numbers ? LUA_TNUMBER : LUA_TSTRING))
    luaL_argerror(L, i,
                  numbers ? "a list of numbers expected"
                          : "a list of strings expected");
  if (!numbers) return 4 + lua_rawlen(L, -1);
  if (!lua_isinteger(L, -1) && !is_whole(lua_tonumber(L, -1)))
    luaL_argerror(L, i, "a list of whole numbers expected");
  return 4 + 8;
}

static int64_t integer(lua_State *L) {
  if (lua_isinteger(L, -1)) return (int64_t)lua_tointeger(L, -1);
  return (int64_t)lua_tonumber(L, -1);
}

static char *put_element(lua_State *L, int numbers, char *at) {
  size_t len;
  const char *text;
  if (is_null(L)) return put32(at, UINT32_MAX);
  if (numbers) return put64(put32(at, 8), integer(L));
  text = lua_tolstring(L, -1, &len);
  at = put32(at, (uint32_t)len);
  memcpy(at, text, len);
  return at + len;
}

/* A list in PostgreSQL's own spelling of an array of one dimension: header,
** then each element behind its length. It is left on the stack. */
static void bind_list(lua_State *L, int i, Oid type, pq_values *v, int at) {
  int n = (int)lua_rawlen(L, i), numbers = type == INT8S, j;
  uint32_t of = type == INT8S ? INT8 : type == TEXTS ? TEXT : BYTEA;
  size_t size = 20;
  char *out, *end;
  for (j = 1; j <= n; j++, lua_pop(L, 1)) {
    lua_rawgeti(L, i, j); /* [element] */
    size += element_size(L, i, numbers);
    luaL_argcheck(L, size < INT_MAX, i, "too much in a list");
  }
  out = (char *)lua_newuserdatauv(L, size, 0);
  end = put32(put32(put32(out, n > 0), 1), of);
  if (n > 0) end = put32(put32(end, (uint32_t)n), 1);
  for (j = 1; j <= n; j++, lua_pop(L, 1)) {
    lua_rawgeti(L, i, j); /* [element] */
    end = put_element(L, numbers, end);
  }
  v->value[at] = out;
  v->length[at] = (int)(end - out);
  v->binary[at] = 1;
}

/* --- values ----------------------------------------------------------- */

typedef char number[32];

static const char *write_number(lua_State *L, int i, char *out) {
  lua_Number x = lua_tonumber(L, i);
  char *comma;
  if (lua_isinteger(L, i))
    snprintf(out, sizeof(number), "%lld", (long long)lua_tointeger(L, i));
  else if (is_whole(x))
    snprintf(out, sizeof(number), "%.0f", x);
  else
    snprintf(out, sizeof(number), "%.17g", x);
  comma = strchr(out, ','); /* of the locale */
  if (comma != NULL) *comma = '.';
  return out;
}

/* strings stay on the stack until the statement has run */
static void bind_string(lua_State *L, int i, Oid type, pq_values *v, int at) {
  size_t len;
  v->value[at] = lua_tolstring(L, i, &len);
  luaL_argcheck(L, len < INT_MAX, i, "too long");
  v->length[at] = (int)len;
  v->binary[at] = type == TEXT || type == BYTEA; /* these have any bytes */
  luaL_argcheck(L, v->binary[at] || strlen(v->value[at]) == len, i,
                "a zero byte in what is no text");
}

static void bind(lua_State *L, int i, Oid type, pq_values *v, int at,
                 char *room) {
  int kind = lua_type(L, i);
  v->binary[at] = v->length[at] = 0;
  v->value[at] = NULL;
  if (kind == LUA_TBOOLEAN)
    v->value[at] = lua_toboolean(L, i) ? "1" : "0";
  else if (kind == LUA_TNUMBER)
    v->value[at] = write_number(L, i, room);
  else if (kind == LUA_TSTRING)
    bind_string(L, i, type, v, at);
  else if (kind == LUA_TTABLE && is_list(type))
    bind_list(L, i, type, v, at);
  else if (kind != LUA_TNIL)
    luaL_argerror(L, i, "nil, boolean, number, string or list expected");
}

/* [self sql value ...] */
static void bind_all(lua_State *L, const pq_statement *s, pq_values *v,
                     number *room) {
  int given = lua_gettop(L) - 2, i;
  if (s->values != given)
    luaL_error(L, "%d values given to a statement that takes %d", given,
               s->values);
  luaL_argcheck(L, given <= PQ_VALUES, 2, "too many parameters");
  luaL_checkstack(L, PQ_VALUES + LUA_MINSTACK, "values");
  for (i = 0; i < given; i++)
    bind(L, i + 3, s->types[i], v, i, room[i]);
}

/* --- rows ------------------------------------------------------------- */

static void pushinteger(lua_State *L, const char *text) {
  long long n = strtoll(text, NULL, 10);
  if (n > BH_MAXINTEGER || n < -BH_MAXINTEGER)
    lua_pushstring(L, text);
  else
    lua_pushinteger(L, (lua_Integer)n);
}

/* Lua reads it in any locale */
static void pushfloat(lua_State *L, const char *text) {
  lua_pushstring(L, text);
  if (lua_isnumber(L, -1)) lua_pushnumber(L, lua_tonumber(L, -1));
  if (lua_type(L, -1) == LUA_TNUMBER) lua_remove(L, -2);
}

static int digit(char c) {
  return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* \x and two digits a byte; bytea_output may also be "escape" */
static void pushbytes(lua_State *L, const char *text) {
  luaL_Buffer b;
  if (strncmp(text, "\\x", 2) != 0) {
    lua_pushstring(L, text);
    return;
  }
  luaL_buffinit(L, &b);
  for (text += 2; text[0] != '\0'; text += 2)
    luaL_addchar(&b, (char)(digit(text[0]) << 4 | digit(text[1])));
  luaL_pushresult(&b);
}

static void pushvalue(lua_State *L, const PGresult *r, int row, int column) {
  const char *text = PQgetvalue(r, row, column);
  switch (PQftype(r, column)) {
  case INT2:
  case INT4:
  case INT8:
  case OID:
    pushinteger(L, text);
    break;
  case BOOL:
    lua_pushinteger(L, text[0] == 't');
    break;
  case FLOAT4:
  case FLOAT8:
    pushfloat(L, text);
    break;
  case BYTEA:
    pushbytes(L, text);
    break;
  default:
    lua_pushlstring(L, text, (size_t)PQgetlength(r, row, column));
  }
}

static void pushrows(lua_State *L, const PGresult *r) {
  int rows = PQntuples(r), columns = PQnfields(r), i, j;
  lua_createtable(L, rows, 0); /* [rows] */
  for (i = 0; i < rows; i++) {
    lua_createtable(L, 0, columns); /* [rows row] */
    for (j = 0; j < columns; j++) {
      if (PQgetisnull(r, i, j)) continue;
      pushvalue(L, r, i, j);
      lua_setfield(L, -2, PQfname(r, j));
    }
    lua_rawseti(L, -2, i + 1);
  }
}

/* a SELECT is counted by PostgreSQL too */
static void pushchanged(lua_State *L, PGresult *r) {
  int read_only = strncmp(PQcmdStatus(r), "SELECT", 6) == 0;
  lua_pushinteger(L, read_only ? 0 : atoi(PQcmdTuples(r)));
}

/* (database) -> rows, and how many were changed */
static int answer(lua_State *L) {
  const pq_database *d = lua_touserdata(L, 1);
  pushrows(L, d->answer);
  pushchanged(L, d->answer);
  return 2;
}

/* [answer] -> [rows changed], or raises */
static void push_answer(lua_State *L, pq_database *d) {
  int raised;
  lua_pushlightuserdata(L, d);
  d->busy = 1;
  raised = lua_pcall(L, 1, 2, 0);
  d->busy = 0;
  pq_forget(d);
  if (d->closing) pq_close(d);
  if (raised) lua_error(L);
}

static int l_query(lua_State *L) {
  pq_database *d = check_idle(L);
  size_t len;
  const char *sql = luaL_checklstring(L, 2, &len);
  pq_statement *s, taken;
  pq_values v;
  number room[PQ_VALUES];
  if (!pq_usable(d)) return fail(L, d);
  luaL_argcheck(L, strlen(sql) == len && len < 100000, 2, "not an SQL text");
  s = pq_find(d, sql, len);
  if (s == NULL) return fail(L, d);
  taken = *s; /* making values may run finalisers, which may query, too */
  bind_all(L, &taken, &v, room);
  lua_pushcfunction(L, answer);
  if (!pq_usable(d) || (s = pq_find(d, sql, len)) == NULL) return fail(L, d);
  if (!pq_run(d, s, &v)) return fail(L, d);
  luaL_argcheck(L, PQresultStatus(d->answer) != PGRES_EMPTY_QUERY, 2,
                "no statement in it");
  push_answer(L, d);
  return 2;
}

static int l_exec(lua_State *L) {
  pq_database *d = check_idle(L);
  const char *sql = luaL_checkstring(L, 2);
  if (!pq_usable(d) || !pq_exec(d, sql)) return fail(L, d);
  pq_forget(d);
  lua_pushboolean(L, 1);
  return 1;
}

/* --- registration ----------------------------------------------------- */

static const luaL_Reg methods[] = {
    {"exec", l_exec},           {"query", l_query}, {"lost", l_lost},
    {"within", l_within},
    {"close", l_close},         {"__gc", l_close},  {"__close", l_close},
    {"__tostring", l_tostring}, {NULL, NULL},
};

static const luaL_Reg functions[] = {
    {"open", l_open},
    {NULL, NULL},
};

int luaopen_billhook_pq(lua_State *L) {
  stay_loaded();
  luaL_newmetatable(L, METANAME); /* [meta] */
  luaL_setfuncs(L, methods, 0);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pushliteral(L, METANAME);
  lua_setfield(L, -2, "__name");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  lua_pushinteger(L, PQlibVersion());
  lua_setfield(L, -2, "version");
  return 1;
}
