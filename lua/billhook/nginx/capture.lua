-- capture.lua - some of what was refused, kept in a folder, for `billhook verify`.
--
-- NUMBER.body is the body as it came, NUMBER.json what came with it: headers (credentials only as
-- the beginning of their digest), when, from where, and why it was refused. There are at most so
-- many files and bytes; the oldest go. All nginx workers count together, in lua_shared_dict
-- billhook.

local core = require "billhook.core"
local json = require "billhook.json"

local M = {}

local MOST = 49 -- deliveries, of two files each; and there is the file "last"
local ROOM = 10 * 1024 * 1024 -- bytes, of all
local PRIVATE = 384 -- 0600
local NEW = 0x1 + 0x40 + 0x80 -- O_WRONLY, O_CREAT, O_EXCL

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
    if not secret then
      out[name] = value
    elseif type(value) == "table" then
      out[name] = {}
      for i, one in ipairs(value) do out[name][i] = M.digest(tostring(one)) end
    else
      out[name] = M.digest(tostring(value))
    end
  end
  return out
end

local function size_of(path)
  local file = io.open(path, "rb")
  local size = file and file:seek "end" or 0
  if file then file:close() end
  return size
end

local function write(path, text)
  local ffi = require "ffi"
  local fd = ffi.C.open(path, NEW, ffi.cast("int", PRIVATE))
  if fd < 0 then return false end
  local n = ffi.C.write(fd, text, #text)
  return ffi.C.close(fd) == 0 and n == #text
end

-- Drops what is too much with a new one of that size; numbers go from `last` down.
local function make_room(folder, last, size)
  local kept = 1
  for n = last - 1, last - 2 * MOST, -1 do
    local body, head = ("%s/%09d.body"):format(folder, n), ("%s/%09d.json"):format(folder, n)
    local both = size_of(body) + size_of(head)
    size = size + both
    if both > 0 then kept = kept + 1 end
    if size > ROOM or kept > MOST then
      os.remove(body)
      os.remove(head)
      size = size - both
    end
  end
end

local function last_of(folder)
  local file = io.open(folder .. "/last", "r")
  local n = file and tonumber(file:read "*l" or "")
  if file then file:close() end
  return n or 0
end

---What keeps refused deliveries in a folder; see App:keep_refused().
---@param folder string 0700, and the workers'
---@return fun(fields: table, headers: table, body: string): string|nil
function M.new(folder)
  local ffi, counts = require "ffi", ngx.shared.billhook
  ffi.cdef [[
    int open(const char *path, int flags, ...);
    long write(int fd, const void *text, size_t n);
    int close(int fd);
  ]]
  return function(fields, headers, body)
    local about = { at = core.text.now(), headers = M.redacted(headers) }
    for name, value in pairs(fields) do about[name] = value end
    local head = json.encode(about)
    local size = #head + #body
    if size > ROOM then return nil end
    local number = counts:incr("captured", 1, last_of(folder))
    if not number then return nil end
    make_room(folder, number, size)
    local path = ("%s/%09d"):format(folder, number)
    os.remove(folder .. "/last")
    local ok = write(folder .. "/last", ("%d\n"):format(number))
      and write(path .. ".body", body) and write(path .. ".json", head)
    return ok and path .. ".body" or nil
  end
end

return M
