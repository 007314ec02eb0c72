-- page/init.lua: the operator's page: a request, as plain data, makes an answer, as plain data.
--
-- Who may see it: whoever has logged in, at this page's own address. Nothing is changed but by POST
-- from a form of this page: the browser says where the form was (Origin), and the form has the
-- token of the session, whose cookie no other site can send along (SameSite).

local details = require "billhook.page.details"
local html = require "billhook.page.html"
local lists = require "billhook.page.lists"
local overview = require "billhook.page.overview"
local options = require "billhook.options"
local parts = require "billhook.page.parts"
local sessions = require "billhook.page.session"
local style = require "billhook.page.style"

local e = html.elements

local M = {}

M.session = sessions.new

local POLICY = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; "
  .. "frame-ancestors 'none'"

-- "same-origin": with "no-referrer" browsers would not say where a form was
local HEADERS = { ["Content-Security-Policy"] = POLICY, ["X-Content-Type-Options"] = "nosniff",
  ["Referrer-Policy"] = "same-origin", ["X-Frame-Options"] = "DENY",
  ["Cross-Origin-Opener-Policy"] = "same-origin",
  ["Cross-Origin-Resource-Policy"] = "same-origin", ["Cache-Control"] = "no-store",
  ["Content-Type"] = "text/html; charset=utf-8" }

local function answer(status, body, more)
  local headers = {}
  for name, value in pairs(HEADERS) do headers[name] = value end
  for name, value in pairs(more or {}) do headers[name] = value end
  return status, headers, body
end

local function note(status, title, text, token, more)
  return answer(status, parts.page(title, nil, token, e.p { class = "note wrong", text },
    e.p { e.a { href = "/", "Overview" } }), more)
end

local function go(to, more)
  more = more or {}
  more.Location = to
  return answer(303, "", more)
end

-- --- where it is, and who asks -----------------------------------------------------

-- The page's own origin, as this request reaches it; nil: by a name that is not the page's, which a
-- stranger's web site may have given to this machine.
local function origin_of(context, host)
  if context.origin then
    return context.origin:match "^https?://(.+)$" == host and context.origin or nil
  end
  local name = (host or ""):gsub(":%d+$", "")
  return options.is_local(name) and "http://" .. host or nil
end

local COOKIE = "billhook_page"

-- Behind TLS, no other host and no clear text can set it.
local function cookie_name(origin)
  return origin:find "^https:" and "__Host-" .. COOKIE or COOKIE
end

local function cookie_of(request, name)
  for one, value in (request.headers.cookie or ""):gmatch "([^=;%s]+)=([^;%s]*)" do
    if one == name then return value end
  end
end

local function set_cookie(origin, value, seconds)
  return ("%s=%s; Path=/; Max-Age=%d; HttpOnly; SameSite=Strict%s"):format(cookie_name(origin),
    value, seconds, origin:find "^https:" and "; Secure" or "")
end

-- A path of ours, to go to after logging in.
local function next_of(text)
  local ours = text and #text <= 2000 and not text:find "^//" and text:find "^/[%w?&=%%._~:@+-]*$"
  return ours and text or "/"
end

-- --- logging in ---------------------------------------------------------------------

local function login_form(context, to, wrong)
  return parts.page("Log in", nil, nil,
    wrong and e.p { class = "note wrong", role = "alert", wrong },
    e.form { class = "login", method = "post", action = "/login",
      parts.hidden("ticket", context.session:ticket()), parts.hidden("next", to),
      e.label { ["for"] = "password", "Password" },
      e.input { id = "password", name = "password", type = "password", required = true,
        autofocus = true, autocomplete = "current-password" },
      e.button { class = "main", "Log in" } })
end

local function login(context, request, origin)
  local to = next_of(request.form.next)
  if not context.session:is_ticket(request.form.ticket) then
    return answer(403, login_form(context, to, "The form is too old. Try again."))
  end
  local cookie, why = context.session:login(request.form.password)
  if cookie then
    context.log("info", "page_login", { from = request.remote })
    return go(to, { ["Set-Cookie"] = set_cookie(origin, cookie, sessions.SECONDS) })
  elseif why == "often" then
    return answer(429, login_form(context, to, "Too many wrong passwords: wait a minute."),
      { ["Retry-After"] = "60" })
  end
  context.log("warn", "page_refused", { from = request.remote })
  return answer(403, login_form(context, to, "Wrong password."))
end

-- --- pages --------------------------------------------------------------------------

-- An answer of a page: its text; or an error of the inbox, or nothing.
local function shown(context, page, err)
  if page then return answer(200, page) end
  if err then
    return note(503, "The inbox does not answer", tostring(err), context.token,
      { ["Retry-After"] = "5" })
  end
  return note(404, "Not found", "This does not exist, or no longer.", context.token)
end

local GET, POST = {}, {}

GET["/"] = function(context) return shown(context, overview.overview(context)) end

for _, of in ipairs { "deliveries", "events", "invoices" } do
  GET["/" .. of] = function(context, request)
    return shown(context, lists.list(context, of, request.query))
  end
end

for _, of in ipairs { "delivery", "event", "invoice" } do
  GET["/" .. of] = function(context, request)
    return shown(context, details[of](context, request.query))
  end
end

POST["/run"] = function(context, request)
  local id = request.form.id or ""
  local ran, err = details.run(context, id)
  if not ran then return shown(context, nil, err) end
  context.log("info", "page_run", { id = id, from = request.remote, runs = ran })
  return go(html.address("/event", { id = id, ran = ran > 0 and "1" or "0" }))
end

POST["/logout"] = function(context, _, origin)
  context.session:logout(context.id)
  return go("/login", { ["Set-Cookie"] = set_cookie(origin, "", 0) })
end

-- What needs no session.
local OPEN = {
  ["/style.css"] = { GET = function()
    return answer(200, style, { ["Content-Type"] = "text/css; charset=utf-8",
      ["Cache-Control"] = "max-age=300" })
  end },
  ["/login"] = { GET = function(context, request)
    return answer(200, login_form(context, next_of(request.query.next)))
  end, POST = login },
}

local function not_allowed(allowed, token)
  return note(405, "Method not allowed", "Only " .. allowed .. " works here.", token,
    { Allow = allowed })
end

local function change(context, request, origin)
  if not context.id then return go "/login" end
  if not context.session:is_token(context.id, request.form.token) then
    return note(403, "Not done",
      "The form is of another session: go back, reload the page, and try again.",
      context.token)
  end
  return POST[request.path](context, request, origin)
end

local function look(context, request)
  if context.id then return GET[request.path](context, request) end
  return go(html.address("/login", { next = request.path ~= "/"
    and html.address(request.path, request.query) or nil }))
end

---Answers a request.
---@param page table app, store, session, log; origin: where a TLS proxy shows it ("https://..."),
---  nil: it is for this machine
---@param request table method, path, remote (texts); query, form, headers (names in lower case):
---  texts by name
---@return integer status
---@return table<string, string> headers
---@return string body
function M.answer(page, request)
  local origin = origin_of(page, request.headers.host)
  if not origin then
    return note(421, "Another address",
      "This page has another address: `billhook serve` has printed it.")
  end
  local method = request.method == "HEAD" and "GET" or request.method
  if method == "POST" and request.headers.origin ~= origin then
    return note(403, "Not done",
      "The request did not come from this page, or had no Origin header.")
  end
  local open = OPEN[request.path]
  if open then
    if not open[method] then
      return not_allowed(open.POST and "GET, HEAD, POST" or "GET, HEAD")
    end
    return open[method](page, request, origin)
  end
  local id = page.session:id(cookie_of(request, cookie_name(origin)))
  local context = { app = page.app, store = page.store, session = page.session, log = page.log,
    id = id, token = id and page.session:token(id) }
  local get, post = GET[request.path], POST[request.path]
  if not get and not post then return shown(context) end
  if method == "GET" and get then return look(context, request) end
  if method == "POST" and post then return change(context, request, origin) end
  return not_allowed(get and "GET, HEAD" or "POST", context.token)
end

return M
