---@meta
-- The calls to the vendors' APIs, for editors (LuaCATS). Never loaded: the methods are made from
-- the C core's tables, and checked against them by spec/meta_spec.lua. Names of parameters and
-- fields are the vendor's own; docs/vendors.md says where each is documented. Errors are returned
-- (nil and a billhook.Error), wrong use raises at the caller's line.

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

---What a failure looks like; prints as one line.
---@class billhook.Error
---@field kind billhook.Kind
---@field message string
---@field code string? the vendor's
---@field vendor string?
---@field operation string? "invoices.get"
---@field status integer? of the answer
---@field retryable boolean? the same call may work later
---@field retry_after number? seconds
---@field attempts integer? requests of this call that were sent or tried
---@field body string? of the answer, cut at 2048 bytes, without credentials
---@field cause billhook.Error?
---@field intent table? of an unknown_outcome: plain data, for client:settle
---@field candidates string[]? of an unknown_outcome: ids that might be it
---@field sent_at number? of an unknown_outcome: epoch seconds

---An amount as the vendors take it: exact.
---@alias billhook.Amount billhook.decimal|string|number
---An id: a number, or the same as a text.
---@alias billhook.Id integer|string
---An invoice, transaction, fee, ... as the vendor sent it: a plain table.
---@alias billhook.Record table

---The options of one call.
---@class billhook.CallOptions
---@field timeout number? seconds for the whole call
---@field connect_timeout number? seconds
---@field attempts integer? at most
---@field limit integer? bytes of an answer
---@field traceparent string? W3C's trace context
---@field priority "person"|"background"? who waits for the quota last

---And of one that must not happen twice.
---@class billhook.UnsafeOptions: billhook.CallOptions
---@field settle_timeout number? seconds to find out what became of it; 0: do not look
---@field reference { field: "smallprint"|"instructions", value: string }? DreamApply's create

---What verifies an account's webhooks.
---@class billhook.WebhookOptions
---@field secret string|string[]? DreamClass, Betterez
---@field basic string[]? { user, password }: DreamClass
---@field authorization string|string[]? DreamApply: the whole header value
---@field tolerance number? seconds (Betterez 300)
---@field limit integer? bytes of a body

---The options of every client.
---@class billhook.ClientOptions
---@field base_url string? https://...; DreamClass and Betterez have one
---@field api_key string?
---@field timeout number? seconds for a whole call (30)
---@field connect_timeout number? seconds (5)
---@field settle_timeout number? seconds beyond timeout (10)
---@field attempts integer? at most (3)
---@field limit integer? bytes of an answer (67108864)
---@field quota number|table|false? requests a minute; { limit, window, store }
---@field transport string|table? "curl", "worker", "resty", or one of your own
---@field ca_file string? PEM
---@field proxy string? "http://host:port"
---@field allow_http boolean? plain http to other machines (false)
---@field clock (fun(): number)? seconds
---@field random (fun(): number)? from 0 to 1
---@field on_request fun(event: table)?
---@field on_response fun(event: table)?
---@field webhook billhook.WebhookOptions?
---@field test_events boolean? run rules for test events (false)
---@field read_back boolean? false: an app never asks this account's API what is true (true)
---@field watch string[]? members whose change is an event, too: "reminded", "serie.name"

---@class billhook.DreamClassOptions: billhook.ClientOptions
---@field tenant string?
---@field school_code string?
---@field api_key_header string? "Authorization"
---@field api_key_prefix string? ""
---@field paths table<string, string>? paths that are not published, by operation

---@class billhook.BetterezOptions: billhook.ClientOptions
---@field token string? the JWT of a user

-- === DreamApply: source help.dreamapply.com/api =============================================

---@class billhook.DreamApply: billhook.client
---@field invoices billhook.dreamapply.invoices
---@field transactions billhook.dreamapply.transactions
---@field series billhook.dreamapply.series
---@field journal billhook.dreamapply.journal

---@class billhook.dreamapply.invoices
local apply_invoices = {}

---@class billhook.InvoiceFilter
---@field application billhook.Id? of this application; no other filter beside it
---@field applicant billhook.Id? of this applicant; no other filter beside it
---@field byIssuedSince string? ISO 8601
---@field byCollectedSince string? ISO 8601
---@field byApplicantIDs billhook.Id[]?
---@field bySerieIDs billhook.Id[]?
---@field byCurrencies string[]? three letters each
---@field byCollected boolean?
---@field byOverdue boolean?

---@class billhook.NewInvoice
---@field currency string three letters
---@field items { item: string, price: billhook.Amount, qty: billhook.Amount, unit: string? }[]
---@field deadline string? date or ISO 8601
---@field reminder boolean?
---@field payer { name: string, email: string }? default: the applicant
---@field type string?
---@field invoice_class_ID billhook.Id?
---@field issuer_institution_ID billhook.Id?
---@field issuer_administrator_ID billhook.Id?
---@field serie_ID billhook.Id?
---@field course_ID billhook.Id?
---@field instructions string?
---@field smallprint string?
---@field copy string? an e-mail address
---@field notify string? an e-mail address

---@param id billhook.Id
---@param options billhook.CallOptions?
---@return billhook.Record? invoice
---@return billhook.Error? err
function apply_invoices:get(id, options) end

---All at once, sorted by id; too_large beyond `limit`.
---@param filter billhook.InvoiceFilter?
---@param options billhook.CallOptions?
---@return billhook.Record[]? invoices
---@return billhook.Error? err
function apply_invoices:list(filter, options) end

---One after the other, in constant memory. Raises the billhook.Error where the walk breaks.
---@param filter billhook.InvoiceFilter?
---@param options billhook.CallOptions?
---@return fun(): billhook.Record? iterator with :close()
function apply_invoices:each(filter, options) end

---HEAD: the vendor's X-Count.
---@param filter billhook.InvoiceFilter?
---@param options billhook.CallOptions?
---@return integer? count
---@return billhook.Error? err
function apply_invoices:count(filter, options) end

---Never twice: see docs/client.md. An error of the kind unknown_outcome means that nobody knows.
---@param application billhook.Id
---@param fields billhook.NewInvoice
---@param options billhook.UnsafeOptions?
---@return { id: integer|string?, location: string?, how: "created"|"found" }? made
---@return billhook.Error? err
function apply_invoices:create(application, fields, options) end

---@param id billhook.Id
---@param options billhook.CallOptions?
---@return true? done also where a repeated attempt found it gone
---@return billhook.Error? err
function apply_invoices:delete(id, options) end

---@class billhook.dreamapply.transactions
local apply_transactions = {}

---@class billhook.TransactionFilter
---@field invoice billhook.Id? of this invoice; no other filter beside it
---@field byInvoiceIDs billhook.Id[]?
---@field byInsertedSince string? ISO 8601
---@field byInsertedBefore string? ISO 8601
---@field byCollectedSince string? YYYY-MM-DD
---@field byCollectedBefore string? YYYY-MM-DD

---@param id billhook.Id
---@param more { invoice: billhook.Id? }?
---@param options billhook.CallOptions?
---@return billhook.Record? transaction
---@return billhook.Error? err
function apply_transactions:get(id, more, options) end

---@param filter billhook.TransactionFilter?
---@param options billhook.CallOptions?
---@return billhook.Record[]? transactions
---@return billhook.Error? err
function apply_transactions:list(filter, options) end

---Raises the billhook.Error where the walk breaks.
---@param filter billhook.TransactionFilter?
---@param options billhook.CallOptions?
---@return fun(): billhook.Record? iterator with :close()
function apply_transactions:each(filter, options) end

---@param filter billhook.TransactionFilter?
---@param options billhook.CallOptions?
---@return integer? count
---@return billhook.Error? err
function apply_transactions:count(filter, options) end

---Records a payment. Never twice, as invoices:create.
---@param invoice billhook.Id
---@param fields { amount: billhook.Amount, currency: string }
---@param options billhook.UnsafeOptions?
---@return { id: integer|string?, location: string?, how: "created"|"found" }? made
---@return billhook.Error? err
function apply_transactions:create(invoice, fields, options) end

---@class billhook.dreamapply.series
local apply_series = {}

---@param options billhook.CallOptions?
---@return billhook.Record[]? series
---@return billhook.Error? err
function apply_series:list(options) end

---Raises the billhook.Error where the walk breaks.
---@param options billhook.CallOptions?
---@return fun(): billhook.Record? iterator with :close()
function apply_series:each(options) end

---@class billhook.dreamapply.journal
local apply_journal = {}

---@class billhook.JournalFilter
---@field byEvents string[] the sentences, with their question marks
---@field bySince string|integer? ISO 8601 or an id, which is included
---@field byUntil string|integer?
---@field order "newest-first"|"oldest-first"?
---@field limit integer? 1 to 1024

---@param filter billhook.JournalFilter
---@param options billhook.CallOptions?
---@return billhook.Record[]? entries
---@return billhook.Error? err
function apply_journal:list(filter, options) end

---Raises the billhook.Error where the walk breaks.
---@param filter billhook.JournalFilter
---@param options billhook.CallOptions?
---@return fun(): billhook.Record? iterator with :close()
function apply_journal:each(filter, options) end

return apply_invoices, apply_transactions, apply_series, apply_journal
