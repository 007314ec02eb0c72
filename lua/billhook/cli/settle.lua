-- cli/settle.lua: `billhook settle`: looks again at a call of which nobody knows
-- what became, by the intent that its error had.

local M = {}

M.summary = "Look up the outcome of a call that is unknown."

function M.configure(command)
  local clients = require "billhook.cli.client"
  clients.options(command)
  clients.settle_timeout(command)
  command:argument("intent", "A file with the intent that was printed; - (the default) is stdin.")
    :args "?"
  command:epilog [[
Example:
  billhook settle --vendor dreamapply \
    --base-url https://apply.example.edu intent

Exit codes: 0 found; 1 it failed; 2 usage error, or another account's intent;
3 still unknown.
Nothing is ever created.]]
end

-- Also what --json has printed around it.
local function intent_of(path)
  local text, err = require("billhook.cli.file").read(path)
  if not text then return nil, err end
  local value, why = require("billhook.json").decode(text)
  local name = path == "-" and "stdin" or path
  if type(value) ~= "table" then return nil, name .. ": " .. (why or "not a JSON object") end
  if type(value.error) == "table" then value = value.error end
  if type(value.intent) == "table" then value = value.intent end
  if type(value.operation) ~= "string" then
    return nil, name .. ": not the intent of an unknown outcome"
  end
  return value
end

function M.run(args)
  local clients, cli = require "billhook.cli.client", require "billhook.cli"
  local client, err = clients.of(args)
  if not client then return nil, err end
  local intent
  intent, err = intent_of(args.intent or "-")
  if not intent then return nil, err end
  clients.looking(client, args.settle_timeout)
  local result, failure = cli.try(client.settle, client, intent,
    args.settle_timeout and { settle_timeout = args.settle_timeout })
  require("billhook.cli.term").progress ""
  if result == nil then return clients.failed(args, failure) end
  if args.json then
    require("billhook.cli.term").json(result)
  else
    clients.show_made(result)
  end
  return 0
end

return M
