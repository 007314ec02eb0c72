-- page_serve_spec.lua: the operator's page in nginx, as `billhook serve` writes it, and in a real
-- browser where there is one.

local billhook = require "billhook"
local command = require "spec.support.command"
local ports = require "spec.support.port"
local process = require "billhook.process"

local wait = command.wait

local PASSWORD = "correct horse battery"

local function hidden(text, name)
  return text:match('<input name="' .. name .. '" type="hidden" value="([^"]*)">')
end

local function has(text, what)
  assert.is_true(text:find(what, 1, true) ~= nil, what .. "\nin: " .. text:sub(1, 2000))
end
local function has_not(text, what) assert.is_nil((text:find(what, 1, true)), what) end

local rules = [[
local billhook = require "billhook"
local app = billhook.app { inbox = "sqlite:$FOLDER/inbox.db", attempts = 1, accounts = {
  school = billhook.dreamclass { webhook = { secret = "123" } } } }
app:on("invoice.created", { name = "ledger" }, function()
  if not io.open "$FOLDER/go" then error("<script>document.title = 'taken'</script>", 0) end
end)
return app
]]

local function prepared()
  local server = { folder = command.folder() }
  server.rules = command.write(server.folder .. "/rules.lua",
    (rules:gsub("%$FOLDER", server.folder)))
  server.password = command.write(server.folder .. "/password", PASSWORD .. "\n")
  process.chmod(server.password, 384) -- 0600
  server.port, server.page_port = ("%d"):format(ports.free()), ("%d"):format(ports.free())
  server.url, server.page = "http://127.0.0.1:" .. server.port,
    "http://127.0.0.1:" .. server.page_port
  return server
end

local function serve(server, ...)
  server.child = command.start({ "serve", server.rules, "--listen", server.port, "--page",
    server.page_port, ... }, { env = server.env })
  wait("serve to listen", function()
    if process.wait(server.child.pid, "look") then error(server.child:errors(), 0) end
    return server.child:errors():find("listening on " .. server.url, 1, true)
  end)
  return server
end

local function post(server, id)
  local body = ('{"id":"aa3a27d6-05b5-4fcd-bd04-%012d","type":"INVOICE_CREATED","tenant":"x",'
    .. '"timestamp":1,"data":{"id":%d,"fullname":"<b>Ada</b>"}}'):format(id, id)
  local headers, signed = billhook.sign("dreamclass", body, { secret = "123" })
  assert.equal(200, (command.http("POST", server.url .. "/webhooks/school", headers, signed)))
  return ("school:aa3a27d6-05b5-4fcd-bd04-%012d"):format(id)
end

local function encode(text)
  return (text:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end))
end

local function send(server, path, form, with)
  local fields = {}
  for name, value in pairs(form) do fields[#fields + 1] = name .. "=" .. encode(value) end
  return command.http("POST", server.page .. path, { Origin = server.page, Cookie = with or "a=b",
    ["Content-Type"] = "application/x-www-form-urlencoded" }, table.concat(fields, "&"))
end

local function enter(server)
  local _, form = command.http("GET", server.page .. "/login")
  local status, _, headers = send(server, "/login", { ticket = hidden(form, "ticket"),
    password = PASSWORD })
  assert.equal(303, status)
  return headers["set-cookie"]:match "^[^;]*"
end

local function state_of(server, with, id)
  local _, body = command.http("GET", server.page .. "/event?id=" .. id, { Cookie = with })
  return body:match '<dt>State</dt><dd><span class="[^"]*">(%l+)', body
end

describe("billhook serve --page", function()
  after_each(command.finish)

  it("shows what came in, and runs it again", function()
    local server = prepared()
    serve(server, "--workers", "2", "--page-password-file", server.password)
    local id = post(server, 1)
    local status, _, headers = command.http("GET", server.page .. "/events?state=dead")
    assert.equal(303, status)
    assert.equal("/login?next=%2Fevents%3Fstate%3Ddead", headers.location)
    local with = enter(server)
    wait("the rule to fail", function() return state_of(server, with, id) == "dead" end)
    for _ = 1, 8 do -- both workers know the session
      status = command.http("GET", server.page .. "/", { Cookie = with })
      assert.equal(200, status)
    end
    local _, body = state_of(server, with, id)
    has(body, "&lt;script&gt;document.title")
    status, body = command.http("HEAD", server.page .. "/", { Cookie = with })
    assert.same({ 200, "" }, { status, body or "" })
    assert.equal(404, (command.http("GET", server.page .. "/metrics", { Cookie = with })))
    assert.equal(404, (command.http("POST", server.page .. "/webhooks/school", { Cookie = with,
      Origin = server.page }, "{}")))
    assert.equal(404, (command.http("GET", server.url .. "/login")))
    assert.equal(413, (send(server, "/run", { id = ("x"):rep(20000) }, with)))
    command.write(server.folder .. "/go", "")
    status, _, headers = send(server, "/run", { id = id,
      token = hidden(select(2, state_of(server, with, id)), "token") }, with)
    assert.same({ 303, "/event?id=" .. id .. "&ran=1" }, { status, headers.location })
    wait("the rule to run", function() return state_of(server, with, id) == "done" end)
    server.child:signal "HUP"
    wait("the reload", function() return server.child:errors():find("reloaded", 1, true) end)
    assert.equal(200, (command.http("GET", server.page .. "/", { Cookie = with })))
    local log = server.child:errors()
    has(log, "event=page_login from=127.0.0.1")
    has(log, "event=page_run")
    has_not(log, PASSWORD)
    for _, pid in ipairs(command.descendants(server.child.pid)) do
      has_not(command.read(("/proc/%d/cmdline"):format(pid)), PASSWORD)
    end
  end)

  it("lets slow senders go when their time is over, and has no more than 100 at once", function()
    local server = prepared()
    serve(server, "--page-password-file", server.password, "--patience", "5")
    local function slow(path)
      local peer = assert(require("socket").connect("127.0.0.1", tonumber(server.page_port)))
      peer:send(("POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000\r\n"
        .. "Expect: 100-continue\r\n\r\n"):format(path))
      return peer
    end
    local held = {}
    for i = 1, 100 do held[i] = slow(i % 2 == 0 and "/login" or "/none") end
    for i = 1, 100 do assert.equal("HTTP/1.1 100 Continue", (held[i]:receive "*l")) end
    local status, body, headers = command.http("GET", server.page .. "/login")
    assert.same({ 503, "too many connections\n", "5" }, { status, body, headers["retry-after"] })
    post(server, 1) -- vendors do not notice
    wait("the end of their connections", function()
      for i = #held, 1, -1 do
        held[i]:send "x" -- never silent for long
        held[i]:settimeout(0)
        local line, err = held[i]:receive "*l"
        if not line and err ~= "timeout" then
          held[i]:close()
          table.remove(held, i)
        end
      end
      return #held == 0
    end)
    assert.equal(200, (command.http("GET", server.page .. "/login")))
  end)

  it("keeps its password from the rules' process", function()
    local server = prepared()
    server.env = { BILLHOOK_PAGE_PASSWORD = PASSWORD }
    serve(server)
    enter(server)
    local looked = 0
    for _, pid in ipairs(command.descendants(server.child.pid)) do
      if command.read(("/proc/%d/cmdline"):format(pid)):find("%zwork%z") then
        looked = looked + 1
        has_not(command.read(("/proc/%d/environ"):format(pid)), PASSWORD)
      end
    end
    assert.is_true(looked > 0)
  end)

  it("is refused where it would be open", function()
    local server = prepared()
    local function refused(code, why, more, env)
      local argv = { "serve", server.rules, "--listen", server.port }
      for _, word in ipairs(more) do argv[#argv + 1] = word end
      local result = command.run(argv, { env = env })
      assert.equal(code, result.code, result.err)
      has(result.err, why)
      has_not(result.err, "traceback")
    end
    local page_at, file = server.page_port, server.password
    refused(2, "--page: no password: --page-password-file, or BILLHOOK_PAGE_PASSWORD",
      { "--page", page_at })
    refused(2, "--page-password-file: where is --page?", { "--page-password-file", file })
    refused(2, "--page-url: where is --page?", { "--page-url", "https://a.example" })
    refused(2, "can be reached from other machines, in clear text",
      { "--page", "0.0.0.0:" .. page_at, "--page-password-file", file })
    for _, url in ipairs { "http://a.example", "https://a.example/", "https://a b", "a.example" } do
      refused(2, "--page-url: not https://NAME", { "--page", page_at, "--page-password-file", file,
        "--page-url", url })
    end
    refused(1, "must have 12 to 1024 bytes", { "--page", page_at },
      { BILLHOOK_PAGE_PASSWORD = "short" })
    process.chmod(file, 416) -- 0640
    refused(1, file .. " is for others, too: chmod 600",
      { "--page", page_at, "--page-password-file", file })
    refused(1, "No such file", { "--page", page_at, "--page-password-file", file .. "x" })
    refused(1, "is not a file but a directory",
      { "--page", page_at, "--page-password-file", "/tmp" })
  end)

  it("is used by keyboard alone, in a browser, on a screen and on a phone #long", function()
    local browser = require("spec.support.browser").start()
    if not browser then
      return print "note: page_spec: no Chromium here: the page was not looked at in a browser"
    end
    local server = prepared()
    serve(server, "--page-password-file", server.password)
    local id = post(server, 1)
    for n = 2, 60 do post(server, n) end
    browser:shape(1280, 900)
    browser:go(server.page .. "/event?id=" .. id)
    assert.equal("Log in \194\183 billhook", browser:evaluate "document.title")
    assert.equal("password", browser:evaluate "document.activeElement.id")
    browser:write(PASSWORD)
    browser:key("Enter", true)
    wait("the rule to fail", function()
      browser:go(server.page .. "/event?id=" .. id)
      return browser:evaluate "document.querySelector('dd .state').textContent" == "dead"
    end)
    -- what a payload or an error says runs nothing, and is seen as it was written
    assert.truthy(browser:evaluate "document.title":find(id, 1, true))
    assert.truthy(browser:evaluate "document.body.innerText":find("<script>", 1, true))
    assert.equal(0, browser:evaluate "document.scripts.length")
    -- not even what were written into the page
    assert.equal("undefined", browser:evaluate [[(() => {
      const s = document.createElement('script'); s.textContent = 'window.ran = 1';
      document.body.append(s); return typeof window.ran })()]])
    command.write(server.folder .. "/go", "")
    -- the first key leads to the content, and the focus is seen
    browser:key "Tab"
    assert.equal("Skip to the content", browser:evaluate "document.activeElement.textContent")
    assert.is_true(browser:evaluate "document.activeElement.getBoundingClientRect().left >= 0")
    assert.equal("solid", browser:evaluate "getComputedStyle(document.activeElement).outlineStyle")
    for _ = 1, 20 do
      if browser:evaluate "document.activeElement.textContent" == "Retry" then break end
      browser:key "Tab"
    end
    assert.equal("Retry", browser:evaluate "document.activeElement.textContent")
    browser:key("Enter", true)
    assert.equal("It will run again.",
      browser:evaluate "document.querySelector('[role=status]').textContent")
    wait("the rule to run", function()
      browser:go(server.page .. "/event?id=" .. id)
      return browser:evaluate "document.querySelector('dd .state').textContent" == "done"
    end)
    for _, path in ipairs { "/", "/deliveries", "/events", "/invoices", "/event?id=" .. id,
        "/login" } do
      for _, width in ipairs { 390, 1280 } do
        browser:shape(width, 844, width == 390)
        browser:go(server.page .. path)
        assert.is_true(browser:evaluate "document.documentElement.scrollWidth" <= width, path)
        -- every field has a name, every page one main part and one heading
        assert.equal(0, browser:evaluate [[[...document.querySelectorAll(
          'input:not([type=hidden]), select')].filter(e => e.labels.length != 1).length]])
        assert.equal("1 1", browser:evaluate [[document.querySelectorAll('main').length + ' ' +
          document.querySelectorAll('h1').length]])
        -- text is dark on light, or the other way round: at least 4.5 to 1
        assert.is_true(browser:evaluate [[(() => {
          const light = c => { const [r, g, b] = c.match(/\d+/g).slice(0, 3).map(v => {
            v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 });
            return .2126 * r + .7152 * g + .0722 * b };
          const under = e => { for (; e; e = e.parentElement) {
            const c = getComputedStyle(e).backgroundColor;
            if (c != 'rgba(0, 0, 0, 0)') return c } return 'rgb(255, 255, 255)' };
          return Math.min(...[...document.querySelectorAll('body *')].filter(e =>
            !e.closest('svg') && e.innerText && e.getClientRects().length).map(e => {
              const a = light(getComputedStyle(e).color), b = light(under(e));
              return (Math.max(a, b) + .05) / (Math.min(a, b) + .05) })) >= 4.5 })()]], path)
      end
    end
    browser:finish()
  end)
end)
