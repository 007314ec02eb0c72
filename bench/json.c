/* with: json.c json_out.c text.c */
/*
** What the JSON engine takes for one text, in nanoseconds, best of many
** rounds: reading it, the check for members that come twice, the canonical
** text, JavaScript's text, and cutting it as a stream.
**
**   cc -O2 -Isrc bench/json.c src/json*.c src/text.c -o build/bench-json
**   build/bench-json FILE.json ...
*/
#include "json.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS 30
#define TIMES  20000

typedef struct work {
  json_doc doc;
  slice text;
  char *out;
} work;

static void parse(work *w) {
  json_parse(&w->doc, w->text.p, w->text.n);
}

static void unique(work *w) {
  json_unique(&w->doc);
}

static void canonical(work *w) {
  json_canonical(&w->doc, 0, NULL, 0, w->out);
}

static void stringify(work *w) {
  json_stringify(w->text, w->out);
}

static void stream(work *w) {
  slice absent = {NULL, 0}, element;
  json_stream *s = json_stream_open(absent, w->text.n);
  json_stream_feed(s, w->text.p, w->text.n);
  while (json_stream_next(s, &element) > 0)
    continue;
  json_stream_close(s);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void measure(const char *name, void (*f)(work *), work *w) {
  double best = 1e18;
  int round, i;
  for (round = 0; round < ROUNDS; round++) {
    double start = now(), took;
    for (i = 0; i < TIMES; i++)
      f(w);
    took = (now() - start) / TIMES;
    if (took < best) best = took;
  }
  printf("  %-10s %7.0f ns\n", name, best);
}

static int run(const char *path) {
  static char text[1 << 20], out[1 << 20];
  work w;
  FILE *f = fopen(path, "rb");
  if (f == NULL) return 0;
  w.text.p = text;
  w.text.n = fread(text, 1, sizeof text, f);
  w.out = out;
  fclose(f);
  json_open(&w.doc);
  if (!json_parse(&w.doc, text, w.text.n)) return 0;
  printf("%s: %zu bytes, %u values and names\n", path, w.text.n, w.doc.used);
  measure("parse", parse, &w);
  measure("unique", unique, &w);
  measure("canonical", canonical, &w);
  measure("stringify", stringify, &w);
  measure("stream", stream, &w);
  json_close(&w.doc);
  return 1;
}

int main(int argc, char **argv) {
  int i;
  for (i = 1; i < argc; i++)
    if (!run(argv[i])) fprintf(stderr, "%s: not JSON\n", argv[i]);
  return 0;
}
