/*
** json_stream.c - cuts a text that comes in pieces into its elements.
**
** The frame (the brackets, commas and names around the elements) is read here
** as strictly as the parser would; a name, and a value that nobody asked for,
** is handed to the parser. Of an element only the end is sought: its brackets
** are counted and its strings stepped over.
**
** The buffer holds what was fed and is not yet read. A piece is a name, an
** element or a skipped value; while one is under way, start is its first byte
** and everything that scanning must remember between two feeds is below.
*/
#include "json_scan.h"
#include <stdio.h>
#include <stdlib.h>

#define EARLY "the text ends too early"

enum { FIRST, ITEM, COLON, VALUE, AFTER, NOTHING }; /* what is expected */
enum { NONE, NAME, SKIPPED, ELEMENT };              /* sorts of pieces */
enum { BROKEN = -1, MORE, READY, AGAIN };           /* what a step found */

struct json_stream {
  char *buf;
  size_t room, used, start, at; /* scanning goes on at at */
  uint64_t gone;                /* bytes read and dropped, for messages */
  size_t limit;
  uint8_t expect;
  uint8_t level;   /* brackets of the frame that are open, 0 to 2 */
  char bracket[2]; /* which */
  uint8_t here;    /* the member that we are in is the one called under */
  uint8_t found;   /* it was seen */
  uint8_t piece;   /* which sort we are in */
  uint8_t quoted;  /* in a string of it */
  uint8_t word;    /* it is a number or a word */
  unsigned depth;  /* its brackets that are open */
  json_doc doc;    /* for names and skipped values */
  json_doc *into;  /* where elements are to be parsed, or NULL */
  char error[80];  /* empty: all is well */
  uint8_t whole;   /* no member: the list is the top value itself */
  char key[JSON_KEY]; /* the last name in the list */
  size_t key_len;
  size_t under_len;
  char under[];
};

/* ======= errors ======= */

static int fail(json_stream *s, const char *why) {
  snprintf(s->error, sizeof s->error, "%s", why);
  return BROKEN;
}

static int fail_at(json_stream *s, const char *why, size_t at) {
  unsigned long long byte = s->gone + at + 1;
  snprintf(s->error, sizeof s->error, "%s at byte %llu", why, byte);
  return BROKEN;
}

static int too_large(json_stream *s) {
  snprintf(s->error, sizeof s->error, "element larger than %zu bytes",
           s->limit);
  return BROKEN;
}

const char *json_stream_error(const json_stream *s) {
  return s->error[0] != '\0' ? s->error : NULL;
}

/* ======= pieces ======= */

static slice piece(const json_stream *s) {
  slice text = {s->buf + s->start, s->at - s->start};
  return text;
}

/* to behind the closing quote: 1; 0: more bytes are needed. An escape that
** is cut in two waits at its backslash. */
static int scan_string(json_stream *s) {
  scan_bytes buf = (scan_bytes)s->buf, end = buf + s->used;
  scan_bytes p = buf + s->at;
  for (;; p++) {
    p = scan_skip_plain(p, end);
    if (p == end || *p == '"') break;
    if (*p != '\\') continue;
    if (end - p < 2) break;
    p++;
  }
  s->quoted = p == end || *p != '"';
  s->at = (size_t)(p - buf) + !s->quoted;
  return !s->quoted;
}

/* to behind the next quote or bracket, or to the end of the bytes */
static void scan_bracket(json_stream *s) {
  size_t at = s->at;
  while (at < s->used) {
    switch (s->buf[at++]) {
    case '"':
      s->quoted = 1;
      goto out;
    case '[':
    case '{':
      s->depth++;
      goto out;
    case ']':
    case '}':
      s->depth--;
      goto out;
    }
  }
out:
  s->at = at;
}

static int scan_word(json_stream *s) {
  for (; s->at < s->used; s->at++) {
    char c = s->buf[s->at];
    if (c == ',' || c == ']' || c == '}' || scan_is_space((unsigned char)c))
      return READY;
  }
  return MORE;
}

static int scan(json_stream *s) {
  if (s->word) return scan_word(s);
  while (s->at < s->used) {
    if (!s->quoted)
      scan_bracket(s);
    else if (!scan_string(s))
      return MORE;
    if (s->depth + s->level > JSON_MAXDEPTH)
      return fail_at(s, "nested deeper than 64", s->at - 1);
    if (s->depth == 0 && !s->quoted) return READY;
  }
  return MORE;
}

static int begin(json_stream *s, int sort) {
  char c = s->buf[s->at++];
  s->piece = (uint8_t)sort;
  s->quoted = c == '"';
  s->depth = c == '[' || c == '{';
  s->word = !s->quoted && s->depth == 0;
  return AGAIN;
}

/* what the parser says of a piece; a piece that ends too early for it is
** whole for us, so it is no value */
static int check(json_stream *s, slice text) {
  const json_doc *doc = &s->doc;
  if (json_parse(&s->doc, text.p, text.n)) return 1;
  if (doc->error_at == text.n)
    fail_at(s, "a value was expected", s->start);
  else
    fail_at(s, doc->error, s->start + doc->error_at);
  return 0;
}

static void keep_key(json_stream *s, slice name) {
  s->key_len = name.n - 2; /* quotes */
  if (s->key_len > JSON_KEY) s->key_len = JSON_KEY;
  memcpy(s->key, name.p + 1, s->key_len);
}

slice json_stream_key(const json_stream *s) {
  slice key = {NULL, 0};
  if (s->level == 0 || s->bracket[s->level - 1] == '[') return key;
  key.p = s->key;
  key.n = s->key_len;
  return key;
}

static int end_name(json_stream *s) {
  slice under = {s->under, s->under_len};
  s->expect = COLON;
  if (!check(s, piece(s))) return BROKEN;
  keep_key(s, piece(s));
  if (s->whole || s->level > 1) return AGAIN;
  s->here = (uint8_t)scan_is(&s->doc, 0, under);
  if (s->here && s->found) return fail_at(s, "a member comes twice", s->start);
  s->found |= s->here;
  return AGAIN;
}

static int go_on(json_stream *s, slice *out) {
  int found = scan(s), sort = s->piece;
  if (found == BROKEN) return BROKEN;
  if (s->at - s->start > s->limit) return too_large(s);
  if (found == MORE) return MORE;
  s->piece = NONE;
  if (sort == NAME) return end_name(s);
  s->expect = AFTER;
  *out = piece(s);
  if (sort == ELEMENT) return READY;
  return check(s, *out) ? AGAIN : BROKEN;
}

/* ======= the frame ======= */

static int open_bracket(json_stream *s, char c) {
  s->bracket[s->level++] = c;
  s->expect = FIRST;
  s->at++;
  return AGAIN;
}

static int close_bracket(json_stream *s) {
  s->level--;
  s->expect = s->level > 0 ? AFTER : NOTHING;
  s->at++;
  return AGAIN;
}

static int begin_value(json_stream *s, char c) {
  int bracket = c == '[' || c == '{', list = s->whole ? 1 : 2;
  if (c == ',' || c == ':' || c == ']' || c == '}')
    return fail_at(s, "a value was expected", s->at);
  if (s->level == 0 && !s->whole && c != '{')
    return fail_at(s, "an object was expected", s->at);
  if (s->level == 0 || (s->level == 1 && s->here))
    return bracket ? open_bracket(s, c)
                   : fail_at(s, "a list was expected", s->at);
  return begin(s, s->level == list ? ELEMENT : SKIPPED);
}

static int begin_item(json_stream *s, char c) {
  if (s->bracket[s->level - 1] == '[') return begin_value(s, c);
  if (c != '"') return fail_at(s, "a name was expected", s->at);
  return begin(s, NAME);
}

static int expect(json_stream *s, char c, char want, int then,
                  const char *why) {
  if (c != want) return fail_at(s, why, s->at);
  s->at++;
  s->expect = (uint8_t)then;
  return AGAIN;
}

static int read_frame(json_stream *s, char c) {
  int open = s->level > 0 ? s->bracket[s->level - 1] : 0;
  int closes = open != 0 && c == (open == '{' ? '}' : ']');
  switch (s->expect) {
  case FIRST:
    return closes ? close_bracket(s) : begin_item(s, c);
  case ITEM:
    return begin_item(s, c);
  case COLON:
    return expect(s, c, ':', VALUE, "a colon was expected");
  case VALUE:
    return begin_value(s, c);
  case AFTER:
    if (closes) return close_bracket(s);
    return expect(s, c, ',', ITEM,
                  "a comma or a closing bracket was expected");
  default:
    return fail_at(s, "bytes after the value", s->at);
  }
}

/* An element that lies in the buffer as a whole need not be scanned first.
** Where it is cut off, or wrong, or alone (a number's end is not its own),
** scanning finds out. */
static int take_whole(json_stream *s, slice *out) {
  size_t n = 0, left = s->used - s->start;
  if (s->depth > 0)
    n = json_parse_first(s->into, s->buf + s->start, left, s->level);
  if (n == 0 || n > s->limit) return AGAIN;
  s->at = s->start + n;
  s->piece = NONE;
  s->expect = AFTER;
  s->into = NULL; /* it is parsed */
  *out = piece(s);
  return READY;
}

static int step(json_stream *s, slice *out) {
  int found;
  if (s->error[0] != '\0') return BROKEN;
  if (s->piece != NONE) return go_on(s, out);
  while (s->at < s->used && scan_is_space((unsigned char)s->buf[s->at]))
    s->at++;
  s->start = s->at;
  if (s->at == s->used) return MORE;
  found = read_frame(s, s->buf[s->at]);
  if (s->into != NULL && s->piece == ELEMENT) return take_whole(s, out);
  return found;
}

/* ======= the outside ======= */

json_stream *json_stream_open(slice under, size_t limit) {
  json_stream *s = calloc(1, sizeof *s + under.n);
  if (s == NULL) return NULL;
  json_open(&s->doc);
  s->limit = limit;
  s->expect = VALUE;
  s->whole = under.p == NULL;
  s->under_len = under.n;
  if (under.n > 0) memcpy(s->under, under.p, under.n);
  return s;
}

void json_stream_close(json_stream *s) {
  if (s == NULL) return;
  json_close(&s->doc);
  free(s->buf);
  free(s);
}

/* Moves what is not yet read to the front, but only where that is less than
** what gets free: so a byte is moved once on average. */
static void drop(json_stream *s) {
  size_t rest = s->used - s->start;
  if (rest > s->start) return;
  if (rest > 0) memmove(s->buf, s->buf + s->start, rest);
  s->gone += s->start;
  s->at -= s->start;
  s->used = rest;
  s->start = 0;
}

static int make_room(json_stream *s, size_t n) {
  size_t need = s->used + n, room = s->room * 2;
  char *buf;
  if (need < n) return 0;
  if (need <= s->room) return 1;
  if (room < need) room = need;
  buf = realloc(s->buf, room);
  if (buf == NULL) return 0;
  s->buf = buf;
  s->room = room;
  return 1;
}

int json_stream_feed(json_stream *s, const char *bytes, size_t n) {
  if (s->error[0] != '\0') return 0;
  drop(s);
  if (!make_room(s, n)) {
    fail(s, "out of memory");
    return 0;
  }
  if (n > 0) memcpy(s->buf + s->used, bytes, n);
  s->used += n;
  return 1;
}

int json_stream_next(json_stream *s, slice *out) {
  int found;
  do
    found = step(s, out);
  while (found == AGAIN);
  return found;
}

int json_stream_value(json_stream *s, json_doc *doc, slice *out) {
  int found;
  s->into = doc;
  found = json_stream_next(s, out);
  if (found == READY && s->into != NULL) json_parse(doc, out->p, out->n);
  s->into = NULL;
  return found;
}

int json_stream_end(json_stream *s) {
  slice rest;
  int found = json_stream_next(s, &rest);
  if (found == BROKEN) return 0;
  if (found == READY)
    fail(s, "elements were left unread");
  else if (s->expect != NOTHING)
    fail(s, EARLY);
  else if (!s->whole && !s->found)
    fail(s, "the list is missing");
  return s->error[0] == '\0';
}
