/*
** head.c - header values and dates.
*/
#include "head.h"

#include <string.h>

/* --- lists ------------------------------------------------------------- */

/* what may stand in a name or value of the list: visible ASCII but commas */
static int visible(slice s) {
  size_t i;
  for (i = 0; i < s.n; i++)
    if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == ',') return 0;
  return 1;
}

/* cuts s at the first c: what stands before it; s becomes what is after it,
** or absent where there was none */
static slice cut(slice *s, char c) {
  slice head = *s;
  const char *at = s->n > 0 ? memchr(s->p, c, s->n) : NULL;
  if (at == NULL) {
    s->p = NULL;
    s->n = 0;
    return head;
  }
  head.n = (size_t)(at - s->p);
  s->n -= head.n + 1;
  s->p = at + 1;
  return head;
}

/* one name=value: NULL, or what is wrong */
static const char *pair(slice item, slice *t, slice *s2) {
  slice name = cut(&item, '='), *into = NULL;
  if (item.p == NULL || name.n == 0 || !visible(name) || !visible(item))
    return "the signature header is not a list of name=value";
  if (slice_equal(name, slice_of("t"))) into = t;
  if (slice_equal(name, slice_of("s2"))) into = s2;
  if (into == NULL) return NULL;
  if (into->p != NULL) return "the signature header names t or s2 twice";
  *into = item;
  return NULL;
}

const char *head_signature(slice value, slice *t, slice *s2) {
  const char *wrong = NULL;
  t->p = s2->p = NULL;
  t->n = s2->n = 0;
  while (wrong == NULL && value.p != NULL)
    wrong = pair(slice_trim(cut(&value, ',')), t, s2);
  return wrong;
}

int head_basic(slice value, char *out, slice *credentials) {
  slice scheme = cut(&value, ' ');
  int n;
  if (value.p == NULL || !slice_same(scheme, slice_of("Basic"))) return 0;
  while (value.n > 0 && value.p[0] == ' ')
    value.p++, value.n--;
  n = text_unbase64(value, out, value.n);
  if (n < 0) return 0;
  credentials->p = out;
  credentials->n = (size_t)n;
  return 1;
}

/* --- the calendar ------------------------------------------------------ */

typedef struct date {
  int64_t year, month, day, hour, minute, second;
} date;

static int leap(int64_t y) {
  return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

static int64_t days_in(int64_t y, int64_t m) {
  static const unsigned char days[] = {31, 28, 31, 30, 31, 30,
                                       31, 31, 30, 31, 30, 31};
  return m == 2 && leap(y) ? 29 : days[m - 1];
}

/* days from 1970-01-01; eras of 400 years, years that begin in March, so
** that the leap day comes last */
static int64_t days_from(int64_t y, int64_t m, int64_t d) {
  int64_t era, of_era, of_year;
  y -= m <= 2;
  era = (y >= 0 ? y : y - 399) / 400;
  of_era = y - era * 400;
  of_year = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
  return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year -
         719468;
}

static int real(const date *d) {
  return d->month >= 1 && d->month <= 12 && d->day >= 1 &&
         d->day <= days_in(d->year, d->month) && d->hour <= 23 &&
         d->minute <= 59 && d->second <= 59;
}

static int64_t seconds_of(const date *d) {
  return days_from(d->year, d->month, d->day) * 86400 + d->hour * 3600 +
         d->minute * 60 + d->second;
}

/* --- reading by a pattern ---------------------------------------------- */

static int month_at(const char *p, int64_t *out) {
  static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
  int64_t i;
  for (i = 0; i < 12; i++)
    if (memcmp(p, names + 3 * i, 3) == 0) {
      *out = i + 1;
      return 1;
    }
  return 0;
}

/* the number in a field of n digits; a leading space where spaced */
static int number_at(const char *p, size_t n, int spaced, int64_t *out) {
  slice s = {p, n};
  if (spaced && p[0] == ' ') s.p++, s.n--;
  return text_digits(s, out);
}

/* Reads text by a pattern of the same length: Y y o D d h m s stand for
** digits of a date (o: the month, y: a year of two digits, d: may begin with
** a space), N for a month's name, everything else for itself. */
static int scan(slice text, const char *pattern, date *d) {
  size_t i, n;
  int64_t none;
  if (text.n != strlen(pattern)) return 0;
  for (i = 0; i < text.n; i += n) {
    char c = pattern[i];
    int64_t *to = &none;
    for (n = 1; pattern[i + n] == c;)
      n++;
    if (c == 'N') {
      if (!month_at(text.p + i, &d->month)) return 0;
      continue;
    }
    if (c == 'Y' || c == 'y') to = &d->year;
    if (c == 'o') to = &d->month;
    if (c == 'D' || c == 'd') to = &d->day;
    if (c == 'h') to = &d->hour;
    if (c == 'm') to = &d->minute;
    if (c == 's') to = &d->second;
    if (to == &none ? text.p[i] != c : !number_at(text.p + i, n, c == 'd', to))
      return 0;
    if (to == &none) n = 1;
  }
  return 1;
}

/* --- HTTP dates and Retry-After ---------------------------------------- */

/* without the day's name: 3 letters, or all of it where whole */
static int skip_day(slice *s, int whole) {
  static const char *const names[] = {"Sunday",    "Monday",   "Tuesday",
                                      "Wednesday", "Thursday", "Friday",
                                      "Saturday"};
  size_t i;
  for (i = 0; i < 7; i++) {
    size_t n = whole ? strlen(names[i]) : 3;
    if (s->n <= n || memcmp(s->p, names[i], n) != 0) continue;
    s->p += n;
    s->n -= n;
    return 1;
  }
  return 0;
}

/* a year of two digits: the century that puts it at most 50 years ahead */
static int64_t century(int64_t year, double now) {
  double limit = 1970 + now / 31556952.0 + 50;
  for (year += 1900; (double)(year + 100) <= limit && year < 9800;)
    year += 100;
  return year;
}

static int http_date(slice s, double now, double *epoch) {
  date d = {0, 1, 1, 0, 0, 0};
  slice whole = s;
  int ok = 0;
  if (skip_day(&s, 0))
    ok = scan(s, ", DD NNN YYYY hh:mm:ss GMT", &d) ||
         scan(s, " NNN dd hh:mm:ss YYYY", &d);
  if (!ok && skip_day(&whole, 1)) {
    ok = scan(whole, ", DD-NNN-yy hh:mm:ss GMT", &d);
    if (ok) d.year = century(d.year, now);
  }
  if (!ok || !real(&d)) return 0;
  *epoch = (double)seconds_of(&d);
  return 1;
}

int head_retry_after(slice value, double now, double *seconds) {
  slice digits;
  int64_t n;
  double wait, epoch;
  value = slice_trim(value);
  digits = value;
  if (digits.n > 0 && digits.p[0] == '-') digits.p++, digits.n--;
  if (text_digits(digits, &n))
    wait = digits.n < value.n ? 0 : (double)n;
  else if (http_date(value, now, &epoch))
    wait = epoch - now;
  else
    return 0;
  if (!(wait <= HEAD_MAXWAIT)) return 0;
  *seconds = wait > 0 ? wait : 0;
  return 1;
}

/* --- ISO 8601 ---------------------------------------------------------- */

/* ".123" at the front of s, if it is there: up to 9 digits */
static int fraction(slice *s, double *out) {
  static const double scale[] = {1,   1e1, 1e2, 1e3, 1e4,
                                 1e5, 1e6, 1e7, 1e8, 1e9};
  slice digits = *s;
  int64_t value;
  *out = 0;
  if (s->n == 0 || s->p[0] != '.') return 1;
  digits.p++;
  for (digits.n = 0; digits.n + 1 < s->n; digits.n++)
    if (digits.p[digits.n] < '0' || digits.p[digits.n] > '9') break;
  if (digits.n > 9 || !text_digits(digits, &value)) return 0;
  *out = (double)value / scale[digits.n];
  s->p += digits.n + 1;
  s->n -= digits.n + 1;
  return 1;
}

/* "Z" or "+hh:mm", all of s: the seconds that local time is ahead */
static int offset(slice s, int64_t *out) {
  date d = {0, 1, 1, 0, 0, 0};
  *out = 0;
  if (s.n == 1 && s.p[0] == 'Z') return 1;
  if (!scan(s, "+hh:mm", &d) && !scan(s, "-hh:mm", &d)) return 0;
  *out = (d.hour * 3600 + d.minute * 60) * (s.p[0] == '-' ? -1 : 1);
  return d.hour <= 23 && d.minute <= 59;
}

int head_datetime(slice text, double *epoch) {
  static const char pattern[] = "YYYY-oo-DDThh:mm:ss";
  const size_t n = sizeof pattern - 1;
  date d = {0, 1, 1, 0, 0, 0};
  slice front = text, rest;
  double part;
  int64_t ahead;
  if (text.n <= n) return 0;
  front.n = n;
  rest.p = text.p + n;
  rest.n = text.n - n;
  if (!scan(front, pattern, &d) || !real(&d)) return 0;
  if (!fraction(&rest, &part) || !offset(rest, &ahead)) return 0;
  *epoch = (double)(seconds_of(&d) - ahead) + part;
  return 1;
}

/* n digits, with zeros in front */
static char *put(char *out, int64_t value, int n) {
  int i;
  for (i = n; i-- > 0; value /= 10)
    out[i] = (char)('0' + value % 10);
  return out + n;
}

/* the inverse of days_from */
static void date_of(int64_t days, date *d) {
  int64_t era, of_era, of_year, y, m;
  days += 719468;
  era = (days >= 0 ? days : days - 146096) / 146097;
  of_era = days - era * 146097;
  y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
  of_year = of_era - (365 * y + y / 4 - y / 100);
  m = (5 * of_year + 2) / 153;
  d->day = of_year - (153 * m + 2) / 5 + 1;
  d->month = m < 10 ? m + 3 : m - 9;
  d->year = y + era * 400 + (d->month <= 2);
}

int head_iso(int64_t epoch, char *out) {
  int64_t days, second;
  date d;
  if (epoch < INT64_C(-62167219200) || epoch > INT64_C(253402300799)) return 0;
  days = (epoch >= 0 ? epoch : epoch - 86399) / 86400;
  second = epoch - days * 86400;
  date_of(days, &d);
  out = put(out, d.year, 4), *out++ = '-';
  out = put(out, d.month, 2), *out++ = '-';
  out = put(out, d.day, 2), *out++ = 'T';
  out = put(out, second / 3600, 2), *out++ = ':';
  out = put(out, second / 60 % 60, 2), *out++ = ':';
  out = put(out, second % 60, 2);
  memcpy(out, "+00:00", 6);
  return 1;
}
