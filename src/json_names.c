/*
** json_names.c - see json_names.h.
**
** A name stands at the place that its bytes point to, or at one of the next
** few; the search ends at a free one.
*/
#include "json_names.h"

#define PLACES 8 /* where a name may stand */

static unsigned first_place(slice name) {
  uint32_t mix = (uint32_t)name.n * 0x9e3779b1u;
  mix ^= (unsigned char)name.p[0] * 0x85ebca6bu;
  mix ^= (unsigned char)name.p[name.n / 2] * 0xc2b2ae35u;
  mix ^= (unsigned char)name.p[name.n - 1] * 0x27d4eb2fu;
  return mix >> 24;
}

static slice name_at(const json_doc *doc, uint32_t node) {
  slice name = json_raw(doc, node), none = {NULL, 0};
  name.p++; /* its quotes */
  name.n -= 2;
  return doc->nodes[node].escaped || doc->nodes[node].odd ? none : name;
}

static unsigned number_of(json_names *names, slice name) {
  unsigned i, at;
  if (name.n == 0 || name.n > sizeof names->known[0].text) return 0;
  for (i = 0, at = first_place(name); i < PLACES; i++, at++) {
    json_name *known = &names->known[at % JSON_NAMES];
    if (known->n == 0) {
      known->n = (uint8_t)name.n;
      memcpy(known->text, name.p, name.n);
    }
    if (known->n == name.n && memcmp(known->text, name.p, name.n) == 0)
      return at % JSON_NAMES + 1;
  }
  return 0;
}

/* 1 where all names of the object have a number, each another */
static int mark_object(json_names *names, json_doc *doc, uint32_t object) {
  uint64_t seen[JSON_NAMES / 64 + 1] = {0};
  uint32_t i, end = doc->nodes[object].next;
  int all = 1;
  for (i = object + 1; i < end; i = doc->nodes[i + 1].next) {
    unsigned number = number_of(names, name_at(doc, i));
    uint64_t bit = UINT64_C(1) << number % 64;
    if (number == 0 || (seen[number / 64] & bit)) all = 0;
    seen[number / 64] |= bit;
    doc->nodes[i].count = number;
  }
  return all;
}

int names_mark(json_names *names, json_doc *doc) {
  uint32_t i;
  int all = 1;
  for (i = 0; i < doc->used; i++)
    if (doc->nodes[i].kind == JSON_OBJECT && !mark_object(names, doc, i))
      all = 0;
  return all;
}
