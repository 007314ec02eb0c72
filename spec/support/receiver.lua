-- receiver.lua - the app of the nginx specs: one account a vendor, an inbox in the given folder,
-- and a rule that writes a line a run to the file "ran" there.

local billhook = require "billhook"

local function append(path, line)
  local file = assert(io.open(path, "a"))
  file:write(line, "\n")
  file:close()
end

return function(folder, options)
  options = options or {}
  local app = billhook.app {
    inbox = options.inbox or "sqlite:" .. folder .. "/inbox.db",
    accounts = {
      tickets = billhook.betterez { webhook = { secret = "private-key",
        limit = options.limit } },
      other = billhook.betterez { webhook = { secret = "private-key" } },
      unset = billhook.betterez { webhook = {} },
      school = billhook.dreamclass { tenant = "my-school", webhook = { secret = "123" } },
      guarded = billhook.dreamclass { webhook = { secret = "123", basic = { "user", "word" } } },
      admissions = billhook.dreamapply { webhook = { authorization = "Bearer hook" } },
    },
    log = options.log or function() end, budget = options.budget,
  }
  app:on("*", { name = "note" }, function(event)
    append(folder .. "/ran", event.id .. " " .. event.type)
    if options.rule then return options.rule(event) end
  end)
  return app
end
