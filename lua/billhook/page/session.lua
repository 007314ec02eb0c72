-- page/session.lua: who has logged in. A session is a cookie, signed by a key of this run of
-- serve's, with its end in it; each form carries a token that belongs to the session. What has to
-- be remembered (failed tries, sessions that were left) is in a memory that all workers share.
--
-- Pure: the key, the password, the clock and the memory are given.

local core = require "billhook.core"

local M = {}
local Session = {}
Session.__index = Session

M.SECONDS = 8 * 3600 -- a session's length
local FORM = 3600 -- seconds for which the form to log in is good
local TRIES = 10 -- wrong passwords a minute, from wherever

---@param options table key, password (texts), now (fun(): number), memory { count(name, n, seconds)
---  -> the sum, nil where there is no room for it, set(name, seconds), get(name) }
---@return table
function M.new(options)
  return setmetatable({ key = options.key, password = options.password, now = options.now,
    memory = options.memory }, Session)
end

local function mac(self, purpose, text)
  return core.text.hex(core.verify.hmac(self.key, purpose .. "\n" .. text))
end

local function signed(self, purpose, id, seconds)
  local text = ("%s.%d"):format(id, math.floor(self.now() + seconds))
  return text .. "." .. mac(self, purpose, text)
end

-- The id of what signed() gave, while it is good.
local function verified(self, purpose, value)
  local text, id, till, code = (value or ""):match "^((%x+)%.(%d+))%.(%x+)$"
  if not text or #id ~= 32 or #till > 12 then return nil end
  if not core.text.equal(code, mac(self, purpose, text)) then return nil end
  return tonumber(till) > self.now() and id or nil
end

local function new_id() return core.text.hex(core.text.random(16)) end

---What the form to log in carries.
---@return string
function Session:ticket() return signed(self, "ticket", new_id(), FORM) end

---Does the form come from here?
---@param ticket string|nil
---@return boolean
function Session:is_ticket(ticket) return verified(self, "ticket", ticket) ~= nil end

---@param password string|nil
---@return string|nil cookie
---@return string|nil why "wrong", or "often": too many were wrong of late
function Session:login(password)
  local tries = self.memory.count("page tries", 0, 60)
  if not tries or tries >= TRIES then return nil, "often" end
  local given, right = mac(self, "password", password or ""), mac(self, "password", self.password)
  if core.text.equal(given, right) then
    return signed(self, "session", new_id(), M.SECONDS)
  end
  self.memory.count("page tries", 1, 60)
  return nil, "wrong"
end

---@param cookie string|nil
---@return string|nil id
function Session:id(cookie)
  local id = verified(self, "session", cookie)
  return id and not self.memory.get("page gone " .. id) and id or nil
end

---Ends a session before its time.
---@param id string
function Session:logout(id) self.memory.set("page gone " .. id, M.SECONDS) end

---What the forms of a session carry.
---@param id string
---@return string
function Session:token(id) return mac(self, "form", id) end

---@param id string
---@param token string|nil
---@return boolean
function Session:is_token(id, token) return core.text.equal(token or "", self:token(id)) end

return M
