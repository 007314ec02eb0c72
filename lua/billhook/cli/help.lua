-- cli/help.lua: what is said about the command: help, completions for shells and a manual page, all
-- from what the subcommands have told argparse.

local term = require "billhook.cli.term"
local version = require "billhook.version"

local M = {}

-- The subcommands of a parser, in their order. Argparse has no public way to ask for them.
local function commands_of(parser) return parser._commands end

-- argparse ends the process by itself after its help, whether or not that could be written.
local function own_help(parser, stop)
  parser:add_help { action = function()
    term.print(parser:get_help())
    stop(0)
  end }
  for _, command in ipairs(commands_of(parser)) do own_help(command, stop) end
end

-- The names of the commands below a parser.
local function names_of(parser)
  local names = {}
  for i, command in ipairs(commands_of(parser)) do
    names[i] = command:get_usage():match "([%w-]+)%s*[[<\n]"
  end
  return names
end

---Which commands there are below a parser, as words for a message; "" where there are none.
---@param parser table
---@return string
function M.known(parser)
  local names = names_of(parser)
  return #names > 0 and "; there are " .. table.concat(names, ", ") or ""
end

-- One source for --help and the manual page.
local statuses = {
  { 0, "Done." },
  { 1, "It failed; reconcile: something differed; replay: a rule would fail." },
  { 2, "Usage error." },
  { 3, "The outcome of a call is unknown." },
  { 130, "Interrupted." },
}

---Adds `help` and `completion`, and a --help to each command that fails where it can't be written.
---@param root table argparse's
---@param stop fun(code: integer)
function M.configure(root, stop)
  local lines = { "Exit codes:" }
  for i, status in ipairs(statuses) do lines[i + 1] = ("  %-4d %s"):format(status[1], status[2]) end
  root:epilog(table.concat(lines, "\n"))
  local help = root:command "help":summary "Show the help of a command."
  help:argument "topic":args "*":argname "<command>"
  help:flag("--man", "Print the manual page of all commands, for man(1).")
  local completion = root:command "completion":summary "Print completions for a shell."
  completion:argument "shell":choices { "bash", "zsh", "fish" }
  completion:epilog [[
Examples:
  billhook completion bash > /etc/bash_completion.d/billhook
  billhook completion fish > ~/.config/fish/completions/billhook.fish]]
  own_help(root, stop)
end

-- Text as troff shows it as it stands.
local function verbatim(text)
  text = text:gsub("\\", "\\e"):gsub("%-", "\\-")
  return (("\n" .. text):gsub("\n([.'])", "\n\\&%1"):sub(2))
end

-- The page, its commands in the order of --help.
local function manual(root)
  local parts = { (".TH BILLHOOK 1 \"\" \"billhook %s\" \"User Commands\"\n"):format(version),
    ".SH NAME\nbillhook \\- call invoice APIs, receive invoice webhooks, run rules\n",
    ".SH SYNOPSIS\nbillhook [\\-h] [\\-V] \\fIcommand\\fR ...\n.SH COMMANDS\n" }
  local function add(parser)
    local text = parser:get_help():gsub("%s+$", "")
    parts[#parts + 1] = (".SS %s\n.in 0\n.nf\n%s\n.fi\n.in\n"):format(
      verbatim(text:match "^Usage: ([%w ]*%w)"), verbatim(text))
    for _, inner in ipairs(commands_of(parser)) do add(inner) end
  end
  for _, command in ipairs(commands_of(root)) do add(command) end
  parts[#parts + 1] = ".SH EXIT STATUS\n"
  for _, status in ipairs(statuses) do
    parts[#parts + 1] = (".TP\n%d\n%s\n"):format(status[1], status[2])
  end
  return table.concat(parts)
end

-- The parser of `billhook inbox purge`, by its words.
local function find(root, words, usage)
  local parser = root
  for i, word in ipairs(words) do
    local found
    for k, name in ipairs(names_of(parser)) do
      if name == word then found = commands_of(parser)[k] end
    end
    if not found then
      usage(("no command '%s'%s"):format(table.concat(words, " ", 1, i), M.known(parser)))
    end
    parser = found
  end
  return parser
end

-- What may stand behind which words: argparse completes options and commands, but the choices of an
-- argument hardly anywhere.
local function choices_of(root)
  local list, billhook = {}, require "billhook"
  local samples = require "billhook.cli.samples"
  local known = { "dreamapply", "dreamclass", "betterez" }
  local function add(behind, words) list[#list + 1] = { behind, table.concat(words, " ") } end
  add("help", names_of(root))
  add("completion", { "bash", "zsh", "fish" })
  add("export", { "invoices", "lines", "payments" })
  for _, command in ipairs { "call", "trigger", "verify" } do add(command, known) end
  for _, vendor in ipairs(known) do
    local operations = {}
    for i, operation in ipairs(billhook.calls(vendor)) do operations[i] = operation.name end
    add("call " .. vendor, operations)
    add("trigger " .. vendor, samples.names(vendor))
  end
  return list
end

-- Each shell's completions: argparse's, where none of ours are.
local shells = {}

function shells.bash(root)
  local cases = {}
  for i, one in ipairs(choices_of(root)) do
    cases[i] = ('        "%s") words="%s" ;;\n'):format(one[1], one[2])
  end
  return root:get_bash_complete() .. ([[

_billhook_choices() {
    local words=
    case "${COMP_WORDS[*]:1:COMP_CWORD-1}" in
%s    esac
    if [ -n "$words" ] && [ "${COMP_WORDS[COMP_CWORD]:0:1}" != - ]; then
        COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
    else
        _billhook
    fi
}

complete -F _billhook_choices -o bashdefault -o default billhook]]):format(table.concat(cases))
end

function shells.zsh(root)
  local cases = {}
  for i, one in ipairs(choices_of(root)) do
    cases[i] = ('    "%s") choices=(%s) ;;\n'):format(one[1], one[2])
  end
  -- the file is the function _billhook, and defines it at the first call
  local text = root:get_zsh_complete():gsub("\n_billhook%(%)", "\n_billhook_options()")
  return (text:gsub("\n_billhook%s*$", "")) .. ([=[

_billhook() {
  local -a choices
  case "${words[2,CURRENT-1]}" in
%s  esac
  if (( $#choices )) && [[ $words[CURRENT] != -* ]]; then
    compadd -a choices
  else
    _billhook_options "$@"
  fi
}

_billhook "$@"]=]):format(table.concat(cases))
end

function shells.fish(root)
  local lines = {}
  for i, one in ipairs(choices_of(root)) do
    lines[i] = ("complete -c billhook -n '__fish_billhook_behind %s' -xa '%s'"):format(one[1],
      one[2])
  end
  return root:get_fish_complete() .. ([[

function __fish_billhook_behind
    set -l words (commandline -opc)
    test "$words[2..-1]" = "$argv"
end

%s]]):format(table.concat(lines, "\n"))
end

---Prints what `billhook help` and `billhook completion` were asked for.
---@param root table
---@param args table
---@param usage fun(message: string)
function M.run(root, args, usage)
  if args.shell then
    term.print(shells[args.shell](root))
  elseif args.man then
    term.print((manual(root):gsub("\n$", "")))
  else
    term.print((find(root, args.topic, usage):get_help()))
  end
  return 0
end

return M
