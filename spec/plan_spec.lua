-- plan_spec.lua: what the inbox asks is found by an index, so that a million stored deliveries are
-- no slower than a thousand (bench/run size measures that): shown by SQLite's EXPLAIN QUERY PLAN.

local process = require "billhook.process"

describe("the inbox's plans", function()
  local folder, store, real, partial
  local asked -- { text, plan (lines) } of every statement

  local function event(id, changes)
    local one = {
      account = "school", id = id, source = "webhook", vendor = "dreamclass", invoice = "1",
      type = "invoice.created", native = "INVOICE_CREATED", live = true, trust = "id",
      digest = "d" .. id, body = "{}", rules = { "r" }, key = "invoice.created:1",
      again = { type = "invoice.updated", rules = { "r" } },
    }
    for name, value in pairs(changes or {}) do one[name] = value end
    return one
  end

  -- Statements of transactions and settings have no plan.
  local function watch(_, text, ...)
    local verb = text:match "^%s*(%u+)"
    if verb == "SELECT" or verb == "UPDATE" or verb == "DELETE" or verb == "INSERT" then
      local lines = {}
      for i, row in ipairs(assert(real:query("EXPLAIN QUERY PLAN " .. text, ...))) do
        lines[i] = row.detail
      end
      asked[#asked + 1] = { text = text:gsub("%s+", " "), plan = lines }
    end
    return real:query(text, ...)
  end

  before_each(function()
    folder = assert(process.mkdtemp "/tmp/billhook-plan")
    store = assert(require("billhook.inbox").open("sqlite:" .. folder .. "/a.db"))
    partial = {}
    for _, row in ipairs(store.db:query "SELECT name, sql FROM sqlite_master WHERE sql > ''") do
      partial[row.name] = row.sql:find "INDEX" ~= nil and row.sql:find " WHERE " ~= nil
    end
    asked, real = {}, store.db
    store.db = setmetatable({ query = watch }, { __index = function(_, name)
      return function(_, ...) return real[name](real, ...) end
    end })
  end)

  after_each(function()
    store.db = real
    store:close()
    process.remove_tree(folder)
  end)

  -- A whole table may be gone through only where that is a few rows (a partial index, whose rows
  -- are those that it is asked for) or where LIMIT ends it (the newest first, by number).
  local grows = { events = true, e = true, bodies = true, b = true, lanes = true, l = true,
    marks = true, m = true, steps = true, evidence = true }

  local function walks(text, line)
    local table_name = line:match "^SCAN (%S+)"
    if not grows[table_name or ""] then return false end
    local index = line:match "USING COVERING INDEX (%S+)" or line:match "USING INDEX (%S+)"
    if index then return not partial[index] end
    return not (table_name == "e" and text:find "ORDER BY e.seq DESC LIMIT %d+$")
  end

  local function sorts(line) return line:find("USE TEMP B-TREE", 1, true) ~= nil end

  -- Every statement so far is one that does not grow; gives all lines of their plans. What is
  -- sorted must be what such an index has found.
  local function judged(may_sort)
    local all = {}
    assert.is_true(#asked > 0)
    for _, one in ipairs(asked) do
      for _, line in ipairs(one.plan) do
        assert.is_false(walks(one.text, line), line .. "   <- " .. one.text)
        assert.is_true(may_sort or not sorts(line), line .. "   <- " .. one.text)
        all[#all + 1] = line
      end
    end
    asked = {}
    return table.concat(all, "\n")
  end

  local function by(plans, ...)
    for _, words in ipairs { ... } do
      assert.is_truthy(plans:find(words, 1, true), words .. " is not in\n" .. plans)
    end
  end

  it("admit by the ids, the keys and the names of lanes", function()
    assert(store:admit { event "a" })
    assert(store:admit { event "a", event("a", { digest = "x" }), event "b", event("c", {
      invoice = false, key = false }) })
    by(judged(), "INDEX sqlite_autoindex_events_1 (account=? AND id=?)",
      "INDEX events_key (account=? AND key=?)",
      "INDEX sqlite_autoindex_lanes_1 (account=? AND name=?)")
  end)

  it("admit without a table or copies of pages that SQLite makes for the statement", function()
    local list = {}
    for i = 1, 40 do
      list[i] = event("e" .. i, { invoice = tostring(i), key = "key " .. i })
    end
    assert(store:admit(list))
    local seen = 0
    for _, one in ipairs(asked) do
      if one.text:find "^INSERT [%u ]*INTO events" or one.text:find "^INSERT [%u ]*INTO lanes" then
        seen = seen + 1
        local text = one.text:gsub("%$%d+", "1")
        for _, step in ipairs(assert(real:query("EXPLAIN " .. text))) do
          assert.are_not.equal("OpenEphemeral", step.opcode, one.text)
          -- 2: what is refused is undone by itself
          if step.opcode == "HaltIfNull" then assert.are_not.equal(2, step.p2, one.text) end
        end
      end
    end
    assert.is_true(seen > 1)
  end)

  it("claim by what is due, and read a lane by its open events", function()
    assert(store:admit { event "a", event "b" })
    asked = {}
    local lane = assert(store:claim { owner = "me", lease = 60, limit = 8, fresh = true })[1]
    by(judged(), "INDEX lanes_due (due<?)", "INDEX lanes_owner",
      "INDEX events_lane (lane=? AND open=? AND seq>?)")
    assert(store:running())
    by(judged(), "INDEX lanes_owner", "INTEGER PRIMARY KEY (rowid=?)", "USING PRIMARY KEY")
    assert(store:renew(lane.lane, lane.token, 60))
    assert(store:retry(lane.token, lane.events[1].seq, "r", 0, "x"))
    assert(store:done(lane.token, lane.events[1].seq, "r"))
    assert(store:more(lane.lane, lane.token, 0))
    assert(store:release { { lane = lane.lane, token = lane.token, seen = 1 } })
    by(judged(), "INTEGER PRIMARY KEY (rowid=?)")
  end)

  it("list from the newest on, or by the index of what is few", function()
    assert(store:admit { event "a", event "b" })
    for _, filter in ipairs { {}, { account = "school" }, { type = "x" }, { state = "done" },
      { account = "school", state = "done", before = 7 }, { newer_than = 60 },
      { older_than = 60 } } do
      asked = {}
      assert(store:list(filter))
      judged(false)
    end
    for index, filter in pairs {
      ["INDEX events_lane (lane=?"] = { account = "school", invoice = "1" },
      ["INDEX events_open"] = { state = "pending" },
      ["INDEX events_kept (state=?"] = { state = "unhandled" },
      ["INDEX events_contested"] = { contested = true },
      ["INDEX sqlite_autoindex_events_1 (account=? AND id=?)"] = { id = "school:a" },
    } do
      asked = {}
      assert(store:list(filter))
      by(judged(true), index)
    end
    asked = {}
    assert.are.equal(2, #store:list { invoice = "1" })
    by(judged(true), "INDEX events_lane (lane=?",
      "INDEX sqlite_autoindex_lanes_1 (account=? AND name=?)")
    for _, account in ipairs { false, "school" } do
      asked = {}
      assert(store:list { state = "dead", account = account or nil })
      by(judged(true), "INDEX events_kept")
    end
    asked = {}
    assert(store:show "school:a")
    by(judged(true), "INDEX sqlite_autoindex_events_1 (account=? AND id=?)")
  end)

  it("count by indexes of what is counted alone", function()
    assert(store:admit { event "a", event("b", { rules = {} }) })
    asked = {}
    assert(store:stats())
    by(judged(true), "events_open", "lanes_owner", "lanes_due", "counters USING PRIMARY KEY")
  end)
end)
