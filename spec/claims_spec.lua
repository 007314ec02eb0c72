local claims = require "billhook.outcome.claims"

local n = 0
local function new()
  n = n + 1
  return claims.of("claims-spec-" .. n)
end

describe("billhook.outcome.claims", function()
  it("is one for an account", function()
    assert.equal(claims.of "a", claims.of "a")
    assert.not_equal(claims.of "a", claims.of "b")
  end)

  it("gives an id one owner, by place", function()
    local c = new()
    assert.is_true(c:close({ id = "1", place = "place" }, 5))
    assert.is_false(c:close({ id = "2", place = "place" }, "5"))
    assert.is_true(c:close({ id = "2", place = "elsewhere" }, "5"))
    assert.same({ ["5"] = true }, c:known("place", { "5", "6" }, 0).owned)
    assert.same({}, c:known("nowhere", { "5" }, 0).owned)
  end)

  it("keeps the newest 10000", function()
    local c = new()
    for id = 1, 10001 do c:close({ id = "x", place = "place" }, id) end
    assert.same({ ["2"] = true, ["10001"] = true },
      c:known("place", { "1", "2", "10001" }, 0).owned)
  end)

  it("lets one call at a time into a place", function()
    local c = new()
    local token = c:enter("place", 40, 100)
    assert.is_truthy(token)
    assert.is_false(c:enter("place", 40, 100))
    assert.is_truthy(c:enter("elsewhere", 40, 100))
    c:leave("place", token)
    local second = c:enter("place", 40, 100)
    assert.is_truthy(second)
    assert.is_false(c:enter("place", 40, 139))
    assert.is_truthy(c:enter("place", 40, 140)) -- whoever was there was abandoned
    c:leave("place", second) -- and comes back late
    assert.is_false(c:enter("place", 40, 140))
  end)

  it("lets nobody send whose place is lost", function()
    local c = new()
    local first = c:enter("place", 40, 100)
    local second = c:enter("place", 40, 150)
    assert.is_false(c:begin({ id = "1", place = "place" }, first))
    assert.is_true(c:begin({ id = "2", place = "place" }, second))
  end)

  it("remembers what is open, for an hour", function()
    local c = new()
    local one = { id = "1", place = "p", sent_at = 100 }
    local two = { id = "2", place = "p", sent_at = 200 }
    local token = c:enter("p", 40, 100)
    c:begin(one, token)
    c:begin(two, token)
    c:begin(one, token) -- twice is once
    assert.equal(2, #c:known("p", {}, 200).open)
    assert.equal(0, #c:known("q", {}, 200).open)
    assert.same({ { intent = two, age = 3501, live = false } }, c:known("p", {}, 3701).open)
    c:close(two)
    assert.same({}, c:known("p", {}, 3701).open)
  end)
end)
