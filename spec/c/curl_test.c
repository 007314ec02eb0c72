/* with: curl -I/usr/include/lua5.4 -llua5.4 -lpthread -Wl,--wrap=malloc -Wl,--wrap=realloc -Wl,--wrap=calloc -Wl,--wrap=poll */
/*
** curl_test.c - what Lua cannot try on billhook.curl: a fork with connections
** and transfers under way; every allocation refused, Lua's, libcurl's and our
** own; how often it wakes up.
*/
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <curl/curl.h>
#include <lua.h>
#include <lauxlib.h>
#include <lualib.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

int luaopen_billhook_curl(lua_State *L);

static int passed, failed;

static void check(int ok, const char *what, int line) {
  if (ok)
    passed++;
  else
    failed++, printf("line %d: %s\n", line, what);
}
#define CHECK(x) check((x), #x, __LINE__)

/* allocations of this thread that are refused: the n-th, or all from there */

static _Thread_local long left = -1; /* -1: all are granted */
static _Thread_local int refused, once;

static int grant(void) {
  if (left < 0) return 1;
  if (left > 0) return left--, 1;
  refused = 1;
  if (once) left = -1;
  return 0;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

void *__wrap_malloc(size_t n) {
  return grant() ? __real_malloc(n) : NULL;
}

void *__wrap_calloc(size_t n, size_t size) {
  return grant() ? __real_calloc(n, size) : NULL;
}

void *__wrap_realloc(void *p, size_t n) {
  return grant() ? __real_realloc(p, n) : NULL;
}

static char *copy(const char *s) {
  char *p = __wrap_malloc(strlen(s) + 1);
  return p != NULL ? strcpy(p, s) : NULL;
}

static void *lua_alloc(void *user, void *p, size_t old, size_t n) {
  (void)user;
  if (n == 0) {
    free(p);
    return NULL;
  }
  return n <= old && p != NULL ? __real_realloc(p, n) : __wrap_realloc(p, n);
}

/* how often this thread has waited for sockets */

static _Thread_local long polls;

int __real_poll(struct pollfd *fds, nfds_t n, int ms);
int __wrap_poll(struct pollfd *fds, nfds_t n, int ms);

int __wrap_poll(struct pollfd *fds, nfds_t n, int ms) {
  polls++;
  return __real_poll(fds, n, ms);
}

/* a server that greets everybody; /late after a while, /slow byte by byte */

static atomic_int connections, port;

static void send_slowly(int fd, const char *text, size_t n) {
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  for (; n > 0; n--) {
    send(fd, text++, 1, MSG_NOSIGNAL);
    usleep(2000);
  }
}

static void *greet(void *argument) {
  static const char answer[] = "HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\n"
                               "Content-Length: 5\r\n\r\nhello";
  int fd = *(int *)argument;
  char head[4096];
  size_t have = 0;
  ssize_t n;
  free(argument);
  while ((n = recv(fd, head + have, sizeof(head) - 1 - have, 0)) > 0) {
    have += (size_t)n;
    head[have] = '\0';
    if (strstr(head, "\r\n\r\n") == NULL) continue;
    if (strstr(head, "/late") != NULL) usleep(300000);
    if (strstr(head, "/slow") != NULL)
      send_slowly(fd, answer, sizeof(answer) - 1);
    else
      send(fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL);
    have = 0;
  }
  close(fd);
  return NULL;
}

static void *serve(void *argument) {
  int listener = *(int *)argument;
  for (;;) {
    pthread_t thread;
    int *fd = malloc(sizeof(int));
    if ((*fd = accept(listener, NULL, NULL)) < 0) {
      free(fd);
      return NULL;
    }
    connections++;
    pthread_create(&thread, NULL, greet, fd);
    pthread_detach(thread);
  }
}

static int start_server(pthread_t *thread) {
  static int fd;
  struct sockaddr_in at = {.sin_family = AF_INET};
  socklen_t n = sizeof(at);
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  fd = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(fd, (struct sockaddr *)&at, n) != 0 || listen(fd, 64) != 0) exit(2);
  getsockname(fd, (struct sockaddr *)&at, &n);
  port = ntohs(at.sin_port);
  pthread_create(thread, NULL, serve, &fd);
  return fd;
}

/* Lua programs */

static int l_fork(lua_State *L) {
  lua_pushinteger(L, fork());
  return 1;
}

static int l_wait(lua_State *L) {
  int status = -1;
  waitpid((pid_t)luaL_checkinteger(L, 1), &status, 0);
  lua_pushinteger(L, WIFEXITED(status) ? WEXITSTATUS(status) : -1);
  return 1;
}

/* closes the state first: what is inherited must survive that too */
static int l_leave(lua_State *L) {
  lua_pushinteger(L, luaL_checkinteger(L, 1));
  return lua_error(L);
}

static int l_connections(lua_State *L) {
  lua_pushinteger(L, connections);
  return 1;
}

static int l_polls(lua_State *L) {
  lua_pushinteger(L, polls);
  return 1;
}

/* (n): one allocation is refused, after n; (): none, was one? */
static int l_refuse(lua_State *L) {
  left = luaL_optinteger(L, 1, -1);
  once = 1;
  lua_pushboolean(L, refused);
  refused = 0;
  return 1;
}

static const char *const prelude =
    "function order(path, more)\n"
    "  local o = { method = 'GET', url = url .. path, headers = { ['X-B'] = "
    "'1', ['Content-Type'] = 'a/b' }, timeout = 20, connect_timeout = 10,\n"
    "    limit = 100 }\n"
    "  for k, v in pairs(more or {}) do o[k] = v end\n"
    "  return o\n"
    "end\n"
    "function get(pool, ticket)\n"
    "  while not ticket:done() do pool:poll(1) end\n"
    "  return ticket:result()\n"
    "end\n";

static int load(lua_State *L) {
  luaL_openlibs(L);
  lua_pushfstring(L, "http://127.0.0.1:%d", (int)port);
  lua_setglobal(L, "url");
  lua_register(L, "fork", l_fork);
  lua_register(L, "wait", l_wait);
  lua_register(L, "leave", l_leave);
  lua_register(L, "connections", l_connections);
  lua_register(L, "polls", l_polls);
  lua_register(L, "refuse", l_refuse);
  luaL_requiref(L, "billhook.curl", luaopen_billhook_curl, 0);
  lua_setglobal(L, "curl");
  if (luaL_dostring(L, prelude)) return lua_error(L);
  return luaL_loadstring(L, lua_touserdata(L, 1)) ? lua_error(L)
                                                  : (lua_call(L, 0, 0), 0);
}

/* 0: it ran; the number that it left with; -1: another error, printed */
static int run(const char *program, int quiet) {
  lua_State *L = lua_newstate(lua_alloc, NULL);
  int status = 0;
  if (L == NULL) return -1;
  lua_pushcfunction(L, load); /* allocates nothing */
  lua_pushlightuserdata(L, (void *)(size_t)program);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
    status = lua_isinteger(L, -1) ? (int)lua_tointeger(L, -1) : -1;
    if (status < 0 && !quiet) printf("%s\n", lua_tostring(L, -1));
  }
  lua_close(L);
  return status;
}

static const char *const forking =
    "local pool = curl.new()\n"
    "assert(select(3, get(pool, pool:add(order '/'))) == 'hello')\n"
    "assert(connections() == 1)\n"
    "local late = pool:add(order '/late')\n"
    "pool:poll(0.05)\n"
    "local child = fork()\n"
    "if child == 0 then\n"
    "  pool:poll(0)\n"
    "  if not late:done() then leave(1) end\n"
    "  if late:read() or late:head() then leave(2) end\n"
    "  local s, kind, message, sent = late:result()\n"
    "  if s ~= nil or kind ~= 'network' or not sent or\n"
    "    message ~= 'sent before this process was forked' then leave(3) end\n"
    "  if select(3, get(pool, pool:add(order '/'))) ~= 'hello' then leave(4) "
    "end\n"
    "  local lost = pool:add(order '/late')\n"
    "  leave(42)\n"
    "end\n"
    "assert(wait(child) == 42, 'child')\n"
    "assert(select(3, get(pool, late)) == 'hello')\n"
    "assert(connections() == 2, 'the child has its own')\n"
    "assert(select(3, get(pool, pool:add(order '/'))) == 'hello')\n"
    "assert(connections() == 2, 'the parent keeps its own')\n";

static void test_fork(void) {
  pid_t me = getpid();
  int status = run(forking, 0);
  if (getpid() != me) _exit(status);
  CHECK(status == 0);
}

static const char *const working =
    "local pool = curl.new()\n"
    "local s, h, b = get(pool, pool:add(order('/')))\n"
    "assert(not s and h == 'too_large' or b == 'hello' and h['x-a'] == '1, "
    "2')\n"
    "local t = pool:add(order('/', { method = 'POST', body = 'x', fresh = "
    "true }))\n"
    "get(pool, t)\n"
    "t = pool:add(order('/'), 60)\n"
    "while not t:done() do pool:poll(1); t:head(); t:read() end\n"
    "t:cancel()\n"
    "pool:close()\n";

static void test_memory(int one) {
  long n = 0;
  once = one;
  do {
    refused = 0;
    left = n++;
    run(working, 1);
    left = -1;
  } while (refused && n < 100000);
  CHECK(!refused);
  CHECK(n > 500);
  CHECK(run(working, 0) == 0);
}

/* What memory was refused to is let go, with all that was under way; the pool
** is as good as a new one then. */
static const char *const renewing =
    "local pool = curl.new()\n"
    "local n, failed = 0, 0\n"
    "repeat\n"
    "  local beside = pool:add(order '/')\n"
    "  refuse(n)\n"
    "  local fine, status = pcall(function()\n"
    "    return get(pool, pool:add(order '/'))\n"
    "  end)\n"
    "  local was_one = refuse()\n"
    "  if not (fine and status) then failed = failed + 1 end\n"
    "  local s, kind = get(pool, beside)\n"
    "  assert(s == 200 or kind == 'too_large', kind)\n"
    "  assert(select(3, get(pool, pool:add(order '/'))) == 'hello')\n"
    "  n = n + 1\n"
    "until not was_one or n > 10000\n"
    "assert(n < 10000 and failed > 10, n .. ' ' .. failed)\n";

/* As often as something comes (59 bytes, where they come one by one), and not
** once for each that runs. What else makes it wake up are libcurl's own
** times. */
static const char *const waking =
    "local pool = curl.new()\n"
    "local function woken(count, path)\n"
    "  local before, tickets = polls(), {}\n"
    "  for i = 1, count do tickets[i] = pool:add(order(path)) end\n"
    "  for i = 1, count do\n"
    "    while not tickets[i]:done() do pool:poll(60) end\n"
    "    assert(select(3, tickets[i]:result()) == 'hello')\n"
    "  end\n"
    "  return polls() - before\n"
    "end\n"
    "local function atmost(most, count, path)\n"
    "  local n = woken(count, path)\n"
    "  assert(n > 0 and n <= most, path .. ' ' .. count .. ': ' .. n)\n"
    "end\n"
    "atmost(10, 1, '/late')\n"
    "atmost(6, 1, '/late')\n"
    "atmost(70, 1, '/slow')\n"
    "atmost(32 * 6, 32, '/late')\n"
    "atmost(32 * 4, 32, '/late')\n"
    "atmost(32 * 66, 32, '/slow')\n"
    "local never = pool:add(order('/late', { timeout = 60 }))\n"
    "local before = polls()\n"
    "pool:sleep(0.2)\n"
    "assert(polls() - before <= 10)\n"
    "get(pool, never)\n"
    "before = polls()\n"
    "pool:sleep(0.2)\n"
    "assert(polls() - before <= 2)\n";

int main(void) {
  pthread_t thread;
  int fd;
  if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, __wrap_malloc, free,
                           __wrap_realloc, copy, __wrap_calloc) != CURLE_OK)
    return 2;
  fd = start_server(&thread);
  test_fork();
  test_memory(0);
  test_memory(1);
  CHECK(run(renewing, 0) == 0);
  CHECK(run(waking, 0) == 0);
  shutdown(fd, SHUT_RDWR);
  pthread_join(thread, NULL);
  curl_global_cleanup();
  printf("%d passed, %d failed\n", passed, failed);
  return failed > 0;
}
