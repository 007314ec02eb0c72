/* with: head.c date.c text.c */
/*
** head_test.c - header values.
*/
#include "head.h"

#include <math.h>
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

/* --- the signature list ------------------------------------------------ */

static slice t, s2;

static int list(const char *text) {
  return head_signature(S(text), &t, &s2) == NULL;
}

static void test_signature(void) {
  CHECK(list("t=1,s=x,s2=ab=="));
  CHECK(slice_equal(t, S("1")) && slice_equal(s2, S("ab==")));
  CHECK(list(" s2=b ,\tt=1 , other=anything"));
  CHECK(slice_equal(t, S("1")) && slice_equal(s2, S("b")));
  CHECK(list("s=1") && t.p == NULL && s2.p == NULL);
  CHECK(list("T=1,S2=b") && t.p == NULL && s2.p == NULL);
  CHECK(list("s=1,s=2,t=,s2=") && t.n == 0 && t.p != NULL);
}

static void test_signature_refused(void) {
  CHECK(!list("t=1,t=1,s2=b"));
  CHECK(!list("t=1,s2=b,s2=b"));
  CHECK(!list("t=1,s2=b,s2=") && !list("t=,t=1"));
  CHECK(!list("") && !list(",") && !list("t=1,,s2=b") && !list("t=1,"));
  CHECK(!list("t") && !list("=1") && !list("t=1;s2=b,x"));
  CHECK(!list("t =1") && !list("t= 1") && !list("t=1 2"));
  CHECK(!list("t=\xc3\xa9") && !list("t=\x01") && !list("t=1\r\n,s2=b"));
}

/* --- Basic ------------------------------------------------------------- */

static int basic(const char *text, const char *expected) {
  char out[64];
  slice got;
  return head_basic(S(text), out, &got) && slice_equal(got, S(expected));
}

static int no_basic(const char *text) {
  char out[64];
  slice got;
  return !head_basic(S(text), out, &got);
}

static void test_basic(void) {
  CHECK(basic("Basic dXNlcjpwYXNz", "user:pass"));
  CHECK(basic("bASIC   dXNlcjpwYXNz", "user:pass"));
  CHECK(basic("Basic ", ""));
  CHECK(no_basic("Basic") && no_basic("") && no_basic("Bearer dXNlcg=="));
  CHECK(no_basic("Basic dXNlcjpwYXNz ") && no_basic("Basic dXNl,cg"));
  CHECK(no_basic(" Basic dXNlcjpwYXNz") && no_basic("Basic\tdXNlcg=="));
}

/* --- Retry-After ------------------------------------------------------- */

#define NOW 784111777.0 /* Sun, 06 Nov 1994 08:49:37 GMT */

static double wait_at(const char *text, double now) {
  double seconds;
  return head_retry_after(S(text), now, &seconds) ? seconds : -1;
}

static double wait(const char *text) {
  return wait_at(text, NOW - 60);
}

static void test_retry_after(void) {
  CHECK(wait("0") == 0 && wait("120") == 120 && wait(" 7 ") == 7);
  CHECK(wait("-5") == 0);
  CHECK(wait("31622400") == 31622400 && wait("31622401") == -1);
  CHECK(wait("999999999999999999") == -1 && wait("9999999999999999999") == -1);
  CHECK(wait("Sun, 06 Nov 1994 08:49:37 GMT") == 60);
  CHECK(wait("Sun, 6 Nov 1994 08:49:37 GMT") == 60);
  CHECK(wait("Sunday, 06-Nov-94 08:49:37 GMT") == 60);
  CHECK(wait("Sun Nov  6 08:49:37 1994") == 60);
  CHECK(wait("Sun Nov 16 08:49:37 1994") == 60 + 864000);
  CHECK(wait_at("Sun, 06 Nov 1994 08:49:37 GMT", NOW + 5) == 0);
  CHECK(wait("Sun, 06 Nov 2094 08:49:37 GMT") == -1); /* absurd */
}

/* two digits of a year: never more than 50 years ahead */
static void test_century(void) {
  double in_2026 = 1795255200;
  CHECK(wait_at("Saturday, 21-Nov-26 10:01:00 GMT", in_2026) == 60);
  CHECK(wait_at("Sunday, 06-Nov-94 08:49:37 GMT", in_2026) == 0);
  CHECK(wait_at("Friday, 21-Nov-75 10:01:00 GMT", in_2026) == -1); /* 2075 */
  CHECK(wait_at("Monday, 21-Nov-77 10:01:00 GMT", in_2026) == 0);  /* 1977 */
}

static void test_retry_after_refused(void) {
  static const char *const bad[] = {"",
                                    " ",
                                    "-",
                                    "--5",
                                    "+5",
                                    "1.5",
                                    "1e3",
                                    "0x10",
                                    "5s",
                                    "5 6",
                                    "soon",
                                    "Son, 06 Nov 1994 08:49:37 GMT",
                                    "Sun, 006 Nov 1994 08:49:37 GMT",
                                    "Sun, 06 nov 1994 08:49:37 GMT",
                                    "Sun, 06 Nov 1994 08:49:37 UTC",
                                    "Sun, 06 Nov 1994 08:49:37",
                                    "Sun, 31 Feb 1994 08:49:37 GMT",
                                    "Sun, 06 Nov 1994 24:00:00 GMT",
                                    "Sunday, 06 Nov 1994 08:49:37 GMT",
                                    "Sun, 06-Nov-94 08:49:37 GMT",
                                    "Sun Nov 06 08:49:37 1994 GMT",
                                    "1994-11-06T08:49:37Z",
                                    "Sun",
                                    "Sunday"};
  size_t i;
  for (i = 0; i < sizeof bad / sizeof *bad; i++)
    check(wait(bad[i]) == -1, bad[i], __LINE__);
  CHECK(wait_at("Sun, 06 Nov 1994 08:49:37 GMT", (double)NAN) == -1);
}

int main(void) {
  test_signature();
  test_signature_refused();
  test_basic();
  test_retry_after();
  test_century();
  test_retry_after_refused();
  printf("%d passed, %d failed\n", passed, failed);
  return failed > 0;
}
