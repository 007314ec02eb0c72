-- fault_process.lua - the process of fault_server.lua: the sandbox's DreamApply over real sockets
-- that fail as they are told. One world a port; commands come as lines of JSON on the first
-- connection to the port that is printed, and the process ends with that connection.

local socket = require "socket"
local json = require "billhook.json"
local past = require "billhook.sandbox.past"
local sandbox = require "billhook.sandbox"

local unpack = table.unpack or rawget(_G, "unpack")

local STALL = 30 -- seconds at most

-- --- coroutines over select ---------------------------------------------------------------------

local tasks = {} -- list of { thread, wants = "read"|"write"|"time", socket, till }

local function now() return socket.gettime() end

local function spawn(fn, ...)
  local arguments = { ... }
  tasks[#tasks + 1] = { wants = "time", till = 0,
    thread = coroutine.create(function() return fn(unpack(arguments)) end) }
end

local function sleep(seconds) coroutine.yield("time", nil, now() + seconds) end
local function readable(peer, till) return coroutine.yield("read", peer, till) end

local function send(peer, text)
  local at = 1
  while at <= #text do
    local last, err, part = peer:send(text, at)
    if not last and err ~= "timeout" then return nil end
    at = (last or part) + 1
    if at <= #text then coroutine.yield("write", peer, now() + STALL) end
  end
  return true
end

local function turn()
  local reads, writes, soonest = {}, {}, now() + 1
  for _, task in ipairs(tasks) do
    if task.wants == "read" then reads[#reads + 1] = task.socket end
    if task.wants == "write" then writes[#writes + 1] = task.socket end
    if task.till then soonest = math.min(soonest, task.till) end
  end
  local can_read, can_write = socket.select(reads, writes, math.max(0, soonest - now()))
  local all, time = tasks, now()
  tasks = {}
  for _, task in ipairs(all) do
    local ready = task.wants == "read" and can_read[task.socket]
      or task.wants == "write" and can_write[task.socket]
    if ready or task.till and task.till <= time then
      local fine, wants, peer, till = coroutine.resume(task.thread, ready and true or false)
      if not fine then io.stderr:write("fault_process: ", tostring(wants), "\n") end
      if fine and coroutine.status(task.thread) ~= "dead" then
        task.wants, task.socket, task.till = wants, peer, till
        tasks[#tasks + 1] = task
      end
    else
      tasks[#tasks + 1] = task
    end
  end
end

-- --- reading ------------------------------------------------------------------------------------

-- More bytes of a connection into its buffer: false at its end, or where nothing comes for a while.
local function more(conn)
  if not readable(conn.peer, now() + STALL) then return false end
  local text, err, part = conn.peer:receive(65536)
  text = text or part
  if text == "" and err == "closed" then return false end
  conn.buffer = conn.buffer .. text
  return true
end

local function fill(conn, n)
  while #conn.buffer < n do
    if not more(conn) then return false end
  end
  return true
end

local function cut(conn, n)
  local text = conn.buffer:sub(1, n)
  conn.buffer = conn.buffer:sub(n + 1)
  return text
end

local function read_head(conn)
  while true do
    local _, last = conn.buffer:find("\r\n\r\n", 1, true)
    if last then return cut(conn, last) end
    if not more(conn) then return nil end
  end
end

local function reset(conn)
  conn.peer:setoption("linger", { on = true, timeout = 0 })
  conn.peer:close()
end

-- Holds a connection until the other side goes.
local function stall(conn)
  local till = now() + STALL
  while now() < till do
    if not readable(conn.peer, till) then break end
    local _, err = conn.peer:receive(65536)
    if err == "closed" then break end
  end
  conn.peer:close()
end

local ends = {
  reset = reset, stall = stall,
  close = function(conn) conn.peer:close() end,
}

-- --- a world ------------------------------------------------------------------------------------

local World = {}
World.__index = World

local function reason(status) return ("HTTP/1.1 %d It\r\n"):format(status) end

local function answer(status, headers, body)
  local lines = {}
  for name, value in pairs(headers or {}) do lines[#lines + 1] = name .. ": " .. value .. "\r\n" end
  lines[#lines + 1] = ("Content-Length: %d\r\n\r\n"):format(#(body or ""))
  return { status = status, head = table.concat(lines), body = body or "" }
end

-- An invoice whose payments are asked for is there, if nobody has made it.
function World:need(invoice)
  local my = self.vendor.dreamapply
  if past.get(my.invoices, invoice) then return end
  local last = my.last_invoice
  my.last_invoice = invoice - 1
  assert(self.vendor:order("trigger", { vendor = "dreamapply" }))
  my.last_invoice = last
end

-- What the vendor answers. Whose key it is does not matter here.
function World:ask(method, target, body)
  local invoice = target:match("/invoices/(%d+)/transactions$")
  if invoice then self:need(tonumber(invoice)) end
  local status, text, headers = self.vendor:answer { method = method, target = target, body = body,
    headers = { authorization = 'DREAM apikey="sandbox-key"' } }
  return answer(status, headers, text)
end

-- Does what a POST asks for; notes who asked.
function World:make(target, body, maker)
  self.vendor.hide = self.lag
  local done = self:ask("POST", target, body)
  self.vendor.hide = nil
  if done.status == 201 then
    local one = json.decode(body)
    one.id = tonumber(done.head:match("Location: %S+/(%d+)\r\n"))
    self.made[#self.made + 1] = { maker = maker, one = one, kind = target:match("%a+$") }
  end
  return done
end

-- What a request does: a function that does it, and gives the answer.
function World:effect(method, target, body)
  return function()
    if method == "POST" then return self:make(target, body, "us") end
    return self:ask(method, target, body)
  end
end

-- Do others bill the same just now?
function World:others(when, target, body)
  local others = self.meanwhile
  if not others or others.when ~= when then return end
  local sent = json.decode(body) or {}
  sent.smallprint = others.reference or sent.smallprint
  for _ = 1, others.times or 1 do self:make(target, json.encode(sent), "them") end
end

-- Counts a request that has come; false where the quota is used up.
function World:count(method)
  local time = now()
  self.requests[method] = (self.requests[method] or 0) + 1
  self.first = self.first or time
  local quota = self.quota
  if not quota then return true end
  local earlier = self.arrivals[#self.arrivals + 1 - quota.limit]
  if earlier and time - earlier < quota.window then
    self.refused = self.refused + 1
    return false
  end
  self.arrivals[#self.arrivals + 1] = time
  if earlier then
    self.turns, self.waited = self.turns + 1, self.waited + time - earlier
  end
  return true
end

function World:fate(method)
  local list = self.fates[method]
  if not list or #list == 0 then return {} end
  return #list == 1 and list[1].always and list[1] or table.remove(list, 1)
end

-- Carries a request out as its fate says: the effect now, later or never.
function World:carry_out(fate, method, target, body)
  local effect = self:effect(method, target, body)
  local bills = method == "POST" and target:find("/applications/%d+/invoices$")
  if bills then self:others("before", target, body) end
  local result
  if type(fate.commit) == "number" then
    spawn(function()
      sleep(fate.commit)
      effect()
    end)
  elseif fate.commit ~= false then
    result = effect()
  end
  if bills then self:others("after", target, body) end
  if fate.status then
    return answer(fate.status, fate.headers, fate.body)
  end
  result = result or answer(500, {}, "Nothing was done.")
  if fate.headers or fate.body then
    return answer(result.status, fate.headers or { ["Content-Type"] = "application/json" },
      fate.body or result.body)
  end
  return result
end

-- Sends an answer up to the point where its fate ends it. False where the connection is over.
local function reply(conn, fate, result)
  local first = reason(result.status)
  if fate.endless then result.head = result.head:gsub("Content%-Length: %d+\r\n", "") end
  local whole = first .. result.head .. result.body
  local upto = #whole
  if fate.at == "status" then upto = #first - 4 end
  if fate.at == "headers" then upto = #first + math.floor(#result.head / 2) end
  if fate.at == "answer" then upto = #first + #result.head + math.floor(#result.body / 2) end
  if not send(conn.peer, whole:sub(1, upto)) then
    conn.peer:close()
    return false
  end
  if fate.endless then
    while send(conn.peer, ("x"):rep(65536)) do sleep(0) end
    conn.peer:close()
    return false
  end
  if upto == #whole and not fate.last then return true end
  ends[fate.how or "close"](conn)
  return false
end

-- One request of a connection. False where it is over.
function World:serve(conn)
  local head
  local waiting = fill(conn, 1)
  if not waiting then
    conn.peer:close()
    return false
  end
  local method = conn.buffer:match("^%a+") or "GET"
  while #method < 3 or not conn.buffer:find(" ", 1, true) do
    if not more(conn) then return false end
    method = conn.buffer:match("^%a+") or "GET"
  end
  local fate = self:fate(method)
  if fate.at == "head" then
    self.requests.torn = self.requests.torn + 1
    ends[fate.how](conn)
    return false
  end
  head = read_head(conn)
  if not head then
    conn.peer:close()
    return false
  end
  local length = tonumber(head:lower():match("\r\ncontent%-length: *(%d+)")) or 0
  if fate.at == "body" then
    fill(conn, math.floor(length / 2))
    self.requests.torn = self.requests.torn + 1
    ends[fate.how](conn)
    return false
  end
  local within = self:count(method)
  if not fill(conn, length) then
    conn.peer:close()
    return false
  end
  local body = cut(conn, length)
  if head:find("traceparent", 1, true) then self.trace = head:match("traceparent: ([^\r]*)") end
  local target = head:match("^%u+ ([^ ]*)")
  if not within then return reply(conn, {}, answer(429, {}, "Too many")) end
  if self.latency then sleep(self.latency * (0.5 + math.random())) end
  local result = self:carry_out(fate, method, target, body)
  if fate.at == "request" then
    ends[fate.how](conn)
    return false
  end
  if method == "HEAD" then result.body = "" end
  return reply(conn, fate, result)
end

function World:connection(peer)
  peer:settimeout(0)
  peer:setoption("tcp-nodelay", true)
  self.connections = self.connections + 1
  local conn = { peer = peer, buffer = "" }
  local fate = self:fate "connect"
  if fate.how then
    if fate.how == "close" then sleep(0.02) end -- what is unread would make a reset of it
    return ends[fate.how](conn)
  end
  repeat until not self:serve(conn)
end

local worlds = {}

local function accept(world)
  while true do
    readable(world.listener)
    local peer = world.listener:accept()
    if peer then spawn(World.connection, world, peer) end
  end
end

-- --- commands -----------------------------------------------------------------------------------

local commands = {}

function commands.world(given)
  local listener = assert(socket.bind("127.0.0.1", 0, 512))
  listener:settimeout(0)
  local world = setmetatable({ listener = listener, made = {}, connections = 0,
    vendor = sandbox.new { clock = now, dreamapply = { quota = false } },
    requests = { torn = 0 }, arrivals = {}, refused = 0, turns = 0, waited = 0 }, World)
  for name, value in pairs(given) do world[name] = value end
  world.fates = world.fates or {}
  local _, port = listener:getsockname()
  world.port = math.floor(tonumber(port))
  worlds[tostring(world.port)] = world
  spawn(accept, world)
  return { port = world.port }
end

function commands.state(given)
  local world = worlds[tostring(given.port)]
  return { requests = world.requests, connections = world.connections,
    made = json.array(world.made), refused = world.refused, turns = world.turns,
    trace = world.trace,
    turn = world.turns > 0 and ("%.6f"):format(world.waited / world.turns) or nil }
end

function commands.set(given)
  local world = worlds[tostring(given.port)]
  for name, value in pairs(given.values) do world[name] = value end
  return {}
end

function commands.make(given)
  local sent = given.sent
  sent.items = sent.items or { { item = "Fee", price = "25.00", qty = "1" } }
  local target = ("/api/v9/applications/%s/invoices"):format(given.place)
  return { status = worlds[tostring(given.port)]:make(target, json.encode(sent), "them").status }
end

local control = assert(socket.bind("127.0.0.1", 0))
local _, port = control:getsockname()
print(("%d"):format(port))
io.stdout:flush()

local boss = assert(control:accept())
boss:settimeout(0)
spawn(function()
  local conn = { peer = boss, buffer = "" }
  while true do
    local line = conn.buffer:match("^([^\n]*)\n")
    if line then
      cut(conn, #line + 1)
      local command = json.decode(line)
      local fine, result = pcall(commands[command.command], command)
      send(boss, json.encode(fine and result or { error = tostring(result) }) .. "\n")
    else
      readable(boss)
      local text, err, part = boss:receive(65536)
      if err == "closed" and (part or "") == "" then os.exit(0) end
      conn.buffer = conn.buffer .. (text or part)
    end
  end
end)

while true do turn() end
