/*
** scheme_dreamclass.c - HMAC over the id alone, in the body; perhaps Basic
** credentials beside it. Everything but the id is anybody's word.
*/
#include "scheme.h"

#include <string.h>

#include "head.h"
#include "text.h"

enum { ID, TYPE, TENANT, TIMESTAMP, DATA, SIGNATURE, MEMBERS };

static const slice names[MEMBERS] = {
    SCHEME_NAME("id"),        SCHEME_NAME("type"), SCHEME_NAME("tenant"),
    SCHEME_NAME("timestamp"), SCHEME_NAME("data"), SCHEME_NAME("signature"),
};

verify_code scheme_dreamclass_head(scheme *c) {
  char out[VERIFY_MAXVALUE];
  unsigned char code[SIGN_SIZE];
  slice given = c->request->authorization;
  int same;
  if (!c->keys->has_basic) return VERIFY_OK;
  if (given.p == NULL)
    return scheme_refuse(c, VERIFY_UNAUTHORIZED, NULL,
                         "no Authorization header");
  if (!head_basic(given, out, &given))
    return scheme_refuse(c, VERIFY_UNAUTHORIZED, NULL,
                         "the Authorization header is not Basic credentials");
  same = sign_mac(c->keys->blind, 0, &given, 1, code);
  sign_wipe(out, sizeof out);
  if (!same) return scheme_refuse(c, VERIFY_MEMORY, NULL, SCHEME_NOMEMORY);
  if (sign_equal(code, c->keys->basic, SIGN_SIZE)) return VERIFY_OK;
  return scheme_refuse(c, VERIFY_UNAUTHORIZED, NULL,
                       "other Basic credentials");
}

/* standard base64 with padding, of a whole code */
static verify_code dreamclass_code(scheme *c, unsigned char *code) {
  slice s;
  verify_code refused;
  if (c->nodes[SIGNATURE] == JSON_NONE)
    return scheme_refuse(c, VERIFY_UNSIGNED, "signature", "is missing");
  refused = scheme_text(c, SIGNATURE, &s);
  if (refused != VERIFY_OK) return refused;
  if (s.n == TEXT_BASE64(SIGN_SIZE) && memchr(s.p, '-', s.n) == NULL &&
      memchr(s.p, '_', s.n) == NULL &&
      text_unbase64(s, code, SIGN_SIZE) == SIGN_SIZE)
    return VERIFY_OK;
  return scheme_refuse(c, VERIFY_MALFORMED, "signature",
                       "is not 32 bytes in padded base64");
}

static verify_code dreamclass_proof(scheme *c, verify_event *e) {
  unsigned char code[SIGN_SIZE];
  verify_code refused = scheme_word(c, ID, &e->id);
  if (refused == VERIFY_OK) refused = dreamclass_code(c, code);
  if (refused != VERIFY_OK) return refused;
  if (!scheme_uuid(e->id))
    return scheme_refuse(c, VERIFY_MALFORMED, "id", "is not a UUID");
  return scheme_found(c, sign_find(c->keys->secrets, &e->id, 1, code),
                      VERIFY_MISMATCH,
                      "signature does not match the id and the secret");
}

/* It decides nothing, unless a tolerance is configured: then one that cannot
** be read may be as old as anything. */
static verify_code dreamclass_time(scheme *c, verify_event *e) {
  uint32_t node = c->nodes[TIMESTAMP];
  double tolerance = c->request->tolerance, exact;
  int64_t ms;
  if (scheme_number(c->work, node, &ms)) {
    e->timed = 1;
    e->occurred_at = (double)ms / 1000;
  } else if (scheme_is(c->work, node, JSON_NUMBER) &&
             json_double(&c->work->doc, node, &exact) && exact >= 0) {
    e->timed = 1;
    e->occurred_at = exact / 1000;
  }
  if (tolerance < 0) return VERIFY_OK;
  if (e->timed) return scheme_in_time(c, e->occurred_at, tolerance);
  return scheme_refuse(c, VERIFY_STALE, "timestamp",
                       "is no time: this may be older than tolerated");
}

/* Another tenant's is refused. One that does not say whose it is, though one
** is configured, is kept for somebody to look at. */
static verify_code dreamclass_tenant(scheme *c) {
  slice wanted = c->request->tenant, tenant = {NULL, 0};
  verify_code code;
  if (c->nodes[TENANT] == JSON_NONE && wanted.p == NULL) return VERIFY_OK;
  code = scheme_text(c, TENANT, &tenant);
  if (code != VERIFY_OK) return code;
  if (wanted.p != NULL && !slice_equal(wanted, tenant))
    return scheme_refuse(c, VERIFY_TENANT, "tenant", "is another one");
  if (!scheme_decent(tenant, VERIFY_MAXNAME))
    return scheme_refuse(c, VERIFY_MALFORMED, "tenant",
                         "is not 1 to 128 bytes of text");
  c->answer->tenant = tenant;
  return VERIFY_OK;
}

static verify_code dreamclass_invoice(scheme *c, uint32_t data,
                                      verify_event *e) {
  verify_work *work = c->work;
  const char *place = NULL;
  uint32_t node = JSON_NONE;
  int64_t id;
  if (e->native.n > 8 && memcmp(e->native.p, "INVOICE_", 8) == 0)
    place = "data.id";
  if (e->native.n > 8 && memcmp(e->native.p, "PAYMENT_", 8) == 0)
    place = "data.invoiceId";
  if (place != NULL) node = scheme_member(work, data, place + 5);
  if (node == JSON_TWICE)
    return scheme_refuse(c, VERIFY_MALFORMED, place, scheme_twice);
  if (scheme_whole(work, node, &id))
    e->invoice = scheme_decimal(id, work->invoice, sizeof work->invoice);
  return VERIFY_OK;
}

/* what is authentic; opened: what has become of the body */
static verify_code dreamclass_event(scheme *c, verify_event *e,
                                    verify_code opened,
                                    const verify_answer *broken) {
  uint32_t data = c->nodes[DATA];
  verify_code code = dreamclass_time(c, e);
  if (code == VERIFY_OK) code = dreamclass_tenant(c);
  if (code != VERIFY_OK && code != VERIFY_MALFORMED) return code;
  if (opened != VERIFY_OK) {
    c->answer->why = broken->why;
    c->answer->part = broken->part;
    c->answer->at = broken->at;
    code = opened;
  }
  if (code == VERIFY_OK) code = scheme_word(c, TYPE, &e->native);
  if (code == VERIFY_OK) code = scheme_required(c, DATA);
  if (code == VERIFY_OK && !scheme_is(c->work, data, JSON_OBJECT))
    code = scheme_refuse(c, VERIFY_MALFORMED, "data", "is not an object");
  if (code == VERIFY_OK) code = dreamclass_invoice(c, data, e);
  if (code != VERIFY_OK) return code;
  e->id = scheme_id(c->work, e->id);
  e->data = json_raw(&c->work->doc, data);
  e->live = 1;
  return scheme_summed(c, c->nodes[TYPE], c->nodes[TENANT], data);
}

verify_code scheme_dreamclass(scheme *c) {
  verify_event *e = &c->work->first;
  verify_answer broken;
  verify_code opened, code = scheme_dreamclass_head(c);
  if (code != VERIFY_OK) return code;
  opened = scheme_object(c, c->request->body, names, MEMBERS);
  if (opened == VERIFY_MEMORY) return opened;
  broken = *c->answer;
  code = dreamclass_proof(c, e);
  if (opened != VERIFY_OK &&
      (code == VERIFY_MALFORMED || code == VERIFY_UNSIGNED)) {
    *c->answer = broken;
    return opened;
  }
  if (code != VERIFY_OK) return code;
  code = dreamclass_event(c, e, opened, &broken);
  return code == VERIFY_OK ? scheme_one(c) : scheme_kept(c, code);
}
