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
** invoice */
static const call_param invoices_payment[] = {
    CALL_PARAM("id", CALL_ID, CALL_PATH, CALL_REQUIRED),
    CALL_PARAM("amount", CALL_NUMBER, CALL_FIELD, CALL_REQUIRED),
    CALL_PARAM("paymentmethod", CALL_INTEGER, CALL_FIELD, CALL_REQUIRED),
    CALL_PARAM("privateNotes", CALL_TEXT, CALL_FIELD, 0),
    CALL_PARAM("publicNotes", CALL_TEXT, CALL_FIELD, 0),
    CALL_PARAM("createdAt", CALL_DATETIME, CALL_FIELD, 0),
    CALL_END,
};

static const call_route invoices_pay[] = {
    {NULL, "POST", "/financial/invoices/pay/{id}", NULL, 0},
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
    CALL_PARAM("interval", CALL_NUMBER, CALL_FIELD, 0),
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
    CALL_PARAM("interval", CALL_NUMBER, CALL_FIELD, 0),
    CALL_END,
};

static const call_route fees_update[] = {
    {NULL, "PATCH", "/financial/fees/update/{id}", NULL, 0},
};

/* 2.2 AssignFees: plan 1 is all instalments from the fee's start, 2 from next
** month on, 3 from this month on. The answer is a number */
static const call_param fees_plan[] = {
    CALL_PARAM("studentIds", CALL_ID, CALL_FIELD, CALL_REQUIRED | CALL_LIST),
    CALL_PARAM("feesIds", CALL_ID, CALL_FIELD, CALL_REQUIRED | CALL_LIST),
    CALL_PARAM("installmentPlan", CALL_INTEGER, CALL_FIELD, CALL_REQUIRED),
    CALL_END,
};

static const call_route fees_assign[] = {
    {NULL, "POST", "/financial/fees/assign", NULL, 0},
};

/* 2.2 others: seen in a third party's client only */
static const call_param no_params[] = {CALL_END};

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
     by_id, invoices_get},
    {"invoices.create", CALL_ONE, NULL, &an_id, CALL_INVOICES, invoices_new,
     invoices_create},
    {"invoices.pay", CALL_ONE, NULL, &this_id, CALL_INVOICES, invoices_payment,
     invoices_pay},
    {"fees.list", CALL_LISTED, WRAPS, &an_id, READ | GUESS, fees_filter,
     fees_list},
    {"fees.create", CALL_ONE, NULL, &an_id, GUESS, fees_new, fees_create},
    {"fees.update", CALL_ONE, NULL, &this_id, 0, fees_change, fees_update},
    {"fees.assign", CALL_WHOLE, NULL, NULL, 0, fees_plan, fees_assign},
    {"periods.list", CALL_LISTED, WRAPS, &an_id, READ | GUESS, no_params,
     periods_list},
    {NULL, 0, NULL, NULL, 0, NULL, NULL},
};

const call_vendor call_dreamclass = {"dreamclass", ops, 0};
