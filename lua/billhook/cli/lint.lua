-- cli/lint.lua: what `billhook work --check` finds in rules that load: doubtful settings, and a few
-- mistakes that can be seen in the text of the files without a doubt. What might be meant so is not
-- told.

local files = require "billhook.cli.file"
local process = require "billhook.process"

local M = {}

-- --- words of Lua ------------------------------------------------------------------

local KEYWORDS = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat
  return then true until while]]):gmatch "%S+" do
  KEYWORDS[word] = true
end

-- Where the string, comment or other word that begins at `at` ends, and what it is.
local function word_at(text, at)
  local level = text:match("^%-%-%[(=*)%[", at)
  if level then
    local _, last = text:find("]" .. level .. "]", at, true)
    return last or #text, nil
  elseif text:find("^%-%-", at) then
    return (text:find("\n", at, true) or #text + 1) - 1, nil
  end
  level = text:match("^%[(=*)%[", at)
  if level then
    local _, last = text:find("]" .. level .. "]", at, true)
    return last or #text, "string"
  end
  local quote = text:match("^[\"']", at)
  if quote then
    local from = at + 1
    while true do
      local found = text:find("[\\\n" .. quote .. "]", from)
      if not found or text:sub(found, found) ~= "\\" then return found or #text, "string" end
      from = found + 2
    end
  end
  local _, last = text:find("^[%a_][%w_]*", at)
  if last then return last, KEYWORDS[text:sub(at, last)] and "keyword" or "name" end
  _, last = text:find("^%.?%d[%w.]*", at)
  if last then return last, "number" end
  for _, operator in ipairs { "...", "..", "==", "~=", "<=", ">=", "::", "//", "<<", ">>" } do
    if text:sub(at, at + #operator - 1) == operator then return at + #operator - 1, "operator" end
  end
  return at, "operator"
end

-- The words of a file: { text, kind, line }.
local function words_of(text)
  local words, at, line = {}, 1, 1
  if text:sub(1, 1) == "#" then at = text:find("\n", 1, true) or #text + 1 end
  while at <= #text do
    local space = text:match("^%s+", at)
    local last, kind
    if space then last = at + #space - 1 else last, kind = word_at(text, at) end
    local one = text:sub(at, last)
    if kind then words[#words + 1] = { text = one, kind = kind, line = line } end
    line = line + select(2, one:gsub("\n", ""))
    at = last + 1
  end
  return words
end

local NOTHING = { text = "", kind = "none", line = 0 }
local function word(words, at) return words[at] or NOTHING end

-- --- what is declared in a file -------------------------------------------------------

-- How often each name is: as a local, a parameter, a loop's variable.
local function declarations(words)
  local count = {}
  local function declare(at) -- a list of names
    while word(words, at).kind == "name" do
      local name = words[at].text
      count[name] = (count[name] or 0) + 1
      if word(words, at + 1).text == "<" then at = at + 3 end -- an attribute
      at = word(words, at + 1).text == "," and at + 2 or #words + 1
    end
  end
  for i, one in ipairs(words) do
    local after = word(words, i + 1)
    if one.kind == "keyword" and one.text == "local" and after.text == "function" then
      declare(i + 2)
    elseif one.kind == "keyword" and (one.text == "local" or one.text == "for") then
      declare(i + 1)
    elseif one.kind == "keyword" and one.text == "function" then
      local open = i + 1
      while words[open] and words[open].text ~= "(" do open = open + 1 end
      declare(open + 1)
    end
  end
  return count
end

-- --- globals ------------------------------------------------------------------

local OPENS = { ["{"] = "table", ["("] = "round", ["["] = "square" }
local CLOSES = { ["}"] = true, [")"] = true, ["]"] = true, ["end"] = true, ["until"] = true }
local BLOCKS = { ["if"] = true, ["do"] = true, ["function"] = true, ["repeat"] = true }
local NO_TARGET = { ["."] = true, [":"] = true, [","] = true, ["local"] = true, ["for"] = true,
  ["function"] = true, ["goto"] = true, ["::"] = true }

local function find_globals(words, declared, report)
  local inside = {}
  for i, one in ipairs(words) do
    local before, after = word(words, i - 1), word(words, i + 1)
    if one.kind == "operator" and OPENS[one.text] then
      inside[#inside + 1] = OPENS[one.text]
    elseif one.kind == "keyword" and BLOCKS[one.text] then
      inside[#inside + 1] = "block"
    elseif one.kind ~= "string" and CLOSES[one.text] then
      inside[#inside] = nil
    end
    local free = one.kind == "name" and not declared[one.text]
    local assigned = free and after.text == "=" and after.kind == "operator"
      and (inside[#inside] or "block") == "block" and not NO_TARGET[before.text]
    local named = free and before.text == "function" and after.text == "("
      and word(words, i - 2).text ~= "local"
    if assigned or named then
      report(one.line, ("'%s' is written as a global: all of the process sees it; make it local")
        :format(one.text))
    end
  end
end

-- --- results that nobody looks at -----------------------------------------------------

local MAKERS = { http = "http", dreamapply = "client", dreamclass = "client", betterez = "client" }
local CALLS = {
  http = { post = true, put = true, delete = true, request = true, get = true },
  client = { create = true, delete = true, pay = true, update = true, issue = true, retry = true,
    assign = true, email = true },
}
local STARTS = { ["do"] = true, ["then"] = true, ["else"] = true, ["repeat"] = true, ["end"] = true,
  ["true"] = true, ["false"] = true, ["nil"] = true, [""] = true, [";"] = true, [")"] = true,
  ["}"] = true, ["]"] = true, ["..."] = true }
local GOES_ON = { ["."] = true, [":"] = true, ["("] = true, ["["] = true, ["{"] = true }

-- Does a statement begin behind this word?
local function is_start(before)
  return STARTS[before.text] or before.kind == "name" or before.kind == "number"
    or before.kind == "string"
end

-- Names that stand for what billhook.http and the clients' makers gave, and for nothing else.
local function handles_of(words, declared)
  local handles = {}
  for i, one in ipairs(words) do
    local maker = one.text == "local" and word(words, i + 2).text == "="
      and word(words, i + 3).text == "billhook" and word(words, i + 4).text == "."
      and MAKERS[word(words, i + 5).text]
    local name = word(words, i + 1).text
    if maker and declared[name] == 1 then handles[name] = maker end
  end
  return handles
end

-- The word behind the arguments that begin at `at`.
local function behind(words, at)
  local depth = 0
  for i = at, #words do
    local one = words[i]
    if one.kind == "operator" and OPENS[one.text] then depth = depth + 1 end
    if one.kind == "operator" and CLOSES[one.text] then depth = depth - 1 end
    if depth == 0 then return word(words, i + 1) end
  end
  return NOTHING
end

local function find_dropped(words, handles, report)
  for i, one in ipairs(words) do
    local kind, at = handles[one.text], i + 1
    if kind == "client" and word(words, at).text == "." then at = at + 2 end
    local verb = word(words, at + 1).text
    local ours = kind and CALLS[kind][verb] or one.kind == "name" and verb == "try_once"
    if ours and word(words, at).text == ":" and word(words, at + 2).text == "("
      and is_start(word(words, i - 1)) then
      local after = behind(words, at + 2)
      if not GOES_ON[after.text] and after.kind ~= "string" then
        report(one.line, ("'%s' gives nil and a reason if it fails, and the result is not"
          .. " checked: return it, or check it"):format(verb))
      end
    end
  end
end

---What is wrong in the text of a file.
---@param text string
---@param report fun(line: integer, message: string)
---@return nil
function M.text(text, report)
  local words = words_of(text)
  local declared, own_environment = declarations(words), false
  for _, one in ipairs(words) do
    own_environment = own_environment or one.text == "_ENV" or one.text == "setfenv"
  end
  if not own_environment then find_globals(words, declared, report) end
  find_dropped(words, handles_of(words, declared), report)
end

-- --- settings ------------------------------------------------------------------

local SHORT = 8 -- bytes: what is shorter is guessed in hours

local function shortest_of(given)
  local least
  local function look(secret)
    if type(secret) == "string" then least = math.min(least or #secret, #secret) end
  end
  for _, secret in ipairs(type(given.secret) == "table" and given.secret or { given.secret }) do
    look(secret)
  end
  local lines = given.authorization
  for _, line in ipairs(type(lines) == "table" and lines or { lines }) do
    look(type(line) == "string" and (line:match "^%a+ (.*)$" or line) or nil)
  end
  if type(given.basic) == "table" then look(given.basic[2]) end
  return least
end

---Keeps what accounts are given as secrets, from now on: to be called before the rules are loaded.
---@return table given by webhook
function M.witness()
  local given = {}
  require("billhook.client.account").witness(function(webhook, hook) given[webhook] = hook end)
  return given
end

local function of_accounts(app, given, add)
  local rules, vendors = require "billhook.app.rules", require "billhook.vendor"
  for name, client in pairs(app.accounts) do
    local least = given[client.webhook] and shortest_of(given[client.webhook])
    if least and least < SHORT then
      add("account " .. name, ("its webhook secret has %d characters: it can be guessed")
        :format(least))
    end
    local can, why = rules.readable(client)
    if not can and (vendors[client.vendor] or {}).trust ~= "body" then
      add("account " .. name, ("cannot be read back, so event.data is nil there: %s"):format(why))
    end
  end
end

---All that is found.
---@param app table
---@param loaded string[] the rules file, and what it has loaded from beside it
---@param given table what witness() gave
---@return { where: string, message: string }[] findings
function M.of(app, loaded, given)
  local found = {}
  local function add(where, message)
    found[#found + 1] = { where = where, message = message }
  end
  for _, warning in ipairs(require("billhook.app.warnings").of(app)) do
    local fields = warning[2]
    local where = fields.pattern and "pattern " .. fields.pattern
      or fields.account and "account " .. fields.account or "inbox"
    add(where, fields.message .. (fields.other and ": " .. fields.other or ""))
  end
  of_accounts(app, given, add)
  for _, path in ipairs(loaded) do
    local text = process.contents(path, files.MOST)
    if text then
      M.text(text, function(line, message) add(path .. ":" .. line, message) end)
    end
  end
  return found
end

return M
