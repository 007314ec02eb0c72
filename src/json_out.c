/*
** json_out.c - texts and digests made from a tape: canonical, JavaScript's;
** its numbers; and the search for members that come twice.
**
** What is written is never longer than what was read, so the caller's room is
** easily found. Objects are put in order by sorting
** small keys, which hold the first eight bytes of a name: most comparisons
** need no more. Walking goes no deeper than JSON_MAXDEPTH.
*/
#include "json_scan.h"
#include <stdlib.h>

typedef struct key {
  uint64_t head; /* of the unescaped name: eight bytes, padded with zeros */
  uint32_t node;
} key;

typedef struct writer {
  const json_doc *doc;
  char *out; /* NULL: only measure */
  size_t n;
  key *keys; /* for objects in order; NULL: members as they stand */
  unsigned depth;
} writer;

static void put(writer *w, const char *p, size_t n) {
  if (w->out != NULL && n > 0) memcpy(w->out + w->n, p, n);
  w->n += n;
}

static void put1(writer *w, char c) {
  if (w->out != NULL) w->out[w->n] = c;
  w->n++;
}

/* ======= names in order ======= */

/* walks over a name's unescaped bytes */
typedef struct name_reader {
  const char *p, *end;
  char rest[4]; /* of a character that was escaped */
  size_t at, n;
} name_reader;

static name_reader read_name(const json_doc *doc, uint32_t node) {
  slice raw = json_raw(doc, node);
  name_reader r = {raw.p + 1, raw.p + raw.n - 1, {0}, 0, 0};
  return r;
}

/* -1 at the end */
static int next_byte(name_reader *r) {
  if (r->at < r->n) return (unsigned char)r->rest[r->at++];
  if (r->p == r->end) return -1;
  if (*r->p != '\\') return (unsigned char)*r->p++;
  r->n = scan_utf8(scan_unescape(&r->p), r->rest);
  r->at = 1;
  return (unsigned char)r->rest[0];
}

static uint64_t name_head(const json_doc *doc, uint32_t node) {
  slice raw = json_raw(doc, node);
  name_reader r = read_name(doc, node);
  unsigned char b[8] = {0};
  int i, c;
  if (!doc->nodes[node].escaped)
    memcpy(b, raw.p + 1, raw.n < 10 ? raw.n - 2 : 8);
  else
    for (i = 0; i < 8 && (c = next_byte(&r)) >= 0; i++)
      b[i] = (unsigned char)c;
  return (uint64_t)b[0] << 56 | (uint64_t)b[1] << 48 | (uint64_t)b[2] << 40 |
         (uint64_t)b[3] << 32 | (uint64_t)b[4] << 24 | (uint64_t)b[5] << 16 |
         (uint64_t)b[6] << 8 | b[7];
}

static int compare_escaped(const json_doc *doc, uint32_t a, uint32_t b) {
  name_reader ra = read_name(doc, a), rb = read_name(doc, b);
  int ca, cb;
  do {
    ca = next_byte(&ra);
    cb = next_byte(&rb);
  } while (ca == cb && ca >= 0);
  return ca - cb;
}

/* by bytes: below, equal to or above 0 */
static int compare_names(const json_doc *doc, uint32_t a, uint32_t b) {
  slice x = json_raw(doc, a), y = json_raw(doc, b);
  int less;
  if (doc->nodes[a].escaped || doc->nodes[b].escaped)
    return compare_escaped(doc, a, b);
  less = memcmp(x.p + 1, y.p + 1, (x.n < y.n ? x.n : y.n) - 2);
  return less != 0 ? less : (x.n > y.n) - (x.n < y.n);
}

static int compare(const json_doc *doc, const key *a, const key *b) {
  if (a->head != b->head) return a->head < b->head ? -1 : 1;
  return compare_names(doc, a->node, b->node);
}

static void insert_all(const json_doc *doc, key *keys, size_t n) {
  size_t i, j;
  for (i = 1; i < n; i++) {
    key k = keys[i];
    for (j = i; j > 0 && compare(doc, &k, &keys[j - 1]) < 0; j--)
      keys[j] = keys[j - 1];
    keys[j] = k;
  }
}

#define SHORT 12 /* keys: for so few, insertion is faster */

/* merge sort; spare has room for n / 2 */
static void sort(const json_doc *doc, key *keys, size_t n, key *spare) {
  size_t half = n / 2, left = 0, right = half, to = 0;
  if (n <= SHORT) {
    insert_all(doc, keys, n);
    return;
  }
  sort(doc, keys, half, spare);
  sort(doc, keys + half, n - half, spare);
  memcpy(spare, keys, half * sizeof *keys);
  while (left < half && right < n)
    keys[to++] = compare(doc, &keys[right], &spare[left]) < 0 ? keys[right++]
                                                              : spare[left++];
  memcpy(&keys[to], &spare[left], (half - left) * sizeof *keys);
}

/* The keys of an object, in order, with room behind them for half as many
** again. Gives the second of two equal names, or JSON_NONE. */
static uint32_t order(const json_doc *doc, uint32_t object, key *keys) {
  const json_node *nodes = doc->nodes;
  uint32_t i, at = object + 1, n = nodes[object].count;
  for (i = 0; i < n; i++, at = nodes[at + 1].next) {
    keys[i].head = name_head(doc, at);
    keys[i].node = at;
  }
  sort(doc, keys, n, keys + n);
  for (i = 1; i < n; i++)
    if (compare(doc, &keys[i - 1], &keys[i]) == 0) return keys[i].node;
  return JSON_NONE;
}

/* room for the keys of all objects, every member being two nodes, and for the
** spare of one of them */
static key *key_room(const json_doc *doc) {
  return malloc(((size_t)doc->used / 2 * 3 / 2 + 1) * sizeof(key));
}

/* ======= numbers ======= */

static slice take_digits(slice *s) {
  slice digits = {s->p, 0};
  while (digits.n < s->n && (unsigned)s->p[digits.n] - '0' < 10)
    digits.n++;
  s->p += digits.n;
  s->n -= digits.n;
  return digits;
}

static int take(slice *s, char a, char b) {
  if (s->n == 0 || (*s->p != a && *s->p != b)) return 0;
  s->p++;
  s->n--;
  return 1;
}

static void split_exponent(scan_digits *x, slice s) {
  int negative = s.p[0] == '-';
  int64_t power = 0;
  take(&s, '+', '-');
  while (s.n > 1 && *s.p == '0')
    take(&s, '0', '0');
  x->huge = s.n > 9;
  for (; s.n > 0 && !x->huge; s.p++, s.n--)
    power = power * 10 + (*s.p - '0');
  x->power += negative ? -power : power;
}

static void drop_first_zeros(slice *s) {
  while (s->n > 0 && *s->p == '0')
    s->p++, s->n--;
}

static void drop_last_zeros(scan_digits *x, slice *s) {
  for (; s->n > 0 && s->p[s->n - 1] == '0'; s->n--)
    x->power++;
}

scan_digits scan_split(const json_doc *doc, uint32_t node) {
  slice s = json_raw(doc, node);
  scan_digits x = {{NULL, 0}, {NULL, 0}, 0, 0, 0};
  x.negative = take(&s, '-', '-');
  x.whole = take_digits(&s);
  if (take(&s, '.', '.')) x.part = take_digits(&s);
  x.power = -(int64_t)x.part.n;
  if (take(&s, 'e', 'E')) split_exponent(&x, s);
  drop_first_zeros(&x.whole);
  if (x.whole.n == 0) drop_first_zeros(&x.part);
  drop_last_zeros(&x, &x.part);
  if (x.part.n == 0) drop_last_zeros(&x, &x.whole);
  return x;
}

static int64_t add_digits(int64_t n, slice digits) {
  for (; digits.n > 0; digits.p++, digits.n--)
    n = n * 10 + (*digits.p - '0');
  return n;
}

/* 15 digits and powers up to 22 are doubles without error, so that the one
** multiplication or division rounds just once, to the nearest */
int json_double(const json_doc *doc, uint32_t node, double *out) {
  static const double tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
  scan_digits x = scan_split(doc, node);
  size_t n = x.whole.n + x.part.n;
  double value;
  if (n > 15 || (n > 0 && (x.huge || x.power > 22 || x.power < -22))) return 0;
  value = (double)add_digits(add_digits(0, x.whole), x.part);
  if (n > 0 && x.power < 0) value /= tens[-x.power];
  if (n > 0 && x.power > 0) value *= tens[x.power];
  *out = x.negative ? -value : value;
  return 1;
}

/* ======= scalars ======= */

static void write_char(writer *w, uint32_t c) {
  static const char from[] = "\b\f\n\r\t\"\\", to[] = "bfnrt\"\\";
  static const char hex[] = "0123456789abcdef";
  const char *known = c != 0 && c < 0x80 ? strchr(from, (int)c) : NULL;
  char text[6] = {'\\', 'u', '0', '0', 0, 0};
  if (known != NULL) {
    text[1] = to[known - from];
    put(w, text, 2);
  } else if (c < 0x20 || scan_is_half(c)) {
    text[2] = hex[c >> 12];
    text[3] = hex[c >> 8 & 15];
    text[4] = hex[c >> 4 & 15];
    text[5] = hex[c & 15];
    put(w, text, 6);
  } else {
    put(w, text, scan_utf8(c, text));
  }
}

/* with no escape but those that must be */
static void write_string(writer *w, uint32_t node) {
  slice raw = json_raw(w->doc, node);
  const char *p = raw.p, *end = raw.p + raw.n;
  if (!w->doc->nodes[node].escaped) {
    put(w, raw.p, raw.n);
    return;
  }
  while (p < end) {
    const char *slash = memchr(p, '\\', (size_t)(end - p));
    size_t n = (size_t)((slash != NULL ? slash : end) - p);
    put(w, p, n);
    p += n;
    if (slash != NULL) write_char(w, scan_unescape(&p));
  }
}

/* Zeros at the end are written out up to two, else as an exponent: so there
** is no shorter way to write an integer, and "1e999999999" stays small. */
static void write_power(writer *w, int64_t power) {
  char digits[20];
  size_t n = 0;
  if (power <= 2) {
    put(w, "00", (size_t)power);
    return;
  }
  for (; power > 0; power /= 10)
    digits[n++] = (char)('0' + power % 10);
  put1(w, 'e');
  while (n > 0)
    put1(w, digits[--n]);
}

static void write_number(writer *w, uint32_t node) {
  scan_digits x = scan_split(w->doc, node);
  slice raw = json_raw(w->doc, node);
  if (x.whole.n + x.part.n == 0) {
    put1(w, '0');
  } else if (x.huge || x.power < 0) {
    put(w, raw.p, raw.n);
  } else {
    if (x.negative) put1(w, '-');
    put(w, x.whole.p, x.whole.n);
    put(w, x.part.p, x.part.n);
    write_power(w, x.power);
  }
}

/* ======= containers ======= */

static int write_value(writer *w, uint32_t node);

static int among(const json_doc *doc, uint32_t name, const slice *names,
                 size_t n) {
  size_t i;
  for (i = 0; i < n; i++)
    if (scan_is(doc, name, names[i])) return 1;
  return 0;
}

static int write_members(writer *w, uint32_t object, const key *keys,
                         const slice *skip, size_t n) {
  uint32_t i;
  int first = 1;
  put1(w, '{');
  for (i = 0; i < w->doc->nodes[object].count; i++) {
    uint32_t name = keys[i].node;
    if (among(w->doc, name, skip, n)) continue;
    if (!first) put1(w, ',');
    first = 0;
    write_string(w, name);
    put1(w, ':');
    if (!write_value(w, name + 1)) return 0;
  }
  put1(w, '}');
  return 1;
}

/* 0: a member comes twice. The keys used up are not given back: there is
** room for those of every object. */
static int write_object(writer *w, uint32_t node, const slice *skip,
                        size_t n) {
  key *keys = w->keys;
  if (keys != NULL) {
    if (order(w->doc, node, keys) != JSON_NONE && !w->doc->lenient) return 0;
    w->keys += w->doc->nodes[node].count;
  }
  return write_members(w, node, keys, skip, n);
}

static int write_array(writer *w, uint32_t array) {
  const json_node *nodes = w->doc->nodes;
  uint32_t i;
  put1(w, '[');
  for (i = array + 1; i < nodes[array].next; i = nodes[i].next) {
    if (i != array + 1) put1(w, ',');
    if (!write_value(w, i)) return 0;
  }
  put1(w, ']');
  return 1;
}

static int write_value(writer *w, uint32_t node) {
  slice raw = json_raw(w->doc, node);
  int kind = w->doc->nodes[node].kind, done = 1;
  if (kind >= JSON_ARRAY && w->depth < JSON_MAXDEPTH) {
    w->depth++;
    done = kind == JSON_ARRAY ? write_array(w, node)
                              : write_object(w, node, NULL, 0);
    w->depth--;
  } else if (kind == JSON_STRING) {
    write_string(w, node);
  } else if (kind == JSON_NUMBER && w->keys != NULL) {
    write_number(w, node);
  } else { /* what is too deep, too */
    put(w, raw.p, raw.n);
  }
  return done;
}

long json_canonical(const json_doc *doc, uint32_t node, const slice *skip,
                    size_t n, char *out) {
  key *keys = key_room(doc);
  writer w = {doc, out, 0, keys, 0};
  int done;
  if (keys == NULL) return JSON_NOMEMORY;
  if (doc->nodes[node].kind == JSON_OBJECT && n > 0)
    w.depth = 1, done = write_object(&w, node, skip, n);
  else
    done = write_value(&w, node);
  free(keys);
  return done ? (long)w.n : JSON_DOUBLE;
}

/* ======= JavaScript's spelling ======= */

/* the escape of a code unit, whose digits are at p: NULL, where it is none.
** What is half of a pair stays an escape. */
static scan_bytes respell_unit(writer *w, scan_bytes p, scan_bytes end) {
  static const char hex[] = "0123456789abcdef";
  int32_t c = scan_hex4(p, end), low = -1;
  char half[6] = {'\\', 'u', 'd', 0, 0, 0};
  if (c < 0) return NULL;
  if (c >= 0xd800 && c <= 0xdbff && end - p >= 6 && p[4] == '\\' &&
      p[5] == 'u')
    low = scan_hex4(p + 6, end);
  if (low >= 0xdc00 && low <= 0xdfff) {
    write_char(w, 0x10000 + (((uint32_t)c - 0xd800) << 10) +
                      ((uint32_t)low - 0xdc00));
    return p + 10;
  }
  if (c < 0xd800 || c > 0xdfff) {
    write_char(w, (uint32_t)c);
    return p + 4;
  }
  half[3] = hex[c >> 8 & 15];
  half[4] = hex[c >> 4 & 15];
  half[5] = hex[c & 15];
  put(w, half, sizeof half);
  return p + 4;
}

/* one that has its backslash at p; what is none stays as it is */
static scan_bytes respell_escape(writer *w, scan_bytes p, scan_bytes end) {
  static const char from[] = "bfnrt\"\\/", to[] = "\b\f\n\r\t\"\\/";
  scan_bytes after = NULL;
  const char *known;
  if (end - p < 2) {
    put1(w, '\\');
    return end;
  }
  if (p[1] == 'u') after = respell_unit(w, p + 2, end);
  if (after != NULL) return after;
  known = p[1] != '\0' ? strchr(from, p[1]) : NULL;
  if (known != NULL)
    write_char(w, (unsigned char)to[known - from]);
  else
    put1(w, '\\'), put1(w, (char)p[1]);
  return p + 2;
}

/* the rest of a string, behind its first quote */
static scan_bytes respell_string(writer *w, scan_bytes p, scan_bytes end) {
  while (p < end) {
    scan_bytes stop = scan_skip_plain(p, end);
    put(w, (const char *)p, (size_t)(stop - p));
    p = stop;
    if (p == end) break;
    if (*p == '\\') {
      p = respell_escape(w, p, end);
      continue;
    }
    put1(w, (char)*p);
    if (*p++ == '"') break;
  }
  return p;
}

size_t json_stringify(slice text, char *out) {
  writer w = {NULL, out, 0, NULL, 0};
  scan_bytes p = (scan_bytes)text.p, end = p + text.n;
  while (p < end) {
    if (!scan_is_space(*p)) put1(&w, (char)*p);
    if (*p++ == '"') p = respell_string(&w, p, end);
  }
  return w.n;
}

/* ======= members that come twice ======= */

#define FEW 32 /* members: so many are compared with each other */

/* one of 64 marks, from what is cheap to look at */
static uint64_t mark(slice raw) {
  uint32_t mix = (uint32_t)raw.n * 0x9e3779b1u;
  mix ^= (unsigned char)raw.p[1] * 0x85ebca6bu;
  mix ^= (unsigned char)raw.p[raw.n / 2] * 0xc2b2ae35u;
  mix ^= (unsigned char)raw.p[raw.n - 2] * 0x27d4eb2fu;
  return UINT64_C(1) << (mix >> 26);
}

static int same_names(const json_doc *doc, uint32_t a, uint32_t b) {
  const json_node *x = &doc->nodes[a], *y = &doc->nodes[b];
  if (x->escaped || y->escaped) return compare_escaped(doc, a, b) == 0;
  return x->len == y->len &&
         memcmp(doc->text + x->at, doc->text + y->at, x->len) == 0;
}

/* Does the same as order, but compares only names with the same mark; a name
** with an escape with all, for its mark would tell nothing. */
static uint32_t twice_of_few(const json_doc *doc, uint32_t object) {
  const json_node *nodes = doc->nodes;
  uint32_t i, j, end = nodes[object].next;
  uint64_t seen = 0;
  for (i = object + 1; i < end; i = nodes[i + 1].next) {
    uint64_t m = nodes[i].escaped ? ~UINT64_C(0) : mark(json_raw(doc, i));
    for (j = object + 1; (seen & m) && j < i; j = nodes[j + 1].next)
      if (same_names(doc, i, j)) return i;
    seen |= m;
  }
  return JSON_NONE;
}

static int refuse(json_doc *doc, const char *error, size_t at) {
  doc->error = error;
  doc->error_at = at;
  return 0;
}

static int unique(json_doc *doc, uint32_t object, key **keys) {
  uint32_t twice;
  if (doc->nodes[object].count <= FEW) {
    twice = twice_of_few(doc, object);
  } else {
    if (*keys == NULL) *keys = key_room(doc);
    if (*keys == NULL) return refuse(doc, "out of memory", 0);
    twice = order(doc, object, *keys);
  }
  if (twice == JSON_NONE) return 1;
  return refuse(doc, "a member comes twice", doc->nodes[twice].at);
}

int json_unique(json_doc *doc) {
  key *keys = NULL;
  int all = 1;
  uint32_t i;
  for (i = 0; i < doc->used && all; i++)
    if (doc->nodes[i].kind == JSON_OBJECT) all = unique(doc, i, &keys);
  free(keys);
  return all;
}
