--- The table of vendors: what is particular to each, by its name; nil where there is none.

return setmetatable({}, { __index = function(self, name)
  local known = name == "dreamapply" or name == "dreamclass" or name == "betterez"
  local vendor = known and require("billhook.vendor." .. name) or nil
  rawset(self, name, vendor)
  return vendor
end })
