-- finalise.lua [URL]: calls of the C modules' objects while finalisers of other objects use, close
-- or finalise the same object, in a process of its own, whose collector is always at work. Prints a
-- line for each call that was interrupted. With the URL of a PostgreSQL server: of its
-- client alone.

local core = require "billhook.core"
local curl = require "billhook.curl"
local sqlite = require "billhook.sqlite"

local unpack = table.unpack or rawget(_G, "unpack")

-- nobody listens there
local ORDER = { method = "GET", url = "http://127.0.0.1:1/", headers = {}, timeout = 1,
  connect_timeout = 1, limit = 1000, fresh = false }

local ROUNDS = 2000 -- at most, until
local ENOUGH = (...) and 2 or 10 -- finalisers came into one; a server takes its time

-- Runs a call over and over while finalisers of other objects run in the middle of it, or right
-- before or after. Gives how often one did.
local function interrupted(make, call, finaliser)
  local hits, inside, object, what = 0, false, nil, nil
  local function finalise()
    if not inside then return end
    inside, hits = false, hits + 1
    finaliser(object, what)
  end
  local function garbage()
    local proxy = rawget(_G, "newproxy")
    if not proxy then return setmetatable({}, { __gc = finalise }) end
    local made = proxy(true)
    getmetatable(made).__gc = finalise
  end
  for _ = 1, ROUNDS do
    object, what = make()
    for _ = 1, 5 do garbage() end
    inside = true
    for _ = 1, 5 do pcall(call, object, what) end
    inside = false
    if hits >= ENOUGH then break end
  end
  return hits
end

local function finalise(object) debug.getmetatable(object).__gc(object) end

local elements = {}
for i = 1, 300 do elements[i] = ('{"name":"text %d","list":[1,2,{"a":null}]}'):format(i) end
local LIST = "[" .. table.concat(elements, ",") .. "]"
local SECRET = "a-long-secret"
local BODY = '{"id":"aa3a27d6-05b5-4fcd-bd04-000000000001","type":"INVOICE_CREATED","tenant":"x",'
  .. '"timestamp":1,"data":{"id":1}}'
local SIGNED = { require("billhook").sign("dreamclass", BODY, { secret = SECRET }) }

local serial = 0

local function stream()
  local made = core.json.stream()
  serial = serial + 1 -- LuaJIT makes no string that it has
  made:feed((LIST:gsub("text", "text " .. serial)))
  return made
end

local function keys() return core.verify.keys { secret = SECRET } end

local function check(object, options)
  return core.verify.check("dreamclass", SIGNED[1], SIGNED[2], object, options)
end

local function database()
  local db = assert(sqlite.open ":memory:")
  db:exec("CREATE TABLE t (a); INSERT INTO t WITH RECURSIVE n (i) AS "
    .. "(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) SELECT i FROM n")
  return db
end

local function select_all(db) return db:query("SELECT a || $1 AS b FROM t", "x") end

local CASES = {
  ["stream:value"] = { stream, function(s) while s:value() do end end, finalise },
  ["stream:next"] = { stream, function(s) while s:next() do end end, finalise },
  ["stream:value once more"] = { stream, function(s) while s:value() do end end,
    function(s) pcall(s.value, s) end },
  ["verify.check"] = { keys, check, finalise },
  ["verify.check once more"] = { keys, check, check },
  ["db:query"] = { database, select_all, finalise },
  ["db:close"] = { database, select_all, function(db) db:close() end },
  ["db:query once more"] = { database, select_all, function(db)
    local rows, code = select_all(db)
    assert(not rows and code == "SQLITE_MISUSE")
  end },
  ["pool:run"] = { curl.new, function(pool) return pool:run(ORDER, 5) end, finalise },
  ["pool:add"] = { curl.new, function(pool) return pool:add(ORDER) end, finalise },
  ["pool:add once more"] = { curl.new, function(pool) return pool:add(ORDER):done() end,
    function(pool) pool:add(ORDER):cancel() end },
  ["ticket:result"] = { function()
    local pool = curl.new()
    local ticket = pool:add(ORDER)
    for _ = 1, 1000 do
      if ticket:done() then break end
      pool:poll(0.01)
    end
    assert(ticket:done())
    return ticket
  end, function(ticket) return ticket:result() end, finalise },
}

-- One connection for all rounds of a case, and another one once it is finalised: to connect takes
-- longer than what is interrupted.
local function served(url)
  local pq = require "billhook.pq"
  local SERIES = "SELECT i || $1 AS b, i FROM generate_series(1, 300) AS n (i) "
    .. "WHERE i > ALL ($2::bigint[])"
  local function series(one) return one:query(SERIES, "x" .. serial, { 0, -1 }) end
  assert(#series(assert(pq.open(url))) == 300)
  -- whom its caller uses again in a finaliser; on LuaJIT none may raise
  local wrong = false
  local function once_more(one)
    local done, rows = pcall(series, one)
    local fine = done and rows and #rows == 300
      or not done and rows:find("the database is in use", 1, true)
    wrong = wrong or not fine
  end
  local function connect(make_new)
    local one
    return function()
      serial = serial + 1
      if not one or make_new or not one:query "SELECT 1" then
        if one then one:close() end
        one = assert(pq.open(url))
      end
      return one
    end
  end
  return {
    ["pq:query"] = { connect(), series, finalise },
    ["pq:close"] = { connect(), series, function(one) one:close() end },
    ["pq:query once more"] = { connect(), series, once_more },
    ["pq:exec once more"] = { connect(), series, function(one)
      pcall(one.exec, one, "SELECT 1")
      pcall(one.within, one, 100)
      pcall(one.lost, one)
    end },
    ["pq:query fails"] = { connect(), function(one)
      wrong = wrong or one:query("SELECT " .. serial .. "/$1::int", 0) ~= nil
    end, finalise },
    ["pq:open fails"] = { function() return {} end, function()
      local none, code = pq.open(url:gsub("/[^/]*$", "/none" .. serial), { timeout = 5000 })
      wrong = wrong or none or not code:find "^PG_"
    end, function() end },
  }, function() return wrong end
end

local url, wrong = ..., nil
if url then CASES, wrong = served(url) end

collectgarbage("setpause", 110) -- so that it begins anywhere in a call
collectgarbage("setstepmul", 100000)
for name, case in pairs(CASES) do
  if interrupted(unpack(case)) > 0 then print(name) end
end

if url then return assert(not wrong()) end

local said
local db
interrupted(function()
  db = database()
  return db
end, function()
  local ok, why = pcall(select_all, db)
  if not ok then said = why end
end, finalise)
print(said)
