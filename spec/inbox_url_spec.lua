-- inbox_url_spec.lua: a PostgreSQL password is shown by nobody, and no URL is taken in which libpq
-- would take a part of it for something else.

local billhook = require "billhook"
local command = require "spec.support.command"
local doubts = require "billhook.app.warnings"
local inbox = require "billhook.inbox"
local urls = require "billhook.inbox.url"

local ADVICE = "; in a user name or a password write %25 for %, %2F for /, %3A for :, %40 for @"

-- nothing listens there
local GOOD = {
  "postgresql://u:geheim@127.0.0.1:1/db", "postgres://u:geheim@127.0.0.1:1/db",
  "postgresql://u:ge%2Fheim%40%25@127.0.0.1:1/db", "postgresql://u:geheim?x@127.0.0.1:1/db",
  "postgresql://u:gehei:m@127.0.0.1:1/db", "postgresql://u@127.0.0.1:1/db?password=geheim",
  "postgresql://u@127.0.0.1:1/db?password=ge@heim/x", "postgresql://127.0.0.1:1?password=geheim",
  "postgresql://u:geheim@127.0.0.1:1,localhost:1/db?sslmode=disable&password=geheim2",
  "postgresql://u:geheim@[::1]:1/db", "postgresql:///db?host=/nowhere/geheimnis&password=geheim",
  "postgresql://u:geheim@%2Fnowhere/db",
}

local BAD = {
  "postgresql://u:geheim/x@127.0.0.1:1/db", "postgresql://u:ge/heim@127.0.0.1/db",
  "postgresql://u:12/geheim@127.0.0.1:1/db", "postgresql://u:geheim@x@127.0.0.1:1/db",
  "postgresql://u:1@geheim@127.0.0.1:1/db", "postgresql://u:1@2/geheim@127.0.0.1:1/db",
  "postgresql://u:geheim%@127.0.0.1:1/db", "postgresql://u:%geheim@127.0.0.1:1/db",
  "postgresql://u:geheim%4@127.0.0.1/db", "postgresql://u:geheim%00@127.0.0.1/db",
  "postgresql://u:1@x?geheim@127.0.0.1:1/db", "postgresql://u:1@x?geheim=2@127.0.0.1:1/db",
  "postgresql://u:1@x?password=geheim@127.0.0.1:1/db", "postgresql://u@h/db?password=geheim&heim",
  "postgresql://u@h/db?password=geheim=x", "postgresql://u@[geheim/db",
  "postgresql://u:12?geheim/db", "postgresql://u@h/db?password=geheim%",
  "postgresql:host=127.0.0.1 port=1 password=geheim", "postgresql:password=geheim",
  "postgres:/u:geheim@h/db", "host=127.0.0.1 password=geheim", "password='geheim' host=/tmp",
  "postgresql+x://u:geheim@h/db", "POSTGRESQL://u:geheim@h/db",
}

local accounts = { a = billhook.betterez { api_key = "k" } }

local function silent(text) assert.is_nil(tostring(text):find "heim", text) end

describe("a PostgreSQL password", function()
  after_each(command.finish)

  it("is told by no error, whatever is in it #both", function()
    for _, url in ipairs(GOOD) do
      assert.is_true(inbox.check(url), url)
      local store, err = inbox.open(url)
      assert.is_nil(store)
      assert.are.equal("store", err.kind)
      silent(tostring(err):gsub("geheimnis", ""))
    end
    for _, url in ipairs(BAD) do
      local ok, why = inbox.check(url)
      assert.is_nil(ok, url)
      silent(why)
      for _, fn in ipairs { function() inbox.open(url) end,
        function() billhook.app { inbox = url, accounts = accounts } end,
        function() billhook.dreamapply { base_url = "https://a.test", api_key = "k",
          quota = { store = url } } end } do
        local fine, raised = pcall(fn)
        assert.is_false(fine, url)
        silent(raised)
      end
    end
  end)

  it("is told by no command", function()
    local folder = command.folder()
    for i, url in ipairs { GOOD[1], GOOD[3], GOOD[6], GOOD[7], BAD[1], BAD[4], BAD[7], BAD[19],
      BAD[22] } do
      local rules = command.write(("%s/rules%d.lua"):format(folder, i), ([[
        local billhook = require "billhook"
        return billhook.app { inbox = %q, accounts = { a = billhook.betterez { api_key = "k",
          webhook = { secret = "long and random" } } } }]]):format(url))
      for _, words in ipairs { { "work", rules, "--check" }, { "work", rules, "--once" },
        { "inbox", "stats", "--inbox", url }, { "inbox", "list", "--rules", rules },
        { "serve", rules, "--run", folder .. "/run" .. i, "--listen", "nowhere" } } do
        local result = command.run(words)
        silent(result.out .. result.err)
        local checked = words[3] == "--check" and i <= 4
        assert.are.equal(checked, result.code == 0, table.concat(words, " ") .. result.err)
      end
    end
  end)

  it("is left out where a URL is shown #both", function()
    for url, shown in pairs {
      ["postgresql://u:geheim@h:1/db?sslmode=require&password=x&options=y"] =
        "postgresql://u@h:1/db?sslmode=require",
      ["postgres://:geheim@/db?host=/run"] = "postgresql://@/db?host=/run",
      ["postgresql://h"] = "postgresql://h", ["postgresql://u:a@b@h/db"] = "postgresql:",
      ["sqlite:billhook.db"] = "sqlite:billhook.db",
    } do
      assert.are.equal(shown, inbox.shown(url))
    end
  end)

  it("is blotted out of what others say #both", function()
    local url = "postgresql://u:a%2Db+c@h/db?sslpassword=w%25rd&password=xy"
    assert.are.equal("no *** and *** and *** and *** xy",
      urls.blot("no a-b+c and a%2Db+c and w%rd and w%25rd xy", url))
  end)
end)

describe("a malformed PostgreSQL URL #both", function()
  it("is refused at the start, with what to write", function()
    for url, why in pairs {
      ["postgresql://u:a/b@h/db"] = "has no host, or host:port, where one belongs",
      ["postgresql://u:1/b@h/db"] = "has an @ behind the host",
      ["postgresql://u:a@b@h/db"] = "has no host, or host:port, where one belongs",
      ["postgresql://u:a%b@h/db"] = "has a % without two hexadecimal digits behind it",
      ["postgresql://u@h/db?x"] = "has something else than name=value behind the ?",
    } do
      assert.are.equal("is a PostgreSQL URL that " .. why .. ADVICE,
        select(2, inbox.check(url)))
    end
    assert.are.equal("must be \"postgresql://user@host/database\"",
      select(2, inbox.check "postgresql:host=h"))
  end)
end)

describe("an inbox on another host #both", function()
  local function told(url)
    local list = doubts.of(billhook.app { inbox = url, accounts = accounts })
    return list[1] and list[1][1] .. " " .. list[1][2].host
  end

  it("is told of where TLS is not demanded", function()
    local function env() end
    for _, tail in ipairs { "", "?sslmode=prefer", "?sslmode=disable", "?sslmode=allow" } do
      assert.are.equal("db.example.org", urls.exposed("postgresql://db.example.org/x" .. tail, env))
    end
    for url, host in pairs {
      ["postgresql://u:p@10.0.0.1:5432/x"] = "10.0.0.1",
      ["postgresql://[fe80::1]:1/x"] = "[fe80::1]",
      ["postgresql://localhost:1,far:2/x"] = "far", ["postgresql:///x?host=far"] = "far",
      ["postgresql://localhost/x?hostaddr=10.0.0.1"] = "10.0.0.1",
      ["postgresql://127.example.org/x"] = "127.example.org",
    } do
      assert.are.equal(host, urls.exposed(url, env))
    end
    assert.are.equal("far", urls.exposed("postgresql:///x", function(name)
      return name == "PGHOST" and "far" or nil
    end))
    assert.are.equal("clear_text db.example.org", told "postgresql://db.example.org/x")
  end)

  it("is not where it is, or the host is this one", function()
    local function env() end
    for _, url in ipairs { "postgresql://far/x?sslmode=require", "postgresql://localhost/x",
      "postgresql://far/x?sslmode=verify-full", "postgresql://far/x?sslmode=verify-ca",
      "postgresql://far/x?sslrootcert=system", "postgresql://far/x?gssencmode=require",
      "postgresql:///x", "postgresql:///x?host=/run/postgresql", "postgresql://%2Frun/x",
      "postgresql://u:p@127.0.0.1:5432/x", "postgresql://[::1]:1/x", "postgresql://LOCALHOST/x",
      "sqlite:far.db", "memory:" } do
      assert.is_nil(urls.exposed(url, env), url)
    end
    assert.is_nil(urls.exposed("postgresql://far/x", function(name)
      return name == "PGSSLMODE" and "verify-full" or nil
    end))
    assert.is_nil(told "postgresql://far/x?sslmode=verify-full")
  end)
end)
