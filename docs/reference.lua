-- docs/reference.lua: docs/reference.md, written from the annotations (LuaCATS) that editors read, so
-- that both say the same. `make docs` runs it; a spec holds the page to what it gives.

local calls = dofile("docs/calls.lua")

local M = {}

-- The chapters: a file, the functions in it that users call, what stands before their names there,
-- the classes that belong to them (and where these are), and functions that only other parts of
-- billhook call.
local META, API = "lua/billhook/app_meta.lua", "lua/billhook/api_meta.lua"
local chapters = {
  { title = "billhook", from = "lua/billhook/init.lua", pattern = "^function M%.([%w_]+)%((.-)%)",
    as = "billhook.",
    about = [[`local billhook = require "billhook"`. Wrong use raises at the caller's line.]] },
  { title = "Clients", from = "lua/billhook/client/init.lua", as = "client:",
    pattern = "^function client:([%w_]+)%((.-)%)", classes = API,
    class = { "billhook.ClientOptions", "billhook.DreamClassOptions", "billhook.BetterezOptions",
      "billhook.WebhookOptions", "billhook.CallOptions", "billhook.UnsafeOptions" },
    about = "What all clients have, beside [the calls](#calls). [client.md](client.md) explains them." },
  { title = "Calls side by side", from = "lua/billhook/client/map.lua", as = "billhook.",
    pattern = "^function M%.(map)%((.-)%)" },
  { title = "Errors", from = "lua/billhook/error.lua", as = "billhook.error.",
    pattern = "^function M%.(is)%((.-)%)", class = { "billhook.Error" }, classes = API,
    about = "[errors.md](errors.md) has every kind and code. `billhook.error.kinds` lists the kinds." },
  { title = "Invoices", from = "lua/billhook/invoice/init.lua", as = "billhook.invoice.",
    pattern = "^function M%.([%w_]+)%((.-)%)",
    about = "Pure functions on invoices of any vendor; [client.md](client.md#what-an-invoice-says)"
      .. " says which members each reads." },
  { title = "Decimals", from = "lua/billhook/meta.lua", as = "decimal:",
    pattern = "^function amount:([%w_]+)%((.-)%)",
    about = "`billhook.decimal(value)` makes one, or raises; `billhook.decimal.is(value)` tells one."
      .. " They add, subtract, multiply and compare." },
  { title = "JSON", from = "lua/billhook/json.lua", as = "billhook.json.",
    pattern = "^function M%.([%w_]+)%((.-)%)",
    about = "`billhook.json.null` and `billhook.null` are null where JSON has it in a list." },
  { title = "Apps", from = "lua/billhook/app/init.lua", as = "app:",
    pattern = "^function App:([%w_]+)%((.-)%)", classes = META,
    class = { "billhook.AppOptions", "billhook.RuleOptions", "billhook.Report" },
    hidden = { use_store = true, use_existing = true, keep_refused = true, open = true },
    about = "`billhook.app(options)` makes one. [rules.md](rules.md) explains it." },
  { title = "Events", from = "lua/billhook/app/event.lua", as = "event:",
    pattern = "^function Event:([%w_]+)%((.-)%)", classes = META,
    class = { "billhook.Event", "billhook.Delivery" }, about = "What a rule is given." },
  { title = "Webhooks without an app", from = "lua/billhook/webhook.lua", as = "billhook.",
    pattern = "^function M%.([%w_]+)%((.-)%)", classes = API, class = { "billhook.VerifyOptions" } },
  { title = "Requests to servers of your own", from = "lua/billhook/http.lua", as = "http:",
    pattern = "^function Http:([%w_]+)%((.-)%)",
    class = { "billhook.HttpOptions", "billhook.HttpSettings" },
    about = "`billhook.http(options)` makes one, for rules." },
  { title = "Tests of rules", from = "lua/billhook/testing/init.lua", as = "testing.",
    pattern = "^function M%.([%w_]+)%((.-)%)",
    about = '`require "billhook.testing"`. [testing.md](testing.md) explains it.' },
  { title = "A world of a test", from = "lua/billhook/testing/world.lua", as = "world:",
    pattern = "^function World:([%w_]+)%((.-)%)", hidden = { note = true, settle = true },
    class = { "billhook.testing.WorldOptions", "billhook.testing.World" },
    about = "`testing.world(options)` makes one: an app, its vendors and a clock." },
  { title = "An imitated school", from = "lua/billhook/testing/school.lua", as = "school:",
    pattern = "^function School:([%w_]+)%((.-)%)" },
  { title = "nginx and OpenResty", from = "lua/billhook/nginx/receive.lua",
    as = "billhook.openresty.", pattern = "^function M%.([%w_]+)%((.-)%)",
    about = '`require "billhook.openresty"`. [openresty.md](openresty.md) shows the configuration.' },
  { title = "A transport for tests", from = "lua/billhook/transport/fake.lua",
    as = "billhook.transport.fake.", pattern = "^function M%.(new)%((.-)%)",
    about = '`require "billhook.transport.fake"`: answers come from a function.' },
}

-- --- reading annotations ------------------------------------------------------------------------

local function lines_of(path)
  local found = {}
  for line in io.lines(path) do found[#found + 1] = line end
  return found
end

-- A type and what stands after it: types have blanks inside brackets, and after ":", "," and "|".
local function split_type(text)
  local depth, quoted = 0, false
  for i = 1, #text do
    local c = text:sub(i, i)
    if c == '"' then
      quoted = not quoted
    elseif not quoted and c:find("[%(%[{<]") then
      depth = depth + 1
    elseif not quoted and c:find("[%)%]}>]") then
      depth = depth - 1
    elseif c == " " and not quoted and depth == 0 and not text:sub(i - 1, i - 1):find("[:,|]") then
      return text:sub(1, i - 1), text:sub(i + 1):match("^%s*(.*)$")
    end
  end
  return text, ""
end

-- "integer status, string reply" are two things that are given.
local function several(text)
  local found = {}
  for part in (text .. ", "):gmatch("(.-), ") do
    if not part:find("^%S+ ?[%w_]*$") then return { text } end
    found[#found + 1] = part
  end
  return found
end

-- The comment above a line: its text, and its tags with what is on their further lines.
local function comment_above(lines, at)
  local first = at
  while first > 1 and lines[first - 1]:find("^%-%-") do first = first - 1 end
  local text, tags = {}, {}
  for i = first, at - 1 do
    local line = lines[i]:gsub("^%-+%s?", "")
    local name, rest = line:match("^@(%w+)%s*(.*)$")
    if name then
      tags[#tags + 1] = { name = name, text = rest }
    elseif #tags > 0 then
      tags[#tags].text = tags[#tags].text .. " " .. line:match("^%s*(.*)$")
    else
      text[#text + 1] = line
    end
  end
  return (table.concat(text, "\n"):gsub("%s+$", "")), tags
end

-- --- writing it down ----------------------------------------------------------------------------

local function cell(text) return (text:gsub("|", "\\|"):gsub("\n", " ")) end

local function code(text) return "`" .. cell(text) .. "`" end

local function row(add, name, text)
  local kind, about = split_type(text)
  add(("| %s | %s | %s |"):format(code(name), code(kind), cell(about)))
end

local function write_function(add, name, parameters, text, tags)
  add(("\n### `%s(%s)`\n"):format(name, parameters))
  add(text)
  local head = false
  for _, tag in ipairs(tags) do
    if tag.name == "param" then
      if not head then add("\n| parameter | type | |\n|---|---|---|") end
      head = true
      local param, rest = tag.text:match("^(%S+)%s+(.*)$")
      row(add, param, rest)
    end
  end
  local gives = {}
  for _, tag in ipairs(tags) do
    for _, text_of in ipairs(tag.name == "return" and several(tag.text) or {}) do
      local kind, about = split_type(text_of)
      gives[#gives + 1] = ("`%s`%s"):format(kind, about ~= "" and " " .. about or "")
    end
  end
  if #gives > 0 then add("\nGives " .. table.concat(gives, "; ") .. ".") end
end

local function write_class(add, path, class)
  local lines = lines_of(path)
  for i, line in ipairs(lines) do
    local base = line:match("^%-%-%-@class " .. class:gsub("%.", "%%.") .. "%f[:%z](.*)$")
    if base then
      local first = i
      while lines[first - 1]:find("^%-%-%-[^@]") do first = first - 1 end
      local about = {}
      for k = first, i - 1 do about[#about + 1] = lines[k]:sub(4) end
      add(("\n**%s**%s%s\n"):format(class, base ~= "" and ", beside those of" .. base:sub(2) or "",
        #about > 0 and ": " .. table.concat(about, " ") or ""))
      add("| field | type | |\n|---|---|---|")
      for k = i + 1, #lines do
        local name, rest = lines[k]:match("^%-%-%-@field (%S+)%s+(.*)$")
        if not name then break end
        row(add, name, rest)
      end
      return
    end
  end
  error(path .. " has no class " .. class)
end

local function write_chapter(add, chapter)
  add(("\n## %s\n"):format(chapter.title))
  if chapter.about then add(chapter.about) end
  local lines = lines_of(chapter.from)
  for i, line in ipairs(lines) do
    local name, parameters = line:match(chapter.pattern)
    if name and not (chapter.hidden and chapter.hidden[name]) then
      write_function(add, chapter.as .. name, parameters, comment_above(lines, i))
    end
  end
  for _, class in ipairs(chapter.class or {}) do
    write_class(add, chapter.classes or chapter.from, class)
  end
end

-- The methods of all vendors' clients, a line each.
local function write_calls(add)
  add("\n## Calls\n")
  add("Their requests, parameters and answers: [vendors.md](vendors.md).")
  local shown = { dreamapply = "DreamApply", dreamclass = "DreamClass", betterez = "Betterez" }
  local lines, vendor, resource = {}, nil, nil
  for line in calls.types():gmatch("([^\n]*)\n") do lines[#lines + 1] = line end
  for i, line in ipairs(lines) do
    local of, name = line:match("^%-%-%-@class billhook%.(%l+)%.([%l_]+)$")
    if of and of ~= vendor then
      add(("\n**%s**\n\n| | |\n|---|---|"):format(shown[of]))
    end
    vendor, resource = of or vendor, name or resource
    local verb, parameters = line:match("^function [%l_]+:([%w_]+)%((.-)%)")
    if verb then
      local text = comment_above(lines, i)
      add(("| `%s:%s(%s)` | %s |"):format(resource, verb, parameters, cell(text)))
    end
  end
end

--- The text of docs/reference.md.
---@return string
function M.page()
  local parts = {}
  local function add(text) parts[#parts + 1] = text end
  add([[
# Reference

Every public function and table, as your editor shows them too: both come from the annotations in
`lua/billhook` (`make docs` writes this page). A `?` after a type means that it may be nil. What can
fail outside (a network, a vendor, a disk) gives nil and an [error](errors.md); wrong use raises at
the caller's line.
]])
  local links = {}
  for _, chapter in ipairs(chapters) do
    links[#links + 1] = ("[%s](#%s)"):format(chapter.title,
      (chapter.title:lower():gsub("%s", "-")))
    if chapter.title == "Clients" then links[#links + 1] = "[Calls](#calls)" end
  end
  add(table.concat(links, " · "))
  for _, chapter in ipairs(chapters) do
    write_chapter(add, chapter)
    if chapter.title == "Clients" then write_calls(add) end
  end
  return table.concat(parts, "\n") .. "\n"
end

if arg and arg[0] and arg[0]:find("docs/reference.lua$") then
  local file = assert(io.open("docs/reference.md", "w"))
  assert(file:write(M.page()))
  assert(file:close())
end

return M
