-- postgres.lua - a real PostgreSQL for specs: with a data directory of its own, on a free port of
-- 127.0.0.1 and a socket in its folder, stopped by the process id that was started.
--
--   local postgres = require "spec.support.postgres"
--   local server = postgres.start()
--   server.url            "postgresql://billhook@127.0.0.1:PORT/postgres"
--   server.socket_url     the same over its Unix socket
--   server:sql(text)      runs it as the superuser
--   server:empty()        its inbox, if it has one, is as if it were new
--   server:stop "QUIT"    "INT": ends connections (default), "QUIT": at once, as if it crashed
--   server:start()        on the same data and port
--   server:save()         a copy of its data as they are; it is stopped meanwhile
--   server:restore()      goes on with that copy, as an older primary would under the same URL
--   server:standby()      another server that follows it; promote() makes it a primary
--   server:remove()
--   local database = postgres.database()
--   database.url, .socket_url, :sql(text), :empty(), :remove(): one of its own on a server that
--                         others use at the same time, for who does not stop it, nor set anything
--                         for all of it
--
-- Nothing of the system's own clusters is used. initdb and postgres refuse to be run by root, so
-- there they are run by the user postgres, whom Debian's package has made. The server ends with
-- the process that started it.

local ports = require "spec.support.port"
local process = require "billhook.process"
local scratch = require "spec.support.scratch"

local M = {}
local Server, Database = {}, {}
Server.__index, Database.__index = Server, Database

local patience = 60

-- where initdb is: the newest of Debian's, or anywhere in the path
local function binaries()
  local found
  local pipe = io.popen("command -v initdb; ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V")
  for line in pipe:lines() do found = line:match("^(.*)/initdb$") or line end
  pipe:close()
  return found or error("no PostgreSQL server here: install the package postgresql", 0)
end

local function read(path)
  local file = io.open(path)
  if not file then return "" end
  local text = file:read("*a")
  file:close()
  return text
end

function Server:spawn(arguments)
  return assert(process.spawn(arguments, {
    user = self.user, cwd = self.folder, stdout = self.log, stderr = self.log, die = "QUIT",
    -- a sanitizer that was loaded into us would not let it start
    env = { LC_ALL = "C", LD_PRELOAD = false, PGUSER = false, PGPORT = false, PGHOST = false,
      PGDATA = false },
  }))
end

local function make(self, template)
  template = template or os.getenv "BILLHOOK_POSTGRES"
  local pid = self:spawn(template and { "cp", "-a", template .. "/data", self.folder .. "/data" }
    or { self.bin .. "/initdb", "-D", self.folder .. "/data", "-U", "billhook", "-A", "trust",
      "-E", "UTF8", "--no-locale", "--no-sync", "--no-instructions", "--wal-segsize=1" })
  local kind, status = process.wait(pid)
  if kind ~= "exit" or status ~= 0 then
    error("no data directory for postgres:\n" .. read(self.log), 0)
  end
end

-- Does it take connections? What it listens on is there before it is ready.
function Server:ready()
  if self.follows then -- ours want to write
    return process.wait(self:spawn { self.bin .. "/pg_isready", "-q", "-h", "127.0.0.1", "-p",
      tostring(self.port) }) == "exit" and read(self.log):find "ready to accept read" ~= nil
  end
  local db = require("billhook.pq").open(self.url)
  if db then db:close() end
  return db ~= nil
end

function Server:start()
  self.pid = self:spawn { self.bin .. "/postgres", "-D", self.folder .. "/data",
    "-p", tostring(self.port), "-k", self.folder, "-c", "listen_addresses=127.0.0.1",
    "-c", "max_connections=50", "-c", "shared_buffers=32MB",
    "-c", "log_min_messages=" .. (self.follows and "log" or "fatal"),
    "-c", "fsync=off" } -- that is for power cuts
  local deadline = process.monotonic() + patience
  while not self:ready() do
    if process.wait(self.pid, "look") ~= false or process.monotonic() > deadline then
      error("postgres did not start:\n" .. read(self.log), 0)
    end
    process.sleep(0.01)
  end
end

function Server:stop(signal)
  if self.db then self.db:close() end
  self.db = nil
  if not self.pid then return end
  process.kill(self.pid, signal or "INT")
  process.wait(self.pid)
  self.pid = nil
end

local function run(self, arguments)
  local kind, status = process.wait(self:spawn(arguments))
  if kind ~= "exit" or status ~= 0 then
    error(table.concat(arguments, " ") .. ":\n" .. read(self.log), 0)
  end
end

function Server:save()
  self:stop()
  run(self, { "cp", "-a", self.folder .. "/data", self.folder .. "/saved" })
  self:start()
end

function Server:restore()
  self:stop()
  run(self, { "rm", "-r", self.folder .. "/data" })
  run(self, { "cp", "-a", self.folder .. "/saved", self.folder .. "/data" })
  self:start()
end

function Server:standby()
  local other = M.folder()
  run(self, { self.bin .. "/pg_basebackup", "-h", "127.0.0.1", "-p", tostring(self.port), "-U",
    "billhook", "-D", other.folder .. "/data", "-R", "-X", "stream", "-c", "fast", "--no-sync" })
  other.follows = true
  other:start()
  return other
end

function Server:promote()
  run(self, { self.bin .. "/pg_ctl", "promote", "-s", "-D", self.folder .. "/data" })
end

-- Has all that is committed reached the standby?
function Server:followed()
  return #self:sql "SELECT 1 FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_lsn()" > 0
end

function Server:remove()
  self:stop "QUIT"
  assert(process.remove_tree(self.folder))
end

---The seconds of a processor that it has used, and all that it has ended.
function Server:used()
  -- behind the name: the state, ten numbers, and four of hundredths: its own and its children's
  local numbers, sum = read(("/proc/%d/stat"):format(self.pid)):match "^.*%) %a (.*)$", 0
  for one in numbers:match(("%-?%d+ "):rep(10) .. "(%d+ %d+ %d+ %d+)"):gmatch "%d+" do
    sum = sum + tonumber(one) / 100
  end
  return sum
end

-- On a connection that stays: the server takes 50 ms of a processor to make one.
function Server:sql(text)
  if not self.db or self.db:lost() then self.db = assert(require("billhook.pq").open(self.url)) end
  local rows, code, message = self.db:query(text)
  return rows or error(("%s: %s"):format(code, message), 2)
end

local function urls(port, folder, name)
  return ("postgresql://billhook@127.0.0.1:%d/%s"):format(port, name),
    ("postgresql://billhook@/%s?host=%s&port=%d"):format(name, folder, port)
end

-- A server without data.
function M.folder()
  local folder = scratch.folder "postgres"
  local port = ports.free()
  local self = setmetatable({ bin = binaries(), folder = folder, port = port,
    log = folder .. "/log" }, Server)
  self.url, self.socket_url = urls(port, folder, "postgres")
  if process.uid() == 0 then
    local user = process.user "postgres" or error("there is no user postgres", 0)
    self.user = user.name
    assert(process.chown(folder, user.uid, user.gid))
  end
  return self
end

-- A server that was never started.
local function new(template)
  local self = M.folder()
  make(self, template)
  return self
end

---A new server; no database in it but PostgreSQL's own.
---@param template string|nil as template() gives it; else the one of BILLHOOK_POSTGRES
function M.start(template)
  local self = new(template)
  self:start()
  return self
end

---A data directory for many servers: each copies that of the folder that BILLHOOK_POSTGRES names,
---which takes a tenth of the time. Gives the folder.
function M.template() return new().folder end

-- the server of databases: its `port` and `folder`
local function shared()
  local port, folder = (os.getenv "BILLHOOK_POSTGRES_SERVER" or ""):match "^(%d+) (.+)$"
  if port then return { port = port, folder = folder, remove = function() end } end
  return M.start()
end

---A new database on the server that BILLHOOK_POSTGRES_SERVER names ("PORT FOLDER"), where it stays
---until that goes, or else on one that is removed with it.
function M.database()
  local server = shared()
  local first = assert(require("billhook.pq").open((urls(server.port, server.folder, "postgres"))))
  -- a number that no server gives twice
  local name = "of_" .. first:query("SELECT pg_current_xact_id()::text AS n")[1].n
  assert(first:exec("CREATE DATABASE " .. name))
  first:close()
  local self = setmetatable({ server = server }, Database)
  self.url, self.socket_url = urls(server.port, server.folder, name)
  return self
end

---Nothing is in its inbox any more, if it has one: quicker than to drop it and to make it anew.
function Server:empty()
  self:sql [[DO $$ DECLARE one TEXT; BEGIN
    FOR one IN SELECT tablename FROM pg_tables WHERE schemaname = 'billhook' LOOP
      EXECUTE 'DELETE FROM billhook.' || one
        || CASE one WHEN 'meta' THEN ' WHERE name <> ''version''' ELSE '' END;
    END LOOP; END $$]]
end

Database.sql, Database.empty = Server.sql, Server.empty

function Database:remove()
  if self.db then self.db:close() end
  self.server:remove()
end

return M
