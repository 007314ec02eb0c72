-- rules.lua: what the crash tests have billhook run. Every run leaves traces
-- that tell afterwards when it was, by which process, and whether it came to
-- its end:
--
--   runs     a line where the rule "order" begins and ends: b|e event pid attempt account invoice
--            version state; the state as judge.lua finds it in what was sent
--   ledger   a table with a row an event, written inside event:once
--   log      what billhook has to complain about
--
-- CRASH_VENDOR is the API; with CRASH_CREATE some events have an invoice created there.

local billhook = require "billhook"

local dice = require "dice" -- beside this file

local folder = assert(os.getenv "CRASH_FOLDER")

-- opened with O_APPEND, written by one write each
local files = {}
local function say(name, ...)
  local file = files[name]
  if not file then
    file = assert(io.open(folder .. "/" .. name, "a"))
    file:setvbuf "full"
    files[name] = file
  end
  file:write(table.concat({ ... }, " "), "\n")
  file:flush()
end

local me
local function pid()
  if not me then
    local file = assert(io.open "/proc/self/stat")
    me = file:read "*a":match "^%d+"
    file:close()
  end
  return me
end

local ledger
local function book(id)
  if not ledger then
    local sqlite = require "billhook.sqlite"
    ledger = assert(sqlite.open(folder .. "/ledger.db", { busy_timeout = 20000 }))
    assert(ledger:exec [[PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;
      CREATE TABLE IF NOT EXISTS ledger (n INTEGER PRIMARY KEY, event TEXT UNIQUE, times INTEGER)]])
  end
  assert(ledger:query("INSERT INTO ledger (event, times) VALUES ($1, 1) "
    .. "ON CONFLICT (event) DO UPDATE SET times = times + 1", id))
  return id
end

local vendor = assert(os.getenv "CRASH_VENDOR")
local apply = billhook.dreamapply { base_url = vendor .. "/made", api_key = "none", quota = false,
  webhook = { authorization = "Bearer of nobody" } }

local app = billhook.app {
  inbox = assert(os.getenv "CRASH_INBOX"),
  backoff = { base = 0.05, cap = 0.1 },
  poll_every = 3,
  accounts = {
    tickets = billhook.betterez { webhook = { secret = "the private key" } },
    school = billhook.dreamclass { tenant = "my-school", webhook = { secret = "the private key" } },
    admissions = billhook.dreamapply { base_url = vendor, api_key = "none", quota = false,
      webhook = { authorization = "Bearer of the journal" } },
    vendor = apply,
  },
  log = function(level, name, fields)
    if level ~= "info" then
      say("log", level, name, tostring(fields.id), (tostring(fields.message):gsub("%s+", " ")))
    end
  end,
}

-- what the sender has counted up, or signed as the invoice's
local function state_of(event)
  if event.account == "admissions" and event.data then
    return (event.data.items[1].price:gsub("%.00$", ""))
  end
  return event.data and event.data.number or "-"
end

app:on("*", { name = "order" }, function(event)
  local line = table.concat({ event.id, pid(), event.attempt, event.account,
    event.invoice_id or "-", event.version and ("%d"):format(event.version) or "-",
    state_of(event) }, " ")
  say("runs", "b", line)
  if dice(event.id) % 10 == 3 then -- some take a while: a chance to be killed in
    local till = os.clock() + 0.003
    while os.clock() < till do end
  end
  say("runs", "e", line)
end)

-- of some events the first run fails
app:on("*", { name = "ledger" }, function(event)
  if event.attempt == 1 and dice(event.id) == 77 then error("77 on purpose", 0) end
  event:once("book", function() return book(event.id) end)
end)

local function create(event)
  local made, err = apply.invoices:create(dice(event.id) + 1, {
    currency = "EUR", items = { { item = "A matter", price = "1.00", qty = "1" } },
    smallprint = event.id,
  })
  if not made then return nil, err end
  return made.id
end

if os.getenv "CRASH_CREATE" then
  app:on("*", { name = "create" }, function(event)
    if dice(event.id) % 10 == 5 then
      return event:once("create", function() return create(event) end)
    end
  end)
end

return app
