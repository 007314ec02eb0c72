/*
** head.c - header values.
*/
#include "head.h"
#include "date.h"
#include "text.h"
#include <string.h>

/* --- lists ------------------------------------------------------------- */

/* what may stand in a name or value of the list: visible ASCII but commas */
static int visible(slice s) {
  size_t i;
  for (i = 0; i < s.n; i++)
    if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == ',') return 0;
  return 1;
}

/* cuts s at the first c: what stands before it; s becomes what is after it,
** or absent where there was none */
static slice cut(slice *s, char c) {
  slice head = *s;
  const char *at = s->n > 0 ? memchr(s->p, c, s->n) : NULL;
  if (at == NULL) {
    s->p = NULL;
    s->n = 0;
    return head;
  }
  head.n = (size_t)(at - s->p);
  s->n -= head.n + 1;
  s->p = at + 1;
  return head;
}

/* one name=value: NULL, or what is wrong */
static const char *pair(slice item, slice *t, slice *s2) {
  slice name = cut(&item, '='), *into = NULL;
  if (item.p == NULL || name.n == 0 || !visible(name) || !visible(item))
    return "the signature header is not a list of name=value";
  if (slice_equal(name, slice_of("t"))) into = t;
  if (slice_equal(name, slice_of("s2"))) into = s2;
  if (into == NULL) return NULL;
  if (into->p != NULL) return "the signature header names t or s2 twice";
  *into = item;
  return NULL;
}

const char *head_signature(slice value, slice *t, slice *s2) {
  const char *wrong = NULL;
  t->p = s2->p = NULL;
  t->n = s2->n = 0;
  while (wrong == NULL && value.p != NULL)
    wrong = pair(slice_trim(cut(&value, ',')), t, s2);
  return wrong;
}

int head_basic(slice value, char *out, slice *credentials) {
  slice scheme = cut(&value, ' ');
  int n;
  if (value.p == NULL || !slice_same(scheme, slice_of("Basic"))) return 0;
  while (value.n > 0 && value.p[0] == ' ')
    value.p++, value.n--;
  n = text_unbase64(value, out, value.n);
  if (n < 0) return 0;
  credentials->p = out;
  credentials->n = (size_t)n;
  return 1;
}

/* --- Retry-After -------------------------------------------------------- */

int head_retry_after(slice value, double now, double *seconds) {
  slice digits;
  int64_t n;
  double wait, epoch;
  value = slice_trim(value);
  digits = value;
  if (digits.n > 0 && digits.p[0] == '-') digits.p++, digits.n--;
  if (text_digits(digits, &n))
    wait = digits.n < value.n ? 0 : (double)n;
  else if (date_http(value, now, &epoch))
    wait = epoch - now;
  else
    return 0;
  if (!(wait <= HEAD_MAXWAIT)) return 0;
  *seconds = wait > 0 ? wait : 0;
  return 1;
}
