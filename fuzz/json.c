/* with: json.c json_out.c json_stream.c text.c */
/*
** Any bytes at all: nothing is read or written beyond its room, the stream
** says what the parser says wherever the text is cut, and what is written is
** JSON again, no longer than the text, and stays the same when written again.
**
**   clang -g -O1 -fsanitize=fuzzer,address,undefined -Isrc fuzz/json.c \
**     src/json*.c src/text.c -o build/fuzz-json
**   build/fuzz-json -dict=fuzz/json.dict -max_len=512 FOLDER
**
** With -DRUNNER and without -fsanitize=fuzzer it runs the files it is given.
*/
#include "json.h"
#include <stdio.h>
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

static void writes(json_doc *doc, json_doc *other) {
  slice a = {"a", 1}, text = {doc->text, doc->len};
  char *out = malloc(doc->len), *again = malloc(doc->len);
  char *redacted = malloc(json_redact(doc, &a, 1, NULL));
  long n = json_canonical(doc, 0, NULL, 0, out);
  must((n >= 0) == json_unique(doc) && n <= (long)doc->len);
  if (n >= 0) {
    must(json_parse(other, out, (size_t)n));
    must(json_canonical(other, 0, NULL, 0, again) == n);
    must(memcmp(out, again, (size_t)n) == 0);
  }
  must(json_parse(other, out, json_stringify(text, out)));
  must(json_parse(other, redacted, json_redact(doc, &a, 1, redacted)));
  free(out), free(again), free(redacted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  slice text = {(const char *)data, n};
  json_doc doc, other;
  int64_t integer;
  double number;
  uint32_t i;
  char *respelt = malloc(n + 1);
  must(json_stringify(text, respelt) <= n); /* whatever it is */
  free(respelt);
  json_open(&doc), json_open(&other);
  if (json_parse(&doc, text.p, n)) {
    writes(&doc, &other);
    for (i = 0; i < doc.used; i++)
      if (doc.nodes[i].kind == JSON_NUMBER && !json_int64(&doc, i, &integer))
        json_double(&doc, i, &number);
    if (doc.nodes[0].kind >= JSON_ARRAY) must(streams(text, *data * n / 256));
  } else if (n > 0) {
    must(!streams(text, *data * n / 256));
  }
  json_close(&doc), json_close(&other);
  return 0;
}

#ifdef RUNNER
int main(int argc, char **argv) {
  static uint8_t data[1 << 20];
  int i;
  for (i = 1; i < argc; i++) {
    FILE *f = fopen(argv[i], "rb");
    if (f == NULL) return 1;
    LLVMFuzzerTestOneInput(data, fread(data, 1, sizeof data, f));
    fclose(f);
  }
  printf("%d passed, 0 failed\n", argc - 1);
  return 0;
}
#endif
