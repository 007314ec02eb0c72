-- odd_bodies_spec.lua: a body that no text type of a database takes (bytes that are no UTF-8, or
-- zero) is kept as it came, in every store.

local billhook = require "billhook"
local desk = require "spec.support.inbox"
local postgres = require "spec.support.postgres"

local function keeps(url)
  local d = desk.new { inbox = url }
  d.app:on("*", function() end)
  local odd = { '"a\\ud83d"', '"a\255"', '"a\0b"', '"\\u0000"' }
  for i, value in ipairs(odd) do
    local data = ('{"_id":"x%d","id":%d,"n":%s}'):format(i, i, "VALUE"):gsub("VALUE", function()
      return value
    end)
    odd[i] = data
    assert.equal(200, (d:tickets { id = i, data = data }))
    assert.equal(200, (d:school { id = i, data = data }))
    local other = data:gsub('"n"', '"m"')
    assert.equal(200, (d:school { id = i, data = other }))
  end
  for _, body in ipairs { "\0\255", "", "x\0" } do
    local headers, signed = billhook.sign("betterez", body, { secret = desk.SECRET, now = d.now })
    assert.equal(200, (d.app:receive("tickets", headers, signed)))
    assert.equal(200, (d:apply(body)))
  end
  assert.equal(200, (d:apply("[" .. desk.item(1) .. ',"\255\0"]'))) -- several at once
  assert.equal(200, (d:school { type = "A\\ud83d", id = 50 }))
  d:work()
  local all, bodies = {}, {}
  for i, one in ipairs(d.app.store:deliveries { limit = 1000 }) do
    all[i] = one.body
    if one.state == "dead" then bodies[#bodies + 1] = one.body end
  end
  all = table.concat(all, "\n")
  for _, data in ipairs(odd) do assert.is_truthy(all:find(data, 1, true), data) end
  assert.equal(8, #bodies)
  local kept = "\n" .. table.concat(bodies, "\n") .. "\n"
  for _, body in ipairs { "\0\255", "x\0", '"\255\0"', "" } do
    assert.is_truthy(kept:find("\n" .. body .. "\n", 1, true), body)
  end
  d.app.store:close()
end

describe("an odd body is kept", function()
  it("in SQLite", function()
    local path = os.tmpname()
    os.remove(path)
    keeps("sqlite:" .. path)
    for _, suffix in ipairs { "", "-wal", "-shm" } do os.remove(path .. suffix) end
  end)

  it("in PostgreSQL", function()
    local server = postgres.database()
    keeps(server.url)
    server:remove()
  end)
end)
