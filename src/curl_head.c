/*
** curl_head.c - see curl_head.h.
*/
#include "curl_head.h"
#include "slice.h"

#include <stdlib.h>
#include <string.h>

static int is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static int make_room(curl_head *h, size_t n) {
  size_t room = h->room > 0 ? h->room : 1024;
  char *bytes;
  if (h->room - h->used >= n) return 1;
  while (room - h->used < n)
    room *= 2; /* ends: what is kept is less than CURL_HEAD_BYTES */
  if ((bytes = realloc(h->bytes, room)) == NULL) return 0;
  h->bytes = bytes;
  h->room = room;
  return 1;
}

/* a value without the blanks around it */
static void put_value(curl_head *h, const char *from, const char *to) {
  while (from < to && is_blank(*from))
    from++;
  while (from < to && is_blank(to[-1]))
    to--;
  memcpy(h->bytes + h->used, from, (size_t)(to - from));
  h->used += (size_t)(to - from);
  h->bytes[h->used++] = '\0';
}

static void put_name(curl_head *h, const char *from, const char *to) {
  for (; from < to; from++) {
    char c = *from;
    h->bytes[h->used++] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
  }
  h->bytes[h->used++] = '\0';
}

/* A line that begins with a blank goes on with the value before it. */
static void put_more(curl_head *h, const char *from, const char *to) {
  size_t end = h->used - 1, start = end; /* of the value so far */
  if (h->bytes[end - 1] != '\0') h->bytes[start++] = ' ';
  h->used = start;
  put_value(h, from, to);
  if (h->used > start + 1) return;
  h->bytes[end] = '\0'; /* there was nothing but blanks */
  h->used = end + 1;
}

static int keep(curl_head *h, const char *line, size_t n) {
  const char *colon = memchr(line, ':', n), *end = line + n;
  if (!make_room(h, n + 2)) return 0;
  if (is_blank(*line)) {
    if (h->used > 0) put_more(h, line, end);
  } else if (colon != NULL) {
    put_name(h, line, colon);
    put_value(h, colon + 1, end);
  }
  return 1;
}

static int is_control(char c) {
  return ((unsigned char)c < ' ' && c != '\t') || c == 127;
}

static size_t without_end(const char *line, size_t n) {
  while (n > 0 && (line[n - 1] == '\r' || line[n - 1] == '\n'))
    n--;
  return n;
}

static int is_status_line(const char *line, size_t n) {
  size_t i;
  for (i = 0; i < n; i++)
    if (is_control(line[i])) return 0;
  return 1;
}

/* the number that digits say; below 0: they are none, or too many */
static int64_t number_of(slice digits) {
  int64_t n = 0;
  size_t i;
  if (digits.n == 0 || digits.n > 18) return -1;
  for (i = 0; i < digits.n; i++) {
    if (digits.p[i] < '0' || digits.p[i] > '9') return -1;
    n = n * 10 + (digits.p[i] - '0');
  }
  return n;
}

/* Is it another line than Content-Length, or one that says a number, and the
** same as those before it? */
static int is_clear(curl_head *h, const char *line, size_t n) {
  static const char name[] = "content-length";
  slice said = {line, sizeof name - 1}, value = {line + sizeof name, n};
  int64_t length;
  if (n < sizeof name || line[said.n] != ':' ||
      !slice_same(said, slice_of(name)))
    return 1;
  value.n -= sizeof name;
  if ((length = number_of(slice_trim(value))) < 0) return 0;
  if (h->length >= 0 && h->length != length) return 0;
  h->length = length;
  return 1;
}

static const char *malformed(curl_head *h, const char *why) {
  h->malformed = 1;
  return why;
}

const char *curl_head_add(curl_head *h, const char *line, size_t n, int *end) {
  *end = n == 0 || line[0] == '\r' || line[0] == '\n';
  h->total += n;
  if (h->total > CURL_HEAD_BYTES) return "the headers are over 256 KiB";
  if (*end) return NULL;
  if (n >= 5 && memcmp(line, "HTTP/", 5) == 0) {
    if (h->whole) return NULL;
    h->used = 0;
    h->length = -1;
    return is_status_line(line, without_end(line, n)) ? NULL
                                   : malformed(h, "the answer is not HTTP");
  }
  if (++h->lines > CURL_HEAD_LINES) return "there are more than 200 headers";
  if (h->whole) return NULL;
  if (!is_clear(h, line, without_end(line, n)))
    return malformed(h, "the length is unclear");
  if (keep(h, line, n)) return NULL;
  return "there is no memory for the headers";
}

int curl_head_next(const curl_head *h, const char **name, const char **value) {
  const char *at = *name != NULL ? *value + strlen(*value) + 1 : h->bytes;
  if (h->used == 0 || at >= h->bytes + h->used) return 0;
  *name = at;
  *value = at + strlen(at) + 1;
  return *value < h->bytes + h->used; /* libcurl lets no NUL through */
}

void curl_head_clear(curl_head *h) {
  h->used = h->total = h->lines = 0;
  h->whole = h->malformed = 0;
  h->length = -1;
}

void curl_head_free(curl_head *h) {
  free(h->bytes);
  memset(h, 0, sizeof *h);
}
