/* with: json.c json_out.c json_redact.c json_stream.c text.c */
/*
** Any bytes at all: nothing is read or written beyond its room, the stream
** says what the parser says wherever the text is cut, and what is written is
** JSON again, no longer than the text, and stays the same when written again.
** What json_read takes is read again, too, and nothing secret is left of it.
*/
#include "json.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(int good) {
  if (!good) abort();
}

static int streams(slice text, size_t cut) {
  const slice pieces[] = {{text.p, cut}, {text.p + cut, text.n - cut}};
  slice absent = {NULL, 0}, e;
  json_stream *s = json_stream_open(absent, text.n + 1);
  json_doc doc;
  int good = 1, i;
  json_open(&doc);
  for (i = 0; i < 2; i++) {
    json_stream_feed(s, pieces[i].p, pieces[i].n);
    while (good && json_stream_next(s, &e) > 0)
      good = json_parse(&doc, e.p, e.n);
  }
  good = good && json_stream_end(s);
  json_stream_close(s);
  json_close(&doc);
  return good;
}

static const slice a = {"a", 1}, p = {"p", 1}, t = {"t", 1};
static const json_secrets secrets = {&a, 1, &p, 1, &t, 1};

typedef int parser(json_doc *doc, const char *text, size_t len);

static void writes(json_doc *doc, json_doc *other, parser *parse) {
  slice text = {doc->text, doc->len};
  char *out = malloc(doc->len), *again = malloc(doc->len);
  long n = json_canonical(doc, 0, NULL, 0, out);
  must((n >= 0) == (doc->lenient || json_unique(doc)) && n <= (long)doc->len);
  if (n >= 0) {
    must(parse(other, out, (size_t)n));
    must(json_canonical(other, 0, NULL, 0, again) == n);
    must(memcmp(out, again, (size_t)n) == 0);
  }
  n = (long)json_stringify(text, out);
  must(n <= (long)doc->len && parse(other, out, (size_t)n));
  free(out), free(again);
}

/* is it this letter, whatever its case and what is no letter beside it? */
static int is_letter(slice name, char letter) {
  size_t i, seen = 0;
  for (i = 0; i < name.n; i++) {
    char c = name.p[i];
    if (c >= 'A' && c <= 'Z') c = (char)(c - 'A' + 'a');
    if ((c < 'a' || c > 'z') && (c < '0' || c > '9')) continue;
    if (c != letter || ++seen > 1) return 0;
  }
  return seen == 1;
}

/* of a text that is whole: no value under a, whatever its spelling, and below
** p no scalar but under t */
static void hidden(const json_doc *doc) {
  uint32_t i, below = 0;
  for (i = 0; i < doc->used; i++) {
    const json_node *node = &doc->nodes[i];
    slice raw = json_raw(doc, i), name = {NULL, 0};
    int blot = slice_equal(raw, slice_of("\"***\""));
    char *room = NULL;
    if (node->mark) continue;
    if (i > 0 && (doc->nodes[i - 1].mark & JSON_NAME)) {
      room = malloc(json_room(doc, i - 1) + 1);
      name = json_text(doc, i - 1, room);
    }
    if (name.p != NULL && slice_same(name, a)) must(blot);
    if (name.p != NULL && slice_same(name, p) && node->next > below)
      below = node->next;
    if (i < below && node->kind > JSON_NULL && node->kind < JSON_ARRAY)
      must(blot || (name.p != NULL && is_letter(name, *t.p)));
    free(room);
  }
}

static void redacts(json_doc *doc, json_doc *other) {
  int some = json_hide(doc, &secrets);
  size_t n = json_redact(doc, &secrets, NULL);
  char *out = malloc(n + 1);
  must(json_redact(doc, &secrets, out) == n);
  must(some || (n == doc->len && memcmp(out, doc->text, n) == 0));
  if (doc->error == NULL) {
    must(json_read(other, out, n));
    hidden(other);
  }
  free(out);
}

static void texts(const json_doc *doc) {
  int64_t integer;
  double number;
  uint32_t i;
  for (i = 0; i < doc->used; i++) {
    size_t n = json_room(doc, i);
    char *room = malloc(n + 1);
    if (doc->nodes[i].kind == JSON_NUMBER && !json_int64(doc, i, &integer))
      json_double(doc, i, &number);
    if (doc->nodes[i].kind == JSON_STRING && n > 0)
      must(json_text(doc, i, room).n <= n);
    free(room);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  slice text = {(const char *)data, n};
  json_doc doc, other;
  int strict, whole;
  char *respelt = malloc(n + 1);
  must(json_stringify(text, respelt) <= n); /* whatever it is */
  free(respelt);
  json_open(&doc), json_open(&other);
  strict = json_parse(&doc, text.p, n);
  if (strict) {
    writes(&doc, &other, json_parse);
    if (doc.nodes[0].kind >= JSON_ARRAY) must(streams(text, *data * n / 256));
  } else if (n > 0) {
    must(!streams(text, *data * n / 256));
  }
  whole = json_read(&doc, text.p, n);
  must(whole || !strict);
  if (whole) writes(&doc, &other, json_read);
  texts(&doc);
  redacts(&doc, &other);
  json_close(&doc), json_close(&other);
  return 0;
}
