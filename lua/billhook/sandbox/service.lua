-- service.lua - what the services of the sandbox's Betterez share: their routes, errors and pages.

local json = require "billhook.json"
local values = require "billhook.sandbox.values"

local M = {}

local page_size = 10

--- The answer of an error.
function M.failure(status, code, message)
  return status, { code = code, message = message or code }
end

--- Tells whether it is an ObjectId.
function M.is_id(text) return type(text) == "string" and text:find("^%x+$") and #text == 24 end

--- A new ObjectId; none is one of a transaction that does not exist.
function M.new_id(world) return ("%08x"):format(math.floor(world:now())) .. values.hex(8) end

--- The time as documents have it.
function M.time(world)
  local now = world:now()
  local text = values.iso(now):gsub("%+00:00$", "")
  return { value = text .. "." .. values.millis(now) .. "Z", offset = 0 }
end

--- A body's fields, at its root or under `name`; nil where there are none.
function M.fields(request, name)
  local fields = values.object(request.body)
  if not fields then return nil end
  fields = type(fields[name]) == "table" and fields[name] or fields
  return next(fields) and fields
end

--- Takes fields into a document, but for its id.
function M.take(target, fields)
  for name, value in pairs(fields) do
    if name ~= "_id" then target[name] = value end
  end
  return target
end

--- Where a document stands in a list, by its id.
function M.position(list, id)
  for i, one in ipairs(list) do
    if one._id == id then return i end
  end
end

local function page_url(world, request, page)
  local query = {}
  for name, value in pairs(request.query) do query[name] = value end
  query.page = ("%d"):format(page)
  return ("http://%s%s?%s"):format(request.headers["host"] or world.options.listen or "localhost",
    request.path, values.encode_query(query))
end

--- One page of a list; next and previous only where the call named a page.
function M.paged(world, request, name, all)
  local page = tonumber(request.query.page)
  if request.query.page and (not page or page < 1 or page % 1 ~= 0) then
    return M.failure(400, "WRONG_DATA", "page is invalid")
  end
  local first = ((page or 1) - 1) * page_size
  local part = json.array {}
  for i = first + 1, math.min(first + page_size, #all) do part[#part + 1] = all[i] end
  local more = page and first + page_size < #all
  return 200, { [name] = part, count = #all,
    next = more and page_url(world, request, page + 1) or "",
    previous = page and page > 1 and page_url(world, request, page - 1) or "" }
end

local Routes = {}
Routes.__index = Routes

--- The routes of a service, below a path.
function M.routes(base) return setmetatable({ base = base }, Routes) end

--- A call; ":id" in its path is handed on.
function Routes:on(method, path, handler)
  local pattern = path:gsub("%-", "%%-"):gsub(":%w+", "([^/]+)")
  self[#self + 1] = { method = method, path = path, handler = handler,
    pattern = "^" .. self.base .. pattern .. "$" }
end

--- The handler of a request and what its path names; nil: none.
function Routes:find(request)
  for _, one in ipairs(self) do
    if one.method == request.method then
      local first, second = request.path:match(one.pattern)
      if first then return one.handler, first, second end
    end
  end
end

return M
