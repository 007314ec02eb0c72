-- docs/calls.lua: the table of calls in docs/vendors.md, and lua/billhook/calls_meta.lua, which
-- tells editors of them: both written from the C core's tables. `make docs` runs it; a spec holds
-- both files to what it gives.

local core = require "billhook.core"

local M = {}

local vendors = { "dreamapply", "dreamclass", "betterez" }
local titles = { dreamapply = "DreamApply", dreamclass = "DreamClass", betterez = "Betterez" }

-- --- the table in docs/vendors.md --------------------------------------------------------------

local forms = {
  one = "an object", number = "a whole number", map = "objects by id", list = "a list of objects",
  page = "pages of objects", count = "`X-Count`", exists = "200, or 404: there is none",
  location = "201 with `Location`", none = "nothing, or an object", file = "a PDF", any = "not documented",
}

local function answer_of(operation)
  local text, mark = forms[operation.answer], operation.mark
  if mark and mark.same then
    text = ("%s with this `%s`"):format(text, mark.member)
  elseif mark and operation.answer ~= "map" and operation.answer ~= "location" then
    text = ("%s with `%s`"):format(text, mark.member)
  end
  local under = (operation.unwrap or ""):gsub("%S+", "`%0`"):gsub(" ", ", ")
  return text .. (under ~= "" and ", under " .. under or "")
end

local function names_of(operation)
  local names = {}
  for _, param in ipairs(operation.params) do
    if param.place ~= "path" or not param.required then
      names[#names + 1] = ("`%s`%s"):format(param.name, param.required and " (required)" or "")
    end
  end
  return table.concat(names, ", ")
end

local function requests_of(operation)
  local prefix = operation.service and operation.service or ""
  local list = { ("`%s %s%s`"):format(operation.method, prefix, operation.path) }
  local others = {}
  for param, route in pairs(operation.routes) do
    others[#others + 1] = ("with `%s` `%s`"):format(param, (route:gsub(" /", " " .. prefix .. "/")))
  end
  table.sort(others)
  for _, other in ipairs(others) do list[#list + 1] = other end
  return table.concat(list, "; ") .. (operation.unverified and " (a guess)" or "")
end

--- The section of docs/vendors.md, between its two marks.
---@return string
function M.table()
  local lines = {}
  for _, vendor in ipairs(vendors) do
    lines[#lines + 1] = ("\n**%s**\n"):format(titles[vendor])
    lines[#lines + 1] = "| operation | request | parameters besides the path's | answer |"
    lines[#lines + 1] = "|---|---|---|---|"
    for _, operation in ipairs(core.call.list(vendor)) do
      lines[#lines + 1] = ("| `%s` | %s | %s | %s |"):format(operation.name,
        requests_of(operation), names_of(operation), answer_of(operation))
    end
  end
  return table.concat(lines, "\n") .. "\n\n"
end

-- --- what editors are told ---------------------------------------------------------------------

local types = {
  id = "billhook.Id", hex24 = "string", text = "string", boolean = "boolean",
  switch = 'boolean|"On"|"Off"', integer = "integer", currency = "string", date = "string",
  datetime = "string|integer", since = "string|integer", decimal = "billhook.Amount",
  number = "billhook.Amount", numbered = "integer|{ id: integer }", object = "table",
}

local notes = {
  hex24 = "24 hexadecimal digits", currency = "three capital letters", date = "YYYY-MM-DD",
  datetime = "ISO 8601, or epoch seconds", since = "ISO 8601, or an id",
}

local function type_of(param)
  local text = types[param.type]
  if param.type == "choice" then
    local choices = {}
    for i, choice in ipairs(param.choices) do choices[i] = ('"%s"'):format(choice) end
    text = table.concat(choices, "|")
  elseif param.type == "record" then
    local fields = {}
    for i, field in ipairs(param.fields) do
      fields[i] = ("%s%s: %s"):format(field.name, field.required and "" or "?", type_of(field))
    end
    text = ("{ %s }"):format(table.concat(fields, ", "))
  end
  if not param.list then return text end
  return (text:find("|", 1, true) and param.type ~= "record" and "(" .. text .. ")" or text) .. "[]"
end

-- A comment of at most 100 columns a line.
local function comment(text, lines)
  local line = "---"
  for word in text:gmatch("%S+") do
    if #line + #word + 1 > 100 then
      lines[#lines + 1], line = line, "---"
    end
    line = line .. (line == "---" and "" or " ") .. word
  end
  lines[#lines + 1] = line
end

local function field(param, lines)
  local line = ("---@field %s %s%s"):format(param.name, type_of(param), param.required and "" or "?")
  if notes[param.type] and param.type ~= "hex24" then line = line .. " " .. notes[param.type] end
  if #line > 100 then -- its type does not fit: a name stands for it
    local shown = param.list and "table[]" or "table"
    line = ("---@field %s %s%s with %s"):format(param.name, shown, param.required and "" or "?",
      (type_of(param):gsub("^{ ", ""):gsub(" }%[?%]?$", ""):gsub(": [%w.]+", "")))
  end
  lines[#lines + 1] = line
end

local returns = {
  one = { "billhook.Record?", "answer" }, number = { "integer?", "answer" },
  map = { "billhook.Record[]?", "list" }, list = { "billhook.Record[]?", "list" },
  page = { "billhook.Record[]?", "list" }, count = { "integer?", "count" },
  exists = { "boolean?", "exists" }, none = { "true?", "done" }, file = { "string?", "bytes" },
  location = { '{ id: integer|string?, location: string?, how: "created"|"found" }?', "made" },
  any = { "billhook.Record|true|nil", "answer" },
}

-- The parameters of an operation: those of the path, the whole body, the others.
local function sorted(operation)
  local ids, others, body = {}, {}, nil
  for _, param in ipairs(operation.params) do
    if param.place == "path" and param.required then
      ids[#ids + 1] = param
    elseif param.place == "body" and param.required then
      body = param
    else
      others[#others + 1] = param
    end
  end
  return ids, others, body
end

local function any_required(params)
  for _, param in ipairs(params) do
    if param.required then return true end
  end
end

local function method(vendor, operation, lines, walk)
  local resource, verb = operation.name:match("^([%w_]+)%.([%w_]+)$")
  local class = ("billhook.%s.%s"):format(vendor, resource)
  local ids, others, body = sorted(operation)
  local options = operation.idempotent and "billhook.CallOptions" or "billhook.UnsafeOptions"
  local class_of_more = ("%s.%s"):format(class, verb)
  if #others > 0 and not walk then
    lines[#lines + 1] = ("---@class %s%s"):format(class_of_more, body and ": " .. options or "")
    for _, param in ipairs(others) do
      if param.dry then
        lines[#lines + 1] = "---@field validate_only boolean? a dry run"
      else
        field(param, lines)
      end
    end
    lines[#lines + 1] = ""
  end
  if walk then
    lines[#lines + 1] = "---Raises the billhook.Error where the walk breaks."
  else
    comment(operation.about, lines)
  end
  local names = {}
  local function add(name, type)
    lines[#lines + 1] = ("---@param %s %s"):format(name, type)
    names[#names + 1] = name
  end
  for _, param in ipairs(ids) do
    add(param.name, type_of(param) .. (notes[param.type] and " " .. notes[param.type] or ""))
  end
  if body then
    add("body", "table")
  elseif #others > 0 then
    add("params", class_of_more .. (any_required(others) and "" or "?"))
  end
  add("options", (body and #others > 0 and class_of_more or options) .. "?")
  if walk then
    lines[#lines + 1] = "---@return fun(): billhook.Record? iterator with :close()"
  else
    lines[#lines + 1] = ("---@return %s %s"):format(returns[operation.answer][1],
      returns[operation.answer][2])
    lines[#lines + 1] = "---@return billhook.Error? err"
  end
  lines[#lines + 1] = ("function %s_%s:%s(%s) end\n"):format(vendor, resource,
    walk and "each" or verb, table.concat(names, ", "))
end

local walked = { map = true, list = true, page = true }

--- The text of lua/billhook/calls_meta.lua.
---@return string
function M.types()
  local lines = { "---@meta",
    "-- The calls to the vendors' APIs, for editors (LuaCATS). Never loaded: docs/calls.lua writes it",
    "-- from the C core's tables (`make docs`). api_meta.lua has the types that they share.\n" }
  local locals = {}
  for _, vendor in ipairs(vendors) do
    local resources, by = {}, {}
    for _, operation in ipairs(core.call.list(vendor)) do
      local resource = operation.name:match("^([%w_]+)%.")
      if resource then
        if not by[resource] then
          by[resource], resources[#resources + 1] = {}, resource
        end
        table.insert(by[resource], operation)
      end
    end
    lines[#lines + 1] = ("---@class billhook.%s: billhook.client"):format(titles[vendor])
    for _, resource in ipairs(resources) do
      lines[#lines + 1] = ("---@field %s billhook.%s.%s"):format(resource, vendor, resource)
    end
    lines[#lines + 1] = ""
    for _, resource in ipairs(resources) do
      local name = vendor .. "_" .. resource
      lines[#lines + 1] = ("---@class billhook.%s.%s\nlocal %s = {}\n"):format(vendor, resource,
        name)
      locals[#locals + 1] = name
      for _, operation in ipairs(by[resource]) do
        method(vendor, operation, lines)
        if operation.name:find("%.list$") and walked[operation.answer] then
          method(vendor, operation, lines, true)
        end
      end
    end
  end
  lines[#lines + 1] = "return {\n  " .. table.concat(locals, ",\n  ") .. ",\n}\n"
  return table.concat(lines, "\n")
end

-- --- writing them ------------------------------------------------------------------------------

M.first, M.last = "<!-- calls: written by docs/calls.lua -->\n", "<!-- end of calls -->\n"

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("*a")
  file:close()
  return text
end

--- The text of docs/vendors.md with its table as it should be.
---@return string
function M.page()
  local text = read("docs/vendors.md")
  local _, from = text:find(M.first, 1, true)
  local to = text:find(M.last, 1, true)
  return text:sub(1, from) .. M.table() .. text:sub(to)
end

local function write(path, text)
  local file = assert(io.open(path, "w"))
  assert(file:write(text))
  assert(file:close())
end

if arg and arg[0] and arg[0]:find("docs/calls.lua$") then
  write("docs/vendors.md", M.page())
  write("lua/billhook/calls_meta.lua", M.types())
end

return M
