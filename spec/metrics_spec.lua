-- metrics_spec.lua: what is counted, whoever counts it, and how it is told.

local desk = require "spec.support.inbox"
local errors = require "billhook.error"
local metrics = require "billhook.app.metrics"
local prometheus = require "spec.support.prometheus"
local scratch = require "spec.support.scratch"

local d
before_each(function() d = desk.new() end)

local function text() return (metrics.text(d.app)) end

-- the value of a sample
local function value(sample)
  for line in text():gmatch "[^\n]+" do
    if line:sub(1, #sample + 1) == sample .. " " then return line:sub(#sample + 2) end
  end
end

local function values(expected)
  for sample, number in pairs(expected) do assert.are.equal(number, value(sample), sample) end
end

describe("metrics", function()
  it("are Prometheus text, whatever rules are called", function()
    for _, name in ipairs { 'a "rule"\\', "{}", "a=b, c", "r\195\164ge \226\130\172", "x y",
      "\\n" } do
      d.app:on("*", { name = name }, function() end)
    end
    d.app:on("*", { name = "bad" }, function() return nil, "no" end)
    d:school()
    d:school { data = '{"id":16,"amount":1}' }
    d.app:receive("apply", {}, "{")
    d:put(200)
    d:news(200)
    d:work()
    local page = prometheus.read(text())
    assert.are.equal(3, page.value [[billhook_rule_runs_total{rule="a \"rule\"\\",result="done"}]])
    assert.are.equal(3, page.value
      'billhook_rule_seconds_count{rule="r\195\164ge \226\130\172"}')
    local names = {}
    for name in pairs(page.families) do names[#names + 1] = name:gsub("^billhook_", "") end
    table.sort(names)
    assert.are.same({ "account_paused", "api_calls_total", "checks_due", "dead_letters",
      "deliveries_checking", "deliveries_incoming", "deliveries_total", "inbox_log_bytes",
      "inbox_up", "queue_due",
      "queue_leased", "queue_oldest_seconds", "queue_pending", "refusals_total",
      "rule_runs_total", "rule_seconds", "secrets_total" }, names)
  end)

  it("are read by a reader that would see what is wrong", function()
    local head = "# HELP billhook_x A thing.\n# TYPE billhook_x gauge\n"
    assert.are.equal(1, prometheus.read(head .. 'billhook_x{a="b"} 1\n').value 'billhook_x{a="b"}')
    local hist = "# HELP billhook_h A thing.\n# TYPE billhook_h histogram\n"
    for _, wrong in ipairs {
      "billhook_x 1\n", head, head .. "billhook_x 1", head .. "billhook_x  1\n",
      head .. "billhook_x 0x1\n", head .. "billhook_x nan(1)\n", head .. "billhook_y 1\n",
      head .. 'billhook_x{} 1\n', head .. 'billhook_x{a="\\x"} 1\n',
      head .. 'billhook_x{a="b} 1\n',
      head .. 'billhook_x{a="1",a="2"} 1\n', head .. 'billhook_x{1="b"} 1\n',
      head .. 'billhook_x{a="b" c="d"} 1\n', head .. "billhook_x 1\nbillhook_x 1\n",
      head .. 'billhook_x{a="\255"} 1\n', head .. "billhook_x 1\n\n",
      head .. head .. "billhook_x 1\n",
      "# HELP billhook_x A.\nbillhook_x 1\n", "# TYPE billhook_x gauge\nbillhook_x 1\n",
      "# HELP billhook_x A.\n# TYPE billhook_x counter\nbillhook_x 1\n",
      "# HELP billhook_x_total A.\n# TYPE billhook_x_total counter\nbillhook_x_total -1\n",
      "# HELP billhook_ms A.\n# TYPE billhook_ms gauge\nbillhook_ms 1\n",
      hist .. 'billhook_h_bucket{le="1"} 1\nbillhook_h_sum 1\nbillhook_h_count 1\n',
      hist .. 'billhook_h_bucket{le="1"} 2\nbillhook_h_bucket{le="+Inf"} 1\n'
        .. "billhook_h_sum 1\nbillhook_h_count 1\n",
      hist .. 'billhook_h_bucket{le="+Inf"} 1\nbillhook_h_sum 1\nbillhook_h_count 2\n',
      hist .. 'billhook_h_bucket{le="+Inf"} 1\nbillhook_h_count 1\n',
    } do
      assert.is_false(pcall(prometheus.read, wrong), wrong)
    end
  end)

  it("tell for how long a rule has been running", function()
    local seen
    d.app:on("*", { name = "slow" }, function()
      d.now = d.now + 30
      seen = value 'billhook_rule_running_seconds{rule="slow"}'
    end)
    d:school()
    d:work()
    assert.are.equal("30", seen)
    assert.is_nil(value 'billhook_rule_running_seconds{rule="slow"}')
  end)

  it("count deliveries by account and result", function()
    d:school()
    d:school()
    d:school({ id = 2 }, "class")
    d.app:receive("apply", {}, nil)
    d.app:receive("apply", {}, "")
    d.app:receive("nobody", {}, "")
    values {
      ['billhook_deliveries_total{result="new",account="school"}'] = "1",
      ['billhook_deliveries_total{result="duplicate",account="school"}'] = "1",
      ['billhook_secrets_total{secret="1",account="school"}'] = "2",
      ['billhook_deliveries_total{result="new",account="class"}'] = "1",
      ['billhook_deliveries_total{result="refused",account="apply"}'] = "2",
      ['billhook_deliveries_total{result="refused",account="?"}'] = "1",
      ['billhook_refusals_total{code="malformed",account="apply"}'] = "1",
      ['billhook_refusals_total{code="unsigned",account="apply"}'] = "1",
      ['billhook_refusals_total{code="account",account="?"}'] = "1",
    }
  end)

  it("tell of the queue", function()
    d.app:on("*", function() end)
    values { billhook_queue_pending = "0", billhook_queue_oldest_seconds = "0",
      billhook_queue_due = "0" }
    d:school { id = 1, invoice = 1 }
    d:school { id = 2, invoice = 2 }
    d.answer = function() return { status = 503 } end
    d:news(1)
    values { billhook_deliveries_incoming = "3" }
    assert(d.app:work { limit = 0 })
    d.now = d.now + 30
    assert(d.app:open():claim { kind = "run", account = "school", owner = "me", lease = 60000,
      limit = 1, page = 1 })
    values { billhook_queue_pending = "2", billhook_queue_oldest_seconds = "30",
      billhook_queue_due = "1", billhook_queue_leased = "1", billhook_deliveries_incoming = "0",
      billhook_deliveries_checking = "1", billhook_checks_due = "1",
      ['billhook_account_paused{account="apply"}'] = "0" }
  end)

  it("count runs and their durations, and dead letters", function()
    d = desk.new { attempts = 2 }
    d.app:on("*", { name = "slow" }, function() d.now = d.now + 0.75 end)
    d.app:on("*", { name = "bad" }, function() d.now = d.now + 100 return nil, "no" end)
    d:school()
    for _ = 1, 3 do
      d:work()
      d.now = d.now + 3600
    end
    values {
      ['billhook_rule_runs_total{rule="slow",result="done"}'] = "1",
      ['billhook_rule_runs_total{rule="bad",result="failed"}'] = "1",
      ['billhook_rule_runs_total{rule="bad",result="dead"}'] = "1",
      ['billhook_rule_seconds_bucket{rule="slow",le="0.5"}'] = "0",
      ['billhook_rule_seconds_bucket{rule="slow",le="1"}'] = "1",
      ['billhook_rule_seconds_bucket{rule="slow",le="+Inf"}'] = "1",
      ['billhook_rule_seconds_bucket{rule="bad",le="60"}'] = "0",
      ['billhook_rule_seconds_bucket{rule="bad",le="+Inf"}'] = "2",
      ['billhook_rule_seconds_sum{rule="slow"}'] = "0.75",
      ['billhook_rule_seconds_count{rule="bad"}'] = "2",
      billhook_dead_letters = "1",
    }
  end)

  it("count what is asked of APIs, and tell what is left of quotas", function()
    d = desk.new { clients = { apply = { quota = 180 } } }
    d:put(200)
    d:school({}, "class")
    d:news(200)
    d:work()
    d:news(201)
    d:work()
    values {
      ['billhook_api_calls_total{account="class",operation="invoices.get",result="200"}'] = "1",
      ['billhook_api_calls_total{account="apply",operation="invoices.get",result="404"}'] = "1",
      ['billhook_api_quota_left{account="apply"}'] = "178",
      ['billhook_api_quota_limit{account="apply"}'] = "180",
      ['billhook_api_quota_left{account="class"}'] = nil,
    }
  end)

  it("tell all else where a store of the user's own raises", function()
    local store = { update = function() error "broken" end }
    d = desk.new { clients = { apply = { quota = { limit = 180, store = store } } } }
    values {
      billhook_inbox_up = "1",
      ['billhook_api_quota_left{account="apply"}'] = nil,
      ['billhook_account_paused{account="apply"}'] = "0",
    }
  end)

  it("are those of all processes that share an inbox", function()
    local process = require "billhook.process"
    local folder = scratch.folder "metrics"
    local url = "sqlite:" .. folder .. "/a.db"
    local first, second = desk.new { inbox = url }, desk.new { inbox = url }
    first.app:receive("apply", {}, "{")
    second.app:receive("apply", {}, "{")
    second.app:receive("apply", {}, "{")
    first:school()
    second:school { id = 2 }
    assert(metrics.flush(second.app))
    d = first
    values {
      ['billhook_deliveries_total{result="refused",account="apply"}'] = "3",
      ['billhook_deliveries_total{result="new",account="school"}'] = "2",
    }
    first.app.store:close()
    second.app.store:close()
    process.remove_tree(folder)
  end)

  it("are handed over every 10 seconds by those who work", function()
    local given = 0
    local store = d.app:open()
    local count = store.count
    function store:count(list)
      given = given + #list
      return count(self, list)
    end
    d.app:work()
    d.app:receive("apply", {}, "{")
    d.now = d.now + 9
    d.app:work()
    assert.are.equal(0, given)
    d.now = d.now + 1
    d.app:work()
    assert.are.equal(2, given)
  end)

  it("say that the inbox is down, and keep what they could not hand over", function()
    d:school()
    d.app:receive("apply", {}, "{")
    local store = d.app.store
    local count = store.count
    store.count = function() return nil, errors.new { kind = "store", message = "disk full" } end
    local page, err = metrics.text(d.app)
    assert.are.equal("# HELP billhook_inbox_up Does the inbox answer?\n"
      .. "# TYPE billhook_inbox_up gauge\nbillhook_inbox_up 0\n", page)
    assert.are.equal("store: disk full", tostring(err))
    store.count = count
    values { billhook_inbox_up = "1",
      ['billhook_deliveries_total{result="refused",account="apply"}'] = "1" }
  end)

  it("count deliveries that could not be stored", function()
    local store = d.app:open()
    local admit = store.admit
    store.admit = function() return nil, errors.new { kind = "store", message = "disk full" } end
    assert.are.equal(503, (d:school()))
    store.admit = admit
    values { ['billhook_deliveries_total{result="not_stored",account="school"}'] = "1" }
  end)

  it("take more text of their host's", function()
    assert.is_truthy(metrics.text(d.app, "host_things 1"):find "\nhost_things 1\n$")
  end)
end)

describe("app:health", function()
  it("is that the inbox takes something", function()
    assert.is_true(d.app:health())
    d = desk.new { inbox = "sqlite:/no/such/folder/a.db" }
    local ok, err = d.app:health()
    assert.is_nil(ok)
    assert.are.equal("store", err.kind)
  end)

  it("asks at most once a second while all is well", function()
    local asked = 0
    local store = d.app:open()
    local set = store.set
    store.set = function(...)
      asked = asked + 1
      return set(...)
    end
    for _ = 1, 5 do assert.is_true(d.app:health()) end
    assert.are.equal(1, asked)
  end)

  it("is bad after a delivery was not stored, until one is", function()
    local store = d.app:open()
    local admit = store.admit
    store.admit = function() return nil, errors.new { kind = "store", message = "disk full" } end
    assert.is_true(d.app:health())
    d:school()
    local ok, err = d.app:health()
    assert.is_nil(ok)
    assert.are.equal("store: disk full", tostring(err))
    store.admit = admit
    assert.is_nil(d.app:health())
    d:school()
    assert.is_true(d.app:health())
    store.admit = function() return nil, errors.new { kind = "store", message = "disk full" } end
    d:school()
    d.app.trouble.at = d.app.trouble.at - 31 -- long ago
    assert.is_true(d.app:health())
  end)
end)

describe("retention", function()
  local DAY = 86400

  -- an invoice that is paid, of which a delivery told
  local function paid(options)
    d = desk.new(options):listen()
    d:put(1)
    d:settled()
    d:pay(1)
    d:news(1)
    d:work()
  end

  -- days go by; is anything left of what was said?
  local function after(days)
    for _ = 1, days do
      d.now = d.now + DAY
      d:work()
    end
    local event = d.app.store:events { account = "apply", type = "invoice.updated" }[1]
    return { d.app.store:deliveries { account = "apply" }[1].body ~= nil, event.data ~= nil,
      d:row(1).data ~= nil }
  end

  it("takes what is said of an invoice 90 days after it was closed, and leaves ids and amounts",
    function()
      paid()
      assert.are.same({ true, true, true }, after(89))
      assert.are.same({ false, false, false }, after(3))
      assert.is_true(#d:logged "purged" > 0)
      local row = d:row(1)
      assert.are.same({ "20.00", "paid", 2 }, { row.total, row.status, row.version })
      d:apply(desk.item(1, "Invoice was edited: ?", 1))
      assert.are.equal(1, #d:logged "duplicate")
      d:pass(320, 10) -- it is looked at again, and nothing has changed
      assert.are.equal(3, #d.seen)
    end)

  it("is what the app says, or never", function()
    paid { retention = 2 }
    assert.are.same({ false, false, false }, after(5))
    paid { retention = false }
    assert.are.same({ true, true, true }, after(500))
  end)

  it("leaves what is open for 400 days, and what is not finished for ever", function()
    d = desk.new { retention = 1, attempts = 1000 }
    d.app:on("*", function() return nil, "no" end)
    d:school()
    for _ = 1, 500 do
      d.now = d.now + DAY
      d.app:work()
    end
    assert.is_string(d:show("school:" .. desk.uuid(1)).claims)
  end)

  it("looks once a day, over all processes and their restarts", function()
    local looks = 0
    local store = d.app:open()
    local forget = store.forget
    store.forget = function(...)
      looks = looks + 1
      return forget(...)
    end
    local other = d:another()
    for _ = 1, 3 * 24 do
      d.now = d.now + 3600
      d:work()
      assert(other:work())
    end
    assert.are.equal(2, looks) -- the first day only notes the time
  end)

  it("deletes nothing for a clock that jumps", function()
    paid { retention = 2 }
    d.now = d.now + 400 * DAY
    d:work()
    assert.is_string(d:row(1).data)
    d.now = d.now - 399 * DAY
    assert.are.same({ true, true, true }, after(0))
  end)

  it("says when it cannot, and goes on", function()
    d = desk.new():listen()
    local store = d.app:open()
    store.forget = function() return nil, errors.new { kind = "store", message = "locked" } end
    d:work()
    d.now = d.now + DAY
    d:school()
    d:work()
    assert.are.equal("invoice.created 16", d:took())
    assert.are.equal("store: locked", d:logged("not_purged")[1].fields.message)
  end)
end)
