local retry = require "billhook.client.retry"

local function one() return 1 end
local function succeed(budget) budget.succeeded = budget.succeeded + 1 end
local function zero() return 0 end

local function state(change)
  local out = { attempt = 1, attempts = 3, idempotent = true, now = 100, deadline = 130,
    random = one,
    budget = retry.new_budget() }
  for name, value in pairs(change or {}) do out[name] = value end
  return out
end

describe("billhook.client.retry", function()
  it("repeats an idempotent call after what passes", function()
    for _, kind in ipairs { "network", "timeout", "tls", "server", "rate_limited" } do
      assert.is_number(retry.decide(state(), { kind = kind, sent = true }), kind)
    end
  end)

  it("repeats nothing after what stays", function()
    for _, kind in ipairs { "auth", "not_found", "invalid", "conflict", "decode", "too_large",
        "cancelled" } do
      local wait, why = retry.decide(state(), { kind = kind, sent = false })
      assert.is_nil(wait, kind)
      assert.equal("final", why)
    end
    assert.same({ nil, "final" }, { retry.decide(state(), { kind = "server", retryable = false }) })
  end)

  it("repeats an unsafe call only where it was not processed", function()
    local function of(fault) return (retry.decide(state { idempotent = false }, fault)) end
    assert.is_nil(of { kind = "network", sent = true })
    assert.is_nil(of { kind = "network" })
    assert.is_nil(of { kind = "timeout", sent = true })
    assert.is_nil(of { kind = "server" })
    assert.is_nil(of { kind = "rate_limited" })
    assert.is_number(of { kind = "network", sent = false })
    assert.is_number(of { kind = "tls", sent = false })
    assert.is_number(of { kind = "rate_limited", processed = false })
  end)

  it("is left to a chance that is another in every process", function()
    local low, high, sum = 1, 0, 0
    for _ = 1, 1000 do
      local chance = retry.chance()
      low, high, sum = math.min(low, chance), math.max(high, chance), sum + chance
    end
    assert.is_true(low >= 0 and low < 0.1 and high > 0.9 and high < 1)
    assert.is_true(sum > 400 and sum < 600)
    local seen = {}
    for n = 1, 2 do
      local pipe = assert(io.popen(([[LUA_PATH='lua/?.lua;lua/?/init.lua;%s' LUA_CPATH='%s' %s -e ]]
        .. [['io.write(("%%.9f"):format(require("billhook.client.retry").chance()))']]):format(
          package.path, package.cpath, require("spec.support.command").lua)))
      seen[n] = pipe:read "*a"
      pipe:close()
      assert.matches("^0%.%d+$", seen[n])
    end
    assert.are_not.equal(seen[1], seen[2])
  end)

  it("waits anything up to the backoff", function()
    assert.equal(0.2, retry.decide(state(), { kind = "server" }))
    assert.equal(0.4, retry.decide(state { attempt = 2 }, { kind = "server" }))
    assert.equal(0, retry.decide(state { attempt = 2, random = zero }, { kind = "server" }))
    assert.equal(10, retry.decide(state { attempt = 20, attempts = 30 }, { kind = "server" }))
  end)

  it("makes no more attempts than it may", function()
    assert.is_number(retry.decide(state { attempt = 2 }, { kind = "server" }))
    assert.same({ nil, "attempts" }, { retry.decide(state { attempt = 3 }, { kind = "server" }) })
    assert.same({ nil, "attempts" },
      { retry.decide(state { attempt = 1, attempts = 1 }, { kind = "server" }) })
  end)

  it("waits at least as long as the server says", function()
    assert.equal(7.2, retry.decide(state(), { kind = "server", retry_after = 7 }))
    assert.equal(7, retry.decide(state { random = zero }, { kind = "server", retry_after = 7 }))
    assert.equal(0, retry.decide(state { random = zero }, { kind = "server", retry_after = 0 }))
  end)

  it("reads a date by the server's clock, where that is known", function()
    local date = "Thu, 01 Jan 1970 00:16:49 GMT" -- 1009
    for given, expected in pairs { [1000] = 9, [1008] = 1, [1009] = 0, [2000] = 0 } do
      assert.equal(expected, retry.after(date, nil, given))
    end
    for _, ours in ipairs { 1000, 100000, -100000, 15000000 } do
      assert.equal(5, retry.after(date, "Thu, 01 Jan 1970 00:16:44 GMT", ours))
      assert.equal(0, retry.after(date, "Thu, 01 Jan 1970 00:16:50 GMT", ours))
      assert.equal(120, retry.after("120", "Thu, 01 Jan 1970 00:16:44 GMT", ours))
    end
    assert.equal(9, retry.after(date, "yesterday", 1000))
    assert.is_nil(retry.after("soon", "Thu, 01 Jan 1970 00:16:44 GMT", 1000))
    assert.equal(0, retry.after("-5", nil, 1000))
    assert.is_nil(retry.after("99999999999", nil, 1000))
  end)

  it("does not wait beyond the deadline", function()
    assert.same({ nil, "deadline" },
      { retry.decide(state(), { kind = "rate_limited", retry_after = 30 }) })
    assert.same({ nil, "deadline" },
      { retry.decide(state { random = zero }, { kind = "rate_limited", retry_after = 30 }) })
    assert.equal(29, retry.decide(state { random = zero }, { kind = "rate_limited",
      retry_after = 29 }))
    assert.same({ nil, "deadline" }, { retry.decide(state { now = 130 }, { kind = "server" }) })
  end)

  it("has a budget that only retries spend and successes refill", function()
    local budget = retry.new_budget()
    for _ = 1, retry.budget do
      assert.is_number(retry.decide(state { budget = budget }, { kind = "server" }))
    end
    assert.same({ nil, "budget" }, { retry.decide(state { budget = budget }, { kind = "server" }) })
    for _ = 1, 4 do succeed(budget) end
    assert.is_nil((retry.decide(state { budget = budget }, { kind = "server" })))
    succeed(budget)
    succeed(budget) -- 0.2 is no binary fraction
    assert.is_number(retry.decide(state { budget = budget }, { kind = "server" }))
    for _ = 1, 10000 do succeed(budget) end
    assert.is_number(retry.decide(state { budget = budget }, { kind = "server" }))
    assert.equal(retry.budget - 1, budget.tokens)
  end)

  it("spends nothing on what it does not repeat", function()
    local budget = retry.new_budget()
    retry.decide(state { budget = budget }, { kind = "auth" })
    retry.decide(state { budget = budget, attempt = 3 }, { kind = "server" })
    retry.decide(state { budget = budget }, { kind = "server", retry_after = 500 })
    assert.equal(retry.budget, budget.tokens)
  end)
end)
