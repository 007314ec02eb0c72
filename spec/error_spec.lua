local errors = require "billhook.error"

describe("billhook.error", function()
  it("prints its kind, message, vendor, operation and status", function()
    local err = errors.new { kind = "not_found", message = "no such invoice", vendor = "dreamapply",
      operation = "invoices.get", status = 404 }
    assert.equal("not_found: no such invoice (dreamapply invoices.get, 404)", tostring(err))
  end)

  it("leaves out of the print what it does not know", function()
    assert.equal("store: disk full", tostring(errors.new { kind = "store", message = "disk full" }))
    assert.equal("network: no route (betterez)",
      tostring(errors.new { kind = "network", message = "no route", vendor = "betterez" }))
    assert.equal("server: oops (500)",
      tostring(errors.new { kind = "server", message = "oops", status = 500 }))
  end)

  it("knows its own", function()
    assert.is_true(errors.is(errors.new { kind = "auth", message = "no" }))
    assert.is_false(errors.is { kind = "auth", message = "no" })
    assert.is_false(errors.is "auth")
  end)

  it("has the kinds of the documentation and no other", function()
    local kinds = {}
    for _, kind in ipairs(errors.kinds) do kinds[kind] = true end
    for kind in ([[auth not_found invalid conflict rate_limited server timeout network tls decode
        too_large unknown_outcome signature store cancelled]]):gmatch "%S+" do
      assert.is_true(kinds[kind], kind)
      assert.equal(kind, errors.new { kind = kind, message = "x" }.kind)
    end
    assert.equal(15, #errors.kinds)
    local fine, why = pcall(errors.new, { kind = "odd", message = "x" })
    assert.is_false(fine)
    assert.matches("billhook.error: 'kind' must be one of auth, not_found, .*, got odd", why)
    fine, why = pcall(errors.new, { kind = "auth" })
    assert.is_false(fine)
    assert.matches("billhook.error: 'message' must be a string, got nil", why)
  end)

  it("keeps no secret, however it is spelt", function()
    local secret = 'k/1+2"x&y'
    local said = table.concat({ secret, "k\\/1+2\"x&y", "k/1+2\\\"x&y", "k/1+2&quot;x&amp;y",
      "k%2F1%2B2%22x%26y", "k%2f1%2b2%22x%26y" }, "|")
    local err = errors.new { kind = "server", message = said, code = said, body = said,
      cause = { inner = { said }, [said] = 1 }, secrets = { secret } }
    assert.equal("***|***|***|***|***|***", err.message)
    assert.equal(err.message, err.body)
    assert.equal(err.message, err.code)
    assert.equal(err.message, err.cause.inner[1])
    assert.equal(1, err.cause[err.message])
    assert.is_nil(err.secrets)
  end)

  it("keeps no secret that was encoded with what stands around it", function()
    local base64 = require("billhook.core").text.base64
    for _, secret in ipairs { "key-42", "a longer key", "secrets", "\255\254\253\252\251" } do
      for _, around in ipairs { { "", "" }, { "u:", "" }, { "user:", "&x=1" }, { "me:", "\n" } } do
        local digits = base64(around[1] .. secret .. around[2])
        for _, text in ipairs { digits, (digits:gsub("+", "-"):gsub("/", "_")) } do
          local said = errors.new { kind = "server", message = "Basic " .. text .. " is unknown",
            secrets = { secret } }.message
          -- beside it at most what belongs to the text around it
          assert.matches("^Basic " .. (".?"):rep(8) .. "%*%*%*" .. ("[^*]?"):rep(8)
            .. " is unknown$", said)
        end
      end
      local hex = secret:gsub(".", function(c) return ("%02x"):format(c:byte()) end)
      assert.equal("*** ***", errors.new { kind = "server", message = hex .. " " .. hex:upper(),
        secrets = { secret } }.message)
    end
  end)

  it("keeps nothing that a server calls a credential, nobody's", function()
    for said, kept in pairs {
      [ [[{"apiKey":"a","API_KEY" : "b\"c","key":"d","api-keys":1}]] ] =
        [[{"apiKey":"***","API_KEY" : "***","key":"d","api-keys":1}]],
      [ [[{"Password":"a b","token":123456,"x":{"client_secret":"e"}}]] ] =
        [[{"Password":"***","token":***,"x":{"client_secret":"***"}}]],
      [ [[{\"password\":\"abc\",\"b\":1}]] ] = [[{\"password\":\"***\",\"b\":1}]],
      ["Authorization: Bearer abc.def-123\r\nHost: a"] = "Authorization: ***\r\nHost: a",
      ["cookie: sid=abc; other=def"] = "cookie: ***",
      ["GET /x?token=abc123&page=2"] = "GET /x?token=***&page=2",
      ["x-api-key: abcdef0123"] = "x-api-key: ***",
      [ [[{"password":"cut off amid]] ] = [[{"password":"***]],
      ["token: expired or invalid"] = "token: expired or invalid",
      ["apikey missing, expired or invalid"] = "apikey missing, expired or invalid",
      [ [[{"token":"","password":null}]] ] = [[{"token":"","password":null}]],
      ["password: " .. ("x"):rep(5000)] = "password: ***",
    } do
      local err = errors.new { kind = "server", message = said, body = said }
      assert.equal(kept, err.message:sub(1, #kept))
      assert.equal(kept, err.body:sub(1, #kept))
    end
  end)

  it("is as quick with a text that is made to be slow", function()
    local began = os.clock()
    for _, text in ipairs { ("token:"):rep(1e5), ("token='\\'"):rep(1e5), ("a "):rep(1e5),
      "token" .. (" "):rep(1e6), ("token: bearer "):rep(1e5) } do errors.blot(text) end
    assert.is_true(os.clock() - began < 30) -- where it looks from everywhere to the end: hours
  end)

  it("does not blot out what is too short to be a secret", function()
    assert.equal("a network error",
      errors.new { kind = "network", message = "a network error", secrets = { "net" } }.message)
    assert.equal("a ***ork error",
      errors.new { kind = "network", message = "a network error", secrets = { "netw" } }.message)
  end)

  it("cuts a body, after the secrets are out of it", function()
    local err = errors.new { kind = "server", message = "x", secrets = { "SECRET-KEY" },
      body = ("b"):rep(errors.body_limit - 5) .. "SECRET-KEY" .. ("c"):rep(100) }
    assert.equal(errors.body_limit, #err.body)
    assert.is_nil(err.body:find("SEC", 1, true))
    assert.equal("***cc", err.body:sub(-5))
  end)

  it("does not cut a character in two", function()
    for extra = 0, 3 do
      local err = errors.new { kind = "server", message = "x",
        body = ("b"):rep(errors.body_limit - extra) .. "\240\159\146\182" .. ("\195\169"):rep(10) }
      local tail = err.body:sub(errors.body_limit - extra + 1)
      assert.is_true(tail == "" or tail == "\240\159\146\182", extra .. ": " .. tail)
      assert.is_true(#err.body <= errors.body_limit)
    end
  end)

  it("survives tables that contain themselves", function()
    local loop = {}
    loop.self = loop
    assert.is_table(errors.new { kind = "server", message = "x", cause = loop }.cause)
  end)
end)
