/* with: curl_head.c */
/*
** fuzz/curl_head.c - the lines of an answer's head: whatever comes, what is
** kept are names in lower case and values without blanks around them, none
** more than the limits allow.
*/
#include "curl_head.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int good) {
  if (!good) abort();
}

static void check(const curl_head *h) {
  const char *name = NULL, *value = NULL;
  size_t count = 0;
  while (curl_head_next(h, &name, &value)) {
    size_t n = strlen(value), i;
    must(name >= h->bytes && value + n < h->bytes + h->used);
    must(n == 0 || (strchr(" \t\r\n", *value) == NULL &&
                    strchr(" \t\r\n", value[n - 1]) == NULL));
    for (i = 0; name[i] != '\0'; i++)
      must(name[i] < 'A' || name[i] > 'Z');
    count++;
  }
  must(count <= CURL_HEAD_LINES && h->used <= 2 * CURL_HEAD_BYTES);
}

/* one line of the input after the other, as libcurl has them, without NUL */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char *copy = malloc(size > 0 ? size : 1), *at = copy;
  curl_head h = {NULL, 0, 0, 0, 0, 0, 0, -1};
  size_t left = size, n;
  int end;
  must(copy != NULL);
  if (size > 0) memcpy(copy, data, size);
  for (n = 0; n < size; n++)
    if (copy[n] == '\0') copy[n] = '\t';
  for (; left > 0; at += n, left -= n) {
    const char *stop = memchr(at, '\n', left);
    n = stop != NULL ? (size_t)(stop + 1 - at) : left;
    if (curl_head_add(&h, at, n, &end) != NULL) break;
    if (end && left % 3 == 0) h.whole = 1;
    check(&h);
  }
  curl_head_clear(&h);
  check(&h);
  curl_head_free(&h);
  free(copy);
  return 0;
}
