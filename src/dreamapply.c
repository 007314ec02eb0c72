/*
** dreamapply.c - DreamApply's invoice API, version 9. The sections in the
** comments are those of the vendors' dossier, docs/vendors.md.
**
** Paths carry /api/v9 always: what a path without it means is contradictory
** (1.2). Lists have no pages (1.5).
*/
#include "call.h"

#define API "/api/v9"

static const call_param no_params[] = {CALL_END};

/* 1.6 GET /invoices, and the two lists that have their owner in the path */
static const call_param invoices_filter[] = {
    CALL_PARAM("application", CALL_ID, CALL_PATH, 0),
    CALL_PARAM("applicant", CALL_ID, CALL_PATH, 0),
    CALL_PARAM("byIssuedSince", CALL_DATETIME, CALL_QUERY, 0),
    CALL_PARAM("byCollectedSince", CALL_DATETIME, CALL_QUERY, 0),
    CALL_PARAM("byApplicantIDs", CALL_ID, CALL_QUERY, CALL_LIST),
    CALL_PARAM("bySerieIDs", CALL_ID, CALL_QUERY, CALL_LIST),
    CALL_PARAM("byCurrencies", CALL_CURRENCY, CALL_QUERY, CALL_LIST),
    CALL_PARAM("byCollected", CALL_BOOLEAN, CALL_QUERY, 0),
    CALL_PARAM("byOverdue", CALL_BOOLEAN, CALL_QUERY, 0),
    CALL_END,
};

static const call_route invoices_list[] = {
    {"application", "GET", API "/applications/{application}/invoices", NULL,
     1},
    {"applicant", "GET", API "/applicants/{applicant}/invoices", NULL, 1},
    {NULL, "GET", API "/invoices", NULL, 0},
};

static const call_route invoices_count[] = {
    {"application", "HEAD", API "/applications/{application}/invoices", NULL,
     1},
    {"applicant", "HEAD", API "/applicants/{applicant}/invoices", NULL, 1},
    {NULL, "HEAD", API "/invoices", NULL, 0},
};

static const call_param by_id[] = {
    CALL_PARAM("id", CALL_ID, CALL_PATH, CALL_REQUIRED),
    CALL_END,
};

/* 1.6 /invoices/ID */
static const call_route invoices_get[] = {
    {NULL, "GET", API "/invoices/{id}", NULL, 0},
};

static const call_route invoices_exists[] = {
    {NULL, "HEAD", API "/invoices/{id}", NULL, 0},
};

static const call_route invoices_delete[] = {
    {NULL, "DELETE", API "/invoices/{id}", NULL, 0},
};

/* 1.6 POST /applications/ID/invoices; an item's unit is null in the sample
** where there is none */
static const call_param item_fields[] = {
    CALL_PARAM("item", CALL_TEXT, CALL_FIELD, CALL_REQUIRED),
    CALL_PARAM("price", CALL_DECIMAL, CALL_FIELD, CALL_REQUIRED),
    CALL_PARAM("qty", CALL_DECIMAL, CALL_FIELD, CALL_REQUIRED),
    CALL_PARAM("unit", CALL_TEXT, CALL_FIELD, CALL_NULL),
    CALL_PARAM("inventory_item_ID", CALL_ID, CALL_FIELD, 0),
    CALL_END,
};

static const call_param payer_fields[] = {
    CALL_PARAM("name", CALL_TEXT, CALL_FIELD, 0),
    CALL_PARAM("email", CALL_TEXT, CALL_FIELD, 0),
    CALL_END,
};

static const call_param invoices_new[] = {
    CALL_PARAM("application", CALL_ID, CALL_PATH, CALL_REQUIRED),
    CALL_PARAM("currency", CALL_CURRENCY, CALL_FIELD, CALL_REQUIRED),
    {"items",
     CALL_RECORD,
     CALL_FIELD,
     CALL_REQUIRED | CALL_LIST,
     {.fields = item_fields}},
    CALL_PARAM("invoice_class_ID", CALL_ID, CALL_FIELD, 0),
    CALL_PARAM("type", CALL_TEXT, CALL_FIELD, 0),
    CALL_PARAM("issuer_institution_ID", CALL_ID, CALL_FIELD, 0),
    CALL_PARAM("serie_ID", CALL_ID, CALL_FIELD, 0),
    CALL_PARAM("course_ID", CALL_ID, CALL_FIELD, 0),
    CALL_PARAM("deadline", CALL_DATETIME, CALL_FIELD, 0),
    CALL_PARAM("reminder", CALL_SWITCH, CALL_FIELD, 0),
    CALL_PARAM("instructions", CALL_TEXT, CALL_FIELD, 0),
    CALL_PARAM("smallprint", CALL_TEXT, CALL_FIELD, 0),
    CALL_PARAM("issuer_administrator_ID", CALL_ID, CALL_FIELD, 0),
    {"payer", CALL_RECORD, CALL_FIELD, 0, {.fields = payer_fields}},
    CALL_PARAM("copy", CALL_TEXT, CALL_FIELD, 0),
    CALL_PARAM("notify", CALL_TEXT, CALL_FIELD, 0),
    CALL_END,
};

static const call_route invoices_create[] = {
    {NULL, "POST", API "/applications/{application}/invoices", NULL, 0},
};

/* 1.6 transactions, of all invoices and of one */
static const call_param transactions_filter[] = {
    CALL_PARAM("invoice", CALL_ID, CALL_PATH, 0),
    CALL_PARAM("byInvoiceIDs", CALL_ID, CALL_QUERY, CALL_LIST),
    CALL_PARAM("byInsertedSince", CALL_DATETIME, CALL_QUERY, 0),
    CALL_PARAM("byInsertedBefore", CALL_DATETIME, CALL_QUERY, 0),
    CALL_PARAM("byCollectedSince", CALL_DATE, CALL_QUERY, 0),
    CALL_PARAM("byCollectedBefore", CALL_DATE, CALL_QUERY, 0),
    CALL_END,
};

static const call_route transactions_list[] = {
    {"invoice", "GET", API "/invoices/{invoice}/transactions", NULL, 1},
    {NULL, "GET", API "/invoices/transactions", NULL, 0},
};

static const call_route transactions_count[] = {
    {"invoice", "HEAD", API "/invoices/{invoice}/transactions", NULL, 1},
    {NULL, "HEAD", API "/invoices/transactions", NULL, 0},
};

static const call_param transactions_one[] = {
    CALL_PARAM("id", CALL_ID, CALL_PATH, CALL_REQUIRED),
    CALL_PARAM("invoice", CALL_ID, CALL_PATH, 0),
    CALL_END,
};

static const call_route transactions_get[] = {
    {"invoice", "GET", API "/invoices/{invoice}/transactions/{id}", NULL, 1},
    {NULL, "GET", API "/invoices/transactions/{id}", NULL, 0},
};

static const call_route transactions_exists[] = {
    {"invoice", "HEAD", API "/invoices/{invoice}/transactions/{id}", NULL, 1},
    {NULL, "HEAD", API "/invoices/transactions/{id}", NULL, 0},
};

/* twice records two payments */
static const call_param transactions_new[] = {
    CALL_PARAM("invoice", CALL_ID, CALL_PATH, CALL_REQUIRED),
    CALL_PARAM("amount", CALL_DECIMAL, CALL_FIELD, CALL_REQUIRED),
    CALL_PARAM("currency", CALL_CURRENCY, CALL_FIELD, CALL_REQUIRED),
    CALL_END,
};

static const call_route transactions_create[] = {
    {NULL, "POST", API "/invoices/{invoice}/transactions", NULL, 0},
};

/* 1.6 series */
static const call_route series_list[] = {
    {NULL, "GET", API "/invoices/series", NULL, 0},
};

static const call_route series_count[] = {
    {NULL, "HEAD", API "/invoices/series", NULL, 0},
};

/* 1.7 GET /journal: what webhooks tell, to be asked for */
static const char *const orders[] = {"newest-first", "oldest-first", NULL};

static const call_range limits = {"1", "1024",
                                  "must be a whole number from 1 to 1024"};

static const call_param journal_filter[] = {
    CALL_PARAM("byEvents", CALL_TEXT, CALL_QUERY, CALL_REQUIRED | CALL_LIST),
    CALL_PARAM("bySince", CALL_SINCE, CALL_QUERY, 0),
    CALL_PARAM("byUntil", CALL_SINCE, CALL_QUERY, 0),
    CALL_PARAM("byAcademicYear", CALL_TEXT, CALL_QUERY, 0),
    CALL_PARAM("byAcademicTermID", CALL_ID, CALL_QUERY, 0),
    {"order", CALL_CHOICE, CALL_QUERY, 0, {.choices = orders}},
    {"limit", CALL_INTEGER, CALL_QUERY, 0, {.range = &limits}},
    CALL_END,
};

static const call_route journal_list[] = {
    {NULL, "GET", API "/journal", NULL, 0},
};

static const call_route journal_count[] = {
    {NULL, "HEAD", API "/journal", NULL, 0},
};

/* 1.7: the applications and applicants that were deleted */
static const call_route purged_list[] = {
    {NULL, "GET", API "/purged-resources", NULL, 0},
};

/* 1.2 */
static const call_route ping[] = {
    {NULL, "GET", API "/ping", NULL, 0},
};

/* what their answers are known by */
static const call_mark an_id = {"id", CALL_ID, NULL};
static const call_mark this_id = {"id", CALL_ID, "id"};
static const call_mark pong = {"pong", CALL_INTEGER, NULL};

#define READ (CALL_SAFE | CALL_IDEMPOTENT)

static const call_op ops[] = {
    {"invoices.get", CALL_ONE, NULL, &this_id, READ | CALL_INVOICES, NULL,
     by_id, invoices_get, "One invoice."},
    {"invoices.exists", CALL_EXISTS, NULL, NULL, READ, NULL, by_id,
     invoices_exists, "Is there such an invoice?"},
    {"invoices.list", CALL_MAP, NULL, &an_id, READ | CALL_INVOICES, NULL,
     invoices_filter, invoices_list,
     "All that the filter lets through, of an application or an applicant "
     "with that alone; there are no pages."},
    {"invoices.count", CALL_COUNT, NULL, NULL, READ, NULL, invoices_filter,
     invoices_count, "How many the list has."},
    {"invoices.create", CALL_LOCATION, NULL, &an_id, CALL_CREATED, NULL,
     invoices_new, invoices_create,
     "Bills an application. Never twice: see docs/client.md."},
    {"invoices.delete", CALL_EMPTY, NULL, &this_id, CALL_IDEMPOTENT, NULL,
     by_id, invoices_delete,
     "Deletes it; what happens to a paid one is not documented."},
    {"transactions.list", CALL_MAP, NULL, &an_id, READ, NULL,
     transactions_filter, transactions_list,
     "Payments, of all invoices or of one alone."},
    {"transactions.count", CALL_COUNT, NULL, NULL, READ, NULL,
     transactions_filter, transactions_count, "How many the list has."},
    {"transactions.get", CALL_ONE, NULL, &this_id, READ, NULL,
     transactions_one, transactions_get, "One payment."},
    {"transactions.exists", CALL_EXISTS, NULL, NULL, READ, NULL,
     transactions_one, transactions_exists, "Is there such a payment?"},
    {"transactions.create", CALL_LOCATION, NULL, &an_id, CALL_CREATED, NULL,
     transactions_new, transactions_create,
     "Records a payment that somebody has made. Never twice: see "
     "docs/client.md."},
    {"series.list", CALL_MAP, NULL, &an_id, READ, NULL, no_params, series_list,
     "The series that number invoices."},
    {"series.count", CALL_COUNT, NULL, NULL, READ, NULL, no_params,
     series_count, "How many series there are."},
    {"journal.list", CALL_MAP, NULL, &an_id, READ, NULL, journal_filter,
     journal_list,
     "What webhooks tell, for six months; limit is 1024 at most."},
    {"journal.count", CALL_COUNT, NULL, NULL, READ, NULL, journal_filter,
     journal_count, "How many entries the list has."},
    {"purged_resources.list", CALL_ANY, NULL, NULL, READ, NULL, no_params,
     purged_list,
     "The applications and applicants that were deleted, with what is said of "
     "pages, as it comes."},
    {"ping", CALL_ONE, NULL, &pong, READ, NULL, no_params, ping,
     "Is the server there, and does it know the key?"},
    {NULL, 0, NULL, NULL, 0, NULL, NULL, NULL, NULL},
};

/* 1.4: what the quota turns away was not processed */
const call_vendor call_dreamapply = {"dreamapply", ops, 1};
