-- printable_spec.lua: what strangers write is shown, and obeyed by nothing that shows it.

local csv = require "billhook.cli.csv"
local html = require "billhook.page.html"
local json = require "billhook.json"
local log = require "billhook.log"
local printable = require "billhook.printable"
local term = require "billhook.cli.term"

-- a terminal's escape in seven bits and in eight, DEL, NUL, marks of direction, a line separator,
-- bytes that are no UTF-8
local NASTY = { "\27[31m", "\194\15531m", "\127", "\0", "\226\128\174", "\226\129\166", "\216\156",
  "\226\128\142", "\226\128\168", "\155", "\195", "\237\160\128", "\192\128", "\244\144\128\128" }

local function harmless(text)
  for _, pattern in ipairs { "%c", "\127", "\194[\128-\159]", "\216\156",
      "\226\128[\142\143\168-\174]", "\226\129[\166-\169]" } do
    if text:find(pattern) then return false end
  end
  return printable.utf8(text) == text
end

describe("what strangers write #both", function()
  it("is shown as it is where it is harmless", function()
    for _, text in ipairs { "", "a b", "\195\164\226\130\172\240\159\152\128", "=1", "\\x1b" } do
      assert.equal(text, printable.line(text))
      assert.equal(text, printable.text(text))
      assert.equal(text, printable.json(text))
    end
    assert.equal("a\n\tb", printable.text "a\n\tb")
    assert.equal("a\\x0a\\x09b", printable.line "a\n\tb")
  end)

  it("is shown by its bytes where it is not", function()
    assert.equal("\\x1b[31m \\xc2\\x9b \\xe2\\x80\\xae \\xd8\\x9c ? \\x00\\x7f",
      printable.line "\27[31m \194\155 \226\128\174 \216\156 \255 \0\127")
  end)

  it("gets so to each place that shows it", function()
    for _, nasty in ipairs(NASTY) do
      local text = "a" .. nasty .. "b"
      assert.is_true(harmless(term.clean(text)), "terminal " .. printable.line(text))
      assert.is_true(harmless(log.line("warn", text, { a = text })), "log " .. printable.line(text))
      assert.is_true(harmless(html.escape(text)), "page " .. printable.line(text))
      assert.is_true(harmless(csv.line({ text }, 1):sub(1, -3)), "csv " .. printable.line(text))
    end
  end)

  it("is the same in JSON, spelt with ASCII", function()
    for _, nasty in ipairs(NASTY) do
      if printable.utf8(nasty) == nasty then
        local text = json.encode { a = nasty }
        local shown = printable.json(text)
        assert.is_true(harmless(shown), shown)
        assert.equal(nasty, json.decode(shown).a)
      end
    end
  end)

  it("begins no formula in a spreadsheet", function()
    for _, text in ipairs { "=1+1", "+1+1", "-1+1", "@A1", "\t=1", " =1", "\n=1", "\r=1",
        "\239\188\1571" } do
      assert.truthy(csv.line({ text }, 1):find "^\"?'", text)
    end
    assert.equal("-12.50\r\n", csv.line({ "-12.50" }, 1))
  end)
end)
