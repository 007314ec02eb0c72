-- report.lua: what a measurement tells: a table for who reads, and for bench/run a line of JSON a
-- row, at the end of the file that BENCH_ROWS names.
--
-- A row is a table with
--
--   part   which measurement: the name that bench/run knows it by
--   what   what was measured
--   lua    the Lua that did it, where there is more than one
--   us     microseconds of processor time for one
--   rate   how many a second, by the clock on the wall
--   ratio  of what stands in `of`, measured in the same run
--   of     its name
--   limit  what the ratio should be: "at most 2", "at least 0.75"
--   text   what is no such number; or why there is none

local json = require "billhook.json"

local unpack = table.unpack or rawget(_G, "unpack")

local M = {}

local Report = {}
Report.__index = Report

---@param part string
---@param lua? string
function M.new(part, lua) return setmetatable({ part = part, lua = lua, rows = {} }, Report) end

---@param what string
---@param fields table us, rate, ratio, of, limit, text
function Report:add(what, fields)
  fields.part, fields.lua, fields.what = self.part, fields.lua or self.lua, what
  for _, name in ipairs { "us", "rate", "ratio" } do
    fields[name] = fields[name] and tonumber(("%.5g"):format(fields[name]))
  end
  self.rows[#self.rows + 1] = fields
end

local function number(format, value) return value and format:format(value) or "" end

---One row as texts, for a table: what, us, rate, ratio, limit or text.
function M.cells(row)
  local size = row.us and (row.us < 10 and "%.2f" or "%.1f")
  local rest = row.text or ""
  if row.ratio then
    rest = "of " .. row.of .. (row.limit and ": " .. row.limit or "")
      .. (row.text and "; " .. row.text or "")
  end
  return { row.what, number(size, row.us), number("%.0f", row.rate), number("%.2f", row.ratio),
    rest }
end

---Prints all rows, and hands them on.
function Report:finish()
  local title = self.part .. (self.lua and ", " .. self.lua or "")
  print(("%-58s %8s %8s %6s"):format(title, "us", "a second", "ratio"))
  for _, row in ipairs(self.rows) do
    local line = ("  %-56s %8s %8s %6s  %s"):format(unpack(M.cells(row)))
    print((line:gsub("%s+$", "")))
  end
  io.flush()
  local path = os.getenv "BENCH_ROWS"
  if not path then return end
  local file = assert(io.open(path, "a"))
  for _, row in ipairs(self.rows) do file:write(json.encode(row), "\n") end
  file:close()
end

return M
