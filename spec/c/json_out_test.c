/* with: json.c json_out.c json_redact.c json_stream.c text.c -Wl,--wrap=malloc,--wrap=realloc,--wrap=calloc */
/*
** What is made of a tape: members, numbers, canonical texts, redaction; the
** streams' errors and limits; and every allocation is made to fail once.
*/
#include "json.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

static unsigned passed, failed;

static int check(int good, const char *what, const char *text) {
  if (good)
    passed++;
  else
    failed++, printf("FAILED %s: %s\n", what, text);
  return good;
}

/* ======= allocations that fail ======= */

static long allocations = -1; /* so many more succeed; -1: all */

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

static int refused(void) {
  if (allocations < 0) return 0;
  return allocations == 0 || allocations-- == 0;
}

void *__wrap_malloc(size_t n) {
  return refused() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size) {
  return refused() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n) {
  return refused() ? NULL : __real_realloc(p, n);
}

/* ======= helpers ======= */

static json_doc doc; /* one tape for all */

static int parse(const char *text) {
  return json_parse(&doc, text, strlen(text));
}

static int is(slice got, const char *want) {
  return slice_equal(got, slice_of(want));
}

/* ======= reading the tape ======= */

static void test_members(void) {
  char room[16];
  parse("{\"a\":1,\"b\":{\"a\":2},\"c\":3,\"c\":4,\"\\u0064\":5,\"\":6,"
        "\"e\":7,\"\\u0065\":8,\"a\\nb\":9}");
  check(is(json_raw(&doc, json_member(&doc, 0, slice_of("a"))), "1"), "member",
        "a");
  check(is(json_raw(&doc, json_member(&doc, 0, slice_of("b"))), "{\"a\":2}"),
        "member", "b");
  check(is(json_raw(&doc, json_member(&doc, 0, slice_of(""))), "6"), "member",
        "without a name");
  check(json_member(&doc, 0, slice_of("x")) == JSON_NONE, "no member", "x");
  check(json_member(&doc, 0, slice_of("ab")) == JSON_NONE, "no member", "ab");
  check(json_member(&doc, 0, slice_of("c")) == JSON_TWICE, "twice", "c");
  check(json_member(&doc, 0, slice_of("d")) == JSON_TWICE, "hidden", "d");
  check(json_member(&doc, 0, slice_of("e")) == JSON_TWICE, "both", "e");
  check(json_member(&doc, 0, slice_of("a\nb")) == JSON_TWICE, "hidden",
        "a newline");
  check(json_member(&doc, 2, slice_of("a")) == JSON_NONE, "member of", "1");
  parse("\"a\\\"\\\\\\/\\b\\f\\n\\r\\tz\"");
  check(is(json_text(&doc, 0, room), "a\"\\/\b\f\n\r\tz"), "text", "escapes");
}

static void test_int64(void) {
  static const struct {
    const char *text;
    int good;
    int64_t n;
  } cases[] = {
      {"0", 1, 0},
      {"-0", 1, 0},
      {"42", 1, 42},
      {"-7", 1, -7},
      {"9223372036854775807", 1, INT64_MAX},
      {"9223372036854775808", 0, 0},
      {"-9223372036854775808", 1, INT64_MIN},
      {"-9223372036854775809", 0, 0},
      {"9999999999999999999", 0, 0},
      {"18446744073709551617", 0, 0},
      {"1.0", 0, 0},
      {"1e3", 0, 0},
      {"\"1\"", 0, 0},
      {"true", 0, 0},
  };
  size_t i;
  for (i = 0; i < COUNT(cases); i++) {
    int64_t n = 0;
    parse(cases[i].text);
    check(json_int64(&doc, 0, &n) == cases[i].good && n == cases[i].n, "int64",
          cases[i].text);
  }
}

static void test_double(void) {
  static const char *const keeps[] = {
      "0.0",
      "-0.0",
      "19.90",
      "0.1",
      "-1.5e3",
      "1e22",
      "1e-22",
      "1E+2",
      "0e999",
      "0.3",
      "100000000000000000000.0",
      "0.0001",
      "1.0",
      "2.5e-05",
      "99.99",
      "123456789012345.0",
      "0.0000000000000000000123",
      "1234567.89012345e22",
  };
  static const char *const leaves[] = {
      "1e23",
      "0.00000000000000000000123",
      "1e-23",
      "1234567890123456.5",
      "0.1234567890123456",
      "1e400",
      "1e-400",
      "1e9999999999999999999999",
      "1.000000000000001e-8",
  };
  size_t i;
  double x;
  for (i = 0; i < COUNT(keeps); i++) {
    double want = strtod(keeps[i], NULL);
    parse(keeps[i]);
    check(json_double(&doc, 0, &x) && memcmp(&x, &want, sizeof x) == 0,
          "double", keeps[i]);
  }
  for (i = 0; i < COUNT(leaves); i++) {
    parse(leaves[i]);
    check(!json_double(&doc, 0, &x), "no double", leaves[i]);
  }
}

/* the same as the C library's, which is exact, for what comes by chance */
static void test_any_double(void) {
  char text[64];
  int i, right = 1;
  srand(1);
  for (i = 0; i < 200000; i++) {
    double x, want;
    snprintf(text, sizeof text, "%s%d.%0*de%d", rand() % 2 ? "-" : "",
             rand() % 10000000, 1 + rand() % 8, rand() % 10, rand() % 29 - 14);
    want = strtod(text, NULL);
    if (!parse(text))
      right = 0;
    else if (json_double(&doc, 0, &x))
      right &= x == want;
    else
      right = 0;
  }
  check(right, "200000 doubles", "by chance");
}

/* ======= canonical texts ======= */

static void test_canonical(void) {
  static const char *const cases[][2] = {
      {" [ 1 , 2 ] ", "[1,2]"},
      {"{\"b\":1,\"a\":2}", "{\"a\":2,\"b\":1}"},
      {"{\"b\":{\"d\":1,\"c\":[{\"f\":1,\"e\":2}]},\"a\":0}",
       "{\"a\":0,\"b\":{\"c\":[{\"e\":2,\"f\":1}],\"d\":1}}"},
      {"{\"ab\":1,\"a\":2,\"\":3}", "{\"\":3,\"a\":2,\"ab\":1}"},
      {"{\"\\u0062\":1,\"a\":2}", "{\"a\":2,\"b\":1}"},
      {"{\"b\":1,\"\\u0061\":2}", "{\"a\":2,\"b\":1}"},
      {"{\"a\\u0000\":1,\"a\":2}", "{\"a\":2,\"a\\u0000\":1}"},
      {"{\"\xc3\xa9\":1,\"z\":2}", "{\"z\":2,\"\xc3\xa9\":1}"},
      {"{\"abcdefghj\":1,\"abcdefghi\":2,\"abcdefgh\":3}",
       "{\"abcdefgh\":3,\"abcdefghi\":2,\"abcdefghj\":1}"},
      {"\"\\u0041\\/\\u00e9\\ud83d\\ude00\"",
       "\"A/\xc3\xa9\xf0\x9f\x98\x80\""},
      {"\"\\u0022\\u005c\\u0008\\u000c\\u000a\\u000D\\u0009\"",
       "\"\\\"\\\\\\b\\f\\n\\r\\t\""},
      {"\"\\u0000\\u001F\\u007f\"", "\"\\u0000\\u001f\x7f\""},
      {"1", "1"},
      {"1.0", "1"},
      {"10e-1", "1"},
      {"0.1e1", "1"},
      {"0.001e3", "1"},
      {"-0", "0"},
      {"-0.00e5", "0"},
      {"0e99999999999999999999", "0"},
      {"1e2", "100"},
      {"100.00", "100"},
      {"1000", "1e3"},
      {"1E+3", "1e3"},
      {"1.5e1", "15"},
      {"-12000e-1", "-1200"},
      {"1623794899", "1623794899"},
      {"9007199254740993", "9007199254740993"},
      {"1e999999999", "1e999999999"},
      {"10e999999999", "1e1000000000"},
      {"1e1000000000", "1e1000000000"},
      {"1e00000000000000000003", "1e3"},
      {"1.50", "1.50"},
      {"15e-1", "15e-1"},
      {"1.5", "1.5"},
      {"null", "null"},
      {"[true,false]", "[true,false]"},
  };
  size_t i;
  for (i = 0; i < COUNT(cases); i++) {
    char out[128];
    long n;
    parse(cases[i][0]);
    n = json_canonical(&doc, 0, NULL, 0, NULL);
    check(n >= 0 && n <= (long)doc.nodes[0].len, "length", cases[i][0]);
    check(json_canonical(&doc, 0, NULL, 0, out) == n, "measure", cases[i][0]);
    out[n] = '\0';
    check(strcmp(out, cases[i][1]) == 0, out, cases[i][1]);
  }
}

static void test_skip(void) {
  const slice skip[] = {slice_of("attemptId"), slice_of("created")};
  char out[64];
  long n;
  parse("{\"\\u0061ttemptId\":1,\"data\":{\"created\":2},\"created\":3}");
  n = json_canonical(&doc, 0, skip, 2, out);
  out[n] = '\0';
  check(strcmp(out, "{\"data\":{\"created\":2}}") == 0, "skip", out);
  n = json_canonical(&doc, json_member(&doc, 0, slice_of("data")), skip, 2,
                     out);
  out[n] = '\0';
  check(strcmp(out, "{}") == 0, "skip in a part", out);
}

static void test_twice(void) {
  static const char *const cases[] = {
      "{\"a\":1,\"a\":1}",
      "{\"a\":null,\"b\":2,\"a\":3}",
      "{\"a\":1,\"\\u0061\":1}",
      "{\"\\u0061\":1,\"a\":1}",
      "{\"\\u0061\":1,\"\\u0061\":1}",
      "[[{\"x\":{\"\":1,\"\":2}}]]",
      "{\"abcdefghij\":1,\"abcdefgh\":2,\"abcdefghij\":3}",
      "{\"\\n\":1,\"\\u000a\":2}",
  };
  size_t i;
  for (i = 0; i < COUNT(cases); i++) {
    parse(cases[i]);
    check(json_canonical(&doc, 0, NULL, 0, NULL) == JSON_DOUBLE, "canonical",
          cases[i]);
    check(!json_unique(&doc), "unique", cases[i]);
    check(strcmp(doc.error, "a member comes twice") == 0, "error", cases[i]);
  }
  parse("{\"a\":{\"a\":{\"a\":1}},\"b\":[{\"a\":1},{\"a\":1}],\"A\":1}");
  check(json_unique(&doc), "unique", "the same name in several objects");
}

/* an object of n members, named by numbers that go down or up; with a name
** that is there already at the end, or without */
static char *many(size_t n, int down, const char *last) {
  char *text = malloc(n * 24 + 64), *p = text;
  size_t i;
  p += sprintf(p, "{");
  for (i = 0; i < n; i++)
    p += sprintf(p, "\"%08zu\":1,", down ? n - i : i);
  sprintf(p, "\"%s\":2}", last);
  return text;
}

static void test_many(size_t n) {
  char *down = many(n, 1, "last"), *up = many(n, 0, "last"), number[16];
  char *twice = many(n, 1, "00000001"), *out = malloc(n * 24 + 64);
  size_t i, sorted = 1;
  long len;
  snprintf(number, sizeof number, "%zu", n);
  parse(down);
  check(json_unique(&doc), "unique", number);
  len = json_canonical(&doc, 0, NULL, 0, out);
  check(len == (long)strlen(down), "canonical", number);
  for (i = 12; i + 12 < n * 13; i += 13)
    sorted &= memcmp(out + i - 11, out + i + 2, 10) < 0;
  check(sorted, "sorted", number);
  parse(up);
  check(json_unique(&doc), "unique upwards", number);
  parse(twice);
  check(!json_unique(&doc), "twice", number);
  check(json_canonical(&doc, 0, NULL, 0, out) == JSON_DOUBLE, "twice", number);
  free(down), free(up), free(twice), free(out);
}

/* ======= other texts ======= */

static void test_stringify(void) {
  static const char *const cases[][2] = {
      {" { \"b\" : 1.0 , \"a\" : [ ] } ", "{\"b\":1.0,\"a\":[]}"},
      {"[ 1E+2 , -0 , 1000 ]", "[1E+2,-0,1000]"},
      {"\"\\/\\u002f\\u00E9\\u2028\\u0001\"",
       "\"//\xc3\xa9\xe2\x80\xa8\\u0001\""},
      {"{\"a b\" : \"\\ud83D\\uDE00 \\\" \\\\\" }",
       "{\"a b\":\"\xf0\x9f\x98\x80 \\\" \\\\\"}"},
      {"[\"\\uD83D\", \"\\uDE00\\uD83D\\u0041\"]",
       "[\"\\ud83d\",\"\\ude00\\ud83dA\"]"},
  };
  static const char *const broken[] = {"\"", "\"\\", "\"\\u", "\"\\u12",
                                       "\"\\ud83d\\u", "\"\\ud83d\\udc",
                                       "\"\\x\"", "\\", " ", ""};
  size_t i;
  for (i = 0; i < COUNT(cases); i++) {
    char out[64];
    size_t n;
    n = json_stringify(slice_of(cases[i][0]), out);
    out[n] = '\0';
    check(strcmp(out, cases[i][1]) == 0, out, cases[i][1]);
  }
  for (i = 0; i < COUNT(broken); i++) { /* never longer, whatever it is */
    size_t n = strlen(broken[i]);
    char *in = malloc(n + 1), *out = malloc(n + 1);
    slice text = {in, n};
    memcpy(in, broken[i], n);
    check(json_stringify(text, out) <= n, "longer", broken[i]);
    free(in), free(out);
  }
}

static void test_redact(void) {
  static const char *const cases[][2] = {
      {" {\"key\": 1, \"b\":2} ", " {\"key\": \"***\", \"b\":2} "},
      {"[{\"a\":{\"key\":[1,{\"key\":2}]}},{\"key\":null}]",
       "[{\"a\":{\"key\":\"***\"}},{\"key\":\"***\"}]"},
      {"{\"\\u006bey\":\"s\"}", "{\"\\u006bey\":\"***\"}"},
      {"{\"KEY\":1,\"_k-e_Y\":2,\"ke\":3,\"k.ey\":4}",
       "{\"KEY\":\"***\",\"_k-e_Y\":\"***\",\"ke\":3,\"k.ey\":\"***\"}"},
      {"{\"\\u004b\\u0045Y\":\"s\"}", "{\"\\u004b\\u0045Y\":\"***\"}"},
      {"{\"a\":\"key\",\"keys\":1}", "{\"a\":\"key\",\"keys\":1}"},
      {"{\"signature\":\"x\",\"key\":\"y\"}",
       "{\"signature\":\"***\",\"key\":\"***\"}"},
      {" 12 ", " 12 "},
      {"{\"signerTokens\":[1],\"tokenizer\":2}",
       "{\"signerTokens\":\"***\",\"tokenizer\":2}"},
      {"[{\"name\":\"Signature\",\"value\":7},{\"name\":\"b\",\"value\":8}]",
       "[{\"name\":\"Signature\",\"value\":\"***\"},{\"name\":\"b\","
       "\"value\":8}]"},
      {"{\"value\":{\"a\":1},\"Key\":\"t\\u006fken\"}",
       "{\"value\":\"***\",\"Key\":\"***\"}"},
      {"{\"name\":\"token\",\"name\":\"b\",\"value\":1}",
       "{\"name\":\"token\",\"name\":\"b\",\"value\":\"***\"}"},
      {"{\"params\":[1,{\"type\":\"t\",\"x\":[null,true]}],\"a\":1}",
       "{\"params\":[\"***\",{\"type\":\"t\",\"x\":[null,\"***\"]}],\"a\":1}"},
      {"{\"par\\u0061ms\":\"x\"}", "{\"par\\u0061ms\":\"***\"}"},
      {"\xef\xbb\xbf{\"key\":\"\\ud83d\xff\"}",
       "\xef\xbb\xbf{\"key\":\"***\"}"},
      {"", ""},
      {"nothing of it", "nothing of it"},
      {"a=1&API-Token=x", "a=1&API-***"},
      {"{\"key\":{\"a\":\"x", "{\"key\":\"***\""},
      {"{\"a\":1,\"key\":\"x", "{\"a\":1,\"***"},
      {"{\"a\":1,\"k\\u0065y\":\"x", "{\"a\":1,\"k***"},
      {"{\"params\":{\"a\":1,\"b\":\"x", "{\"params\":{\"a\":\"***\"***"},
      {"[{\"name\":\"token\",\"a\":1,\"value\":\"x",
       "[{\"name\":\"token\",\"a\":1***"},
      {"[{\"value\":\"x\",\"name\":\"tok", "[{\"value\":\"***\",\"name\":\"tok"},
      {"[1 2, {\"value\":\"x\",\"name\":\"token\"}]", "[1 2, {\"***"},
      {"{\"a\":\" {\\\"key\\\":1}\",\"b\":\"\\u007b\"}",
       "{\"a\":\"***\",\"b\":\"***\"}"},
  };
  const slice names[] = {slice_of("key"), slice_of("signature"),
                         slice_of("*token")};
  const slice kept = slice_of("type"), below = slice_of("params");
  const json_secrets secrets = {names, 3, &below, 1, &kept, 1};
  size_t i;
  for (i = 0; i < COUNT(cases); i++) {
    char out[128];
    size_t n;
    int some;
    json_read(&doc, cases[i][0], strlen(cases[i][0]));
    some = json_hide(&doc, &secrets);
    n = json_redact(&doc, &secrets, out);
    out[n] = '\0';
    check(some || strcmp(out, cases[i][0]) == 0, "left out", cases[i][0]);
    check(strcmp(out, cases[i][1]) == 0, out, cases[i][1]);
    check(json_redact(&doc, &secrets, NULL) == n, "measure", cases[i][0]);
  }
}

/* ======= what json_read takes ======= */

/* what is not JSON and is read all the same: its canonical text, and the
** string that comes first in it */
static void test_read(void) {
  static const char *const cases[][3] = {
      {"\xef\xbb\xbf [\"a\"] ", "[\"a\"]", "a"},
      {"\"a\\ud83d\"", "\"a\\ud83d\"", "a\xef\xbf\xbd"},
      {"\"\\uDE00\\uD83D\\u0041\"", "\"\\ude00\\ud83dA\"",
       "\xef\xbf\xbd\xef\xbf\xbd" "A"},
      {"\"\\ud83d\\ud83d\\ude00\"", "\"\\ud83d\xf0\x9f\x98\x80\"",
       "\xef\xbf\xbd\xf0\x9f\x98\x80"},
      {"\"\xe2\x82\xff\xe2\x82\xac\"", "\"\xe2\x82\xff\xe2\x82\xac\"",
       "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xe2\x82\xac"},
      {"\"a\tb\n\"", "\"a\tb\n\"", "a\tb\n"},
      {"{\"b\":1,\"a\":2,\"\\u0061\":1}", "{\"a\":2,\"a\":1,\"b\":1}", "b"},
  };
  static const char *const broken[] = {
      "\"a\\x\"", "\"\\ud83\"", "[\"a\xff", "{\"a\":1}}", "\xef\xbb\xbf",
      "\xef\xbb[]", "[01]", "{a:1}"};
  char room[128], deep[2 * JSON_MAXDEPTH + 60];
  size_t i;
  for (i = 0; i < COUNT(cases); i++) {
    uint32_t node = 0;
    long n;
    slice text = slice_of(cases[i][0]);
    check(!parse(cases[i][0]) || !json_unique(&doc), "is no JSON", text.p);
    check(json_read(&doc, text.p, text.n), "is read", text.p);
    while (doc.nodes[node].kind != JSON_STRING)
      node++;
    check(json_room(&doc, node) <= sizeof room, "room", text.p);
    check(is(json_text(&doc, node, room), cases[i][2]), "text", text.p);
    n = json_canonical(&doc, 0, NULL, 0, room);
    check(n >= 0 && (size_t)n <= text.n, "length", text.p);
    room[n > 0 ? n : 0] = '\0';
    check(strcmp(room, cases[i][1]) == 0, room, cases[i][1]);
  }
  for (i = 0; i < COUNT(broken); i++)
    check(!json_read(&doc, broken[i], strlen(broken[i])), "is broken",
          broken[i]);
  for (i = 0; i < 80; i++)
    deep[i] = '[', deep[80 + i] = ']';
  check(json_read(&doc, deep, 160), "any depth", "80");
  check(doc.used == 80 && doc.nodes[79].len == 2, "any depth", "nodes");
  check(json_canonical(&doc, 0, NULL, 0, NULL) == 160, "any depth", "text");
  check(!json_read(&doc, deep, 159), "any depth", "broken");
}

/* a broken text still tells the members that it had */
static void test_broken(void) {
  static const char text[] = "{\"a\":[1,{\"b\":2}],\"c\":{\"d\":3,\"e\":";
  size_t n;
  for (n = 0; n < sizeof text; n++) {
    uint32_t a;
    check(!json_read(&doc, text, n), "is broken", text);
    if (doc.used == 0) continue;
    a = json_member(&doc, 0, slice_of("a"));
    check((a != JSON_NONE) == (n > 5), "a", text);
    check((json_member(&doc, 0, slice_of("c")) != JSON_NONE) == (n > 21), "c",
          text);
    check(doc.nodes[0].next == doc.used && doc.nodes[0].len == n, "whole",
          text);
  }
}

/* ======= streams ======= */

/* what a stream says of a text given byte by byte: its elements with bars
** between them, and its error */
static void stream(const char *text, slice under, size_t limit, char *out) {
  json_stream *s = json_stream_open(under, limit);
  slice e;
  int found = 0;
  *out = '\0';
  for (; *text != '\0' && found == 0; text++) {
    if (!json_stream_feed(s, text, 1)) break;
    while ((found = json_stream_next(s, &e)) > 0)
      sprintf(out + strlen(out), "%.*s|", (int)e.n, e.p);
  }
  if (!json_stream_end(s)) strcat(out, json_stream_error(s));
  check(!json_stream_feed(s, " ", 1) == (json_stream_error(s) != NULL),
        "stays broken", out);
  json_stream_close(s);
}

static void test_streams(void) {
  static const char *const cases[][3] = {
      {"[1, \"a]\" ,{\"b\":[]}]", NULL, "1|\"a]\"|{\"b\":[]}|"},
      {"{\"1\":{\"id\":1},\"2\":{\"id\":2}}", NULL, "{\"id\":1}|{\"id\":2}|"},
      {"{\"next\":{\"x\":[1]},\"list\":[1,2],\"n\":\"]\"}", "list", "1|2|"},
      {"{\"\\u006c\":{\"7\":true,\"l\":0}}", "l", "true|0|"},
      {"{\"\":[1]}", "", "1|"},
      {"[]", NULL, ""},
      {" { } ", NULL, ""},
      {"{\"list\":[]}", "list", ""},
      {"{\"list\":[1],\"list\":[2]}", "list",
       "1|a member comes twice at byte 13"},
      {"{\"other\":[1]}", "list", "the list is missing"},
      {"{\"list\":null}", "list", "a list was expected at byte 9"},
      {"[1]", "list", "an object was expected at byte 1"},
      {"12", NULL, "a list was expected at byte 1"},
      {"", NULL, "the text ends too early"},
      {"[1,2", NULL, "1|the text ends too early"},
      {"[1,{\"a\"", NULL, "1|the text ends too early"},
      {"[1,]", NULL, "1|a value was expected at byte 4"},
      {"[,", NULL, "a value was expected at byte 2"},
      {"[1 2]", NULL, "1|a comma or a closing bracket was expected at byte 4"},
      {"[1]]", NULL, "1|bytes after the value at byte 4"},
      {"{1", NULL, "a name was expected at byte 2"},
      {"{\"a\" 1", NULL, "a colon was expected at byte 6"},
      {"{\"\\x\"", NULL, "invalid escape at byte 4"},
      {"{\"a\":01,\"list\":[]}", "list", "invalid number at byte 6"},
      {"[\"123456789\",2]", NULL, "element larger than 10 bytes"},
      {"[12345678,[1,2,3,4,5,", NULL, "12345678|element larger than 10 bytes"},
      {"[[1,2,3,4],\"12345678\"]", NULL, "[1,2,3,4]|\"12345678\"|"},
      {"{\"0123456789\":1}", NULL, "element larger than 10 bytes"},
  };
  size_t i;
  for (i = 0; i < COUNT(cases); i++) {
    slice under = slice_of(cases[i][1]);
    char out[256];
    stream(cases[i][0], under, 10, out);
    check(strcmp(out, cases[i][2]) == 0, out, cases[i][2]);
  }
}

static void test_unread(void) {
  slice absent = {NULL, 0};
  json_stream *s = json_stream_open(absent, 10);
  json_stream_feed(s, "[1]", 3);
  check(!json_stream_end(s) &&
            strcmp(json_stream_error(s), "elements were left unread") == 0,
        "stream", "unread");
  json_stream_close(s);
  json_stream_close(NULL);
}

/* ======= every allocation fails once ======= */

static int scenario(void) {
  static const char text[] = "{\"a\":[1,{\"c\":{}}],\"b\":{\"list\":[\"x\"]}}";
  json_doc d;
  json_stream *s = NULL;
  slice e;
  char out[64];
  int done;
  json_open(&d);
  done = json_parse(&d, text, sizeof text - 1) && json_unique(&d) &&
         json_canonical(&d, 0, NULL, 0, out) > 0;
  if (done) s = json_stream_open(slice_of("b"), 64);
  done = s != NULL && json_stream_feed(s, text, 9) &&
         json_stream_feed(s, text + 9, sizeof text - 10) &&
         json_stream_next(s, &e) == 1 && json_stream_end(s);
  json_stream_close(s);
  json_close(&d);
  return done;
}

static int big_object(const char *text) {
  json_doc d;
  int done;
  json_open(&d);
  done = json_parse(&d, text, strlen(text)) && json_unique(&d) &&
         json_canonical(&d, 0, NULL, 0, NULL) > 0;
  if (!done)
    check(d.error == NULL || !strcmp(d.error, "out of memory"), "error",
          d.error);
  json_close(&d);
  return done;
}

static void test_memory(void) {
  char *text = many(200, 1, "last");
  long n;
  for (n = 0; allocations = n, !scenario(); n++)
    check(n < 100, "allocation", "fails");
  check(n > 4, "allocations", "were made to fail");
  for (n = 0; allocations = n, !big_object(text); n++)
    check(n < 100, "allocation", "fails");
  check(n > 4, "allocations", "were made to fail");
  allocations = -1;
  free(text);
}

int main(void) {
  json_open(&doc);
  test_members();
  test_int64();
  test_double();
  test_any_double();
  test_canonical();
  test_skip();
  test_twice();
  test_many(3);
  test_many(31);
  test_many(33);
  test_many(100000);
  test_stringify();
  test_redact();
  test_read();
  test_broken();
  test_streams();
  test_unread();
  test_memory();
  json_close(&doc);
  printf("%u passed, %u failed\n", passed, failed);
  return failed > 0;
}
