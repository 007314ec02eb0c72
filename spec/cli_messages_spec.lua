-- cli_messages_spec.lua: what the command says where it was wrongly called: each message names what
-- is wrong and what is right, ends with exit code 2, and is known to a spec.

local command = require "spec.support.command"

-- { words, message }; RULES is a rules file, INBOX an empty inbox.
local mistakes = {
  { "call", "name the vendor: dreamapply, dreamclass or betterez" },
  { "call dreamapply nosuch",
    "unknown operation 'nosuch' of dreamapply: `billhook call dreamapply` lists them" },
  { "call dreamapply invoices.get id", "not --name value: id" },
  { "call dreamapply invoices.get --id", "--id has no value" },
  { "call dreamapply invoices.get --nosuch 1",
    "--nosuch is neither an option nor a parameter of this call" },
  { "call dreamapply invoices.create --json 7", "--json: not a JSON object" },
  { "call dreamclass invoices.get --id 1 --rules RULES",
    "account 'admissions' is one of dreamapply" },
  { "invoices list", "--vendor (or --rules and --account) is missing" },
  { "invoices list --vendor betterez",
    "--api-key (or BILLHOOK_API_KEY, or --rules and --account) is missing" },
  { "export invoices --inbox INBOX byCollected=false",
    "filters are for the API: an inbox has --account and --state" },
  { "inbox rebase admissions --inbox INBOX", "rebase: --rules is missing" },
  { "inbox retry --inbox INBOX", "retry: an id, or --all" },
  { "inbox retry --all --state unhandled --inbox INBOX",
    "retry: unhandled ones are run by the rules of --rules" },
  { "inbox purge --inbox INBOX", "purge: an id, --older-than or --invoice" },
  { "inbox copy --to INBOX", "copy: --from is missing" },
  { "inbox copy --from memory: --to INBOX", "copy: an inbox in memory cannot be copied" },
  { "inbox copy --from INBOX --to INBOX", "copy: --from and --to are the same inbox" },
  { "inbox events --inbox billhook.db",
    'inbox must be "sqlite:FILE", "memory:" or "postgresql://..."' },
  { "replay x --rule y --inbox INBOX", "replay: --rule is for --dry-run" },
  { "sandbox trigger vendor", "sandbox: not name=value: vendor" },
  { "serve RULES --page 127.0.0.1:8090 --page-url https://a.example/x",
    "--page-url: not https://NAME or https://NAME:PORT, without a path: https://a.example/x" },
  { "trigger dreamclass --secret s", "trigger: --to (or --print) is missing" },
  { "trigger dreamclass --to http://127.0.0.1:1",
    "trigger: --secret (or BILLHOOK_SECRET) is missing" },
  { "trigger dreamclass --secret s --to 127.0.0.1:1",
    "trigger: --to must be an http:// or https:// URL" },
  { "trigger dreamapply --authorization a --to http://127.0.0.1:1 --id x",
    "trigger: --id of a DreamApply event is a number" },
  { "verify", "verify: dreamclass, betterez or dreamapply; or --rules" },
  { "verify dreamclass x --rules RULES", "verify: give a vendor or --rules, not both" },
}

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

describe("a mistake in calling the command", function()
  after_each(command.finish)

  it("is told with what is right, and is exit code 2", function()
    local here = command.folder()
    local places = { INBOX = "sqlite:" .. here .. "/inbox.db" }
    places.RULES = command.write(here .. "/rules.lua", [[local billhook = require "billhook"
      return billhook.app { inbox = "]] .. places.INBOX .. [[", accounts = { admissions =
        billhook.dreamapply { base_url = "http://127.0.0.1:1", api_key = "k" } } }]])
    require("billhook.inbox").open(places.INBOX):close()
    for _, one in ipairs(mistakes) do
      local words = {}
      for word in one[1]:gmatch "%S+" do words[#words + 1] = places[word] or word end
      local result = command.run(words)
      assert.same({ 2, "" }, { result.code, result.out }, one[1])
      assert.equal("billhook: " .. one[2] .. "\n", result.err:match "billhook: [^\n]*\n$", one[1])
    end
  end)

  it("is one that a spec knows, each of them #both", function()
    local function joined(path) return (read(path):gsub('"%s*%.%.%s*"', "")) end
    local specs, seen, unknown = {}, 0, {}
    for path in io.popen "ls spec/*.lua":lines() do
      specs[#specs + 1] = joined(path):gsub("%%(%p)", "%1")
    end
    local all = table.concat(specs, "\n")
    for path in io.popen "ls lua/billhook/cli/*.lua":lines() do
      for text in joined(path):gmatch 'usage%(*%s*"(.-[^\\])"' do
        local longest = ""
        for part in text:gsub("%%[%d.]*%l", "\0"):gmatch "[^%z]+" do
          if #part > #longest then longest = part end
        end
        seen = seen + 1
        if not all:find(longest, 1, true) then unknown[#unknown + 1] = path .. ": " .. text end
      end
    end
    assert.same({}, unknown)
    assert.is_true(seen > 40)
  end)
end)
