-- cli/verify.lua: `billhook verify`: what a delivery proves, or why it proves
-- nothing.

local M = {}

M.summary = "Verify a delivery read from stdin."

function M.configure(command)
  command:argument("vendor", "Whose webhook."):choices { "dreamclass", "betterez", "dreamapply" }
  command:option("--secret", "The webhook secret (or BILLHOOK_SECRET)."):argname "<secret>"
  command:option("--basic", "Basic credentials (or BILLHOOK_BASIC)."):argname "<user:password>"
  command:option("--authorization", "DreamApply's header value (or BILLHOOK_AUTHORIZATION).")
    :argname "<value>"
  command:option("-H --header", "A header of the delivery."):count "*":argname "<name: value>"
  command:option("--tenant", "The tenant that it must be for."):argname "<name>"
  local number = require("billhook.cli").number
  command:option("--tolerance", "Seconds that its clock may differ."):convert(number)
    :argname "<seconds>"
  command:option("--at", "Verify as if it had come then (epoch seconds)."):convert(number)
    :argname "<time>"
  command:flag("--json", "Print the result as JSON.")
  command:epilog [[
Exit code 0: authentic; 1: not, and why.

Example: billhook verify dreamclass --secret 123 < body.json]]
end

local function headers_of(list)
  local headers = {}
  for _, line in ipairs(list or {}) do
    local name, value = line:match "^([^:%s]+)%s*:%s*(.-)%s*$"
    if not name then require("billhook.cli").usage("--header is 'Name: value', not " .. line) end
    local before = headers[name]
    if type(before) == "table" then
      before[#before + 1] = value
    else
      headers[name] = before and { before, value } or value
    end
  end
  return headers
end

local covers = {
  body = "body: the proof covers every byte",
  id = "id: the proof covers the event id alone; type, tenant, time and data are claims",
  sender = "sender: the proof is a shared header; whoever knows it may say anything",
}

local function when(seconds)
  if not seconds then return nil end
  local fine, text = pcall(require("billhook.core").text.iso, math.floor(seconds))
  return fine and text or ("%.0f s after 1970"):format(seconds) -- beyond the year 9999
end

local function yes_no(value)
  if value == nil then return nil end
  return value and "yes" or "no"
end

local function show(args, delivery)
  local term = require "billhook.cli.term"
  if args.json then
    term.json(delivery)
    return 0
  end
  print(term.colour("green", "authentic"))
  term.table({ "WHAT", "VALUE" }, {
    { "vendor", delivery.vendor }, { "trust", covers[delivery.trust] or delivery.trust },
    { "secret", delivery.secret and ("number %d"):format(delivery.secret) },
    { "tenant", delivery.tenant },
  })
  local rows = {}
  for i, event in ipairs(delivery.events) do
    rows[i] = { event.id, event.native, event.invoice, when(event.occurred_at), yes_no(event.live),
      event.bad }
  end
  term.table({ "EVENT", "TYPE", "INVOICE", "OCCURRED", "LIVE", "FAULT" }, rows)
  return 0
end

local function refuse(args, err)
  local term = require "billhook.cli.term"
  if args.json then
    term.json { error = { kind = err.kind, code = err.code, message = err.message },
      findings = err.findings }
    return 1
  end
  print(term.colour("red", "not authentic") .. ": " .. err.code .. ": " .. term.clean(err.message))
  for i = 2, #err.findings do print("  " .. term.clean(err.findings[i].text)) end
  return 1
end

function M.run(args)
  local options = require("billhook.cli.trigger").credentials(args)
  options.tenant, options.tolerance, options.now = args.tenant, args.tolerance, args.at
  options.explain = true
  local headers, body = headers_of(args.header), io.read "*a"
  local verify = require("billhook").verify
  local delivery, err = require("billhook.cli").try(verify, args.vendor, headers, body, options)
  if delivery then return show(args, delivery) end
  return refuse(args, err)
end

return M
