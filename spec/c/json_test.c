/* with: json.c json_out.c json_redact.c json_stream.c text.c */
/*
** Which texts are JSON. Every text is read from the very end of a page behind
** which nothing may be read, so that a byte too far is a crash; and what
** json_parse says of a text, json_stream must say too, wherever the text is
** cut in two.
*/
#include "json.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ROOM (1 << 16) /* bytes of text before the forbidden page */

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

static unsigned passed, failed;
static char *wall; /* the forbidden page */

static int check(int good, const char *what, const char *text) {
  if (good)
    passed++;
  else
    failed++, printf("FAILED %s: %s\n", what, text);
  return good;
}

/* ======= helpers ======= */

/* a copy that ends at the wall; good until the next call */
static slice at_wall(slice text) {
  slice copy = {wall - text.n, text.n};
  memmove(wall - text.n, text.p, text.n);
  return copy;
}

static int parse(json_doc *doc, slice text) {
  slice copy = at_wall(text);
  return json_parse(doc, copy.p, copy.n);
}

static json_doc shared; /* one tape for all */

static int parses(slice text) {
  return parse(&shared, text);
}

/* takes the elements that are there; 0 where one is not JSON */
static int drain(json_stream *s, json_doc *doc, unsigned *n) {
  slice element;
  int found;
  while ((found = json_stream_next(s, &element)) > 0) {
    if (!parse(doc, element)) return 0;
    ++*n;
  }
  return found == 0;
}

/* the elements of a text that comes in two pieces, or -1: it is refused */
static int stream_count(slice text, slice under, size_t cut) {
  json_stream *s = json_stream_open(under, text.n + 1);
  json_doc doc;
  unsigned n = 0;
  int good;
  json_open(&doc);
  good = json_stream_feed(s, text.p, cut) && drain(s, &doc, &n) &&
         json_stream_feed(s, text.p + cut, text.n - cut) &&
         drain(s, &doc, &n) && json_stream_end(s);
  json_stream_close(s);
  json_close(&doc);
  return good ? (int)n : -1;
}

/* does the stream say the same wherever the text is cut? */
static int streams_as(slice text, slice under, int want) {
  size_t cut;
  for (cut = 0; cut <= text.n; cut++)
    if (stream_count(text, under, cut) != want) return 0;
  return 1;
}

static int is_list(slice text) {
  size_t i = 0;
  while (i < text.n && strchr(" \t\r\n", text.p[i]) && text.p[i] != '\0')
    i++;
  return i < text.n && (text.p[i] == '[' || text.p[i] == '{');
}

static int count_of(slice text) {
  return parses(text) ? (int)shared.nodes[0].count : -1;
}

/* ======= texts that are JSON, and texts that are not ======= */

typedef struct sample {
  const char *text;
  size_t n;
} sample;

/* clang-format off */
#define T(text) {text, sizeof text - 1}

static const sample good[] = {
    T("0"), T("-0"), T("1"), T("-1"), T("10"), T("123456789"), T("0.0"),
    T("-0.0"), T("1.5"), T("0.10"), T("1e1"), T("1E1"), T("1e+1"), T("1e-1"),
    T("0e0"), T("0e+0"), T("1.25e-10"), T("1e400"), T("-1e-400"),
    T("123456789012345678901234567890"), T("0.000000000000000000000001"),
    T("true"), T("false"), T("null"), T(" null "), T("\t\r\n 1 \n\r\t"),
    T("\"\""), T("\"a\""), T("\" \""), T("\"0123456789abcde\""),
    T("\"0123456789abcdef\""), T("\"0123456789abcdefg\""),
    T("\"0123456789abcdef0123456789abcde\\n\""), T("\"\x7f\""),
    T("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), T("\"\\u0000\""),
    T("\"\\u0041\\u00e9\\u20AC\""), T("\"\\ud83d\\ude00\""),
    T("\"\\uD83D\\uDE00\""), T("\"\\udbff\\udfff\""), T("\"\\uffff\""),
    T("\"\xc3\xa9\""), T("\"\xc2\x80\""), T("\"\xdf\xbf\""),
    T("\"\xe0\xa0\x80\""), T("\"\xe2\x82\xac\""), T("\"\xed\x9f\xbf\""),
    T("\"\xee\x80\x80\""), T("\"\xef\xbf\xbf\""), T("\"\xef\xbb\xbf\""),
    T("\"\xf0\x90\x80\x80\""), T("\"\xf0\x9f\x98\x80\""),
    T("\"\xf4\x8f\xbf\xbf\""), T("\"abcdefghijklmnop\xe2\x82\xac\""),
    T("\"\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\""),
    T("[]"), T("[ ]"), T(" [\n]\t"), T("[1]"), T("[1,2]"), T("[ 1 , 2 ]"),
    T("[[]]"), T("[[],[]]"), T("[[[1],2],3]"), T("[null,true,false]"),
    T("[\"a\",\"b\"]"), T("[\"]\",\"}\",\"[\",\"{\",\",\",\":\"]"),
    T("[\"\\\"]\"]"), T("[\"\\\\\"]"), T("[-1.5e3,\"x\",{}]"), T("[[{}]]"),
    T("{}"), T("{ }"), T("{\"a\":1}"), T("{ \"a\" : 1 }"), T("{\"\":0}"),
    T("{\"a\":1,\"b\":2}"), T("{\"a\":{\"b\":{\"c\":[]}}}"),
    T("{\"a\":[1,{\"b\":null}]}"), T("{\"\\u0061\":1}"),
    T("{\"a\":\"}\",\"b\":\"{\"}"), T("{\"a\\\"b\":1}"),
    T("{\"a\":1,\"a\":1}"), T("{\"a\":\"\xf0\x9f\x98\x80\"}"),
    T("{\n  \"a\": [\n    1,\n    2\n  ]\n}\n"), T("[1\n,2]"), T("[{},{}]"),
};

static const sample bad[] = {
    T(""), T(" "), T("\n"), T("+1"), T("01"), T("-01"), T("00"), T("1."),
    T(".5"), T("-"), T("--1"), T("-.5"), T("1.e1"), T("1e"), T("1e+"),
    T("1E-"), T("1e1.5"), T("1.5.5"), T("0x10"), T("1_000"), T("1,"), T("1 2"),
    T("1a"), T("NaN"), T("nan"), T("Infinity"), T("-Infinity"), T("inf"),
    T("-a"), T("e1"), T("1e400x"), T("\xef\xbc\x91"), T("True"), T("tru"),
    T("truex"), T("true1"), T("nul"), T("nulll"), T("fals"), T("n"),
    T("undefined"), T("nullnull"), T("'a'"), T("a"), T("\""), T("\"a"),
    T("\"\\"), T("\"\\\""), T("\"a\"b"), T("\"a\"\"b\""), T("\"\\x41\""),
    T("\"\\a\""), T("\"\\'\""), T("\"\\0\""), T("\"\\U0041\""), T("\"\\u\""),
    T("\"\\u004\""), T("\"\\u004g\""), T("\"\\u00-1\""), T("\"\\u 041\""),
    T("\"\\ud800\""), T("\"\\udbff\""), T("\"\\udc00\""), T("\"\\udfff\""),
    T("\"\\ud83d\\u0041\""), T("\"\\ud83d\\ud83d\""), T("\"\\ud83dxxxxxx\""),
    T("\"\\ud83d\\n\\n\\n\""), T("\"\\ud83d\\ude0\""), T("\"\\ude00\\ud83d\""),
    T("\"\x01\""), T("\"\n\""), T("\"\t\""), T("\"\x1f\""), T("\"\0\""),
    T("\"a\0b\""), T("\"0123456789abcde\n\""), T("\"0123456789abcdef\x1f\""),
    T("\"\x80\""), T("\"\xbf\""), T("\"\xc0\x80\""), T("\"\xc1\xbf\""),
    T("\"\xc3\""), T("\"\xc3(\""), T("\"\xe0\x80\x80\""),
    T("\"\xe0\x9f\xbf\""), T("\"\xe2\x82\""), T("\"\xe2\x28\xa1\""),
    T("\"\xe2\x82(\""), T("\"\xed\xa0\x80\""), T("\"\xed\xbf\xbf\""),
    T("\"\xf0\x80\x80\x80\""), T("\"\xf0\x8f\xbf\xbf\""),
    T("\"\xf0\x9f\x98\""), T("\"\xf0\x9f\x98(\""), T("\"\xf4\x90\x80\x80\""),
    T("\"\xf5\x80\x80\x80\""), T("\"\xf8\x88\x80\x80\x80\""), T("\"\xfe\""),
    T("\"\xff\""), T("\"\xe9\""), T("\"\xc3"), T("\"\xf0\x9f"), T("\xc3\xa9"),
    T("\xef\xbb\xbf{}"), T("\xef\xbb\xbf"), T("\xff\xfe[\0]\0"), T("\0"),
    T("1\0"), T("[]\0"), T("[\0]"), T("{\0}"), T("{}\0{}"), T("["), T("]"),
    T("[1"), T("[1,"), T("[,"), T("[,]"), T("[1,]"), T("[,1]"), T("[1,,2]"),
    T("[1 2]"), T("[1:2]"), T("[\"a\":1]"), T("[1}"), T("[[]"), T("[]]"),
    T("[1]]"), T("[[1]"), T("[1],"), T("[1]2"), T("[1][2]"), T("[\"a"),
    T("[\"a\""), T("[\"a\" \"b\"]"), T("[1;2]"), T("[1,\n"), T("[/**/]"),
    T("[1]//"), T("[#\n]"), T("[\x0b]"), T("[\x0c]"), T("[\xc2\xa0]"),
    T("[\xe2\x81\xa0]"), T("[NaN]"), T("[\"\t\"]"), T("[tru]"), T("[\\u0061]"),
    T("[-]"), T("[1e]"), T("{"), T("}"), T("{\"a\""), T("{\"a\":"),
    T("{\"a\":1"), T("{\"a\":1,"), T("{\"a\":1,}"), T("{,}"), T("{,\"a\":1}"),
    T("{\"a\":1,,\"b\":2}"), T("{\"a\"}"), T("{\"a\":}"), T("{:1}"),
    T("{1:1}"), T("{a:1}"), T("{'a':1}"), T("{null:1}"), T("{[]:1}"),
    T("{\"a\",1}"), T("{\"a\" 1}"), T("{\"a\"::1}"), T("{\"a\":1 \"b\":2}"),
    T("{\"a\":1:2}"), T("{\"a\":1]"), T("{\"a\":[1}}"), T("{}{}"), T("{},"),
    T("{}}"), T("{\"a\":1}x"), T("{\"\\ud800\":1}"), T("{\"\xff\":1}"),
    T("{\"a\n\":1}"), T("{\"a\":1}/**/"), T("{\"a\":{}"), T("{\"a\":\"b\":1}"),
};
/* clang-format on */

static void test_good(slice text) {
  slice absent = {NULL, 0}, open = text;
  check(parses(text), "is JSON", text.p);
  if (!is_list(text)) return;
  check(streams_as(text, absent, count_of(text)), "streams", text.p);
  while (strchr("]} \t\r\n", open.p[open.n - 1])) {
    open.n--; /* the last bracket and all that is before it is not enough */
    if (open.p[open.n] != ']' && open.p[open.n] != '}') continue;
    check(!parses(open), "is cut off", text.p);
    check(streams_as(open, absent, -1), "streams cut off", text.p);
    break;
  }
}

static void test_bad(slice text) {
  slice absent = {NULL, 0};
  check(!parses(text), "is not JSON", text.p);
  check(streams_as(text, absent, -1), "does not stream", text.p);
}

static void test_samples(void) {
  size_t i;
  for (i = 0; i < COUNT(good); i++) {
    slice text = {good[i].text, good[i].n};
    test_good(text);
  }
  for (i = 0; i < COUNT(bad); i++) {
    slice text = {bad[i].text, bad[i].n};
    test_bad(text);
  }
}

/* ======= errors and limits ======= */

static void test_errors(void) {
  static const struct {
    const char *text, *error;
    size_t at;
  } cases[] = {
      {"", "the text is empty", 0},
      {"[1,", "the text ends too early", 3},
      {"{\"a", "the text ends too early", 3},
      {"\"\\", "the text ends too early", 2},
      {"1.", "the text ends too early", 2},
      {"tru", "the text ends too early", 3},
      {"[1] x", "bytes after the value", 4},
      {"[x]", "a value was expected", 1},
      {"{x}", "a name was expected", 1},
      {"{\"a\";1}", "a colon was expected", 4},
      {"[1;2]", "a comma or a closing bracket was expected", 2},
      {"[1}", "a comma or a closing bracket was expected", 2},
      {"\"a\n\"", "control character in a string", 2},
      {"\"a\\q\"", "invalid escape", 3},
      {"\"\\u12x4\"", "invalid escape", 3},
      {"\"\\ud800\"", "lone surrogate", 3},
      {"\"ab\xff\"", "invalid UTF-8", 3},
      {"[01]", "invalid number", 1},
      {"[1.x]", "invalid number", 3},
  };
  size_t i;
  for (i = 0; i < COUNT(cases); i++) {
    check(!parses(slice_of(cases[i].text)), "refused", cases[i].text);
    check(strcmp(shared.error, cases[i].error) == 0, shared.error,
          cases[i].text);
    check(shared.error_at == cases[i].at, "position", cases[i].text);
  }
}

static void test_depth(void) {
  char text[2 * JSON_MAXDEPTH + 3];
  slice s = {text, 2 * JSON_MAXDEPTH}, absent = {NULL, 0};
  memset(text, '[', JSON_MAXDEPTH);
  memset(text + JSON_MAXDEPTH, ']', JSON_MAXDEPTH);
  check(parses(s), "depth", "64");
  check(streams_as(s, absent, 1), "depth", "64 streamed");
  memset(text, '[', JSON_MAXDEPTH + 1);
  memset(text + JSON_MAXDEPTH + 1, ']', JSON_MAXDEPTH + 1);
  s.n += 2;
  check(!parses(s) && strcmp(shared.error, "nested deeper than 64") == 0,
        "depth", "65");
  check(streams_as(s, absent, -1), "depth", "65 streamed");
}

static void test_length(void) {
  check(!json_parse(&shared, "[]", (size_t)UINT32_MAX - 15) &&
            strcmp(shared.error, "the text is too long") == 0,
        "length", "4 GiB");
}

/* ======= strings, exhaustively ======= */

/* UTF-8 by the table of the standard, another way than the parser's */
static size_t encode(uint32_t c, char *out) {
  static const struct {
    uint32_t below, lead;
  } rows[] = {{0x80, 0}, {0x800, 0xc0}, {0x10000, 0xe0}, {0x110000, 0xf0}};
  size_t n = 0, i;
  while (c >= rows[n].below)
    n++;
  for (i = 0; i <= n; i++)
    out[i] = (char)((c >> 6 * (n - i) & (i == 0 ? 0xff : 0x3f)) |
                    (i == 0 ? rows[n].lead : 0x80));
  return n + 1;
}

static int text_is(slice text, const char *want, size_t n) {
  char room[256];
  slice got;
  if (!parses(text)) return 0;
  got = json_text(&shared, 0, room);
  return got.n == n && memcmp(got.p, want, n) == 0;
}

static void test_every_escape(void) {
  char text[32], want[4];
  uint32_t c;
  int right = 1;
  for (c = 0; c < 0x110000; c++) {
    slice s = {text, 0};
    int surrogate = c >= 0xd800 && c <= 0xdfff;
    if (c < 0x10000)
      snprintf(text, sizeof text, "\"\\u%04x\"", c);
    else
      snprintf(text, sizeof text, "\"\\u%04X\\u%04x\"",
               0xd800 + ((c - 0x10000) >> 10), 0xdc00 + (c & 0x3ff));
    s.n = strlen(text);
    if (surrogate)
      right &= !parses(s);
    else
      right &= text_is(s, want, encode(c, want));
  }
  check(right, "every escape", "U+0000 to U+10FFFF");
}

static void test_every_character(void) {
  char text[8] = "\"";
  uint32_t c;
  int right = 1;
  for (c = 0x20; c < 0x110000; c++) {
    size_t n = encode(c, text + 1);
    slice s = {text, n + 2};
    int want = (c < 0xd800 || c > 0xdfff) && c != '"' && c != '\\';
    text[n + 1] = '"';
    right &= parses(s) == want;
  }
  check(right, "every character", "U+0020 to U+10FFFF");
}

/* three bytes that are the shortest form of one character or more */
static int is_utf8(const unsigned char *b, size_t n) {
  size_t i = 0;
  while (i < n) {
    size_t len = b[i] < 0x80 ? 1 : b[i] < 0xe0 ? 2 : b[i] < 0xf0 ? 3 : 4, k;
    uint32_t c = b[i] & (0xffu >> (len == 1 ? 0 : len + 1));
    char again[4];
    if ((b[i] & 0xc0) == 0x80 || b[i] >= 0xf8 || i + len > n) return 0;
    for (k = 1; k < len; k++) {
      if ((b[i + k] & 0xc0) != 0x80) return 0;
      c = c << 6 | (b[i + k] & 0x3f);
    }
    if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) return 0;
    if (encode(c, again) != len) return 0;
    i += len;
  }
  return 1;
}

static void test_every_three_bytes(void) {
  unsigned char text[5] = {'"', 0, 0, 0, '"'};
  slice s = {(const char *)text, 5};
  uint32_t b;
  int right = 1;
  for (b = 0x80; b < 0x1000000; b++) {
    text[1] = (unsigned char)b;
    text[2] = (unsigned char)(b >> 8);
    text[3] = (unsigned char)(b >> 16);
    if (text[1] < 0x80 || text[2] < 0x20 || text[3] < 0x20) continue;
    if (memchr(text + 1, '"', 3) || memchr(text + 1, '\\', 3)) continue;
    right &= parses(s) == is_utf8(text + 1, 3);
  }
  check(right, "every three bytes", "from 0x80 on");
}

/* one byte of any kind at any place of strings that span several steps */
static void test_every_place(void) {
  char text[80];
  size_t n, at;
  int c, right = 1;
  for (n = 1; n <= 70; n += n < 36 ? 1 : 7)
    for (at = 0; at < n; at++)
      for (c = 0; c < 256; c++) {
        slice s = {text, n + 2};
        int want = c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
        memset(text, 'a', sizeof text);
        text[0] = text[n + 1] = '"';
        text[at + 1] = (char)c;
        right &= parses(s) == want;
      }
  check(right, "every byte at every place", "of a string");
}

static const char rich[] =
    " [{\"id\":1.5e3,\"\\u00e9\\ud83d\\ude00\":[true, null],\"\xc3\xa9\":"
    "{\"a\":\"0123456789abcdef]\\\"\"}},[ ],-0,\"\xf0\x9f\x98\x80\",false]\n";

/* no beginning of it is JSON, and none makes us read on */
static void test_every_beginning(void) {
  slice s = {rich, 0}, absent = {NULL, 0};
  int right = 1;
  for (; s.n < sizeof rich - 2; s.n++)
    right &= !parses(s) && stream_count(s, absent, s.n / 2) < 0;
  check(right, "every beginning", "is refused");
  check(parses(s), "all of it", "is JSON");
}

/* whatever one byte becomes: both readers agree */
static void test_every_change(void) {
  char changed[sizeof rich - 1];
  slice s = {changed, sizeof changed}, absent = {NULL, 0};
  size_t at;
  int c, right = 1;
  for (at = 0; at < s.n; at++)
    for (c = 0; c < 256; c++) {
      memcpy(changed, rich, s.n);
      changed[at] = (char)c;
      if (is_list(s)) right &= stream_count(s, absent, at) == count_of(s);
    }
  check(right, "parser and stream agree", "with any one byte changed");
}

int main(void) {
  char *page = mmap(NULL, ROOM + 4096, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED || mprotect(page + ROOM, 4096, PROT_NONE) != 0)
    return 1;
  wall = page + ROOM;
  test_samples();
  test_errors();
  test_depth();
  test_length();
  test_every_escape();
  test_every_character();
  test_every_three_bytes();
  test_every_place();
  test_every_beginning();
  test_every_change();
  json_close(&shared);
  printf("%u passed, %u failed\n", passed, failed);
  return failed > 0;
}
