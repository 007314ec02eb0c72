/* with: json.c json_names.c json_out.c text.c */
/*
** The names of a stream: the same number for the same name and never for
** another one, as many as there is room for, and no object with a member
** twice passed for one without.
*/
#include "json_names.h"
#include <stdio.h>

static unsigned passed, failed;

static void check(int good, const char *what) {
  if (good)
    passed++;
  else
    failed++, printf("FAILED %s\n", what);
}

static json_names names;
static json_doc doc;

static int marks(const char *text) {
  return json_parse(&doc, text, strlen(text)) && names_mark(&names, &doc);
}

/* of the object's first member's name */
static unsigned number_of(const char *text) {
  marks(text);
  return doc.nodes[1].count;
}

static void test_numbers(void) {
  unsigned a = number_of("{\"a\":null}"), b = number_of("{\"b\":1}");
  check(a > 0 && b > 0 && a != b && a <= JSON_NAMES && b <= JSON_NAMES,
        "two names have two numbers");
  check(number_of(" { \"a\" : {\"b\":[]}}") == a && doc.nodes[3].count == b,
        "each name keeps its number, at any depth");
  check(doc.nodes[0].count == 1, "an object keeps its count");
}

static void test_unnumbered(void) {
  check(!marks("{\"\":1}") && doc.nodes[1].count == 0, "an empty name");
  check(!marks("{\"\\u0061\":1}") && doc.nodes[1].count == 0, "an escape");
  check(marks("{\"1234567890123456789012345678901\":1}"), "31 bytes");
  check(!marks("{\"12345678901234567890123456789012\":1}"), "32 bytes");
}

static void test_twice(void) {
  check(marks("{\"a\":{\"a\":1},\"b\":{\"a\":1}}"), "in other objects");
  check(!marks("{\"a\":1,\"b\":2,\"a\":3}"), "twice");
  check(!marks("[{\"a\":{\"b\":{\"a\":1,\"a\":1}}},{\"b\":1}]"), "inside");
}

/* as long as there is room, and what has a number keeps it */
static void test_many(void) {
  unsigned char taken[JSON_NAMES + 1] = {0};
  unsigned first = number_of("{\"a\":1}"), all = 0, one = 0, i;
  char text[32];
  memset(&names, 0, sizeof names);
  number_of("{\"a\":1}");
  for (i = 0; i < 5000; i++) {
    snprintf(text, sizeof text, "{\"name %u\":1}", i);
    all += (one = number_of(text)) > 0;
    if (one > 0 && taken[one]++) break;
  }
  check(i == 5000, "no number is given twice");
  check(all > JSON_NAMES / 2 && all < JSON_NAMES, "most places are taken");
  check(number_of("{\"a\":1}") == first, "the first one keeps its own");
}

int main(void) {
  test_numbers();
  test_unnumbered();
  test_twice();
  test_many();
  json_close(&doc);
  printf("%u passed, %u failed\n", passed, failed);
  return failed > 0;
}
