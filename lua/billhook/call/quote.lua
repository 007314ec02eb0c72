--- What an error may quote of an answer, and of what was sent.
--
-- A call about a provider of Betterez is private (see vendor.private): its body holds secrets of
-- others, below `params` whatever their names.

local core = require "billhook.core"

local M = {}

local function collect(value, inside, list)
  for name, inner in pairs(type(value) == "table" and value or {}) do
    local below = inside or tostring(name):lower() == "params"
    if type(inner) == "table" then
      collect(inner, below, list)
    elseif below and type(inner) ~= "boolean" then
      list[#list + 1] = tostring(inner)
    end
  end
end

--- What a message must not quote: our credentials; and of a provider, what was sent as its own.
---@return string[]?
function M.secrets(state, plan)
  if not (plan.private and plan.body) then
    return state.secrets
  end
  local list = {}
  for i, secret in ipairs(state.secrets or {}) do
    list[i] = secret
  end
  collect(core.json.read(plan.body), false, list)
  return list
end

-- What others call a credential, also where a { name, value } calls it so.
local CREDENTIALS = { "*apiKey", "*token", "*password", "*passwd", "*passphrase", "*secret",
  "*signerKey", "*signingKey", "*privateKey", "authorization" }

--- What an error may quote of a body: nothing of what is private, no credential of what is JSON.
--- (Of other texts error.lua takes out what looks like one.)
---@param plan table
---@param body string?
---@return string?
function M.body(plan, body)
  if plan.private then
    return nil
  elseif body and core.json.read(body) ~= nil then
    return core.json.redact(body, CREDENTIALS)
  end
  return body
end

return M
