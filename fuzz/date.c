/* with: date.c text.c */
/*
** fuzz/date.c - the calendar beside a slow one of its own: each moment of the
** years 1 to 9999 is written and read again, days follow one another, and an
** HTTP date is read the same whatever the time is now, but for the form with
** two digits for the year.
*/
#include "date.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int good) {
  if (!good) abort();
}

static int leap(int year) {
  return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* from 1970-01-01, counted one by one */
static int64_t day_of(int year, int month, int day) {
  static const int lengths[] = {31, 28, 31, 30, 31, 30,
                                31, 31, 30, 31, 30, 31};
  int64_t days = 0;
  int y, m;
  for (y = 1970; y < year; y++)
    days += 365 + leap(y);
  for (y = 1969; y >= year; y--)
    days -= 365 + leap(y);
  for (m = 1; m < month; m++)
    days += lengths[m - 1] + (m == 2 && leap(year));
  must(day >= 1 && day <= lengths[month - 1] + (month == 2 && leap(year)));
  return days + day - 1;
}

static void counted(slice text) {
  char copy[11];
  int year, month, day;
  double epoch;
  date_form form = date_read(text, &epoch);
  if (form == DATE_NONE) return;
  memcpy(copy, text.p, 10);
  copy[10] = '\0';
  must(sscanf(copy, "%4d-%2d-%2d", &year, &month, &day) == 3);
  must(year >= 1 && month >= 1 && month <= 12);
  if (form == DATE_DAY)
    must(text.n == 10 && epoch == (double)day_of(year, month, day) * 86400);
  else /* within the day, or the hours of an offset around it */
    must(fabs(epoch - (double)day_of(year, month, day) * 86400 - 43200) <=
         43200 + 86400);
}

static void written(const uint8_t *data, size_t size) {
  int64_t epoch = 0;
  double again;
  char out[DATE_ROOM];
  slice text = {out, sizeof out};
  memcpy(&epoch, data, size < sizeof epoch ? size : sizeof epoch);
  if (size < 6) epoch -= INT64_C(1) << 39;
  if (!date_write(epoch, out)) {
    must(epoch < -62135596800 || epoch >= 253402300800);
    return;
  }
  must(date_read(text, &again) == DATE_MOMENT && again == (double)epoch);
  counted(text);
}

static void http(slice text) {
  double a, b, c;
  int good = date_http(text, 0, &a), later = date_http(text, 1.8e9, &b);
  must(good == later && date_http(text, -6e10, &c) == good);
  if (!good) return;
  must(a == b || memchr(text.p, '-', text.n) != NULL);
  must(a == floor(a) && a > -7e10 && a < 3e11);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char *copy = malloc(size + 1);
  slice text = {copy, size};
  must(copy != NULL);
  memcpy(copy, data, size);
  counted(text);
  http(text);
  written(data, size);
  free(copy);
  return 0;
}
