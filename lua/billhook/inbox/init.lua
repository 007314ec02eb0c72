-- inbox/init.lua: the inbox interface, and the function that opens an implementation.
--
-- An inbox keeps deliveries, the known states of invoices, and events until their rules have run.
-- This comment is the interface; spec/inbox_contract.lua checks every implementation against it.
-- All arguments and results are plain data (but update()'s function), so that a call can be made in
-- another thread. Every method gives a value, or nil and an error of kind "store". Times are
-- milliseconds of the store's own clock; what admin methods and events show are epoch seconds.
--
-- Deliveries
--   admit(list)            -> "new" or "duplicate" for each. One transaction, durable when it
--       returns, and one upsert into one table. A delivery is
--         account, id         unique together; what tells one from another (see app/receive.lua)
--         again               true: a duplicate is looked at again
--         vendor, type, native, invoice, tenant, live, trust, secret (the number of the one that
--         matched), occurred_at (seconds), body (text)
--         reason              why nothing can be made of it
--   incoming(account, n)   -> deliveries that were not routed yet, oldest first, each once (seq).
--       `earlier`: how many deliveries of this event id of the vendor's (the first word of `id`)
--       were routed before (counted to 64) or stand before it here
--
-- Invoices
--   look(account, ids)     -> { rows, now }: a row for each id, an empty one (stamp 0) where there
--                             is none. See check.lua for what its columns mean
--   ticket()               -> { ticket, now }: larger than all before; drawn before every read
--   clock()                -> { now }
--   apply(changes)         -> true or false for each, in one transaction. A change is { account,
--       invoice, expect = stamp, set = { column = value or inbox.NULL }, events, settle = state,
--       began, reason, route = { { seq, state, reason } } }:
--         set      refused (false, and nothing of this change is done) where the row's stamp is
--                  another one by now
--         route    deliveries that were not routed yet. Where one has been routed meanwhile,
--                  nothing of all changes is done (false for each): look again
--         settle   deliveries of the invoice that were routed at or before `began`
--         events   added in order; one that is known by its id is left alone. { id, account,
--                  vendor, type, native (nil: the type), invoice, tenant, version, trust, live,
--                  data, previous, claims, occurred_at, received_at (ms), rules = names, note,
--                  bad = true: nothing can be made of it, a person is told }
--   another(account, id)   -> the id of another invoice that is there, or false
--   of_account(account, { which, after, limit, ticket_before, due_by, unread })  -> { rows, now },
--       a page, after the row (lane) named `after`. which: "there" or "open"; due_by: due on that
--       day or before; unread: longest unread first
--   how_many(account)      -> number of known invoices, up to 100,000
--   is_latest(account, id, version)
--
-- The queue. An account's row is claimed for checks or for runs, with a lease and a token.
--   due{ owner, fresh }    -> { now, lost, incoming = { account = true },
--       accounts = { account = { checks = number up to 101, runs = boolean } } }. `fresh`: the
--       owner holds nothing; what is in its name is left from an answer that was lost. `lost`:
--       recover() has something to do
--   recover{ owner, fresh, backoff = { base, cap } }  -> true: what dead owners held is due again;
--       a run that was under way counts as failed: repeated at once three times, then with backoff
--   claim{ kind = "check", account, owner, lease, limit, unknown_first }  -> { rows, now }: known
--       invoices before others, or the other way round
--   claim{ kind = "run", account, owner, lease, limit, page }  -> { rows, now }: rows with `events`
--       (the first `page` open ones, with `marks` by rule: { state, attempts, message, wait, held
--       }) and `more`
--   more(lane, token, seq, page)  -> { events, more } after that one; false: the token is old
--   renew(lane, token, lease)     -> true, or false where the token is old
--   mark(lane, token, outcome, following)  -> true, or false where the token is old: what became of
--       a run, { seq, rule, state = "done" | "waiting" | "dead", delay, message, lost }, and which
--       one begins, { lane, seq, rule }; either may be nil. The last rule of an event closes it
--   release(list of { lane, token, after, check_after })  -> how many of them were still held; runs
--       are due `after` ms from now, checks not before `check_after`
--   step(seq, rule, name, nil, token)  -> the text kept under this name, or false; an error where
--       the token is old
--   step(seq, rule, name, text)   -> the text kept: this one, or the one that was there first
--   running()                     -> runs under way: { lane, token, owner, seq, id, rule, seconds }
--
-- Texts
--   set(name, text), texts(prefix)
--   update(name, fn, keep) fn(text or nil, now in seconds) -> new text, value: nobody else changes
--                          it meanwhile; see shared/init.lua
--   peek(name)             -> { text or false, now }
--   swap(name, old, new, keep)   -> { swapped = true }, or { text, now }: what is there, not `old`
--
-- Operators
--   deliveries(filter), events(filter), invoices(filter)   newest first, 100 by default. A filter
--       has account, id ("account:id"), type, invoice, state, older_than and newer_than (seconds),
--       limit, before, after (a number, for the next page), seqs, brief (true: without bodies and
--       data; of an invoice its data where that is short)
--   show(id)               -> an event with its marks, or false
--   replay(filter [, names])  -> how many events are to run again: of a dead one the dead rules, of
--       another all its rules; of a pending one what waits, now. `names` gives unhandled ones the
--       rules they never had, by "account\ntype\nnative\nlive" (or "test")
--   purge(filter)          -> how many lost what they say; ids stay
--   forget(closed, anyway) -> the same, by age in seconds: since an invoice was closed; of
--       whatever. Rows of ids that nobody knows go with it, a day after their last news
--   stats()                -> { incoming, checking, pending, dead, unhandled, leased, due, checks,
--                              each up to 10,000; oldest (seconds); log_bytes (of SQLite's log) }
--   day()                  -> { now, hours = { { at, deliveries, failures } }, last }: the last 24
--                          hours, the present one last, and by account when the last delivery
--                          came; of the newest 50,000 deliveries. failures: what gave up
--   counters(), count(list of { name, n, total })   what has happened, for metrics
--   who(), departed(name)  a name for this process; is another one known to be gone?
--   rest()                 of a thread that takes turns with others: leaves them the connection
--   close()

require "billhook.inbox.admin"
local invoices = require "billhook.inbox.invoices"
require "billhook.inbox.queue"
local texts = require "billhook.inbox.texts"
local urls = require "billhook.inbox.url"

local M = {}

---In a change of a row, a column that becomes NULL.
M.NULL = invoices.NULL

---update() of a store that has peek() and swap().
M.update = texts.update

local SCHEMES = {
  sqlite = "billhook.inbox.sqlite",
  memory = "billhook.inbox.sqlite",
  postgresql = "billhook.inbox.postgresql",
  postgres = "billhook.inbox.postgresql",
}

---Tells whether a text names an inbox; where it does not, what it must be, or is.
---@param url any
---@return boolean|nil, string|nil
function M.check(url)
  if type(url) ~= "string" then return nil, "must be a string" end
  local scheme, rest = url:match("^(%a+):(.*)$")
  if not SCHEMES[scheme or ""] then
    return nil, "must be \"sqlite:FILE\", \"memory:\" or \"postgresql://...\""
  end
  if scheme == "sqlite" and rest == "" then return nil, "must have a file after \"sqlite:\"" end
  -- to SQLite these are no files: what is acknowledged would be kept nowhere
  if scheme == "sqlite" and (rest:find("^:") or rest:find("^file:")) then
    return nil, ("must be the path of a file, got %q"):format(rest)
  end
  if scheme == "memory" and rest ~= "" then return nil, "must have nothing after \"memory:\"" end
  if scheme:find "^postgres" then return urls.check(url) end
  return true
end

---As it may be shown: without a password.
M.shown = urls.shown

---Opens an inbox, and brings its tables to this version.
---@param url string "sqlite:billhook.db", "memory:", "postgresql://user@host/db"
---@param options? { busy_timeout?: number, clock?: fun(): number, log?: function,
---  create?: boolean, turns?: boolean } clock: epoch seconds, for tests; log: as an app's; create:
---  false: no new file is made; turns: of a thread that takes turns with others of its process
---  (`rest`)
---@return table|nil store, table|nil err
function M.open(url, options)
  local ok, why = M.check(url)
  if not ok then error("inbox " .. why, 2) end
  local scheme, rest = url:match("^(%a+):(.*)$")
  return require(SCHEMES[scheme]).open(scheme == "memory" and ":memory:" or rest, options or {})
end

return M
