-- capture.lua - keeps some refused deliveries in a folder, for `billhook verify`.
--
-- NUMBER.body is the body as received. NUMBER.json has the headers (of credentials only the start
-- of their digest), the time, the sender, and the reason of the refusal. The number of files and
-- bytes is limited; the oldest are deleted. All nginx workers share the counts, in lua_shared_dict
-- billhook.

local core = require "billhook.core"
local json = require "billhook.json"
local process = require "billhook.process"

local M = {}

local MOST = 49 -- deliveries, of two files each; and there is the file "last"
local ROOM = 10 * 1024 * 1024 -- bytes, of all
local PRIVATE = 63 -- the umask 077: files are made with mode 0600

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
    for i, one in ipairs(list) do kept[i] = secret and M.digest(tostring(one)) or one end
    out[name] = type(value) == "table" and kept or kept[1]
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

-- A new file: what is there under its name, a link even, is not written into.
local function write(path, text)
  os.remove(path)
  local file = io.open(path, "wb")
  return file ~= nil and file:write(text) ~= nil and file:close()
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
---@return fun(fields: table, headers: table, body: string): string|nil
function M.new(folder)
  local ffi, counts = require "ffi", ngx.shared.billhook
  ffi.cdef "unsigned umask(unsigned);"
  return function(fields, headers, body)
    local about = { at = core.text.now(), headers = M.redacted(headers) }
    for name, value in pairs(fields) do about[name] = value end
    local head = json.encode(about)
    if #head + #body > ROOM then return nil end
    -- not incr() alone: its first value may evict what others need
    if not counts:get "captured" then counts:safe_add("captured", newest(folder)) end
    local number = counts:incr("captured", 1)
    if not number then return nil end
    make_room(folder, number, #head + #body)
    local path, mask = ("%s/%09d"):format(folder, number), ffi.C.umask(PRIVATE)
    local ok = write(folder .. "/last", ("%d\n"):format(number))
      and write(path .. ".body", body) and write(path .. ".json", head)
    ffi.C.umask(mask)
    return ok and path .. ".body" or nil
  end
end

return M
