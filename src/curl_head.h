/*
** curl_head.h - the head of an answer as libcurl hands it over, line by line:
** counted, and kept as names in lower case with their values.
**
** Every answer begins anew, so that what came before the last one (100, 103,
** a proxy's) is forgotten. What libcurl lets pass, though it leaves open what
** the answer is, is refused: of two lengths it takes the later one, and cuts
** the body there. Nothing here knows libcurl.
*/
#ifndef BILLHOOK_CURL_HEAD_H
#define BILLHOOK_CURL_HEAD_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

#define CURL_HEAD_BYTES (256 * 1024) /* of all header lines of an answer */
#define CURL_HEAD_LINES 200

typedef struct curl_head {
  char *bytes; /* name, NUL, value, NUL, name, ... */
  size_t used, room;
  size_t total, lines; /* as they came, of all answers */
  int whole;           /* the final one is there: what follows are trailers */
  int malformed;       /* what is wrong is no matter of size */
  int64_t length;      /* its Content-Length; below 0: none so far */
} curl_head;

/* NULL, or what is wrong; end: was it the empty line behind the others? */
const char *curl_head_add(curl_head *h, const char *line, size_t n, int *end);

/* The next header, from *name = NULL on: 0 at the end. */
int curl_head_next(const curl_head *h, const char **name, const char **value);

void curl_head_clear(curl_head *h); /* its room stays */
void curl_head_free(curl_head *h);

#pragma GCC visibility pop

#endif
