/* with: call.c dreamapply.c dreamclass.c betterez.c date.c decimal.c text.c */
/*
** fuzz/call.c - any value for any parameter of any operation, any path
** template, and any answer: what a URL gets is safe in one, the bound that
** was measured holds, and an outcome does not contradict itself.
**
** Five bytes choose the vendor, the operation, the parameter, the value's
** kind and the status; the rest is text, whose parts stand in lines.
*/
#include "call.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int good) {
  if (!good) abort();
}

static slice line(slice *rest) {
  slice one = *rest;
  const char *end = one.n > 0 ? memchr(one.p, '\n', one.n) : NULL;
  if (end == NULL) {
    rest->p += one.n;
    rest->n = 0;
    return one;
  }
  one.n = (size_t)(end - one.p);
  rest->n -= one.n + 1;
  rest->p = end + 1;
  return one;
}

static int unreserved(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         (c >= '0' && c <= '9') || memchr("-._~", c, 4) != NULL;
}

static void value(const call_param *param, const call_value *v, int encoded) {
  call_out measured = {NULL, 0, 0}, out;
  const char *wrong = call_write(param, v, encoded, &measured);
  int64_t n;
  size_t i;
  slice written;
  if (wrong != NULL) {
    must(wrong[0] != '\0');
    return;
  }
  out.p = malloc(measured.n + 1);
  out.n = 0;
  out.room = measured.n;
  must(out.p != NULL && call_write(param, v, encoded, &out) == NULL);
  must(out.n <= measured.n);
  for (i = 0; i < out.n; i++) {
    must(out.p[i] != '\0');
    must(!encoded || unreserved(out.p[i]) || out.p[i] == '%');
  }
  written.p = out.p;
  written.n = out.n;
  if (call_number(param, written, &n) && param->type == CALL_ID) must(n >= 1);
  free(out.p);
}

static void template(const call_op *op, slice path) {
  slice name = {NULL, 0}, rest = path, literal, next;
  const char *wrong = call_check_path(op, path, &name);
  size_t n = 0, i;
  while (call_piece(&rest, &literal, &next)) {
    n += literal.n + (next.p != NULL ? next.n + 2 : 0);
    for (i = 0; wrong == NULL && i < literal.n; i++)
      must(literal.p[i] > ' ' && literal.p[i] < 127);
  }
  must(n == path.n);
  if (wrong != NULL) return;
  must(path.p[0] == '/' && path.p[1] != '/');
  for (i = 1; i < path.n; i++)
    must(path.p[i - 1] != path.p[i] || !memchr("./", path.p[i], 2));
}

static void answer(const call_vendor *vendor, const call_op *op, int status,
                   slice text) {
  call_answer a = {status, 1, {NULL, 0}, {NULL, 0}, {NULL, 0}, {NULL, 0}};
  call_outcome out;
  a.location = line(&text);
  a.count = line(&text);
  a.base = line(&text);
  a.path = line(&text);
  for (; a.attempt < 3; a.attempt++) {
    out = call_conclude(vendor, op, &a);
    must(out.ok == (out.kind == NULL) && (!out.gone || out.ok));
    must(!out.ok || (!out.refused && !out.open && !out.retryable));
    must(!(out.refused && out.open));
    must(!out.retryable || (op->flags & CALL_IDEMPOTENT) || out.refused);
    must(out.id >= 0 && (out.id == 0 || out.ok) && out.count >= -1);
    must(out.id == 0 || status == 201);
    must(!out.ok || out.gone || (status >= 200 && status < 300));
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const call_vendor *const vendors[] = {
      &call_dreamapply, &call_dreamclass, &call_betterez};
  const call_vendor *vendor;
  const call_op *op;
  const call_param *param;
  call_value v = {CALL_IS_NONE, 0, {NULL, 0}};
  char *copy;
  int i;
  if (size < 5) return 0;
  vendor = vendors[data[0] % 3];
  op = vendor->ops;
  for (i = data[1]; i > 0; i--)
    if ((++op)->name == NULL) op = vendor->ops;
  v.kind = (call_kind)(data[3] % (CALL_IS_OTHER + 1));
  copy = malloc(size - 5 + 1);
  must(copy != NULL);
  memcpy(copy, data + 5, size - 5);
  v.text.p = copy;
  v.text.n = size - 5;
  memcpy(&v.integer, copy, v.text.n < 8 ? v.text.n : 8);
  if (v.text.n < 4) v.integer -= 128;
  for (param = op->params; param->name != NULL; param++) {
    value(param, &v, 0), value(param, &v, 1);
    if (param->type == CALL_RECORD) {
      const call_param *field = param->detail.fields;
      for (; field->name != NULL; field++)
        value(field, &v, 0);
    }
  }
  template(op, v.text);
  answer(vendor, op, 100 + data[4] * 2 + data[2] % 2, v.text);
  must(call_find(vendor, slice_of(op->name)) == op);
  call_find_vendor(v.text), call_find(vendor, v.text);
  free(copy);
  return 0;
}
