-- cli/init.lua: the command's front door: reads the arguments, finds the
-- subcommand, turns what it gives into an exit code. 0: done; 1: it failed;
-- 2: the command was called wrongly; 3: nobody knows whether it was done;
-- 130: it was interrupted (Ctrl-C).
--
-- A subcommand is a module billhook.cli.<name> with `summary`, `configure`
-- (adds its arguments to an argparse command) and `run(args) -> exit code |
-- nil, message`. What it needs of billhook it requires when it runs.

local argparse = require "argparse"
local help = require "billhook.cli.help"
local process = require "billhook.process"
local term = require "billhook.cli.term"
local version = require "billhook.version"

local M = {}

local commands = {
  "serve", "work", "demo", "sandbox", "trigger", "verify", "invoices", "call", "settle", "quota",
  "inbox", "replay", "reconcile", "export", "doctor",
}

local function stop(code, text) error({ code = code, text = text }, 0) end

-- Whoever runs one command, or asks for the version, waits for no other to be loaded.
local function needed(first)
  if first == "-V" or first == "--version" then return {} end
  for _, name in ipairs(commands) do
    if name == first then return { name } end
  end
  return commands
end

-- argparse says what is wrong with a value, but not which option has it.
local function name_in_messages(command)
  for _, option in ipairs(command._options) do
    local convert, name = option._convert, option._aliases[#option._aliases]
    if convert then
      option:convert(function(text)
        local value, why = convert(text)
        return value, why and name .. ": " .. why
      end)
    end
  end
  for _, inner in ipairs(command._commands) do name_in_messages(inner) end
end

local function parser(first)
  local root = argparse("billhook",
    "Calls invoice APIs, receives invoice webhooks, runs your rules.")
  root:command_target "command"
  root:require_command(false)
  root:help_max_width(80)
  root:flag("-V --version", "Print the version and exit."):action(function()
    local jit = rawget(_G, "jit")
    term.print(("billhook %s (%s)"):format(version, jit and jit.version or _VERSION))
    stop(0)
  end)
  for _, name in ipairs(needed(first)) do
    local module = require("billhook.cli." .. name)
    module.configure(root:command(name):summary(module.summary))
  end
  help.configure(root, stop)
  name_in_messages(root)
  root.error = function(command, message)
    local known = message:find "^unknown command" and help.known(command) or ""
    stop(2, command:get_usage() .. "\n\nbillhook: " .. message .. known)
  end
  return root
end

-- An error object that stops the command on purpose, or a defect of the command with its trace.
local function traced(reason)
  if type(reason) == "table" and reason.code then return reason end
  return { code = 1, text = "billhook: " .. debug.traceback(tostring(reason), 2) }
end

local function perform(argv)
  local root = parser(argv[1])
  local args = root:parse(argv)
  if not args.command then stop(2, root:get_help()) end
  if args.command == "help" or args.command == "completion" then
    return help.run(root, args, M.usage)
  end
  process.interrupt()
  local code, message = require("billhook.cli." .. args.command).run(args)
  if code == nil then stop(1, "billhook: " .. tostring(message)) end
  return code
end

---@param argv string[]
---@param script string where the command itself lies, links followed
---@return integer exit_code
function M.main(argv, script)
  M.script = script
  local ok, result = xpcall(function() return perform(argv) end, traced)
  local written, reason = xpcall(term.flush, traced)
  if not written and (ok or result.code == 0) then ok, result = false, reason end
  if ok then return result end
  if result.text then term.tell(result.text) end
  return result.code
end

---Stops the command as wrongly called: exit code 2.
---@param message string
function M.usage(message)
  stop(2, "billhook: " .. message)
end

-- An option of the library's, as the command spells it.
local function in_our_words(message)
  message = message:gsub("^[^%s:]+:%d+: ", "")
  local function spelled(name) return "--" .. name:gsub("_", "-") end
  return (message:gsub("^billhook%.%w+: '?([%w_]+)'?", spelled)
    :gsub("option '?([%w_]+)'?", spelled, 1))
end

---Calls what raises where it is called wrongly; then it was the command that was.
---@param fn function
---@param ... any
---@return any ...
function M.try(fn, ...)
  local function answer(ok, ...)
    if ok then return ... end
    M.usage(in_our_words(tostring((...))))
  end
  return answer(pcall(fn, ...))
end

---What reads an option as a whole number within bounds, for argparse.
---@param least integer
---@param most integer
---@return fun(text: string): integer|nil, string|nil
function M.whole(least, most)
  return function(text)
    local number = tonumber(text:match "^%d+$" or "")
    if number and number >= least and number <= most then return number end
    return nil, ("not a whole number from %d to %d: %s"):format(least, most, text)
  end
end

---What reads an option as a number of at least 0, for argparse.
---@param text string
---@return number|nil, string|nil
function M.number(text)
  local number = tonumber(text:match "^%d+%.?%d*$" or "")
  if number and number < 1e12 then return number end
  return nil, "not a number of 0 or more: " .. text
end

---An option's value, or that of an environment variable: so no secret need stand in `ps`.
---@param given string|nil
---@param variable string
---@return string|nil
function M.secret(given, variable)
  if given then return given end
  local value = os.getenv(variable)
  if value == "" then return nil end
  return value
end

return M
