---@meta
-- The calls to DreamClass's and Betterez's APIs, for editors (LuaCATS): see api_meta.lua, where the
-- types that they share are. Never loaded.

-- === DreamClass: source apidoc.dreamclass.io ================================================

---@class billhook.DreamClass: billhook.client
---@field invoices billhook.dreamclass.invoices
---@field fees billhook.dreamclass.fees
---@field periods billhook.dreamclass.periods

---@class billhook.dreamclass.invoices
local class_invoices = {}

---Its path is a guess: set `paths["invoices.get"]`.
---@param id billhook.Id
---@param options billhook.CallOptions?
---@return billhook.Record? invoice
---@return billhook.Error? err
function class_invoices:get(id, options) end

---Invoices all fees of the dates that have no invoice. No look-up is documented: a lost answer is
---unknown_outcome. fields: entityType ("student", "guardian"), entityId, schoolPeriodId, and
---feesFromDate, feesToDate, issueDate, dueDate (YYYY-MM-DD), privateNotes, publicNotes, notify
---(boolean).
---@param fields table
---@param options billhook.UnsafeOptions?
---@return billhook.Record? invoice
---@return billhook.Error? err
function class_invoices:create(fields, options) end

---Records a payment; a lost answer is unknown_outcome. fields: amount (exact), paymentmethod (1
---cash, 2 bank transfer, 3 online, 4 check), and privateNotes, publicNotes, createdAt (ISO 8601).
---@param id billhook.Id
---@param fields table
---@param options billhook.UnsafeOptions?
---@return billhook.Record? invoice with payments and paidAmount
---@return billhook.Error? err
function class_invoices:pay(id, fields, options) end

---@class billhook.dreamclass.fees
local class_fees = {}

---Its path is a guess.
---@param period billhook.Id
---@param options billhook.CallOptions?
---@return billhook.Record[]? fees
---@return billhook.Error? err
function class_fees:list(period, options) end

---Raises the billhook.Error where the walk breaks.
---@param period billhook.Id
---@param options billhook.CallOptions?
---@return fun(): billhook.Record? iterator with :close()
function class_fees:each(period, options) end

---Its path is a guess. fields: type ("application", "school"), period ("oneoff", "monthly",
---"periodically"), cost (exact), schoolPeriodId, and description, startDate (YYYY-MM-DD), interval
---(months), duration.
---@param fields table
---@param options billhook.UnsafeOptions?
---@return billhook.Record? fee
---@return billhook.Error? err
function class_fees:create(fields, options) end

---fields: cost (exact), description, startDate (YYYY-MM-DD), duration, interval (months).
---@param id billhook.Id
---@param fields table
---@param options billhook.UnsafeOptions?
---@return billhook.Record? fee
---@return billhook.Error? err
function class_fees:update(id, fields, options) end

---installmentPlan: 1 all from the fee's start, 2 from next month on, 3 from this month on.
---@param fields { studentIds: billhook.Id[], feesIds: billhook.Id[], installmentPlan: integer }
---@param options billhook.UnsafeOptions?
---@return integer|any answer
---@return billhook.Error? err
function class_fees:assign(fields, options) end

---@class billhook.dreamclass.periods
local class_periods = {}

---Its path is a guess.
---@param options billhook.CallOptions?
---@return billhook.Record[]? periods
---@return billhook.Error? err
function class_periods:list(options) end

---Raises the billhook.Error where the walk breaks.
---@param options billhook.CallOptions?
---@return fun(): billhook.Record? iterator with :close()
function class_periods:each(options) end

-- === Betterez: source github.com/Betterez/btrz-api-client ===================================

---@class billhook.Betterez: billhook.client
---@field invoices billhook.betterez.invoices
---@field providers billhook.betterez.providers
---@field sequences billhook.betterez.sequences
---@field tax_ids billhook.betterez.tax_ids

---@class billhook.betterez.invoices
local btrz_invoices = {}

---@param id string 24 hexadecimal digits
---@param options billhook.CallOptions?
---@return billhook.Record? invoice
---@return billhook.Error? err
function btrz_invoices:get(id, options) end

---Of all pages, or of the one that is asked for.
---@param filter { transactionId: string, page: integer? }
---@param options billhook.CallOptions?
---@return billhook.Record[]? invoices
---@return billhook.Error? err
function btrz_invoices:list(filter, options) end

---Raises the billhook.Error where the walk breaks.
---@param filter { transactionId: string, page: integer? }
---@param options billhook.CallOptions?
---@return fun(): billhook.Record? iterator with :close()
function btrz_invoices:each(filter, options) end

---What could not be invoiced.
---@param filter { transactionId: string?, page: integer? }?
---@param options billhook.CallOptions?
---@return billhook.Record[]? failures
---@return billhook.Error? err
function btrz_invoices:failures(filter, options) end

---Never twice: see docs/client.md. With overrideBuyer it is a PUT; `body` is a whole body of yours.
---@param fields { transactionId: string, overrideBuyer: table?, body: table? }
---@param options billhook.UnsafeOptions?
---@return billhook.Record? invoice
---@return billhook.Error? err
function btrz_invoices:retry(fields, options) end

---A fiscal document. Never twice. The options may also have validate_only (boolean: a dry run) and
---providerId.
---@param provider "infile"|"infile-json"|"gti"|"dlink"|"system"
---@param body table with transactionId
---@param options billhook.UnsafeOptions?
---@return billhook.Record? invoice
---@return billhook.Error? err
function btrz_invoices:issue(provider, body, options) end

---@param filter { originalTransactionId: string, invoiceProviderId: string? }
---@param options billhook.CallOptions?
---@return billhook.Record? answer
---@return billhook.Error? err
function btrz_invoices:validate_void(filter, options) end

---@param filter { transactionId: string }
---@param options billhook.CallOptions?
---@return string? bytes
---@return billhook.Error? err
function btrz_invoices:pdf(filter, options) end

---Sends mail: a lost answer is unknown_outcome.
---@param fields { invoiceId: string, emails: string[], language: string? }
---@param options billhook.UnsafeOptions?
---@return billhook.Record? answer
---@return billhook.Error? err
function btrz_invoices:email(fields, options) end

---Errors never quote providers: they hold credentials.
---@class billhook.betterez.providers
local btrz_providers = {}

---filter: enabled (boolean), invoiceProviderType, channel, country, operatingCompany, page.
---@param filter table?
---@param options billhook.CallOptions?
---@return billhook.Record[]? providers
---@return billhook.Error? err
function btrz_providers:list(filter, options) end

---Raises the billhook.Error where the walk breaks.
---@param filter table?
---@param options billhook.CallOptions?
---@return fun(): billhook.Record? iterator with :close()
function btrz_providers:each(filter, options) end

---@param id string
---@param options billhook.CallOptions?
---@return billhook.Record? provider
---@return billhook.Error? err
function btrz_providers:get(id, options) end

---@param body table
---@param options billhook.UnsafeOptions?
---@return billhook.Record? provider
---@return billhook.Error? err
function btrz_providers:create(body, options) end

---@param id string
---@param body table
---@param options billhook.CallOptions?
---@return billhook.Record? provider
---@return billhook.Error? err
function btrz_providers:update(id, body, options) end

---@param id string
---@param options billhook.CallOptions?
---@return true? done
---@return billhook.Error? err
function btrz_providers:delete(id, options) end

---The sequences of numbers of a provider.
---@class billhook.betterez.sequences
local btrz_sequences = {}

---@param provider string
---@param more { page: integer? }?
---@param options billhook.CallOptions?
---@return billhook.Record[]? sequences
---@return billhook.Error? err
function btrz_sequences:list(provider, more, options) end

---Raises the billhook.Error where the walk breaks.
---@param provider string
---@param more { page: integer? }?
---@param options billhook.CallOptions?
---@return fun(): billhook.Record? iterator with :close()
function btrz_sequences:each(provider, more, options) end

---@param provider string
---@param id string
---@param options billhook.CallOptions?
---@return billhook.Record? sequence
---@return billhook.Error? err
function btrz_sequences:get(provider, id, options) end

---@param provider string
---@param body table
---@param options billhook.UnsafeOptions?
---@return billhook.Record? sequence
---@return billhook.Error? err
function btrz_sequences:create(provider, body, options) end

---@param provider string
---@param id string
---@param body table
---@param options billhook.CallOptions?
---@return billhook.Record? sequence
---@return billhook.Error? err
function btrz_sequences:update(provider, id, body, options) end

---@param provider string
---@param id string
---@param options billhook.CallOptions?
---@return true? done
---@return billhook.Error? err
function btrz_sequences:delete(provider, id, options) end

---@class billhook.betterez.tax_ids
local btrz_tax_ids = {}

---@class billhook.TaxIdFilter
---@field taxNumber string
---@field country string
---@field invoiceProviderId string?
---@field documentType string?

---@param filter billhook.TaxIdFilter
---@param options billhook.CallOptions?
---@return billhook.Record[]? tax_ids
---@return billhook.Error? err
function btrz_tax_ids:list(filter, options) end

---Raises the billhook.Error where the walk breaks.
---@param filter billhook.TaxIdFilter
---@param options billhook.CallOptions?
---@return fun(): billhook.Record? iterator with :close()
function btrz_tax_ids:each(filter, options) end

return class_invoices, class_fees, class_periods, btrz_invoices, btrz_providers, btrz_sequences,
  btrz_tax_ids
