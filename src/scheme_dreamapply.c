/*
** scheme_dreamapply.c - a header that was agreed on, and a body that is one
** journal item, a list of them, or a map of them by id.
*/
#include "scheme.h"

#include <stdlib.h>
#include <string.h>

#include "date.h"
#include "text.h"

/* the id of the last segment of "/api/v9/invoices/123" */
static int linked(slice link, const char *under, int64_t *id) {
  size_t n = strlen(under), i = link.n;
  slice tail;
  while (i > 0 && link.p[i - 1] != '/')
    i--;
  tail.p = link.p + i;
  tail.n = link.n - i;
  return i >= n && memcmp(link.p + i - n, under, n) == 0 &&
         text_digits(tail, id);
}

/* the item's links and time: NULL, or what is bad about them; -1 in *memory */
static const char *item_links(verify_work *work, uint32_t item,
                              verify_event *e, int *memory) {
  uint32_t link = scheme_member(work, item, "invoice");
  uint32_t logged = scheme_member(work, item, "logged");
  slice s;
  int64_t id;
  e->part = link == JSON_TWICE ? "invoice" : "logged";
  if (link == JSON_TWICE || logged == JSON_TWICE) return scheme_twice;
  e->part = NULL;
  if (scheme_is(work, link, JSON_STRING)) {
    if (!scheme_string(work, link, &s))
      *memory = -1;
    else if (linked(s, "/invoices/", &id))
      e->invoice = scheme_decimal(id, work->invoice, sizeof work->invoice);
  }
  if (scheme_is(work, logged, JSON_STRING)) {
    if (!scheme_string(work, logged, &s))
      *memory = -1;
    else
      e->timed = date_read(s, &e->occurred_at) == DATE_MOMENT;
  }
  return NULL;
}

/* its id, which must be the one that it stands under, if it does (key >= 0):
** NULL, or what is bad about it */
static const char *item_id(verify_work *work, uint32_t item, int64_t key,
                           verify_event *e) {
  uint32_t node = scheme_member(work, item, "id");
  int64_t id = key;
  e->part = "id";
  if (node == JSON_TWICE) return scheme_twice;
  if (node == JSON_NONE && key < 0) return "is missing";
  if (node != JSON_NONE && !scheme_number(work, node, &id))
    return "is not a whole number";
  if (key >= 0 && id != key) return "is not the one that it stands under";
  e->part = NULL;
  e->id = scheme_decimal(id, work->id, 24);
  return NULL;
}

/* its event's text: NULL, or what is bad about it */
static const char *item_event(verify_work *work, uint32_t item,
                              verify_event *e, uint32_t *node, int *memory) {
  *node = scheme_member(work, item, "event");
  e->part = "event";
  if (*node == JSON_TWICE) return scheme_twice;
  if (*node == JSON_NONE) return "is missing";
  if (work->doc.nodes[*node].odd) return "is not valid text";
  if (!scheme_is(work, *node, JSON_STRING)) return "is not a string";
  if (!scheme_string(work, *node, &e->native)) {
    *memory = -1;
    return NULL;
  }
  if (!scheme_decent(e->native, VERIFY_MAXTEXT)) {
    e->native.p = NULL;
    return "is not 1 to 1024 bytes of text";
  }
  e->part = NULL;
  return NULL;
}

int scheme_item(verify_keys *keys, verify_work *work, uint32_t node,
                int64_t key, verify_event *e) {
  uint32_t nodes[3] = {JSON_NONE, JSON_NONE, JSON_NONE};
  int memory = 1;
  memset(e, 0, sizeof *e);
  work->text_used = 0;
  e->live = 1;
  e->data = json_raw(&work->doc, node);
  nodes[0] = node;
  if (!scheme_is(work, node, JSON_OBJECT)) {
    e->bad = "is not an object";
  } else {
    e->bad = item_event(work, node, e, &nodes[2], &memory);
    if (e->bad == NULL) e->bad = item_id(work, node, key, e);
    if (e->bad == NULL) e->bad = item_links(work, node, e, &memory);
  }
  if (!scheme_is(work, nodes[2], JSON_STRING)) nodes[2] = JSON_NONE;
  if (!scheme_digest(keys, work, nodes, e->digest) || memory < 0) return -1;
  if (e->bad != NULL) {
    e->id.p = NULL;
    scheme_spoil(work, e);
  }
  return 1;
}

int64_t scheme_key(const verify_work *work, uint32_t name) {
  slice s = json_raw(&work->doc, name);
  int64_t key;
  s.p++;
  s.n -= 2;
  return text_digits(s, &key) ? key : -1;
}

static int ascending(const void *a, const void *b) {
  const int64_t *x = a, *y = b;
  return (*x > *y) - (*x < *y);
}

/* is every member of the map named by an id of its own? */
static verify_code dreamapply_map(scheme *c) {
  const json_node *nodes = c->work->doc.nodes;
  uint32_t n = nodes[0].count, i, at = 1;
  int64_t *keys = malloc(((size_t)n + 1) * sizeof *keys);
  verify_code code = VERIFY_OK;
  if (keys == NULL)
    return scheme_refuse(c, VERIFY_MEMORY, NULL, SCHEME_NOMEMORY);
  for (i = 0; i < n && code == VERIFY_OK; at = nodes[at + 1].next, i++) {
    keys[i] = scheme_key(c->work, at);
    if (keys[i] < 0)
      code = scheme_refuse(c, VERIFY_MALFORMED, NULL,
                           "neither a journal item nor a map of them by id");
  }
  if (code == VERIFY_OK) qsort(keys, n, sizeof *keys, ascending);
  for (i = 1; i < n && code == VERIFY_OK; i++)
    if (keys[i] == keys[i - 1])
      code = scheme_refuse(c, VERIFY_MALFORMED, NULL, "an id comes twice");
  free(keys);
  return code;
}

verify_code scheme_items(scheme *c) {
  verify_work *work = c->work;
  uint32_t count;
  verify_code code = scheme_parse(c, c->request->body);
  if (code != VERIFY_OK) return code;
  count = work->doc.nodes[0].count;
  work->map = scheme_is(work, 0, JSON_OBJECT);
  if (work->map &&
      (json_member(&work->doc, 0, slice_of("event")) != JSON_NONE ||
       json_member(&work->doc, 0, slice_of("id")) != JSON_NONE)) {
    if (scheme_item(c->keys, work, 0, -1, &work->first) > 0)
      return scheme_one(c);
    return scheme_refuse(c, VERIFY_MEMORY, NULL, SCHEME_NOMEMORY);
  }
  if (!work->map && !scheme_is(work, 0, JSON_ARRAY))
    return scheme_refuse(c, VERIFY_MALFORMED, NULL,
                         "neither a journal item nor a list of them");
  if (count > VERIFY_MAXITEMS)
    return scheme_refuse(c, VERIFY_MALFORMED, NULL, "more than 10000 items");
  work->at = 1;
  work->left = c->answer->events = count;
  return work->map ? dreamapply_map(c) : VERIFY_OK;
}

verify_code scheme_dreamapply_head(scheme *c) {
  const verify_keys *keys = c->keys;
  unsigned char code[SIGN_SIZE];
  size_t i;
  int number = 0;
  if (c->request->authorization.p == NULL)
    return scheme_refuse(c, VERIFY_UNSIGNED, NULL, "no Authorization header");
  if (!sign_mac(keys->blind, 0, &c->request->authorization, 1, code))
    return scheme_refuse(c, VERIFY_MEMORY, NULL, SCHEME_NOMEMORY);
  for (i = keys->authorizations; i-- > 0;)
    if (sign_equal(code, keys->authorization[i], SIGN_SIZE))
      number = (int)i + 1;
  return scheme_found(c, number, VERIFY_UNAUTHORIZED,
                      "another Authorization than the one agreed on");
}

verify_code scheme_dreamapply(scheme *c) {
  verify_code refused = scheme_dreamapply_head(c);
  return refused == VERIFY_OK ? scheme_kept(c, scheme_items(c)) : refused;
}
