-- rules.lua: what receive.lua has nginx receive. The rule is never run there.

local billhook = require "billhook"

local app = billhook.app {
  inbox = assert(os.getenv "BENCH_INBOX"),
  accounts = { tickets = billhook.betterez { webhook = { secret = "private-key" } } },
  log = function() end,
}
app:on("*", function() end)
return app
