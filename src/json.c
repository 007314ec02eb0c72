/*
** json.c - the parser, and reading single values off its tape.
**
** The parser is a walk over the text with one pointer. A step passes one
** value (a scalar whole, a container up to its first item) and then whatever
** may stand behind it: closing brackets, and a comma with the name after it.
** Each step returns where it got to, or NULL with the error noted, and a
** NULL is handed through.
*/
#include "json_scan.h"
#include <stdlib.h>

#define EARLY "the text ends too early"

typedef struct reader {
  json_doc *doc;
  scan_bytes text, end;
  uint32_t depth, most;
  uint32_t inner; /* the innermost open container; its next is the outer one */
  int odd;        /* of the string at hand */
} reader;

/* what a value can begin with, and white space */
enum { NOTHING, SPACE, QUOTE, NUMBER, WORD, BRACKET };

static const uint8_t classes[256] = {
    [' '] = SPACE,   ['\n'] = SPACE, ['\r'] = SPACE, ['\t'] = SPACE,
    ['"'] = QUOTE,   ['-'] = NUMBER, ['0'] = NUMBER, ['1'] = NUMBER,
    ['2'] = NUMBER,  ['3'] = NUMBER, ['4'] = NUMBER, ['5'] = NUMBER,
    ['6'] = NUMBER,  ['7'] = NUMBER, ['8'] = NUMBER, ['9'] = NUMBER,
    ['t'] = WORD,    ['f'] = WORD,   ['n'] = WORD,   ['['] = BRACKET,
    ['{'] = BRACKET,
};

static scan_bytes fail(reader *r, scan_bytes at, const char *error) {
  r->doc->error = at == r->end ? EARLY : error;
  r->doc->error_at = (size_t)(at - r->text);
  return NULL;
}

static scan_bytes skip_space(const reader *r, scan_bytes p) {
  while (p < r->end && classes[*p] == SPACE)
    p++;
  return p;
}

/* ======= the tape ======= */

static int grow(json_doc *doc) {
  size_t room = (size_t)doc->room * 2 + 64;
  json_node *nodes = NULL;
  if (room <= SIZE_MAX / sizeof *nodes)
    nodes = realloc(doc->nodes, room * sizeof *nodes);
  if (nodes == NULL) return 0;
  doc->nodes = nodes;
  doc->room = (uint32_t)room;
  return 1;
}

/* Lays down a value that lasts from one byte to another. Inlined by force: a
** call for every value costs a tenth of all the time. */
static inline __attribute__((always_inline)) scan_bytes
add(reader *r, json_kind kind, scan_bytes from, scan_bytes to, int escaped) {
  json_doc *doc = r->doc;
  json_node *node;
  if (doc->used == doc->room && !grow(doc)) {
    doc->error = "out of memory";
    doc->error_at = (size_t)(from - r->text);
    return NULL;
  }
  node = &doc->nodes[doc->used++];
  node->at = (uint32_t)(from - r->text);
  node->len = (uint32_t)(to - from);
  node->next = doc->used;
  node->count = 0;
  node->kind = (uint8_t)kind;
  node->escaped = (uint8_t)escaped;
  node->odd = node->mark = 0;
  return to;
}

/* ======= scalars ======= */

/* what stands before p is in no string that json_parse takes */
static scan_bytes tolerate(reader *r, scan_bytes p, scan_bytes at,
                           const char *error) {
  r->odd = 1;
  return r->doc->lenient || r->doc->texts ? p : fail(r, at, error);
}

/* the four digits behind \u, or -1 */
int32_t scan_hex4(scan_bytes p, scan_bytes end) {
  int32_t c = 0;
  int i;
  if (end - p < 4) return -1;
  for (i = 0; i < 4; i++) {
    unsigned char d = p[i], letter = d | 0x20;
    if (d >= '0' && d <= '9')
      c = c * 16 + (d - '0');
    else if (letter >= 'a' && letter <= 'f')
      c = c * 16 + (letter - 'a' + 10);
    else
      return -1;
  }
  return c;
}

/* behind \u: one code unit, or two that make a pair */
static scan_bytes read_unicode(reader *r, scan_bytes p) {
  int32_t c = scan_hex4(p, r->end), low;
  if (c < 0) return fail(r, p, "invalid escape");
  if (c < 0xd800 || c > 0xdfff) return p + 4;
  if (c > 0xdbff || r->end - p < 6 || p[4] != '\\' || p[5] != 'u')
    return tolerate(r, p + 4, p, "lone surrogate");
  low = scan_hex4(p + 6, r->end);
  if (low < 0xdc00 || low > 0xdfff)
    return tolerate(r, p + 4, p, "lone surrogate");
  return p + 10;
}

static scan_bytes read_escape(reader *r, scan_bytes p) {
  if (++p == r->end) return fail(r, p, EARLY);
  switch (*p) {
  case '"':
  case '\\':
  case '/':
  case 'b':
  case 'f':
  case 'n':
  case 'r':
  case 't':
    return p + 1;
  case 'u':
    return read_unicode(r, p + 1);
  default:
    return fail(r, p, "invalid escape");
  }
}

/* the length of the UTF-8 sequence at p, or 0 where it is none: overlong,
** half of a pair, beyond U+10FFFF, cut off */
static int wide_length(scan_bytes p, scan_bytes end) {
  unsigned char c = p[0], low = 0x80, high = 0xbf;
  int i, n = c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
  if (n == 0 || end - p < n) return 0;
  if (c == 0xe0) low = 0xa0;
  if (c == 0xed) high = 0x9f;
  if (c == 0xf0) low = 0x90;
  if (c == 0xf4) high = 0x8f;
  if (p[1] < low || p[1] > high) return 0;
  for (i = 2; i < n; i++)
    if ((p[i] & 0xc0) != 0x80) return 0;
  return n;
}

static scan_bytes read_wide(reader *r, scan_bytes p) {
  do {
    int n = wide_length(p, r->end);
    if (n == 0) {
      n = 1;
      if (tolerate(r, p, p, "invalid UTF-8") == NULL) return NULL;
    }
    p += n;
  } while (p < r->end && *p >= 0x80);
  return p;
}

static scan_bytes read_string(reader *r, scan_bytes start) {
  scan_bytes p = scan_skip_plain(start + 1, r->end);
  int escaped = 0;
  r->odd = 0;
  while (p < r->end && *p != '"') {
    if (*p == '\\')
      escaped = 1, p = read_escape(r, p);
    else if (*p >= 0x80)
      p = read_wide(r, p);
    else
      p = tolerate(r, p + 1, p, "control character in a string");
    if (p == NULL) return NULL;
    p = scan_skip_plain(p, r->end);
  }
  if (p == r->end) return fail(r, p, EARLY);
  p = add(r, JSON_STRING, start, p + 1, escaped);
  if (p != NULL && r->odd) r->doc->nodes[r->doc->used - 1].odd = 1;
  return p;
}

static scan_bytes skip_digits(const reader *r, scan_bytes p) {
  while (p < r->end && (unsigned)*p - '0' < 10)
    p++;
  return p;
}

/* steps over one digit or more from p on, else fails */
static scan_bytes need_digits(reader *r, scan_bytes p) {
  scan_bytes q = skip_digits(r, p);
  return q > p ? q : fail(r, p, "invalid number");
}

static scan_bytes read_fraction(reader *r, scan_bytes p) {
  if (*p == '.') {
    p = need_digits(r, p + 1);
    if (p == NULL || p == r->end) return p;
  }
  if ((*p | 0x20) != 'e') return p;
  p++;
  if (p < r->end && (*p == '+' || *p == '-')) p++;
  return need_digits(r, p);
}

static scan_bytes read_number(reader *r, scan_bytes start) {
  scan_bytes digits = start + (*start == '-');
  scan_bytes whole = need_digits(r, digits), p = whole;
  if (whole == NULL) return NULL;
  if (*digits == '0' && whole > digits + 1)
    return fail(r, digits, "invalid number");
  if (whole < r->end) p = read_fraction(r, whole);
  if (p == NULL) return NULL;
  return add(r, JSON_NUMBER, start, p, p != whole);
}

static scan_bytes read_word(reader *r, scan_bytes p) {
  const char *word = *p == 't' ? "true" : *p == 'f' ? "false" : "null";
  json_kind kind = *p == 't' ? JSON_TRUE : *p == 'f' ? JSON_FALSE : JSON_NULL;
  size_t n = *p == 'f' ? 5 : 4, left = (size_t)(r->end - p);
  if (memcmp(p, word, n < left ? n : left) != 0)
    return fail(r, p, "a value was expected");
  if (left < n) return fail(r, r->end, EARLY);
  return add(r, kind, p, p + n, 0);
}

/* ======= containers ======= */

static json_node *innermost(reader *r) {
  return &r->doc->nodes[r->inner];
}

/* a member's name and its colon */
static scan_bytes read_name(reader *r, scan_bytes p) {
  p = skip_space(r, p);
  if (p == r->end || *p != '"') return fail(r, p, "a name was expected");
  p = read_string(r, p);
  if (p == NULL) return NULL;
  r->doc->nodes[r->doc->used - 1].mark = JSON_NAME;
  p = skip_space(r, p);
  if (p == r->end || *p != ':') return fail(r, p, "a colon was expected");
  return p + 1;
}

/* one more element or member begins at p; an element is read by the caller,
** of a member the name is read here */
static scan_bytes read_item(reader *r, scan_bytes p) {
  json_node *node = innermost(r);
  node->count++;
  return node->kind == JSON_OBJECT ? read_name(r, p) : p;
}

/* p is behind a value (or NULL): what closes there, and the next comma */
static scan_bytes read_after(reader *r, scan_bytes p) {
  while (p != NULL && r->depth > 0) {
    json_node *node = innermost(r);
    p = skip_space(r, p);
    if (p == r->end) return fail(r, p, EARLY);
    if (*p == ',') return read_item(r, p + 1);
    if (*p != (node->kind == JSON_OBJECT ? '}' : ']'))
      return fail(r, p, "a comma or a closing bracket was expected");
    p++;
    node->len = (uint32_t)(p - r->text) - node->at;
    r->inner = node->next;
    node->next = r->doc->used;
    r->depth--;
  }
  return p;
}

static scan_bytes read_bracket(reader *r, scan_bytes p) {
  int object = *p == '{';
  uint32_t at = r->doc->used;
  if (r->depth == r->most && !r->doc->lenient)
    return fail(r, p, "nested deeper than 64");
  p = add(r, object ? JSON_OBJECT : JSON_ARRAY, p, p + 1, 0);
  if (p == NULL) return NULL;
  r->doc->nodes[at].next = r->inner;
  r->inner = at;
  r->depth++;
  p = skip_space(r, p);
  if (p < r->end && *p == (object ? '}' : ']')) return read_after(r, p);
  return read_item(r, p);
}

static scan_bytes read_value(reader *r, scan_bytes p) {
  p = skip_space(r, p);
  if (p == r->end) return fail(r, p, EARLY);
  switch (classes[*p]) {
  case QUOTE:
    return read_after(r, read_string(r, p));
  case NUMBER:
    return read_after(r, read_number(r, p));
  case WORD:
    return read_after(r, read_word(r, p));
  case BRACKET:
    return read_bracket(r, p);
  default:
    return fail(r, p, "a value was expected");
  }
}

/* ======= the whole text ======= */

/* one value from p on: to behind it */
static scan_bytes parse(reader *r, scan_bytes p) {
  do
    p = read_value(r, p);
  while (p != NULL && r->depth > 0);
  return p;
}

static int refuse(json_doc *doc, const char *error) {
  doc->error = error;
  doc->error_at = 0;
  return 0;
}

static int begin(reader *r, json_doc *doc, const char *text, size_t len) {
  doc->text = text;
  doc->len = len;
  doc->read = 0;
  doc->used = 0;
  doc->lenient = 0;
  doc->error = NULL;
  if (len == 0) return refuse(doc, "the text is empty");
  if (len > UINT32_MAX - 16) return refuse(doc, "the text is too long");
  r->doc = doc;
  r->text = (scan_bytes)text;
  r->end = r->text + len;
  r->depth = 0;
  r->most = JSON_MAXDEPTH;
  r->inner = JSON_NONE;
  return 1;
}

/* one value from p on, and nothing behind it */
static int parse_all(reader *r, scan_bytes p) {
  p = parse(r, p);
  if (p == NULL) return 0;
  p = skip_space(r, p);
  if (p != r->end) return fail(r, p, "bytes after the value") != NULL;
  r->doc->read = r->doc->len;
  return 1;
}

int json_parse(json_doc *doc, const char *text, size_t len) {
  reader r;
  return begin(&r, doc, text, len) && parse_all(&r, r.text);
}

/* What a broken text was read of. The containers that are open last until its
** end: what of them is missing is in them. A name without a value goes. */
static void close_all(reader *r) {
  json_doc *doc = r->doc;
  if (doc->used > 0 && doc->nodes[doc->used - 1].mark == JSON_NAME)
    doc->used--;
  if (doc->used > 0)
    doc->read = doc->nodes[doc->used - 1].at + doc->nodes[doc->used - 1].len;
  while (r->inner != JSON_NONE) {
    json_node *node = innermost(r);
    r->inner = node->next;
    node->next = doc->used;
    node->len = (uint32_t)doc->len - node->at;
  }
}

int json_read(json_doc *doc, const char *text, size_t len) {
  reader r;
  size_t mark = len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
  if (!begin(&r, doc, text, len)) return 0;
  doc->lenient = 1;
  if (parse_all(&r, r.text + mark)) return 1;
  close_all(&r);
  return 0;
}

size_t json_parse_first(json_doc *doc, const char *text, size_t len,
                        unsigned level) {
  reader r;
  scan_bytes p;
  if (!begin(&r, doc, text, len)) return 0;
  r.most = JSON_MAXDEPTH - level;
  p = parse(&r, r.text);
  if (p == NULL) return 0;
  doc->len = doc->read = (size_t)(p - r.text);
  return doc->len;
}

int json_starved(const json_doc *doc) {
  return doc->error != NULL && strcmp(doc->error, "out of memory") == 0;
}

void json_open(json_doc *doc) {
  memset(doc, 0, sizeof *doc);
}

void json_close(json_doc *doc) {
  free(doc->nodes);
  json_open(doc);
}

/* ======= reading the tape ======= */

static uint32_t unit(const char *p) {
  return (uint32_t)scan_hex4((scan_bytes)p, (scan_bytes)p + 4);
}

uint32_t scan_unescape(const char **p) {
  static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
  char c = (*p)[1];
  const char *known = c == 'u' ? NULL : strchr(from, c);
  uint32_t high, low;
  if (c != 'u') {
    *p += 2;
    return (unsigned char)(known != NULL ? to[known - from] : c);
  }
  high = unit(*p + 2);
  *p += 6;
  if (high < 0xd800 || high > 0xdbff || (*p)[0] != '\\' || (*p)[1] != 'u')
    return high;
  low = unit(*p + 2);
  if (low < 0xdc00 || low > 0xdfff) return high;
  *p += 6;
  return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

size_t scan_utf8(uint32_t c, char *out) {
  size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4, i;
  static const unsigned char first[] = {0, 0, 0xc0, 0xe0, 0xf0};
  for (i = n - 1; i > 0; i--, c >>= 6)
    out[i] = (char)(0x80 | (c & 0x3f));
  out[0] = (char)(first[n] | c);
  return n;
}

size_t json_room(const json_doc *doc, uint32_t node) {
  const json_node *n = &doc->nodes[node];
  return n->odd ? 3 * (size_t)n->len : n->escaped ? n->len : 0;
}

/* an odd string's text, in which U+FFFD takes three bytes for one */
static slice mended(slice text, char *out) {
  const char *p = text.p, *end = p + text.n;
  slice made = {out, 0};
  while (p < end) {
    uint32_t c = 0xfffd;
    int n = 1;
    if (*p == '\\') {
      c = scan_unescape(&p);
      if (scan_is_half(c)) c = 0xfffd;
    } else if ((unsigned char)*p < 0x80) {
      c = (unsigned char)*p++;
    } else if ((n = wide_length((scan_bytes)p, (scan_bytes)end)) == 0) {
      p++;
    } else {
      memcpy(out + made.n, p, (size_t)n);
      made.n += (size_t)n, p += n;
      continue;
    }
    made.n += scan_utf8(c, out + made.n);
  }
  return made;
}

slice json_text(const json_doc *doc, uint32_t node, char *out) {
  slice raw = json_raw(doc, node), text = {raw.p + 1, raw.n - 2};
  const char *p = text.p, *end = p + text.n;
  char *to = out;
  if (doc->nodes[node].odd) return mended(text, out);
  if (!doc->nodes[node].escaped) return text;
  while (p < end) {
    const char *slash = memchr(p, '\\', (size_t)(end - p));
    size_t n = (size_t)((slash != NULL ? slash : end) - p);
    memcpy(to, p, n);
    to += n, p += n;
    if (slash != NULL) to += scan_utf8(scan_unescape(&p), to);
  }
  text.p = out;
  text.n = (size_t)(to - out);
  return text;
}

/* scan_is for a string that has an escape, without room to unescape it */
static int is_escaped(slice raw, slice text) {
  const char *p = raw.p + 1, *end = raw.p + raw.n - 1;
  char c[4];
  while (p < end) {
    size_t n = 1;
    if (*p == '\\')
      n = scan_utf8(scan_unescape(&p), c);
    else
      c[0] = *p++;
    if (n > text.n || memcmp(c, text.p, n) != 0) return 0;
    text.p += n;
    text.n -= n;
  }
  return text.n == 0;
}

int scan_is(const json_doc *doc, uint32_t node, slice text) {
  slice raw = json_raw(doc, node);
  if (doc->nodes[node].escaped) return is_escaped(raw, text);
  return raw.n - 2 == text.n && memcmp(raw.p + 1, text.p, text.n) == 0;
}

uint32_t json_member(const json_doc *doc, uint32_t object, slice name) {
  const json_node *nodes = doc->nodes;
  uint32_t i, found = JSON_NONE, end = nodes[object].next;
  if (nodes[object].kind != JSON_OBJECT) return JSON_NONE;
  for (i = object + 1; i < end; i = nodes[i + 1].next) {
    if (!scan_is(doc, i, name)) continue;
    if (found != JSON_NONE || nodes[i].escaped) return JSON_TWICE;
    found = i + 1;
  }
  return found;
}

int json_int64(const json_doc *doc, uint32_t node, int64_t *out) {
  slice s = json_raw(doc, node);
  int negative = s.p[0] == '-';
  uint64_t n = 0, most = (uint64_t)INT64_MAX + (negative != 0);
  size_t i;
  if (doc->nodes[node].kind != JSON_NUMBER || doc->nodes[node].escaped)
    return 0;
  if (s.n - (size_t)negative > 19) return 0;
  for (i = (size_t)negative; i < s.n; i++)
    n = n * 10 + (uint64_t)(s.p[i] - '0'); /* 19 digits stay below 2^64 */
  if (n > most) return 0;
  *out = negative ? -(int64_t)(n - (n > 0)) - (n > 0) : (int64_t)n;
  return 1;
}
