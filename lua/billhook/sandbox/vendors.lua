-- vendors.lua - the vendors that the sandbox imitates: their modules, and whose a path is.

local M = {
  names = { "dreamapply", "dreamclass", "betterez" },
  dreamapply = require "billhook.sandbox.dreamapply",
  dreamclass = require "billhook.sandbox.dreamclass",
  betterez = require "billhook.sandbox.betterez",
}

local places = { api = "dreamapply", dreamclassapi = "dreamclass", invoices = "betterez",
  accounts = "betterez", operations = "betterez", webhooks = "betterez" }

--- Whose a path is; nil: nobody's.
function M.of(path) return places[path:match("^/(%w+)/") or ""] end

--- Tells whether there is such a vendor.
function M.is(name)
  return name == M.names[1] or name == M.names[2] or name == M.names[3]
end

return M
