/* with: date.c text.c */
/*
** date_test.c - the calendar.
*/
#include "date.h"

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

/* --- dates ------------------------------------------------------------- */

static double when(const char *text) {
  double epoch;
  return date_read(S(text), &epoch) == DATE_MOMENT ? epoch : -1e18;
}

static int no_date(const char *text) {
  return when(text) == -1e18;
}

static void test_datetime(void) {
  CHECK(when("1970-01-01T00:00:00Z") == 0);
  CHECK(when("1970-01-01T00:00:00-00:00") == 0);
  CHECK(when("2025-12-03T13:15:31+00:00") == 1764767731);
  CHECK(when("2025-12-03T15:15:31+02:00") == 1764767731);
  CHECK(when("2025-12-03T07:45:31-05:30") == 1764767731);
  CHECK(fabs(when("2024-10-02T16:02:00.544+00:00") - 1727884920.544) < 1e-6);
  CHECK(when("2024-10-02T16:02:00.000000000Z") == 1727884920);
  CHECK(when("2025-12-03T13:15Z") == 1764767700);
  CHECK(when("2025-12-03T13:15:31.0000000009Z") == 1764767731);
  CHECK(fabs(when("2025-12-03T13:15:31.12345678901Z") - 1764767731.123456789) <
        1e-6);
  CHECK(when("2000-02-29T00:00:00Z") == 951782400);
  CHECK(when("2024-02-29T23:59:59Z") == 1709251199);
  CHECK(when("1969-12-31T23:59:59Z") == -1);
  CHECK(when("0001-01-01T00:00:00Z") == -62135596800.0);
  CHECK(when("9999-12-31T23:59:59Z") == 253402300799.0);
}

static void test_datetime_refused(void) {
  static const char *const bad[] = {"",
                                    "2025",
                                    "2025-12-03",
                                    "2025-12-03T13:15:31",
                                    "2025-12-03T13Z",
                                    "2025-12-03 13:15:31Z",
                                    "2025-12-03t13:15:31Z",
                                    "2025-12-03T13:15:31z",
                                    "2025-12-03T13:15:31+0000",
                                    "2025-12-03T13:15:31+00",
                                    "2025-12-03T13:15:31+15:00",
                                    "0000-01-01T00:00:00Z",
                                    "2025-12-03T13:15:31+00:60",
                                    "2025-12-03T13:15:31 +00:00",
                                    "2025-12-03T13:15:31Z ",
                                    " 2025-12-03T13:15:31Z",
                                    "2025-12-03T13:15:31.Z",
                                    "2025-12-03T13:15:31,5Z",
                                    "2025-12-03T13:15:31.5",
                                    "2025-12-03T24:00:00Z",
                                    "2025-12-03T23:60:00Z",
                                    "2025-12-03T23:59:60Z",
                                    "2025-13-01T00:00:00Z",
                                    "2025-00-01T00:00:00Z",
                                    "2025-01-00T00:00:00Z",
                                    "2025-01-32T00:00:00Z",
                                    "2025-04-31T00:00:00Z",
                                    "2025-02-29T00:00:00Z",
                                    "1900-02-29T00:00:00Z",
                                    "2100-02-29T00:00:00Z",
                                    "20251203T131531Z",
                                    "2025-1-03T13:15:31Z",
                                    "+025-12-03T13:15:31Z",
                                    "-025-12-03T13:15:31Z",
                                    "2025-12-03T1 :15:31Z",
                                    "2025-12-03T13:15:3\xd9\xa1Z",
                                    "2025-12-03T13:15:31+-1:00"};
  size_t i;
  for (i = 0; i < sizeof bad / sizeof *bad; i++)
    check(no_date(bad[i]), bad[i], __LINE__);
}

static date_form form(const char *text) {
  double epoch;
  return date_read(S(text), &epoch);
}

static void test_forms(void) {
  double epoch = 0;
  CHECK(form("2025-12-03") == DATE_DAY);
  CHECK(date_read(S("1970-01-02"), &epoch) == DATE_DAY && epoch == 86400);
  CHECK(form("2025-12-03T13:15") == DATE_LOCAL);
  CHECK(form("2025-12-03T13:15:31.5") == DATE_LOCAL);
  CHECK(form("2025-12-03T13:15+01:00") == DATE_MOMENT);
  CHECK(form("2024-02-29") == DATE_DAY && form("2025-02-29") == DATE_NONE);
  CHECK(form("0000-00-00") == DATE_NONE && form("0000-01-01") == DATE_NONE);
  CHECK(form("2025-12-03T") == DATE_NONE && form("2025-12-03 ") == DATE_NONE);
  CHECK(form("2025-12-03T13:15:") == DATE_NONE);
}

static void test_http(void) {
  double epoch;
  CHECK(date_http(S("Sun, 06 Nov 1994 08:49:37 GMT"), 0, &epoch) &&
        epoch == 784111777.0);
  CHECK(date_http(S("Mon, 6 Nov 1994 08:49:37 GMT"), 0, &epoch) &&
        epoch == 784111777.0); /* the day's name decides nothing */
  CHECK(!date_http(S("Sun, 06 Nov 0000 08:49:37 GMT"), 0, &epoch));
  CHECK(!date_http(S("1994-11-06T08:49:37Z"), 0, &epoch));
}

/* every day of 800 years: written, then read again */
static void test_calendar(void) {
  int64_t day, wrong = 0;
  char out[DATE_ROOM];
  slice s = {out, DATE_ROOM};
  double epoch;
  for (day = -146097; day < 146097; day++)
    if (!date_write(day * 86400 + 86399, out) ||
        date_read(s, &epoch) != DATE_MOMENT ||
        epoch != (double)(day * 86400 + 86399))
      wrong++;
  CHECK(wrong == 0);
}

static void test_iso(void) {
  char out[DATE_ROOM];
  CHECK(date_write(0, out) &&
        memcmp(out, "1970-01-01T00:00:00+00:00", 25) == 0);
  CHECK(date_write(1795255200, out) &&
        memcmp(out, "2026-11-21T10:00:00+00:00", 25) == 0);
  CHECK(date_write(-1, out) && memcmp(out, "1969-12-31T23:59:59", 19) == 0);
  CHECK(date_write(INT64_C(253402300799), out) &&
        memcmp(out, "9999-12-31T23:59:59", 19) == 0);
  CHECK(!date_write(INT64_C(253402300800), out));
  CHECK(date_write(INT64_C(-62135596800), out) &&
        memcmp(out, "0001-01-01T00:00:00", 19) == 0);
  CHECK(!date_write(INT64_C(-62135596801), out));
}

int main(void) {
  test_datetime();
  test_datetime_refused();
  test_forms();
  test_http();
  test_calendar();
  test_iso();
  printf("%d passed, %d failed\n", passed, failed);
  return failed > 0;
}
