---@meta
-- Types that the calls to the vendors' APIs share, for editors (LuaCATS); the calls are in
-- calls_meta.lua. Never loaded. Names of parameters and fields are the vendor's own;
-- docs/vendors.md says where each is documented. Errors are returned (nil and a billhook.Error),
-- programming errors raise at the caller's line.

---@alias billhook.Vendor "dreamapply"|"dreamclass"|"betterez"

---@alias billhook.Kind
---| "auth"
---| "not_found"
---| "invalid"
---| "conflict"
---| "rate_limited"
---| "server"
---| "timeout"
---| "network"
---| "tls"
---| "decode"
---| "too_large"
---| "unknown_outcome"
---| "signature"
---| "store"
---| "cancelled"

---A failure. Prints as one line.
---@class billhook.Error
---@field kind billhook.Kind
---@field message string
---@field code string? the vendor's code, or billhook's: see docs/errors.md
---@field vendor string?
---@field operation string? "invoices.get"
---@field status integer? HTTP status of the answer
---@field retryable boolean? the same call may succeed later
---@field retry_after number? seconds
---@field attempts integer? requests that this call has sent or tried to send
---@field body string? body of the answer, cut at 2048 bytes, without credentials
---@field cause billhook.Error?
---@field intent table? for unknown_outcome: plain data for client:settle
---@field candidates string[]? for unknown_outcome: ids of invoices that the call may have made
---@field sent_at number? for unknown_outcome: epoch seconds

---An exact amount.
---@alias billhook.Amount billhook.decimal|string|number
---An id, as a number or as a string.
---@alias billhook.Id integer|string
---An invoice, transaction, fee, ... as the vendor sent it: a plain table.
---@alias billhook.Record table

---The options of one call.
---@class billhook.CallOptions
---@field timeout number? seconds for the whole call
---@field connect_timeout number? seconds
---@field attempts integer? maximum number of attempts
---@field limit integer? maximum bytes of an answer
---@field traceparent string? W3C's trace context
---@field priority "person"|"background"? "background" waits for the quota behind all others

---The options of a call that must not happen twice.
---@class billhook.UnsafeOptions: billhook.CallOptions
---@field settle_timeout number? seconds to find out the outcome; 0: do not try
---@field reference { field: "smallprint"|"instructions", value: string }? DreamApply's create

---The options that verify an account's webhooks.
---@class billhook.WebhookOptions
---@field secret string|string[]? DreamClass, Betterez
---@field basic string[]? { user, password }: DreamClass
---@field authorization string|string[]? DreamApply: the whole header value
---@field tolerance number? seconds (Betterez 300)
---@field limit integer? maximum bytes of a body

---The options of every client. Invalid options raise at the caller's line.
---@class billhook.ClientOptions
---@field base_url string? https://...; DreamClass and Betterez have a default
---@field api_key string?
---@field timeout number? seconds for a whole call (30)
---@field connect_timeout number? seconds (5)
---@field settle_timeout number? seconds to find out an outcome, in addition to timeout (10)
---@field attempts integer? maximum number of attempts (3)
---@field limit integer? maximum bytes of an answer (67108864)
---@field quota number|table|false? requests a minute; { limit, window, store }
---@field transport string|table? "curl", "worker", "resty", or your own
---@field ca_file string? PEM
---@field proxy string? "http://host:port"
---@field allow_http boolean? allow plain http to other machines (false)
---@field clock (fun(): number)? seconds
---@field random (fun(): number)? from 0 to 1
---@field on_request fun(event: table)?
---@field on_response fun(event: table)?
---@field webhook billhook.WebhookOptions?
---@field test_events boolean? run rules for test events (false)
---@field read_back boolean? false: an app never reads from this account's API (true)
---@field watch string[]? more members whose changes make events: "reminded", "serie.name"

---@class billhook.DreamClassOptions: billhook.ClientOptions
---@field tenant string?
---@field school_code string?
---@field api_key_header string? "Authorization"
---@field api_key_prefix string? ""
---@field paths table<string, string>? unpublished paths, by operation

---@class billhook.BetterezOptions: billhook.ClientOptions
---@field token string? the JWT of a user

-- === the main module =============================================================================

-- The main module. It loads its parts on first use.
---@class billhook
local billhook = {}
billhook.app = require("billhook.app").new
billhook.http = require("billhook.http").new
billhook.map = require("billhook.client.map").map
billhook.verify = require("billhook.webhook").verify
billhook.sign = require("billhook.webhook").sign
billhook.invoice = require "billhook.invoice"
billhook.json = require "billhook.json"
billhook.error = require "billhook.error"

---@class billhook.Decimals
---@overload fun(value: billhook.Amount): billhook.decimal
---@field is fun(value: any): boolean

---The options of billhook.verify and billhook.sign.
---@class billhook.VerifyOptions
---@field secret string|string[]? DreamClass, Betterez; a list while a secret is rotated, up to 16
---@field basic string[]? { user, password }: DreamClass, in addition to the secret
---@field authorization string|string[]? DreamApply: the whole header value
---@field tolerance number? maximum age of a signature in seconds, past or future (Betterez 300)
---@field tenant string? DreamClass: the only tenant that is accepted
---@field now number? epoch seconds, for tests
---@field digest boolean? false: do not compute the digest of an event's content, which is faster

return billhook
