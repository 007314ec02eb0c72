-- cli/serve.lua: `billhook serve`: nginx receives, `billhook work` beside it
-- runs the rules. This process only starts, watches and stops the two.
--
--   TERM, INT, QUIT   drain: nginx gets QUIT, work ends after its present rule
--   the same again    at once
--   HUP               the rules file is read again, by both; what runs, runs to its end
--                     beside what the new rules do
--   CHLD              work is started again, later and later while it keeps failing;
--                     without nginx there is nothing to serve: exit 1
--
-- Killed with -9, it takes both with it (children.lua). None of them ever waits for who reads the
-- log: what cannot be written at once is lost.

local children = require "billhook.cli.children"
local folder = require "billhook.cli.folder"
local nginx = require "billhook.cli.nginx"
local options = require "billhook.options"
local paths = require "billhook.cli.paths"
local process = require "billhook.process"
local reloads = require "billhook.cli.reload"
local server = require "billhook.cli.server"
local term = require "billhook.cli.term"
local trust = require "billhook.cli.trust"

local M = {}

M.summary = "Receive webhooks with nginx, and run rules beside it."

local pauses = { first = 0.5, longest = 30, steady = 60 } -- before work is started again
local memory_inbox = "serve needs an inbox that two processes share, such as sqlite:billhook.db;"
  .. " %s has %s"

function M.configure(command)
  local whole = require("billhook.cli").whole
  command:argument("rules", "The rules file.")
  command:option("--listen", "Address and port.", "127.0.0.1:8080"):argname "<host:port>"
  command:option("--run", "Folder for nginx's files, which no other user may change; a temporary"
    .. " folder by default."):argname "<dir>"
  command:option("--user", "If started by root: the user that receives and runs the rules."
    .. " The owner of the inbox by default."):argname "<name>"
  command:option("--admin", "Address and port for /metrics and a detailed /healthz, for your"
    .. " monitoring only; a port alone means this machine."):argname "<host:port>"
  command:option("--page", "Address and port for the operator's page; a port alone means this"
    .. " machine."):argname "<host:port>"
  command:option("--page-password-file", "A file with only its password, readable by no other user"
    .. " (or BILLHOOK_PAGE_PASSWORD)."):argname "<file>"
  command:option("--page-url", "The page's address at a TLS proxy, such as"
    .. " https://billhook.example.edu."):argname "<url>"
  command:option("--workers", "How many nginx workers.", "1"):convert(whole(1, 256)):argname "<n>"
  command:option("--jobs", "How many rules run at once, each in its own process.", "1")
    :convert(whole(1, 64)):argname "<n>"
  require("billhook.cli.work").memory_option(command)
  command:option("--patience", "Seconds within which a delivery must have arrived.", "30")
    :convert(whole(1, 3600)):argname "<s>"
  command:option("--connections", "How many at once per nginx worker; fewer if the limit of open"
    .. " files is low."):convert(whole(64, 65536)):argname "<n>"
  command:option("--per-address", "How many at once from one address; 0: no limit. A proxy on this"
    .. " machine is exempt.", "100"):convert(whole(0, 65536)):argname "<n>"
  command:option("--proxy", "A proxy's address: the limit then applies to the senders that it"
    .. " names in X-Forwarded-For. May be repeated."):count "*":argname "<address>"
  command:option("--capture-refused", "Folder for refused deliveries, for `billhook verify`: at"
    .. " most 100 files and 10 MiB, without credentials."):argname "<dir>"
  command:flag("--watch", "For development: load changed rules at once, and print what"
    .. " changed. If they do not load, the old rules go on.")
  command:epilog [[
Each account of the rules file receives at /webhooks/<account>; /healthz says
whether the inbox takes something. /metrics is at --admin; without it, at
--listen, for this machine alone. TERM, INT and QUIT end it when what is under
way is done; a second one ends it at once; HUP reads the rules again.

Examples:
  billhook serve rules.lua --listen 127.0.0.1:8080
  billhook serve rules.lua --listen 0.0.0.0:8080 --admin 127.0.0.1:9090]]
end

-- Who else than root may change what the rules consist of: root does not run it, that user does.
local function find_author(self)
  if process.uid() ~= 0 then return true end
  local author, path = trust.author(self.given)
  if author == nil then return nil, path end
  if author and not self.author then
    term.say(("the rules are loaded as %s, who may change %s"):format(author.name, path))
  end
  self.author = author or nil
  return true
end

-- Reads the rules in a child: whatever they do on loading, they do not do it in here. Gives what
-- `work --check` prints.
local function examine(self)
  local ok, err = find_author(self)
  if not ok then return nil, err end
  local how, text = children.output(paths.again("work", self.rules, "--check", "--quiet"), {
    name = "rules", folder = self.run, user = self.author and self.author.name,
  })
  if how ~= "exit 0" then return nil, ("%s does not load (%s)"):format(self.rules, how or text) end
  local needs = require("billhook.json").decode((text:match "([^\n]*)\n*$"))
  if needs.inbox:find "^memory:" then return nil, memory_inbox:format(self.rules, needs.inbox) end
  return needs
end

local not_theirs_either = "%s may change the rules: %s does not run them"
local not_theirs = "%s may change the rules, and the inbox is not %s's: root runs them as neither"

-- Who receives and runs the rules: who is named, or the inbox's owner. false: whoever we are.
local function user_of(self, inbox)
  local user, err
  if self.named then
    user, err = trust.named(self.named, inbox)
  else
    user, err = trust.owner(inbox)
  end
  if user == nil then return nil, err end
  local author = self.author
  if author and self.named and not (user and user.uid == author.uid) then
    return nil, not_theirs_either:format(author.name, self.named)
  end
  if author and not inbox:find "^sqlite:" then return author end
  if author and not (user and user.uid == author.uid) then
    return nil, not_theirs:format(author.name, author.name)
  end
  return user
end

local function start_work(self)
  if self.work then return end
  local err
  self.work, err = children.start(paths.again("work", self.rules, "--existing", "--jobs", self.jobs,
    "--memory", self.memory), {
    name = "work", user = self.user and self.user.name or nil,
    env = { BILLHOOK_PAGE_PASSWORD = false },
  })
  if not self.work then term.say(err) end
  self.work_due = nil
end

-- when work has ended by itself: a rule may crash it again and again
local function work_ended(self, how)
  local ran = self.work.ran
  self.work = nil
  if self.stopping then return end
  self.pause = ran > pauses.steady and pauses.first
    or math.min((self.pause or pauses.first / 2) * 2, pauses.longest)
  term.say(("work ended (%s); it starts again in %g s"):format(how, self.pause))
  self.work_due = process.monotonic() + self.pause
end

local function stop(self, code)
  if self.stopping then -- asked twice
    if self.nginx then self.nginx:signal "TERM" end
    self.deadline = math.min(self.deadline, process.monotonic() + 1)
    return
  end
  self.stopping, self.code = true, code
  self.deadline = process.monotonic() + nginx.grace + 5
  if self.nginx then self.nginx:signal "QUIT" end
  if self.work then self.work:signal "TERM" end
end

-- What is larger than any account takes is not even read; each account's own limit is below.
local function body_limit(needs) return needs.limit + 65536 end

-- What the rules need now, and a configuration for it.
local function renewed(self)
  local needs, err = examine(self)
  if not needs then return nil, err end
  local user, why = user_of(self, needs.inbox)
  if user == nil then return nil, why end
  if (user and user.uid) ~= (self.user and self.user.uid) then
    return nil, "the inbox is now another user's: start serve again"
  end
  self.conf.body_limit = body_limit(needs)
  local ok
  ok, err = nginx.write(self.conf)
  return ok and needs, err
end

local function reload(self)
  if self.stopping then return end
  if self.watched then self.watched:look() end
  local needs, err = renewed(self)
  if not needs then return term.say("not reloaded: " .. err) end
  self.nginx:signal "HUP"
  if self.work then
    self.work:signal "TERM"
    self.leaving[#self.leaving + 1], self.work = self.work, nil
  end
  start_work(self)
  term.say "reloaded"
  if self.watched then self.watched:took(needs) end
end

local function reap(self)
  local how = self.nginx and self.nginx:ended()
  if how then
    self.nginx = nil
    if not self.stopping then
      term.say("nginx ended (" .. how .. ")")
      stop(self, 1)
    end
  end
  how = self.work and self.work:ended()
  if how then work_ended(self, how) end
  for i = #self.leaving, 1, -1 do
    if self.leaving[i]:ended() then table.remove(self.leaving, i) end
  end
end

local function by_force(self)
  term.say "stopped by force"
  if self.nginx then self.nginx:kill() end
  if self.work then self.work:kill() end
  for _, child in ipairs(self.leaving) do child:kill() end
  self.deadline = process.monotonic() + 5
end

local function obey(self)
  for name in process.caught do
    if name == "HUP" then
      reload(self)
    elseif name ~= "CHLD" then
      stop(self, 0)
    end
  end
end

local function tick(self)
  local now = process.monotonic()
  if self.work_due and not self.stopping and now >= self.work_due then start_work(self) end
  if self.stopping and now >= self.deadline then by_force(self) end
  if self.watched and not self.stopping and self.watched:changed(now) then reload(self) end
  local till = self.stopping and self.deadline or self.work_due
    or now + (self.watched and reloads.EVERY or 60)
  return math.max(0, math.min(till - now, 60))
end

-- Until both have ended after a stop.
local function watch(self)
  while true do
    reap(self)
    if self.stopping and not self.nginx and not self.work and #self.leaving == 0 then
      return self.code
    end
    process.sleep(tick(self))
    obey(self)
  end
end

-- As root, only what root alone may change is read in nginx's master: its workers, who are another
-- user, find the rest.
local function configuration(self, needs, args)
  local user = self.user or process.user(process.uid())
  local conf = { run = self.run, env = { BILLHOOK_PAGE_PASSWORD = self.password },
    workers = args.workers, body_limit = body_limit(needs),
    connections = args.connections, patience = args.patience }
  local http_paths
  if process.uid() == 0 then
    conf.user, conf.group, conf.cwd = user and user.name, user and user.group, process.realpath "."
    local lua_path, lua_cpath = paths.luajit()
    if not lua_path then return nil, lua_cpath end
    local more = os.getenv "LUA_PATH"
    if more then lua_path = lua_path .. ";" .. more:gsub(";;+", ";") end
    http_paths = { lua_path = lua_path, lua_cpath = lua_cpath }
  end
  conf.http = server.http(self.rules, { listeners = self.listeners, page_url = args.page_url,
    workers = args.workers,
    connections = args.connections, patience = args.patience,
    per_address = args.per_address, proxies = args.proxy, capture = self.capture }, http_paths)
  return conf
end

-- The folder for refused deliveries: nobody else's, for what is in it may be genuine.
local function prepare_capture(self, path)
  if not path then return true end
  local ok, err
  if not process.stat(path, true) then
    local above = process.uid() == 0 and path:gsub("/*$", ""):gsub("[^/]+$", ".")
    local why = above and trust.refusal(above, "root would make a folder there: make it yourself")
    if why then return nil, why end
    ok, err = process.mkdir(path, 448) -- 0700
    if not ok then return nil, err end
    if self.user then process.chown(path, self.user.uid, self.user.gid) end
  end
  local uid = self.user and self.user.uid or process.uid()
  local why = trust.refusal(path, "refused deliveries are kept there", uid)
  if why then return nil, why end
  path, err = process.realpath(path)
  local found = path and process.stat(path)
  if not found then return nil, err end
  if found.type ~= "directory" or found.uid ~= uid or found.mode % 64 ~= 0 then
    return nil, path .. " must be a folder of the receiver's own: chmod 700"
  end
  self.capture = path
  return true
end

local walled = "%s: %s cannot get through %s"
local as_root = "as root, the receiver and the rules would run as root: use --user NAME,"
  .. " or chown the inbox and its folder"

-- Nobody has said that root itself receives; then only from this machine, and not without a word.
local function is_root(self) return process.uid() == 0 and not (self.user or self.named) end

local function launch(self, needs, args)
  local err, status
  self.user, err = user_of(self, needs.inbox)
  if self.user == nil then return nil, err end
  if is_root(self) and not self.listeners.main.near then return nil, as_root end
  if self.user then
    folder.open(self.run)
    local wall = trust.wall(self.user, self.run)
    if wall then return nil, walled:format(self.run, self.user.name, wall) end
    term.say(("runs as %s, %s"):format(self.user.name,
      self.named and "as told" or "whose inbox it is"))
  end
  status, err = prepare_capture(self, args.capture_refused)
  if not status then return nil, err end
  self.conf, err = configuration(self, needs, args)
  if not self.conf then return nil, err end
  self.nginx, err = nginx.start(self.conf)
  if not self.nginx then return nil, err end
  status, err = nginx.await(self.nginx, { url = self.url .. "/healthz", run = self.run,
    interrupted = function()
      obey(self)
      return self.stopping
    end })
  if status == 500 then return nil, "nginx could not load the rules, see above" end
  if status and status ~= 200 then term.say("the inbox does not answer; deliveries get 503") end
  return err == nil, err
end

local root_runs = "runs as root, rules and all: --user NAME, or an inbox of that user's, is safer"
local no_metrics = "/metrics is off: --admin 127.0.0.1:9090 gives it a listener of its own"

local function announce(self, needs)
  local main, admin = self.listeners.main, self.listeners.admin
  if is_root(self) then term.say(root_runs) end
  if not admin and not main.near then term.say(no_metrics) end
  if admin then term.say("metrics and health at " .. admin.url) end
  if self.listeners.page then term.say("the page is at " .. self.page_url) end
  term.say(("listening on %s (process %s: kill -HUP reads the rules again)"):format(self.url,
    process.realpath("/proc/self"):match "%d+$"))
  for _, name in ipairs(needs.names) do term.say("  " .. self.url .. "/webhooks/" .. name) end
end

local function serve(self, args)
  local needs, err = examine(self)
  if not needs then return nil, err end
  self.watched = args.watch and reloads.new(needs) or nil
  local ok
  ok, err = launch(self, needs, args)
  if not ok then
    if self.nginx then self.nginx:stop("TERM", 5) end
    return nil, err
  end
  if not self.stopping then
    start_work(self)
    announce(self, needs)
  end
  return watch(self)
end

-- The addresses to listen on, by what they are for: { host, port, url, near }, near: none but this
-- machine gets there.
local function listeners_of(args)
  local found, used = {}, {}
  for _, name in ipairs { "listen", "admin", "page" } do
    if args[name] then
      local host, port = nginx.address(args[name])
      if used[port] then
        require("billhook.cli").usage(("--%s and --%s have the same port"):format(used[port], name))
      end
      local ok, err = nginx.vacant(host, port)
      if not ok then return nil, err end
      used[port] = name
      found[name == "listen" and "main" or name] = { host = host, port = port,
        url = nginx.url(host, port), near = options.is_local(host) }
    end
  end
  return found
end

local SHORTEST, LONGEST = 12, 1024 -- bytes of the page's password

-- The first line of a file that is ours alone.
local function first_line_of(path)
  local ok, err = trust.regular(path)
  if not ok then return nil, err end
  if process.stat(path).mode % 64 ~= 0 then
    return nil, path .. " is for others, too: chmod 600"
  end
  local why = process.uid() == 0 and trust.refusal(path, "root reads the password there")
  if why then return nil, why end
  local file
  file, err = io.open(path)
  if not file then return nil, err end
  local line = (file:read "*l" or ""):gsub("\r$", "")
  file:close()
  return line
end

local no_password = "--page: no password: --page-password-file, or BILLHOOK_PAGE_PASSWORD"
local in_clear = "--page %s can be reached from other machines, in clear text: put a TLS proxy"
  .. " before it, and say --page-url https://NAME"

-- The page's password; nil: there is no page, or with a message.
local function password_of(args, page)
  local usage = require("billhook.cli").usage
  if not page then
    local file, url = args.page_password_file, args.page_url
    if file then usage "--page-password-file: where is --page?" end
    if url then usage "--page-url: where is --page?" end
    return nil
  end
  local url = args.page_url
  if url and not (url:find "^https://[%w%.%-]+$" or url:find "^https://[%w%.%-]+:%d+$") then
    usage("--page-url: not https://NAME or https://NAME:PORT, without a path: " .. url)
  end
  if not page.near and not url then usage(in_clear:format(args.page)) end
  local password, err
  if args.page_password_file then
    password, err = first_line_of(args.page_password_file)
    if not password then return nil, err end
  else
    password = require("billhook.cli").secret(nil, "BILLHOOK_PAGE_PASSWORD")
    if not password then usage(no_password) end
  end
  if #password < SHORTEST or #password > LONGEST or password:find "%z" then
    return nil, ("the page's password must have %d to %d bytes: openssl rand -hex 16"):format(
      SHORTEST, LONGEST)
  end
  return password
end

function M.run(args)
  local listeners, err = listeners_of(args)
  if not listeners then return nil, err end
  local password, ok
  password, err = password_of(args, listeners.page)
  if err then return nil, err end
  ok, err = trust.regular(args.rules)
  if not ok then return nil, err end
  process.signals("TERM", "INT", "QUIT", "HUP", "CHLD")
  local run
  run, err = folder.make(args.run)
  if not run then return nil, err end
  local rules = process.uid() == 0 and process.realpath(args.rules) or args.rules
  local self = { rules = rules, given = args.rules, run = run, leaving = {},
    listeners = listeners,
    named = args.user, password = password, jobs = ("%d"):format(args.jobs),
    memory = ("%d"):format(args.memory),
    url = listeners.main.url, page_url = args.page_url or listeners.page and listeners.page.url }
  process.unblock_stderr()
  local code, message
  ok, code, message = pcall(serve, self, args)
  if not args.run then process.remove_tree(run) end
  if not ok then error(code, 0) end
  return code, message
end

return M
