--- Calls of an account that must not happen twice: which places are busy, which outcomes are open,
-- which ids have an owner. Pure functions on one text per place, over shared.update; all processes
-- that share the store see these texts.
--
-- A place is an operation and what it is done to ("invoices.create 123"): calls of one place could
-- be mistaken for each other. An intent is such a call as plain data: { id, vendor, account,
-- operation, place, params, reference, before, sent_at, caller, blind = nobody looked before it }.
--
-- The text of a place, as JSON; times are seconds by the store's clock:
--
--   { seen, busy = { token, owner, began, till, most }, calls = { { id, body, at, owner, token,
--     till, state, result }, ... } }
--
-- busy: the call that is in there; it renews its lease (till) until `most` at the longest. A call
-- without `state` is under way until its lease ends, or whoever makes it is known to be gone: the
-- process `owner`, or in this process the coroutine behind the token. Its state then: "told", its
-- caller was told that its outcome is unknown; "lost", nobody was, and `owner` settles it; "done",
-- with the result for whoever asks once more, until `till`. What was asked for is in `body`, as
-- text.
--
-- An id that a call has made is that call's: "claim ACCOUNT PLACE ID" holds the intent's id.

local core = require "billhook.core"
local json = require "billhook.json"
local pulse = require "billhook.shared.pulse"
local share = require "billhook.shared"

local M = {}

local DAY = 86400

-- In nginx coroutines are used again for others, and a handler may be killed.
local IN_NGINX = pulse.in_nginx()

--- A request that was lost so many seconds ago comes to nothing any more.
M.OPEN_FOR = 3600

--- What can't be looked up is not repeated within this time.
M.BLIND_FOR = DAY

-- So long a result is kept for whoever asks once more: a rule that runs again, and anybody.
local KEEP_NAMED, KEEP_DONE = 7 * DAY, DAY

-- A clock that is behind by more than this was set back.
local SKEW = 1

-- A coroutine that nobody will resume is only known to be gone when it was collected: so often is
-- that asked for while somebody waits for its place, in seconds.
local COLLECT = 1

-- What a store can do. calls, claims: seconds that they are kept; signs: how a lease is renewed on
-- nginx's event loop. durable: an app's inbox, which knows the processes that share it and asks
-- them to send nothing again before it is known that nothing came of it. In the dictionary there is
-- little room: claims stay as long as a list may lag behind.
local KINDS = {
  inbox = { calls = 30 * DAY, claims = 30 * DAY, signs = pulse.database, durable = true },
  dict = { calls = DAY, claims = 120, signs = pulse.memory },
  process = { calls = DAY, claims = DAY, signs = pulse.memory },
}

local Pending = {}
Pending.__index = Pending

--- Those of an account in a store.
---@param store table see shared/init.lua
---@param account string
---@param kind "inbox"|"dict"|"process"
function M.new(store, account, kind)
  local self = setmetatable({ store = store, account = account }, Pending)
  for name, value in pairs(KINDS[kind]) do self[name] = value end
  return self
end

--- Those that a client has: its app's, or those of all workers of an nginx, or of the process.
---@param account table a client's
---@return table? pending, table? err
function M.of(account)
  if account.shared then
    local store, err = account.shared()
    if err then return nil, err end
    if store then return M.new(store, account.id, "inbox") end
  end
  if not account.claims then
    local store = share.workers()
    account.claims = store and M.new(store, account.id, "dict")
      or M.new(share.common(account.now), account.id, "process")
  end
  return account.claims
end

-- --- who is still there ------------------------------------------------------------------------

-- The calls of this process that are in a place, by their tokens.
local here, entered = {}, 0

local function register(token, till)
  local running, is_main = coroutine.running()
  local threaded = running ~= nil and not is_main and not IN_NGINX
  here[token] = setmetatable({ till = till, threaded = threaded,
    thread = threaded and running or nil }, { __mode = "v" })
  entered = entered + 1
  if entered % 1000 ~= 0 then return end
  for other, one in pairs(here) do -- what nginx has killed never leaves
    if one.till < core.text.monotonic() then here[other] = nil end
  end
end

-- Is it certain that whoever made this will not come back?
local function is_gone(self, one)
  local mine = not self.store.who or one.owner == self.store:who()
  if not mine then return self.store:departed(one.owner) end
  if not one.token or IN_NGINX then return false end -- another worker's is not known here
  local call = here[one.token]
  return not call or call.threaded
    and (call.thread == nil or coroutine.status(call.thread) == "dead")
end

local function is_held(self, one, now)
  return one ~= nil and one.till > now and not is_gone(self, one)
end

local function who(self) return self.store.who and self.store:who() or "" end

-- --- the text of a place -----------------------------------------------------------------------

-- The store's clock was set back: what was planned stays as long as it was meant.
local function set_back(line, by)
  local busy = line.busy
  if busy then
    busy.began, busy.till, busy.most = busy.began - by, busy.till - by, busy.most - by
  end
  for _, call in ipairs(line.calls) do call.at, call.till = call.at - by, call.till - by end
end

-- Without the calls that have had their time.
local function read(self, text, now)
  local line = text and core.json.decode(text)
  if type(line) ~= "table" then return { calls = {} } end
  local back = line.seen - now
  if back > SKEW then
    set_back(line, back)
    line.jumped = true
  end
  for i = #line.calls, 1, -1 do
    local call = line.calls[i]
    local over = now - call.at > self.calls or call.state == "done" and call.till <= now
    if over then table.remove(line.calls, i) end
  end
  return line
end

-- Numbers as JSON gives them back.
local function millis(seconds) return math.floor(seconds * 1000 + 0.5) / 1000 end

local function write(line, now)
  local busy = line.busy
  if not busy and #line.calls == 0 then return false end
  for _, call in ipairs(line.calls) do call.at, call.till = millis(call.at), millis(call.till) end
  if busy then
    busy.began, busy.till, busy.most = millis(busy.began), millis(busy.till), millis(busy.most)
  end
  return json.encode { seen = millis(now), busy = busy, calls = json.array(line.calls) }
end

local function name_of(self, place) return "calls " .. self.account .. " " .. place end

-- Changes a place: fn(line, now) gives whether it has changed anything, and a value.
local function change(self, place, fn)
  return self.store:update(name_of(self, place), function(text, now, lost)
    local line = read(self, text, now)
    line.lost = lost
    local changed, value = fn(line, now)
    if changed or line.jumped then return write(line, now), value end
    return nil, value
  end, self.calls)
end

local function find(line, id)
  for i, call in ipairs(line.calls) do
    if call.id == id then return call, i end
  end
end

-- Changes the call of an intent, where it is there: fn(call, now) gives false if it is to go.
local function change_call(self, intent, fn)
  return change(self, intent.place, function(line, now)
    local call, i = find(line, intent.id)
    if call and fn(call, now) == false then table.remove(line.calls, i) end
    return call ~= nil
  end)
end

-- --- places ------------------------------------------------------------------------------------

-- Takes the place: true; or who is in there; or how long ago the store has lost calls, which may be
-- of this place, and on their way.
local function try(self, place, token, lease, longest)
  return change(self, place, function(line, now)
    local busy = line.busy
    if line.lost and now - line.lost < M.OPEN_FOR then
      return false, { lost = now - line.lost }
    elseif is_held(self, busy, now) then
      return false, { token = busy.token, now = now, left = busy.till - now,
        longest = busy.most - now, age = now - busy.began }
    end
    line.busy = { token = token, owner = who(self), began = now, till = now + lease,
      most = now + longest }
    return true, true
  end)
end

--- A token, or false while somebody else is in there: it is left at `leave`, at once where whoever
-- took it is known to be gone, or else after `lease` seconds, for an abandoned call must not block
-- it for ever. Who that is: { left = seconds until its lease ends, longest = until its last one
-- does, age }.
---@param longest number? seconds that it is renewed for at most
---@param last boolean? it is not asked again
---@return string|boolean|nil token, table? err, table? holder
function Pending:enter(place, lease, longest, last)
  local token = core.text.hex(core.text.random(8))
  longest = longest or lease
  register(token, core.text.monotonic() + longest)
  local got, err = try(self, place, token, lease, longest)
  if got and got ~= true and got.lost then
    here[token] = nil
    return nil, self.store:evicted(got.lost, M.OPEN_FOR)
  end
  local other = got and got ~= true and here[got.token]
  if other and other.threaded and (last or got.now - (other.seen or -COLLECT) >= COLLECT) then
    other.seen = got.now
    collectgarbage()
    got, err = try(self, place, token, lease, longest)
  end
  if got == true then return token end
  here[token] = nil
  return got and false, err, got or nil
end

local function is_mine(line, token) return line.busy ~= nil and line.busy.token == token end

--- Holds it for so long from now: true; false: it is lost.
function Pending:renew(place, token, lease)
  return change(self, place, function(line, now)
    local mine = is_mine(line, token)
    if mine then line.busy.till = now + lease end
    return mine, mine
  end)
end

function Pending:leave(place, token)
  here[token] = nil
  return change(self, place, function(line)
    local mine = is_mine(line, token)
    if mine then line.busy = nil end
    return mine
  end)
end

-- --- calls -------------------------------------------------------------------------------------

--- It is about to be sent: true; false: its place is lost. No token: it needs no place.
---@param intent table
---@param token string?
---@param lease number
function Pending:begin(intent, token, lease)
  return change(self, intent.place, function(line, now)
    if token and not is_mine(line, token) then return false, false end
    local _, at = find(line, intent.id)
    if at then table.remove(line.calls, at) end
    line.calls[#line.calls + 1] = { id = intent.id, body = json.encode(intent), at = now,
      owner = who(self), token = token, till = now + lease }
    return true, true
  end)
end

local function claim_name(self, place, id)
  return ("claim %s %s %s"):format(self.account, place, id)
end

-- The id is the intent's from now on: true; false: it is another one's already.
local function claim(self, intent, id)
  return self.store:update(claim_name(self, intent.place, id), function(owner)
    return owner == nil and intent.id or nil, owner == nil or owner == intent.id
  end, self.claims)
end

-- What is left of a call whose result is kept: not what it was about.
local function remains(intent)
  return json.encode { id = intent.id, caller = intent.caller, place = intent.place,
    operation = intent.operation }
end

local function finish(self, intent, id, result, keep, body)
  if id ~= nil then
    local mine, err = claim(self, intent, tostring(id))
    if not mine then return mine, err end
  end
  return change_call(self, intent, function(call, now)
    if not result then return false end
    call.state, call.result, call.till, call.body = "done", result, now + keep, body or call.body
    call.owner, call.token = nil, nil
  end)
end

--- Its outcome is known, and the caller gets this value: true; with an id, that is its own from now
-- on; false: it is another call's already. settled: long after the call; whoever asks about this
-- intent once more is told the same.
function Pending:close(intent, id, value, settled)
  local kept, result = pcall(json.encode, value)
  local wanted = value ~= nil and (intent.caller or settled)
  if not (kept and wanted) then result = nil end
  return finish(self, intent, id, result, intent.caller and KEEP_NAMED or KEEP_DONE,
    remains(intent))
end

--- It was settled, but whoever asked for it is gone: kept for the next one who does.
function Pending:keep(intent, id, value)
  return finish(self, intent, id, json.encode(value), intent.caller and KEEP_NAMED or KEEP_DONE)
end

--- Its outcome is unknown, and its caller knows that.
function Pending:open(intent)
  return change_call(self, intent, function(call)
    call.state, call.owner, call.token = "told", nil, nil
  end)
end

--- The same, but its caller will never know: it was torn.
function Pending:abandon(intent)
  return change_call(self, intent, function(call, now) call.till = now end)
end

-- --- what is known -----------------------------------------------------------------------------

local function shown(self, call, now)
  return { intent = core.json.decode(call.body), age = math.max(0, now - call.at),
    live = call.state == nil and is_held(self, call, now),
    told = not self.durable and call.state == "told" or nil,
    result = call.result and core.json.decode(call.result) }
end

local function owned(self, place, ids, asking)
  local set = {}
  for _, id in ipairs(ids) do
    local owner, err = self.store:update(claim_name(self, place, id), function(text)
      return nil, text or false
    end)
    if owner == nil then return nil, err end
    set[id] = owner and owner ~= asking or nil
  end
  return set
end

--- { owned = set of those of the ids that have another owner than the intent with the id `asking`,
-- open = { { intent, live = somebody is at it, told = its caller knows that its outcome is open,
-- and may send it again, age, result }, ... } }. all: also those of which nothing will come any
-- more.
---@return table?, table? err
function Pending:known(place, ids, asking, all)
  local set, err = owned(self, place, ids, asking)
  if not set then return nil, err end
  local open
  open, err = change(self, place, function(line, now)
    local list = {}
    for _, call in ipairs(line.calls) do
      local fresh = all or call.result ~= nil or now - call.at <= M.OPEN_FOR
      if fresh then list[#list + 1] = shown(self, call, now) end
    end
    return false, list
  end)
  return open and { owned = set, open = open }, err
end

-- Those of a place that are nobody's are this process's to settle, for a time.
local function take_over(self, place, lease)
  return change(self, place, function(line, now)
    local list = {}
    for _, call in ipairs(line.calls) do
      if (call.state == nil or call.state == "lost") and not is_held(self, call, now) then
        list[#list + 1] = shown(self, call, now)
        call.state, call.owner, call.token = "lost", who(self), nil
        -- what is still unknown after a long time is asked for less and less often
        call.till = now + math.max(lease, (now - call.at) / 4)
      end
    end
    return #list > 0, list
  end)
end

--- Takes over those whose process is gone, for `lease` seconds: a list of { intent, age }.
---@return table[]? list, table? err
function Pending:orphans(lease)
  local texts, err = self.store:texts(name_of(self, ""))
  local places, orphans = {}, {}
  for place in pairs(texts or {}) do places[#places + 1] = place end
  table.sort(places)
  for _, place in ipairs(places) do
    local list
    list, err = take_over(self, place, lease)
    for _, one in ipairs(list or {}) do orphans[#orphans + 1] = one end
  end
  return texts and orphans, err
end

return M
