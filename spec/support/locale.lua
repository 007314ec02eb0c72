-- locale.lua - a locale with a decimal comma, de_DE.UTF-8: few machines have one. It is made once,
-- which takes seconds. Gives the folder that LOCPATH is to name.

local process = require "billhook.process"

return function()
  local folder = "build/test/locale"
  local command = [[ [ -d % ] || { mkdir -p build/test && mkdir %.$$ &&
    localedef -i de_DE -f UTF-8 %.$$/de_DE.UTF-8 &&
    { mv -T %.$$ % 2>/dev/null || rm -r %.$$; }; }]] -- another may be first
  local made = os.execute((command:gsub("%%", folder)))
  assert(made == true or made == 0, "localedef: is Debian's package locales there?")
  return assert(process.realpath(folder))
end
