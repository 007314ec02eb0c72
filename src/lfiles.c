/*
** lfiles.c - the part of billhook.process that looks at the machine: files,
** folders, users, ports, the terminal.
*/
#define _GNU_SOURCE 1

#include "compat.h"
#include "tree.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <netdb.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lprocess.h"

#define FOLDER "billhook.folder"

int lprocess_fault(lua_State *L, const char *what, int code) {
  lua_pushnil(L);
  lua_pushfstring(L, "%s: %s", what, strerror(code));
  return 2;
}

int lprocess_done(lua_State *L, const char *what, int result) {
  if (result != 0) return lprocess_fault(L, what, errno);
  lua_pushboolean(L, 1);
  return 1;
}

/* for a failure between opening a folder and closing it */
static int l_folder_gc(lua_State *L) {
  DIR **box = luaL_checkudata(L, 1, FOLDER);
  if (*box != NULL) closedir(*box);
  *box = NULL;
  return 0;
}

/* {=== files and users =================================================== */

static int l_uid(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)geteuid());
  return 1;
}

static void set_integer(lua_State *L, const char *name, lua_Integer n) {
  lua_pushinteger(L, n);
  lua_setfield(L, -2, name);
}

/* user(name|uid) -> { name, uid, gid, group } | nil */
static int l_user(lua_State *L) {
  const struct passwd *pw;
  const struct group *gr;
  errno = 0;
  pw = lua_type(L, 1) == LUA_TNUMBER ? getpwuid((uid_t)lua_tointeger(L, 1))
                                     : getpwnam(luaL_checkstring(L, 1));
  if (pw == NULL && errno == ENOMEM) return luaL_error(L, "not enough memory");
  if (pw == NULL) return 0;
  lua_createtable(L, 0, 4);
  lua_pushstring(L, pw->pw_name);
  lua_setfield(L, -2, "name");
  set_integer(L, "uid", (lua_Integer)pw->pw_uid);
  set_integer(L, "gid", (lua_Integer)pw->pw_gid);
  gr = getgrgid(pw->pw_gid);
  if (gr != NULL) {
    lua_pushstring(L, gr->gr_name);
    lua_setfield(L, -2, "group");
  }
  return 1;
}

static const char *type_of(mode_t mode) {
  if (S_ISLNK(mode)) return "link";
  if (S_ISFIFO(mode)) return "pipe";
  if (S_ISDIR(mode)) return "directory";
  return S_ISREG(mode) ? "file" : "device";
}

/* where the link leads, as it says */
static void set_target(lua_State *L, const char *path) {
  char room[PATH_MAX];
  ssize_t n = readlink(path, room, sizeof(room));
  if (n < 0) return; /* it has gone */
  lua_pushlstring(L, room, (size_t)n);
  lua_setfield(L, -2, "target");
}

/*
** stat(path[, itself]) -> { type, uid, gid, mode, size } | nil, message. Of a
** link, what it leads to, unless the link itself is meant: then with `target`.
*/
static int l_stat(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  int flags = lua_toboolean(L, 2) ? AT_SYMLINK_NOFOLLOW : 0;
  struct stat s;
  if (fstatat(AT_FDCWD, path, &s, flags) != 0)
    return lprocess_fault(L, path, errno);
  lua_createtable(L, 0, 5);
  lua_pushstring(L, type_of(s.st_mode));
  lua_setfield(L, -2, "type");
  set_integer(L, "uid", (lua_Integer)s.st_uid);
  set_integer(L, "gid", (lua_Integer)s.st_gid);
  set_integer(L, "mode", (lua_Integer)(s.st_mode & 07777));
  set_integer(L, "size", (lua_Integer)s.st_size);
  if (S_ISLNK(s.st_mode)) set_target(L, path);
  return 1;
}

/* executable(path) -> is it a file that we may run */
static int l_executable(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  struct stat s;
  lua_pushboolean(L, stat(path, &s) == 0 && S_ISREG(s.st_mode) &&
                         access(path, X_OK) == 0);
  return 1;
}

/* realpath(path) -> without links and dots | nil, message */
static int l_realpath(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  char room[PATH_MAX];
  if (realpath(path, room) == NULL) return lprocess_fault(L, path, errno);
  lua_pushstring(L, room);
  return 1;
}

/* mkdtemp(prefix) -> a new folder, 0700 | nil, message */
static int l_mkdtemp(lua_State *L) {
  size_t n;
  const char *prefix = luaL_checklstring(L, 1, &n);
  char room[PATH_MAX];
  luaL_argcheck(L, n + 8 < sizeof(room), 1, "too long");
  memcpy(room, prefix, n);
  memcpy(room + n, ".XXXXXX", 8);
  if (mkdtemp(room) == NULL) return lprocess_fault(L, prefix, errno);
  lua_pushstring(L, room);
  return 1;
}

/* all of it: 0, or an errno */
static int write_all(int fd, const char *p, size_t n) {
  while (n > 0) {
    ssize_t done = write(fd, p, n);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return errno;
    p += done;
    n -= (size_t)done;
  }
  return 0;
}

/*
** replace(path, text) -> true | nil, message. A new file, 0600, takes the
** place of what has that name, at once: what stands there is neither opened
** nor written to, be it a link, a pipe or a file of somebody else's.
*/
static int l_replace(lua_State *L) {
  size_t size, n;
  const char *path = luaL_checklstring(L, 1, &n);
  const char *text = luaL_checklstring(L, 2, &size);
  char room[PATH_MAX];
  int fd, code;
  luaL_argcheck(L, n + 8 < sizeof(room), 1, "too long");
  memcpy(room, path, n);
  memcpy(room + n, ".XXXXXX", 8);
  fd = mkostemp(room, O_CLOEXEC); /* O_EXCL: it is ours alone */
  if (fd < 0) return lprocess_fault(L, path, errno);
  code = write_all(fd, text, size);
  if (close(fd) != 0 && code == 0) code = errno;
  if (code == 0 && rename(room, path) != 0) code = errno;
  if (code == 0) return lprocess_done(L, path, 0);
  unlink(room);
  return lprocess_fault(L, path, code);
}

/* up to `most` bytes of a file: 0, or an errno; *n: how many there were */
static int read_file(const char *path, char *to, size_t most, size_t *n) {
  int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC), code = 0;
  struct stat s;
  ssize_t got = 1;
  *n = 0;
  if (fd < 0) return errno;
  if (fstat(fd, &s) != 0 || !S_ISREG(s.st_mode)) code = EINVAL;
  while (code == 0 && got > 0 && *n < most) {
    got = read(fd, to + *n, most - *n);
    if (got > 0) *n += (size_t)got;
    if (got < 0 && errno != EINTR) code = errno;
    if (got < 0) got = 1;
  }
  close(fd);
  return code;
}

/*
** contents(path, most) -> text | nil, message. All of a file, with at most so
** many bytes. What is no file is not waited for, and not read.
*/
static int l_contents(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  lua_Number most = luaL_checknumber(L, 2);
  struct stat s;
  size_t room, n;
  char *to;
  int code;
  luaL_argcheck(L, most >= 0 && most < INT_MAX, 2, "no number of bytes");
  if (stat(path, &s) != 0) return lprocess_fault(L, path, errno);
  if (!S_ISREG(s.st_mode)) return lprocess_fault(L, path, EINVAL);
  if ((lua_Number)s.st_size > most) return lprocess_fault(L, path, EFBIG);
  room = (size_t)s.st_size + 1;
  to = (char *)lua_newuserdatauv(L, room, 0);
  code = read_file(path, to, room, &n);
  if (code == 0 && (lua_Number)n > most) code = EFBIG;
  if (code != 0) return lprocess_fault(L, path, code);
  lua_pushlstring(L, to, n);
  return 1;
}

static int l_mkdir(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  return lprocess_done(L, path,
                       mkdir(path, (mode_t)luaL_optinteger(L, 2, 0700)));
}

static int l_chmod(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  return lprocess_done(L, path, chmod(path, (mode_t)luaL_checkinteger(L, 2)));
}

/* chown(path, uid, gid) -> true | nil, message; of a link, the link itself */
static int l_chown(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  uid_t uid = (uid_t)luaL_checkinteger(L, 2);
  return lprocess_done(L, path,
                       lchown(path, uid, (gid_t)luaL_checkinteger(L, 3)));
}

/* remove_tree(path) -> true | nil, message; follows no link */
static int l_remove_tree(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  int code = tree_remove(path);
  return code != 0 ? lprocess_fault(L, path, code) : lprocess_done(L, path, 0);
}

/* entries(path) -> the names in a folder, unsorted | nil, message */
static int l_entries(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  DIR **box = lua_newuserdatauv(L, sizeof *box, 0);
  const struct dirent *e;
  int n = 0;
  *box = NULL;
  luaL_setmetatable(L, FOLDER);
  *box = opendir(path);
  if (*box == NULL) return lprocess_fault(L, path, errno);
  lua_newtable(L);
  while ((e = readdir(*box)) != NULL) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    lua_pushstring(L, e->d_name);
    lua_rawseti(L, -2, ++n);
  }
  closedir(*box);
  *box = NULL;
  return 1;
}

/* }{=== network and terminal ============================================== */

#define PORTS 16

static int port_of(int fd) {
  struct sockaddr_in a;
  socklen_t n = sizeof(a);
  memset(&a, 0, sizeof(a));
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0) return 0;
  if (getsockname(fd, (struct sockaddr *)&a, &n) != 0) return 0;
  return ntohs(a.sin_port);
}

/*
** free_port([count]) -> count ports of 127.0.0.1, all different, that
** nothing listened on a moment ago | nil, message
*/
static int l_free_port(lua_State *L) {
  int count = (int)luaL_optinteger(L, 1, 1), ports[PORTS], fds[PORTS];
  int opened = 0, code;
  luaL_argcheck(L, count >= 1 && count <= PORTS, 1, "1 to 16");
  for (; opened < count; opened++) {
    fds[opened] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ports[opened] = port_of(fds[opened]);
    if (ports[opened] == 0) break;
  }
  code = errno;
  for (int i = 0; i < count && i <= opened; i++)
    close(fds[i]);
  if (opened < count) return lprocess_fault(L, "no free port", code);
  for (int i = 0; i < count; i++)
    lua_pushinteger(L, ports[i]);
  return count;
}

static struct addrinfo *addresses(const char *host, const char *port) {
  struct addrinfo want, *found = NULL;
  memset(&want, 0, sizeof want);
  want.ai_family = host == NULL ? AF_INET : AF_UNSPEC;
  want.ai_socktype = SOCK_STREAM;
  want.ai_flags = AI_PASSIVE | AI_NUMERICSERV | AI_NUMERICHOST;
  if (getaddrinfo(host, port, &want, &found) == 0) return found;
  want.ai_flags = AI_PASSIVE | AI_NUMERICSERV | AI_ADDRCONFIG;
  return getaddrinfo(host, port, &want, &found) == 0 ? found : NULL;
}

/* 0, or why not */
static int try_bind(const struct addrinfo *a) {
  int on = 1, code = 0;
  int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (a->ai_family == AF_INET6)
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (bind(fd, a->ai_addr, a->ai_addrlen) != 0) code = errno;
  close(fd);
  return code;
}

/*
** vacant(host|nil, port) -> true: who listens there now would get it | nil,
** message. nil: all IPv4 addresses of this machine.
*/
static int l_vacant(lua_State *L) {
  const char *host = luaL_optstring(L, 1, NULL);
  const char *port = luaL_checkstring(L, 2);
  struct addrinfo *list = addresses(host, port), *a;
  int code = list != NULL ? 0 : EADDRNOTAVAIL;
  for (a = list; a != NULL && code == 0; a = a->ai_next)
    code = try_bind(a);
  if (list != NULL) freeaddrinfo(list);
  if (code == 0) return lprocess_done(L, "", 0);
  lua_pushnil(L);
  lua_pushstring(L, code == EADDRINUSE ? "it is taken" : strerror(code));
  return 2;
}

/* columns(fd) -> width of that terminal | nil: not one */
static int l_columns(lua_State *L) {
  struct winsize w;
  int fd = (int)luaL_checkinteger(L, 1);
  if (ioctl(fd, TIOCGWINSZ, &w) != 0) return 0;
  lua_pushinteger(L, w.ws_col > 0 ? w.ws_col : 80);
  return 1;
}

/* }======================================================================= */

static const luaL_Reg functions[] = {{"uid", l_uid},
                                     {"user", l_user},
                                     {"stat", l_stat},
                                     {"executable", l_executable},
                                     {"realpath", l_realpath},
                                     {"mkdtemp", l_mkdtemp},
                                     {"replace", l_replace},
                                     {"contents", l_contents},
                                     {"mkdir", l_mkdir},
                                     {"chmod", l_chmod},
                                     {"chown", l_chown},
                                     {"remove_tree", l_remove_tree},
                                     {"entries", l_entries},
                                     {"free_port", l_free_port},
                                     {"vacant", l_vacant},
                                     {"columns", l_columns},
                                     {NULL, NULL}};

void lprocess_add_files(lua_State *L) {
  luaL_newmetatable(L, FOLDER); /* [process mt] */
  lua_pushcfunction(L, l_folder_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
  luaL_setfuncs(L, functions, 0);
}
