-- What docs/security.md claims has a spec behind it: each line of "Who can do what" names one that
-- is there, and the tests that it quotes are in it.

local function read(path)
  local file = io.open(path)
  local text = file and file:read "*a"
  if file then file:close() end
  return text
end

-- the specs of a text, with the titles that are quoted behind each
local function named(text)
  local found = {}
  for name, titles in text:gmatch "`([%w_]+_spec)`([^`]*)" do
    local spec = { name = name, titles = {} }
    for title in titles:gmatch '"([^"]*)"' do spec.titles[#spec.titles + 1] = title end
    found[#found + 1] = spec
  end
  return found
end

-- what is wrong with a text's names
local function faults(text)
  local all = {}
  for _, spec in ipairs(named(text)) do
    local source = read("spec/" .. spec.name .. ".lua")
    if not source then all[#all + 1] = "there is no spec/" .. spec.name .. ".lua" end
    for _, title in ipairs(source and spec.titles or {}) do
      local quoted = ("\"%s\""):format(title)
      local tagged = quoted:sub(1, -2) .. " #" -- for busted
      if not source:find(quoted, 1, true) and not source:find(tagged, 1, true) then
        all[#all + 1] = ("%s has no test %s"):format(spec.name, quoted)
      end
    end
  end
  return all
end

describe("docs/security.md", function()
  local claims = read "docs/security.md":match "\n## Who can do what\n(.-)\n## "

  it("names specs and tests that are there", function()
    assert.is_true(#named(claims) >= 25)
    assert.are.same({}, faults(claims))
  end)

  it("names one in each line of its tables", function()
    local lines = 0
    for line in claims:gmatch "\n(|[^\n]*)" do
      if not line:find "^|%-" and not line:find "^| somebody who has " then
        lines = lines + 1
        assert.is_truthy(#named(line) > 0, line)
      end
    end
    assert.is_true(lines >= 25, lines .. " lines")
  end)

  it("is held to names that exist", function()
    assert.are.same({ "there is no spec/nothing_spec.lua" }, faults "`nothing_spec`")
    assert.are.same({ 'route_spec has no test "no such test"' },
      faults '`route_spec`: "a forger", "no such test"')
  end)
end)
