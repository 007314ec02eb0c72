-- cli/term.lua: what the command prints. Results go to stdout, as tables for
-- people or as JSON for programs; everything else goes to stderr. No colour
-- where NO_COLOR is set or the other end is no terminal.

local printable = require "billhook.printable"

local M = {}

local codes = { red = "31", green = "32", yellow = "33", dim = "2", bold = "1" }

local function process() return require "billhook.process" end

local function coloured(fd)
  local no = os.getenv "NO_COLOR"
  return (no == nil or no == "") and os.getenv "TERM" ~= "dumb" and process().columns(fd) ~= nil
end

---The text in that colour, where stdout (or the file number given) shows colours.
---@param name string
---@param text string
---@param fd integer|nil
---@return string
function M.colour(name, text, fd)
  if not coloured(fd or 1) then return text end
  return "\27[" .. codes[name] .. "m" .. text .. "\27[0m"
end

---A stranger's text, or any value, on one line.
---@param value any
---@return string
local function clean(value) return printable.line(tostring(value)) end
M.clean = clean

-- how many characters, counting UTF-8 by its leading bytes
local function width(text)
  local _, n = text:gsub("[^\128-\191]", "")
  return n
end

local function cut(text, columns)
  if width(text) <= columns then return text end
  local kept, n = {}, 0
  for char in text:gmatch "[^\128-\191][\128-\191]*" do
    n = n + 1
    if n >= columns then break end
    kept[n] = char
  end
  return table.concat(kept) .. "~"
end

local function pad(text, columns, right)
  local space = (" "):rep(columns - width(text))
  return right and space .. text or text .. space
end

local function measure(rows, columns)
  local widths = {}
  for i = 1, columns do
    widths[i] = 0
    for _, row in ipairs(rows) do widths[i] = math.max(widths[i], width(row[i])) end
  end
  return widths
end

-- Text on lines of at most so many characters. Words stay whole, for they may have to be copied.
local function wrap(text, columns)
  local lines = {}
  for word in text:gmatch "%S+" do
    local last = lines[#lines]
    if last and width(last) + 1 + width(word) <= columns then
      lines[#lines] = last .. " " .. word
    else
      lines[#lines + 1] = word
    end
  end
  return lines
end

-- What a column needs at least.
local function least(column, n)
  return column.whole and n or math.min(n, column.least)
end

-- A column that folds is no part of the table where its rows would be too wide.
local function fold(columns, widths, room)
  local sum = -2
  for _, n in ipairs(widths) do sum = sum + 2 + n end
  for _, column in ipairs(columns) do column.out = column.folds and sum > room end
end

-- Columns that are left out, the lowest rank first, until the others can fit.
local function leave_out(columns, widths, room)
  local sum = -2
  for i, column in ipairs(columns) do
    if not column.out then sum = sum + 2 + least(column, widths[i]) end
  end
  while sum > room do
    local out
    for i, column in ipairs(columns) do
      if column.rank > 0 and not column.out and column.rank < (out and columns[out].rank or 9) then
        out = i
      end
    end
    if not out then return end
    columns[out].out = true
    sum = sum - 2 - least(columns[out], widths[out])
  end
end

-- The widest column gives way first; what must be copied never does.
local function fit(columns, widths, room)
  local sum = -2
  for i, n in ipairs(widths) do sum = sum + (columns[i].out and 0 or n + 2) end
  while sum > room do
    local widest
    for i, n in ipairs(widths) do
      local gives = not columns[i].out and n > least(columns[i], n)
      if gives and n > (widest and widths[widest] or 0) then widest = i end
    end
    if not widest then return end
    widths[widest], sum = widths[widest] - 1, sum - 1
  end
end

local function line(row, columns, widths)
  local cells = {}
  for i, cell in ipairs(row) do
    if not columns[i].out then
      cells[#cells + 1] = pad(cut(cell, widths[i]), widths[i], columns[i].right)
    end
  end
  return (table.concat(cells, "  "):gsub("%s+$", ""))
end

local INDENT = 4

-- The text of the folded column of a row, on lines below it; each line begins below the table's.
local function below(row, columns, room)
  local lines = {}
  for i, column in ipairs(columns) do
    if column.folds and column.out and row[i] ~= "-" then
      for _, one in ipairs(wrap(column.name:lower() .. ": " .. row[i], room - INDENT)) do
        lines[#lines + 1] = (" "):rep(INDENT) .. one
      end
    end
  end
  return lines
end

---Lines of an aligned table, cut to the terminal's width.
---@param head string[] titles. A column whose title starts with ">" is aligned to the right, one
---that starts with "!" never cut, others to no less than 8 characters, or a number that stands
---before the title; one that starts with "?" is left out where the room is too narrow, before those
---that start with "??"; what is in one that starts with "+" is on lines below its row, where the
---row would be too wide
---@param list any[][]
---@param room integer|nil columns that there are
---@return string[]
function M.lines(head, list, room)
  local columns, rows = {}, { {} }
  for i, title in ipairs(head) do
    local marks, number, name = title:match "^([>!?+]*)(%d*)(.*)$"
    local folds = marks:find("+", 1, true) ~= nil
    columns[i] = { name = name, right = marks:find ">" ~= nil, folds = folds,
      whole = folds or marks:find "!" ~= nil, rank = select(2, marks:gsub("?", "")),
      least = tonumber(number) or 8 }
    rows[1][i] = name
  end
  for _, values in ipairs(list) do
    local row = {}
    for i = 1, #head do row[i] = values[i] == nil and "-" or clean(values[i]) end
    rows[#rows + 1] = row
  end
  local widths = measure(rows, #head)
  if room then
    fold(columns, widths, room)
    leave_out(columns, widths, room)
    fit(columns, widths, room)
  end
  local lines = {}
  for i, row in ipairs(rows) do
    lines[#lines + 1] = line(row, columns, widths)
    for _, one in ipairs(i > 1 and room and below(row, columns, room) or {}) do
      lines[#lines + 1] = one
    end
  end
  return lines
end

-- A result that did not get to where it should is no success: a full disk, a closed pipe.
local function written(done, why)
  if not done then
    error({ code = 1, text = "billhook: cannot write the output: " .. tostring(why) }, 0)
  end
end

---Writes text to stdout; where that fails, the command fails.
---@param text string
function M.write(text) written(io.stdout:write(text)) end

---The same, with an end of line.
---@param text string
function M.print(text) written(io.stdout:write(text, "\n")) end

---What was printed so far is written now.
function M.flush() written(io.stdout:flush()) end

---Prints a table on stdout.
---@param head string[]
---@param list any[][]
function M.table(head, list)
  local lines = M.lines(head, list, process().columns(1))
  lines[1] = M.colour("bold", lines[1])
  M.print(table.concat(lines, "\n"))
end

---The lines of a text that stands so many characters into the terminal; elsewhere it is one line.
---@param text string
---@param indent integer
---@return string[]
function M.wrapped(text, indent)
  local room = process().columns(1)
  return room and wrap(text, room - indent) or { text }
end

---Prints rows of a table whose titles were printed with the first of them.
---@param head string[]
---@param list any[][]
---@param first boolean the titles, too
function M.rows(head, list, first)
  if first then return M.table(head, list) end
  M.print(table.concat(M.lines(head, list, process().columns(1)), "\n", 2))
end

-- The value with UTF-8 in all texts: what was received, and is kept as it came, may have other
-- bytes, of which JSON can have none.
local function in_utf8(value)
  if type(value) == "string" then return printable.utf8(value) end
  if type(value) ~= "table" then return value end
  local copy = setmetatable({}, getmetatable(value))
  for name, one in pairs(value) do copy[in_utf8(name)] = in_utf8(one) end
  return copy
end

---Prints a value as one line of JSON on stdout.
---@param value any
function M.json(value)
  local json = require "billhook.json"
  local fine, text = pcall(json.encode, value)
  M.print(printable.json(fine and text or json.encode(in_utf8(value))))
end

---Text on stderr, with an end of line; in one piece, for others write there, too.
---@param text string
function M.tell(text) io.stderr:write(printable.text(text) .. "\n") end

---A message for the person, on stderr.
---@param text string
function M.say(text) M.tell("billhook: " .. text) end

---Asks before something is destroyed, on a terminal, where somebody may answer; elsewhere it is
---agreed.
---@param question string
---@param yes boolean|nil nobody is to be asked
---@return boolean
function M.agreed(question, yes)
  if yes or not (process().columns(0) and process().columns(2)) then return true end
  io.stderr:write(question .. " [y/N] ")
  return (io.read "*l" or ""):lower():find "^y" ~= nil
end

---What is going on, on stderr, only where somebody watches.
---@param text string
function M.progress(text)
  if not process().columns(2) then return end
  io.stderr:write("\r\27[K", text == "" and "" or M.colour("dim", text, 2))
  io.stderr:flush()
end

return M
