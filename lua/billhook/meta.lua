---@meta
-- What the shared objects hold, for editors (LuaCATS). Never loaded.

-- === billhook.core
-- ==================================================================================

local core = {}

---@class billhook.core.json
---@field null userdata null where JSON has it in a list; prints "null"
---@field array table the metatable of a list that is empty
local json = {}
core.json = json

---@class billhook.json.stream
local stream = {}

---Checks a whole text and gives its value. Members that are null are absent, integers are integers
---on 5.4, a number with more digits than a number keeps stays text. "keep" gives tables that are to
---be written as they were: `list` of their metatable says what is a list, `kept` what a number was
---written as, and what was null. "answer" does so, too, and takes half an emoji and bytes that are
---no UTF-8 as U+FFFD.
---@param text string
---@param how? "keep"|"answer"
---@return any value
---@return string? message with the byte where it went wrong, never the content
function json.decode(text, how) end

---The same for reading what somebody has sent: half an emoji and bytes that are no UTF-8 become
---U+FFFD; of a member that comes twice the last counts; what is deeper than 64 levels stays text.
---@param text string
---@return any value
---@return string? message
function json.read(text) end

---The SHA-256 of a value, the same whatever its white space, escapes and order of members.
---@param text string
---@param skip? string[] members of the top object that are left out
---@return string? hex
---@return string? message
function json.digest(text, skip) end

---The text with what is secret replaced by "***": the values of these members, at any depth, those
---that a { name, value } calls so, and all scalars below the third; see json.h.
---@return string text
function json.redact(text, names, below, kept) end

---What JavaScript's JSON.stringify would write for it.
---@param text string
---@return string? text
---@return string? message
function json.stringify(text) end

---Cuts elements out of a text that comes in pieces.
---@param under? string the member that holds them; the top value without it
---@param limit? number most bytes of one element
---@param answer? boolean half an emoji and bytes that are no UTF-8 become U+FFFD
---@return billhook.json.stream
function json.stream(under, limit, answer) end

---@param chunk string
---@return true? ok
---@return string? message
function stream:feed(chunk) end

---@return string? text of the next whole element; nil: feed more
---@return string? message
function stream:next() end

---The next whole element, decoded; nil: feed more, or a message where it cannot be.
---@return any value
---@return string? message
---@return string? name of an object's element, between its quotes as it is spelled
function stream:value() end

---After the last byte: was the text whole?
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

---The standard alphabet or the URL's, with padding or without.
---@param digits string
---@return string?
function text.unbase64(digits) end

---@param value string
---@return string
function text.percent(value) end

---In a time that does not depend on where they differ.
---@param a string
---@param b string
---@return boolean
function text.equal(a, b) end

---The order of two texts by their bytes: `<` of PUC Lua asks the locale.
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

---@return number seconds of a clock that never steps back
function text.monotonic() end

---@param value string? of a Retry-After header
---@param now number epoch seconds
---@return number? seconds from now
function text.retry_after(value, now) end

---@param value string ISO 8601
---@return number? epoch seconds
function text.datetime(value) end

---@param day string YYYY-MM-DD
---@return integer? days since 1970-01-01; nil where there is no such day
function text.day(day) end

---@param epoch number
---@return string "2026-11-21T10:00:00+00:00"
function text.iso(epoch) end

---To stderr, where it takes it at once; false: it does not, and nothing has waited.
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

---Raises where the value is no exact decimal.
---@param value string|number|billhook.decimal
---@return billhook.decimal
function decimal.new(value) end

---The same, for what comes from outside.
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

---Splits it by ratios, or into n equal shares, without losing anything.
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

---@return integer? nil where there is a fraction
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

---Keys print as "***" and are wiped when they are collected. Raises on wrong types.
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

---What the headers decide without the body. It proves nothing.
---@return true? ok, string? code, string? message
function verify.headers(vendor, headers, keys) end

---The events of DreamApply's journal, as its API gives it.
---@param body string
---@return table[]? events, string? code, string? message
function verify.items(body) end

---@param secret string
---@param message string
---@return string bytes 32 of them
function verify.hmac(secret, message) end

---Where a member of the top object stands.
---@param body string
---@param name string
---@return integer? first
---@return integer? last
function verify.member(body, name) end

---@class billhook.core.call
local call = {}
core.call = call

---The metatable of numbers that are sent as they are written: see billhook.json.number.
call.number = {}

---@param vendor string
---@return table[] operations
function call.list(vendor) end

---Raises a message without a position where the parameters are wrong.
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

---What the objects of an operation's answers are known by; without arguments nothing: any object
---with members will do.
---@class billhook.core.mark
local mark = {} -- luacheck: ignore 241

---@param vendor? string
---@param operation? string
---@return billhook.core.mark
function call.mark(vendor, operation) end

---What an object is known by, as text.
---@param value any
---@return string? id
function mark:id(value) end

---What came, for a message.
---@param value any
---@return string
function mark:name(value) end

---Why a value is no such object, or not the one with the id that was wanted.
---@param value any
---@param wanted? string
---@return string? why
function mark:unlike(value, wanted) end

---The same of an element of a list; `name` is its id, where it stands under that.
---@param value any
---@param name? string
---@return string? why
function mark:unlike_element(value, name) end

---@class billhook.core.request
local request = {}
core.request = request

---What a transport may be asked to carry: a copy with the defaults filled in. What is wrong raises
---at the line of whoever called the function that asks.
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
---@param streamed? boolean its body is read bit by bit
---@return billhook.curl.ticket
function pool:add(given, streamed) end

---Adds a request and waits: gives what ticket:result gives, or a ticket where it is not over after
---so many seconds. Other transfers go on meanwhile.
---@param given table see src/request.h
---@param seconds number
---@return integer|billhook.curl.ticket? status or nil, a kind, a message, and whether it was sent
---@return table|string headers
---@return string body
---@return boolean? sent
function pool:run(given, seconds) end

---@param seconds number
---@return boolean moved something finished, or a stream moved
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

---Feeds a stream of JSON with them: what its `feed` gives, or nothing yet.
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
