/*
** head.h - the header values that billhook reads: Betterez's signature list,
** Basic credentials and Retry-After.
**
** Strict: a value that does not follow the grammar exactly is refused, because
** two readers could understand it differently. Nothing allocates.
*/
#ifndef BILLHOOK_HEAD_H
#define BILLHOOK_HEAD_H

#include "slice.h"

#pragma GCC visibility push(hidden)

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

#pragma GCC visibility pop

#endif
