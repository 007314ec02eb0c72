-- spec/support/oom.lua: each function of the C modules with an allocation that fails, the first
-- one, the second and so on until none does, alone and with all after it. Each time it must
-- give what it gives otherwise, an error, or nil and why; and afterwards it must work.
--
--   LD_PRELOAD=.../oom.so lua5.4 spec/support/oom.lua .../oom.so [NAME]
--
-- Prints a line a function in the form of TAP. A function of a module that has no case here fails.

local oom = assert(package.loadlib(arg[1], "luaopen_oom"))()

local core = require "billhook.core"
local curl = require "billhook.curl"
local pq = require "billhook.pq"
local process = require "billhook.process"
local sqlite = require "billhook.sqlite"

local json, decimal, text, verify = core.json, core.decimal, core.text, core.verify

local MOST = 5000 -- allocations of one call

local folder = assert(process.mkdtemp "/tmp/billhook-oom")
local INVOICE = '{"id":16,"items":[{"price":"1.50","n":[1,2.5,null]}],"\\u00e9":"\\ud83d\\ude00"}'
local ONE = INVOICE:rep(3, ",")
local LIST = "[" .. ONE .. "]"
local ORDER = { method = "POST", url = "http://127.0.0.1:1/", headers = { ["x-a"] = "b" },
  body = "{}", timeout = 1, connect_timeout = 1, limit = 1000 }

local keys = verify.keys { secret = { "a-long-secret", "another" }, authorization = "Bearer x",
  basic = { "user", "password" } }
local code = text.base64(verify.hmac("a-long-secret", "an-id"))
local DELIVERY = ('{"id":"an-id","signature":"%s","tenant":"t","event":"invoice.created",'
  .. '"data":%s}'):format(code, INVOICE)
local JOURNAL = '{"1":{"id":1,"event":"x","text":"y","time":"2026-11-21T10:00:00+00:00"}}'
local MARK = core.call.mark("dreamapply", "invoices.get")
local a, b = decimal.new "19.90", decimal.new "0.05"

local function stream(under)
  local made = json.stream(under)
  assert(made:feed(LIST))
  return made
end

local function kind(...) return type((...)) end -- of one that may not be there

local function database()
  local db = assert(sqlite.open(folder .. "/x.db"))
  assert(db:exec "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, a TEXT)")
  assert(db:exec "INSERT INTO t (a) VALUES ('one')")
  return db
end

local memory = assert(sqlite.open ":memory:")
memory:exec "CREATE TABLE t (a TEXT); INSERT INTO t VALUES ('one'), ('two')"

local function opened(fn)
  return function()
    local db = database()
    return function() return fn(db) end, function() db:close() end
  end
end

local function pooled(fn)
  return function()
    local pool = curl.new()
    local ticket = pool:add(ORDER)
    return function() return fn(pool, ticket) end, function() pool:close() end
  end
end

local function streamed(fn)
  return function()
    local made = stream()
    return function() return fn(made) end
  end
end

-- what is called without anything made before it
local SIMPLE = {
  ["core.json.decode"] = function() return json.decode(INVOICE, "keep") end,
  ["core.json.read"] = function() return json.read(INVOICE) end,
  ["core.json.digest"] = function() return json.digest(INVOICE, { "id" }) end,
  ["core.json.redact"] = function()
    return json.redact(INVOICE, { "price" }, { "items" }, { "n" })
  end,
  ["core.json.stringify"] = function() return json.stringify(INVOICE) end,
  ["core.json.stream"] = function() return json.stream("invoices") ~= nil end,
  ["core.decimal.new"] = function() return tostring(decimal.new "1.50") end,
  ["core.decimal.read"] = function() return tostring((decimal.read "1.50")) end,
  ["core.decimal.is"] = function() return decimal.is(a) end,
  ["core.text.before"] = function() return text.before("a", "b") end,
  ["core.text.hex"] = function() return text.hex(INVOICE) end,
  ["core.text.unhex"] = function() return text.unhex(("ff"):rep(99)) end,
  ["core.text.base64"] = function() return text.base64(INVOICE) end,
  ["core.text.unbase64"] = function() return text.unbase64(("YWJj"):rep(99)) end,
  ["core.text.percent"] = function() return text.percent(INVOICE) end,
  ["core.text.equal"] = function() return text.equal("a", "a") end,
  ["core.text.sha256"] = function() return text.sha256(INVOICE) end,
  ["core.text.random"] = function() return #text.random(100) end,
  ["core.text.now"] = function() return text.now() > 1 end,
  ["core.text.monotonic"] = function() return text.monotonic() > 0 end,
  ["core.text.datetime"] = function() return text.datetime "2026-11-21T10:00:00Z" end,
  ["core.text.day"] = function() return text.day "2026-11-21" end,
  ["core.text.iso"] = function() return text.iso(1700000000) end,
  ["core.text.retry_after"] = function() return text.retry_after("120", 0) end,
  ["core.text.say"] = function() return text.say "" end,
  ["core.verify.keys"] = function()
    return verify.keys { secret = { "a-long-secret" }, basic = { "u", "p" } } ~= nil
  end,
  ["core.verify.headers"] = function()
    return verify.headers("dreamapply", { authorization = "Bearer x" }, keys)
  end,
  ["core.verify.check"] = function()
    return verify.check("dreamclass", { authorization = "Basic dXNlcjpwYXNzd29yZA==" }, DELIVERY,
      keys)
  end,
  ["core.verify.items"] = function() return verify.items(JOURNAL) end,
  ["core.verify.member"] = function() return verify.member(INVOICE, "items") end,
  ["core.verify.hmac"] = function() return verify.hmac("key", INVOICE) end,
  ["core.call.list"] = function() return #core.call.list "betterez" end,
  ["core.call.prepare"] = function()
    return core.call.prepare("dreamapply", "invoices.list", { byOverdue = true })
  end,
  ["core.call.wrong_path"] = function()
    return core.call.wrong_path("dreamclass", "invoices.get", "/none"):match "id"
  end,
  ["core.call.conclude"] = function()
    return core.call.conclude("dreamapply", "invoices.create", 201, { location = "/x/5" })
  end,
  ["core.call.mark"] = function() return core.call.mark("dreamapply", "invoices.get") ~= nil end,
  ["core.request.check"] = function() return core.request.check(ORDER).limit end,
  ["billhook.mark.id"] = function() return MARK:id { id = 12345678901 } end,
  ["billhook.mark.name"] = function() return MARK:name { id = 12345678901 } end,
  ["billhook.mark.unlike"] = function() return MARK:unlike({ id = 7 }, "8") end,
  ["billhook.mark.unlike_element"] = function() return MARK:unlike_element({ id = 7 }, "8") end,
  ["billhook.decimal.__add"] = function() return tostring(a + b) end,
  ["billhook.decimal.__sub"] = function() return tostring(a - b) end,
  ["billhook.decimal.__mul"] = function() return tostring(a * b) end,
  ["billhook.decimal.__unm"] = function() return tostring(-a) end,
  ["billhook.decimal.__eq"] = function() return a == b end,
  ["billhook.decimal.__lt"] = function() return a < b end,
  ["billhook.decimal.__le"] = function() return a <= b end,
  ["billhook.decimal.__concat"] = function() return a .. " EUR" end,
  ["billhook.decimal.__tostring"] = function() return tostring(a) end,
  ["billhook.decimal.eq"] = function() return a:eq(b) end,
  ["billhook.decimal.lt"] = function() return a:lt(b) end,
  ["billhook.decimal.le"] = function() return a:le(b) end,
  ["billhook.decimal.round"] = function() return tostring(a:round(1)) end,
  ["billhook.decimal.allocate"] = function() return tostring(a:allocate({ 1, 2, 3 })[2]) end,
  ["billhook.decimal.scale"] = function() return a:scale() end,
  ["billhook.decimal.sign"] = function() return a:sign() end,
  ["billhook.decimal.is_zero"] = function() return a:is_zero() end,
  ["billhook.decimal.abs"] = function() return tostring(a:abs()) end,
  ["billhook.decimal.integer"] = function() return decimal.new("5.00"):integer() end,
  ["billhook.keys.__tostring"] = function() return tostring(keys) end,
  ["sqlite.open"] = function()
    local db, why = sqlite.open ":memory:"
    return db and db:close() ~= false or nil, why
  end,
  ["sqlite.look"] = function() return kind(sqlite.look(folder .. "/x.db")) end,
  ["sqlite.make"] = function() return sqlite.make(folder .. "/made") end,
  ["sqlite.take"] = function() return sqlite.take(folder .. "/none") end,
  ["sqlite.namespace"] = function() return kind(sqlite.namespace()) end,
  ["sqlite.remove_log"] = function() return sqlite.remove_log(folder .. "/none") end,
  ["sqlite.lock"] = function()
    local lock = sqlite.lock(folder .. "/lock", 100)
    return lock and (lock:release() or true)
  end,
  ["billhook.sqlite.query"] = function()
    local rows, why = memory:query("SELECT a, ? AS b FROM t", "x")
    return rows and #rows, why
  end,
  ["billhook.sqlite.exec"] = function() return memory:exec "UPDATE t SET a = a || 'x'" end,
  ["billhook.sqlite.__tostring"] = function() return tostring(memory):match "^billhook" end,
  ["curl.new"] = function() return curl.new():close() end,
  ["pq.open"] = function()
    local db, what = pq.open("postgresql://127.0.0.1:1/x?connect_timeout=2", { timeout = 1000 })
    return db, type(what)
  end,
  ["process.uid"] = function() return process.uid() end,
  ["process.user"] = function()
    -- nil, too: of several sources of users the C library forgets why the first failed
    local user = process.user "root"
    return user and kind(user)
  end,
  ["process.stat"] = function() return kind(process.stat(folder)) end,
  ["process.executable"] = function() return process.executable "/bin/sh" end,
  ["process.realpath"] = function() return process.realpath(folder) end,
  ["process.mkdtemp"] = function()
    local made, why = process.mkdtemp(folder .. "/t")
    return made and process.remove_tree(made), why
  end,
  ["process.contents"] = function() return process.contents("/proc/self/exe", 1e8) ~= nil end,
  ["process.replace"] = function() return process.replace(folder .. "/f", INVOICE) end,
  ["process.mkdir"] = function()
    local made, why = process.mkdir(folder .. "/d", 448)
    os.remove(folder .. "/d")
    return made, why
  end,
  ["process.chmod"] = function() return process.chmod(folder, 448) end,
  ["process.chown"] = function() return process.chown(folder, process.uid(), process.uid()) end,
  ["process.remove_tree"] = function()
    process.mkdir(folder .. "/r", 448)
    return process.remove_tree(folder .. "/r")
  end,
  ["process.entries"] = function()
    local list, why = process.entries "/"
    return list and #list > 3, why
  end,
  ["process.free_port"] = function()
    local port, why = process.free_port()
    return port and port > 0, why
  end,
  ["process.vacant"] = function() return kind(process.vacant("127.0.0.1", 1)) end,
  ["process.columns"] = function() return kind(process.columns(1)) end,
  ["process.monotonic"] = function() return process.monotonic() > 0 end,
  ["process.deadline"] = function() return process.deadline() end,
  ["process.memory"] = function()
    local bytes, why = process.memory()
    return bytes and kind(bytes), why
  end,
  ["process.bound_memory"] = function() return process.bound_memory(2 ^ 45) end,
  ["process.sleep"] = function() return process.sleep(0) end,
  ["process.signals"] = function() return process.signals "HUP" end,
  ["process.caught"] = function() return process.caught() end,
  ["process.interrupt"] = function() return process.interrupt(nil) end,
  ["process.kill"] = function() return process.kill(2 ^ 22 + 1, "USR1") end,
  ["process.spawn"] = function()
    local pid, why = process.spawn({ "/bin/true" }, { stdin = "/dev/null" })
    return pid and process.wait(pid), why
  end,
  ["process.wait"] = function() return process.wait(2 ^ 22 + 1) end,
  ["process.unblock_stderr"] = function() return process.unblock_stderr() end,
}

-- what needs an object of its own each time: gives the function, and what to do after it
local MADE = {
  ["billhook.json.stream.feed"] = streamed(function(s) return s:feed(LIST) end),
  ["billhook.json.stream.next"] = streamed(function(s) return s:next() end),
  ["billhook.json.stream.value"] = streamed(function(s)
    local value, why = s:value()
    return value and value.id, why
  end),
  ["billhook.json.stream.finish"] = function()
    local made = stream()
    repeat until not made:next()
    return function() return made:finish() end
  end,
  ["billhook.sqlite.lock.release"] = function()
    local lock = sqlite.lock(folder .. "/lock", 100)
    return function() return lock:release() end
  end,
  ["billhook.sqlite.close"] = opened(function(db) return db:close() end),
  ["billhook.sqlite.note"] = opened(function(db) return db:note() end),
  ["billhook.sqlite.moved"] = opened(function(db) return db:moved() end),
  ["billhook.sqlite.sync_failed"] = opened(function(db) return db:sync_failed() end),
  ["billhook.sqlite.rescue"] = opened(function(db) return db:rescue() end),
  ["billhook.sqlite.checkpoint"] = opened(function(db) return db:checkpoint() end),
  ["billhook.sqlite.alone"] = opened(function(db) return db:alone() end),
  ["billhook.sqlite.park"] = function()
    local db = database()
    return function() return db:park() end, function()
      local again = sqlite.take(folder .. "/x.db")
      if again then again:close() end
      db:close()
    end
  end,
  ["billhook.sqlite.cut_log"] = opened(function(db) return db:cut_log() end),
  ["billhook.sqlite.keep_log"] = opened(function(db) return db:keep_log() end),
  ["billhook.curl.add"] = pooled(function(pool) return pool:add(ORDER) ~= nil end),
  ["billhook.curl.run"] = pooled(function(pool) return kind(pool:run(ORDER, 0)) end),
  ["billhook.curl.poll"] = pooled(function(pool) return kind(pool:poll(0)) end),
  ["billhook.curl.sleep"] = pooled(function(pool) return kind(pool:sleep(0)) end),
  ["billhook.curl.close"] = pooled(function(pool) return pool:close() end),
  ["billhook.curl.ticket.done"] = pooled(function(_, t) return kind(t:done()) end),
  ["billhook.curl.ticket.result"] = function()
    local pool = curl.new()
    local ticket = pool:add(ORDER)
    while not ticket:done() do pool:poll(1) end
    return function() return ticket:result() end, function() pool:close() end
  end,
  ["billhook.curl.ticket.head"] = pooled(function(_, t) return t:head() end),
  ["billhook.curl.ticket.read"] = function()
    local pool = curl.new()
    local ticket = pool:add(ORDER, 5)
    return function() return ticket:read() end, function() pool:close() end
  end,
  ["billhook.curl.ticket.feed"] = function()
    local pool = curl.new()
    local ticket, made = pool:add(ORDER, 5), json.stream()
    return function() return ticket:feed(made) end, function() pool:close() end
  end,
  ["billhook.curl.ticket.cancel"] = pooled(function(_, t) return t:cancel() end),
}
for name, fn in pairs(SIMPLE) do
  MADE[name] = function() return fn end
end

-- a database on the server that OOM_POSTGRES names
local function served(fn)
  return function()
    local db = assert(pq.open(assert(os.getenv "OOM_POSTGRES")))
    return function() return fn(db) end, function() db:close() end
  end
end

MADE["billhook.pq.exec"] = served(function(db) return db:exec "SELECT 1; SELECT 2" end)
MADE["billhook.pq.query"] = served(function(db)
  return db:query("SELECT n, $1::text AS t FROM generate_series(1, 3) n", "x")
end)
MADE["billhook.pq.lost"] = served(function(db) return db:lost() end)
MADE["billhook.pq.within"] = served(function(db) return db:within(1000) end)
MADE["billhook.pq.close"] = served(function(db) return db:close() end)
MADE["billhook.pq.__tostring"] = served(function(db) return tostring(db):match "^billhook" end)

-- __close is close by another name; a finaliser may not fail, and is called by all that end here
local SAME = { __close = true, __gc = true }

local function functions()
  local all = {}
  local function add(prefix, table_of)
    for name, value in pairs(table_of) do
      if type(value) == "function" and not SAME[name] then all[prefix .. "." .. name] = true end
    end
  end
  for name, part in pairs(core) do add("core." .. name, part) end
  for name, module in pairs { curl = curl, pq = pq, process = process, sqlite = sqlite } do
    add(name, module)
  end
  for name, meta in pairs(debug.getregistry()) do
    if type(name) == "string" and name:find "^billhook%." and type(meta) == "table"
      and name ~= "billhook.work" then
      add(name, meta)
      if type(meta.__index) == "table" then add(name, meta.__index) end
    end
  end
  return all
end

local function plain(value, depth)
  if type(value) ~= "table" then return tostring(value) end
  if (depth or 0) > 6 then return "..." end
  local parts = {}
  for key, element in pairs(value) do
    parts[#parts + 1] = tostring(key) .. "=" .. plain(element, (depth or 0) + 1)
  end
  table.sort(parts)
  return "{" .. table.concat(parts, ",") .. "}"
end

-- One call with its n-th allocation failing: did one fail, and what is wrong with what came of it.
local function once(name, n, all, wanted)
  local fn, after = MADE[name]()
  local failed, ok, value, why = oom.run(n, all, fn)
  if after then after() end
  if not failed and not ok then return false, tostring(value) end
  if not ok and not tostring(value):find "memory" then return failed, "raised " .. plain(value) end
  if ok and value ~= nil and value ~= false and plain(value) ~= wanted then
    return failed, ("gave %s, %s; not %s"):format(plain(value), plain(why), wanted)
  end
  return failed
end

local function case(name)
  local fn, after = MADE[name]()
  local wanted = plain((fn()))
  if after then after() end
  local count = 0
  for _, all in ipairs { true, false } do
    local failed, wrong = true
    count = 0
    while failed do
      count = count + 1
      if count > MOST then return nil, "no end" end
      failed, wrong = once(name, count, all, wanted)
      if wrong then
        return nil, ("allocation %d%s: %s"):format(count, all and " on" or "", wrong)
      end
    end
  end
  fn, after = MADE[name]()
  local now = plain((fn()))
  if after then after() end
  if now ~= wanted then return nil, "afterwards it gave " .. now .. ", not " .. wanted end
  return count - 1
end

local names = functions()
for name in pairs(MADE) do names[name] = names[name] or "none" end
local list = {}
for name in pairs(names) do
  if not arg[2] or name:find(arg[2], 1, true) then list[#list + 1] = name end
end
table.sort(list)
for i, name in ipairs(list) do
  local count, why
  if names[name] == "none" then
    why = "there is no such function"
  elseif not MADE[name] then
    why = "spec/support/oom.lua has no case for it"
  else
    io.stdout:write("# ", name, "\n") -- the last one is the one that crashed
    io.stdout:flush()
    local ok
    ok, count, why = pcall(case, name)
    if not ok then count, why = nil, count end
  end
  print(("%s %d - %s%s"):format(count and "ok" or "not ok", i, name,
    count and ", " .. count .. " allocations" or ": " .. why))
end
memory:close()
process.remove_tree(folder)
