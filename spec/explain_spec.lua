-- spec/explain_spec.lua: each mistake that is known is named, and no other.
local core = require "billhook.core"
local explain = require "billhook.cli.explain"
local deliveries = require "spec.support.deliveries"
local hmac, text = core.verify.hmac, core.text

local secret = "c2VjcmV0IQ=="
local now = 1700000000
local better = '{"id":"efec49e0","event":"invoices.created","data":{"_id":"a/b","n":"\195\169"},'
  .. '"created":1}'
local class = deliveries.read "dreamclass-invoice-created.json"
local id = "aa3a27d6-05b5-4fcd-bd04-505bfffacfc2"

-- what is found, a line each, the verdict first
local function all(...)
  local lines = {}
  for i, finding in ipairs(explain.why(...)) do
    lines[i] = (i > 1 and "  " or finding.code .. ": ") .. finding.text
  end
  return table.concat(lines, "\n")
end

-- what is said about a body whose header signs this message
local function said(message, options)
  options = options or {}
  local code = (options.form or text.hex)(hmac(options.key or secret, message))
  local headers = { ["X-BTRZ-Signature"] = options.header or "t=1700000000,s2=" .. code }
  local words = all("betterez", headers, options.body or better,
    { secret = options.secret or secret, now = options.now or now })
  assert.is_nil(words:find(text.hex(hmac(secret, "1700000000." .. better)), 1, true))
  assert.is_nil(words:find(secret, 1, true))
  return words
end

describe("explain, betterez", function()
  it("says that nothing is wrong", function()
    assert.equal("ok: the delivery is authentic", said("1700000000." .. better))
  end)

  local right = "1700000000." .. better
  for name, case in pairs {
    ["lost a line break at its end"] = { right .. "\n" },
    ["lost a line break (CR LF)"] = { right .. "\r\n" },
    ["got white space at its ends"] = { "1700000000.{ }", { body = "{ }\n" } },
    ["changed from LF to CR LF"] = { "1700000000.{\n}", { body = "{\r\n}" } },
    ["changed from CR LF to LF"] = { "1700000000.{\r\n}", { body = "{\n}" } },
    ["with a space after commas and colons"] =
      { "1700000000." .. better:gsub(":", ": "):gsub(",", ", ") },
    ["without white space, with \\/"] = { "1700000000." .. better:gsub("/", "\\/") },
    ["without white space, in ASCII"] = { "1700000000." .. better:gsub("\195\169", "\\u00e9") },
    ["indented by two"] =
      { '1700000000.{\n  "a": [\n    1,\n    {}\n  ]\n}', { body = '{"a":[1,{}]}' } },
    ["the secret has white space around it"] = { right, { secret = " " .. secret .. "\n" } },
    ["given to the sender with a line break at its end"] = { right, { key = secret .. "\n" } },
    ["decoded from base64 by the sender"] = { right, { key = "secret!" } },
    ["decoded from hexadecimal by the sender"] = { right, { key = "\1\2", secret = "0102" } },
    ["encoded in base64 by the sender"] = { right, { key = text.base64(secret) } },
    ["hashed by the sender"] = { right, { key = text.sha256(secret) } },
    ["the secret has quotes around it"] = { right, { key = "abc", secret = "'abc'" } },
    ["secret has quotes around it; the"] = { right, { key = "abc", secret = ' "abc"' } },
    ["the secret has a prefix"] = { right, { key = "abc", secret = "whsec_abc" } },
    ["secret 2 is decoded from base64"] =
      { right, { key = "secret!", secret = { "other", secret } } },
    ["signs the body without t"] = { better },
    ["without the dot"] = { "1700000000" .. better },
    ["signs t= as well"] = { "t=1700000000." .. better },
    ["sent in seconds and signed in milliseconds"] = { "1700000000000." .. better },
    ["signs the id instead of t"] = { "efec49e0" },
    ["no known mistake explains it"] = { "something else" },
    ["only the deprecated s matches"] =
      { "", { header = "t=1700000000,s=" .. text.hex(hmac(secret, right)) } },
    ["base64 of hexadecimal"] =
      { right, { form = function(code) return text.base64(text.hex(code)) end } },
  } do
    it("names: " .. name, function()
      local words = said(case[1], case[2])
      assert.is_truthy(words:find(name, 1, true), words)
      if name ~= "no known mistake explains it" then
        assert.is_nil(words:find("no known mistake", 1, true))
      end
    end)
  end

  it("names two mistakes at once", function()
    local words = said("1700000000." .. better .. "\n", { key = "secret!" })
    assert.is_truthy(words:find("decoded from base64", 1, true), words)
    assert.is_truthy(words:find("lost a line break", 1, true), words)
  end)

  it("measures the clocks", function()
    local words = said("1700000000." .. better, { now = now + 7201 })
    assert.is_truthy(words:find("^stale: "), words)
    assert.is_truthy(words:find("7201 s, a whole number of hours", 1, true), words)
    words = said("1700000000." .. better, { now = now - 400 })
    assert.is_truthy(words:find("^future: "), words)
    assert.is_truthy(words:find("differ by 400 s\n?$"), words)
  end)

  it("looks for another vendor's header where there is none", function()
    local words = all("betterez", { ["Stripe-Signature"] = "x" }, better, { secret = secret })
    assert.is_truthy(words:find("^unsigned: "), words)
    assert.is_truthy(words:find("Stripe-Signature: is this another vendor's", 1, true), words)
  end)
end)

describe("explain, dreamclass", function()
  local function signed(message, form)
    local code = (form or text.base64)(hmac("123", message))
    local body = deliveries.change(class, class:match('"signature": "([^"]*)"'), code)
    return all("dreamclass", {}, body, { secret = "123" })
  end

  for name, message in pairs {
    ["signs the id in upper case"] = id:upper(),
    ["signs the id without its dashes"] = id:gsub("-", ""),
    ["signs the id with quotes"] = '"' .. id .. '"',
    ["signs the id with a line break"] = id .. "\n",
    ["signs data instead of the id"] = class:match('"data": (%b{})'),
    ["signs the timestamp too"] = id .. ".1727884920561",
  } do
    it("names: " .. name, function()
      local words = signed(message)
      assert.is_truthy(words:find("^mismatch: "), words)
      assert.is_truthy(words:find(name, 1, true), words)
    end)
  end

  it("names a code that is written in another form", function()
    for name, form in pairs {
      hexadecimal = text.hex,
      ["base64 without padding"] = function(code) return (text.base64(code):gsub("=", "")) end,
    } do
      local words = signed(id, form)
      assert.is_truthy(words:find("^malformed: signature"), words)
      assert.is_truthy(words:find("the code is written in " .. name, 1, true), words)
    end
  end)

  it("names the secret's white space, which verify raises for", function()
    local words = all("dreamclass", {}, class, { secret = "123\n" })
    assert.is_truthy(words:find("^credentials: secret has white space"), words)
    assert.is_truthy(words:find("the secret has white space around it", 1, true), words)
  end)

  it("looks at Basic credentials", function()
    local function basic(pair)
      return all("dreamclass", { authorization = "Basic " .. text.base64(pair) }, class,
        { secret = "123", basic = { "user", "password" } })
    end
    assert.is_truthy(basic("password:user"):find("swapped", 1, true))
    assert.is_truthy(basic("user:password\n"):find("white space at an end", 1, true))
    assert.is_truthy(basic("user:other"):find("the user is right, the password is wrong", 1, true))
    assert.is_truthy(basic("nobody:password"):find("the user is wrong", 1, true))
    assert.is_truthy(basic("nobody"):find("user:password in base64", 1, true))
    assert.is_nil(basic("user:other"):find("other Basic credentials.*password\n"))
  end)

  it("looks at a body that is none", function()
    local function about(body) return all("dreamclass", {}, body, { secret = "123" }) end
    assert.is_truthy(about(""):find("read it before", 1, true))
    assert.is_truthy(about("payload=%7B%7D"):find("looks like a form", 1, true))
  end)

  it("says what to configure", function()
    assert.is_truthy(all("dreamclass", {}, class, {}):find("unconfigured: .*give secret"))
    assert.is_truthy(all("dreamclass", { ["content-encoding"] = "gzip" }, class, { secret = "123" })
      :find("encoding: .*must not change bodies"))
  end)
end)

describe("explain, dreamapply", function()
  local function about(value, wanted)
    return all("dreamapply", { authorization = value }, "[]",
      { authorization = wanted or "Bearer Secret" })
  end

  it("compares the values loosely", function()
    assert.is_truthy(about("bearer secret"):find("white space, quotes or case", 1, true))
    assert.is_truthy(about('"Bearer Secret"'):find("white space, quotes or case", 1, true))
    assert.is_truthy(about("Secret"):find("one is part of the other", 1, true))
    assert.is_truthy(about("Bearer Secret", { "x", "Secret" }):find("one is part", 1, true))
    assert.is_nil(about("nothing like it"):find("\n", 1, true))
    assert.equal("ok: the delivery is authentic", about("Bearer Secret"))
    assert.is_nil(about("bearer secret"):find("Secret", 1, true))
  end)
end)
