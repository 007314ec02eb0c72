/*
** scheme_dreamclass.c - HMAC over the id alone, in the body; perhaps Basic
** credentials beside it. Everything but the id is anybody's word.
*/
#include "scheme.h"

#include <string.h>

#include "head.h"

enum { ID, TYPE, TENANT, TIMESTAMP, DATA, SIGNATURE, MEMBERS };

static const slice names[MEMBERS] = {
    SCHEME_NAME("id"),        SCHEME_NAME("type"), SCHEME_NAME("tenant"),
    SCHEME_NAME("timestamp"), SCHEME_NAME("data"), SCHEME_NAME("signature"),
};

verify_code dreamclass_head(scheme *c) {
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

static verify_code dreamclass_proof(scheme *c, const verify_event *e) {
  unsigned char code[SIGN_SIZE];
  verify_code refused = dreamclass_code(c, code);
  if (refused != VERIFY_OK) return refused;
  if (!scheme_uuid(e->id))
    return scheme_refuse(c, VERIFY_MALFORMED, "id", "is not a UUID");
  return scheme_found(c, sign_find(c->keys->secrets, &e->id, 1, code),
                      VERIFY_MISMATCH,
                      "signature is not the code of the id under the secret");
}

static verify_code dreamclass_time(scheme *c, verify_event *e) {
  int64_t ms;
  verify_code code = scheme_required(c, TIMESTAMP);
  if (code != VERIFY_OK) return code;
  if (!json_int64(&c->work->doc, c->nodes[TIMESTAMP], &ms) || ms < 0)
    return scheme_refuse(c, VERIFY_MALFORMED, "timestamp",
                         "is not a whole number of milliseconds");
  e->timed = 1;
  e->occurred_at = (double)ms / 1000;
  return VERIFY_OK;
}

static void dreamclass_invoice(scheme *c, uint32_t data, verify_event *e) {
  verify_work *work = c->work;
  const char *name = NULL;
  int64_t id;
  if (e->native.n > 8 && memcmp(e->native.p, "INVOICE_", 8) == 0) name = "id";
  if (e->native.n > 8 && memcmp(e->native.p, "PAYMENT_", 8) == 0)
    name = "invoiceId";
  if (name != NULL &&
      scheme_number(work, scheme_member(work, data, name), &id))
    e->invoice = scheme_decimal(id, work->invoice, sizeof work->invoice);
}

static verify_code dreamclass_event(scheme *c, verify_event *e) {
  uint32_t data = c->nodes[DATA];
  verify_code code = scheme_word(c, ID, &e->id);
  if (code == VERIFY_OK) code = scheme_word(c, TYPE, &e->native);
  if (code == VERIFY_OK) code = scheme_text(c, TENANT, &c->answer->tenant);
  if (code == VERIFY_OK && !scheme_decent(c->answer->tenant, VERIFY_MAXNAME))
    code = scheme_refuse(c, VERIFY_MALFORMED, "tenant",
                         "is not 1 to 128 bytes of text");
  if (code == VERIFY_OK) code = dreamclass_time(c, e);
  if (code == VERIFY_OK) code = scheme_required(c, DATA);
  if (code == VERIFY_OK && !scheme_is(c->work, data, JSON_OBJECT))
    code = scheme_refuse(c, VERIFY_MALFORMED, "data", "is not an object");
  if (code == VERIFY_OK) code = dreamclass_proof(c, e);
  if (code != VERIFY_OK) return code;
  e->id = scheme_id(c->work, e->id);
  e->data = json_raw(&c->work->doc, data);
  e->live = 1;
  dreamclass_invoice(c, data, e);
  return scheme_summed(c, c->nodes[TYPE], c->nodes[TENANT], data);
}

/* what the signature does not cover, against what was configured */
static verify_code dreamclass_claims(scheme *c, const verify_event *e) {
  const verify_request *r = c->request;
  if (r->tenant.p != NULL && !slice_equal(r->tenant, c->answer->tenant))
    return scheme_refuse(c, VERIFY_TENANT, "tenant", "is another one");
  if (r->tolerance < 0) return VERIFY_OK;
  return scheme_in_time(c, e->occurred_at, r->tolerance);
}

verify_code scheme_dreamclass(scheme *c) {
  verify_event *e = &c->work->first;
  verify_code code = dreamclass_head(c);
  if (code == VERIFY_OK)
    code = scheme_object(c, c->request->body, names, MEMBERS);
  if (code == VERIFY_OK) code = dreamclass_event(c, e);
  if (code == VERIFY_OK) code = dreamclass_claims(c, e);
  return code == VERIFY_OK ? scheme_one(c) : code;
}
