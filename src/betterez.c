/*
** betterez.c - Betterez's invoices API. The sections in the comments are
** those of the vendors' dossier, docs/vendors.md.
**
** Paths are below the base URL, which ends in /invoices (3.1, inferred).
** Lists come in pages, and tell of the next only where a page was asked for.
*/
#include "call.h"

#define PAGE CALL_PARAM("page", CALL_INTEGER, CALL_QUERY, 0)

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
    CALL_END,
};

static const call_route tax_ids_list[] = {
    {NULL, "GET", "/tax-ids", NULL, 0},
};

/* what their answers are known by. The form of a failure's record, of a tax
** id and of a dry run is documented nowhere */
static const call_mark an_id = {"_id", CALL_TEXT, NULL};
static const call_mark this_id = {"_id", CALL_TEXT, "id"};
static const call_mark this_provider = {"providerId", CALL_TEXT, "id"};
static const call_mark this_sequence = {"sequenceId", CALL_TEXT, "id"};
static const call_mark status = {"status", CALL_CHOICE, NULL};

#define READ (CALL_SAFE | CALL_IDEMPOTENT)

static const call_op ops[] = {
    {"invoices.get", CALL_ONE, "invoice", &this_id, READ | CALL_INVOICES,
     by_id, invoices_get},
    {"invoices.list", CALL_PAGE, "invoices", &an_id, READ | CALL_INVOICES,
     of_transaction, invoices_list},
    {"invoices.failures", CALL_PAGE, "invoicesFailures", NULL, READ,
     failures_filter, invoices_failures},
    {"invoices.retry", CALL_ONE, "invoice", &an_id, CALL_INVOICES,
     retry_params, invoices_retry},
    {"invoices.issue", CALL_ONE, "invoice", &an_id, CALL_INVOICES,
     issue_params, invoices_issue},
    {"invoices.validate_void", CALL_ONE, NULL, NULL, READ, void_params,
     invoices_validate_void},
    {"invoices.email", CALL_ONE, NULL, &status, 0, email_params,
     invoices_email},
    {"invoices.pdf", CALL_FILE, NULL, NULL, READ, pdf_params, invoices_pdf},
    {"providers.list", CALL_PAGE, "providers", &an_id, READ | CALL_PRIVATE,
     providers_filter, providers_list},
    {"providers.get", CALL_ONE, "provider", &this_id, READ | CALL_PRIVATE,
     by_id, providers_get},
    {"providers.create", CALL_ONE, "provider", &an_id, CALL_PRIVATE,
     providers_new, providers_create},
    {"providers.update", CALL_ONE, "provider", &this_id,
     CALL_IDEMPOTENT | CALL_PRIVATE, providers_change, providers_update},
    {"providers.delete", CALL_EMPTY, NULL, &this_provider, CALL_IDEMPOTENT,
     by_id, providers_delete},
    {"sequences.list", CALL_PAGE, "sequences", &an_id, READ, sequences_filter,
     sequences_list},
    {"sequences.get", CALL_ONE, "sequence", &this_id, READ, sequences_one,
     sequences_get},
    {"sequences.create", CALL_ONE, "sequence", &an_id, 0, sequences_new,
     sequences_create},
    {"sequences.update", CALL_ONE, "sequence", &this_id, CALL_IDEMPOTENT,
     sequences_change, sequences_update},
    {"sequences.delete", CALL_EMPTY, NULL, &this_sequence, CALL_IDEMPOTENT,
     sequences_one, sequences_delete},
    {"tax_ids.list", CALL_LISTED, "taxIds", NULL, READ, tax_params,
     tax_ids_list},
    {NULL, 0, NULL, NULL, 0, NULL, NULL},
};

const call_vendor call_betterez = {"betterez", ops, 0};
