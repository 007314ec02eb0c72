---@meta
-- The calls to the vendors' APIs, for editors (LuaCATS). Never loaded: docs/calls.lua writes it
-- from the C core's tables (`make docs`). api_meta.lua has the types that they share.

---@class billhook.DreamApply: billhook.client
---@field invoices billhook.dreamapply.invoices
---@field transactions billhook.dreamapply.transactions
---@field series billhook.dreamapply.series
---@field journal billhook.dreamapply.journal
---@field purged_resources billhook.dreamapply.purged_resources

---@class billhook.dreamapply.invoices
local dreamapply_invoices = {}

---One invoice.
---@param id billhook.Id
---@param options billhook.CallOptions?
---@return billhook.Record? answer
---@return billhook.Error? err
function dreamapply_invoices:get(id, options) end

---Is there such an invoice?
---@param id billhook.Id
---@param options billhook.CallOptions?
---@return boolean? exists
---@return billhook.Error? err
function dreamapply_invoices:exists(id, options) end

---@class billhook.dreamapply.invoices.list
---@field application billhook.Id?
---@field applicant billhook.Id?
---@field byIssuedSince string|integer? ISO 8601, or epoch seconds
---@field byCollectedSince string|integer? ISO 8601, or epoch seconds
---@field byApplicantIDs billhook.Id[]?
---@field bySerieIDs billhook.Id[]?
---@field byCurrencies string[]? three capital letters
---@field byCollected boolean?
---@field byOverdue boolean?

---All that the filter lets through, of an application or an applicant with that alone; there are no
---pages.
---@param params billhook.dreamapply.invoices.list?
---@param options billhook.CallOptions?
---@return billhook.Record[]? list
---@return billhook.Error? err
function dreamapply_invoices:list(params, options) end

---Raises the billhook.Error where the walk breaks.
---@param params billhook.dreamapply.invoices.list?
---@param options billhook.CallOptions?
---@return fun(): billhook.Record? iterator with :close()
function dreamapply_invoices:each(params, options) end

---@class billhook.dreamapply.invoices.count
---@field application billhook.Id?
---@field applicant billhook.Id?
---@field byIssuedSince string|integer? ISO 8601, or epoch seconds
---@field byCollectedSince string|integer? ISO 8601, or epoch seconds
---@field byApplicantIDs billhook.Id[]?
---@field bySerieIDs billhook.Id[]?
---@field byCurrencies string[]? three capital letters
---@field byCollected boolean?
---@field byOverdue boolean?

---How many the list has.
---@param params billhook.dreamapply.invoices.count?
---@param options billhook.CallOptions?
---@return integer? count
---@return billhook.Error? err
function dreamapply_invoices:count(params, options) end

---@class billhook.dreamapply.invoices.create
---@field currency string three capital letters
---@field items table[] with item, price, qty, unit?, inventory_item_ID?
---@field invoice_class_ID billhook.Id?
---@field type string?
---@field issuer_institution_ID billhook.Id?
---@field serie_ID billhook.Id?
---@field course_ID billhook.Id?
---@field deadline string|integer? ISO 8601, or epoch seconds
---@field reminder boolean|"On"|"Off"?
---@field instructions string?
---@field smallprint string?
---@field issuer_administrator_ID billhook.Id?
---@field payer { name?: string, email?: string }?
---@field copy string?
---@field notify string?

---Bills an application. Never twice: see docs/client.md.
---@param application billhook.Id
---@param params billhook.dreamapply.invoices.create
---@param options billhook.UnsafeOptions?
---@return { id: integer|string?, location: string?, how: "created"|"found" }? made
---@return billhook.Error? err
function dreamapply_invoices:create(application, params, options) end

---Deletes it; what happens to a paid one is not documented.
---@param id billhook.Id
---@param options billhook.CallOptions?
---@return true? done
---@return billhook.Error? err
function dreamapply_invoices:delete(id, options) end

---@class billhook.dreamapply.transactions
local dreamapply_transactions = {}

---@class billhook.dreamapply.transactions.list
---@field invoice billhook.Id?
---@field byInvoiceIDs billhook.Id[]?
---@field byInsertedSince string|integer? ISO 8601, or epoch seconds
---@field byInsertedBefore string|integer? ISO 8601, or epoch seconds
---@field byCollectedSince string? YYYY-MM-DD
---@field byCollectedBefore string? YYYY-MM-DD

---Payments, of all invoices or of one alone.
---@param params billhook.dreamapply.transactions.list?
---@param options billhook.CallOptions?
---@return billhook.Record[]? list
---@return billhook.Error? err
function dreamapply_transactions:list(params, options) end

---Raises the billhook.Error where the walk breaks.
---@param params billhook.dreamapply.transactions.list?
---@param options billhook.CallOptions?
---@return fun(): billhook.Record? iterator with :close()
function dreamapply_transactions:each(params, options) end

---@class billhook.dreamapply.transactions.count
---@field invoice billhook.Id?
---@field byInvoiceIDs billhook.Id[]?
---@field byInsertedSince string|integer? ISO 8601, or epoch seconds
---@field byInsertedBefore string|integer? ISO 8601, or epoch seconds
---@field byCollectedSince string? YYYY-MM-DD
---@field byCollectedBefore string? YYYY-MM-DD

---How many the list has.
---@param params billhook.dreamapply.transactions.count?
---@param options billhook.CallOptions?
---@return integer? count
---@return billhook.Error? err
function dreamapply_transactions:count(params, options) end

---@class billhook.dreamapply.transactions.get
---@field invoice billhook.Id?

---One payment.
---@param id billhook.Id
---@param params billhook.dreamapply.transactions.get?
---@param options billhook.CallOptions?
---@return billhook.Record? answer
---@return billhook.Error? err
function dreamapply_transactions:get(id, params, options) end

---@class billhook.dreamapply.transactions.exists
---@field invoice billhook.Id?

---Is there such a payment?
---@param id billhook.Id
---@param params billhook.dreamapply.transactions.exists?
---@param options billhook.CallOptions?
---@return boolean? exists
---@return billhook.Error? err
function dreamapply_transactions:exists(id, params, options) end

---@class billhook.dreamapply.transactions.create
---@field amount billhook.Amount
---@field currency string three capital letters

---Records a payment that somebody has made. Never twice: see docs/client.md.
---@param invoice billhook.Id
---@param params billhook.dreamapply.transactions.create
---@param options billhook.UnsafeOptions?
---@return { id: integer|string?, location: string?, how: "created"|"found" }? made
---@return billhook.Error? err
function dreamapply_transactions:create(invoice, params, options) end

---@class billhook.dreamapply.series
local dreamapply_series = {}

---The series that number invoices.
---@param options billhook.CallOptions?
---@return billhook.Record[]? list
---@return billhook.Error? err
function dreamapply_series:list(options) end

---Raises the billhook.Error where the walk breaks.
---@param options billhook.CallOptions?
---@return fun(): billhook.Record? iterator with :close()
function dreamapply_series:each(options) end

---How many series there are.
---@param options billhook.CallOptions?
---@return integer? count
---@return billhook.Error? err
function dreamapply_series:count(options) end

---@class billhook.dreamapply.journal
local dreamapply_journal = {}

---@class billhook.dreamapply.journal.list
---@field byEvents string[]
---@field bySince string|integer? ISO 8601, or an id
---@field byUntil string|integer? ISO 8601, or an id
---@field byAcademicYear string?
---@field byAcademicTermID billhook.Id?
---@field order "newest-first"|"oldest-first"?
---@field limit integer?

---What webhooks tell, for six months; limit is 1024 at most.
---@param params billhook.dreamapply.journal.list
---@param options billhook.CallOptions?
---@return billhook.Record[]? list
---@return billhook.Error? err
function dreamapply_journal:list(params, options) end

---Raises the billhook.Error where the walk breaks.
---@param params billhook.dreamapply.journal.list
---@param options billhook.CallOptions?
---@return fun(): billhook.Record? iterator with :close()
function dreamapply_journal:each(params, options) end

---@class billhook.dreamapply.journal.count
---@field byEvents string[]
---@field bySince string|integer? ISO 8601, or an id
---@field byUntil string|integer? ISO 8601, or an id
---@field byAcademicYear string?
---@field byAcademicTermID billhook.Id?
---@field order "newest-first"|"oldest-first"?
---@field limit integer?

---How many entries the list has.
---@param params billhook.dreamapply.journal.count
---@param options billhook.CallOptions?
---@return integer? count
---@return billhook.Error? err
function dreamapply_journal:count(params, options) end

---@class billhook.dreamapply.purged_resources
local dreamapply_purged_resources = {}

---The applications and applicants that were deleted, with what is said of pages, as it comes.
---@param options billhook.CallOptions?
---@return billhook.Record|true|nil answer
---@return billhook.Error? err
function dreamapply_purged_resources:list(options) end

---@class billhook.DreamClass: billhook.client
---@field invoices billhook.dreamclass.invoices
---@field payments billhook.dreamclass.payments
---@field payment_methods billhook.dreamclass.payment_methods
---@field fees billhook.dreamclass.fees
---@field periods billhook.dreamclass.periods

---@class billhook.dreamclass.invoices
local dreamclass_invoices = {}

---One invoice, with payments and paidAmount. Its path is a guess: set `paths`.
---@param id billhook.Id
---@param options billhook.CallOptions?
---@return billhook.Record? answer
---@return billhook.Error? err
function dreamclass_invoices:get(id, options) end

---All invoices. Its path is a guess: set `paths`.
---@param options billhook.CallOptions?
---@return billhook.Record[]? list
---@return billhook.Error? err
function dreamclass_invoices:list(options) end

---Raises the billhook.Error where the walk breaks.
---@param options billhook.CallOptions?
---@return fun(): billhook.Record? iterator with :close()
function dreamclass_invoices:each(options) end

---@class billhook.dreamclass.invoices.create
---@field entityType "student"|"guardian"
---@field entityId billhook.Id
---@field schoolPeriodId billhook.Id
---@field feesFromDate string? YYYY-MM-DD
---@field feesToDate string? YYYY-MM-DD
---@field issueDate string? YYYY-MM-DD
---@field dueDate string? YYYY-MM-DD
---@field privateNotes string?
---@field publicNotes string?
---@field notify boolean?

---Bills all fees of the dates that have no invoice. A lost answer is unknown_outcome.
---@param params billhook.dreamclass.invoices.create
---@param options billhook.UnsafeOptions?
---@return billhook.Record? answer
---@return billhook.Error? err
function dreamclass_invoices:create(params, options) end

---@class billhook.dreamclass.invoices.pay
---@field amount billhook.Amount
---@field paymentmethod integer|{ id: integer }
---@field privateNotes string?
---@field publicNotes string?
---@field createdAt string|integer? ISO 8601, or epoch seconds

---Records a payment: paymentmethod as a number (1 cash, 2 bank transfer, 3 online, 4 check) sends
---the amount as a number, { id = 2 } sends it as text. A lost answer is unknown_outcome.
---@param id billhook.Id
---@param params billhook.dreamclass.invoices.pay
---@param options billhook.UnsafeOptions?
---@return billhook.Record? answer
---@return billhook.Error? err
function dreamclass_invoices:pay(id, params, options) end

---@class billhook.dreamclass.invoices.update
---@field publicNotes string?
---@field privateNotes string?
---@field issueDate string? YYYY-MM-DD
---@field dueDate string? YYYY-MM-DD
---@field invoiceRefId string?

---Changes notes, dates and the reference of your own, invoiceRefId.
---@param id billhook.Id
---@param params billhook.dreamclass.invoices.update?
---@param options billhook.CallOptions?
---@return billhook.Record? answer
---@return billhook.Error? err
function dreamclass_invoices:update(id, params, options) end

---@class billhook.dreamclass.payments
local dreamclass_payments = {}

---@class billhook.dreamclass.payments.update
---@field publicNotes string?
---@field privateNotes string?
---@field date string|integer? ISO 8601, or epoch seconds

---Changes notes and the date of a payment; its id stands in its invoice.
---@param id billhook.Id
---@param params billhook.dreamclass.payments.update?
---@param options billhook.CallOptions?
---@return billhook.Record? answer
---@return billhook.Error? err
function dreamclass_payments:update(id, params, options) end

---@class billhook.dreamclass.payment_methods
local dreamclass_payment_methods = {}

---The ways to pay. Its path is a guess: set `paths`.
---@param options billhook.CallOptions?
---@return billhook.Record[]? list
---@return billhook.Error? err
function dreamclass_payment_methods:list(options) end

---Raises the billhook.Error where the walk breaks.
---@param options billhook.CallOptions?
---@return fun(): billhook.Record? iterator with :close()
function dreamclass_payment_methods:each(options) end

---@class billhook.dreamclass.fees
local dreamclass_fees = {}

---The fees of a school period. Its path is a guess: set `paths`.
---@param period billhook.Id
---@param options billhook.CallOptions?
---@return billhook.Record[]? list
---@return billhook.Error? err
function dreamclass_fees:list(period, options) end

---Raises the billhook.Error where the walk breaks.
---@param period billhook.Id
---@param options billhook.CallOptions?
---@return fun(): billhook.Record? iterator with :close()
function dreamclass_fees:each(period, options) end

---@class billhook.dreamclass.fees.create
---@field type "application"|"school"
---@field period "oneoff"|"monthly"|"periodically"
---@field cost billhook.Amount
---@field description string?
---@field startDate string? YYYY-MM-DD
---@field interval billhook.Amount?
---@field duration integer?
---@field schoolPeriodId billhook.Id

---A new fee; interval is in months. Its path is a guess: set `paths`.
---@param params billhook.dreamclass.fees.create
---@param options billhook.UnsafeOptions?
---@return billhook.Record? answer
---@return billhook.Error? err
function dreamclass_fees:create(params, options) end

---@class billhook.dreamclass.fees.update
---@field cost billhook.Amount?
---@field description string?
---@field startDate string? YYYY-MM-DD
---@field duration integer?
---@field interval billhook.Amount?

---Changes a fee.
---@param id billhook.Id
---@param params billhook.dreamclass.fees.update?
---@param options billhook.UnsafeOptions?
---@return billhook.Record? answer
---@return billhook.Error? err
function dreamclass_fees:update(id, params, options) end

---@class billhook.dreamclass.fees.assign
---@field studentIds billhook.Id[]
---@field feesIds billhook.Id[]
---@field installmentPlan integer

---Assigns fees to students of a period. installmentPlan: 1 all from the start of the fee, 2 from
---next month on, 3 from this month on.
---@param params billhook.dreamclass.fees.assign
---@param options billhook.UnsafeOptions?
---@return integer? answer
---@return billhook.Error? err
function dreamclass_fees:assign(params, options) end

---@class billhook.dreamclass.periods
local dreamclass_periods = {}

---The school periods. Its path is a guess: set `paths`.
---@param options billhook.CallOptions?
---@return billhook.Record[]? list
---@return billhook.Error? err
function dreamclass_periods:list(options) end

---Raises the billhook.Error where the walk breaks.
---@param options billhook.CallOptions?
---@return fun(): billhook.Record? iterator with :close()
function dreamclass_periods:each(options) end

---@class billhook.Betterez: billhook.client
---@field invoices billhook.betterez.invoices
---@field providers billhook.betterez.providers
---@field sequences billhook.betterez.sequences
---@field tax_ids billhook.betterez.tax_ids
---@field users billhook.betterez.users
---@field transactions billhook.betterez.transactions
---@field shifts billhook.betterez.shifts
---@field undelivered billhook.betterez.undelivered
---@field subscriptions billhook.betterez.subscriptions
---@field events billhook.betterez.events

---@class billhook.betterez.invoices
local betterez_invoices = {}

---One invoice.
---@param id string 24 hexadecimal digits
---@param options billhook.CallOptions?
---@return billhook.Record? answer
---@return billhook.Error? err
function betterez_invoices:get(id, options) end

---@class billhook.betterez.invoices.list
---@field transactionId string
---@field page integer?

---The invoices of a transaction, of all pages or of the one that is asked for.
---@param params billhook.betterez.invoices.list
---@param options billhook.CallOptions?
---@return billhook.Record[]? list
---@return billhook.Error? err
function betterez_invoices:list(params, options) end

---Raises the billhook.Error where the walk breaks.
---@param params billhook.betterez.invoices.list
---@param options billhook.CallOptions?
---@return fun(): billhook.Record? iterator with :close()
function betterez_invoices:each(params, options) end

---@class billhook.betterez.invoices.failures
---@field transactionId string?
---@field page integer?

---What could not be invoiced.
---@param params billhook.betterez.invoices.failures?
---@param options billhook.CallOptions?
---@return billhook.Record[]? list
---@return billhook.Error? err
function betterez_invoices:failures(params, options) end

---@class billhook.betterez.invoices.retry
---@field transactionId string
---@field overrideBuyer table?
---@field body table?

---Invoices a transaction that failed; with overrideBuyer it is a PUT, and `body` is a whole body of
---yours. Never twice: see docs/client.md.
---@param params billhook.betterez.invoices.retry
---@param options billhook.UnsafeOptions?
---@return billhook.Record? answer
---@return billhook.Error? err
function betterez_invoices:retry(params, options) end

---@class billhook.betterez.invoices.issue: billhook.UnsafeOptions
---@field validate_only boolean? a dry run
---@field providerId string?

---A fiscal document. Never twice. Among the options validate_only asks for a dry run.
---@param provider "infile"|"infile-json"|"gti"|"dlink"|"system"
---@param body table
---@param options billhook.betterez.invoices.issue?
---@return billhook.Record? answer
---@return billhook.Error? err
function betterez_invoices:issue(provider, body, options) end

---@class billhook.betterez.invoices.validate_void
---@field originalTransactionId string
---@field invoiceProviderId string?

---Can the invoice of a transaction be voided?
---@param params billhook.betterez.invoices.validate_void
---@param options billhook.CallOptions?
---@return billhook.Record? answer
---@return billhook.Error? err
function betterez_invoices:validate_void(params, options) end

---@class billhook.betterez.invoices.email
---@field invoiceId string
---@field emails string[]
---@field language string?

---Sends mail: a lost answer is unknown_outcome.
---@param params billhook.betterez.invoices.email
---@param options billhook.UnsafeOptions?
---@return billhook.Record? answer
---@return billhook.Error? err
function betterez_invoices:email(params, options) end

---@class billhook.betterez.invoices.pdf
---@field transactionId string

---The PDF of a transaction.
---@param params billhook.betterez.invoices.pdf
---@param options billhook.CallOptions?
---@return string? bytes
---@return billhook.Error? err
function betterez_invoices:pdf(params, options) end

---@class billhook.betterez.providers
local betterez_providers = {}

---@class billhook.betterez.providers.list
---@field enabled boolean?
---@field invoiceProviderType string?
---@field channel string?
---@field country string?
---@field operatingCompany string?
---@field page integer?

---Those who issue fiscal documents. Errors never quote them: they hold credentials.
---@param params billhook.betterez.providers.list?
---@param options billhook.CallOptions?
---@return billhook.Record[]? list
---@return billhook.Error? err
function betterez_providers:list(params, options) end

---Raises the billhook.Error where the walk breaks.
---@param params billhook.betterez.providers.list?
---@param options billhook.CallOptions?
---@return fun(): billhook.Record? iterator with :close()
function betterez_providers:each(params, options) end

---One provider.
---@param id string 24 hexadecimal digits
---@param options billhook.CallOptions?
---@return billhook.Record? answer
---@return billhook.Error? err
function betterez_providers:get(id, options) end

---A new provider.
---@param body table
---@param options billhook.UnsafeOptions?
---@return billhook.Record? answer
---@return billhook.Error? err
function betterez_providers:create(body, options) end

---Changes a provider.
---@param id string 24 hexadecimal digits
---@param body table
---@param options billhook.CallOptions?
---@return billhook.Record? answer
---@return billhook.Error? err
function betterez_providers:update(id, body, options) end

---Deletes a provider.
---@param id string 24 hexadecimal digits
---@param options billhook.CallOptions?
---@return true? done
---@return billhook.Error? err
function betterez_providers:delete(id, options) end

---@class billhook.betterez.sequences
local betterez_sequences = {}

---@class billhook.betterez.sequences.list
---@field page integer?

---The sequences of numbers of a provider.
---@param provider string 24 hexadecimal digits
---@param params billhook.betterez.sequences.list?
---@param options billhook.CallOptions?
---@return billhook.Record[]? list
---@return billhook.Error? err
function betterez_sequences:list(provider, params, options) end

---Raises the billhook.Error where the walk breaks.
---@param provider string 24 hexadecimal digits
---@param params billhook.betterez.sequences.list?
---@param options billhook.CallOptions?
---@return fun(): billhook.Record? iterator with :close()
function betterez_sequences:each(provider, params, options) end

---One sequence.
---@param provider string 24 hexadecimal digits
---@param id string 24 hexadecimal digits
---@param options billhook.CallOptions?
---@return billhook.Record? answer
---@return billhook.Error? err
function betterez_sequences:get(provider, id, options) end

---A new sequence.
---@param provider string 24 hexadecimal digits
---@param body table
---@param options billhook.UnsafeOptions?
---@return billhook.Record? answer
---@return billhook.Error? err
function betterez_sequences:create(provider, body, options) end

---Changes a sequence.
---@param provider string 24 hexadecimal digits
---@param id string 24 hexadecimal digits
---@param body table
---@param options billhook.CallOptions?
---@return billhook.Record? answer
---@return billhook.Error? err
function betterez_sequences:update(provider, id, body, options) end

---Deletes a sequence.
---@param provider string 24 hexadecimal digits
---@param id string 24 hexadecimal digits
---@param options billhook.CallOptions?
---@return true? done
---@return billhook.Error? err
function betterez_sequences:delete(provider, id, options) end

---@class billhook.betterez.tax_ids
local betterez_tax_ids = {}

---@class billhook.betterez.tax_ids.list
---@field taxNumber string
---@field country string
---@field invoiceProviderId string?
---@field documentType string?
---@field page integer?

---What is known of a tax number.
---@param params billhook.betterez.tax_ids.list
---@param options billhook.CallOptions?
---@return billhook.Record[]? list
---@return billhook.Error? err
function betterez_tax_ids:list(params, options) end

---Raises the billhook.Error where the walk breaks.
---@param params billhook.betterez.tax_ids.list
---@param options billhook.CallOptions?
---@return fun(): billhook.Record? iterator with :close()
function betterez_tax_ids:each(params, options) end

---@class billhook.betterez.users
local betterez_users = {}

---@class billhook.betterez.users.login
---@field username string
---@field password string
---@field audience "betterez-app"|"customer"|"btrz-mobile-scanner"?
---@field totpToken string?

---Signs in, for the token of a client: { user, token, shortToken }. The code of the error
---MFA_REQUIRED asks for a totpToken. Errors quote nothing of it.
---@param params billhook.betterez.users.login
---@param options billhook.CallOptions?
---@return billhook.Record? answer
---@return billhook.Error? err
function betterez_users:login(params, options) end

---@class billhook.betterez.transactions
local betterez_transactions = {}

---Adds an invoice to a transaction. A lost answer is unknown_outcome.
---@param transaction string 24 hexadecimal digits
---@param body table
---@param options billhook.UnsafeOptions?
---@return billhook.Record|true|nil answer
---@return billhook.Error? err
function betterez_transactions:invoice(transaction, body, options) end

---@class billhook.betterez.transactions.credit_note
---@field creditNoteId string
---@field externalCreditNoteId string?

---Adds the ids of a credit note to a transaction. A lost answer is unknown_outcome.
---@param transaction string 24 hexadecimal digits
---@param params billhook.betterez.transactions.credit_note
---@param options billhook.UnsafeOptions?
---@return billhook.Record|true|nil answer
---@return billhook.Error? err
function betterez_transactions:credit_note(transaction, params, options) end

---@class billhook.betterez.shifts
local betterez_shifts = {}

---The invoices of a shift: a list without a transactionId.
---@param shift string 24 hexadecimal digits
---@param options billhook.CallOptions?
---@return billhook.Record[]? list
---@return billhook.Error? err
function betterez_shifts:invoices(shift, options) end

---@class billhook.betterez.undelivered
local betterez_undelivered = {}

---@class billhook.betterez.undelivered.list
---@field context string?

---The webhooks that could not be delivered.
---@param params billhook.betterez.undelivered.list?
---@param options billhook.CallOptions?
---@return billhook.Record[]? list
---@return billhook.Error? err
function betterez_undelivered:list(params, options) end

---Raises the billhook.Error where the walk breaks.
---@param params billhook.betterez.undelivered.list?
---@param options billhook.CallOptions?
---@return fun(): billhook.Record? iterator with :close()
function betterez_undelivered:each(params, options) end

---One of them.
---@param id string
---@param options billhook.CallOptions?
---@return billhook.Record? answer
---@return billhook.Error? err
function betterez_undelivered:get(id, options) end

---Has one sent again.
---@param id string
---@param options billhook.CallOptions?
---@return billhook.Record|true|nil answer
---@return billhook.Error? err
function betterez_undelivered:retry(id, options) end

---Has all sent again.
---@param options billhook.CallOptions?
---@return billhook.Record|true|nil answer
---@return billhook.Error? err
function betterez_undelivered:retry_all(options) end

---A change of them, in the words of the vendor.
---@param body table
---@param options billhook.UnsafeOptions?
---@return billhook.Record|true|nil answer
---@return billhook.Error? err
function betterez_undelivered:change(body, options) end

---Erases one.
---@param id string
---@param options billhook.CallOptions?
---@return billhook.Record|true|nil answer
---@return billhook.Error? err
function betterez_undelivered:delete(id, options) end

---Erases all.
---@param options billhook.CallOptions?
---@return true? done
---@return billhook.Error? err
function betterez_undelivered:delete_all(options) end

---@class billhook.betterez.subscriptions
local betterez_subscriptions = {}

---@class billhook.betterez.subscriptions.list
---@field context string?

---Who is subscribed to webhooks.
---@param params billhook.betterez.subscriptions.list?
---@param options billhook.CallOptions?
---@return billhook.Record[]? list
---@return billhook.Error? err
function betterez_subscriptions:list(params, options) end

---Raises the billhook.Error where the walk breaks.
---@param params billhook.betterez.subscriptions.list?
---@param options billhook.CallOptions?
---@return fun(): billhook.Record? iterator with :close()
function betterez_subscriptions:each(params, options) end

---One subscription.
---@param id string
---@param options billhook.CallOptions?
---@return billhook.Record? answer
---@return billhook.Error? err
function betterez_subscriptions:get(id, options) end

---A new subscription.
---@param body table
---@param options billhook.UnsafeOptions?
---@return billhook.Record? answer
---@return billhook.Error? err
function betterez_subscriptions:create(body, options) end

---Changes a subscription.
---@param id string
---@param body table
---@param options billhook.CallOptions?
---@return billhook.Record? answer
---@return billhook.Error? err
function betterez_subscriptions:update(id, body, options) end

---Deletes a subscription.
---@param id string
---@param options billhook.CallOptions?
---@return billhook.Record|true|nil answer
---@return billhook.Error? err
function betterez_subscriptions:delete(id, options) end

---@class billhook.betterez.events
local betterez_events = {}

---@class billhook.betterez.events.list
---@field context string?

---The events of webhooks.
---@param params billhook.betterez.events.list?
---@param options billhook.CallOptions?
---@return billhook.Record[]? list
---@return billhook.Error? err
function betterez_events:list(params, options) end

---Raises the billhook.Error where the walk breaks.
---@param params billhook.betterez.events.list?
---@param options billhook.CallOptions?
---@return fun(): billhook.Record? iterator with :close()
function betterez_events:each(params, options) end

return {
  dreamapply_invoices,
  dreamapply_transactions,
  dreamapply_series,
  dreamapply_journal,
  dreamapply_purged_resources,
  dreamclass_invoices,
  dreamclass_payments,
  dreamclass_payment_methods,
  dreamclass_fees,
  dreamclass_periods,
  betterez_invoices,
  betterez_providers,
  betterez_sequences,
  betterez_tax_ids,
  betterez_users,
  betterez_transactions,
  betterez_shifts,
  betterez_undelivered,
  betterez_subscriptions,
  betterez_events,
}
