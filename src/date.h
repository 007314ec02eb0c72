/*
** date.h - the one calendar: ISO 8601 as JSON and queries have it, and the
** three forms of a date in HTTP headers.
**
** Years are 1 to 9999, days must exist, and nothing depends on the locale or
** the time zone. Strict: text that does not follow the grammar exactly is
** refused. Nothing allocates.
*/
#ifndef BILLHOOK_DATE_H
#define BILLHOOK_DATE_H

#include "slice.h"

#pragma GCC visibility push(hidden)

typedef enum date_form {
  DATE_NONE,
  DATE_DAY,   /* 2026-11-21 */
  DATE_LOCAL, /* 2026-11-21T10:00[:00[.5]] */
  DATE_MOMENT /* the same with Z or an offset, +02:00 */
} date_form;

/* What a text is, and the epoch seconds of a moment; of a day its first ones,
** of a local time those that it has in UTC. */
date_form date_read(slice text, double *epoch);

#define DATE_ROOM 25

/* "2026-11-21T10:00:00+00:00", all of DATE_ROOM: 1, or 0 where the year is
** not one of 1 to 9999 */
int date_write(int64_t epoch, char *out);

/* "Sun, 06 Nov 1994 08:49:37 GMT" and the two older forms, of which one has
** two digits for the year: never more than 50 years after now. 1, or 0 */
int date_http(slice text, double now, double *epoch);

#pragma GCC visibility pop

#endif
