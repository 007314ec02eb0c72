-- packaging/release.lua: the rockspecs of this version, from those of the checkout: `make docs` writes
-- them, `make lint` holds them to it.

local M = {}

local function read(path)
  local file = io.open(path)
  local text = file and file:read("*a")
  if file then file:close() end
  return text
end

M.version = read("lua/billhook/version.lua"):match('"(.-)"')

---@return table<string, string> texts by path
function M.rockspecs()
  local found = {}
  for _, name in ipairs { "billhook", "rocks/billhook-postgresql" } do
    found[("%s-%s-1.rockspec"):format(name, M.version)] = read(name .. "-scm-1.rockspec")
      :gsub('"scm%-1"', ('"%s-1"'):format(M.version), 1)
      :gsub("source = {.-}", ('source = { url = "git+file://.", tag = "v%s" }'):format(M.version), 1)
  end
  return found
end

if arg and arg[0] and arg[0]:find("packaging/release.lua$") then
  for path, text in pairs(M.rockspecs()) do
    local file = assert(io.open(path, "w"))
    assert(file:write(text))
    assert(file:close())
  end
end

return M
