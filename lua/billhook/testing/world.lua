-- testing/world.lua: an app with its rules, the vendors of its accounts, and a clock, in one
-- process: no network, no file, no waiting. See testing/init.lua.

local app = require "billhook.app"
local billhook = require "billhook"
local http = require "billhook.http"
local json = require "billhook.json"
local options = require "billhook.options"
local schools = require "billhook.testing.school"
local vendors = require "billhook.vendor"

local M = {}

-- By name: the table of vendors has only those that somebody has asked for.
local VENDORS = { "dreamapply", "dreamclass", "betterez" }

---Options of `testing.world`
---@class billhook.testing.WorldOptions
---@field rules string|fun(app?: billhook.App): billhook.App? a file's path, or a function
---@field accounts? table<string, string> each account's vendor, for rules that are a function
---@field overdue? integer[] the app's option of that name; only together with accounts
---@field env? table<string, string|false> environment variables for the rules file; false: not set
---@field now? number the clock's start in epoch seconds (1800000000: 2027-01-15T08:00:00Z)

---@class billhook.testing.World
---@field now number epoch seconds
---@field app billhook.App
---@field sent table[] what rules have sent by billhook.http: { method, url, path, headers, body }
---@field on_http (fun(request: table): table)? answers them; else 200 and {}
---@field lines table[] what the app has logged: { level, name, fields }
local World = {}
World.__index = World

M.START = 1800000000 -- 2027-01-15T08:00:00Z
local ROUNDS = 10000 -- of an app that never comes to rest

-- --- what rules did ----------------------------------------------------------------

local OUTCOMES = { ran = "done", failed = "failed", dead = "dead" }

local run_mt = { __tostring = function(run)
  return ("%s %s: %s%s"):format(run.id, run.rule, run.state,
    run.message and " (" .. run.message .. ")" or "")
end }

local runs_mt = { __tostring = function(runs)
  local lines = {}
  for i, run in ipairs(runs) do lines[i] = tostring(run) end
  return table.concat(lines, "\n")
end }

local function new_runs() return setmetatable({}, runs_mt) end

-- The app's own log says what became of a run; what it was given was noted when it began.
local function log_of(world)
  return function(level, name, fields)
    world.lines[#world.lines + 1] = { level = level, name = name, fields = fields }
    local state = OUTCOMES[name]
    if not (state and fields.rule) then return end
    local run = world.begun
      or { id = fields.id, rule = fields.rule, type = fields.type, calls = {} }
    world.begun = nil
    run.state, run.attempt, run.message = state, fields.attempt, fields.message
    world.runs[#world.runs + 1] = setmetatable(run, run_mt)
  end
end

local function watch(world, rule)
  local handler = rule.handler
  function rule.handler(event)
    world.begun = { event = event, id = event.id, type = event.type, account = event.account,
      invoice_id = event.invoice_id, rule = rule.name, calls = {} }
    return handler(event)
  end
end

-- Keeps what a rule changes elsewhere, beside its run.
function World:note(request)
  if self.begun and request.method ~= "GET" and request.method ~= "HEAD" then
    table.insert(self.begun.calls, ("%s %s"):format(request.method, request.url))
  end
end

-- --- making it ----------------------------------------------------------------

local function http_transport(world)
  return schools.transport(world, function(request)
    world:note(request)
    local response, failure = schools.failure(world.failing)
    if response or failure then return response, failure end
    local body = request.body and (json.decode(request.body) or request.body)
    local sent = { method = request.method, url = request.url, headers = request.headers,
      path = request.url:match "^%a+://[^/]+(.*)$", body = body }
    world.sent[#world.sent + 1] = sent
    return world.on_http and world.on_http(sent) or { body = "{}" }
  end)
end

-- What the public door gives while rules are loaded.
local function doors_of(world)
  local doors = {}
  for _, vendor in ipairs(VENDORS) do
    local make = billhook[vendor]
    doors[vendor] = function(given)
      local school, client = schools.new(world, vendor, given or {}, make)
      world.schools[#world.schools + 1] = school
      return client
    end
  end
  function doors.http(given)
    local copy = {}
    for name, value in pairs(given or {}) do copy[name] = value end
    copy.transport, copy.base_url = http_transport(world), copy.base_url or "https://http.test"
    local made = http.new(copy)
    return made
  end
  function doors.app(given)
    local copy = {}
    for name, value in pairs(given or {}) do copy[name] = value end
    copy.inbox, copy.clock, copy.log = "memory:", world.clock, log_of(world)
    copy.random = world.random
    world.app = app.new(copy)
    return world.app
  end
  return doors
end

-- Modules beside a rules file, which the next world is to load anew: they may hold what is made of
-- this one.
local function forget_modules(folder, before)
  for name in pairs(package.loaded) do
    local path = type(name) == "string" and not before[name]
      and ("%s/%s.lua"):format(folder, (name:gsub("%.", "/")))
    local file = path and io.open(path)
    if file then
      file:close()
      package.loaded[name] = nil
    end
  end
end

local function run_file(path)
  local folder, before = path:match "^(.*)/[^/]*$" or ".", {}
  local template = folder .. "/?.lua;"
  if package.path:sub(1, #template) ~= template then package.path = template .. package.path end
  for name in pairs(package.loaded) do before[name] = true end
  local chunk, err = loadfile(path)
  if not chunk then error(err, 0) end
  local made = chunk()
  forget_modules(folder, before)
  return made
end

-- Calls fn while the public door gives what is the world's, and variables of the environment are
-- those that the test names.
local function within(world, env, fn, ...)
  local real, getenv = {}, os.getenv
  for name, made in pairs(doors_of(world)) do
    real[name] = rawget(billhook, name) or false
    rawset(billhook, name, made)
  end
  if env then
    rawset(os, "getenv", function(name)
      if env[name] ~= nil then return env[name] or nil end
      return getenv(name)
    end)
  end
  local ok, result = pcall(fn, ...)
  rawset(os, "getenv", getenv)
  for name, made in pairs(real) do rawset(billhook, name, made or nil) end
  if not ok then error(result, 0) end
  return result
end

-- What a client needs so that its invoices can be read back: DreamClass publishes no path for it.
local needs = {
  dreamclass = { tenant = "my-school", school_code = "MS1",
    paths = { ["invoices.get"] = "/financial/invoices/{id}" } },
  betterez = { token = "token" },
}

local function make_app(accounts, overdue)
  local made = {}
  for name, vendor in pairs(accounts) do
    local given = { api_key = "key", webhook = {} }
    for option, value in pairs(needs[vendor] or {}) do given[option] = value end
    made[name] = billhook[vendor](given)
  end
  return billhook.app { inbox = "memory:", accounts = made, overdue = overdue }
end

local function load_rules(settings)
  local rules = settings.rules
  if type(rules) == "string" then return run_file(rules) end
  if not settings.accounts then return rules() end
  local made = make_app(settings.accounts, settings.overdue)
  rules(made)
  return made
end

local function check_accounts(given)
  for name, vendor in pairs(given) do
    if type(name) ~= "string" or not vendors[vendor] then
      return nil, 'must be vendors by names of yours, such as { school = "dreamclass" }'
    end
  end
  return given
end

local known = {
  rules = { { "string", "function" } },
  accounts = { "table", check = check_accounts },
  overdue = { "table" },
  env = { "table" },
  now = { "number", default = M.START },
}

---Makes a world with the rules of a file or of a function. See testing/init.lua.
---@param given billhook.testing.WorldOptions
---@return billhook.testing.World
function M.new(given)
  local settings = options.read(known, given, "testing.world", 2)
  if not settings.rules then error("testing.world: 'rules' is missing", 2) end
  if settings.accounts and type(settings.rules) == "string" then
    error("testing.world: 'accounts' are those of the rules file", 2)
  end
  local world = setmetatable({ now = settings.now, schools = {}, runs = new_runs(), sent = {},
    lines = {} }, World)
  function world.clock() return world.now end
  function world.random() return 1 end -- the longest wait: after it, it is over
  local made = within(world, settings.env, load_rules, settings)
  if not world.app or made ~= world.app then
    error("testing.world: the rules must give what billhook.app has made", 2)
  end
  for name, client in pairs(world.app.accounts) do
    for _, school in ipairs(world.schools) do
      if school.client == client then school.name = name end
    end
  end
  for _, rule in ipairs(world.app.rules.list) do watch(world, rule) end
  world:settle() -- the accounts' first start: what is issued from now on is new
  return world
end

-- --- time ----------------------------------------------------------------

-- Sends the deliveries that are due and runs the app, until neither has anything left to do.
function World:settle()
  for _ = 1, ROUNDS do
    local busy = false
    for _, school in ipairs(self.schools) do
      while school.name and school.sandbox:run_one() do busy = true end
    end
    assert(self.app:tend())
    local ran = assert(self.app:work())
    if ran == 0 and not busy then return end
  end
  error(("the rules never come to rest: %d rounds at %d"):format(ROUNDS, self.now), 0)
end

---Moves the clock forward. Vendors and workers run meanwhile, as with `billhook work`.
---@param seconds number
---@return nil
function World:pass(seconds)
  self:settle()
  local from, till = self.now, self.now + seconds
  while self.now < till do
    local step = math.max(1, (self.now - from) / 8)
    self.now = math.min(till, self.now + step)
    self:settle()
  end
end

---Moves the clock forward while nothing runs, as if all had been switched off for that time.
---@param seconds number
---@return nil
function World:advance(seconds) self.now = self.now + seconds end

---Does all work that is due, and then moves the clock forward like `pass`. Gives the runs of rules
---since the last call, in order: { rule, type, id, account, invoice_id, event, attempt, state
---("done", "failed" or "dead"), message, calls (the requests that change something) }.
---@param seconds? number 0
---@return table[] runs
function World:run(seconds)
  self:pass(seconds or 0)
  local runs = self.runs
  self.runs = new_runs()
  return runs
end

-- --- accounts ----------------------------------------------------------------

local function find(self, name)
  for _, school in ipairs(self.schools) do
    if school.name == name then return school end
  end
end

-- Which accounts there are, for a message.
local function names_of(self)
  local names = {}
  for _, school in ipairs(self.schools) do names[#names + 1] = school.name end
  table.sort(names)
  return table.concat(names, ", ")
end

---The school of one account, where there are several accounts.
---@param name string
---@return billhook.testing.School
function World:at(name)
  local school = find(self, name)
  if not school then
    error(("at: there is no account '%s'; there are %s"):format(tostring(name), names_of(self)), 2)
  end
  return school
end

-- The same methods on the world, for its only account.
for _, method in ipairs { "happen", "issue", "update", "pay", "unpay", "delete", "overdue", "forge",
  "lose", "invoice" } do
  World[method] = function(self, ...)
    local found
    for _, school in ipairs(self.schools) do
      if school.name and found then
        error(("%s: there are several accounts: say world:at(NAME):%s, of %s"):format(method,
          method, names_of(self)), 2)
      end
      found = school.name and school or found
    end
    return found[method](found, ...)
  end
end

---Makes requests fail from now on: those of billhook.http, or those to the API of an account.
---@param whom "http"|string "http", or an account's name
---@param what integer|"timeout"|"network"|"tls"|nil a status or a kind of failure; nil ends failing
---@param times? integer how many requests fail; without it all, until the next call
---@return nil
function World:fail(whom, what, times)
  if whom ~= "http" then
    local school = find(self, whom)
    if not school then
      error(("fail: there is no account '%s'; there are %s, and \"http\""):format(tostring(whom),
        names_of(self)), 2)
    end
    return school:fail(what, times)
  end
  self.failing = what and { what = what, times = times or math.huge }
end

---Reads the account's lists now, as `work` does every five minutes.
---@param name string
---@return integer|nil events, billhook.Error|nil err
function World:poll(name) return self.app:poll(name) end

return M
