local core = require "billhook.core"
local compare = require "billhook.app.compare"
local invoices = require "billhook.invoice"
local betterez = require "billhook.vendor.betterez"
local dreamapply = require "billhook.vendor.dreamapply"
local dreamclass = require "billhook.vendor.dreamclass"

local decode = core.json.decode

local function digest(vendor, text, watch)
  return compare.digest(vendor, assert(decode(text)), watch)
end

-- pairs of texts of one vendor's invoice
local function same(vendor, a, b, watch)
  assert.equal(digest(vendor, a, watch), digest(vendor, b, watch), a .. " and " .. b)
end

local function differ(vendor, a, b, watch)
  assert.not_equal(digest(vendor, a, watch), digest(vendor, b, watch), a .. " and " .. b)
end

local function price(text)
  return '{"id":1,"items":[{"item":"Fee","price":' .. text .. ',"qty":"1.00"}]}'
end

local function issued(text)
  return '{"id":1,"issued":' .. text .. "}"
end

local function tagged(vendor, text)
  return invoices.tag(vendor, assert(decode(text)))
end

describe("compare.digest", function()
  it("carries the number of its algorithm", function()
    assert.matches("^1:" .. ("%x"):rep(64) .. "$", digest(dreamapply, '{"id":1}'))
  end)

  it("does not see how an amount is spelt", function()
    for _, text in ipairs { '"20"', '"20.0"', "20", "20.0", "2e1", "2E+1", '"2e1"', '"020.00"',
      '"+20"', '"200e-1"', "0.2e2", '"20.000000000000000000000"' } do
      same(dreamapply, price '"20.00"', price(text))
    end
    same(dreamapply, price '"-3.00"', price "-3")
    same(dreamapply, price '"0.00"', price '"-0"')
    same(dreamapply, price "0.1", price '"0.10"')
    same(dreamclass, '{"amount":300}', '{"amount":"300.00"}')
    same(dreamclass, '{"paidAmount":0}', '{"paidAmount":"0.00"}')
  end)

  it("sees every other amount", function()
    local all = { '"20.00"', '"20.01"', '"2.00"', '"200"', '"-20.00"', '"20,00"', '"20 "', '"20."',
      '"EUR 20"', '"2e1000000"', '"2e"', '"0x14"', '""', '"."', "0.1", "0.30000000000000004",
      '"0.3"', "12345678901234567890", "12345678901234567891", "true" }
    for i, a in ipairs(all) do
      for j = i + 1, #all do
        differ(dreamapply, price(a), price(all[j]))
      end
    end
  end)

  it("does not see in which time zone a moment is spelt", function()
    for _, text in ipairs { '"2025-12-03T13:15:31Z"', '"2025-12-03T14:15:31+01:00"',
      '"2025-12-03T13:15:31.000+00:00"', '"2025-12-02T23:15:31-14:00"' } do
      same(dreamapply, issued '"2025-12-03T13:15:31+00:00"', issued(text))
    end
    same(betterez, '{"createdAt":{"value":"2021-10-18T13:47:55.691Z","offset":0}}',
      '{"createdAt":{"value":"2021-10-18T14:47:55.691+01:00","offset":60}}')
  end)

  it("sees every other moment, and takes dates as they are", function()
    local all = { '"2025-12-03T13:15:31Z"', '"2025-12-03T13:15:31+01:00"',
      '"2025-12-03T13:15:31.5Z"',
      '"2025-12-03T13:15:31.123456789Z"', '"2025-12-03T13:15:31.123456788Z"', '"2025-12-03"',
      '"2025-12-03T13:15:31"', '"2025-12-03T13:15:31.Z"', '"2025-13-03T13:15:31Z"', "1764767731",
      '"1764767731"' }
    for i, a in ipairs(all) do
      for j = i + 1, #all do
        differ(dreamapply, issued(a), issued(all[j]))
      end
    end
    differ(dreamapply, '{"deadline":"2025-12-17"}', '{"deadline":"2025-12-17T00:00:00+00:00"}')
  end)

  it("takes nothing, null, [] and {} for one", function()
    for _, text in ipairs { "{}", '{"collections":{}}', '{"collections":[]}',
      '{"collections":null}',
      '{"payer":{}}', '{"payer":{"name":null}}', '{"items":[]}', '{"items":{}}',
      '{"course":null}' } do
      same(dreamapply, "{}", text)
    end
    same(betterez, '{"buyer":{"tax":[]}}', '{"buyer":{}}')
    differ(dreamapply, '{"items":[{}]}', '{"items":[]}') -- a line is a line
    differ(dreamapply, '{"items":[{},{}]}', '{"items":[{}]}')
    differ(dreamapply, '{"smallprint":""}', "{}")
    differ(dreamapply, '{"reminder":false}', "{}")
  end)

  it("never takes a text for a number: only amounts are amounts", function()
    differ(dreamapply, '{"payer":{"name":"20"}}', '{"payer":{"name":"20.00"}}')
    differ(dreamapply, '{"nr":"20"}', '{"nr":20}')
    differ(dreamclass, '{"telephone":123}', '{"telephone":"123"}')
    differ(betterez, '{"buyer":{"n":"20"}}', '{"buyer":{"n":20}}')
    same(betterez, '{"buyer":{"n":20.0}}', '{"buyer":{"n":2e1}}')
    same(dreamapply, '{"id":16}', '{"id":"16"}')
    differ(dreamapply, '{"id":16}', '{"id":"016"}')
  end)

  it("does not let the border between two members move", function()
    local all = { '{"payer":{"name":"a","email":"b"}}', '{"payer":{"name":"ab"}}',
      '{"payer":{"email":"ab"}}', '{"payer":{"name":"a5:emails1:b"}}', '{"payer":"ab"}',
        '{"payer":["ab"]}',
      '{"payer":["a","b"]}', '{"nr":"a","currency":"b"}', '{"nr":"ab"}', '{"nr":["a","b"]}',
      '{"nr":["ab"]}',
      '{"nr":[["a"],"b"]}', '{"nr":[["a","b"]]}', '{"nr":{"a":"b"}}', '{"nr":true}', '{"nr":"t"}',
      '{"nr":1}',
      '{"nr":[null]}', '{"nr":[null,null]}', '{"nr":["_"]}' }
    for i, a in ipairs(all) do
      for j = i + 1, #all do
        differ(dreamapply, a, all[j])
      end
    end
  end)

  it("keeps lists in their order, and what has ids in none", function()
    differ(dreamapply, '{"items":[{"item":"a"},{"item":"b"}]}',
      '{"items":[{"item":"b"},{"item":"a"}]}')
    same(dreamapply, '{"collections":{"1":{"id":1,"amount":"1"},"2":{"id":2,"amount":"2"}}}',
      '{"collections":{"2":{"id":2,"amount":"2.0"},"1":{"id":1,"amount":"1.0"}}}')
    same(dreamapply, '{"collections":{"1":{"id":1,"amount":"1"},"2":{"id":2,"amount":"2"}}}',
      '{"collections":[{"id":2,"amount":"2"},{"id":1,"amount":"1"}]}')
    same(dreamclass, '{"payments":[{"id":1,"amount":1},{"id":2}]}',
      '{"payments":[{"id":2},{"id":1,"amount":"1.00"}]}')
    differ(dreamclass, '{"payments":[{"id":1,"amount":1}]}', '{"payments":[{"id":1,"amount":2}]}')
    differ(dreamclass, '{"payments":[{"id":1},{"id":1}]}', '{"payments":[{"id":1}]}')
    differ(dreamclass, '{"payments":[{"amount":1},{"amount":2}]}',
      '{"payments":[{"amount":2},{"amount":1}]}')
  end)

  it("says nothing of members that tell nothing of the invoice", function()
    local base = '{"id":1,"serie":{"id":2,"name":"Fees"}}'
    for _, text in ipairs { '{"id":1,"serie":{"id":2,"name":"Application fees"}}',
      '{"id":1,"serie":{"id":2},"reminded":"2025-12-03T13:15:31Z"}',
      '{"id":1,"serie":{"id":2},"delivered":"2025-12-03T13:15:31Z"}',
      '{"id":1,"serie":{"id":2},"updatedAt":"2025-12-03T13:15:31Z","updatedBy":7}',
      '{"id":1,"serie":{"id":2,"prefix":"A"},"vat":"19","items":[]}' } do
      same(dreamapply, base, text)
    end
    same(dreamapply, price '"1"', price '"1","vat":"19"')
    differ(dreamapply, base, '{"id":1,"serie":{"id":3,"name":"Fees"}}')
    same(betterez, '{"_id":"1","updatedAt":{"value":"2021-10-18T13:47:55Z"},"updatedBy":"a"}',
      '{"_id":"1","updatedAt":{"value":"2021-10-19T13:47:55Z"},"updatedBy":"b"}')
    same(dreamclass, '{"payments":[{"id":1,"updatedAt":"a"}]}',
      '{"payments":[{"id":1,"updatedAt":"b"}]}')
  end)

  it("sees every documented member", function()
    local function paths(spec, found, path)
      if type(spec) == "string" then
        found[path:sub(2)] = true
        return found
      end
      for name, inner in pairs(spec[2]) do
        paths(inner, found, path .. "." .. name)
      end
      return found
    end
    for _, vendor in ipairs { dreamapply, dreamclass, betterez } do
      local silent = {}
      for _, name in ipairs(vendor.silent) do silent[name] = true end
      for path in pairs(paths(vendor.documented, {}, "")) do
        local open, close = "", ""
        for name in path:gmatch "[^.]+" do
          open, close = open .. '{"' .. name .. '":', "}" .. close
          if name == "items" and vendor == dreamapply or name == "fees" or name == "payments" then
            open, close = open .. "[", "]" .. close
          elseif name == "collections" then
            open, close = open .. '{"1":', "}" .. close
          end
        end
        local compared = (silent[path] or silent[path:match "^[^.]+"]) and same or differ
        compared(vendor, open .. '"1"' .. close, open .. '"2"' .. close)
      end
    end
  end)

  it("sees what the account watches, too", function()
    local function seen(name, a, b)
      same(dreamapply, a, b)
      differ(dreamapply, a, b, { name })
    end
    seen("reminded", '{"reminded":null}', '{"reminded":"2025-12-03T13:15:31Z"}')
    seen("serie.name", '{"serie":{"id":1,"name":"a"}}', '{"serie":{"id":1,"name":"b"}}')
    seen("serie", '{"serie":{"id":1,"name":"a"}}', '{"serie":{"id":1,"name":"b"}}')
    seen("serie", '{"serie":{"id":1,"prefix":"a"}}', '{"serie":{"id":1,"prefix":"b"}}')
    seen("vat", '{"vat":1}', '{"vat":2}')
    seen("tax.rate", '{"tax":{"rate":1}}', '{"tax":{"rate":2}}')
    seen("items.vat", price '"1","vat":1', price '"1","vat":2')
    seen("collections.fee", '{"collections":{"1":{"fee":1}}}', '{"collections":{"1":{"fee":2}}}')
    same(dreamapply, '{"tax":{"rate":1,"name":"a"}}', '{"tax":{"rate":1,"name":"b"}}',
      { "tax.rate" })
    same(dreamapply, '{"reminded":"2025-12-03T13:15:31Z"}',
      '{"reminded":"2025-12-03T14:15:31+01:00"}',
      { "reminded" })
    same(dreamapply, '{"serie":{"name":"a"}}', '{"serie":{"name":"b"}}', { "serie.id", "reminded" })
    differ(betterez, '{"updatedAt":{"value":"2021-10-18T13:47:55Z"}}',
      '{"updatedAt":{"value":"2021-10-19T13:47:55Z"}}', { "updatedAt.value" })
    same(betterez, '{"updatedAt":{"value":"2021-10-18T13:47:55Z"}}',
      '{"updatedAt":{"value":"2021-10-18T14:47:55+01:00"}}', { "updatedAt" })
  end)
end)

describe("compare.changes", function()
  it("names the top-level members that differ, as the vendor gave them", function()
    local before = decode '{"id":1,"currency":"EUR","reminder":true,"items":[{"price":"20.00"}]}'
    local now = decode '{"id":1,"currency":"USD","items":[{"price":"20"}],"course":"/c/1","x":1}'
    assert.same({ currency = { from = "EUR", to = "USD" }, reminder = { from = true },
      course = { to = "/c/1" } }, compare.changes(dreamapply, now, before))
    assert.same({}, compare.changes(dreamapply, now, now))
    assert.same({ x = { to = 1 }, }, compare.changes(dreamapply, decode '{"x":1}', {}, { "x" }))
  end)
end)

describe("compare.order", function()
  it("tells which state was written later, where the vendor says it", function()
    local function order(vendor, a, b)
      return compare.order(vendor, decode(a), decode(b))
    end
    local early = '{"updatedAt":{"value":"2021-10-18T13:47:55.691Z"}}'
    local late = '{"updatedAt":{"value":"2021-10-18T14:47:55.692+01:00"}}'
    assert.equal(1, order(betterez, late, early))
    assert.equal(-1, order(betterez, early, late))
    assert.equal(0, order(betterez, early, early))
    assert.equal(1, order(betterez, '{"updatedAt":"2021-10-18T13:47:55.692Z"}', early))
    assert.equal(0, order(betterez, "{}", early))
    assert.equal(0, order(betterez, early, '{"updatedAt":{"value":"yesterday"}}'))
    assert.equal(0, order(dreamapply, late, early))
  end)
end)

describe("compare.payments", function()
  it("finds them by id", function()
    assert.same({ ["41"] = { id = 41 } },
      compare.payments(dreamapply, decode '{"collections":{"41":{"id":41}}}'))
    assert.same({ ["41"] = { id = 41 } },
      compare.payments(dreamapply, decode '{"collections":[{"id":41}]}'))
    assert.same({ ["5"] = { id = 5 }, x = { id = "x" } },
      compare.payments(dreamclass, decode '{"payments":[{"id":5},{"id":"x"},{"amount":1},null]}'))
    for _, text in ipairs { "{}", '{"collections":[]}', '{"collections":"none"}' } do
      assert.same({}, compare.payments(dreamapply, decode(text)))
    end
    assert.same({}, compare.payments(betterez, decode '{"payments":[{"id":5}]}'))
  end)

  it("tells which differ, in order of their ids", function()
    local function list(before, now)
      local told = {}
      for _, one in ipairs(compare.payment_changes(dreamapply, now and decode(now),
        before and decode(before))) do
        told[#told + 1] = one.id .. " " .. one.verb
      end
      return table.concat(told, ", ")
    end
    local two = '{"collections":{"9":{"id":9,"amount":"1.00"},"10":{"id":10,"amount":"2.00"}}}'
    assert.equal("9 created, 10 created", list(nil, two))
    assert.equal("9 deleted, 10 deleted", list(two, nil))
    assert.equal("", list(two, two))
    assert.equal("9 deleted, 10 updated, 11 created", list(two,
      '{"collections":{"11":{"id":11},"10":{"id":10,"amount":"2.50"}}}'))
    assert.equal("", list(two, '{"collections":[{"id":10,"amount":"2"},{"id":9,"amount":1}]}'))
  end)

  it("tells when one was recorded", function()
    assert.equal(1764832000000, compare.payment_time(dreamapply,
      { inserted = "2025-12-04T07:06:40+00:00", collected = "2025-12-04" }))
    assert.equal(1764892799000, compare.payment_time(dreamclass, { date = "2025-12-04" }))
    assert.is_nil(compare.payment_time(dreamclass, { createdAt = 5 }))
    assert.is_nil(compare.payment_time(betterez, {}))
  end)
end)

describe("compare.columns", function()
  local apply = [[{"id":200,"nr":"AF-1","currency":"EUR","deadline":"2025-12-17",
    "issued":"2025-12-03T13:15:31+00:00","collections":%s,
    "items":[{"price":"20","qty":"1"},{"price":"-3.00","qty":1}]}]]

  it("reads DreamApply", function()
    assert.same({ number = "AF-1", currency = "EUR", total = "17.00", paid = "0.00",
      balance = "17.00", due_date = "2025-12-17", status = "open",
      issued_at = compare.time "2025-12-03T13:15:31+00:00" }, compare.columns(tagged("dreamapply",
        apply:format "{}")))
  end)

  it("reads DreamClass: its number is its id, and the API tells what was paid", function()
    local text = '{"id":7,"amount":300,"dueDate":"2025-12-17",'
      .. '"createdAt":"2024-10-02T16:02:00.544+00:00","issueDate":"2024-10-03","invoiceRefId":%s%s}'
    assert.same({ number = "7", reference = "R-1", total = "300.00", due_date = "2025-12-17",
      issued_at = compare.time "2024-10-02T16:02:00.544+00:00" },
      compare.columns(tagged("dreamclass", text:format('"R-1"', ""))))
    local function paid(more)
      local columns = compare.columns(tagged("dreamclass", text:format("null", more)))
      return columns.paid, columns.balance, columns.status
    end
    assert.same({ "120.00", "180.00", "part_paid" }, { paid ',"paidAmount":120' })
    assert.same({ "300.00", "0.00", "paid" }, { paid ',"paidAmount":"300","payments":[]' })
    assert.same({ "0.00", "300.00", "open" }, { paid ',"payments":[]' })
    assert.same({ "150.50", "149.50", "part_paid" }, { paid(
      ',"payments":[{"amount":"100.50","status":1},{"amount":50},{"amount":9,"status":4},'
      .. '{"amount":9,"status":3}]') })
    assert.same({}, { paid ',"payments":[{"status":1}]' })
    assert.same({}, { paid ',"paidAmount":"much"' })
    assert.same({}, { paid ',"payments":"none"' })
  end)

  it("reads Betterez", function()
    assert.same({ number = "1261913952", currency = "GTQ", total = "20.50",
      issued_at = compare.time "2021-10-18T13:47:55.691Z" }, compare.columns(tagged("betterez",
      '{"number":"1261913952","currency":"GTQ","totals":{"total":20.5},'
      .. '"createdAt":{"value":"2021-10-18T13:47:55.691Z"}}')))
    assert.same({}, compare.columns(tagged("betterez", "{}")))
  end)

  it("tells the status", function()
    local function status(amount, day, items)
      local text = apply:format(amount and '{"1":{"id":1,"amount":"' .. amount .. '"}}' or "{}")
      text = items and text:gsub('"items":%b[]', '"items":' .. items) or text
      return compare.columns(tagged("dreamapply", text), day).status
    end
    assert.equal("open", status())
    assert.equal("part_paid", status "1.00")
    assert.equal("paid", status "17.00")
    assert.equal("overpaid", status "17.01")
    assert.equal("open", status(nil, "2025-12-17"))
    assert.equal("overdue", status(nil, "2025-12-18"))
    assert.equal("overdue", status("16.99", "2025-12-18"))
    assert.equal("paid", status("17.00", "2025-12-18"))
    assert.equal("paid", status(nil, "2025-12-18", "[]")) -- there is nothing to pay
  end)

  it("leaves out what the invoice does not say", function()
    assert.same({}, compare.columns(tagged("dreamapply", "{}")))
    assert.same({}, compare.columns(tagged("dreamclass", "{}")))
    assert.same({ currency = "EUR" }, compare.columns(tagged("dreamapply",
      '{"currency":"EUR","items":[{"price":"99999999999999999","qty":"99999999999999999"}]}')))
  end)
end)
