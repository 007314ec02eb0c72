-- inbox/schema.lua: the tables of the inbox and the way from one version to
-- the next. Written once for both dialects; what differs stands in capitals
-- (SERIAL_KEY, WITHOUT_ROWID, BIGINT, BYTES: any) and is replaced by the dialect.
--
--   lanes     what is worked on in order: (account, invoice id), or one event.
--             due: when to look at it again; NULL: nothing to do. While a
--             worker holds it, due is the end of its lease, so one index
--             finds both what is due and what was dropped. Its number is that of
--             its first event, so that new lanes lie together in every index.
--             running, rule, began: the event and rule that are run in it, and
--             since when, while it is held. stirred: while it was held, older
--             events have come into it
--   events    one row for every id that was ever admitted; never deleted. open: 1
--             where something is still to be done with it
--   bodies    apart, since they are large, are purged, and no index needs them
--   evidence  the first body of the same id with another content
--   marks     how far each rule is with an event; none: not begun
--   steps     results of event:once
--   meta      version, the last time seen, cursors
--   counters  what has happened, for metrics; each in several rows (shards), so that
--             transactions do not wait for each other. Their sum is what counts
--   quotas    one row a key: its line of slots (window.lua)
--   places, intents, claims   calls that must not happen twice (intents.lua): where one is under
--             way, what was asked for, and which ids are the result of one

local M = {}

M.VERSION = 5

-- one text a version; the statements end with ";" and a line break
local STEPS = {
  [[
CREATE TABLE lanes (
  lane BIGINT_KEY,
  account TEXT NOT NULL,
  name TEXT NOT NULL,
  due BIGINT,
  owner TEXT,
  token BIGINT NOT NULL DEFAULT 0,
  UNIQUE (account, name)
);
CREATE INDEX lanes_due ON lanes (due) WHERE due IS NOT NULL;
CREATE INDEX lanes_owner ON lanes (owner) WHERE owner IS NOT NULL;
CREATE TABLE events (
  seq SERIAL_KEY,
  account TEXT NOT NULL,
  id TEXT NOT NULL,
  key TEXT,
  lane BIGINT,
  open BIGINT NOT NULL,
  state TEXT NOT NULL,
  left_over BIGINT NOT NULL,
  contested BIGINT NOT NULL DEFAULT 0,
  source TEXT NOT NULL,
  vendor TEXT NOT NULL,
  type TEXT NOT NULL,
  native TEXT NOT NULL,
  invoice TEXT,
  tenant TEXT,
  live BIGINT NOT NULL,
  trust TEXT NOT NULL,
  digest TEXT NOT NULL,
  occurred_at BIGINT,
  received_at BIGINT NOT NULL,
  finished_at BIGINT,
  rules TEXT NOT NULL,
  note TEXT,
  UNIQUE (account, id)
);
CREATE UNIQUE INDEX events_key ON events (account, key) WHERE key IS NOT NULL;
CREATE INDEX events_lane ON events (lane, open, seq) WHERE lane IS NOT NULL;
CREATE INDEX events_open ON events (seq) WHERE open = 1;
CREATE INDEX events_kept ON events (state, seq) WHERE state IN ('bad', 'dead', 'unhandled');
CREATE INDEX events_contested ON events (seq) WHERE contested > 0;
CREATE TABLE bodies (
  seq BIGINT_KEY,
  body BYTES NOT NULL,
  under BIGINT NOT NULL
);
CREATE TABLE evidence (
  seq BIGINT_KEY,
  digest TEXT NOT NULL,
  body BYTES NOT NULL,
  trust TEXT NOT NULL,
  received_at BIGINT NOT NULL
);
CREATE TABLE marks (
  seq BIGINT NOT NULL,
  rule TEXT NOT NULL,
  state TEXT NOT NULL,
  attempts BIGINT NOT NULL,
  due BIGINT,
  failed_at BIGINT,
  marked_at BIGINT NOT NULL,
  message BYTES,
  PRIMARY KEY (seq, rule)
) WITHOUT_ROWID;
CREATE TABLE steps (
  seq BIGINT NOT NULL,
  rule TEXT NOT NULL,
  name BYTES NOT NULL,
  value BYTES NOT NULL,
  PRIMARY KEY (seq, rule, name)
) WITHOUT_ROWID;
]],
  [[
CREATE TABLE quotas (
  key TEXT NOT NULL PRIMARY KEY,
  line TEXT NOT NULL
) WITHOUT_ROWID;
CREATE TABLE places (
  account TEXT NOT NULL,
  place TEXT NOT NULL,
  token TEXT NOT NULL,
  owner TEXT,
  till BIGINT NOT NULL,
  PRIMARY KEY (account, place)
) WITHOUT_ROWID;
CREATE TABLE intents (
  id TEXT NOT NULL PRIMARY KEY,
  account TEXT NOT NULL,
  place TEXT NOT NULL,
  state TEXT NOT NULL,
  owner TEXT,
  till BIGINT NOT NULL,
  sent_at BIGINT NOT NULL,
  body BYTES NOT NULL,
  result BYTES
) WITHOUT_ROWID;
CREATE INDEX intents_place ON intents (account, place);
CREATE TABLE claims (
  account TEXT NOT NULL,
  place TEXT NOT NULL,
  id TEXT NOT NULL,
  made_at BIGINT NOT NULL,
  PRIMARY KEY (account, place, id)
) WITHOUT_ROWID;
CREATE INDEX claims_made ON claims (made_at);
]],
  [[
ALTER TABLE lanes ADD COLUMN running BIGINT;
ALTER TABLE lanes ADD COLUMN rule TEXT;
ALTER TABLE lanes ADD COLUMN stirred BIGINT NOT NULL DEFAULT 0;
CREATE TABLE counters (
  shard BIGINT NOT NULL,
  name TEXT NOT NULL,
  n BIGINT NOT NULL,
  total BIGINT NOT NULL,
  PRIMARY KEY (shard, name)
) WITHOUT_ROWID;
INSERT INTO counters (shard, name, n, total)
SELECT 0, 'event ' || account, COUNT(*), 0 FROM events GROUP BY account;
INSERT INTO counters (shard, name, n, total)
SELECT 0, 'state ' || CASE state WHEN 'bad' THEN 'dead' ELSE state END || ' ' || account,
  COUNT(*), 0 FROM events WHERE state <> 'pending'
  GROUP BY account, CASE state WHEN 'bad' THEN 'dead' ELSE state END;
INSERT INTO counters (shard, name, n, total)
SELECT 0, 'contested ' || account, COUNT(*), 0 FROM events WHERE contested > 0 GROUP BY account;
]],
  [[
ALTER TABLE lanes ADD COLUMN began BIGINT;
]],
  -- for a set of more than two texts SQLite makes a table, whenever an event is admitted
  [[
DROP INDEX events_kept;
CREATE INDEX events_kept ON events (state, seq)
  WHERE state = 'bad' OR state = 'dead' OR state = 'unhandled';
]],
}

local META = "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)"

---Brings the tables to VERSION, within the caller's transaction.
---@param query fun(sql: string, ...): table raises where the database refuses
---@param spell fun(sql: string, version: integer): string the dialect's spelling
---@return boolean|nil, string|nil message
function M.migrate(query, spell)
  query(META)
  local row = query("SELECT value FROM meta WHERE name = 'version'")[1]
  local version = row and tonumber(row.value) or 0
  if version > M.VERSION then
    return nil, ("the inbox has version %d, this billhook knows up to %d")
      :format(version, M.VERSION)
  end
  if version == M.VERSION then return true end
  for step = version + 1, M.VERSION do
    for sql in spell(STEPS[step], step):gmatch("(.-);\n") do query(sql) end
  end
  query("INSERT INTO meta (name, value) VALUES ('version', $1) "
    .. "ON CONFLICT (name) DO UPDATE SET value = excluded.value", tostring(M.VERSION))
  return true
end

return M
