/*
** date.c - see date.h.
*/
#include "date.h"
#include "text.h"

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
  return d->year >= 1 && d->month >= 1 && d->month <= 12 && d->day >= 1 &&
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

/* --- HTTP ---------------------------------------------------------------- */

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

int date_http(slice s, double now, double *epoch) {
  date d = {0, 1, 1, 0, 0, 0};
  slice whole = s;
  int ok = 0;
  if (skip_day(&s, 0))
    ok = scan(s, ", DD NNN YYYY hh:mm:ss GMT", &d) ||
         scan(s, ", D NNN YYYY hh:mm:ss GMT", &d) ||
         scan(s, " NNN dd hh:mm:ss YYYY", &d);
  if (!ok && skip_day(&whole, 1)) {
    ok = scan(whole, ", DD-NNN-yy hh:mm:ss GMT", &d);
    if (ok) d.year = century(d.year, now);
  }
  if (!ok || !real(&d)) return 0;
  *epoch = (double)seconds_of(&d);
  return 1;
}

/* --- ISO 8601 ------------------------------------------------------------ */

/* ".123" at the front of s, if it is there; what is less than a nanosecond
** counts for nothing */
static int fraction(slice *s, double *out) {
  static const double scale[] = {1,   1e1, 1e2, 1e3, 1e4,
                                 1e5, 1e6, 1e7, 1e8, 1e9};
  slice digits = *s;
  size_t all;
  int64_t value;
  *out = 0;
  if (s->n == 0 || s->p[0] != '.') return 1;
  digits.p++;
  for (digits.n = 0; digits.n + 1 < s->n; digits.n++)
    if (digits.p[digits.n] < '0' || digits.p[digits.n] > '9') break;
  all = digits.n;
  if (all > 9) digits.n = 9;
  if (!text_digits(digits, &value)) return 0;
  *out = (double)value / scale[digits.n];
  s->p += all + 1;
  s->n -= all + 1;
  return 1;
}

/* "Z" or "+hh:mm", all of s: the seconds that local time is ahead */
static int offset(slice s, int64_t *out) {
  date d = {0, 1, 1, 0, 0, 0};
  *out = 0;
  if (s.n == 1 && s.p[0] == 'Z') return 1;
  if (!scan(s, "+hh:mm", &d) && !scan(s, "-hh:mm", &d)) return 0;
  *out = (d.hour * 3600 + d.minute * 60) * (s.p[0] == '-' ? -1 : 1);
  return d.hour <= 14 && d.minute <= 59;
}

/* hh:mm[:ss[.f]] at the front of s, which is then what stands behind it */
static int time_of_day(slice *s, date *d, double *part) {
  slice front = *s;
  front.n = 5;
  *part = 0;
  if (s->n < 5 || !scan(front, "hh:mm", d)) return 0;
  s->p += 5, s->n -= 5;
  if (s->n == 0 || s->p[0] != ':') return 1;
  front.p = s->p, front.n = 3;
  if (s->n < 3 || !scan(front, ":ss", d)) return 0;
  s->p += 3, s->n -= 3;
  return fraction(s, part);
}

date_form date_read(slice text, double *epoch) {
  date d = {0, 1, 1, 0, 0, 0};
  slice front = text, rest = text;
  double part = 0;
  int64_t ahead = 0;
  front.n = 10;
  if (text.n < 10 || !scan(front, "YYYY-oo-DD", &d)) return DATE_NONE;
  rest.p += 10, rest.n -= 10;
  if (rest.n > 0) {
    if (*rest.p++ != 'T') return DATE_NONE;
    rest.n--;
    if (!time_of_day(&rest, &d, &part)) return DATE_NONE;
    if (rest.n > 0 && !offset(rest, &ahead)) return DATE_NONE;
  }
  if (!real(&d)) return DATE_NONE;
  *epoch = (double)(seconds_of(&d) - ahead) + part;
  if (text.n == 10) return DATE_DAY;
  return rest.n > 0 ? DATE_MOMENT : DATE_LOCAL;
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

#define FIRST INT64_C(-62135596800) /* of the year 1 */
#define LAST  INT64_C(253402300799) /* of the year 9999 */

int date_write(int64_t epoch, char *out) {
  int64_t days, second;
  date d;
  if (epoch < FIRST || epoch > LAST) return 0;
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
