-- `billhook export`: tables of invoices, lines and payments, from the sandbox and from an inbox.

local billhook = require "billhook"
local command = require "spec.support.command"
local csv = require "billhook.cli.csv"
local desk = require "spec.support.inbox"
local json = require "billhook.json"
local process = require "billhook.process"
local progress = require "billhook.cli.progress"

local function line(...) return csv.line({ ... }, select("#", ...)) end

describe("a line of CSV #both", function()
  it("is quoted as RFC 4180 has it", function()
    assert.equal('a,"b ""c""","d,e","f\r\ng",,1\r\n', line("a", 'b "c"', "d,e", "f\r\ng", nil, 1))
    assert.equal('"a;b"," c","d "\r\n', line("a;b", " c", "d "))
    assert.equal(",\r\n", csv.line({}, 2))
    assert.equal("true\r\n", line(true))
  end)

  it("has no formula in it, and numbers stay numbers", function()
    for text, cell in pairs { ["=1+1"] = "'=1+1", ["+49 30"] = "'+49 30", ["-a"] = "'-a",
      ["@SUM(A1)"] = "'@SUM(A1)", ["\t=1"] = "\"'\t=1\"", ["\r=1"] = "\"'\r=1\"",
      ["\n=1"] = "\"'\n=1\"", [" =1"] = "' =1", ["-1+cmd"] = "'-1+cmd", ["--1"] = "'--1",
      ["-"] = "'-", ["-1e5"] = "'-1e5", ["\239\188\157A1"] = "'\239\188\157A1",
      ['=HYPERLINK("x","y")'] = "\"'=HYPERLINK(\"\"x\"\",\"\"y\"\")\"",
      ["-1"] = "-1", ["-17.00"] = "-17.00", ["0"] = "0", ["17.50"] = "17.50", ["a=b"] = "a=b",
      ["2026-01-01"] = "2026-01-01" } do
      assert.equal(cell .. "\r\n", line(text), text)
    end
    assert.equal("-3.00\r\n", line(billhook.decimal "-3.00"))
  end)
end)

describe("a bar #both", function()
  it("says how far it is, and of how many, where that is known", function()
    assert.equal("[######                  ]  25%  50 of 200 invoices",
      progress.text(50, 200, "invoices"))
    assert.equal("[########################] 100%  7 of 5 invoices",
      progress.text(7, 5, "invoices"))
    assert.equal("7 invoices", progress.text(7, nil, "invoices"))
    assert.equal("7 invoices", progress.text(7, 0, "invoices"))
  end)
end)

describe("billhook export", function()
  local sandbox, base, vendor

  before_each(function()
    local port = ("%d"):format((process.free_port()))
    base = "http://127.0.0.1:" .. port
    sandbox = command.start { "sandbox", "--listen", port, "--json" }
    command.wait("the sandbox", function() return sandbox:errors():find "listening" end)
    vendor = { "--vendor", "dreamapply", "--base-url", base, "--api-key", "sandbox-key" }
  end)
  after_each(command.finish)

  local function control(name, fields)
    local status, body = command.http("POST", base .. "/sandbox/" .. name, {},
      json.encode(fields or {}))
    assert.equal(200, status, body)
    return json.decode(body)
  end

  local function argv(...)
    local out = { "export", ... }
    for _, word in ipairs(vendor) do out[#out + 1] = word end
    return out
  end

  local function export(...) return command.run(argv(...)) end

  local function client()
    return billhook.dreamapply { base_url = base, api_key = "sandbox-key" }
  end

  -- 1: two lines, one with a formula; 2: paid
  local function two()
    local apply = client()
    assert(apply.invoices:create(5, { currency = "EUR", deadline = "2026-12-31",
      payer = { name = "=cmd|' /C calc'!A0", email = "a@example.org" }, items = {
        { item = "Fee, \"full\"", price = "20.00", qty = "1.5" },
        { item = "-Discount", price = "-3.00", qty = "1" } } }))
    assert(apply.invoices:create(5, { currency = "EUR", deadline = "2026-12-31",
      payer = { name = "Ada", email = "ada@example.org" },
      items = { { item = "Fee", price = "7.00", qty = "1" } } }))
    assert(apply.transactions:create(2, { amount = "7.00", currency = "EUR" }))
  end

  local function without_days(text) return (text:gsub("%d%d%d%d%-%d%d%-%d%d", "DAY")) end

  it("gives invoices, their lines and their payments as CSV #both", function()
    two()
    local result = export "invoices"
    assert.equal("", result.err)
    assert.equal(0, result.code)
    local rows = {}
    for row in result.out:gmatch "(.-)\r\n" do rows[#rows + 1] = without_days(row) end
    assert.equal("account,vendor,id,number,reference,issued,due_date,payer_name,payer_email,"
      .. "currency,total,paid,balance,status", rows[1])
    assert.truthy(rows[2]:find("^,dreamapply,1,[^,]+,,DAY,DAY,'=cmd|' /C calc'!A0,a@example.org,"
      .. "EUR,27.00,0.00,27.00,%l+$"), rows[2])
    assert.truthy(rows[3]:find("^,dreamapply,2,[^,]+,,DAY,DAY,Ada,ada@example.org,"
      .. "EUR,7.00,7.00,0.00,paid$"), rows[3])
    assert.equal(3, #rows)

    result = export "lines"
    assert.equal(0, result.code, result.err)
    local text = without_days(result.out):gsub("AF%-%d+", "NR")
    assert.truthy(text:find('EUR,1,"Fee, ""full""",1.50?,,20.00,30.00\r\n'), text)
    assert.truthy(text:find("EUR,2,'%-Discount,1[.0]*,,%-3.00,%-3.00\r\n"), text)

    result = export "payments"
    assert.equal(0, result.code, result.err)
    text = without_days(result.out)
    assert.truthy(text:find "^account,vendor,invoice_id,number,currency,payment_id,date,amount,"
      and text:find "\n,dreamapply,2,[^,]+,EUR,1,DAY,7.00,true,,\r\n$", text)
  end)

  it("gives them as JSON Lines, amounts as texts, of what the filters say", function()
    two()
    local result = export("invoices", "byCollected=true", "--format", "jsonl")
    assert.equal(0, result.code, result.err)
    local row = json.decode(result.out)
    assert.same({ "2", "7.00", "0.00", "paid" }, { row.id, row.total, row.balance, row.status })
    result = export("invoices", "application=5", "--json")
    assert.equal(2, select(2, result.out:gsub("\n", "")))
    result = export("invoices", "byCollected=perhaps")
    assert.equal(2, result.code)
    assert.truthy(result.err:find("byCollected", 1, true), result.err)
    assert.equal(2, export("invoices", "nonsense=1").code)
    assert.equal(2, export("invoices", "nonsense").code)
  end)

  it("makes the columns of a ledger", function()
    two()
    local result = export("payments", "--map", "examples/ledger_columns.lua")
    assert.equal(0, result.code, result.err)
    local text = without_days(result.out):gsub("AF%-%d+", "NR")
    assert.equal("Date,Document,Text,Debit,Credit,Amount,Currency\r\n"
      .. "DAY,NR,Payment 1,1200,1400,7.00,EUR\r\n", text)
    local folder = command.folder()
    for content, why in pairs { ["return 5"] = "must return a list of columns",
      ["return { map = print }"] = "must return a list of columns", ["]"] = "unexpected symbol",
      ["error 'no'"] = "no" } do
      result = export("payments", "--map", command.write(folder .. "/map.lua", content))
      assert.equal(1, result.code)
      assert.truthy(result.err:find(why, 1, true), result.err)
      assert.equal("", result.out)
    end
  end)

  it("has the ledger's payments that count, and no others", function()
    local map = assert(dofile "examples/ledger_columns.lua")
    local row = { payment_id = "41", number = "AF-1", date = "2025-12-04", amount = "17.00",
      currency = "EUR", method = "Stripe", counts = true }
    assert.same({ Date = "2025-12-04", Document = "AF-1", Text = "Payment 41 by Stripe",
      Debit = "1200", Credit = "1400", Amount = "17.00", Currency = "EUR" }, map.map(row))
    row.counts = false
    assert.is_nil(map.map(row))
  end)

  it("fails where what it writes is lost, or the API fails midway", function()
    two()
    local folder = command.folder()
    for _, format in ipairs { "csv", "jsonl" } do
      local pid = assert(process.spawn({ command.lua, "bin/billhook",
        (table.unpack or rawget(_G, "unpack"))(argv("invoices", "--format", format)) },
        { stdout = "/dev/full", stderr = folder .. "/" .. format }))
      local _, code = process.wait(pid)
      assert.equal(1, code)
      assert.equal("billhook: cannot write the output: No space left on device\n",
        command.read(folder .. "/" .. format))
    end
    control("fault", { next = "500", times = 9 })
    local result = export "invoices"
    assert.equal(1, result.code)
    assert.truthy(result.err:find("^billhook: server: "), result.err)
  end)

  it("ends with 130 on Ctrl-C, also while it waits", function()
    control("fault", { next = "stall", times = 9, seconds = 60 })
    local child = command.start(argv "invoices")
    command.wait("the request", function()
      local _, body = command.http("GET", base .. "/sandbox/requests")
      return tostring(body):find("/api/v9/invoices", 1, true)
    end)
    child:signal "INT"
    assert.equal(130, child:wait())
    assert.equal("", child:errors())
  end)

  it("shows how far it is where somebody watches, on stderr alone", function()
    two()
    local folder = command.folder()
    local pretend = "require('billhook.process').columns = function() return 60 end "
      .. "local time = 0 require('billhook.process').monotonic = function() time = time + 1 "
      .. "return time end"
    local words = { command.lua, "-e", pretend, "bin/billhook" }
    for _, word in ipairs(argv("invoices", "application=5")) do words[#words + 1] = word end
    local pid = assert(process.spawn(words, { stdout = folder .. "/out", stderr = folder .. "/err",
      env = command.paths { NO_COLOR = "1" } }))
    local _, code = process.wait(pid)
    assert.equal(0, code)
    local err = command.read(folder .. "/err")
    assert.truthy(err:find("1 of 2 invoices", 1, true), err)
    assert.truthy(err:find("\r\27[K[########################] 100%  2 of 2 invoices", 1, true), err)
    assert.truthy(err:find "\r\27%[K$", err)
    assert.equal(0, select(2, command.read(folder .. "/out"):gsub("\27", "")))
  end)

  it("says what to add where the list needs a parameter", function()
    for _, what in ipairs { { "export", "invoices" }, { "invoices", "list" } } do
      local result = command.run { what[1], what[2], "--vendor", "betterez", "--api-key", "x",
        "--token", "y" }
      assert.equal(2, result.code)
      assert.equal("billhook: invoices.list: 'transactionId' is missing: add "
        .. "transactionId=VALUE\n", result.err)
    end
  end)

  it("says of what has no list how it is exported", function()
    local result = command.run { "export", "invoices", "--vendor", "dreamclass", "--api-key", "k" }
    assert.equal(1, result.code)
    assert.equal("billhook: dreamclass documents no list of invoices: export the states in an"
      .. " inbox, with --inbox\n", result.err)
  end)
end)

describe("billhook export --inbox", function()
  local d, url
  before_each(function()
    url = "sqlite:" .. command.folder() .. "/inbox.db"
    d = desk.new { inbox = url }
    d:listen()
    for id = 1, 3 do d:put(id, { payer = { name = "Ada" } }) end
    d:pay(2)
    d.app:poll "apply"
    d.api.class["16"].payments = { { id = 5, amount = 100, status = 1, date = "2026-02-01",
      paymentmethod = { id = 2 } }, { id = 6, amount = 50, status = 4 } }
    d.api.class["16"].paidAmount = 100
    d:school({ id = 1 }, "class")
    d:work()
  end)
  after_each(command.finish)

  local function export(...) return command.run { "export", "--inbox", url, ... } end

  it("gives the last known states, of one account or of all #both", function()
    local result = export("invoices", "--account", "apply", "--json")
    assert.equal(0, result.code, result.err)
    local seen = {}
    for row in result.out:gmatch "[^\n]+" do
      local one = json.decode(row)
      seen[#seen + 1] = ("%s %s %s %s"):format(one.account, one.id, one.balance, one.payer_name)
    end
    assert.same({ "apply 1 20.00 Ada", "apply 2 0.00 Ada", "apply 3 20.00 Ada" }, seen)
    result = export("payments", "--account", "class")
    assert.equal(0, result.code, result.err)
    assert.truthy(result.out:find("\r\nclass,dreamclass,16,16,,5,2026-02-01,100.00,true,valid,2\r\n"
      .. "class,dreamclass,16,16,,6,,50.00,false,refunded,\r\n", 1, true), result.out)
    result = export "invoices"
    assert.equal(0, result.code)
    assert.equal(5, select(2, result.out:gsub("\r\n", "")))
    assert.equal(1, select(2, export("invoices", "--state", "closed", "--json").out:gsub("\n", "")))
  end)

  it("leaves deleted ones out, and tells what it cannot give", function()
    d:remove(3)
    d:news(3)
    d:pass(320, 10)
    local result = export("invoices", "--account", "apply", "--json")
    assert.equal(2, select(2, result.out:gsub("\n", "")))
    result = export("invoices", "--state", "deleted")
    assert.equal(0, result.code, result.err)
    assert.truthy(result.out:find("\r\napply,dreamapply,3,AF%-3,,,[%d-]+,,,EUR,20.00,0.00,20.00,"
      .. "deleted\r\n$"), result.out)
    assert.equal(1, export("lines", "--state", "deleted").code)
    result = export "lines" -- DreamClass's are no lines
    assert.equal(1, result.code)
    assert.equal("billhook: lines of 1 invoice: not known, the first one of 16: invoices of this"
      .. " vendor tell the ids of their fees, and no lines\n", result.err)
    assert.equal(3, select(2, result.out:gsub("\r\n", "")))
  end)

  it("gives more than a page of them, and wants an inbox that is there", function()
    for id = 10, 450 do d:put(id) end
    d.app:poll "apply"
    assert.equal(444, select(2, export("invoices", "--account", "apply", "--json").out
      :gsub("\n", "")))
    assert.equal(2, export("invoices", "byCollected=true").code)
    local result = command.run { "export", "invoices", "--inbox", "sqlite:/nowhere/x.db" }
    assert.equal(1, result.code)
    assert.equal("billhook: there is no inbox /nowhere/x.db: name yours with --inbox, --rules or"
      .. " BILLHOOK_INBOX\n", result.err)
  end)
end)
