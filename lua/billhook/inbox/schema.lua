-- inbox/schema.lua: the tables of the inbox, the same for both databases. Each dialect replaces the
-- words in capitals that are not SQL (SERIAL_KEY, BIGINT, TEXT, BYTES, WITHOUT_ROWID) by its own.
--
--   deliveries  what came in, as it came (credentials redacted). The only table that admission
--               writes to. id: what tells one from another within an account; seen: how often it
--               came; again: when it comes again its invoice is looked at again; last_at:
--               when it last did
--   invoices    the last known state of each invoice, and the queue: what is due for it is claimed
--               by its row. stamp: changes with every change of the state, so that a change that
--               was worked out from an older one is refused. check_due, run_due: when there is
--               something to do (NULL: nothing). owner, token, till: its lease; running, rule,
--               began: the run that is under way. An event about an invoice without
--               a state, or about none ("#" and the event's id), has a row (stamp 0) for as long as
--               there is something to do
--   events      verified changes and other news, each with its own data: what rules run on.
--               open: 1 while a rule has still to run
--   marks       how far each rule is with an event; no row: not begun
--   results     what the steps of event:once have given
--   texts       texts by name, each changed by one at a time: quota, account state, pending calls;
--               till: when nobody needs it any more
--   counters    what has happened, for metrics
--   meta        the schema's version, the last time seen, the last number given

local M = {}

M.VERSION = 1

local TABLES = [[
CREATE TABLE deliveries (
  seq SERIAL_KEY, account TEXT NOT NULL, id TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'new',
  again BIGINT NOT NULL, seen BIGINT NOT NULL DEFAULT 1, vendor TEXT NOT NULL, type TEXT NOT NULL,
  native TEXT NOT NULL, invoice TEXT, tenant TEXT, live BIGINT NOT NULL, trust TEXT NOT NULL,
  secret BIGINT, occurred_at BIGINT, received_at BIGINT NOT NULL, last_at BIGINT,
  routed_at BIGINT, reason TEXT, body BYTES, UNIQUE (account, id)
);
CREATE INDEX deliveries_new ON deliveries (account, seq) WHERE state = 'new';
CREATE INDEX deliveries_routed ON deliveries (account, id) WHERE state <> 'new';
CREATE INDEX deliveries_invoice ON deliveries (account, invoice, seq) WHERE state <> 'new';
CREATE INDEX deliveries_waiting ON deliveries (account, invoice, seq) WHERE state = 'pending';
CREATE INDEX deliveries_dead ON deliveries (seq) WHERE state = 'dead';
CREATE INDEX deliveries_unhandled ON deliveries (seq) WHERE state = 'unhandled';
CREATE TABLE invoices (
  lane SERIAL_KEY, account TEXT NOT NULL, invoice TEXT NOT NULL, stamp BIGINT NOT NULL DEFAULT 0,
  version BIGINT NOT NULL DEFAULT 0, known BIGINT NOT NULL DEFAULT 0, data BYTES, digest TEXT,
  ticket BIGINT NOT NULL DEFAULT 0, read_at BIGINT, news_at BIGINT,
  tries BIGINT NOT NULL DEFAULT 0, reads BIGINT NOT NULL DEFAULT 0,
  faults BIGINT NOT NULL DEFAULT 0, check_due BIGINT, absent_at BIGINT, doubt TEXT,
  doubt_at BIGINT, left_states TEXT, number TEXT, reference TEXT, currency TEXT, total TEXT,
  paid TEXT, balance TEXT, due_date TEXT, status TEXT, issued_at BIGINT, deleted_at BIGINT,
  closed_at BIGINT, changed_at BIGINT, overdue_for TEXT, overdue_step BIGINT, run_due BIGINT,
  owner TEXT, token BIGINT NOT NULL DEFAULT 0, till BIGINT, running BIGINT, rule TEXT,
  began BIGINT, UNIQUE (account, invoice)
);
CREATE INDEX invoices_check ON invoices (account, known, check_due)
  WHERE check_due IS NOT NULL AND owner IS NULL;
CREATE INDEX invoices_run ON invoices (account, run_due, (COALESCE(began, 0)), lane)
  WHERE run_due IS NOT NULL AND owner IS NULL;
CREATE INDEX invoices_owner ON invoices (owner) WHERE owner IS NOT NULL;
CREATE INDEX invoices_known ON invoices (account, lane) WHERE known = 1;
CREATE INDEX invoices_open ON invoices (account, lane) WHERE known = 1 AND closed_at IS NULL;
CREATE INDEX invoices_there ON invoices (account, ticket) WHERE known = 1 AND deleted_at IS NULL;
CREATE INDEX invoices_unknown ON invoices (lane) WHERE known = 0;
CREATE INDEX invoices_closed ON invoices (closed_at)
  WHERE closed_at IS NOT NULL AND data IS NOT NULL;
CREATE TABLE events (
  seq SERIAL_KEY, account TEXT NOT NULL, id TEXT NOT NULL, lane BIGINT, open BIGINT NOT NULL,
  state TEXT NOT NULL, left_over BIGINT NOT NULL, vendor TEXT NOT NULL, type TEXT NOT NULL,
  native TEXT NOT NULL, invoice TEXT, tenant TEXT, version BIGINT, trust TEXT NOT NULL,
  live BIGINT NOT NULL, data BYTES, previous BYTES, claims BYTES, occurred_at BIGINT,
  received_at BIGINT, created_at BIGINT NOT NULL, finished_at BIGINT, rules TEXT NOT NULL,
  note TEXT, deliveries TEXT, UNIQUE (account, id)
);
CREATE INDEX events_lane ON events (lane, open, seq) WHERE lane IS NOT NULL;
CREATE INDEX events_open ON events (seq) WHERE open = 1;
CREATE INDEX events_invoice ON events (account, invoice, seq) WHERE invoice IS NOT NULL;
CREATE INDEX events_dead ON events (seq) WHERE state = 'dead';
CREATE INDEX events_unhandled ON events (seq) WHERE state = 'unhandled';
CREATE TABLE marks (
  seq BIGINT NOT NULL, rule TEXT NOT NULL, state TEXT NOT NULL, attempts BIGINT NOT NULL,
  due BIGINT, failed_at BIGINT, message BYTES, PRIMARY KEY (seq, rule)
) WITHOUT_ROWID;
CREATE TABLE results (
  seq BIGINT NOT NULL, rule TEXT NOT NULL, name BYTES NOT NULL, value BYTES NOT NULL,
  PRIMARY KEY (seq, rule, name)
) WITHOUT_ROWID;
CREATE TABLE texts (
  name TEXT NOT NULL UNIQUE, value BYTES NOT NULL, till BIGINT
);
CREATE INDEX texts_till ON texts (till) WHERE till IS NOT NULL;
CREATE TABLE counters (name TEXT PRIMARY KEY, n BIGINT NOT NULL, total BIGINT NOT NULL);
]]

local META = "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)"

---Makes the tables where there are none, within the caller's transaction.
---@param query fun(sql: string, ...): table raises where the database refuses
---@param spell fun(sql: string): string the database's spelling
---@return boolean|nil, string|nil message
function M.make(query, spell)
  query(META)
  local row = query("SELECT value FROM meta WHERE name = 'version'")[1]
  local version = row and tonumber(row.value)
  if version == M.VERSION then return true end
  if version then
    return nil, ("the inbox has version %s, this billhook knows %d"):format(row.value, M.VERSION)
  end
  for sql in spell(TABLES):gmatch("(.-);\n") do query(sql) end
  query("INSERT INTO meta (name, value) VALUES ('version', $1)", tostring(M.VERSION))
  return true
end

return M
