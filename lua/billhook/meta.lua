---@meta
-- The functions of the shared objects, for editors (LuaCATS). Never loaded.

-- === billhook.core
-- ==================================================================================

local core = {}

---@class billhook.core.json
---@field null userdata stands for null in a list; prints "null"
---@field array table the metatable of an empty list
local json = {}
core.json = json

---@class billhook.json.stream
local stream = {}

---Checks a whole JSON text and returns its value. Members that are null are absent. Integers are
---integers on Lua 5.4. A number with too many digits for a Lua number becomes a string. "keep"
---makes tables that can be encoded unchanged: in their metatables `list` marks lists, and `kept`
---has the original spelling of numbers, and the nulls. "answer" does the same, and replaces
---unpaired surrogates and invalid UTF-8 by U+FFFD.
---@param text string
---@param how? "keep"|"answer"
---@return any value
---@return string? message with the byte position of the fault, never with content
function json.decode(text, how) end

---The same for showing received bodies: unpaired surrogates and invalid UTF-8 become U+FFFD, the
---last of several members with one name counts, and values deeper than 64 levels stay text.
---@param text string
---@return any value
---@return string? message
function json.read(text) end

---The SHA-256 of a value. White space, escapes and the order of members do not matter.
---@param text string
---@param skip? string[] members of the top-level object to leave out
---@return string? hex
---@return string? message
function json.digest(text, skip) end

---Returns the text with secrets replaced by "***": the values of the named members at any depth,
---the values of { name, value } pairs with such a name, and all scalars below members named by the
---third argument; see json.h.
---@return string text
function json.redact(text, names, below, kept) end

---Returns the text that JavaScript's JSON.stringify would write for this value.
---@param text string
---@return string? text
---@return string? message
function json.stringify(text) end

---Cuts elements out of a text that arrives in pieces.
---@param under? string the member that contains the elements; without it, the top-level value
---@param limit? number maximum bytes of one element
---@param answer? boolean unpaired surrogates and invalid UTF-8 become U+FFFD
---@return billhook.json.stream
function json.stream(under, limit, answer) end

---@param chunk string
---@return true? ok
---@return string? message
function stream:feed(chunk) end

---@return string? text of the next complete element; nil: feed more
---@return string? message
function stream:next() end

---Returns the next complete element, decoded. nil: feed more, or, with a message, it is invalid.
---@return any value
---@return string? message
---@return string? name of an object's element, as spelled between its quotes
function stream:value() end

---Call it after the last byte: checks that the text was complete.
---@return true? ok
---@return string? message
function stream:finish() end

---@class billhook.core.text
local text = {}
core.text = text

---@param bytes string
---@return string
function text.hex(bytes) end

---@param digits string
---@return string?
function text.unhex(digits) end

---@param bytes string
---@return string
function text.base64(bytes) end

---Accepts the standard and the URL-safe alphabet, with or without padding.
---@param digits string
---@return string?
function text.unbase64(digits) end

---@param value string
---@return string
function text.percent(value) end

---Compares in a time that does not depend on where the strings differ.
---@param a string
---@param b string
---@return boolean
function text.equal(a, b) end

---Whether `a` is before `b` by bytes. (PUC Lua's `<` depends on the locale.)
---@param a string
---@param b string
---@return boolean
function text.before(a, b) end

---@param bytes string
---@return string hex
function text.sha256(bytes) end

---@param n integer
---@return string bytes
function text.random(n) end

---@return number epoch seconds
function text.now() end

---@return number seconds of a monotonic clock
function text.monotonic() end

---@param value string? of a Retry-After header
---@param now number epoch seconds
---@return number? seconds from now
function text.retry_after(value, now) end

---@param value string ISO 8601
---@return number? epoch seconds
function text.datetime(value) end

---@param day string YYYY-MM-DD
---@return integer? days since 1970-01-01; nil: no such day
function text.day(day) end

---@param epoch number
---@return string "2026-11-21T10:00:00+00:00"
function text.iso(epoch) end

---Writes to stderr without waiting. Returns false if stderr cannot take the line now.
---@param line string up to 4096 bytes
---@return boolean
function text.say(line) end

---@class billhook.decimal
---@operator add(billhook.decimal): billhook.decimal
---@operator sub(billhook.decimal): billhook.decimal
---@operator mul(billhook.decimal): billhook.decimal
---@operator unm: billhook.decimal
local amount = {}

---@class billhook.core.decimal
local decimal = {}
core.decimal = decimal

---Converts a value. Raises if it is not an exact decimal.
---@param value string|number|billhook.decimal
---@return billhook.decimal
function decimal.new(value) end

---The same for external data: returns nil and a message in place of raising.
---@param value any
---@return billhook.decimal?
---@return string? message
function decimal.read(value) end

---@param value any
---@return boolean
function decimal.is(value) end

---@param digits integer
---@param mode? "half_away"|"half_even"|"down"|"up"
---@return billhook.decimal
function amount:round(digits, mode) end

---Splits the amount by ratios, or into n equal shares. The shares add up to the amount.
---@param ratios integer|integer[]
---@return billhook.decimal[]
function amount:allocate(ratios) end

---@return integer digits after the point
function amount:scale() end

---@return integer -1, 0 or 1
function amount:sign() end

---@return boolean
function amount:is_zero() end

---@return billhook.decimal
function amount:abs() end

---@return integer? nil if it has a fraction
function amount:integer() end

---@param other billhook.decimal|string|number
---@return boolean
function amount:eq(other) end

---@param other billhook.decimal|string|number
---@return boolean
function amount:lt(other) end

---@param other billhook.decimal|string|number
---@return boolean
function amount:le(other) end

---@class billhook.core.verify
local verify = {}
core.verify = verify

---Returns keys, which print as "***" and are wiped when collected. Raises on wrong types.
---@param credentials table { secret, basic, authorization }
---@return userdata
function verify.keys(credentials) end

---@param vendor "dreamapply"|"dreamclass"|"betterez"
---@param headers table<string, string|string[]>
---@param body string
---@param keys userdata?
---@param options? table
---@return table? delivery
---@return string? code
---@return string? message
function verify.check(vendor, headers, body, keys, options) end

---Checks that only need the headers. They do not prove that a delivery is authentic.
---@return true? ok, string? code, string? message
function verify.headers(vendor, headers, keys) end

---The events of DreamApply's journal, as its API returns it.
---@param body string
---@return table[]? events, string? code, string? message
function verify.items(body) end

---@param secret string
---@param message string
---@return string bytes 32 of them
function verify.hmac(secret, message) end

---Returns the position of a member's value in the top-level object.
---@param body string
---@param name string
---@return integer? first
---@return integer? last
function verify.member(body, name) end

---@class billhook.core.call
local call = {}
core.call = call

---The metatable of numbers that are sent exactly as written: see billhook.json.number.
call.number = {}

---@param vendor string
---@return table[] operations
function call.list(vendor) end

---Raises a message without a position if the parameters are wrong.
---@param vendor string
---@param operation string
---@param params table
---@param paths? table<string, string> the client's own, by operation
---@return table request
function call.prepare(vendor, operation, params, paths) end

---@param vendor string
---@param operation string
---@param path string that is to stand for the operation's
---@return string? why_not
function call.wrong_path(vendor, operation, path) end

---@param vendor string
---@param operation string
---@param status integer
---@param headers table<string, string> names in lower case
---@param attempt? integer
---@param base_url? string
---@param path? string of the request
---@return table outcome
function call.conclude(vendor, operation, status, headers, attempt, base_url, path) end

---The member that identifies the objects in an operation's answers. Without arguments it has none,
---and any object with members is accepted.
---@class billhook.core.mark
local mark = {} -- luacheck: ignore 241

---@param vendor? string
---@param operation? string
---@return billhook.core.mark
function call.mark(vendor, operation) end

---The id of an object, as a string.
---@param value any
---@return string? id
function mark:id(value) end

---A description of a value, for a message.
---@param value any
---@return string
function mark:name(value) end

---Why a value is not such an object, or does not have the wanted id.
---@param value any
---@param wanted? string
---@return string? why
function mark:unlike(value, wanted) end

---The same for an element of a list; `name` is its id, if it is a member with that name.
---@param value any
---@param name? string
---@return string? why
function mark:unlike_element(value, name) end

---@class billhook.core.request
local request = {}
core.request = request

---Checks a request for a transport, and returns a copy with the defaults filled in. Errors raise at
---the line that called the calling function.
---@param given table see src/request.h
---@param streamed? boolean
---@return table request
function request.check(given, streamed) end

-- === billhook.curl
-- ==================================================================================

local curl = {}

---@class billhook.curl.pool
local pool = {}

---@class billhook.curl.ticket
local ticket = {}

---@return billhook.curl.pool
function curl.new() end

---@param given table see src/request.h
---@param streamed? boolean its body is read in pieces
---@return billhook.curl.ticket
function pool:add(given, streamed) end

---Adds a request and waits for it. Returns the same as ticket:result, or a ticket if the request is
---not finished after so many seconds. Other transfers continue meanwhile.
---@param given table see src/request.h
---@param seconds number
---@return integer|billhook.curl.ticket? status or nil, a kind, a message, and whether it was sent
---@return table|string headers
---@return string body
---@return boolean? sent
function pool:run(given, seconds) end

---@param seconds number
---@return boolean moved a transfer has finished, or a stream has data
function pool:poll(seconds) end

---@param seconds number
function pool:sleep(seconds) end

function pool:close() end

---@return boolean
function ticket:done() end

---@return integer? status
---@return table? headers
function ticket:head() end

---@return string? bytes of a stream
function ticket:read() end

---Feeds the bytes to a JSON stream. Returns the result of its `feed`, or nothing if there are none
---yet.
---@param into billhook.json.stream
---@return boolean? fed
---@return string? why
function ticket:feed(into) end

---@return integer? status, or nil, a kind, a message, and whether it was sent
---@return table|string headers
---@return string body
---@return boolean? sent
function ticket:result() end

function ticket:cancel() end

return core, curl, stream, amount, pool, ticket
