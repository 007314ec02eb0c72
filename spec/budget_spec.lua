-- budget_spec.lua: what a burst of news costs of the requests that an account may send, by
-- bench/budget.lua, which docs/scaling.md quotes: in a short form.

local budget = require "bench.budget"

describe("of 180 requests a minute", function()
  it("a burst of changes above a hundred takes one, for the list", function()
    local r = budget.burst { known = 150, changed = 150, seconds = 400 }
    assert.are.same({ requests = 1, most = 1, half = 0, last = 0, told = 150 }, r)
  end)

  it("changes that come apart take one each", function()
    local r = budget.burst { known = 150, changed = 90, every = 2, seconds = 200 }
    assert.equal(90, r.told)
    assert.equal(90, r.requests)
    assert.is_true(r.last <= 1 and r.most <= 31)
  end)

  it("no more are sent, however many forged ids are named; what is true comes first", function()
    local r = budget.burst { known = 20, changed = 20, forged = 300, seconds = 200 }
    assert.equal(20, r.told)
    assert.equal(0, r.last)
    assert.is_true(r.most <= 180, r.most)
    assert.is_true(r.requests > 300)
  end)

  it("an API that lags behind costs a second look, not the truth", function()
    local r = budget.burst { known = 150, changed = 150, lag = 20, seconds = 400 }
    assert.equal(150, r.told)
    assert.is_true(r.last <= 60, r.last)
    assert.is_true(r.most <= 180, r.most)
  end)
end)
