-- page/chart.lua: the last day as a picture: a pair of bars for each hour.

local html = require "billhook.page.html"

local e = html.elements

local M = {}

local WIDTH, HEIGHT, LEFT, FOOT, TOP = 720, 170, 58, 26, 18

local function hour(epoch) return os.date("!%H:00", epoch) end

-- A round number of at least this.
local function rounded(most)
  local step = 10 ^ math.floor(math.log(math.max(most, 1)) / math.log(10) + 1e-9)
  for _, times in ipairs { 1, 2, 5, 10 } do
    if step * times >= most then return math.max(1, step * times) end
  end
end

local function number(value) return ("%.4g"):format(value) end

---@param hours table[] { at, deliveries, failures }, one after the other
---@return table node
function M.day(hours)
  local most, all, failed = 0, 0, 0
  for _, one in ipairs(hours) do
    most = math.max(most, one.deliveries, one.failures)
    all, failed = all + one.deliveries, failed + one.failures
  end
  local top = rounded(most)
  local step, room = (WIDTH - LEFT) / #hours, HEIGHT - FOOT - TOP
  local parts = {}
  local function bar(kind, x, width, n, at)
    if n == 0 then return end
    local height = math.max(room * n / top, 2)
    parts[#parts + 1] = e.rect { class = kind, x = number(x), width = number(width),
      y = number(HEIGHT - FOOT - height), height = number(height),
      e.title { ("%s: %d"):format(hour(at), n) } }
  end
  for i, one in ipairs(hours) do
    local x = LEFT + (i - 1) * step
    bar("bar", x + step * 0.1, step * 0.45, one.deliveries, one.at)
    bar("fail", x + step * 0.58, step * 0.3, one.failures, one.at)
    if (i - 1) % 6 == 0 then
      parts[#parts + 1] = e.text { x = number(x), y = HEIGHT - 5, hour(one.at) }
    end
  end
  local base = HEIGHT - FOOT
  return e.svg { class = "chart", viewBox = ("0 0 %d %d"):format(WIDTH, HEIGHT), role = "img",
    ["aria-label"] = ("The last 24 hours by the hour. Deliveries: %d, failures: %d.")
      :format(all, failed),
    e.line { x1 = LEFT, x2 = WIDTH, y1 = base, y2 = base },
    e.line { x1 = LEFT, x2 = WIDTH, y1 = TOP, y2 = TOP },
    e.text { x = LEFT - 6, y = TOP + 4, ["text-anchor"] = "end", ("%d"):format(top) },
    e.text { x = LEFT - 6, y = base, ["text-anchor"] = "end", "0" }, parts }
end

return M
