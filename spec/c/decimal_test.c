/* with: decimal.c text.c */
#include "decimal.h"
#include <stdio.h>
#include <string.h>

static int passed, failed;

static void check(int good, const char *what, const char *detail) {
  if (good) {
    passed++;
  } else {
    failed++;
    printf("not as expected: %s (%s)\n", what, detail);
  }
}

static decimal of(const char *text) {
  decimal d = {0, 0};
  int malformed;
  if (!decimal_parse(slice_of(text), &d, &malformed))
    check(0, "a decimal", text);
  return d;
}

static void says(decimal d, const char *expected) {
  char text[DECIMAL_ROOM + 1];
  text[decimal_text(d, text)] = '\0';
  check(strcmp(text, expected) == 0, expected, text);
}

static void refused(const char *text, int expected) {
  decimal d = {42, 7};
  int malformed = -1;
  check(!decimal_parse(slice_of(text), &d, &malformed), "refused", text);
  check(malformed == expected, "the reason", text);
  check(d.coefficient == 42 && d.scale == 7, "untouched", text);
}

#define BIG   "9223372036854775807"
#define SMALL "-9223372036854775807"

static void test_text(void) {
  static const char *const same[] = {"0",
                                     "19.90",
                                     "-3.00",
                                     "0.000000000000000001",
                                     BIG,
                                     SMALL,
                                     "9.223372036854775807",
                                     "-0.999999999999999999",
                                     "10",
                                     "0.10"};
  size_t i;
  for (i = 0; i < sizeof same / sizeof *same; i++)
    says(of(same[i]), same[i]);
  says(of("-0.0"), "0.0");
  refused("", 1);
  refused("-", 1);
  refused("1.", 1);
  refused(".1", 1);
  refused("1..2", 1);
  refused("1.2.3", 1);
  refused("+1", 1);
  refused("1e5", 1);
  refused("9223372036854775808", 0);
  refused("-9223372036854775808", 0);
  refused("0.0000000000000000001", 0);
}

static void test_arithmetic(void) {
  decimal out = {0, 0};
  check(decimal_add(of("0.1"), of("19.90"), &out), "sum", "");
  says(out, "20.00");
  check(!decimal_add(of(BIG), of("1"), &out), "sum too large", "");
  check(!decimal_add(of(SMALL), of("-1"), &out), "sum too small", "");
  check(decimal_add(of(BIG), of(SMALL), &out), "sum to zero", "");
  says(out, "0");
  check(decimal_add(of(BIG), of("0.000"), &out), "zeros make room", "");
  says(out, BIG);
  check(!decimal_mul(of(BIG), of(BIG), &out), "product too large", "");
  check(decimal_mul(of("-2.50"), of("4.0"), &out), "product", "");
  says(out, "-10.000");
  check(decimal_mul(of("0.5000000000"), of("0.5000000000"), &out),
        "a product of twenty digits", "");
  says(out, "0.250000000000000000");
  check(!decimal_mul(of("0.0000000001"), of("0.0000000001"), &out),
        "product too fine", "");
  says(decimal_neg(of(SMALL)), BIG);
  check(!decimal_integer(INT64_MIN, &out), "INT64_MIN", "");
}

static void compares(const char *a, const char *b, int expected) {
  int got = decimal_compare(of(a), of(b));
  check((got > 0) - (got < 0) == expected, a, b);
  got = decimal_compare(of(b), of(a));
  check((got > 0) - (got < 0) == -expected, b, a);
}

static void test_compare(void) {
  compares("1.0", "1.00", 0);
  compares("0", "-0.00", 0);
  compares("0.50", "0.51", -1);
  compares(BIG, "0.000000000000000001", 1);
  compares(SMALL, "-9.223372036854775807", -1);
}

static void rounds(const char *text, unsigned digits, decimal_mode mode,
                   const char *expected) {
  decimal out = {0, 0};
  check(decimal_round(of(text), digits, mode, &out), "rounded", text);
  says(out, expected);
}

static void test_round(void) {
  decimal out = {42, 7};
  rounds("1.005", 2, DECIMAL_HALF_AWAY, "1.01");
  rounds("-1.005", 2, DECIMAL_HALF_AWAY, "-1.01");
  rounds("2.5", 0, DECIMAL_HALF_EVEN, "2");
  rounds("-3.5", 0, DECIMAL_HALF_EVEN, "-4");
  rounds("1.999", 2, DECIMAL_DOWN, "1.99");
  rounds("-1.001", 2, DECIMAL_UP, "-1.01");
  rounds("0.499999999999999999", 0, DECIMAL_HALF_AWAY, "0");
  rounds("9.223372036854775807", 0, DECIMAL_UP, "10");
  rounds("5", 2, DECIMAL_DOWN, "5.00");
  check(!decimal_round(of(BIG), 1, DECIMAL_DOWN, &out), "no room", "");
  check(!decimal_round(of("1"), 19, DECIMAL_DOWN, &out), "19 digits", "");
  check(out.coefficient == 42 && out.scale == 7, "untouched", "");
}

static void test_allocate(void) {
  decimal_share shares[3] = {{1, 0, 0, 0}, {1, 0, 0, 1}, {1, 0, 0, 2}};
  decimal_share nothing[2] = {{0, 0, 0, 0}, {0, 0, 0, 1}};
  decimal_share much[2] = {{INT64_MAX, 0, 0, 0}, {1, 0, 0, 1}};
  decimal_share below[1] = {{-1, 0, 0, 0}};
  int64_t sum = 0;
  int i;
  check(decimal_allocate(of(SMALL), shares, 3), "split", "");
  for (i = 0; i < 3; i++)
    sum += shares[i].units;
  check(sum == -INT64_MAX, "nothing lost", "");
  check(shares[0].index == 0 && shares[0].units <= shares[2].units,
        "the first gets more", "");
  check(!decimal_allocate(of("1"), nothing, 2), "no ratio", "");
  check(!decimal_allocate(of("1"), nothing, 0), "no share", "");
  check(!decimal_allocate(of("1"), much, 2), "ratios too large", "");
  check(!decimal_allocate(of("1"), below, 1), "ratio below zero", "");
}

static void test_whole(void) {
  int64_t n = 42;
  check(decimal_whole(of("-5.00"), &n) && n == -5, "whole", "");
  check(!decimal_whole(of("5.01"), &n) && n == -5, "not whole", "");
}

int main(void) {
  test_text();
  test_arithmetic();
  test_compare();
  test_round();
  test_allocate();
  test_whole();
  printf("%d passed, %d failed\n", passed, failed);
  return failed > 0;
}
