-- metrics_spec.lua: what is counted, whoever counts it, and how it is told.

local desk = require "spec.support.inbox"
local errors = require "billhook.error"
local metrics = require "billhook.delivery.metrics"
local prometheus = require "spec.support.prometheus"

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
    d.app:receive("apply", { authorization = "no" }, "{}")
    d:apply(desk.item(1, "Invoice was edited: ?", 200))
    d:work()
    local page = prometheus.read(text())
    assert.are.equal(3, page.value [[billhook_rule_runs_total{rule="a \"rule\"\\",result="done"}]])
    assert.are.equal(3, page.value
      'billhook_rule_seconds_count{rule="r\195\164ge \226\130\172"}')
    local names = {}
    for name in pairs(page.families) do names[#names + 1] = name:gsub("^billhook_", "") end
    table.sort(names)
    assert.are.same({ "api_quota_left", "api_quota_limit", "contested_events", "dead_letters",
      "deliveries_total", "events", "inbox_up", "queue_due", "queue_leased",
      "queue_oldest_seconds", "queue_pending", "refusals_total", "rule_runs_total",
      "rule_seconds" }, names)
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
    d:school { data = '{"id":16,"amount":1}' }
    d:school({ id = 2 }, "class")
    d.app:receive("apply", nil, "{}")
    d.app:receive("apply", {}, "")
    d.app:receive("nobody", {}, "")
    values {
      ['billhook_deliveries_total{result="admitted",account="school"}'] = "1",
      ['billhook_deliveries_total{result="duplicate",account="school"}'] = "1",
      ['billhook_deliveries_total{result="contested",account="school"}'] = "1",
      ['billhook_deliveries_total{result="admitted",account="class"}'] = "1",
      ['billhook_deliveries_total{result="refused",account="apply"}'] = "2",
      ['billhook_deliveries_total{result="refused",account="?"}'] = "1",
      ['billhook_refusals_total{code="header",account="apply"}'] = "1",
      ['billhook_refusals_total{code="unsigned",account="apply"}'] = "1",
      ['billhook_refusals_total{code="account",account="?"}'] = "1",
      ['billhook_contested_events{account="school"}'] = "2",
      ['billhook_events{account="school",state="unhandled"}'] = "2",
    }
  end)

  it("tell of the queue", function()
    d.app:on("*", function() end)
    values { billhook_queue_pending = "0", billhook_queue_oldest_seconds = "0",
      billhook_queue_due = "0" }
    d:school { id = 1, invoice = 1 }
    d.now = d.now + 30
    d:school { id = 2, invoice = 2 }
    assert(d.app:open():claim { owner = "me", lease = 60, limit = 1 })
    values { billhook_queue_pending = "2", billhook_queue_oldest_seconds = "30",
      billhook_queue_due = "1", billhook_queue_leased = "1" }
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
    d.app:on("class:*", { name = "a", trust = "api" }, function() end)
    d.app:on("apply:*", { name = "b", trust = "api" }, function() end)
    d:school({}, "class")
    d:apply(desk.item(1, "Invoice was edited: ?", 200))
    d:work()
    d.answer = function() return { status = 404, headers = {}, body = "" } end
    d:apply(desk.item(2, "Invoice was edited: ?", 201))
    d:work()
    values {
      ['billhook_api_calls_total{account="class",operation="invoices.get",result="200"}'] = "1",
      ['billhook_api_calls_total{account="apply",operation="invoices.get",result="404"}'] = "1",
      ['billhook_api_quota_left{account="apply"}'] = "178",
      ['billhook_api_quota_limit{account="apply"}'] = "180",
      ['billhook_api_quota_left{account="class"}'] = nil,
    }
  end)

  it("are those of all processes that share an inbox", function()
    local process = require "billhook.process"
    local folder = assert(process.mkdtemp "/tmp/billhook-metrics")
    local url = "sqlite:" .. folder .. "/a.db"
    local first, second = desk.new { inbox = url }, desk.new { inbox = url }
    first.app:receive("apply", {}, "{")
    second.app:receive("apply", {}, "{")
    second.app:receive("apply", {}, "{")
    first:school()
    second:school { id = 2, invoice = 17 }
    assert(metrics.flush(second.app))
    d = first
    values {
      ['billhook_deliveries_total{result="refused",account="apply"}'] = "3",
      ['billhook_deliveries_total{result="admitted",account="school"}'] = "2",
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

  local function body() return d.app.store:show("school:" .. desk.uuid(1)).body end

  it("takes the body of what is finished after 90 days, and leaves the id", function()
    d.app:on("*", function() end)
    d:school()
    d:work()
    d.now = d.now + 89 * DAY
    d:work()
    assert.is_string(body())
    d.now = d.now + 2 * DAY
    d:work()
    assert.is_nil(body())
    assert.are.equal(1, d:logged("purged")[1].fields.events)
    d:school()
    assert.are.equal(1, #d:logged "duplicate")
  end)

  it("is what the app says, or never", function()
    d = desk.new { retention = 0.5 }
    d:school()
    d.now = d.now + DAY
    d:work()
    assert.is_nil(body())
    d = desk.new { retention = false }
    d:school()
    d.now = d.now + 4000 * DAY
    d:work()
    assert.is_string(body())
  end)

  it("leaves what is not finished", function()
    d = desk.new { retention = 1, attempts = 1000 }
    d.app:on("*", function() return nil, "no" end)
    d:school()
    for _ = 1, 3 do
      d.now = d.now + 2 * DAY
      d:work()
    end
    assert.is_string(body())
  end)

  it("looks once a day, over all processes and their restarts", function()
    local purges = 0
    local store = d.app:open()
    local purge = store.purge
    store.purge = function(...)
      purges = purges + 1
      return purge(...)
    end
    d:work()
    assert.are.equal(1, purges)
    local other = desk.new()
    other.now = d.now
    other.app:use_store(store)
    other:work()
    for _ = 1, 23 do
      d.now = d.now + 3600
      d:work()
    end
    assert.are.equal(1, purges)
    d.now = d.now + 3600
    d:work()
    assert.are.equal(2, purges)
  end)

  it("takes a lot a little at a time, between the rules", function()
    local purges = {}
    local store = d.app:open()
    store.purge = function(_, filter)
      purges[#purges + 1] = filter.limit
      return #purges < 3 and filter.limit or 0
    end
    for i = 1, 5 do
      d.app:work()
      assert.are.equal(math.min(i, 3), #purges)
    end
  end)

  it("says when it cannot, and goes on", function()
    local ran
    d.app:on("*", function() ran = true end)
    local store = d.app:open()
    store.purge = function() return nil, errors.new { kind = "store", message = "locked" } end
    d:school()
    d:work()
    assert.is_true(ran)
    assert.are.equal("store: locked", d:logged("not_purged")[1].fields.message)
  end)
end)
