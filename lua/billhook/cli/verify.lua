-- cli/verify.lua: `billhook verify`: what a delivery proves, or why it proves
-- nothing. The delivery is a body in a file or on stdin with headers on the
-- command line, or one that `billhook serve --capture-refused` has kept.

local M = {}

M.summary = "Verify a delivery, and say why one was refused."

local VENDORS = { dreamclass = true, betterez = true, dreamapply = true }

function M.configure(command)
  command:argument("vendor", "The sender: dreamclass, betterez or dreamapply; not with --rules.")
    :args "?"
  command:argument("body", "The body's file; if `billhook serve` has kept it, with its headers"
    .. " (stdin by default)."):args "?"
  command:option("--rules", "Take the secrets from an account of this rules file.")
    :argname "<file>"
  command:option("--account", "The account in the rules file."):argname "<name>"
  command:option("--secret", "The webhook secret (or BILLHOOK_SECRET)."):argname "<secret>"
  command:option("--basic", "Basic credentials (or BILLHOOK_BASIC)."):argname "<user:password>"
  command:option("--authorization", "DreamApply's header value (or BILLHOOK_AUTHORIZATION).")
    :argname "<value>"
  command:option("-H --header", "A header of the delivery."):count "*":argname "<name: value>"
  command:option("--tenant", "The tenant that the delivery must have."):argname "<name>"
  local number = require("billhook.cli").number
  command:option("--tolerance", "Seconds that the signed time may differ from now."):convert(number)
    :argname "<seconds>"
  command:option("--at", "Verify as if it had arrived then (epoch seconds)."):convert(number)
    :argname "<time>"
  command:flag("--json", "Print the result as JSON.")
  command:epilog [[
Exit code 0: authentic; 1: not, and why.

Examples:
  billhook verify dreamclass --secret 123 body.json
  billhook verify --rules rules.lua --account school refused/000000001.body]]
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
  sender = "sender: the proof is a shared header; a sender who knows it can send anything",
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
    require("billhook.json").array(delivery.events)
    term.json(delivery)
    return 0
  end
  term.print(term.colour("green", "authentic"))
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
  term.table({ "!EVENT", "TYPE", "???INVOICE", "??OCCURRED", "?LIVE", "FAULT" }, rows)
  return 0
end

local function refuse(args, err, findings)
  local term = require "billhook.cli.term"
  if args.json then
    term.json { error = { kind = err.kind, code = err.code, message = err.message },
      findings = findings }
    return 1
  end
  term.print(("%s: %s: %s"):format(term.colour("red", "not authentic"), err.code,
    term.clean(err.message)))
  for i = 2, #findings do term.print("  " .. term.clean(findings[i].text)) end
  return 1
end

-- The account's vendor, and the options that it verifies with.
local function of_account(args, account)
  local given = {} -- by webhook
  require("billhook.client.account").witness(function(webhook, hook) given[webhook] = hook end)
  local app, err = require("billhook.cli.rules").load(args.rules)
  if not app then return nil, err end
  local client, why = require("billhook.cli.rules").account(app, args.rules, account)
  if not client then return nil, why end
  local webhook = client.webhook or {}
  local hook = given[webhook] or {}
  return client.vendor, { secret = hook.secret, basic = hook.basic,
    authorization = hook.authorization, tenant = webhook.tenant, tolerance = webhook.tolerance }
end

-- Of a kept credential there is only the beginning of its digest: is it one that we know? Gives
-- what came where it is none of ours.
local function restore(headers, options)
  local capture, known = require "billhook.nginx.capture", {}
  local listed = options.authorization
  for _, value in ipairs(type(listed) == "table" and listed or { listed }) do
    known[capture.digest(value)] = value
  end
  if options.basic then
    local pair = require("billhook.core").text.base64(table.concat(options.basic, ":"))
    known[capture.digest("Basic " .. pair)] = "Basic " .. pair
  end
  for name, value in pairs(headers) do
    if name:lower() == "authorization" then
      if not known[value] then return value, known end
      headers[name] = known[value]
    end
  end
end

-- Digests tell a person whether the vendor sends what he has entered there.
local function compare_digests(came, known)
  local ours = {}
  for digest in pairs(known) do ours[#ours + 1] = digest end
  table.sort(ours)
  return ("of Authorization the digest is kept: %s came, %s is expected; compare with"
    .. " printf %%s 'VALUE' | sha256sum"):format(tostring(came), table.concat(ours, " or "))
end

-- What was kept beside a captured body: its account, its headers, and when it came; else nothing.
local function beside(path)
  local head = path:match "^(.+)%.body$"
  local there = head and require("billhook.process").stat(head .. ".json")
  if not there then return { headers = {} } end
  local text, about, why
  text, why = require("billhook.cli.file").read(head .. ".json")
  if not text then return nil, why end
  about, why = require("billhook.json").decode(text)
  if type(about) ~= "table" or type(about.headers) ~= "table" then
    return nil, ("%s.json: %s"):format(head, why or "there are no headers in it")
  end
  return about
end

-- The vendor, headers, the body, options and what is to be said of a credential that came; or nil,
-- and why not.
local function delivery_of(args)
  local usage = require("billhook.cli").usage
  local path = args.body
  if args.rules then
    if path then usage "verify: give a vendor or --rules, not both" end
    path = args.vendor
  elseif not VENDORS[args.vendor or ""] then
    usage "verify: dreamclass, betterez or dreamapply; or --rules"
  end
  local about, body = { headers = {} }, nil
  if path then
    local err
    body, err = require("billhook.cli.file").read(path)
    if not body then return nil, err end
    about, err = beside(path)
    if not about then return nil, err end
  end
  local vendor, options
  if args.rules then
    vendor, options = of_account(args, args.account or about.account)
    if not vendor then return nil, options end
  else
    vendor, options = args.vendor, require("billhook.cli.trigger").credentials(args)
  end
  options.now = args.at or tonumber(about.at)
  local came, known = restore(about.headers, options)
  for name, value in pairs(headers_of(args.header)) do about.headers[name] = value end
  return vendor, about.headers, body or io.read "*a", options,
    came and compare_digests(came, known)
end

function M.run(args)
  local vendor, headers, body, options, digests = delivery_of(args)
  if not vendor then return nil, headers end
  options.tenant, options.now = args.tenant or options.tenant, args.at or options.now
  options.tolerance = args.tolerance or options.tolerance
  local verify = require("billhook").verify
  local delivery, err = require("billhook.cli").try(verify, vendor, headers, body, options)
  if delivery then return show(args, delivery) end
  local findings = require("billhook.cli.explain").why(vendor, headers, body, options)
  if digests and err.code == "unauthorized" then
    findings[#findings + 1] = { code = "hint", text = digests }
  end
  if err.code == "unsigned" and not next(headers) then
    findings = { findings[1], { code = "hint", text = vendor == "dreamclass"
      and "the member signature of the body is missing"
      or "no header was given: the body alone proves nothing; give --header 'Name: value'" } }
  end
  return refuse(args, err, findings)
end

return M
