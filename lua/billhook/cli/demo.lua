-- cli/demo.lua: `billhook demo`: the whole of billhook in a few seconds, on
-- this machine alone: imitated vendors, `billhook serve` with example rules,
-- API calls, signed webhooks of three vendors; and a count of what came of it.

local children = require "billhook.cli.children"
local nginx = require "billhook.cli.nginx"
local paths = require "billhook.cli.paths"
local process = require "billhook.process"
local term = require "billhook.cli.term"

local M = {}

M.summary = "Show imitated vendors, a receiver and rules at work."

local names = { dreamapply = "admissions", dreamclass = "school", betterez = "tickets" }

function M.configure(command)
  command:flag("--verbose", "Show the output of the servers.")
  command:epilog [[
It needs nothing but nginx with Lua, uses free ports of 127.0.0.1 and a
temporary folder, and leaves nothing behind.]]
end

-- what examples/rules.lua reads
local function environment(folder, accounts)
  local apply, class, tickets = accounts.dreamapply, accounts.dreamclass, accounts.betterez
  return {
    BILLHOOK_INBOX = "sqlite:" .. folder .. "/inbox.db",
    DREAMAPPLY_URL = apply.base_url, DREAMAPPLY_KEY = apply.settings.api_key,
    DREAMAPPLY_AUTHORIZATION = apply.settings.authorization,
    DREAMCLASS_URL = class.base_url, DREAMCLASS_KEY = class.settings.api_key,
    DREAMCLASS_TENANT = class.settings.tenant, DREAMCLASS_SCHOOL = class.settings.school_code,
    DREAMCLASS_SECRET = class.settings.secret, DREAMCLASS_USER = class.settings.basic[1],
    DREAMCLASS_PASSWORD = class.settings.basic[2],
    BETTEREZ_URL = tickets.base_url, BETTEREZ_KEY = tickets.settings.api_key,
    BETTEREZ_TOKEN = tickets.settings.token, BETTEREZ_SECRET = tickets.settings.secret,
  }
end

local function interrupted()
  for name in process.caught do
    if name ~= "CHLD" then error({ interrupted = name }, 0) end
  end
end

local function fail(message) error({ failed = message }, 0) end

local function start_serve(self)
  local rules, err = paths.example "rules.lua"
  if not rules then fail(err) end
  self.serve, err = children.start(paths.again("serve", rules, "--listen",
    "127.0.0.1:" .. self.ports[2], "--run", self.folder .. "/serve"), {
    name = "serve", die = "TERM", stderr = self.log, stdout = self.log,
    env = environment(self.folder, self.accounts),
  })
  if not self.serve then fail(err) end
end

local function start_sandbox(self)
  local err
  process.mkdir(self.folder .. "/sandbox")
  self.vendors, err = require("billhook.cli.sandbox").start {
    run = self.folder .. "/sandbox", host = "127.0.0.1", port = self.ports[1],
    webhooks = {}, stderr = self.log,
  }
  if not self.vendors then fail("sandbox: " .. err) end
end

local function start(self)
  local folder, err = require("billhook.cli.folder").make()
  if not folder then fail(err) end
  self.folder = folder
  self.log = not self.verbose and folder .. "/log" or nil
  local one, two = process.free_port(2)
  if not one then fail(two) end
  self.ports = { ("%d"):format(one), ("%d"):format(two) }
  self.sandbox, self.receiver = nginx.url("127.0.0.1", self.ports[1]),
    nginx.url("127.0.0.1", self.ports[2])
  self.accounts = require("billhook.cli.sandbox").accounts(self.sandbox)
  start_sandbox(self)
  local store
  store, err = require("billhook.inbox").open("sqlite:" .. folder .. "/inbox.db")
  if not store then fail(tostring(err)) end
  self.store = store
  return require("billhook.cli.tour").new {
    sandbox = self.sandbox, receiver = self.receiver, accounts = self.accounts, names = names,
    store = store, interrupted = interrupted,
  }
end

local function receive(self)
  start_serve(self)
  local status, why = nginx.await(self.serve,
    { url = self.receiver .. "/healthz", interrupted = interrupted })
  if status ~= 200 then fail("the receiver is not ready: " .. (why or tostring(status))) end
end

local function stop(self)
  if self.serve then self.serve:stop("TERM", 10) end
  if self.vendors then self.vendors:stop("TERM", 5) end
  if self.store then self.store:close() end
end

local function travel(self, tour)
  tour:before()
  receive(self)
  tour:ready()
  term.progress "calling DreamApply's invoice API ..."
  local calls = tour:calls()
  term.progress "the vendors send webhooks ..."
  tour:created()
  tour:settle(7)
  tour:updated()
  tour:settle(10)
  for _, row in ipairs(tour:delete()) do calls[#calls + 1] = row end
  tour:deleted()
  tour:again()
  tour:tamper()
  tour:forge()
  tour:settle(10) -- that an invoice is deleted is believed when it is gone for a minute
  term.progress ""
  return calls
end

local function size(set)
  local n = 0
  for _ in pairs(set) do n = n + 1 end
  return n
end

local function journey(self)
  local tour = start(self)
  local calls = travel(self, tour)
  term.table({ "CALL", "ANSWER" }, calls)
  term.print ""
  local found = tour:found()
  term.table({ "ACCOUNT", "DELIVERY", "INVOICE", "TRUST", ">SENT", ">ANSWER", "STATE" },
    found.deliveries)
  term.print ""
  term.table({ "ACCOUNT", "EVENT", "INVOICE", ">VERSION", "TRUST", ">AMOUNT", "RULES", "STATE" },
    found.events)
  term.print ""
  tour:expect("not all vendors' rules have run", size(found.vendors) == 3)
  tour:expect(found.lost .. " lost", found.lost == 0)
  if #tour.problems > 0 then fail(table.concat(tour.problems, "; ")) end
  return ("demo: ok (%d vendors, %d deliveries, %d events, %d rules run, %d lost)"):format(
    size(found.vendors), #found.deliveries, #found.events, found.runs, found.lost)
end

local function reason(err)
  if type(err) ~= "table" then return tostring(err) end
  return err.failed or err.interrupted and "interrupted by " .. err.interrupted or tostring(err)
end

local function show_log(path)
  local file = path and io.open(path)
  if not file then return end
  io.stderr:write(file:read "*a")
  file:close()
end

function M.run(args)
  process.signals("TERM", "INT", "QUIT", "HUP", "CHLD")
  local self = { verbose = args.verbose }
  local ok, result = xpcall(function() return journey(self) end, function(err)
    return type(err) == "table" and err or debug.traceback(tostring(err), 2)
  end)
  term.progress ""
  pcall(stop, self)
  if not ok then show_log(self.log) end
  if self.folder then process.remove_tree(self.folder) end
  term.print(ok and term.colour("green", result)
    or "demo: FAILED (" .. reason(result):gsub("%s*\n%s*", " | ") .. ")")
  if type(result) == "table" and result.interrupted == "INT" then return 130 end
  return ok and 0 or 1
end

return M
