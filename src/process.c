/*
** process.c - luaopen_billhook_process: what the command needs of POSIX and
** Lua lacks: child processes, signals, a sleep that a signal ends, a log that
** is never waited for. lfiles.c adds what is asked of the machine.
**
** Only the command loads this, never nginx. Argument vectors are userdata.
*/
#define _GNU_SOURCE 1 /* execvpe, close_range, environ */

#include "compat.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/close_range.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lprocess.h"
#include "tree.h"
#include "stay.h"

/* {=== signals =========================================================== */

#define CAUGHT 5 /* the first of the list can be caught */

static const struct {
  const char *name;
  int number;
} names[] = {{"TERM", SIGTERM}, {"INT", SIGINT},   {"QUIT", SIGQUIT},
             {"HUP", SIGHUP},   {"CHLD", SIGCHLD}, {"KILL", SIGKILL},
             {"USR1", SIGUSR1}, {"USR2", SIGUSR2}, {"STOP", SIGSTOP},
             {"CONT", SIGCONT}, {"SEGV", SIGSEGV}, {"ABRT", SIGABRT},
             {NULL, 0}};

/*
** What signals do, here and at "bounds", are the only mutable statics of the
** project's C code: a signal belongs to the process, not to a Lua state, and
** its handler has no argument to find one by. This is why nginx must never
** load this object.
*/
static volatile sig_atomic_t pending[CAUGHT];

static void note(int number) {
  for (int i = 0; i < CAUGHT; i++)
    if (names[i].number == number) pending[i] = 1;
}

static int signal_of(lua_State *L, int arg, int count) {
  const char *name = luaL_checkstring(L, arg);
  for (int i = 0; names[i].name != NULL && i < count; i++)
    if (strcmp(names[i].name, name) == 0) return names[i].number;
  return luaL_argerror(L, arg, "not a signal that can be named here");
}

static void push_signal(lua_State *L, int number) {
  for (int i = 0; names[i].name != NULL; i++)
    if (names[i].number == number) {
      lua_pushstring(L, names[i].name);
      return;
    }
  lua_pushfstring(L, "%d", number);
}

/*
** signals(name, ...): from now on these are noted and do nothing else.
** Calls that a signal interrupts go on by themselves (a rule's library may
** not expect EINTR); only sleep ends early. SIGPIPE is no reason to end any
** more, either: a log may lose its reader.
*/
static int l_signals(lua_State *L) {
  struct sigaction act;
  int n = lua_gettop(L);
  memset(&act, 0, sizeof(act));
  act.sa_handler = note;
  act.sa_flags = SA_RESTART;
  sigemptyset(&act.sa_mask);
  sigaction(SIGPIPE, &act, NULL);
  for (int i = 1; i <= n; i++)
    sigaction(signal_of(L, i, CAUGHT), &act, NULL);
  return 0;
}

/*
** interrupt(words): from now on SIGINT ends the process at once, with the
** exit code 130 and these words on stderr: also while a library waits for an
** answer. Nothing of Lua's is run.
*/
static char last_words[256];
static volatile sig_atomic_t last_length;

static void leave(int number) {
  (void)number;
  if (write(STDERR_FILENO, last_words, (size_t)last_length) < 0) _exit(130);
  _exit(130);
}

static int l_interrupt(lua_State *L) {
  size_t length;
  const char *words = luaL_optlstring(L, 1, "", &length);
  struct sigaction act;
  luaL_argcheck(L, length < sizeof(last_words), 1, "too long");
  last_length = 0;
  memcpy(last_words, words, length);
  last_length = (sig_atomic_t)length;
  memset(&act, 0, sizeof(act));
  act.sa_handler = leave;
  sigemptyset(&act.sa_mask);
  sigaction(SIGINT, &act, NULL);
  return 0;
}

/* caught() -> name of a signal that came since, once | nil */
static int l_caught(lua_State *L) {
  for (int i = 0; i < CAUGHT; i++)
    if (pending[i]) {
      pending[i] = 0;
      lua_pushstring(L, names[i].name);
      return 1;
    }
  lua_pushnil(L);
  return 1;
}

static int any_pending(void) {
  int any = 0;
  for (int i = 0; i < CAUGHT; i++)
    any |= pending[i];
  return any;
}

static double monotonic(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/*
** The signals are blocked from the look at the flags until pselect opens
** them again, so that none can slip in between and be slept over.
*/
static int doze(double end, int through) {
  sigset_t ours, before;
  int woken;
  sigemptyset(&ours);
  for (int i = 0; i < CAUGHT; i++)
    sigaddset(&ours, names[i].number);
  sigprocmask(SIG_BLOCK, &ours, &before);
  for (;;) {
    double left = end - monotonic();
    struct timespec t;
    woken = !through && any_pending();
    if (woken || left <= 0) break;
    t.tv_sec = (time_t)left;
    t.tv_nsec = (long)((left - (double)t.tv_sec) * 1e9);
    pselect(0, NULL, NULL, NULL, &t, &before);
  }
  sigprocmask(SIG_SETMASK, &before, NULL);
  return woken;
}

/*
** sleep(seconds[, through]) -> true | false: ended early, caught() tells by
** what. A signal that came before, and was not asked for, ends it at once;
** with `through` nothing does.
*/
static int l_sleep(lua_State *L) {
  double seconds = luaL_checknumber(L, 1);
  luaL_argcheck(L, seconds >= 0 && seconds < 1e9, 1, "0 or more seconds");
  lua_pushboolean(L, !doze(monotonic() + seconds, lua_toboolean(L, 2)));
  return 1;
}

static int l_monotonic(lua_State *L) {
  lua_pushnumber(L, monotonic());
  return 1;
}

/* kill(pid, name|0) -> true | nil, message; a negative pid is a group */
static int l_kill(lua_State *L) {
  lua_Integer pid = luaL_checkinteger(L, 1);
  int number = 0;
  luaL_argcheck(L, pid != 0 && pid != -1, 1, "one process or one group");
  if (lua_type(L, 2) != LUA_TNUMBER)
    number = signal_of(L, 2, INT_MAX);
  else
    luaL_argcheck(L, lua_tointeger(L, 2) == 0, 2, "a signal's name, or 0");
  return lprocess_done(L, "kill", kill((pid_t)pid, number));
}

/* }{=== bounds ============================================================ */

/*
** deadline(seconds, words): unless deadline() comes before, the process is
** ended then, with these words on stderr, whatever it does; and so is its
** group, where it leads one. No hook of Lua's: a loop that LuaJIT has compiled
** calls none. A timer of our own: libraries use that of alarm().
*/
#define DEADLINE SIGVTALRM

static timer_t timer;
static int timer_made;
static char deadline_words[1024];
static volatile sig_atomic_t deadline_length;

static void deadline_over(int number) {
  size_t n = (size_t)deadline_length;
  int said = write(STDERR_FILENO, deadline_words, n) >= 0;
  (void)number;
  (void)said; /* nobody is left who could be told that it was not */
  kill(getpgrp() == getpid() ? 0 : getpid(), SIGKILL);
}

static int make_timer(void) {
  struct sigevent event;
  struct sigaction act;
  memset(&act, 0, sizeof(act));
  act.sa_handler = deadline_over;
  sigemptyset(&act.sa_mask);
  memset(&event, 0, sizeof(event));
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = DEADLINE;
  return sigaction(DEADLINE, &act, NULL) == 0
         && timer_create(CLOCK_MONOTONIC, &event, &timer) == 0;
}

static int l_deadline(lua_State *L) {
  double seconds = luaL_optnumber(L, 1, 0);
  size_t length;
  const char *words = luaL_optlstring(L, 2, "", &length);
  struct itimerspec when;
  memset(&when, 0, sizeof(when));
  luaL_argcheck(L, seconds >= 0 && seconds < 1e9, 1, "0 or more seconds");
  if (!timer_made && !make_timer()) return lprocess_fault(L, "timer", errno);
  timer_made = 1;
  timer_settime(timer, 0, &when, NULL); /* the words are read when it fires */
  if (length > sizeof(deadline_words)) length = sizeof(deadline_words);
  memcpy(deadline_words, words, length);
  deadline_length = (sig_atomic_t)length;
  when.it_value.tv_sec = (time_t)seconds;
  seconds -= (double)when.it_value.tv_sec;
  when.it_value.tv_nsec = (long)(seconds * 1e9);
  return lprocess_done(L, "timer", timer_settime(timer, 0, &when, NULL));
}

/* memory() -> bytes that the process has for itself: of the address space */
static int l_memory(lua_State *L) {
  unsigned long data = 0;
  FILE *file = fopen("/proc/self/statm", "re");
  if (file == NULL) return lprocess_fault(L, "/proc/self/statm", errno);
  if (fscanf(file, "%*u %*u %*u %*u %*u %lu", &data) != 1) data = 0;
  fclose(file);
  lua_pushnumber(L, (double)data * (double)sysconf(_SC_PAGESIZE));
  return 1;
}

/* bound_memory(bytes): it can't have more of it than that */
static int l_bound_memory(lua_State *L) {
  struct rlimit limit;
  double bytes = luaL_checknumber(L, 1);
  luaL_argcheck(L, bytes >= 0 && bytes < 1e18, 1, "a number of bytes");
  if (getrlimit(RLIMIT_DATA, &limit) != 0)
    return lprocess_fault(L, "getrlimit", errno);
  if (limit.rlim_cur > (rlim_t)bytes) limit.rlim_cur = (rlim_t)bytes;
  return lprocess_done(L, "setrlimit", setrlimit(RLIMIT_DATA, &limit));
}

/* }{=== children ========================================================== */

typedef struct child {
  char **argv, **envp;
  const char *cwd, *user, *io[3]; /* NULL: as it is */
  uid_t uid;
  gid_t gid;
  int group, die, report;
  pid_t parent;
} child;

static int redirect(const char *path, int fd) {
  int flags = fd == 0 ? O_RDONLY : O_WRONLY | O_CREAT | O_APPEND, from;
  if (path == NULL) return 0;
  from = open(path, flags | O_CLOEXEC, 0600);
  return from < 0 || dup2(from, fd) < 0 ? -1 : 0;
}

static int drop(const child *c) {
  if (c->user == NULL) return 0;
  if (initgroups(c->user, c->gid) != 0 || setgid(c->gid) != 0) return -1;
  return setuid(c->uid);
}

static void plain_signals(void) {
  sigset_t none;
  for (int i = 0; i < CAUGHT; i++)
    signal(names[i].number, SIG_DFL); /* a shell's & leaves INT ignored */
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

/* in the child: gives the step that failed; comes back only on failure */
static const char *become(const child *c) {
  plain_signals();
  for (int i = 0; i < 3; i++)
    if (redirect(c->io[i], i) != 0) return "redirect";
  close_range(3, ~0U, CLOSE_RANGE_CLOEXEC); /* best effort: Linux 5.11 */
  if (c->group && setpgid(0, 0) != 0) return "setpgid";
  if (drop(c) != 0) return "change of user";
  if (c->cwd != NULL && chdir(c->cwd) != 0) return "chdir";
  if (c->die != 0) { /* after setuid, which would clear it */
    if (prctl(PR_SET_PDEATHSIG, c->die) != 0) return "prctl";
    if (getppid() != c->parent) _exit(0); /* it died before the prctl */
  }
  execvpe(c->argv[0], c->argv, c->envp);
  return "exec";
}

typedef struct failure {
  int code;
  const char *step;
} failure;

static void child_main(const child *c) {
  failure f;
  f.step = become(c); /* a constant: its address is the parent's too */
  f.code = errno;
  _exit(write(c->report, &f, sizeof(f)) < 0 ? 126 : 127);
}

/* room for n strings and the NULL behind; anchored on the stack [+1] */
static char **vector(lua_State *L, size_t n) {
  char **v;
  luaL_argcheck(L, n < 100000, 1, "too long");
  v = (char **)lua_newuserdatauv(L, (n + 1) * sizeof(*v), 0);
  memset(v, 0, (n + 1) * sizeof(*v));
  return v;
}

/* execvpe wants char *, and does not write through it */
static char *loose(const char *s) {
  union {
    const char *in;
    char *out;
  } u;
  u.in = s;
  return u.out;
}

/* the strings stay alive in the table */
static char **arguments(lua_State *L, int table) {
  size_t n = lua_rawlen(L, table);
  char **v = vector(L, n);
  luaL_argcheck(L, n > 0, table, "a program is missing");
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, table, (int)i + 1);
    if (lua_type(L, -1) != LUA_TSTRING)
      luaL_argerror(L, table, "a list of strings");
    v[i] = loose(lua_tostring(L, -1));
    lua_pop(L, 1);
  }
  return v;
}

/* what the caller sets (or unsets with false) is not inherited */
static int replaced(lua_State *L, int table, const char *entry) {
  const char *eq = strchr(entry, '=');
  int found;
  lua_pushlstring(L, entry, eq ? (size_t)(eq - entry) : strlen(entry));
  lua_rawget(L, table);
  found = !lua_isnil(L, -1);
  lua_pop(L, 1);
  return found;
}

/* [env] -> [env, anchor, vector]; the anchor keeps the "K=V" strings */
static char **environment(lua_State *L, int env) {
  size_t n = 0, at = 0;
  int anchor, made = 0;
  char **v;
  lua_newtable(L);
  anchor = lua_gettop(L);
  for (lua_pushnil(L); lua_next(L, env) != 0; lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING)
      luaL_error(L, "spawn: env is a map of strings");
    if (lua_type(L, -1) == LUA_TBOOLEAN && !lua_toboolean(L, -1)) continue;
    if (lua_type(L, -1) != LUA_TSTRING)
      luaL_error(L, "spawn: env.%s is not a string", lua_tostring(L, -2));
    lua_pushfstring(L, "%s=%s", lua_tostring(L, -2), lua_tostring(L, -1));
    lua_rawseti(L, anchor, ++made);
  }
  while (environ[n] != NULL)
    n++;
  v = vector(L, n + (size_t)made);
  for (size_t i = 0; i < n; i++)
    if (!replaced(L, env, environ[i])) v[at++] = environ[i];
  for (int i = 1; i <= made; i++) {
    lua_rawgeti(L, anchor, i);
    v[at++] = loose(lua_tostring(L, -1));
    lua_pop(L, 1);
  }
  return v;
}

/* leaves the string on the stack, which keeps it alive [+1] */
static const char *field_string(lua_State *L, const char *name) {
  lua_getfield(L, 2, name);
  if (!lua_isnil(L, -1) && lua_type(L, -1) != LUA_TSTRING)
    luaL_error(L, "spawn: %s is not a string", name);
  return lua_tostring(L, -1);
}

static void find_user(lua_State *L, child *c) {
  const struct passwd *pw;
  errno = 0;
  pw = getpwnam(c->user);
  if (pw == NULL && errno == ENOMEM) luaL_error(L, "not enough memory");
  if (pw == NULL) luaL_error(L, "spawn: no user %s", c->user);
  c->uid = pw->pw_uid;
  c->gid = pw->pw_gid;
}

static void options(lua_State *L, child *c) {
  luaL_checktype(L, 2, LUA_TTABLE);
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  c->io[0] = field_string(L, "stdin");
  c->io[1] = field_string(L, "stdout");
  c->io[2] = field_string(L, "stderr");
  c->cwd = field_string(L, "cwd");
  c->user = field_string(L, "user");
  if (c->user != NULL) find_user(L, c);
  if (field_string(L, "die") != NULL)
    c->die = signal_of(L, lua_gettop(L), INT_MAX);
  lua_getfield(L, 2, "group");
  c->group = lua_toboolean(L, -1);
  lua_getfield(L, 2, "env");
  if (lua_istable(L, -1)) c->envp = environment(L, lua_gettop(L));
}

/* waits until the child has become the program, or has said why not */
static int started(lua_State *L, pid_t pid, int fd) {
  failure f;
  ssize_t n;
  do
    n = read(fd, &f, sizeof(f));
  while (n < 0 && errno == EINTR);
  close(fd);
  if (n <= 0) {
    lua_pushinteger(L, pid);
    return 1;
  }
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
    ;
  return lprocess_fault(L, f.step, f.code);
}

/*
** spawn(argv, options) -> pid | nil, message. Options: env (a map on top of
** ours; false unsets), cwd, stdin, stdout, stderr (paths; output is
** appended), group (a process group of its own), user (a name), die (the
** signal it gets when we die).
*/
static int l_spawn(lua_State *L) {
  child c;
  int fds[2];
  pid_t pid;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 2);
  memset(&c, 0, sizeof(c));
  if (!lua_isnil(L, 2)) options(L, &c);
  c.argv = arguments(L, 1);
  if (c.envp == NULL) c.envp = environ;
  if (pipe2(fds, O_CLOEXEC) != 0) return lprocess_fault(L, "pipe", errno);
  c.report = fds[1];
  c.parent = getpid();
  pid = fork();
  if (pid == 0) child_main(&c);
  close(fds[1]);
  if (pid > 0) return started(L, pid, fds[0]);
  close(fds[0]);
  return lprocess_fault(L, "fork", errno);
}

/*
** wait(pid[, how]) -> "exit", code | "signal", name | false: it runs | nil,
** message. How: nil waits; "poll" does not; "look" leaves the ended child as
** it is, so that its id, and its group's, stay its own until the next wait.
*/
static int l_wait(lua_State *L) {
  static const char *const modes[] = {"wait", "poll", "look", NULL};
  static const int flags[] = {WEXITED, WEXITED | WNOHANG,
                              WEXITED | WNOHANG | WNOWAIT};
  id_t pid = (id_t)luaL_checkinteger(L, 1);
  int mode = luaL_checkoption(L, 2, "wait", modes), r;
  siginfo_t info;
  memset(&info, 0, sizeof(info));
  do
    r = waitid(P_PID, pid, &info, flags[mode]);
  while (r < 0 && errno == EINTR);
  if (r < 0) return lprocess_fault(L, "wait", errno);
  if (info.si_pid == 0) {
    lua_pushboolean(L, 0);
    return 1;
  }
  if (info.si_code == CLD_EXITED) {
    lua_pushliteral(L, "exit");
    lua_pushinteger(L, info.si_status);
  } else {
    lua_pushliteral(L, "signal");
    push_signal(L, info.si_status);
  }
  return 2;
}

/* }{=== a log that nobody waits for ====================================== */

/*
** unblock_stderr(): what we, and children that are started from now on, write
** to stderr is taken at once or lost: nobody waits for who reads a log. A pipe
** and a terminal are opened anew, for the flag would be the shell's as well.
** Where that is not allowed, stderr stays what it is.
*/
static int l_unblock_stderr(lua_State *L) {
  struct stat s;
  int again;
  (void)L;
  if (fstat(2, &s) != 0) return 0;
  if (S_ISSOCK(s.st_mode)) fcntl(2, F_SETFL, fcntl(2, F_GETFL) | O_NONBLOCK);
  if (!S_ISFIFO(s.st_mode) && !S_ISCHR(s.st_mode)) return 0;
  again = open("/proc/self/fd/2",
               O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (again < 0) return 0;
  dup2(again, 2);
  close(again);
  return 0;
}

/* }======================================================================= */

static const luaL_Reg functions[] = {
    {"signals", l_signals}, {"caught", l_caught}, {"interrupt", l_interrupt},
    {"sleep", l_sleep},     {"monotonic", l_monotonic},
    {"kill", l_kill},       {"spawn", l_spawn},
    {"deadline", l_deadline}, {"memory", l_memory},
    {"bound_memory", l_bound_memory},
    {"wait", l_wait},       {"unblock_stderr", l_unblock_stderr},
    {NULL, NULL}};

/* where stderr is closed, the next file to be opened would be taken for it */
static void fill_standard_files(void) {
  int fd;
  do
    fd = open("/dev/null", O_RDWR);
  while (fd >= 0 && fd < 3);
  if (fd >= 3) close(fd);
}

BILLHOOK_API int luaopen_billhook_process(lua_State *L);

int luaopen_billhook_process(lua_State *L) {
  stay_loaded();
  fill_standard_files();
  luaL_newlib(L, functions); /* [process] */
  lprocess_add_files(L);
  return 1;
}
