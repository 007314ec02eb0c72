-- page_spec.lua: the operator's page as plain data: who sees it, what it shows, what it changes.

local billhook = require "billhook"
local html = require "billhook.page.html"
local pages = require "billhook.page"

local e = html.elements

local PASSWORD = "correct horse battery"
local HOST = "127.0.0.1:8090"

-- what a stranger may have put into a payload
local NASTY = '<script>alert(1)</script> "q" \'a\' &amp; \226\128\174gnp\27[31m \194\155 \255'
local SAFE = "&lt;script&gt;alert(1)&lt;/script&gt; &quot;q&quot; &#39;a&#39; &amp;amp; "
  .. "\\xe2\\x80\\xaegnp\\x1b[31m \\xc2\\x9b ?"

local page, now, logged, fails

local function memory()
  local kept = {}
  return { get = function(name) return kept[name] end,
    set = function(name) kept[name] = true end,
    count = function(name, n)
      if kept.full then return nil end
      kept[name] = (kept[name] or 0) + n
      return kept[name]
    end, kept = kept }
end

local function fresh(origin, attempts)
  now, logged, fails = 1000000, {}, true
  local app = billhook.app { inbox = "memory:", attempts = attempts or 1,
    log = function(_, name, fields) logged[#logged + 1] = { name, fields } end,
    accounts = {
      school = billhook.dreamclass { webhook = { secret = "123" } },
      tickets = billhook.betterez { webhook = { secret = "123" } },
    } }
  app:on("invoice.created", { name = "ledger" }, function()
    if fails then error(NASTY, 0) end
  end)
  app:on("invoice.created", { name = "mail" }, function() end)
  page = { app = app, store = assert(app:open()), log = app.log, origin = origin,
    session = pages.session { key = ("k"):rep(32), password = PASSWORD,
      now = function() return now end, memory = memory() } }
end

local serial = 0

local function deliver(kind, id, name)
  serial = serial + 1
  local body = require("billhook.json").encode { id = ("aa3a27d6-05b5-4fcd-bd04-%012d")
    :format(serial), type = kind, tenant = "x", timestamp = 1764400000000,
    data = { id = id, fullname = name } }
  local headers, signed = billhook.sign("dreamclass", body, { secret = "123" })
  assert.equal(200, (page.app:receive("school", headers, signed)))
  return ("school:aa3a27d6-05b5-4fcd-bd04-%012d"):format(serial)
end

local function sell(id, name)
  serial = serial + 1
  local body = require("billhook.json").encode { id = "ev" .. serial, livemode = true,
    event = "invoices.created", operation = "x", data = { _id = id, number = "R-" .. id,
      createdAt = "2026-11-28T10:00:00.000Z", updatedAt = "2026-11-28T10:00:00.000Z",
      buyer = { name = name }, total = 19.9, currency = "EUR" } }
  local headers, signed = billhook.sign("betterez", body, { secret = "123" })
  assert.equal(200, (page.app:receive("tickets", headers, signed)))
end

local function work()
  for _ = 1, 5 do assert(page.app:work {}) end
end

local function ask(method, path, options)
  options = options or {}
  local query = {}
  for name, value in (path:match "%?(.*)" or ""):gmatch "([^&=]+)=([^&]*)" do
    query[name] = value:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
  end
  return pages.answer(page, { method = method, path = path:match "^[^?]*", query = query,
    form = options.form or {}, remote = "127.0.0.1", headers = {
      host = options.host or HOST, cookie = options.cookie,
      origin = options.origin ~= false and (options.origin or "http://" .. HOST) or nil } })
end

local function hidden(text, name)
  return text:match('<input name="' .. name .. '" type="hidden" value="([^"]*)">')
end

local function log_in(options)
  options = options or {}
  local _, _, form = ask("GET", "/login", options)
  options.form = { ticket = hidden(form, "ticket"), password = options.password or PASSWORD,
    next = options.next }
  local status, headers, body = ask("POST", "/login", options)
  return status, headers, body
end

local function cookie_of(options)
  local status, headers = log_in(options)
  assert.equal(303, status)
  return headers["Set-Cookie"]:match "^[^;]*"
end

local cookie

local function get(path)
  local status, headers, body = ask("GET", path, { cookie = cookie })
  return body, status, headers
end

local function has(text, what)
  assert.is_true(text:find(what, 1, true) ~= nil, what .. "\nin: " .. text:sub(1, 2000))
end
local function has_not(text, what) assert.is_nil((text:find(what, 1, true)), what) end


-- Every tag is closed in its order: whatever the texts were.
local function assert_well_formed(text)
  local void = { meta = true, link = true, input = true, br = true }
  local open = {}
  for closing, name, rest in text:gsub("^<!DOCTYPE html>", ""):gmatch "<(/?)(%w+)([^>]*)>" do
    if closing == "/" then
      assert.equal(table.remove(open), name)
    elseif not void[name] and rest:sub(-1) ~= "/" then
      open[#open + 1] = name
    end
  end
  assert.same({}, open)
end

describe("text in HTML", function()
  it("is escaped wherever it stands, and shown where it would not be seen", function()
    assert.equal('<!DOCTYPE html>\n<p class="' .. SAFE .. '">' .. SAFE .. "</p>\n",
      html.document(e.p { class = NASTY, NASTY }))
    assert.equal("<!DOCTYPE html>\n<p>a&lt;b1<br></p>\n", html.document(e.p { "a<", { "b", 1 },
      false, e.br {} }))
    -- a table that looks like a node is none
    assert.equal("<!DOCTYPE html>\n<p></p>\n", html.document(e.p { { text = "<b>" } }))
  end)

  it("is encoded in addresses", function()
    assert.equal("/event?a=%22%3E%3Cb%3E&id=school:1%20%262", html.address("/event",
      { id = "school:1 &2", a = '"><b>', none = "" }))
    assert.equal("/x", html.address "/x")
  end)
end)

describe("who sees the page", function()
  before_each(function() fresh() end)

  it("is who knows the password, until he leaves or eight hours later", function()
    for _, path in ipairs { "/", "/deliveries", "/event?id=school:1" } do
      local status, headers, body = ask("GET", path)
      assert.equal(303, status)
      assert.truthy(headers.Location:find "^/login")
      assert.equal("", body)
    end
    local status, headers = log_in { next = "/events?state=dead" }
    assert.same({ 303, "/events?state=dead" }, { status, headers.Location })
    local set = headers["Set-Cookie"]
    assert.truthy(set:find("^billhook_page=[%x.%d]+; Path=/; Max%-Age=28800; HttpOnly; "
      .. "SameSite=Strict$"), set)
    local mine = set:match "^[^;]*"
    local _, body
    status, _, body = ask("GET", "/", { cookie = "a=b; " .. mine .. "; c=d" })
    assert.equal(200, status)
    status, headers = ask("POST", "/logout", { cookie = mine, form = { token = hidden(body,
      "token") } })
    assert.same({ 303, "/login" }, { status, headers.Location })
    assert.truthy(headers["Set-Cookie"]:find("^billhook_page=; Path=/; Max%-Age=0;"))
    assert.equal(303, (ask("GET", "/", { cookie = mine }))) -- kept by somebody, it is no good
    mine = cookie_of()
    now = now + 8 * 3600 - 1
    assert.equal(200, (ask("GET", "/", { cookie = mine })))
    now = now + 1
    assert.equal(303, (ask("GET", "/", { cookie = mine })))
  end)

  it("is nobody with a cookie of his own making", function()
    local mine = cookie_of()
    local id, till, code = mine:match "=(%x+)%.(%d+)%.(%x+)$"
    for _, value in ipairs { "", id, id .. "." .. till, ("%s.%d.%s"):format(id, till + 1, code),
        ("%s.%s.%s"):format(id:reverse(), till, code), ("%s.%s.%s"):format(id, till, code:upper()),
        ("%s.%s.%s0"):format(id, till, code), "x" .. id .. "." .. till .. "." .. code } do
      local status = ask("GET", "/", { cookie = "billhook_page=" .. value })
      assert.equal(value:upper() == code and 200 or 303, status, value)
    end
    -- another run of serve has another key; and a form's ticket is no session
    page.session.key = ("l"):rep(32)
    assert.equal(303, (ask("GET", "/", { cookie = mine })))
    local _, _, form = ask("GET", "/login")
    assert.equal(303, (ask("GET", "/", { cookie = "billhook_page=" .. hidden(form, "ticket") })))
  end)

  it("tries no more than ten passwords a minute", function()
    for i = 1, 10 do
      local status, headers, body = log_in { password = i == 1 and "" or PASSWORD .. i }
      assert.equal(403, status)
      has(body, "Wrong password.")
      assert.is_nil(headers["Set-Cookie"])
    end
    local status, headers, body = log_in() -- not even the right one
    assert.same({ 429, "60" }, { status, headers["Retry-After"] })
    has(body, "wait a minute")
    page.session.memory.kept["page tries"] = nil -- the minute is over
    page.session.memory.kept.full = true -- nobody counts
    assert.equal(429, (log_in()))
    page.session.memory.kept.full = nil
    assert.equal(303, (log_in()))
    local names = {}
    for _, line in ipairs(logged) do names[line[1]] = (names[line[1]] or 0) + 1 end
    assert.same({ page_refused = 10, page_login = 1 }, names)
    for _, line in ipairs(logged) do assert.same({ from = "127.0.0.1" }, line[2]) end
  end)

  it("goes nowhere else after that", function()
    for _, to in ipairs { "//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nb",
        "evil", "/" .. ("a"):rep(2000) } do
      local _, headers = log_in { next = to }
      assert.equal("/", headers.Location, to)
    end
  end)

  it("reaches it by its own name", function()
    for _, host in ipairs { "evil.example", "127.0.0.1.evil.example:8090", "10.0.0.1:8090", "" } do
      local status, _, body = ask("GET", "/login", { host = host })
      assert.equal(421, status)
      has_not(body, "password")
    end
    for _, host in ipairs { "localhost:9", "127.0.0.1", "[::1]:8090" } do
      assert.equal(200, (ask("GET", "/login", { host = host })))
    end
    fresh "https://billhook.example.edu"
    assert.equal(421, (ask("GET", "/login")))
    local options = { host = "billhook.example.edu", origin = "https://billhook.example.edu" }
    local status, headers = log_in(options)
    assert.equal(303, status)
    local set = headers["Set-Cookie"]
    assert.truthy(set:find "^__Host%-billhook_page=", set)
    assert.truthy(set:find("; Secure", 1, true), set)
    options.cookie = set:match "^[^;]*"
    assert.equal(200, (ask("GET", "/", options)))
    options.cookie = options.cookie:gsub("__Host%-", "") -- which another host may have set
    assert.equal(303, (ask("GET", "/", options)))
    options.origin = "http://billhook.example.edu"
    assert.equal(403, (log_in(options)))
  end)
end)

describe("what is changed", function()
  before_each(function()
    fresh()
    cookie = cookie_of()
  end)

  local function run(id, options)
    options = options or {}
    local body = get "/"
    options.cookie = options.cookie or cookie
    options.form = options.form or { id = id, token = hidden(body, "token") }
    return ask("POST", "/run", options)
  end

  it("is changed by POST, from a form of this page and this session", function()
    local id = deliver("INVOICE_CREATED", 1)
    work()
    local body = get("/event?id=" .. id)
    local token = hidden(body, "token")
    local other = cookie_of()
    fails = false
    local function state() return page.store:show(id).state end
    for _, case in ipairs {
      { 403, { origin = "https://evil.example" } }, { 403, { origin = false } },
      { 403, { origin = "null" } }, { 403, { form = { id = id } } },
      { 403, { form = { id = id, token = "" } } },
      { 403, { form = { id = id, token = token:reverse() } } },
      { 403, { cookie = other, form = { id = id, token = token } } },
      { 303, { cookie = "a=b", form = { id = id, token = token } } },
    } do
      local options = case[2]
      options.form = options.form or { id = id, token = token }
      local status, headers = run(id, options)
      assert.equal(case[1], status)
      if status == 303 then assert.equal("/login", headers.Location) end
      assert.equal("dead", state())
    end
    assert.equal(405, (ask("GET", "/run?id=" .. id .. "&token=" .. token, { cookie = cookie })))
    assert.equal(403, (ask("POST", "/login", { origin = "https://evil.example" })))
    local status, _, text = ask("POST", "/login", { form = { password = PASSWORD } })
    assert.equal(403, status)
    has(text, "The form is too old.")
    assert.equal("dead", state())
    local headers
    status, headers = run(id)
    assert.equal(303, status)
    assert.equal("/event?id=" .. id .. "&ran=1", headers.Location)
    has(get(headers.Location), "It will run again.")
    work()
    assert.equal("done", state())
    local told
    for _, line in ipairs(logged) do told = line[1] == "page_run" and line[2] or told end
    assert.same({ id = id, from = "127.0.0.1", runs = 1 }, told)
  end)

  it("is run again: what gave up, what is done, what waits, and what nobody wanted", function()
    local dead = deliver("INVOICE_CREATED", 1)
    work()
    local body = get("/event?id=" .. dead)
    has(body, ">Retry</button>")
    has(body, "those that are done do not")
    fails = false
    run(dead)
    work()
    body = get("/event?id=" .. dead)
    has(body, ">Replay now</button>")
    has(body, "What they did, they may do again.")
    has(body, "ledger, mail")
    run(dead)
    assert.equal("pending", page.store:show(dead).state)
    has(get("/event?id=" .. dead), "not begun")
    work()
    local unhandled = deliver("PAYMENT_CREATED", 2)
    work()
    assert.equal("unhandled", page.store:show(unhandled).state)
    has(get("/event?id=" .. unhandled), "No rule matches it.")
    assert.equal("/event?id=" .. unhandled .. "&ran=0", select(2, run(unhandled)).Location)
    page.app.rules:add("payment.created", { name = "late" }, function() end, page.app)
    has(get("/event?id=" .. unhandled), "Rules that match it now: late")
    run(unhandled)
    work()
    assert.equal("done", page.store:show(unhandled).state)
    assert.equal("/event?id=school:none&ran=0", select(2, run "school:none").Location)
    assert(page.store:purge { id = dead })
    body = get("/event?id=" .. dead)
    has(body, "it cannot run again")
    has_not(body, "<button class=\"main\">")
  end)

  it("waits for the next try, or not", function()
    fresh(nil, 5)
    cookie = cookie_of()
    local id = deliver("INVOICE_CREATED", 1)
    assert(page.app:work {})
    local body = get("/event?id=" .. id)
    has(body, ">Try now</button>")
    has(body, SAFE)
    fails = false
    run(id)
    work()
    assert.equal("done", page.store:show(id).state)
  end)
end)

describe("what the page shows", function()
  before_each(function()
    fresh()
    cookie = cookie_of()
  end)

  it("is how things are: accounts, what waits, the day, what gave up", function()
    local id = deliver("INVOICE_CREATED", 1)
    sell("5f1", "Ada")
    work()
    local body = get "/"
    assert_well_formed(body)
    has(body, "Deliveries: 2, failures: 1.")
    has(body, ">never asked</span>")
    has(body, '<a class="id" href="/event?id=' .. id .. '">')
    has(body, 'aria-current="page" href="/"')
    has(body, '<a class="skip" href="#content">')
    has(body, '<html lang="en">')
    page.app.accounts.school = nil -- as the rules say now
    has_not(get "/", ">school</a>")
  end)

  it("is each delivery, event and invoice, whatever is written in it", function()
    local id = deliver("INVOICE_CREATED", 1, NASTY:sub(1, -2)) -- JSON is UTF-8
    sell("5f1", "Ada <b>")
    work()
    local body, status, headers = get("/event?id=" .. id)
    assert.equal(200, status)
    assert_well_formed(body)
    has(body, "<td data-label=\"Rule\">ledger</td>")
    has(body, SAFE) -- the rule's error
    has_not(body, "<script")
    has(body, "&quot;fullname&quot;: &quot;&lt;script&gt;")
    has(headers["Content-Security-Policy"], "default-src 'none'; style-src 'self'")
    assert.same({ "no-store", "DENY", "nosniff", "same-origin" }, { headers["Cache-Control"],
      headers["X-Frame-Options"], headers["X-Content-Type-Options"], headers["Referrer-Policy"] })
    local delivery = body:match 'href="(/delivery%?id=[^"]*)"'
    body, status = get((delivery:gsub("&amp;", "&")))
    assert.equal(200, status)
    assert_well_formed(body)
    has_not(body, "<script")
    has(body, "&quot;signature&quot;: &quot;***&quot;")
    body = get "/invoices"
    for _, text in ipairs { "tickets:5f1", "R-5f1", "Ada &lt;b&gt;", "19.90 EUR" } do
      has(body, text)
    end
    body, status = get "/invoice?account=tickets&invoice=5f1"
    assert.equal(200, status)
    assert_well_formed(body)
    has(body, "Ada &lt;b&gt;")
    has(body, "<h2>Events</h2>")
    has(body, "<h2>Deliveries</h2>")
  end)

  it("cuts what is very long, and says so", function()
    local id = deliver("INVOICE_CREATED", 1, ("x"):rep(70000))
    work()
    local body = get("/event?id=" .. id)
    has(body, "The first 65536 of ")
    has(body, "`billhook inbox show " .. id .. "` has all.")
    assert.is_true(#body < 80000)
  end)

  it("is what is asked for", function()
    local ids = {}
    for i = 1, 3 do ids[i] = deliver("INVOICE_CREATED", i) end
    local paid = deliver("PAYMENT_CREATED", 9)
    sell("5f1", "Ada")
    work()
    local function found(path)
      local list = {}
      for id in get(path):gmatch '<a class="id" href="[^"]*">([^<]*)</a>' do
        list[#list + 1] = id
      end
      return list
    end
    assert.equal(5, #found "/events")
    assert.equal(4, #found "/events?account=school")
    assert.equal(3, #found "/events?state=dead&account=")
    assert.same({ paid }, found "/events?state=unhandled&account=school")
    assert.same({ paid }, found "/events?type=payment.created")
    assert.same({ ids[2] }, found("/events?text=" .. ids[2]))
    assert.same({ ids[2] }, found("/events?text=" .. ids[2]:sub(8):upper()))
    assert.same({ ids[3] }, found "/deliveries?text=school:3")
    assert.same({ "tickets:5f1" }, found "/invoices?text=ada")
    assert.same({}, found "/invoices?text=bob")
    has(get "/invoices?text=bob", "None.")
    -- what makes no sense asks for nothing
    assert.equal(5, #found "/events?state=nonsense&account=none&before=x&after=-1")
    assert.equal(5, #found("/events?text=" .. ("a"):rep(300)))
    has(get "/events?state=dead&type=a%22%3E", 'value="a&quot;&gt;"')
    has(get "/events?state=dead", '<option selected value="dead">')
  end)

  it("is fifty a page, back and forth", function()
    for i = 1, 120 do deliver("INVOICE_UPDATED", i) end
    work()
    local function numbers(body)
      local list = {}
      for n in body:gmatch '<td data%-label="Invoice">(%d+)</td>' do
        list[#list + 1] = tonumber(n)
      end
      return list
    end
    local function link(body, rel)
      local to = body:match('<a class="button" href="([^"]*)" rel="' .. rel .. '">')
      return to and to:gsub("&amp;", "&")
    end
    local body = get "/deliveries?account=school"
    local first = numbers(body)
    assert.same({ 50, 120, 71 }, { #first, first[1], first[50] })
    assert.is_nil(link(body, "prev"))
    has(link(body, "next"), "account=school")
    local second = get(link(body, "next"))
    assert.same({ 50, 70, 21 }, { #numbers(second), numbers(second)[1], numbers(second)[50] })
    local last = get(link(second, "next"))
    assert.same({ 20, 20, 1 }, { #numbers(last), numbers(last)[1], numbers(last)[20] })
    assert.is_nil(link(last, "next"))
    assert.same(numbers(second), numbers(get(link(last, "prev"))))
    body = get(link(second, "prev"))
    assert.same(first, numbers(body))
    assert.is_nil(link(body, "prev"))
    -- a text is looked for page by page as well
    body = get "/deliveries?text=aa3a27d6"
    assert.equal(50, #numbers(body))
    assert.equal(70, numbers(get(link(body, "next")))[1])
  end)

  it("looks for a text in so many, and goes on when asked", function()
    local list = {}
    for i = 1, 2100 do
      list[i] = { account = "school", id = "n" .. i, vendor = "dreamclass", type = "a",
        native = "a", live = true, trust = "id", again = false, body = "{}" }
    end
    assert(page.store:admit(list))
    local body = get "/deliveries?text=n1x"
    has(body, "None. The text was looked for in 2000 of them so far.")
    has(body, ">Search on</a>")
    body = get((body:match '<a class="button" href="([^"]*)"':gsub("&amp;", "&")))
    has_not(body, "Search on")
  end)

  it("is told what is not there, and not how", function()
    for _, path in ipairs { "/none", "/event?id=none", "/event", "/delivery?id=school:x",
        "/invoice?account=school", "/index.php", "/.." } do
      local body, status = get(path)
      assert.equal(404, status, path)
      assert_well_formed(body)
    end
    for path, allowed in pairs { ["/"] = "GET, HEAD", ["/run"] = "POST", ["/logout"] = "POST",
        ["/login"] = "GET, HEAD, POST", ["/style.css"] = "GET, HEAD" } do
      for _, method in ipairs { "PUT", "DELETE", "OPTIONS" } do
        local status, headers = ask(method, path, { cookie = cookie })
        assert.same({ 405, allowed }, { status, headers.Allow }, path)
      end
    end
    assert.equal(200, (ask("HEAD", "/", { cookie = cookie })))
    local status, headers, style = ask("GET", "/style.css")
    assert.same({ 200, "text/css; charset=utf-8" }, { status, headers["Content-Type"] })
    has(style, "prefers-color-scheme: dark")
    has_not(style, "url(")
  end)

  it("says so where the inbox does not answer", function()
    local failure = require("billhook.error").new { kind = "store", message = "disk <on> fire" }
    page.store = setmetatable({}, { __index = function()
      return function() return nil, failure end
    end })
    page.app:use_store(page.store)
    for _, path in ipairs { "/", "/events", "/events?text=a", "/event?id=a", "/delivery?id=a",
        "/invoice?account=a&invoice=b" } do
      local body, status, headers = get(path)
      assert.same({ 503, "5" }, { status, headers["Retry-After"] }, path)
      has(body, "disk &lt;on&gt; fire")
    end
  end)
end)

describe("the chart", function()
  it("has whole numbers at its scale, however many there are", function()
    local chart = require "billhook.page.chart"
    for n, top in pairs { [0] = "1", [3] = "5", [7677] = "10000", [2000001] = "5000000" } do
      local hours = {}
      for i = 1, 24 do hours[i] = { at = i * 3600, deliveries = n, failures = 0 } end
      assert.truthy(chart.day(hours).text:find('text-anchor="end" x="52" y="22">' .. top .. "<", 1,
        true), chart.day(hours).text:sub(1, 900))
    end
  end)
end)
