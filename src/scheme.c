/*
** scheme.c - reading a delivery's body for a decision.
*/
#include "scheme.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

const char scheme_twice[] = "comes twice, or with its name escaped";

int scheme_control(slice s) {
  size_t i;
  for (i = 0; i < s.n; i++)
    if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f) return 1;
  return 0;
}

verify_code scheme_refuse(scheme *c, verify_code code, const char *part,
                          const char *why) {
  c->answer->part = part;
  c->answer->why = why;
  return code;
}

int scheme_room(char **p, size_t *room, size_t size) {
  if (size <= *room) return 1;
  free(*p);
  *p = malloc(size);
  *room = *p != NULL ? size : 0;
  return *p != NULL;
}

int scheme_is(const verify_work *work, uint32_t node, json_kind kind) {
  return node < JSON_TWICE && work->doc.nodes[node].kind == kind &&
         !work->doc.nodes[node].odd;
}

/* One pass for all names. A name with an escape in it may be any of them: then
** json_member looks once more, and reads it. */
void scheme_members(const verify_work *work, uint32_t object,
                    const slice *names, size_t n, uint32_t *found) {
  const json_doc *doc = &work->doc;
  const json_node *nodes = doc->nodes;
  uint32_t i, end, escaped = 0;
  size_t k;
  for (k = 0; k < n; k++)
    found[k] = JSON_NONE;
  if (doc->used == 0 || !scheme_is(work, object, JSON_OBJECT)) return;
  end = nodes[object].next;
  for (i = object + 1; i < end; i = nodes[i + 1].next) {
    slice name = {doc->text + nodes[i].at + 1, nodes[i].len - 2};
    escaped |= nodes[i].escaped;
    for (k = 0; k < n; k++)
      if (name.n == names[k].n && memcmp(name.p, names[k].p, name.n) == 0)
        found[k] = found[k] == JSON_NONE ? i + 1 : JSON_TWICE;
  }
  for (k = 0; k < n; k++) {
    if (escaped) found[k] = json_member(doc, object, names[k]);
    if (scheme_is(work, found[k], JSON_NULL)) found[k] = JSON_NONE;
  }
}

uint32_t scheme_member(const verify_work *work, uint32_t object,
                       const char *name) {
  slice wanted = slice_of(name);
  uint32_t node;
  scheme_members(work, object, &wanted, 1, &node);
  return node;
}

int scheme_string(verify_work *work, uint32_t node, slice *out) {
  const json_doc *doc = &work->doc;
  if (!doc->nodes[node].escaped) {
    *out = json_text(doc, node, NULL);
    return 1;
  }
  if (work->text_used == 0 &&
      !scheme_room(&work->text, &work->text_room, doc->len))
    return 0;
  *out = json_text(doc, node, work->text + work->text_used);
  work->text_used += doc->nodes[node].len;
  return 1;
}

int scheme_decent(slice s, size_t most) {
  return s.n > 0 && s.n <= most && !scheme_control(s);
}

int scheme_plain(slice s, size_t most) {
  size_t i;
  if (s.n == 0 || s.n > most) return 0;
  for (i = 0; i < s.n; i++)
    if ((unsigned char)(s.p[i] - '!') > '~' - '!') return 0;
  return 1;
}

int scheme_uuid(slice s) {
  size_t i;
  if (s.n != 36) return 0;
  for (i = 0; i < s.n; i++) {
    char c = s.p[i], l = (char)(c | 32);
    if (i == 8 || i == 13 || i == 18 || i == 23
            ? c != '-'
            : !(c >= '0' && c <= '9') && !(l >= 'a' && l <= 'f'))
      return 0;
  }
  return 1;
}

slice scheme_id(verify_work *work, slice id) {
  slice small = {work->id, id.n};
  int capitals = 0;
  size_t i;
  for (i = 0; i < id.n; i++)
    capitals |= id.p[i] >= 'A' && id.p[i] <= 'F';
  if (!capitals || !scheme_uuid(id)) return id;
  for (i = 0; i < id.n; i++)
    work->id[i] = (char)(id.p[i] | 32); /* which digits and dashes have */
  return small;
}

slice scheme_decimal(int64_t value, char *out, size_t room) {
  slice s = {out + room, 0};
  do {
    s.p--, s.n++;
    out[room - s.n] = (char)('0' + value % 10);
    value /= 10;
  } while (value > 0);
  return s;
}

int scheme_number(verify_work *work, uint32_t node, int64_t *out) {
  slice digits;
  if (scheme_is(work, node, JSON_NUMBER))
    return json_int64(&work->doc, node, out) && *out >= 0;
  if (!scheme_is(work, node, JSON_STRING)) return 0;
  digits = json_raw(&work->doc, node);
  digits.p++;
  digits.n -= 2;
  return text_digits(digits, out);
}

int scheme_whole(verify_work *work, uint32_t node, int64_t *out) {
  slice digits;
  size_t n;
  if (scheme_number(work, node, out)) return 1;
  if (!scheme_is(work, node, JSON_NUMBER) &&
      !scheme_is(work, node, JSON_STRING))
    return 0;
  digits = json_raw(&work->doc, node);
  if (scheme_is(work, node, JSON_STRING)) digits.p++, digits.n -= 2;
  for (n = digits.n; n > 0 && digits.p[n - 1] == '0';) n--;
  if (n == digits.n || n < 2 || digits.p[n - 1] != '.') return 0;
  digits.n = n - 1;
  return text_digits(digits, out);
}

int scheme_digest(verify_keys *keys, verify_work *work,
                  const uint32_t nodes[3], char *hex) {
  static const char *const names[3] = {
      "{\"data\":", ",\"tenant\":", ",\"type\":"};
  unsigned char sum[SIGN_SIZE];
  slice parts[7];
  size_t room = 0, n = 0, i;
  char *to;
  for (i = 0; i < 3; i++)
    if (nodes[i] < JSON_TWICE) room += work->doc.nodes[nodes[i]].len;
  if (!scheme_room(&work->canon, &work->canon_room, room)) return 0;
  for (i = 0, to = work->canon; i < 3; i++) {
    long size;
    if (nodes[i] >= JSON_TWICE) continue;
    size = json_canonical(&work->doc, nodes[i], NULL, 0, to);
    if (size < 0) return 0; /* in a lenient text, a member may come twice */
    parts[n++] = slice_of(names[i]);
    parts[n].p = to;
    parts[n++].n = (size_t)size;
    to += size;
  }
  parts[n++] = slice_of("}");
  if (!sign_digest(keys->secrets, parts, n, sum)) return 0;
  text_hex(sum, sizeof sum, hex);
  return 1;
}

static verify_code wrong(scheme *c, int member, const char *why) {
  return scheme_refuse(c, VERIFY_MALFORMED, c->names[member].p, why);
}

verify_code scheme_optional(scheme *c, int member) {
  if (c->nodes[member] != JSON_TWICE) return VERIFY_OK;
  return wrong(c, member, scheme_twice);
}

verify_code scheme_required(scheme *c, int member) {
  if (c->nodes[member] == JSON_NONE) return wrong(c, member, "is missing");
  return scheme_optional(c, member);
}

verify_code scheme_text(scheme *c, int member, slice *out) {
  uint32_t node = c->nodes[member];
  verify_code code = scheme_required(c, member);
  if (code != VERIFY_OK) return code;
  if (!scheme_is(c->work, node, JSON_STRING))
    return wrong(c, member,
                 c->work->doc.nodes[node].odd ? "is not valid text"
                                              : "is not a string");
  if (!scheme_string(c->work, node, out))
    return scheme_refuse(c, VERIFY_MEMORY, NULL, SCHEME_NOMEMORY);
  return VERIFY_OK;
}

verify_code scheme_word(scheme *c, int member, slice *out) {
  verify_code code = scheme_text(c, member, out);
  if (code != VERIFY_OK || scheme_plain(*out, VERIFY_MAXNAME)) return code;
  return wrong(c, member, "is not 1 to 128 visible ASCII characters");
}

verify_code scheme_parse(scheme *c, slice text) {
  const json_doc *doc = &c->work->doc;
  c->work->text_used = 0;
  if (json_read(&c->work->doc, text.p, text.n)) return VERIFY_OK;
  if (json_starved(doc))
    return scheme_refuse(c, VERIFY_MEMORY, NULL, SCHEME_NOMEMORY);
  c->answer->at = (long)doc->error_at;
  return scheme_refuse(c, VERIFY_MALFORMED, NULL, doc->error);
}

verify_code scheme_object(scheme *c, slice body, const slice *names,
                          size_t n) {
  verify_code code = scheme_parse(c, body);
  c->names = names;
  scheme_members(c->work, 0, names, n, c->nodes);
  if (code == VERIFY_OK && !scheme_is(c->work, 0, JSON_OBJECT))
    code =
        scheme_refuse(c, VERIFY_MALFORMED, NULL, "the body is not an object");
  return code;
}

verify_code scheme_summed(scheme *c, uint32_t type, uint32_t tenant,
                          uint32_t data) {
  const uint32_t nodes[3] = {data, tenant, type};
  if (c->request->undigested ||
      scheme_digest(c->keys, c->work, nodes, c->work->first.digest))
    return VERIFY_OK;
  return scheme_refuse(c, VERIFY_MEMORY, NULL, SCHEME_NOMEMORY);
}

verify_code scheme_in_time(scheme *c, double at, double tolerance) {
  double age = c->request->now - at;
  if (age > tolerance)
    return scheme_refuse(c, VERIFY_STALE, NULL,
                         "signed longer ago than tolerated");
  if (-age > tolerance)
    return scheme_refuse(c, VERIFY_FUTURE, NULL, "signed in the future");
  return VERIFY_OK;
}

verify_code scheme_found(scheme *c, int number, verify_code wrong,
                         const char *why) {
  c->answer->secret = number;
  if (number < 0)
    return scheme_refuse(c, VERIFY_MEMORY, NULL, SCHEME_NOMEMORY);
  return number > 0 ? VERIFY_OK : scheme_refuse(c, wrong, NULL, why);
}

verify_code scheme_one(scheme *c) {
  c->work->ready = 1;
  c->answer->events = 1;
  return VERIFY_OK;
}

void scheme_spoil(verify_work *work, verify_event *e) {
  static const char bad[] = "bad-";
  slice id = e->id;
  if (id.p == NULL) id.p = e->digest, id.n = SIGN_SIZE;
  memmove(work->id + 4, id.p, id.n);
  memcpy(work->id, bad, 4);
  e->id.p = work->id;
  e->id.n = id.n + 4;
}

verify_code scheme_kept(scheme *c, verify_code code) {
  verify_event *e = &c->work->first;
  verify_answer *a = c->answer;
  unsigned char sum[SIGN_SIZE];
  if (code != VERIFY_MALFORMED) return code;
  if (!sign_digest(c->keys->secrets, &c->request->body, 1, sum))
    return scheme_refuse(c, VERIFY_MEMORY, NULL, SCHEME_NOMEMORY);
  text_hex(sum, sizeof sum, e->digest);
  e->bad = a->why, e->part = a->part, e->at = a->at + 1;
  a->why = a->part = NULL, a->at = -1;
  e->data = c->request->body;
  e->invoice.p = e->attempt.p = NULL;
  e->live = 1;
  if (!scheme_plain(e->native, VERIFY_MAXNAME)) e->native.p = NULL;
  /* Who has seen one of DreamClass's can make any number: one an id will do.
  ** What others prove is all theirs, and each of it is kept. */
  if (c->request->vendor == VERIFY_DREAMCLASS)
    e->id = scheme_id(c->work, e->id);
  else
    e->id.p = NULL;
  scheme_spoil(c->work, e);
  c->work->left = 0;
  return scheme_one(c);
}
