/*
** json_redact.c - a text without what is secret in it: found by the names of
** members, by what a {name, value} says of itself, and by the place.
**
** First the tape is marked, then the text is copied around the marks. Nothing
** here calls itself: a text may be of any depth. Of a text that is broken the
** tape has the beginning; what comes then is searched for the names alone.
*/
#include "json_scan.h"

typedef struct writer {
  char *out; /* NULL: only measure */
  size_t n;
} writer;

static void put(writer *w, const char *p, size_t n) {
  if (w->out != NULL && n > 0) memcpy(w->out + w->n, p, n);
  w->n += n;
}

/* letters and digits in lower case; 0 for all else */
static const char letters[256] = {
    ['0'] = '0', ['1'] = '1', ['2'] = '2', ['3'] = '3', ['4'] = '4',
    ['5'] = '5', ['6'] = '6', ['7'] = '7', ['8'] = '8', ['9'] = '9',
#define LETTER(upper, lower) [upper] = lower, [lower] = lower
    LETTER('A', 'a'), LETTER('B', 'b'), LETTER('C', 'c'), LETTER('D', 'd'),
    LETTER('E', 'e'), LETTER('F', 'f'), LETTER('G', 'g'), LETTER('H', 'h'),
    LETTER('I', 'i'), LETTER('J', 'j'), LETTER('K', 'k'), LETTER('L', 'l'),
    LETTER('M', 'm'), LETTER('N', 'n'), LETTER('O', 'o'), LETTER('P', 'p'),
    LETTER('Q', 'q'), LETTER('R', 'r'), LETTER('S', 's'), LETTER('T', 't'),
    LETTER('U', 'u'), LETTER('V', 'v'), LETTER('W', 'w'), LETTER('X', 'x'),
    LETTER('Y', 'y'), LETTER('Z', 'z'),
};

/* the last letter or digit of a name, in lower case: -1 where none is left */
static int last_letter(slice *s) {
  while (s->n > 0) {
    char c = letters[(unsigned char)s->p[--s->n]];
    if (c != 0) return c;
  }
  return -1;
}

/* Is the name this one, whatever its case and what else stands in it? One
** that begins with * is the end of a name, in the plural too. */
static int alike(slice name, slice wanted) {
  int end = wanted.n > 0 && wanted.p[0] == '*', c;
  slice one = name;
  if (end && last_letter(&one) == 's') name = one;
  while ((c = last_letter(&wanted)) >= 0)
    if (last_letter(&name) != c) return 0;
  return end || last_letter(&name) < 0;
}

#define NAME_ROOM 256 /* as written; a longer one is not looked at */

static int too_long(const json_doc *doc, uint32_t string) {
  return doc->nodes[string].len > NAME_ROOM;
}

/* the bit of a letter or digit that a name ends with */
static uint64_t bit_of(int c) {
  if (c < 0) return 0;
  return (uint64_t)1 << (c >= 'a' ? c - 'a' : c - '0' + 26);
}

static uint64_t ends_of(const slice *names, size_t n) {
  uint64_t ends = 0;
  size_t i;
  for (i = 0; i < n; i++) {
    slice name = names[i];
    ends |= bit_of(last_letter(&name));
  }
  return ends;
}

/* is a string's text alike one of these? `ends`: of these, bits of what they
** end with, for most texts differ in it; 0: not known */
static int called(const json_doc *doc, uint32_t string, const slice *names,
                  size_t n, uint64_t ends) {
  char room[3 * NAME_ROOM];
  slice text, end;
  int last, before = -1;
  size_t i;
  if (too_long(doc, string)) return 0;
  text = json_text(doc, string, room);
  end = text;
  last = last_letter(&end);
  if (last == 's') before = last_letter(&end);
  if (ends != 0 && !(ends & (bit_of(last) | bit_of(before)))) return 0;
  for (i = 0; i < n; i++) {
    slice name = names[i];
    int c = last_letter(&name);
    if ((c == last || c == before) && alike(text, names[i])) return 1;
  }
  return 0;
}

/* the same, or may it be? */
static int may_be(const json_doc *doc, uint32_t string, const slice *names,
                  size_t n, uint64_t ends) {
  return too_long(doc, string) || called(doc, string, names, n, ends);
}

/* is the text broken in the midst of this value? */
static int broken_in(const json_doc *doc, uint32_t node) {
  return doc->read < doc->len &&
         doc->nodes[node].at + doc->nodes[node].len == doc->len;
}

/* Is it a {name, value} whose name says that the value is secret? A member may
** come twice, and be another one for another reader: each is looked at. */
static int labelled(const json_doc *doc, uint32_t object,
                    const json_secrets *s) {
  static const slice labels[] = {{"*name", 5}, {"*key", 4}};
  const uint64_t ends = ends_of(labels, 2);
  const json_node *nodes = doc->nodes;
  uint32_t i, end = nodes[object].next;
  for (i = object + 1; i < end; i = nodes[i + 1].next)
    if (nodes[i + 1].kind == JSON_STRING && called(doc, i, labels, 2, ends) &&
        may_be(doc, i + 1, s->names, s->n, 0))
      return 1;
  return 0;
}

static const slice value_name = {"*value", 6};

/* where the text is broken in it, the name may have been about to come */
static void hide_pair(json_doc *doc, uint32_t object, const json_secrets *s) {
  json_node *nodes = doc->nodes;
  uint32_t i, end = nodes[object].next;
  if (!broken_in(doc, object) && !labelled(doc, object, s)) return;
  for (i = object + 1; i < end; i = nodes[i + 1].next)
    if (called(doc, i, &value_name, 1, 0)) nodes[i + 1].mark |= JSON_HIDDEN;
}

/* is a scalar that stands below what is not kept one that is? */
static int is_kept(const json_doc *doc, uint32_t node, int named,
                   const json_secrets *s) {
  if (doc->nodes[node].kind == JSON_NULL) return 1;
  return named && called(doc, node - 1, s->kept, s->nkept, 0);
}

/* a string that is JSON itself, and so may hold anything */
static int is_json(const json_doc *doc, uint32_t node) {
  const char *p;
  size_t n;
  if (doc->nodes[node].kind != JSON_STRING) return 0;
  p = doc->text + doc->nodes[node].at + 1;
  n = doc->nodes[node].len - 1;
  while (n > 0 && *p == ' ')
    p++, n--;
  return n > 0 && (*p == '{' || *p == '[' || *p == '\\');
}

int json_hide(json_doc *doc, const json_secrets *s) {
  json_node *nodes = doc->nodes;
  uint64_t ends = ends_of(s->names, s->n);
  uint32_t i, below = 0; /* up to that node we are below */
  int found = doc->read < doc->len;
  for (i = 0; i < doc->used; i++)
    nodes[i].mark &= JSON_NAME;
  for (i = 0; i < doc->used; i++) {
    int named = i > 0 && (nodes[i - 1].mark & JSON_NAME);
    if (nodes[i].mark & JSON_NAME) continue;
    if (nodes[i].kind == JSON_OBJECT) hide_pair(doc, i, s);
    if (named && may_be(doc, i - 1, s->names, s->n, ends))
      nodes[i].mark |= JSON_HIDDEN;
    if (named && i >= below && called(doc, i - 1, s->below, s->nbelow, 0))
      below = nodes[i].next;
    if (s->nbelow > 0 && is_json(doc, i)) nodes[i].mark |= JSON_HIDDEN;
    if (i < below && nodes[i].kind < JSON_ARRAY && !is_kept(doc, i, named, s))
      nodes[i].mark |= JSON_HIDDEN;
  }
  for (i = 0; i < doc->used && !found; i++)
    found = nodes[i].mark & JSON_HIDDEN;
  return found != 0;
}

#define NEAR 64 /* bytes that a name is looked for in: it takes no n squared \
                 */

/* Does a name begin here, whatever its case and what stands in it? Or an
** escape of a letter, which nobody needs and which would hide one. */
static int begins(slice text, slice name) {
  slice one = {text.p, 1};
  if (text.n > 4 && memcmp(text.p, "\\u00", 4) == 0 && text.p[4] > '1')
    return 1;
  if (text.n > NEAR) text.n = NEAR;
  if (last_letter(&one) < 0) return 0;
  for (; name.n > 0; name.p++, name.n--) {
    slice letter = {name.p, 1};
    int c = last_letter(&letter), got = -1;
    for (; c >= 0 && got < 0 && text.n > 0; text.p++, text.n--) {
      one.p = text.p, one.n = 1;
      got = last_letter(&one);
    }
    if (got != c) return 0;
  }
  return 1;
}

/* does what is missing of a broken text belong to what is secret? */
static int lost(const json_doc *doc, const json_secrets *s) {
  uint32_t i;
  for (i = 0; i < doc->used; i++) {
    if (!broken_in(doc, i)) continue;
    if (doc->nodes[i].kind == JSON_OBJECT && labelled(doc, i, s)) return 1;
    if (i > 0 && (doc->nodes[i - 1].mark & JSON_NAME) &&
        called(doc, i - 1, s->below, s->nbelow, 0))
      return 1;
  }
  return 0;
}

/* what is no JSON, up to what may be a secret */
static void put_rest(writer *w, const json_doc *doc, slice rest,
                     const json_secrets *s) {
  size_t at = 0, i;
  int found = lost(doc, s);
  for (; at < rest.n && !found; at += !found) {
    slice from = {rest.p + at, rest.n - at};
    found = s->n > 0 && begins(from, value_name);
    for (i = 0; i < s->n && !found; i++)
      found = begins(from, s->names[i]);
    for (i = 0; i < s->nbelow && !found; i++)
      found = begins(from, s->below[i]);
  }
  put(w, rest.p, at);
  if (found) put(w, "***", 3);
}

size_t json_redact(const json_doc *doc, const json_secrets *s, char *out) {
  writer w = {out, 0};
  size_t from = 0; /* up to here it is dealt with */
  uint32_t i = 0;
  while (i < doc->used) {
    const json_node *node = &doc->nodes[i++];
    if (!(node->mark & JSON_HIDDEN)) continue;
    put(&w, doc->text + from, node->at - from);
    put(&w, "\"***\"", 5);
    from = node->at + node->len;
    i = node->next;
  }
  if (from < doc->read) {
    put(&w, doc->text + from, doc->read - from);
    from = doc->read;
  }
  if (from < doc->len) {
    slice rest = {doc->text + from, doc->len - from};
    put_rest(&w, doc, rest, s);
  }
  return w.n;
}
