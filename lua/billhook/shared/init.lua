--- Texts that several change, one at a time: what is left of a quota, calls that must not happen
-- twice. A store of such texts has one method:
--
--   store:update(name, fn, keep)  -> the value that fn gives (true where that is nil), or nil and
--       an error of kind "store": then nothing has changed
--
-- fn(text or nil, now) gives the new text (nil: it stays as it is, false: it goes) and a value.
-- Nobody else changes the text meanwhile. `now` is in seconds, by a clock that all who share the
-- text have in common. fn may be called several times, so it must do nothing but compute; and it
-- must not wait. keep: seconds after which nobody needs the text any more, should it not be changed
-- again.
--
-- There are three, held to this by spec/shared_spec.lua:
--
--   process.lua   the memory of this process
--   dict.lua      lua_shared_dict billhook, for the workers of one nginx
--   inbox.lua     an inbox: several processes or machines, and what was there before a crash
--
-- An inbox can say more, which the others do not know:
--
--   store:who()            a name for this process
--   store:departed(name)   is the process of this name known to be gone?
--   store:texts(prefix)    all texts whose names begin so, by the rest of the name

local dict = require "billhook.shared.dict"
local inbox = require "billhook.shared.inbox"
local process = require "billhook.shared.process"

local M = {}

--- What a user may pass as a store: a table with the method, or the URL of an inbox. Gives it, or
-- nil and what is wrong.
---@param value any
---@return any value, string? why
function M.check(value)
  if type(value) == "string" then
    local fine, why = inbox.check(value)
    return fine and value, why and "is no inbox: " .. why
  elseif type(value) ~= "table" or type(value.update) ~= "function" then
    return nil, "must have a method 'update'"
  end
  return value
end

--- The store that is meant: what was passed, or the inbox of that URL.
---@param given table|string
---@return table? store, table? err
function M.of(given)
  if type(given) == "string" then return inbox.of(given) end
  return given
end

--- What everybody here shares who has no inbox: the dictionary of nginx, where there is one; else
-- the memory of the process.
---@param clock fun(): number for the latter
---@return table store
function M.here(clock)
  return dict.store() or process.of(clock)
end

return M
