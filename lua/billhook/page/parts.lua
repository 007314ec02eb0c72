-- page/parts.lua: what the pages have in common: the frame around each, tables, fields, times.

local core = require "billhook.core"
local html = require "billhook.page.html"

local e = html.elements

local M = {}

local PAGES = { { "/", "Overview" }, { "/deliveries", "Deliveries" }, { "/events", "Events" },
  { "/invoices", "Invoices" } }

---A moment, in UTC.
---@param epoch number|nil
function M.time(epoch)
  if not epoch then return false end
  local text = os.date("!%Y-%m-%d %H:%M:%SZ", math.floor(epoch))
  return e.time { datetime = (text:gsub(" ", "T")), text }
end

---How long ago, or ahead, in words.
---@param seconds number
---@return string
function M.span(seconds)
  for _, unit in ipairs { { 86400, "d" }, { 3600, "h" }, { 60, "min" } } do
    if seconds >= unit[1] * 2 then
      return ("%d %s"):format(math.floor(seconds / unit[1]), unit[2])
    end
  end
  return ("%d s"):format(math.max(0, math.floor(seconds)))
end

local KINDS = { dead = "bad", deleted = "bad", overdue = "bad", unhandled = "warn", gone = "warn",
  waiting = "warn", pending = "warn", part_paid = "warn", done = "good", paid = "good" }

---A state, coloured; the word says it.
function M.state(word)
  if not word then return false end
  return e.span { class = "state " .. (KINDS[word] or "soft"), (word:gsub("_", " ")) }
end

---An id that leads to its page.
function M.link(path, parameters, text)
  return e.a { href = html.address(path, parameters), class = "id", text }
end

---The value that hides in every form.
function M.hidden(name, value) return e.input { type = "hidden", name = name, value = value } end

---A table that a phone shows as cards. Columns are { head, class }; rows lists of cells, false:
---nothing.
---@param caption string
---@param columns table[]
---@param rows table[]
function M.table(caption, columns, rows)
  local heads, body = {}, {}
  for i, column in ipairs(columns) do
    heads[i] = e.th { scope = "col", class = column[2] or false, column[1] }
  end
  for i, row in ipairs(rows) do
    local cells = {}
    for k, column in ipairs(columns) do
      local value = row[k]
      local none = value == nil or value == false or value == ""
      cells[k] = e.td { ["data-label"] = column[1],
        class = none and "none" or column[2] or false, not none and value }
    end
    body[i] = e.tr { cells }
  end
  return e.div { class = "frame", e.table { class = "cards", e.caption { caption },
    e.thead { e.tr { heads } }, e.tbody { body } } }
end

---Names and values, those without a value left out.
function M.fields(list)
  local parts = {}
  for _, one in ipairs(list) do
    if one[2] ~= nil and one[2] ~= false and one[2] ~= "" then
      parts[#parts + 1] = { e.dt { one[1] }, e.dd { one[2] } }
    end
  end
  return e.dl { parts }
end

-- --- JSON ---------------------------------------------------------------------

local SHOWN = 65536 -- bytes of a body

-- Compact JSON, a member a line.
local function indented(text)
  local out, depth, at = {}, 0, 1
  local function line() out[#out + 1] = "\n" .. ("  "):rep(math.min(depth, 40)) end
  while at <= #text do
    local c = text:sub(at, at)
    if c == '"' then
      local last = at
      repeat
        last = text:find('["\\]', last + 1) or #text
        local escape = text:sub(last, last) == "\\"
        if escape then last = last + 1 end
      until not escape
      out[#out + 1], at = text:sub(at, last), last
    elseif (c == "{" or c == "[") and text:find("^[%]}]", at + 1) then
      out[#out + 1], at = text:sub(at, at + 1), at + 1
    elseif c == "{" or c == "[" then
      out[#out + 1], depth = c, depth + 1
      line()
    elseif c == "}" or c == "]" then
      depth = depth - 1
      line()
      out[#out + 1] = c
    elseif c == "," then
      out[#out + 1] = c
      line()
    else
      out[#out + 1] = c == ":" and ": " or c
    end
    at = at + 1
  end
  return table.concat(out)
end

---What somebody sent, or what is known, as it may be read.
---@param title string
---@param text string|nil
---@param id string of what it belongs to
function M.body(title, text, id)
  if not text then return false end
  local note, shown = false, text
  if #text > SHOWN then
    note = e.p { class = "soft", ("The first %d of %d bytes; `billhook inbox show %s` has all.")
      :format(SHOWN, #text, id) }
    shown = text:sub(1, SHOWN)
  else
    local compact = core.json.stringify(text)
    if compact and #compact <= 2 * SHOWN then shown = indented(compact) end
  end
  return { e.h2 { title }, note, e.pre { tabindex = "0", ["aria-label"] = title, shown } }
end

-- --- the frame --------------------------------------------------------------------

---A whole page.
---@param title string
---@param at string|nil path of the entry in the menu that this belongs to
---@param token string|nil of the session; without one nobody has logged in
---@param ... any what is in it
---@return string
function M.page(title, at, token, ...)
  local items, content = {}, {}
  for i = 1, select("#", ...) do content[i] = (select(i, ...)) or false end
  for i, page in ipairs(token and PAGES or {}) do
    items[i] = e.li { e.a { href = page[1], ["aria-current"] = page[1] == at and "page", page[2] } }
  end
  return html.document(e.html { lang = "en",
    e.head { e.meta { charset = "utf-8" },
      e.meta { name = "viewport", content = "width=device-width, initial-scale=1" },
      e.title { title, " \194\183 billhook" }, e.link { rel = "stylesheet", href = "/style.css" } },
    e.body { e.a { class = "skip", href = "#content", "Skip to the content" },
      e.header { e.span { class = "brand", "billhook" },
        token and e.nav { ["aria-label"] = "Pages", e.ul { items } },
        token and e.form { method = "post", action = "/logout", M.hidden("token", token),
          e.button { class = "plain", "Log out" } } },
      e.main { id = "content", tabindex = "-1", e.h1 { title }, content },
      e.footer { "Times are UTC. As of ", M.time(core.text.now()), "." } } })
end

return M
