/*
** dreamclass.c - DreamClass's calls about invoices and fees. The sections in
** the comments are those of the vendors' dossier, docs/vendors.md.
**
** Paths are below the base URL, which ends in /dreamclassapi/v1. Those marked
** CALL_UNVERIFIED no document shows: a client's `paths` replaces them.
*/
#include "call.h"

static const call_param by_id[] = {
    CALL_PARAM("id", CALL_ID, CALL_PATH, CALL_REQUIRED),
    CALL_END,
};

/* 2.2 GetInvoice: named by the webhook's page; its path was not found */
static const call_route invoices_get[] = {
    {NULL, "GET", "/financial/invoices/{id}", NULL, 0},
};

/* 2.2 CreateInvoice: invoices all fees of the dates that have no invoice */
static const char *const entities[] = {"student", "guardian", NULL};

static const call_param invoices_new[] = {
    {"entityType",
     CALL_CHOICE,
     CALL_FIELD,
     CALL_REQUIRED,
     {.choices = entities}},
    CALL_PARAM("entityId", CALL_ID, CALL_FIELD, CALL_REQUIRED),
    CALL_PARAM("schoolPeriodId", CALL_ID, CALL_FIELD, CALL_REQUIRED),
    CALL_PARAM("feesFromDate", CALL_DATE, CALL_FIELD, 0),
    CALL_PARAM("feesToDate", CALL_DATE, CALL_FIELD, 0),
    CALL_PARAM("issueDate", CALL_DATE, CALL_FIELD, 0),
    CALL_PARAM("dueDate", CALL_DATE, CALL_FIELD, 0),
    CALL_PARAM("privateNotes", CALL_TEXT, CALL_FIELD, 0),
    CALL_PARAM("publicNotes", CALL_TEXT, CALL_FIELD, 0),
    CALL_PARAM("notify", CALL_BOOLEAN, CALL_FIELD, 0),
    CALL_END,
};

static const call_route invoices_create[] = {
    {NULL, "POST", "/financial/invoices/create", NULL, 0},
};

/* 2.2 PayInvoice: no idempotency key, twice pays twice; 200 with the whole
** invoice. Its schema has the amount as text and the method as an object, its
** prose both as numbers: whoever gives the one or the other gets that form */
static const call_param invoices_payment[] = {
    CALL_PARAM("id", CALL_ID, CALL_PATH, CALL_REQUIRED),
    CALL_PARAM("amount", CALL_NUMBER, CALL_FIELD, CALL_REQUIRED | CALL_SPELT),
    CALL_PARAM("paymentmethod", CALL_NUMBERED, CALL_FIELD, CALL_REQUIRED),
    CALL_PARAM("privateNotes", CALL_TEXT, CALL_FIELD, 0),
    CALL_PARAM("publicNotes", CALL_TEXT, CALL_FIELD, 0),
    CALL_PARAM("createdAt", CALL_DATETIME, CALL_FIELD, 0),
    CALL_END,
};

static const call_route invoices_pay[] = {
    {NULL, "POST", "/financial/invoices/pay/{id}", NULL, 0},
};

/* 2.2 UpdateInvoice */
static const call_param invoices_change[] = {
    CALL_PARAM("id", CALL_ID, CALL_PATH, CALL_REQUIRED),
    CALL_PARAM("publicNotes", CALL_TEXT, CALL_FIELD, 0),
    CALL_PARAM("privateNotes", CALL_TEXT, CALL_FIELD, 0),
    CALL_PARAM("issueDate", CALL_DATE, CALL_FIELD, 0),
    CALL_PARAM("dueDate", CALL_DATE, CALL_FIELD, 0),
    CALL_PARAM("invoiceRefId", CALL_TEXT, CALL_FIELD, 0),
    CALL_END,
};

static const call_route invoices_update[] = {
    {NULL, "PATCH", "/financial/invoices/update/{id}", NULL, 0},
};

/* 2.2 UpdatePayment: whether the answer is the payment or its invoice is not
** said */
static const call_param payments_change[] = {
    CALL_PARAM("id", CALL_ID, CALL_PATH, CALL_REQUIRED),
    CALL_PARAM("publicNotes", CALL_TEXT, CALL_FIELD, 0),
    CALL_PARAM("privateNotes", CALL_TEXT, CALL_FIELD, 0),
    CALL_PARAM("date", CALL_DATETIME, CALL_FIELD, 0),
    CALL_END,
};

static const call_route payments_update[] = {
    {NULL, "PATCH", "/financial/invoices/payment/{id}", NULL, 0},
};

/* 2.2 GetPeriodFees: named by the webhook's page; its path was not found */
static const call_param fees_filter[] = {
    CALL_PARAM("period", CALL_ID, CALL_PATH, CALL_REQUIRED),
    CALL_END,
};

static const call_route fees_list[] = {
    {NULL, "GET", "/financial/fees/list/{period}", NULL, 0},
};

/* 2.2 CreateFees: its fields are documented, its path was not seen */
static const char *const fee_types[] = {"application", "school", NULL};
static const char *const fee_periods[] = {"oneoff", "monthly", "periodically",
                                          NULL};

static const call_range months = {"0.5", "6",
                                  "must be a decimal from 0.5 to 6"};

static const call_param fees_new[] = {
    {"type", CALL_CHOICE, CALL_FIELD, CALL_REQUIRED, {.choices = fee_types}},
    {"period",
     CALL_CHOICE,
     CALL_FIELD,
     CALL_REQUIRED,
     {.choices = fee_periods}},
    CALL_PARAM("cost", CALL_NUMBER, CALL_FIELD, CALL_REQUIRED),
    CALL_PARAM("description", CALL_TEXT, CALL_FIELD, 0),
    CALL_PARAM("startDate", CALL_DATE, CALL_FIELD, 0),
    {"interval", CALL_NUMBER, CALL_FIELD, 0, {.range = &months}},
    CALL_PARAM("duration", CALL_INTEGER, CALL_FIELD, 0),
    CALL_PARAM("schoolPeriodId", CALL_ID, CALL_FIELD, CALL_REQUIRED),
    CALL_END,
};

static const call_route fees_create[] = {
    {NULL, "POST", "/financial/fees/create", NULL, 0},
};

/* 2.2 UpdateFees */
static const call_param fees_change[] = {
    CALL_PARAM("id", CALL_ID, CALL_PATH, CALL_REQUIRED),
    CALL_PARAM("cost", CALL_NUMBER, CALL_FIELD, 0),
    CALL_PARAM("description", CALL_TEXT, CALL_FIELD, 0),
    CALL_PARAM("startDate", CALL_DATE, CALL_FIELD, 0),
    CALL_PARAM("duration", CALL_INTEGER, CALL_FIELD, 0),
    {"interval", CALL_NUMBER, CALL_FIELD, 0, {.range = &months}},
    CALL_END,
};

static const call_route fees_update[] = {
    {NULL, "PATCH", "/financial/fees/update/{id}", NULL, 0},
};

/* 2.2 AssignFees: plan 1 is all instalments from the fee's start, 2 from next
** month on, 3 from this month on. The answer is a number */
static const call_range plans = {"1", "3",
                                 "must be a whole number from 1 to 3"};

static const call_param fees_plan[] = {
    CALL_PARAM("studentIds", CALL_ID, CALL_FIELD, CALL_REQUIRED | CALL_LIST),
    CALL_PARAM("feesIds", CALL_ID, CALL_FIELD, CALL_REQUIRED | CALL_LIST),
    {"installmentPlan",
     CALL_INTEGER,
     CALL_FIELD,
     CALL_REQUIRED,
     {.range = &plans}},
    CALL_END,
};

static const call_route fees_assign[] = {
    {NULL, "POST", "/financial/fees/assign", NULL, 0},
};

/* 2.2 others: seen in a third party's client only */
static const call_param no_params[] = {CALL_END};

/* 2.2 GetInvoices, GetPaymentMethods: named, without a path */
static const call_route invoices_list[] = {
    {NULL, "GET", "/financial/invoices/list", NULL, 0},
};

static const call_route methods_list[] = {
    {NULL, "GET", "/financial/paymentmethods/list", NULL, 0},
};

static const call_route periods_list[] = {
    {NULL, "GET", "/curriculum/schoolperiods/list", NULL, 0},
};

/* what their answers are known by */
static const call_mark an_id = {"id", CALL_ID, NULL};
static const call_mark this_id = {"id", CALL_ID, "id"};

#define READ  (CALL_SAFE | CALL_IDEMPOTENT)
#define GUESS CALL_UNVERIFIED
#define WRAPS "items results data values" /* where third parties look */

static const call_op ops[] = {
    {"invoices.get", CALL_ONE, NULL, &this_id, READ | GUESS | CALL_INVOICES,
     NULL, by_id, invoices_get,
     "One invoice, with payments and paidAmount. Its path is a guess: set "
     "`paths`."},
    {"invoices.list", CALL_LISTED, WRAPS, &an_id, READ | GUESS | CALL_INVOICES,
     NULL, no_params, invoices_list,
     "All invoices. Its path is a guess: set `paths`."},
    {"invoices.create", CALL_ONE, NULL, &an_id, CALL_INVOICES, NULL,
     invoices_new, invoices_create,
     "Bills all fees of the dates that have no invoice. A lost answer is "
     "unknown_outcome."},
    {"invoices.pay", CALL_ONE, NULL, &this_id, CALL_INVOICES, NULL,
     invoices_payment, invoices_pay,
     "Records a payment: paymentmethod as a number (1 cash, 2 bank transfer, "
     "3 online, 4 check) sends the amount as a number, { id = 2 } sends it as "
     "text. A lost answer is unknown_outcome."},
    {"invoices.update", CALL_ONE, NULL, &this_id,
     CALL_IDEMPOTENT | CALL_INVOICES, NULL, invoices_change, invoices_update,
     "Changes notes, dates and the reference of your own, invoiceRefId."},
    {"payments.update", CALL_ONE, NULL, &an_id, CALL_IDEMPOTENT, NULL,
     payments_change, payments_update,
     "Changes notes and the date of a payment; its id stands in its invoice."},
    {"payment_methods.list", CALL_LISTED, WRAPS, &an_id, READ | GUESS, NULL,
     no_params, methods_list,
     "The ways to pay. Its path is a guess: set `paths`."},
    {"fees.list", CALL_LISTED, WRAPS, &an_id, READ | GUESS, NULL, fees_filter,
     fees_list,
     "The fees of a school period. Its path is a guess: set `paths`."},
    {"fees.create", CALL_ONE, NULL, &an_id, GUESS, NULL, fees_new, fees_create,
     "A new fee; interval is in months. Its path is a guess: set `paths`."},
    {"fees.update", CALL_ONE, NULL, &this_id, 0, NULL, fees_change,
     fees_update, "Changes a fee."},
    {"fees.assign", CALL_WHOLE, NULL, NULL, 0, NULL, fees_plan, fees_assign,
     "Assigns fees to students of a period. installmentPlan: 1 all from the "
     "start of the fee, 2 from next month on, 3 from this month on."},
    {"periods.list", CALL_LISTED, WRAPS, &an_id, READ | GUESS, NULL, no_params,
     periods_list, "The school periods. Its path is a guess: set `paths`."},
    {NULL, 0, NULL, NULL, 0, NULL, NULL, NULL, NULL},
};

const call_vendor call_dreamclass = {"dreamclass", ops, 0};
