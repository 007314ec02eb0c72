-- capture.lua - keeps some refused deliveries in a folder, for `billhook verify`.
--
-- NUMBER.body is the body as received. NUMBER.json has the headers (of credentials only the start
-- of their digest), the time, the sender, and the reason of the refusal. The number of files and
-- bytes is limited; the oldest are deleted. All nginx workers share the counts, in lua_shared_dict
-- billhook.

local core = require "billhook.core"
local json = require "billhook.json"
local printable = require "billhook.printable"
local process = require "billhook.process"

local M = {}

local MOST = 49 -- deliveries, of two files each; and there is the file "last"
local ROOM = 10 * 1024 * 1024 -- bytes, of all

local CREDENTIALS = { "authorization", "cookie", "token", "secret", "password", "api-key",
  "apikey" }

---What is kept of a credential: enough to see whether it is a known one.
---@param value string
---@return string
function M.digest(value) return "sha256:" .. core.text.sha256(value):sub(1, 8) end

---Headers as they are kept.
---@param headers table<string, string|string[]>
---@return table<string, string|string[]>
function M.redacted(headers)
  local out = {}
  for name, value in pairs(headers) do
    local secret = false
    for _, word in ipairs(CREDENTIALS) do secret = secret or name:lower():find(word, 1, true) end
    local list = type(value) == "table" and value or { value }
    local kept = {}
    for i, one in ipairs(list) do
      kept[i] = secret and M.digest(tostring(one)) or printable.utf8(tostring(one))
    end
    out[printable.utf8(name)] = type(value) == "table" and kept or kept[1]
  end
  return out
end

local function size_of(path)
  local found = process.stat(path, true)
  return found and found.size or 0
end

-- The number of the newest one. Only a file is read: nginx would wait for a pipe, and so would all.
local function newest(folder)
  local text = process.contents(folder .. "/last", 99)
  return tonumber(text and text:match "^%d+" or "") or 0
end

-- Drops what is too much with a new one of that size; numbers go from `last` down.
local function make_room(folder, last, size)
  local kept = 1
  for n = last - 1, last - 2 * MOST, -1 do
    local path = ("%s/%09d"):format(folder, n)
    local both = size_of(path .. ".body") + size_of(path .. ".json")
    if both > 0 then kept = kept + 1 end
    if size + both > ROOM or kept > MOST then
      os.remove(path .. ".body")
      os.remove(path .. ".json")
    else
      size = size + both
    end
  end
end

---What keeps refused deliveries in a folder; see App:keep_refused().
---@param folder string 0700, and the workers'
---@return fun(fields: table, headers: table, body: string): string|nil, string|nil path, or nil and
---  why it is not kept
function M.new(folder)
  local counts = ngx.shared.billhook
  return function(fields, headers, body)
    local about = { at = core.text.now(), headers = M.redacted(headers) }
    for name, value in pairs(fields) do about[name] = value end
    local head = json.encode(about)
    if #head + #body > ROOM then return nil, "too large to be kept" end
    -- not incr() alone: its first value may evict what others need
    if not counts:get "captured" then counts:safe_add("captured", newest(folder)) end
    local number = counts:incr("captured", 1)
    if not number then return nil, "lua_shared_dict billhook has no room" end
    make_room(folder, number, #head + #body)
    local path = ("%s/%09d"):format(folder, number)
    local ok, err = process.replace(folder .. "/last", ("%d\n"):format(number))
    if ok then ok, err = process.replace(path .. ".json", head) end
    if ok then ok, err = process.replace(path .. ".body", body) end
    if ok then return path .. ".body" end
    os.remove(path .. ".json") -- both or none
    return nil, err
  end
end

return M
