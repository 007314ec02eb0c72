/*
** text.h - the encodings of the web: hexadecimal, base64, percent-encoding,
** plain integers.
**
** Nothing here allocates: the caller gives room, whose bound each function
** names. Nothing here looks at the locale.
*/
#ifndef BILLHOOK_TEXT_H
#define BILLHOOK_TEXT_H

#include "slice.h"

#pragma GCC visibility push(hidden)

/* writes 2 * n digits, lower case */
void text_hex(const void *in, size_t n, char *out);

/* exactly 2 * room hexadecimal digits of either case: 1; anything else: 0 */
int text_unhex(slice in, void *out, size_t room);

#define TEXT_BASE64(n) (((n) + 2) / 3 * 4)

/* standard alphabet with padding; writes TEXT_BASE64(n) bytes */
size_t text_base64(const void *in, size_t n, char *out);

/* Standard or URL alphabet (not mixed), padding optional but right where it
** stands, no spare bits set, no white space. Gives the number of bytes
** written, at most room, or -1. */
int text_unbase64(slice in, void *out, size_t room);

/* RFC 3986: all but the unreserved characters; out has room for 3 * n */
size_t text_percent(slice in, char *out);

/* plain digits, 1 to 18 of them, no sign: 1 and the number, or 0 */
int text_digits(slice in, int64_t *out);

#pragma GCC visibility pop

#endif
