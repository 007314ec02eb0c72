/*
** head.h - the header values that billhook reads: Betterez's signature list,
** Basic credentials, Retry-After; and dates, in headers and in JSON.
**
** Strict: what does not follow the grammar to the letter is refused, because
** two readers could understand it differently. Nothing allocates, nothing
** looks at the locale or the time zone.
*/
#ifndef BILLHOOK_HEAD_H
#define BILLHOOK_HEAD_H

#include <stddef.h>
#include <stdint.h>
#include "text.h"

#pragma GCC visibility push(hidden)

#define HEAD_ISO 25 /* bytes of head_iso */

/* longest wait that a Retry-After may ask for, in seconds: 366 days. More is
** a mistake (a time in milliseconds, say), and no advice. */
#define HEAD_MAXWAIT 31622400

/* "t=123, s2=abc": a list of name=value. Fills t and s2, absent where they
** are not in it; other names are passed over. Gives NULL, or what is wrong:
** not such a list, or t or s2 twice. */
const char *head_signature(slice value, slice *t, slice *s2);

/* "Basic dXNlcjpwYXNz": 1 and the decoded credentials in out, which has room
** for value.n bytes; or 0 */
int head_basic(slice value, char *out, slice *credentials);

/* seconds to wait, never negative: 1, or 0 (neither form, or absurd) */
int head_retry_after(slice value, double now, double *seconds);

/* ISO 8601 date and time of day with an offset or Z: 1 and the epoch
** seconds, or 0 */
int head_datetime(slice text, double *epoch);

/* "2026-11-21T10:00:00+00:00": HEAD_ISO bytes for whole seconds of the years
** 0 to 9999: 1, or 0 */
int head_iso(int64_t epoch, char *out);

#pragma GCC visibility pop

#endif
