-- pages.lua: the Lua in Markdown pages, made into something that can be run.
--
-- A line `expression --> text` (or `statement --> text`, for `local x = ...`) is a check: what the
-- expression gives must print as the text. Locals of a page's outermost level go on into its next
-- block, as a reader expects. A block behind a line `<!-- not run: why -->` is only compiled.

local M = {}

---@return table[] blocks { path, line, text, run }
function M.blocks(path)
  local found, block, skip, number = {}, nil, false, 0
  for line in io.lines(path) do
    number = number + 1
    if block and line:find "^%s*```%s*$" then
      found[#found + 1] = block
      block = nil
    elseif block then
      block.lines[#block.lines + 1] = line
    elseif line:find "^%s*```lua%s*$" then
      block = { path = path, line = number, lines = {}, run = not skip }
      skip = false
    elseif line:find "^<!%-%- not run: .+ %-%->$" then
      skip = true
    elseif line:find "%S" then
      skip = false
    end
  end
  return found
end

local function compile(text, name, env)
  if rawget(_G, "setfenv") then
    local fn, why = rawget(_G, "loadstring")(text, name)
    return fn and rawget(_G, "setfenv")(fn, env), why
  end
  return load(text, name, "t", env)
end

local function quoted(text) return ("%q"):format(text) end

-- One line, with its check made into a call.
local function checked(line)
  local code, wanted = line:match "^(.-)%s+%-%->%s+(.-)%s*$"
  if not code then return line end
  local name = code:match "^local ([%w_]+)"
  if name then return ("%s __check(%s, %s)"):format(code, quoted(wanted), name) end
  return ("__check(%s, %s)"):format(quoted(wanted), code)
end

--- Compiles a block: a function, or nil and why not.
function M.compile(block, env)
  local lines = {}
  for i = 1, block.line do lines[i] = "" end -- so that errors have the page's lines
  for i, line in ipairs(block.lines) do
    line = i == 1 and line:find "^#!" and "" or checked(line)
    lines[#lines + 1] = line:gsub("^local function ", "function "):gsub("^local ([%w_, ]+=)", "%1")
  end
  return compile(table.concat(lines, "\n"), "@" .. block.path, env)
end

--- What the blocks of a page see. `failed(message)` is called for a check that fails.
function M.environment(names, path, failed)
  local env = setmetatable({}, { __index = function(_, name)
    local value = names[name]
    if value == nil then value = _G[name] end
    return value
  end })
  names.print = function() end
  names.__check = function(wanted, value)
    if tostring(value) ~= wanted then
      local line = debug.getinfo(2, "l").currentline
      failed(("%s:%d: %s, not %s"):format(path, line, tostring(value), wanted))
    end
  end
  return env
end

return M
