-- reconcile_spec.lua: all that an API has, against what is known.

local desk = require "spec.support.inbox"

local d
before_each(function() d = desk.new():listen() end)

local function without_ids(report)
  report.invoices = nil
  return report
end

describe("app:reconcile of DreamApply", function()
  local function drift()
    for id = 1, 4 do d:put(id) end
    d:settled()
    d.now = d.now + 3600
    d.api.apply["2"].items[1].price = "1.00"
    d:put(5)
    d:remove(3)
    d.calls = 0
  end

  it("reports in one request what differs, and makes events of it", function()
    drift()
    local report = assert(d.app:reconcile "apply")
    assert.are.equal(1, d.calls)
    assert.are.same({ "3" }, report.invoices)
    assert.are.same({ seen = 4, same = 2, changed = 1, missing_here = 1, missing_there = 1,
      unread = 0, events = 2 }, without_ids(report))
    d:work()
    table.sort(d.seen)
    assert.are.equal("invoice.created 5@1, invoice.updated 2@2", d:took())
    d:pass(130, 5)
    assert.are.equal("invoice.deleted 3@2", d:took())
    report = assert(d.app:reconcile "apply")
    assert.are.equal("[]", require("billhook.json").encode(report.invoices))
    assert.are.same({ seen = 4, same = 4, changed = 0, missing_here = 0, missing_there = 0,
      unread = 0, events = 0 }, without_ids(report))
  end)

  it("with dry_run reports the same, and changes nothing", function()
    drift()
    for _ = 1, 2 do
      local report = assert(d.app:reconcile("apply", { dry_run = true }))
      assert.are.same({ "3" }, report.invoices)
      assert.are.same({ seen = 4, same = 2, changed = 1, missing_here = 1, missing_there = 1,
        unread = 0, events = 2 }, without_ids(report))
    end
    assert.are.equal(2, d.calls)
    d:pass(600, 20)
    assert.are.equal(2, d.calls)
    assert.are.equal("", d:took())
    assert.is_false(d:row(5).known)
  end)

  -- BILLHOOK_RECONCILE=100000 has so many
  it("is one request and constant memory, however many there are #once", function()
    local many = tonumber(os.getenv "BILLHOOK_RECONCILE" or 3000)
    d.answer = function()
      local parts = {}
      for id = 1, many do
        parts[id] = ('"%d":{"id":%d,"currency":"EUR","issued":"2020-01-01T00:00:00+00:00",'
          .. '"items":[{"item":"x","price":"1.00","qty":"1"}],"collections":{}}'):format(id, id)
      end
      return { status = 200, headers = { ["content-type"] = "application/json" },
        body = "{" .. table.concat(parts, ",") .. "}" }
    end
    local store, most, looks, first, last = d.app:open(), 0, 0, nil, 0
    local look = store.look
    function store:look(account, ids)
      most, looks = math.max(most, #ids), looks + 1
      if looks % math.ceil(many / 5000) == 0 then
        collectgarbage()
        collectgarbage()
        last = collectgarbage "count"
        first = first or last
      end
      return look(self, account, ids)
    end
    assert.are.equal(many, assert(d.app:reconcile "apply").seen)
    local report = assert(d.app:reconcile "apply")
    assert.are.equal(many, report.same)
    assert.are.equal(2, d.calls)
    assert.are.equal(500, most)
    assert.is_true(last - first < 4096, last - first) -- KiB that Lua holds
    assert.are.equal("", d:took())
  end)

  it("gives the vendor's error, and stores nothing of what is not there", function()
    drift()
    d.answer = function() return { status = 503 } end
    local report, err = d.app:reconcile "apply"
    assert.is_nil(report)
    assert.are.equal("server", err.kind)
    d.answer = function()
      return { status = 200, headers = { ["content-type"] = "application/json" },
        body = '{"1":{"id":1', torn = { kind = "network" } }
    end
    report, err = d.app:reconcile "apply"
    assert.is_nil(report)
    assert.are.equal("network", err.kind)
    assert.is_nil(d:row(3).check_due)
  end)
end)

describe("app:reconcile of others", function()
  local function open_ones()
    for id = 17, 20 do
      d.api.class[tostring(id)] = { id = id, amount = 300, paidAmount = 0,
        createdAt = "2023-11-15T00:00:00Z", payments = {} }
      d:school({ id = id, invoice = id }, "class")
    end
    d:pass(320, 5)
    d:took()
    d.calls = 0
  end

  it("reads each known open invoice", function()
    open_ones()
    d.api.class["18"].amount = 1
    d.api.class["19"] = nil
    local report = assert(d.app:reconcile("class", { dry_run = true }))
    assert.are.same({ "19" }, report.invoices)
    assert.are.same({ seen = 4, same = 2, changed = 1, missing_here = 0, missing_there = 1,
      unread = 0, events = 1 }, without_ids(report))
    d:work()
    assert.are.equal("", d:took())
    assert(d.app:reconcile "class")
    d:pass(200, 5)
    assert.are.equal("invoice.updated 18@2, invoice.deleted 19@2", d:took())
  end)

  it("goes on past one that cannot be read, and ends where none can", function()
    open_ones()
    d.answer = function(request) return request.url:find "/18$" and { status = 500 } or nil end
    local report = assert(d.app:reconcile "class")
    assert.are.equal(1, report.unread)
    assert.are.equal(3, report.same)
    d.answer = function() return { status = 500 } end
    d.calls = 0
    local none, err = d.app:reconcile "class"
    assert.is_nil(none)
    assert.are.equal("server", err.kind)
    assert.are.equal(3, d.calls)
  end)

  it("is not possible where nothing can be read back, and says why", function()
    local report, err = d.app:reconcile "school"
    assert.is_nil(report)
    assert.are.equal("invalid: reconciling is not possible: "
      .. "billhook.dreamclass: 'api_key' is missing (dreamclass)", tostring(err))
  end)
end)

describe("app:reconcile", function()
  it("raises at its caller's line", function()
    for message, arguments in pairs {
      ["there is no account 'nobody'"] = { "nobody" },
      ["there is no account 'nil'"] = {},
      ["reconcile: 'x' is not known: there are dry_run"] = { "apply", { x = true } },
      ["reconcile: 'dry_run' must be a boolean, got number"] = { "apply", { dry_run = 1 } },
    } do
      local ok, why = pcall(function() d.app:reconcile(arguments[1], arguments[2]) end)
      assert.is_false(ok)
      assert.is_truthy(why:find(message, 1, true), why)
      assert.is_truthy(why:find("^spec/reconcile_spec.lua:"), why)
    end
  end)
end)
