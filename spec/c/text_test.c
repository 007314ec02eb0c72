/* with: text.c */
/*
** text_test.c - slices and encodings: vectors of RFC 4648, and every way in
** which a text can be none.
*/
#include "text.h"

#include <stdio.h>
#include <string.h>

static int passed, failed;

static void check(int ok, const char *what, int line) {
  if (ok)
    passed++;
  else
    failed++, printf("line %d: %s\n", line, what);
}
#define CHECK(x) check((x), #x, __LINE__)

static slice S(const char *text) {
  return slice_of(text);
}

static void test_slices(void) {
  slice absent = {NULL, 0};
  CHECK(slice_of(NULL).p == NULL && slice_of(NULL).n == 0);
  CHECK(slice_of("abc").n == 3);
  CHECK(slice_equal(S("abc"), S("abc")));
  CHECK(!slice_equal(S("abc"), S("abd")));
  CHECK(!slice_equal(S("abc"), S("ab")));
  CHECK(slice_equal(absent, absent) && slice_equal(absent, S("")));
  CHECK(slice_same(S("X-Btrz-Signature"), S("x-bTRZ-signature")));
  CHECK(!slice_same(S("a"), S("b")) && !slice_same(S("@"), S("`")));
  CHECK(!slice_same(S("\xc4"), S("\xe4"))); /* no locale in it */
  CHECK(slice_equal(slice_trim(S(" \t a b \t")), S("a b")));
  CHECK(slice_trim(S(" \t ")).n == 0);
  CHECK(slice_equal(slice_trim(S("\na\n")), S("\na\n")));
}

static void test_hex(void) {
  unsigned char out[4];
  char hex[8];
  text_hex("\x00\x7f\x80\xff", 4, hex);
  CHECK(memcmp(hex, "007f80ff", 8) == 0);
  CHECK(text_unhex(S("007F80fF"), out, 4));
  CHECK(memcmp(out, "\x00\x7f\x80\xff", 4) == 0);
  CHECK(text_unhex(S(""), out, 0));
  CHECK(!text_unhex(S("00"), out, 2));
  CHECK(!text_unhex(S("000"), out, 1));
  CHECK(!text_unhex(S("0g"), out, 1));
  CHECK(!text_unhex(S("g0"), out, 1));
  CHECK(!text_unhex(S(" 0"), out, 1));
}

static void test_base64(void) {
  static const char *const pairs[][2] = {{"", ""},
                                         {"f", "Zg=="},
                                         {"fo", "Zm8="},
                                         {"foo", "Zm9v"},
                                         {"foob", "Zm9vYg=="},
                                         {"fooba", "Zm9vYmE="},
                                         {"foobar", "Zm9vYmFy"}};
  size_t i;
  char out[64];
  for (i = 0; i < sizeof pairs / sizeof *pairs; i++) {
    size_t n = strlen(pairs[i][0]);
    slice written = {out, text_base64(pairs[i][0], n, out)};
    CHECK(slice_equal(written, S(pairs[i][1])));
    CHECK(written.n == TEXT_BASE64(n));
    CHECK(text_unbase64(S(pairs[i][1]), out, sizeof out) == (int)n);
    CHECK(memcmp(out, pairs[i][0], n) == 0);
  }
}

static int un(const char *text, const char *expected) {
  char out[16];
  int n = text_unbase64(S(text), out, sizeof out);
  return n == (int)strlen(expected) && memcmp(out, expected, (size_t)n) == 0;
}

static int refused(const char *text) {
  char out[16];
  return text_unbase64(S(text), out, sizeof out) == -1;
}

static void test_unbase64(void) {
  CHECK(un("Zg", "f") && un("Zm8", "fo")); /* padding is optional */
  CHECK(un("+/+/", "\xfb\xff\xbf") && un("-_-_", "\xfb\xff\xbf"));
  CHECK(refused("+/-_")); /* alphabets mixed */
  CHECK(refused("Z") && refused("Zm9vY"));
  CHECK(refused("Zg=") && refused("Zm8==") && refused("Zm9v="));
  CHECK(refused("Zm9v====") && refused("=") && refused("===="));
  CHECK(refused("Zh==") && refused("Zm9")); /* spare bits set */
  CHECK(refused("Z g=") && refused("Zg==\n") && refused("Zg=a"));
  CHECK(refused("Zm9vYmFyZm9vYmFyZm9vYmFy")); /* no room */
}

/* what is decoded is what was encoded, and never more than that is written */
static void test_round(void) {
  unsigned char in[40], out[41];
  char text[TEXT_BASE64(40)];
  size_t n, i;
  for (n = 0; n <= sizeof in; n++) {
    slice s = {text, 0};
    for (i = 0; i < n; i++)
      in[i] = (unsigned char)(i * 37 + n * 11);
    s.n = text_base64(in, n, text);
    out[n] = 0x5a;
    CHECK(text_unbase64(s, out, n) == (int)n && out[n] == 0x5a);
    CHECK(memcmp(in, out, n) == 0);
    if (n > 0) CHECK(text_unbase64(s, out, n - 1) == -1);
  }
}

static void test_percent(void) {
  char out[64];
  slice s = {out, text_percent(S("aZ09-._~"), out)};
  CHECK(slice_equal(s, S("aZ09-._~")));
  s.n = text_percent(S("2026-01-01T00:00:00+00:00"), out);
  CHECK(slice_equal(s, S("2026-01-01T00%3A00%3A00%2B00%3A00")));
  s.n = text_percent(S("\xc3\xa9 /%"), out);
  CHECK(slice_equal(s, S("%C3%A9%20%2F%25")));
  CHECK(text_percent(S(""), out) == 0);
}

static void test_digits(void) {
  int64_t n = -1;
  CHECK(text_digits(S("0"), &n) && n == 0);
  CHECK(text_digits(S("0017"), &n) && n == 17);
  CHECK(text_digits(S("999999999999999999"), &n) &&
        n == INT64_C(999999999999999999));
  CHECK(!text_digits(S("1000000000000000000"), &n)); /* 19 of them */
  CHECK(!text_digits(S(""), &n) && !text_digits(S("-1"), &n));
  CHECK(!text_digits(S("+1"), &n) && !text_digits(S(" 1"), &n));
  CHECK(!text_digits(S("1 "), &n) && !text_digits(S("1.0"), &n));
}

int main(void) {
  test_slices();
  test_hex();
  test_base64();
  test_unbase64();
  test_round();
  test_percent();
  test_digits();
  printf("%d passed, %d failed\n", passed, failed);
  return failed > 0;
}
