/*
** sqlite.c - luaopen_billhook_sqlite: the few calls of libsqlite3 that the
** inbox needs, and no more.
**
**   db = sqlite.open(path [, {busy_timeout = ms, create = false}])
**                            or nil, code, message
**   db:exec(sql)             true; any number of statements, no values
**   db:query(sql, ...)       rows, and how many it has changed; one statement,
**                            a value a parameter
**   db:note()                true: what is at its path now belongs together,
**                            its file, the log and the log's index; and all
**                            that the log holds is on the disk. Outside of a
**                            transaction
**   db:sync_failed()         has a sync of the file failed since this was
**                            asked last? (What was to be synced is still in
**                            the log.)
**   db:moved()               what of that has been renamed, replaced or
**                            deleted ("file", "log", "index") or cut off
**                            ("size") since; or false
**   db:rescue()              true once all that was committed is in the file,
**                            wherever that is, and the log is empty; where
**                            another file is at the path, the log gives up its
**                            name
**   db:checkpoint()          true once all that was committed is in the file
**   db:alone()               has nobody else opened the same log with note()?
**                            What is parked of this process is closed first.
**   db:park()                leaves it, open, to whoever in this process takes
**                            it: threads that each have a Lua state of their
**                            own share connections that way
**   db:cut_log()             the same, and cuts the log, where nobody is at
**                            work in it: who waited would hold up all who
**                            write
**   db:keep_log()            closing it leaves the log as it is
**   db:close()
**   sqlite.take(path)        one that was parked, or nil
**   sqlite.look(path)        { file, size, log, log_size, of, index }: ids,
**                            what is not there is nil; `of`: whose log it is
**   sqlite.make(path)        an empty file for its owner alone, where none is
**   sqlite.remove_log(path)  the names of log and index
**   lock = sqlite.lock(path, ms)   one at a time does what changes these;
**   lock:release()           whoever cannot have it in time goes on without
**
** A row is a table by column name, with NULL as absence. Integers stay
** integers (on LuaJIT up to 2^53, text beyond), strings are bound as TEXT,
** booleans as 0 and 1, nil as NULL. Whatever the database refuses comes back
** as nil, the name of the extended result code, and its message; only wrong
** use raises.
**
** Statements are prepared once and kept in the userdata by their text. A
** connection belongs to one Lua state, so SQLite's own mutex is left out; a
** process that was forked from the one that opened it may neither use nor
** close it (that would end the parent's locks).
*/
#define _GNU_SOURCE 1 /* dladdr */
#include "compat.h"
#include "durable.h"
#include "rescue.h"
#include "sqlite_code.h"
#include "stay.h"
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

BILLHOOK_API int luaopen_billhook_sqlite(lua_State *L);

#define METANAME "billhook.sqlite"
#define SLOTS    256 /* for kept statements; a power of two */
#define WAYS     8   /* slots that a text may be kept in */

#define LOCKMETA "billhook.sqlite.lock"

typedef struct database {
  anchor at;
  pid_t opener;
  struct timespec waiting; /* since when */
  sqlite3_stmt *kept[SLOTS];
  struct database *next; /* that is parked, too */
  int busy;    /* rows are made: that may run finalisers, which could use it */
  int closing; /* one of these has closed it */
} database;

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static database *parked;

/* --- what went wrong -------------------------------------------------- */

static int refuse(lua_State *L, const char *code, const char *message) {
  lua_pushnil(L);
  lua_pushstring(L, code);
  lua_pushstring(L, message);
  return 3;
}

/* The message is a copy: making a string may run a finaliser that closes it.
** s: the statement that failed, which is reset; or NULL. */
static int fail_of(lua_State *L, database *d, int code, sqlite3_stmt *s) {
  char message[512];
  snprintf(message, sizeof message, "%s", sqlite3_errmsg(d->at.db));
  if (s != NULL) {
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
  }
  return refuse(L, codename(code), message);
}

static int fail(lua_State *L, database *d, int code) {
  return fail_of(L, d, code, NULL);
}

/* --- open and close --------------------------------------------------- */

/* This process's id: to ask for it is a system call, and every statement needs
** it. */
static pid_t self_id;
static pthread_once_t self_known = PTHREAD_ONCE_INIT;

static void forked(void) { self_id = getpid(); }

static void know_self(void) {
  forked();
  (void)pthread_atfork(NULL, NULL, forked);
}

static database **check(lua_State *L) {
  return (database **)luaL_checkudata(L, 1, METANAME);
}

/* NULL where the connection cannot be used; then *why says so */
static database *todb(lua_State *L, const char **why) {
  database *d = *check(L);
  *why = d == NULL              ? "the database is closed"
         : d->opener != self_id ? "the database was opened before a fork"
         : d->busy              ? "the database is in use"
                                : NULL;
  return *why == NULL ? d : NULL;
}

static database **push_box(lua_State *L, database *d) {
  database **box = (database **)lua_newuserdatauv(L, sizeof(*box), 0);
  *box = d;
  luaL_setmetatable(L, METANAME);
  return box;
}

/* what was opened before a fork belongs to the parent */
static void close_database(database *d) {
  int i;
  if (d == NULL || d->opener != self_id) return;
  for (i = 0; i < SLOTS; i++) sqlite3_finalize(d->kept[i]);
  if (d->at.db != NULL) anchor_close(&d->at);
  free(d);
}

static int l_close(lua_State *L) {
  database **box = check(L), *d = *box;
  if (d != NULL && d->busy) {
    d->closing = 1;
    return 0;
  }
  *box = NULL;
  close_database(d);
  return 0;
}

/* A parked one of this process, by path, and where `log` is given by that. */
static database *take(const char *path, const struct stat *log) {
  database **at, *d = NULL;
  pthread_mutex_lock(&guard);
  for (at = &parked; *at != NULL; at = &(*at)->next)
    if ((*at)->opener == self_id && strcmp((*at)->at.path, path) == 0 &&
        (log == NULL || place_same(&(*at)->at.noted.log, log))) {
      d = *at;
      *at = d->next;
      break;
    }
  pthread_mutex_unlock(&guard);
  return d;
}

static int l_park(lua_State *L) {
  const char *why;
  database *d = todb(L, &why);
  if (d == NULL) return refuse(L, "SQLITE_MISUSE", why);
  *check(L) = NULL;
  pthread_mutex_lock(&guard);
  d->next = parked;
  parked = d;
  pthread_mutex_unlock(&guard);
  lua_pushboolean(L, 1);
  return 1;
}

/* as at the end of a Lua state those that it has open */
static void __attribute__((destructor)) close_parked(void) {
  while (parked != NULL) {
    database *d = parked;
    parked = d->next;
    close_database(d);
  }
}

static int l_tostring(lua_State *L) {
  lua_pushstring(L, *check(L) != NULL ? METANAME : METANAME " (closed)");
  return 1;
}

/* SQLite would make the file with 0644. The file is made here without being
** opened: closing a descriptor of it would end the locks that another
** connection of this process may hold. -wal and -shm take over its mode. */
static void private_file(const char *path) {
  if (path[0] != '\0' && path[0] != ':')
    (void)!mknod(path, S_IFREG | S_IRUSR | S_IWUSR, 0);
}

static int busy_timeout(lua_State *L, int i, int *create) {
  int ms = 5000;
  *create = 1;
  if (lua_isnoneornil(L, i)) return ms;
  luaL_checktype(L, i, LUA_TTABLE);
  lua_getfield(L, i, "busy_timeout"); /* [timeout] */
  if (!lua_isnil(L, -1)) ms = (int)luaL_checknumber(L, -1);
  lua_getfield(L, i, "create"); /* [timeout create] */
  *create = lua_isnil(L, -1) || lua_toboolean(L, -1);
  lua_pop(L, 2);
  return ms;
}

/* the process may change its folder later */
static void absolute(const char *path, char out[PATH_MAX]) {
  size_t n = 0;
  out[0] = '\0';
  if (path[0] != '/' && getcwd(out, PATH_MAX - 1) != NULL) {
    n = strlen(out);
    out[n++] = '/';
  }
  if (n + strlen(path) < PATH_MAX) strcpy(out + n, path);
}

static long since(const struct timespec *then, const struct timespec *now) {
  return (now->tv_sec - then->tv_sec) * 1000 +
         (now->tv_nsec - then->tv_nsec) / 1000000;
}

/* SQLite's own waits grow to 100 ms, so that one who commits all the time
** starves the others. These are short, and differ, for as long as a lock is
** one that others take in turn; 5 ms for one that is held. */
static int wait_for_lock(void *p, int count) {
  database *d = (database *)p;
  struct timespec now, pause = {0, 5000000};
  clock_gettime(CLOCK_MONOTONIC, &now);
  if (count == 0) d->waiting = now;
  if (since(&d->waiting, &now) >= d->at.patience) return 0;
  if (count < 200) pause.tv_nsec = 300000 + now.tv_nsec % 700000;
  nanosleep(&pause, NULL);
  return 1;
}

/* SQLite opens whatever is there: a pipe would be waited for, for ever, and
** what is written to a device is lost. */
static const char *odd_file(const char *path, char name[PATH_MAX]) {
  static const char *const ends[] = {"", "-journal", "-wal", "-shm"};
  size_t i, n = strlen(path);
  for (i = 0; i < sizeof ends / sizeof *ends; i++) {
    struct stat st;
    if (n + strlen(ends[i]) >= PATH_MAX) break;
    strcpy(stpcpy(name, path), ends[i]);
    if (stat(name, &st) == 0 && !S_ISREG(st.st_mode)) return name;
  }
  return NULL;
}

static int l_open(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  char odd[PATH_MAX];
  int create, timeout = busy_timeout(L, 2, &create), code;
  database **box = push_box(L, NULL), *d;
  if (!sqlite3_threadsafe())
    return refuse(L, "SQLITE_MISUSE", "libsqlite3 is built without threads");
  *box = d = (database *)calloc(1, sizeof(*d));
  if (d == NULL) return refuse(L, "SQLITE_NOMEM", "out of memory");
  d->at.log = -1;
  d->opener = self_id;
  if (odd_file(path, odd) != NULL) {
    lua_pushfstring(L, "%s is not a file", odd);
    return refuse(L, "SQLITE_CANTOPEN", lua_tostring(L, -1));
  }
  if (create) private_file(path);
  absolute(path, d->at.path);
  code = sqlite3_open_v2(path, &d->at.db,
                         SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX |
                             (create ? SQLITE_OPEN_CREATE : 0),
                         NULL);
  if (d->at.db == NULL) return refuse(L, "SQLITE_NOMEM", "out of memory");
  if (code != SQLITE_OK) /* the userdata closes it */
    return fail(L, d, sqlite3_extended_errcode(d->at.db));
  sqlite3_extended_result_codes(d->at.db, 1);
  d->at.patience = timeout;
  sqlite3_busy_handler(d->at.db, wait_for_lock, d);
  durable_watch(&d->at);
  return 1;
}

static int l_take(lua_State *L) {
  char path[PATH_MAX];
  database **box = push_box(L, NULL);
  absolute(luaL_checkstring(L, 1), path);
  *box = take(path, NULL);
  return *box != NULL;
}

/* --- statements ------------------------------------------------------- */

static int blank(const char *text) {
  return text[strspn(text, "; \t\r\n")] == '\0';
}

/* of the length and 16 bytes: statements that differ do so in those, or else
** only share their slots */
static unsigned hash(const char *sql, size_t len) {
  unsigned h = (unsigned)len;
  size_t i, step = len / 16 + 1;
  for (i = 0; i < len; i += step)
    h = (h ^ (unsigned char)sql[i]) * 16777619u;
  return h ^ h >> 15;
}

/* The statement for this text, ready to be bound; *tail: what follows it. It
** is kept in one of a few slots; where all are taken by others, the last one
** gives way. Preparing takes longer than most statements do. */
static int statement(database *d, const char *sql, size_t len,
                     sqlite3_stmt **out, const char **tail) {
  unsigned first = hash(sql, len) % SLOTS;
  sqlite3_stmt **slot = NULL;
  int i, code;
  for (i = 0; i < WAYS; i++) {
    slot = &d->kept[(first + (unsigned)i) % SLOTS];
    if (*slot == NULL) break;
    if (strcmp(sqlite3_sql(*slot), sql) == 0) {
      sqlite3_reset(*slot); /* an error may have left it in mid-step */
      *out = *slot;
      return SQLITE_OK;
    }
  }
  sqlite3_finalize(*slot);
  *slot = NULL;
  code = sqlite3_prepare_v3(d->at.db, sql, (int)len + 1,
                            SQLITE_PREPARE_PERSISTENT, slot, tail);
  *out = *slot;
  return code;
}

static int bind_number(lua_State *L, int i, sqlite3_stmt *s, int at) {
  lua_Number x = lua_tonumber(L, i);
  if (lua_isinteger(L, i))
    return sqlite3_bind_int64(s, at, (sqlite3_int64)lua_tointeger(L, i));
  if (floor(x) == x && fabs(x) <= 9007199254740992.0)
    return sqlite3_bind_int64(s, at, (sqlite3_int64)x);
  return sqlite3_bind_double(s, at, x);
}

/* strings are bound without a copy: they stay on the stack until the
** statement has run and its values are cleared */
static int bind(lua_State *L, int i, sqlite3_stmt *s, int at) {
  size_t len;
  const char *text;
  switch (lua_type(L, i)) {
  case LUA_TNIL:
    return sqlite3_bind_null(s, at);
  case LUA_TBOOLEAN:
    return sqlite3_bind_int(s, at, lua_toboolean(L, i));
  case LUA_TNUMBER:
    return bind_number(L, i, s, at);
  case LUA_TSTRING:
    text = lua_tolstring(L, i, &len);
    return sqlite3_bind_text64(s, at, text, len, SQLITE_STATIC, SQLITE_UTF8);
  default:
    luaL_argerror(L, i, "nil, boolean, number or string expected");
    return SQLITE_MISUSE;
  }
}

static void pushinteger(lua_State *L, sqlite3_stmt *s, int column) {
  sqlite3_int64 n = sqlite3_column_int64(s, column);
  if (n > BH_MAXINTEGER || n < -BH_MAXINTEGER)
    lua_pushstring(L, (const char *)sqlite3_column_text(s, column));
  else
    lua_pushinteger(L, (lua_Integer)n);
}

static void pushbytes(lua_State *L, sqlite3_stmt *s, int column) {
  const void *bytes = sqlite3_column_blob(s, column);
  size_t len = (size_t)sqlite3_column_bytes(s, column);
  lua_pushlstring(L, bytes != NULL ? (const char *)bytes : "", len);
}

static void pushrow(lua_State *L, sqlite3_stmt *s, int columns) {
  int i;
  lua_createtable(L, 0, columns); /* [row] */
  for (i = 0; i < columns; i++) {
    switch (sqlite3_column_type(s, i)) {
    case SQLITE_NULL:
      continue;
    case SQLITE_INTEGER:
      pushinteger(L, s, i);
      break;
    case SQLITE_FLOAT:
      lua_pushnumber(L, sqlite3_column_double(s, i));
      break;
    default:
      pushbytes(L, s, i);
    }
    lua_setfield(L, -2, sqlite3_column_name(s, i));
  }
}

/* [self sql value ...]: binds the values; SQLITE_OK, or what went wrong */
static int bind_all(lua_State *L, sqlite3_stmt *s, int values) {
  int code = SQLITE_OK, i;
  if (sqlite3_bind_parameter_count(s) != values)
    luaL_error(L, "%d values given to a statement that takes %d", values,
               sqlite3_bind_parameter_count(s));
  for (i = 1; i <= values && code == SQLITE_OK; i++)
    code = bind(L, i + 2, s, i);
  return code;
}

/* (statement) -> the list of rows, and how the statement ended */
static int run(lua_State *L) {
  sqlite3_stmt *s = lua_touserdata(L, 1);
  int code, rows = 0;
  lua_newtable(L); /* [statement rows] */
  while ((code = sqlite3_step(s)) == SQLITE_ROW) {
    /* counted now: the first step may have met another schema */
    pushrow(L, s, sqlite3_column_count(s)); /* [rows row] */
    lua_rawseti(L, -2, ++rows);
  }
  lua_pushinteger(L, code);
  return 2;
}

/* [run] -> [rows], or raises; gives how the statement ended */
static int run_alone(lua_State *L, database *d, sqlite3_stmt *s) {
  int raised, code = SQLITE_OK;
  lua_pushlightuserdata(L, s);
  d->busy = 1;
  raised = lua_pcall(L, 1, 2, 0);
  d->busy = 0;
  if (raised) {
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
  } else {
    code = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
  }
  if (d->closing) {
    *check(L) = NULL;
    close_database(d);
    if (!raised) luaL_error(L, "the database was closed meanwhile");
  }
  if (raised) lua_error(L);
  return code;
}

static int l_query(lua_State *L) {
  const char *why, *tail = "";
  database *d;
  size_t len;
  const char *sql = luaL_checklstring(L, 2, &len);
  int code, changed, values = lua_gettop(L) - 2;
  sqlite3_stmt *s;
  lua_pushcfunction(L, run); /* may run finalisers, which may use it, too */
  d = todb(L, &why);
  if (d == NULL) return refuse(L, "SQLITE_MISUSE", why);
  luaL_argcheck(L, strlen(sql) == len && len < 100000, 2, "not an SQL text");
  code = statement(d, sql, len, &s, &tail);
  if (code != SQLITE_OK) return fail(L, d, code);
  luaL_argcheck(L, s != NULL, 2, "no statement in it");
  luaL_argcheck(L, blank(tail), 2, "more than one statement");
  code = bind_all(L, s, values);
  if (code == SQLITE_OK) code = run_alone(L, d, s); /* [rows] */
  if (code != SQLITE_DONE) return fail_of(L, d, code, s);
  changed = sqlite3_stmt_readonly(s) ? 0 : sqlite3_changes(d->at.db);
  sqlite3_reset(s);
  sqlite3_clear_bindings(s);
  lua_pushinteger(L, changed);
  return 2;
}

static int l_exec(lua_State *L) {
  const char *why;
  database *d = todb(L, &why);
  const char *sql = luaL_checkstring(L, 2);
  int code;
  if (d == NULL) return refuse(L, "SQLITE_MISUSE", why);
  code = sqlite3_exec(d->at.db, sql, NULL, NULL, NULL);
  if (code != SQLITE_OK) return fail(L, d, code);
  lua_pushboolean(L, 1);
  return 1;
}

static void set_id(lua_State *L, const char *name, const struct stat *st,
                   const char *size) {
  char id[PLACE_ID];
  if (st->st_ino == 0) return;
  place_id(st, id);
  lua_pushstring(L, id);
  lua_setfield(L, -2, name);
  if (size == NULL) return;
  lua_pushnumber(L, (lua_Number)st->st_size);
  lua_setfield(L, -2, size);
}

static int l_look(lua_State *L) {
  place p;
  lua_newtable(L); /* [place] */
  if (place_look(&p, luaL_checkstring(L, 1)) != 0) return 1;
  set_id(L, "file", &p.file, "size");
  set_id(L, "log", &p.log, "log_size");
  set_id(L, "index", &p.index, NULL);
  if (p.of[0] == '\0') return 1;
  lua_pushstring(L, p.of);
  lua_setfield(L, -2, "of");
  return 1;
}

static int l_make(lua_State *L) {
  private_file(luaL_checkstring(L, 1));
  return 0;
}

static int l_remove_log(lua_State *L) {
  place p;
  if (place_look(&p, luaL_checkstring(L, 1)) == 0) place_remove(&p);
  return 0;
}

static int l_lock(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  int ms = (int)luaL_checknumber(L, 2);
  int *fd = (int *)lua_newuserdatauv(L, sizeof(*fd), 0);
  *fd = -1;
  luaL_setmetatable(L, LOCKMETA);
  *fd = place_lock(path, ms);
  return 1;
}

static int l_release(lua_State *L) {
  int *fd = (int *)luaL_checkudata(L, 1, LOCKMETA);
  place_unlock(*fd);
  *fd = -1;
  return 0;
}

static int l_note(lua_State *L) {
  const char *why;
  database *d = todb(L, &why);
  int code;
  if (d == NULL) return refuse(L, "SQLITE_MISUSE", why);
  code = durable_note(&d->at);
  if (code != SQLITE_OK)
    return refuse(L, codename(code), sqlite3_errstr(code));
  lua_pushboolean(L, 1);
  return 1;
}

static int l_sync_failed(lua_State *L) {
  const char *why;
  database *d = todb(L, &why);
  if (d == NULL) return refuse(L, "SQLITE_MISUSE", why);
  lua_pushboolean(L, d->at.failed);
  d->at.failed = 0;
  return 1;
}

static int l_moved(lua_State *L) {
  const char *why, *what;
  database *d = todb(L, &why);
  if (d == NULL) return refuse(L, "SQLITE_MISUSE", why);
  what = anchor_moved(&d->at);
  if (what != NULL) {
    lua_pushstring(L, what);
  } else {
    lua_pushboolean(L, 0);
  }
  return 1;
}

static int saved(lua_State *L, int code) {
  if (code == SQLITE_PROTOCOL)
    return refuse(L, codename(code), "another log was put beside the file");
  if (code != SQLITE_OK)
    return refuse(L, codename(code), sqlite3_errstr(code));
  lua_pushboolean(L, 1);
  return 1;
}

static int l_rescue(lua_State *L) {
  const char *why;
  database *d = todb(L, &why);
  if (d == NULL) return refuse(L, "SQLITE_MISUSE", why);
  return saved(L, anchor_rescue(&d->at));
}

static int l_checkpoint(lua_State *L) {
  const char *why;
  database *d = todb(L, &why);
  if (d == NULL) return refuse(L, "SQLITE_MISUSE", why);
  return saved(L, anchor_checkpoint(&d->at));
}

static int l_cut_log(lua_State *L) {
  const char *why;
  database *d = todb(L, &why);
  int patience, code;
  if (d == NULL) return refuse(L, "SQLITE_MISUSE", why);
  patience = d->at.patience;
  d->at.patience = 0;
  code = sqlite3_wal_checkpoint_v2(d->at.db, "main",
                                   SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
  d->at.patience = patience;
  return saved(L, code);
}

static int l_alone(lua_State *L) {
  const char *why;
  database *d = todb(L, &why), *other;
  if (d == NULL) return refuse(L, "SQLITE_MISUSE", why);
  while ((other = take(d->at.path, &d->at.noted.log)) != NULL)
    close_database(other);
  lua_pushboolean(L, place_alone(d->at.log));
  return 1;
}

static int l_keep_log(lua_State *L) {
  const char *why;
  database *d = todb(L, &why);
  if (d == NULL) return refuse(L, "SQLITE_MISUSE", why);
  sqlite3_db_config(d->at.db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
  lua_pushboolean(L, 1);
  return 1;
}

/* The number of this process's namespace of process ids, or nil: a process
** id read in another container means nothing here. */
static int l_namespace(lua_State *L) {
  struct stat st;
  if (stat("/proc/self/ns/pid", &st) != 0) return 0;
  lua_pushinteger(L, (lua_Integer)st.st_ino);
  return 1;
}

/* --- registration ----------------------------------------------------- */

static const luaL_Reg methods[] = {
    {"exec", l_exec},     {"query", l_query},
    {"note", l_note},     {"moved", l_moved},
    {"rescue", l_rescue}, {"keep_log", l_keep_log},
    {"alone", l_alone},   {"checkpoint", l_checkpoint},
    {"park", l_park},     {"cut_log", l_cut_log},
    {"sync_failed", l_sync_failed},
    {"close", l_close},   {"__gc", l_close},
    {"__close", l_close}, {"__tostring", l_tostring},
    {NULL, NULL},
};

static const luaL_Reg lock_methods[] = {
    {"release", l_release},
    {"__gc", l_release},
    {NULL, NULL},
};

static const luaL_Reg functions[] = {
    {"open", l_open}, {"take", l_take}, {"look", l_look},
    {"make", l_make}, {"remove_log", l_remove_log},
    {"lock", l_lock}, {"namespace", l_namespace},
    {NULL, NULL},
};

static void new_class(lua_State *L, const char *name, const luaL_Reg *with) {
  luaL_newmetatable(L, name); /* [meta] */
  luaL_setfuncs(L, with, 0);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pushstring(L, name);
  lua_setfield(L, -2, "__name");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}

int luaopen_billhook_sqlite(lua_State *L) {
  stay_loaded();
  pthread_once(&self_known, know_self);
  new_class(L, METANAME, methods);
  new_class(L, LOCKMETA, lock_methods);
  luaL_newlib(L, functions);
  lua_pushstring(L, sqlite3_libversion());
  lua_setfield(L, -2, "version");
  return 1;
}
