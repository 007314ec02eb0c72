/*
** betterez.c - Betterez's invoices API. The sections in the comments are
** those of the vendors' dossier, docs/vendors.md.
**
** Paths are below the base URL, which ends in /invoices (3.1, inferred); those
** of other services are below their names in its place.
** Lists come in pages, and tell of the next only where a page was asked for.
*/
#include "call.h"

static const call_range pages = {"1", NULL,
                                 "must be a whole number from 1 up"};

/* clang-format off */
#define PAGE {"page", CALL_INTEGER, CALL_QUERY, 0, {.range = &pages}}
/* clang-format on */

static const call_param by_id[] = {
    CALL_PARAM("id", CALL_HEX24, CALL_PATH, CALL_REQUIRED),
    CALL_END,
};

/* 3.2 GET /invoices */
static const call_param of_transaction[] = {
    CALL_PARAM("transactionId", CALL_HEX24, CALL_QUERY, CALL_REQUIRED),
    PAGE,
    CALL_END,
};

static const call_route invoices_list[] = {
    {NULL, "GET", "/invoices", NULL, 0},
};

/* 3.2 GET /invoices/:id */
static const call_route invoices_get[] = {
    {NULL, "GET", "/invoices/{id}", NULL, 0},
};

/* 3.2 GET /failures */
static const call_param failures_filter[] = {
    CALL_PARAM("transactionId", CALL_HEX24, CALL_QUERY, 0),
    PAGE,
    CALL_END,
};

static const call_route invoices_failures[] = {
    {NULL, "GET", "/failures", NULL, 0},
};

/* 3.2 POST and PUT /retry. The vendor's test nests the PUT's fields, its
** documents do not: whoever needs it flat gives the whole body */
static const call_param retry_params[] = {
    CALL_PARAM("transactionId", CALL_HEX24, CALL_FIELD, CALL_REQUIRED),
    CALL_PARAM("overrideBuyer", CALL_OBJECT, CALL_FIELD, 0),
    CALL_PARAM("body", CALL_OBJECT, CALL_BODY, 0),
    CALL_END,
};

static const call_route invoices_retry[] = {
    {"body", "PUT", "/retry", NULL, 1},
    {"overrideBuyer", "PUT", "/retry", "retryData", 0},
    {NULL, "POST", "/retry", NULL, 0},
};

/* 3.2 POST /infile and its like: fiscal documents */
static const char *const issuers[] = {"infile", "infile-json", "gti",
                                      "dlink",  "system",      NULL};

static const call_param issue_params[] = {
    {"provider", CALL_CHOICE, CALL_PATH, CALL_REQUIRED, {.choices = issuers}},
    CALL_PARAM("onlyValidateRequest", CALL_BOOLEAN, CALL_QUERY, CALL_DRY),
    CALL_PARAM("providerId", CALL_HEX24, CALL_QUERY, 0),
    CALL_PARAM("body", CALL_OBJECT, CALL_BODY, CALL_REQUIRED),
    CALL_END,
};

static const call_route invoices_issue[] = {
    {NULL, "POST", "/{provider}", NULL, 0},
};

/* 3.2 GET /infile-json/validate-void */
static const call_param void_params[] = {
    CALL_PARAM("originalTransactionId", CALL_HEX24, CALL_QUERY, CALL_REQUIRED),
    CALL_PARAM("invoiceProviderId", CALL_HEX24, CALL_QUERY, 0),
    CALL_END,
};

static const call_route invoices_validate_void[] = {
    {NULL, "GET", "/infile-json/validate-void", NULL, 0},
};

/* 3.2 POST /emails */
static const call_param email_params[] = {
    CALL_PARAM("invoiceId", CALL_HEX24, CALL_FIELD, CALL_REQUIRED),
    CALL_PARAM("emails", CALL_TEXT, CALL_FIELD, CALL_REQUIRED | CALL_LIST),
    CALL_PARAM("language", CALL_TEXT, CALL_FIELD, 0),
    CALL_END,
};

static const call_route invoices_email[] = {
    {NULL, "POST", "/emails", NULL, 0},
};

/* 3.2 GET /pdfs */
static const call_param pdf_params[] = {
    CALL_PARAM("transactionId", CALL_HEX24, CALL_QUERY, CALL_REQUIRED),
    CALL_END,
};

static const call_route invoices_pdf[] = {
    {NULL, "GET", "/pdfs", NULL, 0},
};

/* 3.2 providers; bodies differ from provider to provider */
static const call_param providers_filter[] = {
    CALL_PARAM("enabled", CALL_BOOLEAN, CALL_QUERY, 0),
    CALL_PARAM("invoiceProviderType", CALL_TEXT, CALL_QUERY, 0),
    CALL_PARAM("channel", CALL_TEXT, CALL_QUERY, 0),
    CALL_PARAM("country", CALL_TEXT, CALL_QUERY, 0),
    CALL_PARAM("operatingCompany", CALL_TEXT, CALL_QUERY, 0),
    PAGE,
    CALL_END,
};

static const call_param providers_new[] = {
    CALL_PARAM("body", CALL_OBJECT, CALL_BODY, CALL_REQUIRED),
    CALL_END,
};

static const call_param providers_change[] = {
    CALL_PARAM("id", CALL_HEX24, CALL_PATH, CALL_REQUIRED),
    CALL_PARAM("body", CALL_OBJECT, CALL_BODY, CALL_REQUIRED),
    CALL_END,
};

static const call_route providers_list[] = {
    {NULL, "GET", "/providers", NULL, 0},
};

static const call_route providers_get[] = {
    {NULL, "GET", "/providers/{id}", NULL, 0},
};

static const call_route providers_create[] = {
    {NULL, "POST", "/providers", NULL, 0},
};

static const call_route providers_update[] = {
    {NULL, "PUT", "/providers/{id}", NULL, 0},
};

static const call_route providers_delete[] = {
    {NULL, "DELETE", "/providers/{id}", NULL, 0},
};

/* 3.2 /providers/:id/sequences */
static const call_param sequences_filter[] = {
    CALL_PARAM("provider", CALL_HEX24, CALL_PATH, CALL_REQUIRED),
    PAGE,
    CALL_END,
};

static const call_param sequences_new[] = {
    CALL_PARAM("provider", CALL_HEX24, CALL_PATH, CALL_REQUIRED),
    CALL_PARAM("body", CALL_OBJECT, CALL_BODY, CALL_REQUIRED),
    CALL_END,
};

static const call_param sequences_one[] = {
    CALL_PARAM("provider", CALL_HEX24, CALL_PATH, CALL_REQUIRED),
    CALL_PARAM("id", CALL_HEX24, CALL_PATH, CALL_REQUIRED),
    CALL_END,
};

static const call_param sequences_change[] = {
    CALL_PARAM("provider", CALL_HEX24, CALL_PATH, CALL_REQUIRED),
    CALL_PARAM("id", CALL_HEX24, CALL_PATH, CALL_REQUIRED),
    CALL_PARAM("body", CALL_OBJECT, CALL_BODY, CALL_REQUIRED),
    CALL_END,
};

#define SEQUENCES "/providers/{provider}/sequences"

static const call_route sequences_list[] = {
    {NULL, "GET", SEQUENCES, NULL, 0},
};

static const call_route sequences_get[] = {
    {NULL, "GET", SEQUENCES "/{id}", NULL, 0},
};

static const call_route sequences_create[] = {
    {NULL, "POST", SEQUENCES, NULL, 0},
};

static const call_route sequences_update[] = {
    {NULL, "PUT", SEQUENCES "/{id}", NULL, 0},
};

static const call_route sequences_delete[] = {
    {NULL, "DELETE", SEQUENCES "/{id}", NULL, 0},
};

/* 3.2 GET /tax-ids */
static const call_param tax_params[] = {
    CALL_PARAM("taxNumber", CALL_TEXT, CALL_QUERY, CALL_REQUIRED),
    CALL_PARAM("country", CALL_TEXT, CALL_QUERY, CALL_REQUIRED),
    CALL_PARAM("invoiceProviderId", CALL_HEX24, CALL_QUERY, 0),
    CALL_PARAM("documentType", CALL_TEXT, CALL_QUERY, 0),
    PAGE,
    CALL_END,
};

static const call_route tax_ids_list[] = {
    {NULL, "GET", "/tax-ids", NULL, 0},
};

/* 3.1 POST accounts/users: signing in, for a token. Twice gives two of them */
static const char *const audiences[] = {"betterez-app", "customer",
                                        "btrz-mobile-scanner", NULL};

static const call_param login_params[] = {
    CALL_PARAM("username", CALL_TEXT, CALL_BASIC, CALL_REQUIRED),
    CALL_PARAM("password", CALL_TEXT, CALL_BASIC, CALL_REQUIRED),
    {"audience", CALL_CHOICE, CALL_FIELD, CALL_FIRST, {.choices = audiences}},
    CALL_PARAM("totpToken", CALL_TEXT, CALL_FIELD, 0),
    CALL_END,
};

static const call_route users_login[] = {
    {NULL, "POST", "/users", NULL, 0},
};

/* 3.3 what webhooks could not deliver; who is subscribed; the events. The form
** of these answers is documented nowhere */
static const call_param of_context[] = {
    CALL_PARAM("context", CALL_TEXT, CALL_QUERY, 0),
    CALL_END,
};

static const call_param no_params[] = {
    CALL_END,
};

static const call_param by_name[] = {
    CALL_PARAM("id", CALL_TEXT, CALL_PATH, CALL_REQUIRED),
    CALL_END,
};

static const call_param name_change[] = {
    CALL_PARAM("id", CALL_TEXT, CALL_PATH, CALL_REQUIRED),
    CALL_PARAM("body", CALL_OBJECT, CALL_BODY, CALL_REQUIRED),
    CALL_END,
};

static const call_route undelivered_list[] = {
    {NULL, "GET", "/undelivered", NULL, 0},
};

static const call_route undelivered_get[] = {
    {NULL, "GET", "/undelivered/{id}", NULL, 0},
};

static const call_route undelivered_retry[] = {
    {NULL, "PUT", "/undelivered/{id}/retry", NULL, 0},
};

static const call_route undelivered_retry_all[] = {
    {NULL, "PUT", "/undelivered/retry-all", NULL, 0},
};

static const call_route undelivered_change[] = {
    {NULL, "PATCH", "/undelivered", NULL, 0},
};

static const call_route undelivered_delete[] = {
    {NULL, "DELETE", "/undelivered/{id}", NULL, 0},
};

static const call_route undelivered_delete_all[] = {
    {NULL, "DELETE", "/undelivered/batch-all", NULL, 0},
};

static const call_route subscriptions_list[] = {
    {NULL, "GET", "/subscriptions", NULL, 0},
};

static const call_route subscriptions_get[] = {
    {NULL, "GET", "/subscriptions/{id}", NULL, 0},
};

static const call_route subscriptions_create[] = {
    {NULL, "POST", "/subscriptions", NULL, 0},
};

static const call_route subscriptions_update[] = {
    {NULL, "PUT", "/subscriptions/{id}", NULL, 0},
};

static const call_route subscriptions_delete[] = {
    {NULL, "DELETE", "/subscriptions/{id}", NULL, 0},
};

static const call_route events_list[] = {
    {NULL, "GET", "/events", NULL, 0},
};

/* 3.2 of the services operations and accounts */
static const call_param transaction_invoice[] = {
    CALL_PARAM("transaction", CALL_HEX24, CALL_PATH, CALL_REQUIRED),
    CALL_PARAM("body", CALL_OBJECT, CALL_BODY, CALL_REQUIRED),
    CALL_END,
};

static const call_param transaction_note[] = {
    CALL_PARAM("transaction", CALL_HEX24, CALL_PATH, CALL_REQUIRED),
    CALL_PARAM("creditNoteId", CALL_TEXT, CALL_FIELD, CALL_REQUIRED),
    CALL_PARAM("externalCreditNoteId", CALL_TEXT, CALL_FIELD, 0),
    CALL_END,
};

static const call_param of_shift[] = {
    CALL_PARAM("shift", CALL_HEX24, CALL_PATH, CALL_REQUIRED),
    CALL_END,
};

static const call_route transactions_invoice[] = {
    {NULL, "POST", "/transactions/{transaction}/invoices", NULL, 0},
};

static const call_route transactions_credit_note[] = {
    {NULL, "POST", "/transactions/{transaction}/credit-notes", NULL, 0},
};

static const call_route shifts_invoices[] = {
    {NULL, "GET", "/shifts/{shift}/invoices", NULL, 0},
};

/* what their answers are known by. The form of a failure's record, of a tax
** id and of a dry run is documented nowhere */
static const call_mark an_id = {"_id", CALL_TEXT, NULL};
static const call_mark this_id = {"_id", CALL_TEXT, "id"};
static const call_mark this_provider = {"providerId", CALL_TEXT, "id"};
static const call_mark this_sequence = {"sequenceId", CALL_TEXT, "id"};
static const call_mark a_token = {"token", CALL_TEXT, NULL};
static const call_mark status = {"status", CALL_CHOICE, NULL};

#define READ (CALL_SAFE | CALL_IDEMPOTENT)

static const call_op ops[] = {
    {"invoices.get", CALL_ONE, "invoice", &this_id, READ | CALL_INVOICES, NULL,
     by_id, invoices_get, "One invoice."},
    {"invoices.list", CALL_PAGE, "invoices", &an_id, READ | CALL_INVOICES,
     NULL, of_transaction, invoices_list,
     "The invoices of a transaction, of all pages or of the one that is asked "
     "for."},
    {"invoices.failures", CALL_PAGE, "invoicesFailures", NULL, READ, NULL,
     failures_filter, invoices_failures, "What could not be invoiced."},
    {"invoices.retry", CALL_ONE, "invoice", &an_id, CALL_INVOICES, NULL,
     retry_params, invoices_retry,
     "Invoices a transaction that failed; with overrideBuyer it is a PUT, and "
     "`body` is a whole body of yours. Never twice: see docs/client.md."},
    {"invoices.issue", CALL_ONE, "invoice", &an_id, CALL_INVOICES, NULL,
     issue_params, invoices_issue,
     "A fiscal document. Never twice. Among the options validate_only asks "
     "for a dry run."},
    {"invoices.validate_void", CALL_ONE, NULL, NULL, READ, NULL, void_params,
     invoices_validate_void, "Can the invoice of a transaction be voided?"},
    {"invoices.email", CALL_ONE, NULL, &status, 0, NULL, email_params,
     invoices_email, "Sends mail: a lost answer is unknown_outcome."},
    {"invoices.pdf", CALL_FILE, NULL, NULL, READ, NULL, pdf_params,
     invoices_pdf, "The PDF of a transaction."},
    {"providers.list", CALL_PAGE, "providers", &an_id, READ | CALL_PRIVATE,
     NULL, providers_filter, providers_list,
     "Those who issue fiscal documents. Errors never quote them: they hold "
     "credentials."},
    {"providers.get", CALL_ONE, "provider", &this_id, READ | CALL_PRIVATE,
     NULL, by_id, providers_get, "One provider."},
    {"providers.create", CALL_ONE, "provider", &an_id, CALL_PRIVATE, NULL,
     providers_new, providers_create, "A new provider."},
    {"providers.update", CALL_ONE, "provider", &this_id,
     CALL_IDEMPOTENT | CALL_PRIVATE, NULL, providers_change, providers_update,
     "Changes a provider."},
    {"providers.delete", CALL_EMPTY, NULL, &this_provider, CALL_IDEMPOTENT,
     NULL, by_id, providers_delete, "Deletes a provider."},
    {"sequences.list", CALL_PAGE, "sequences", &an_id, READ, NULL,
     sequences_filter, sequences_list,
     "The sequences of numbers of a provider."},
    {"sequences.get", CALL_ONE, "sequence", &this_id, READ, NULL,
     sequences_one, sequences_get, "One sequence."},
    {"sequences.create", CALL_ONE, "sequence", &an_id, 0, NULL, sequences_new,
     sequences_create, "A new sequence."},
    {"sequences.update", CALL_ONE, "sequence", &this_id, CALL_IDEMPOTENT, NULL,
     sequences_change, sequences_update, "Changes a sequence."},
    {"sequences.delete", CALL_EMPTY, NULL, &this_sequence, CALL_IDEMPOTENT,
     NULL, sequences_one, sequences_delete, "Deletes a sequence."},
    {"tax_ids.list", CALL_PAGE, "taxIds", NULL, READ, NULL, tax_params,
     tax_ids_list, "What is known of a tax number."},
    {"users.login", CALL_ONE, NULL, &a_token, CALL_IDEMPOTENT | CALL_PRIVATE,
     "accounts", login_params, users_login,
     "Signs in, for the token of a client: { user, token, shortToken }. The "
     "code of the error MFA_REQUIRED asks for a totpToken. Errors quote "
     "nothing of it."},
    {"transactions.invoice", CALL_ANY, NULL, NULL, 0, "operations",
     transaction_invoice, transactions_invoice,
     "Adds an invoice to a transaction. A lost answer is unknown_outcome."},
    {"transactions.credit_note", CALL_ANY, NULL, NULL, 0, "operations",
     transaction_note, transactions_credit_note,
     "Adds the ids of a credit note to a transaction. A lost answer is "
     "unknown_outcome."},
    {"shifts.invoices", CALL_LISTED, "invoices items data", &an_id,
     READ | CALL_INVOICES, "accounts", of_shift, shifts_invoices,
     "The invoices of a shift: a list without a transactionId."},
    {"undelivered.list", CALL_LISTED, "undelivered items data", NULL, READ,
     "webhooks", of_context, undelivered_list,
     "The webhooks that could not be delivered."},
    {"undelivered.get", CALL_ONE, "undelivered", &this_id, READ, "webhooks",
     by_name, undelivered_get, "One of them."},
    {"undelivered.retry", CALL_ANY, NULL, NULL, CALL_IDEMPOTENT, "webhooks",
     by_name, undelivered_retry, "Has one sent again."},
    {"undelivered.retry_all", CALL_ANY, NULL, NULL, CALL_IDEMPOTENT,
     "webhooks", no_params, undelivered_retry_all, "Has all sent again."},
    {"undelivered.change", CALL_ANY, NULL, NULL, 0, "webhooks", providers_new,
     undelivered_change, "A change of them, in the words of the vendor."},
    {"undelivered.delete", CALL_ANY, NULL, NULL, CALL_IDEMPOTENT, "webhooks",
     by_name, undelivered_delete, "Erases one."},
    {"undelivered.delete_all", CALL_EMPTY, NULL, NULL, CALL_IDEMPOTENT,
     "webhooks", no_params, undelivered_delete_all, "Erases all."},
    {"subscriptions.list", CALL_LISTED, "subscriptions items data", NULL,
     READ | CALL_PRIVATE, "webhooks", of_context, subscriptions_list,
     "Who is subscribed to webhooks."},
    {"subscriptions.get", CALL_ONE, "subscription", &this_id,
     READ | CALL_PRIVATE, "webhooks", by_name, subscriptions_get,
     "One subscription."},
    {"subscriptions.create", CALL_ONE, "subscription", &an_id, CALL_PRIVATE,
     "webhooks", providers_new, subscriptions_create, "A new subscription."},
    {"subscriptions.update", CALL_ONE, "subscription", &this_id,
     CALL_IDEMPOTENT | CALL_PRIVATE, "webhooks", name_change,
     subscriptions_update, "Changes a subscription."},
    {"subscriptions.delete", CALL_ANY, NULL, NULL, CALL_IDEMPOTENT, "webhooks",
     by_name, subscriptions_delete, "Deletes a subscription."},
    {"events.list", CALL_LISTED, "events items data", NULL, READ, "webhooks",
     of_context, events_list, "The events of webhooks."},
    {NULL, 0, NULL, NULL, 0, NULL, NULL, NULL, NULL},
};

const call_vendor call_betterez = {"betterez", ops, 0};
