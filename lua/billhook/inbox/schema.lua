-- inbox/schema.lua: the tables of the inbox and the way from one version to
-- the next. Written once for both dialects; what differs stands in capitals
-- (SERIAL_KEY, WITHOUT_ROWID, BIGINT) and is replaced by the dialect.
--
--   lanes     what is worked on in order: (account, invoice id), or one event.
--             due: when to look at it again; NULL: nothing to do. While a
--             worker holds it, due is the end of its lease, so one index
--             finds both what is due and what was dropped. Its number is that of
--             its first event, so that new lanes lie together in every index
--   events    one row for every id that was ever admitted; never deleted. open: 1
--             where something is still to be done with it
--   bodies    apart, since they are large, are purged, and no index needs them
--   evidence  the first body of the same id with another content
--   marks     how far each rule is with an event; none: not begun
--   steps     results of event:once
--   meta      version, the last time seen, cursors

local M = {}

M.VERSION = 1

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
  body TEXT NOT NULL,
  under BIGINT NOT NULL
);
CREATE TABLE evidence (
  seq BIGINT_KEY,
  digest TEXT NOT NULL,
  body TEXT NOT NULL,
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
  message TEXT,
  PRIMARY KEY (seq, rule)
) WITHOUT_ROWID;
CREATE TABLE steps (
  seq BIGINT NOT NULL,
  rule TEXT NOT NULL,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (seq, rule, name)
) WITHOUT_ROWID;
]],
}

local META = "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)"

---Brings the tables to VERSION, within the caller's transaction.
---@param query fun(sql: string, ...): table raises where the database refuses
---@param spell fun(sql: string): string the dialect's spelling
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
    for sql in spell(STEPS[step]):gmatch("(.-);\n") do query(sql) end
  end
  query("INSERT INTO meta (name, value) VALUES ('version', $1) "
    .. "ON CONFLICT (name) DO UPDATE SET value = excluded.value", tostring(M.VERSION))
  return true
end

return M
