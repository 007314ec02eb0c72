-- The pure part of the quota: what is asked of a line of slots, and what it answers.
local window = require("billhook.client.quota").lines

local line, now
local function ask(question)
  question.limit, question.window = question.limit or 2, 60
  return window.answer(line, now, question)
end

local function take(more)
  local question = { ask = "take", need = 1, hold = 90, patience = 1000 }
  for name, value in pairs(more or {}) do question[name] = value end
  return ask(question)
end

local function free(slots, after) return ask { ask = "free", slots = slots, after = after } end

local function park(seconds, random)
  return ask({ ask = "park", seconds = seconds, random = random or 1 }).wait
end

-- Every check is made with a line that stays a table, and with one that is text in between.
local function both(name, fn)
  it(name, fn)
  it(name .. " (as text)", function()
    local answer = window.answer
    window.answer = function(same, ...)
      local copy = window.read(window.text(same))
      local result = answer(copy, ...)
      for key in pairs(same) do same[key] = nil end
      for key, value in pairs(copy) do same[key] = value end
      return result
    end
    local fine, why = pcall(fn)
    window.answer = answer
    assert.is_true(fine, why)
  end)
end

describe("billhook.client.quota, its window", function()
  before_each(function() line, now = window.new(), 1000 end)

  both("gives as many slots as the limit, then says when to come back", function()
    assert.same({ slots = { 1 } }, take())
    assert.same({ slots = { 2 } }, take())
    local answer = take()
    assert.equal(60, answer.wait) -- whatever is under way comes back no sooner
    assert.is_truthy(answer.ticket)
  end)

  both("says when it is too late, and takes no ticket then", function()
    local slots = take({ need = 2 }).slots
    free(slots, 60)
    now = 1020
    assert.same({ late = 40 }, take { patience = 40 })
    assert.equal(40, take({ patience = 41 }).wait)
    now = 1059.9
    assert.same({}, take({ patience = 0.1 }).slots or {})
  end)

  both("says exactly when the k-th slot comes free, to the k-th that waits", function()
    local slots = take({ need = 2 }).slots
    now = 1010
    free({ slots[1] }, 60)
    now = 1015
    free({ slots[2] }, 60)
    now = 1020
    local first, second = take(), take()
    assert.equal(50, first.wait)
    assert.equal(55, second.wait)
    now = 1070
    assert.equal(5, take({ ticket = second.ticket }).wait) -- it is the first one's
    assert.is_truthy(take({ ticket = first.ticket }).slots)
    now = 1075
    assert.is_truthy(take({ ticket = second.ticket }).slots)
  end)

  both("serves those first who came first, and nobody in between", function()
    free(take({ need = 2 }).slots, 60)
    local first = take()
    now = 1060
    free(take({ ticket = first.ticket }).slots, 60) -- one is left
    local second = take { need = 2 }
    assert.equal(60, second.wait)
    assert.equal(60, take().wait) -- that one is kept for the second
    now = 1120
    assert.is_truthy(take({ need = 2, ticket = second.ticket }).slots)
  end)

  both("serves a background call after all others", function()
    free(take({ need = 2 }).slots, 60)
    local background = take { background = true }
    assert.equal(60, background.wait)
    now = 1030
    local person, other = take(), take()
    assert.equal(30, person.wait)
    now = 1060
    assert.equal(60, take({ background = true, ticket = background.ticket }).wait)
    assert.is_truthy(take({ ticket = person.ticket }).slots)
    assert.is_truthy(take({ ticket = other.ticket }).slots)
    now = 1080
    assert.equal(60, take({ background = true }).wait)
  end)

  both("forgets who does not come back in time", function()
    free(take({ need = 2 }).slots, 60)
    take { need = 2 }
    now = 1062
    assert.equal(60, take().wait)
    now = 1063.1 -- 3 seconds late
    assert.is_truthy(take().slots)
  end)

  both("gives several at once, or none", function()
    local one = take()
    assert.equal(60, take({ need = 2 }).wait)
    free(one.slots)
    assert.equal(2, #take({ need = 2, ticket = 2 }).slots)
  end)

  both("looks often for slots that may come back at any moment", function()
    local kept = take({ need = 2, kept = true }).slots
    local answer = take()
    assert.equal(0.25, answer.wait)
    assert.same({ late = 60 }, take { patience = 0.2 })
    free(kept)
    assert.is_truthy(take({ ticket = answer.ticket }).slots)
  end)

  both("counts a kept slot from its answer on, like any other", function()
    local kept = take({ need = 2, kept = true }).slots
    assert.same({}, ask { ask = "spend", slot = kept[1] })
    assert.same({}, ask { ask = "spend", slot = kept[2] })
    assert.equal(60, take().wait)
    free(kept, 60)
    now = 1059
    assert.equal(1, take().wait)
  end)

  both("takes a slot back whose answer never came, at the end of its hold", function()
    take { need = 2, hold = 90 }
    now = 1089
    assert.equal(1, take({ ticket = 1 }).wait)
    now = 1090
    assert.is_truthy(take().slots)
  end)

  both("frees nothing twice", function()
    local slots = take().slots
    free(slots, 60)
    free(slots, 60)
    free(slots)
    assert.same({ left = 1, wait = 60 }, ask { ask = "look" })
  end)

  both("is parked for everybody after a 429", function()
    local kept = take({ kept = true }).slots
    assert.equal(7, park(7))
    local answer = take()
    assert.equal(7, answer.wait)
    assert.same({ late = 7 }, take { patience = 5 })
    assert.same({ wait = 7 }, ask { ask = "spend", slot = kept[1] })
    assert.same({ left = 0, wait = 7 }, ask { ask = "look" })
    now = 1007
    assert.same({}, ask { ask = "spend", slot = kept[1] })
    assert.is_truthy(take({ ticket = answer.ticket }).slots)
  end)

  both("is parked for an hour at most, whatever one answer says", function()
    assert.equal(3600, park(3600))
    assert.equal(3600, park(31536000))
  end)

  both("is parked longer and longer where the server does not say", function()
    for _, seconds in ipairs { 2, 4, 8, 16, 32, 60, 60 } do
      assert.equal(seconds, park())
      now = now + seconds
    end
    ask { ask = "free", slots = {}, accepted = true }
    assert.equal(1, park(nil, 0))
  end)

  both("counts refusals once that were under way together", function()
    assert.equal(2, park())
    now = 1001
    assert.equal(1, park())
    assert.equal(1, park())
    now = 1002
    assert.equal(4, park())
  end)

  both("lets a single request go first after that", function()
    local before = take({ limit = 9 }).slots
    park(5)
    now = 1005
    free(before, 60)
    local probe = take({ limit = 9 }).slots
    assert.is_truthy(probe)
    assert.equal(0.25, take({ limit = 9 }).wait)
    ask { ask = "free", slots = probe, after = 60, accepted = true }
    assert.is_truthy(take({ limit = 9, ticket = 4 }).slots)
    assert.is_truthy(take({ limit = 9 }).slots)
  end)

  both("goes back with a clock that is set back", function()
    free(take({ need = 2 }).slots, 60)
    now = 500
    assert.equal(60, take({ ticket = 9 }).wait)
    park(10)
    now = 100
    assert.same({ left = 0, wait = 10 }, ask { ask = "look" })
    now = 160
    assert.same({ left = 2 }, ask { ask = "look" })
  end)

  both("does not mind a clock that is a little behind", function()
    free(take({ need = 2 }).slots, 60)
    now = 999.5
    assert.equal(60, take().wait)
    now = 1059.9
    assert.is_nil(take({ ticket = 3 }).slots)
  end)

  it("stays small for many requests, none of which is free too early or much too late", function()
    for _ = 1, 20000 do
      free(take({ limit = 30000 }).slots, 60)
      now = now + 0.002
    end
    assert.is_true(#window.text(line) < 20000)
    now = 1059.99 -- 1060.00 is when the first one is free
    assert.equal(10000, ask({ ask = "look", limit = 30000 }).left)
    now = 1080.001
    local left = ask({ ask = "look", limit = 30000 }).left
    assert.is_true(left <= 20001 and left > 20000 - 0.25 / 0.002, left)
    now = 1100.25
    assert.equal(30000, ask({ ask = "look", limit = 30000 }).left)
  end)

  it("reads what is no line as a new one", function()
    for _, text in ipairs { "", "x", "5" } do
      assert.same(window.new(), window.read(text))
    end
    assert.same(window.new(), window.read(nil))
  end)
end)
