-- inbox/init.lua: the inbox interface, and the door to its implementations.
--
-- An inbox keeps every delivery until its rules have run. This comment is the
-- interface; spec/inbox_contract.lua holds every implementation to it. All
-- arguments and results are plain data, so that a call can be made in another
-- thread. Every method gives a value, or nil and an error of kind "store";
-- times are milliseconds of the store's own clock unless it says seconds.
--
--   admit(events)   -> a list with a word for each event, what has become of it:
--       "admitted", "admitted again" (as its `again`); "duplicate"; "contested", known with other
--       content, kept as evidence at most; "contested new", "contested again": other news under a
--       known id, admitted as an event of its own (see known.lua), or a doubtful `again`;
--       "crowded": one too many of those, kept as unhandled
--       One transaction, durable when it returns. An event is
--         account, id         unique together; id is the vendor's own
--         key                 a second unique name, absent where it is the id
--         again               { type =, rules = }: as what it is admitted where its key is taken by
--                             another id; without this it is a duplicate of that one.
--                             `doubtful`: either may be the vendor's, and both are contested
--         source              "webhook" or "poll": bodies of two sources are not compared
--         vendor, type, native, invoice, tenant, occurred_at (seconds), live, trust, digest
--         body                text; `under` is true where the event's data is its member "data"
--         rules               names of the rules that want it, frozen here; none: "unhandled"
--         reason              why it cannot be run: a dead letter from the start
--         note                why nobody may run it: "unhandled", with this note
--         unproven            only the API can vouch for it: it waits in the hearsay of its invoice
--                             until join(). An event that died there without any rule being done
--                             gives its key to the next that has the same
--   claim{owner, lease, limit, page, fresh, hold, backoff} -> lanes { lane, token, events, more,
--                             hearsay, first }
--       Lanes that are due, none of which anybody else holds, for `lease` seconds. The events are
--       the first `page` (default 32) unfinished ones in the order of their admission, as show()
--       gives them, with `marks` by rule name: { state, attempts, message, wait (ms), held (ms
--       since the first failure) }. `more`: there are further ones.
--       `fresh`: the owner holds nothing: lanes in its name are left from a claim or release whose
--       answer was lost, and are free at once, as those of dead owners are. The lane in which an
--       owner died comes behind what is due; the others that it had keep their turn.
--       `hearsay`: nothing here is confirmed.
--       `hold` (ms, see steps.lua): the first run is noted as begun; its lane says which it is:
--       `first` { lane, seq, rule }; rule "" is the telling of an event that cannot be run.
--       A run that was begun in a lane that is taken over is counted as a failed one: repeated at
--       once three times, then after `backoff` { base, cap } (ms), doubled each time.
--   begin(token, run)             -> true: this run { lane, seq, rule } is noted as begun; false
--                                    where the token is old
--   running()                     -> the runs that are under way: { lane, token, owner, seq, id,
--       rule, seconds } each
--   join(lane, token, want)       -> all that is open in this hearsay goes over to the lane of its
--       invoice and is due there; as claim() gives it, or {} where another holds it; false where
--       the token is old. `want` is claim's, and `asking`: names of rules that wait no longer.
--       The hearsay is free again
--   more(lane, token, seq, page)  -> { events, more } after that one; false where the token is old
--   renew(lane, token, lease)     -> true, or false where the token is old
--   done(token, seq, rule, how)   -> true, or false where the token is old
--   retry(token, seq, rule, delay, message, how)  -> the same; due again in `delay` ms
--   dead(token, seq, rule, message, how)          -> the same; rule nil: an event that can't be run
--       how = { next = the run that begins now, as begin() takes it, holds = false:
--       this failure holds back nothing, lost = true: it has not been run }
--   release(list of { lane, token, seen, after }) -> how many of them were still held
--       due again `after` ms from now, or not at all (nil); at once where an event later than
--       `seen` has come meanwhile
--   step(seq, rule, name [, nil, token])  -> the text kept under this name, or false; an error
--       where the token is old
--   step(seq, rule, name, text)   -> the text kept: this one, or the one that was there first
--   get(name), set(name, text)    -> a text of the store's own (a cursor), or false; true
--   list(filter)                  -> events without bodies, newest first (limit default 100)
--   show(id)                      -> one event, or false: seq, id, key, account, vendor, type,
--       native, invoice, tenant, live, trust, contested, state, note, rules, occurred_at and
--       received_at (seconds), body, under, marks, evidence
--   replay(filter [, names])      -> how many are to run again: of a dead one the dead rules, of
--       another all its rules; of a pending one what waits, now. `names` gives unhandled ones the
--       rules they never had, by "account\ntype\nnative\nlive" (or "test"). A few hundred a
--       transaction, as for
--   purge(filter)                 -> how many lost their body; ids stay, so they stay known. Only
--       finished ones do
--   stats()      -> { pending, done, dead, unhandled, contested, leased, due (10,000 at most),
--       oldest (seconds) }; it takes no longer the more is stored
--   counters()   -> what has happened since the inbox was made: { name, n, total } each, named as
--       counters.lua says
--   count(list of { name, n, total })  -> true: adds to counters what a process has counted itself
--   close()                       -> true
--
-- A filter has id, account, type, invoice, state ("pending", "done", "dead", "unhandled"),
-- contested, older_than and newer_than (seconds), limit, before (a seq, for the next page).

local urls = require "billhook.inbox.url"

local M = {}

local SCHEMES = {
  sqlite = "billhook.inbox.sqlite",
  memory = "billhook.inbox.sqlite",
  postgresql = "billhook.inbox.postgresql",
  postgres = "billhook.inbox.postgresql",
}

---Tells whether a text names an inbox; the reason where it does not.
---@param url any
---@return boolean|nil, string|nil
function M.check(url)
  if type(url) ~= "string" then return nil, "inbox must be a string" end
  local scheme, rest = url:match("^(%a+):(.*)$")
  if not SCHEMES[scheme or ""] then
    return nil, "inbox must be \"sqlite:FILE\", \"memory:\" or \"postgresql://...\""
  end
  if scheme == "sqlite" and rest == "" then return nil, "inbox: \"sqlite:\" names no file" end
  -- to SQLite these are no files: what is acknowledged would be kept nowhere
  if scheme == "sqlite" and (rest:find("^:") or rest:find("^file:")) then
    return nil, ("inbox: %q is not the path of a file"):format(rest)
  end
  if scheme == "memory" and rest ~= "" then return nil, "inbox: \"memory:\" takes no name" end
  if scheme:find "^postgres" then return urls.check(url) end
  return true
end

---As it may be shown: without a password.
M.shown = urls.shown

---Opens an inbox, and brings its tables to this version.
---@param url string "sqlite:billhook.db", "memory:", "postgresql://user@host/db"
---@param options? { busy_timeout?: number, clock?: fun(): number, log?: function } clock: epoch
---seconds, for tests; log: as an app's
---@return table|nil store, table|nil err
function M.open(url, options)
  local ok, why = M.check(url)
  if not ok then error(why, 2) end
  local scheme, rest = url:match("^(%a+):(.*)$")
  return require(SCHEMES[scheme]).open(scheme == "memory" and ":memory:" or rest, options or {})
end

return M
