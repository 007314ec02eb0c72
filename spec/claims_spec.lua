local claims = require "billhook.claims"

local n = 0
local function new()
  n = n + 1
  return claims.of("claims-spec-" .. n)
end

describe("billhook.claims", function()
  it("is one for an account", function()
    assert.equal(claims.of "a", claims.of "a")
    assert.not_equal(claims.of "a", claims.of "b")
  end)

  it("knows the owners of ids, by place", function()
    local c = new()
    c:own("place", 5)
    assert.is_true(c:is_owned("place", "5"))
    assert.is_false(c:is_owned("place", 6))
    assert.is_false(c:is_owned("elsewhere", 5))
  end)

  it("keeps the newest 10000", function()
    local c = new()
    for id = 1, 10001 do
      c:own("place", id)
      c:own("place", id) -- twice is once
    end
    assert.is_false(c:is_owned("place", 1))
    assert.is_true(c:is_owned("place", 2))
    assert.is_true(c:is_owned("place", 10001))
  end)

  it("lets one call at a time into a place", function()
    local c = new()
    assert.is_true(c:enter("place", 100, 140))
    assert.is_false(c:enter("place", 100, 140))
    assert.is_true(c:enter("elsewhere", 100, 140))
    c:leave "place"
    assert.is_true(c:enter("place", 100, 140))
    assert.is_false(c:enter("place", 139, 180))
    assert.is_true(c:enter("place", 140, 180)) -- whoever was there was abandoned
  end)

  it("remembers what is open, for an hour", function()
    local c = new()
    local one, two = { id = "1", place = "p", sent_at = 100 }, { id = "2", place = "p",
      sent_at = 200 }
    c:remember(one)
    c:remember(two)
    c:remember { id = "1", place = "p", sent_at = 100 }
    assert.equal(2, #c:open("p", 200))
    assert.equal(0, #c:open("q", 200))
    assert.same({ two }, c:open("p", 3701))
    c:forget(two)
    assert.same({}, c:open("p", 3701))
  end)
end)
