/* with: json.c json_stream.c text.c */
/*
** fuzz/stream.c - a text in pieces: however it is cut, the same elements come
** in the same order with the same names, and the same verdict; an element has
** no more bytes than its limit allows.
**
** The first byte chooses the list and the limit, the second how it is cut.
*/
#include "json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int good) {
  if (!good) abort();
}

typedef struct seen {
  uint64_t sum;
  size_t count;
  int good;
} seen;

static void add(seen *all, slice text) {
  size_t i;
  all->sum = all->sum * 1099511628211u + text.n + 1;
  for (i = 0; i < text.n; i++)
    all->sum = (all->sum ^ (unsigned char)text.p[i]) * 1099511628211u;
}

/* all elements that have come; parsed: by json_stream_value */
static int drain(json_stream *s, int parsed, size_t limit, seen *all) {
  json_doc doc;
  slice element, key;
  int more;
  json_open(&doc);
  while ((more = parsed ? json_stream_value(s, &doc, &element)
                        : json_stream_next(s, &element)) > 0) {
    if (!parsed) json_parse(&doc, element.p, element.n);
    must(element.n > 0 && element.n <= limit);
    must(doc.error != NULL || doc.nodes[0].next == doc.used);
    key = json_stream_key(s);
    must(key.n <= JSON_KEY);
    add(all, element);
    add(all, key);
    add(all, slice_of(doc.error));
    all->count++;
  }
  json_close(&doc);
  return more == 0;
}

static seen run(slice text, unsigned cut, int parsed, size_t limit,
                slice under) {
  seen all = {0, 0, 1};
  json_stream *s = json_stream_open(under, limit);
  size_t at = 0;
  must(s != NULL);
  while (all.good && at < text.n) {
    size_t n = cut == 0 ? text.n : 1 + (cut = cut * 75 + 74) / 7 % 23;
    char *piece;
    if (n > text.n - at) n = text.n - at;
    piece = malloc(n); /* so that a byte too far is seen */
    must(piece != NULL);
    memcpy(piece, text.p + at, n);
    all.good = json_stream_feed(s, piece, n);
    free(piece);
    at += n;
    all.good = all.good && drain(s, parsed, limit, &all);
  }
  all.good = all.good && json_stream_end(s);
  must(all.good == (json_stream_error(s) == NULL));
  if (!all.good) { /* it stays broken */
    slice element;
    must(json_stream_next(s, &element) <= 0 && !json_stream_end(s));
  }
  json_stream_close(s);
  return all;
}

static void same(seen a, seen b) {
  must(a.good == b.good && a.count == b.count && a.sum == b.sum);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const names[] = {NULL, "invoices", "a", ""};
  slice text, under;
  size_t limit;
  seen whole;
  if (size < 2) return 0;
  under = slice_of(names[data[0] % 4]);
  limit = (data[0] & 128) ? (data[0] >> 2) % 32 + 1 : 1 << 20;
  text.p = (const char *)data + 2;
  text.n = size - 2;
  whole = run(text, 0, 0, limit, under);
  same(whole, run(text, 0, 1, limit, under));
  same(whole, run(text, data[1] + 1u, 0, limit, under));
  same(whole, run(text, data[1] + 1u, 1, limit, under));
  return 0;
}
