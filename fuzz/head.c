/* with: head.c date.c text.c */
/*
** fuzz/head.c - header values and dates: whatever is read stays within the
** value, is what the grammar promises, and can be written again.
*/
#include "date.h"
#include "head.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int good) {
  if (!good) abort();
}

static int within(slice part, slice whole) {
  return part.p == NULL ||
         (part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

static void list(slice value) {
  slice t, s2;
  if (head_signature(value, &t, &s2) != NULL) return;
  must(within(t, value) && within(s2, value));
  must(t.n == 0 || memchr(t.p, ',', t.n) == NULL);
  must(s2.n == 0 || memchr(s2.p, ' ', s2.n) == NULL);
}

static void basic(slice value) {
  char *out = malloc(value.n + 1);
  slice got;
  must(out != NULL);
  if (head_basic(value, out, &got)) must(got.p == out && got.n <= value.n);
  free(out);
}

static void dates(slice value) {
  double epoch, again, seconds;
  char out[DATE_ROOM];
  slice written = {out, sizeof out};
  if (head_retry_after(value, 1e9, &seconds))
    must(seconds >= 0 && seconds <= HEAD_MAXWAIT);
  if (date_read(value, &epoch) == DATE_NONE) return;
  must(epoch > -7e10 && epoch < 3e11);
  epoch = floor(epoch);
  if (!date_write((int64_t)epoch, out)) return; /* an offset led out of it */
  must(date_read(written, &again) == DATE_MOMENT && again == epoch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char *copy = malloc(size + 1); /* so that a byte too far is seen */
  slice value = {copy, size};
  must(copy != NULL);
  memcpy(copy, data, size);
  list(value);
  basic(value);
  dates(value);
  free(copy);
  return 0;
}
