-- The shared objects as the linker has left them: what this machine's compiler takes of the flags
-- that make mistakes harder to use is in them. Where one is not taken at all, the Makefile leaves
-- it out; so does this, by asking the compiler for an object of its own.

local FOLDER = os.getenv "BILLHOOK_OBJECTS"
  or package.cpath:match "(build/[%w.]+)/%?%.so" .. "/billhook"
local CFLAGS = os.getenv "BILLHOOK_CFLAGS" or "-O2" -- that the objects were built with
local NAMES = { "core", "curl", "sqlite", "process" }
if not os.getenv "BILLHOOK_OBJECTS" then NAMES[#NAMES + 1] = "pq" end

local function said(command)
  local pipe = assert(io.popen(command .. " 2>&1"))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

local function object(name) return FOLDER .. "/" .. name .. ".so" end

-- what a small object has that was built with this flag; nil: the compiler does not take it
local function tried(flag, option)
  local path = os.tmpname()
  local code = "#include <string.h>\nvoid f(char *); void g(char *a, char *b, unsigned long n);"
    .. "void g(char *a, char *b, unsigned long n) { char t[64]; f(t); memcpy(t, b, n);"
    .. " f(t); strcpy(a, t); }"
  local made = os.execute(("printf '%%s' '%s' | tr '@' '\\n' | cc %s -Werror -shared -fPIC %s -x c"
    .. " -o %s - 2>/dev/null"):format((code:gsub("\n", "@")), CFLAGS, flag, path))
  local text = (made == true or made == 0) and said("readelf " .. option .. " " .. path) or nil
  os.remove(path)
  return text
end

describe("a shared object", function()
  local FLAGS = {
    { "is bound before it is used", "-Wl,-z,now", "-dW", "BIND_NOW", NAMES },
    { "has its tables made read-only", "-Wl,-z,relro", "-lW", "GNU_RELRO", NAMES },
    { "watches over its stack", "-fstack-protector-strong", "-sW", "__stack_chk_fail",
      { "core", "curl", "sqlite", "process" } },
    { "has checked copies", "-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2", "-sW",
      "_chk@", { "core", "curl" } },
  }
  for _, flag in ipairs(FLAGS) do
    it(flag[1], function()
      local could = tried(flag[2], flag[3])
      if not (could and could:find(flag[4], 1, true)) then
        print("note: spec/hardened_spec.lua: this compiler does not take " .. flag[2])
        return
      end
      for _, name in ipairs(flag[5]) do
        local has = said("readelf " .. flag[3] .. " " .. object(name))
        assert.is_truthy(has:find(flag[4], 1, true), name .. " has no " .. flag[4])
      end
    end)
  end

  it("has no stack that can be run, and no text that is written", function()
    for _, name in ipairs(NAMES) do
      local segments = said("readelf -lW " .. object(name))
      assert.is_nil(segments:match "GNU_STACK[^\n]*RWE", name)
      assert.is_nil(said("readelf -dW " .. object(name)):match "TEXTREL", name)
    end
  end)
end)
