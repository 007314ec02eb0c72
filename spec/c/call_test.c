/* with: call.c dreamapply.c dreamclass.c betterez.c date.c decimal.c text.c */
#include "call.h"
#include <stdio.h>
#include <string.h>

static int passed, failed;

static void check(int good, const char *what, const char *detail) {
  if (good) {
    passed++;
  } else {
    failed++;
    printf("not as expected: %s (%s)\n", what, detail);
  }
}

static const call_vendor *const vendors[] = {&call_dreamapply,
                                             &call_dreamclass, &call_betterez};

/* every name in braces is a parameter that the route can rely on */
static void test_path(const call_op *op, const call_route *route) {
  slice path = slice_of(route->path), literal, name;
  check(path.p[0] == '/', "absolute path", op->name);
  while (call_piece(&path, &literal, &name)) {
    const call_param *param;
    if (name.p == NULL) continue;
    param = call_find_param(op->params, name);
    check(param != NULL && param->place == CALL_PATH &&
              ((param->flags & CALL_REQUIRED) ||
               strcmp(param->name, route->param) == 0),
          "parameter of the path", op->name);
  }
}

static void test_op(const call_vendor *vendor, const call_op *op) {
  const call_route *route = op->routes;
  const call_param *param;
  slice none;
  check(call_find(vendor, slice_of(op->name)) == op, "one name", op->name);
  for (;; route++) {
    test_path(op, route);
    if (route->param == NULL) break;
    check(call_find_param(op->params, slice_of(route->param)) != NULL,
          "parameter of the route", op->name);
  }
  check(route == call_main_route(op), "main route", op->name);
  check(call_check_path(op, slice_of(route->path), &none) == NULL,
        "its own path", op->name);
  for (param = op->params; param->name != NULL; param++) {
    check(call_find_param(op->params, slice_of(param->name)) == param,
          "one parameter", param->name);
    check(call_type_name((call_type)param->type) != NULL, "type", param->name);
    if (param->type == CALL_CHOICE)
      check(param->detail.choices != NULL, "choices", param->name);
    if (param->type == CALL_RECORD)
      check(param->detail.fields != NULL, "fields", param->name);
  }
  if (op->flags & CALL_SAFE)
    check(op->flags & CALL_IDEMPOTENT, "safe is idempotent", op->name);
  if (strcmp(route->method, "POST") == 0) /* but signing in */
    check(!(op->flags & CALL_IDEMPOTENT) || op->params->place == CALL_BASIC,
          "a POST is not", op->name);
}

static void test_tables(void) {
  size_t i;
  for (i = 0; i < sizeof vendors / sizeof *vendors; i++) {
    const call_op *op = vendors[i]->ops;
    check(call_find_vendor(slice_of(vendors[i]->name)) == vendors[i], "vendor",
          vendors[i]->name);
    for (; op->name != NULL; op++)
      test_op(vendors[i], op);
  }
  check(call_find_vendor(slice_of("")) == NULL, "no vendor", "");
  check(call_find(&call_dreamapply, slice_of("")) == NULL, "no op", "");
}

/* in room of just the bytes that the first pass asked for */
static void writes(call_type type, call_value value, const char *expected) {
  static const char *const choices[] = {"a", "b", NULL};
  call_param param = CALL_PARAM("x", 0, CALL_QUERY, 0);
  char room[128];
  call_out out = {NULL, 0, 0};
  const char *wrong;
  param.type = (uint8_t)type;
  if (type == CALL_CHOICE) param.detail.choices = choices;
  wrong = call_write(&param, &value, 1, &out);
  if (expected == NULL) {
    check(wrong != NULL, "refused", call_type_name(type));
    return;
  }
  check(wrong == NULL && out.n <= sizeof room, "accepted", expected);
  out.p = room;
  out.room = out.n;
  out.n = 0;
  call_write(&param, &value, 1, &out);
  check(out.n <= out.room, "bound", expected);
  check(slice_equal((slice){room, out.n}, slice_of(expected)), "written",
        expected);
}

static call_value text(const char *s) {
  return (call_value){CALL_IS_TEXT, 0, slice_of(s)};
}

static call_value integer(int64_t n) {
  return (call_value){CALL_IS_INTEGER, n, {NULL, 0}};
}

static call_value boolean(int on) {
  return (call_value){CALL_IS_BOOLEAN, on, {NULL, 0}};
}

static void test_values(void) {
  call_value none = {CALL_IS_NONE, 0, {NULL, 0}};
  call_value other = {CALL_IS_OTHER, 0, {NULL, 0}};
  call_value amount = {CALL_IS_DECIMAL, 0, slice_of("1.50")};
  int type;
  for (type = CALL_BOOLEAN; type <= CALL_RECORD; type++) {
    writes((call_type)type, none, NULL);
    writes((call_type)type, other, NULL);
  }
  writes(CALL_BOOLEAN, boolean(1), "true");
  writes(CALL_BOOLEAN, text("true"), NULL);
  writes(CALL_SWITCH, boolean(0), "Off");
  writes(CALL_SWITCH, text("On"), "On");
  writes(CALL_SWITCH, text("on"), NULL);
  writes(CALL_ID, integer(16), "16");
  writes(CALL_ID, integer(INT64_MAX), "9223372036854775807");
  writes(CALL_ID, integer(0), NULL);
  writes(CALL_ID, integer(INT64_MIN), NULL);
  writes(CALL_ID, text("1/2"), NULL);
  writes(CALL_INTEGER, integer(0), "0");
  writes(CALL_INTEGER, integer(-1), NULL);
  writes(CALL_INTEGER, integer(INT64_MIN), NULL);
  writes(CALL_HEX24, text("616d7cf38fedff37e4492161"),
         "616d7cf38fedff37e4492161");
  writes(CALL_HEX24, text("616d7cf38fedff37e449216/"), NULL);
  writes(CALL_TEXT, text("a b/\xc3\xa4"), "a%20b%2F%C3%A4");
  writes(CALL_TEXT, text(""), "");
  writes(CALL_TEXT, (call_value){CALL_IS_TEXT, 0, {"a\0b", 3}}, NULL);
  writes(CALL_CHOICE, text("b"), "b");
  writes(CALL_CHOICE, text("c"), NULL);
  writes(CALL_CURRENCY, text("EUR"), "EUR");
  writes(CALL_CURRENCY, text("EU"), NULL);
  writes(CALL_DATE, text("2024-02-29"), "2024-02-29");
  writes(CALL_DATE, text("2100-02-29"), NULL);
  writes(CALL_DATETIME, text("2026-01-01T00:00+01:00"),
         "2026-01-01T00%3A00%2B01%3A00");
  writes(CALL_DATETIME, integer(INT64_MAX), NULL);
  writes(CALL_DATETIME, integer(-1), NULL);
  writes(CALL_SINCE, integer(124), "124");
  writes(CALL_DECIMAL, amount, "1.50");
  writes(CALL_DECIMAL, integer(INT64_MIN), NULL);
  writes(CALL_DECIMAL, text("-01.50"), "-1.50");
  writes(CALL_DECIMAL, text("1,50"), NULL);
  writes(CALL_ID, amount, NULL);
}

/* a datetime cut anywhere is good or bad, and read no further */
static void test_cut(void) {
  const char *whole = "2026-01-01T10:20:30.123+00:00";
  size_t n;
  for (n = 0; n <= strlen(whole); n++) {
    char copy[32];
    call_value value = {CALL_IS_TEXT, 0, {copy, n}};
    call_param param = CALL_PARAM("x", CALL_DATETIME, CALL_QUERY, 0);
    call_out out = {NULL, 0, 0};
    int good = n == 10 || n == 16 || n == 19 || (n > 20 && n <= 23) ||
               n == strlen(whole);
    memcpy(copy, whole, n);
    check((call_write(&param, &value, 1, &out) == NULL) == good, "cut at",
          whole + n);
  }
}

static void test_paths(void) {
  slice path = slice_of("/a/{b}/c{d}"), literal, name;
  check(call_piece(&path, &literal, &name) &&
            slice_equal(literal, slice_of("/a/")) &&
            slice_equal(name, slice_of("b")),
        "first piece", "");
  check(call_piece(&path, &literal, &name) &&
            slice_equal(literal, slice_of("/c")) &&
            slice_equal(name, slice_of("d")),
        "second piece", "");
  check(!call_piece(&path, &literal, &name), "no third piece", "");
  path = slice_of("}{");
  check(call_piece(&path, &literal, &name) && name.p == NULL &&
            literal.n == 2 && path.n == 0,
        "braces the wrong way round", "");
}

static void test_outcomes(void) {
  const call_op *create =
      call_find(&call_dreamapply, slice_of("invoices.create"));
  call_answer answer = {
      201,       1,         slice_of("/api/applications/1/invoices/321"),
      {NULL, 0}, {NULL, 0}, {NULL, 0}};
  call_outcome out = call_conclude(&call_dreamapply, create, &answer);
  check(out.ok && out.id == 321 && out.count < 0, "created", "");
  answer.path = slice_of("/api/v9/applications/1/invoices");
  out = call_conclude(&call_dreamapply, create, &answer);
  check(out.ok && out.id == 321, "below its owner", "");
  answer.path = slice_of("/api/v9/applications/2/invoices");
  out = call_conclude(&call_dreamapply, create, &answer);
  check(out.ok && out.id == 0, "below another owner", "");
  answer.location = slice_of("https://h/invoices/9");
  out = call_conclude(&call_dreamapply, create, &answer);
  check(out.ok && out.id == 0, "from nowhere known", "");
  answer.base = slice_of("https://H");
  out = call_conclude(&call_dreamapply, create, &answer);
  check(out.ok && out.id == 9, "from the client's own server", "");
  answer.location.p = NULL;
  answer.location.n = 0;
  out = call_conclude(&call_dreamapply, create, &answer);
  check(out.ok && out.id == 0, "from nowhere", "");
  answer.status = 429;
  out = call_conclude(&call_dreamapply, create, &answer);
  check(!out.ok && out.retryable && out.refused, "not processed", "");
  answer.status = 503;
  out = call_conclude(&call_dreamapply, create, &answer);
  check(!out.ok && !out.retryable && !out.refused, "perhaps processed", "");
}

int main(void) {
  test_tables();
  test_values();
  test_cut();
  test_paths();
  test_outcomes();
  printf("%d passed, %d failed\n", passed, failed);
  return failed > 0;
}
