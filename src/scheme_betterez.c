/*
** scheme_betterez.c - HMAC over the time and the body, in a header: s2 of
** x-btrz-signature. What it proves covers every byte.
*/
#include "scheme.h"

#include <string.h>

#include "head.h"
#include "text.h"

enum { ID, EVENT, DATA, ATTEMPT, CREATED, LIVE, MEMBERS };

static const slice names[MEMBERS] = {
    SCHEME_NAME("id"),        SCHEME_NAME("event"),   SCHEME_NAME("data"),
    SCHEME_NAME("attemptId"), SCHEME_NAME("created"), SCHEME_NAME("livemode"),
};

/* the header's t, as it stands and as a number, and the code in its s2 */
static verify_code betterez_header(scheme *c, slice *t, int64_t *time,
                                   unsigned char *code) {
  slice s2;
  const char *why;
  if (c->request->signature.p == NULL)
    return scheme_refuse(c, VERIFY_UNSIGNED, NULL,
                         "no x-btrz-signature header");
  why = head_signature(c->request->signature, t, &s2);
  if (why != NULL) return scheme_refuse(c, VERIFY_HEADER, NULL, why);
  if (s2.p == NULL)
    return scheme_refuse(c, VERIFY_UNSIGNED, NULL,
                         "no s2 in the signature header");
  if (t->n > 16 || !text_digits(*t, time))
    return scheme_refuse(c, VERIFY_HEADER, NULL,
                         "t in the signature header is not 1 to 16 digits");
  if (!text_unhex(s2, code, SIGN_SIZE) &&
      text_unbase64(s2, code, SIGN_SIZE) != SIGN_SIZE)
    return scheme_refuse(
        c, VERIFY_HEADER, NULL,
        "s2 in the signature header is not 32 bytes in hex or "
        "base64");
  return VERIFY_OK;
}

verify_code scheme_betterez_head(scheme *c) {
  unsigned char code[SIGN_SIZE];
  int64_t time;
  slice t;
  return betterez_header(c, &t, &time, code);
}

/* The code may be of what JSON.stringify makes of the body instead of the
** body, which is not parsed for that: nobody has vouched for it yet. Then that
** is also what is read: 1, as sign_find, or 0. */
static int betterez_form(scheme *c, slice parts[3],
                         const unsigned char *code) {
  verify_work *work = c->work;
  slice raw = parts[2];
  int number;
  if (!scheme_room(&work->form, &work->form_room, raw.n)) return -1;
  parts[2].p = work->form;
  parts[2].n = json_stringify(raw, work->form);
  if (slice_equal(parts[2], raw)) return 0;
  number = sign_find(c->keys->secrets, parts, 3, code);
  if (number <= 0 || json_read(&work->doc, raw.p, raw.n)) return number;
  return json_starved(&work->doc) ? -1 : 0; /* the body must be JSON, too */
}

/* a byte order mark that was put before what was signed */
static int betterez_mark(scheme *c, slice parts[3],
                         const unsigned char *code) {
  slice *body = &parts[2];
  if (body->n < 3 || memcmp(body->p, "\xef\xbb\xbf", 3) != 0) return 0;
  body->p += 3, body->n -= 3;
  return sign_find(c->keys->secrets, parts, 3, code);
}

/* *body becomes what was signed */
static verify_code betterez_proof(scheme *c, slice *body, double *at) {
  unsigned char code[SIGN_SIZE];
  slice parts[3];
  int64_t time = 0;
  int number;
  verify_code refused = betterez_header(c, &parts[0], &time, code);
  if (refused != VERIFY_OK) return refused;
  *at = time >= INT64_C(100000000000) ? (double)time / 1000 : (double)time;
  parts[1] = slice_of(".");
  parts[2] = *body;
  number = sign_find(c->keys->secrets, parts, 3, code);
  if (number == 0) number = betterez_mark(c, parts, code);
  if (number == 0) number = betterez_form(c, parts, code);
  *body = parts[2];
  return scheme_found(
      c, number, VERIFY_MISMATCH,
      "s2 does not match t, the body and the secret");
}

static verify_code betterez_times(scheme *c, verify_event *e) {
  uint32_t created = c->nodes[CREATED], live = c->nodes[LIVE];
  int64_t n;
  verify_code code = scheme_optional(c, LIVE);
  if (code != VERIFY_OK) return code;
  if (scheme_is(c->work, created, JSON_NUMBER) &&
      json_int64(&c->work->doc, created, &n) && n >= 0) {
    e->timed = 1;
    e->occurred_at = n >= INT64_C(100000000000) ? (double)n / 1000 : (double)n;
  }
  e->live = !scheme_is(c->work, live, JSON_FALSE);
  if (live != JSON_NONE && e->live && !scheme_is(c->work, live, JSON_TRUE))
    return scheme_refuse(c, VERIFY_MALFORMED, "livemode",
                         "is not true or false");
  return VERIFY_OK;
}

/* a member of data that is a decent string */
static verify_code betterez_invoice(scheme *c, uint32_t data,
                                    verify_event *e) {
  uint32_t node = JSON_NONE;
  if (e->native.n > 9 && memcmp(e->native.p, "invoices.", 9) == 0)
    node = scheme_member(c->work, data, "_id");
  if (node == JSON_TWICE)
    return scheme_refuse(c, VERIFY_MALFORMED, "data._id", scheme_twice);
  if (!scheme_is(c->work, node, JSON_STRING)) return VERIFY_OK;
  if (!scheme_string(c->work, node, &e->invoice))
    return scheme_refuse(c, VERIFY_MEMORY, NULL, SCHEME_NOMEMORY);
  if (!scheme_plain(e->invoice, VERIFY_MAXNAME)) e->invoice.p = NULL;
  return VERIFY_OK;
}

/* opened: what has become of the body, whose answer stands where it is broken;
** of that, too, it is told what it is */
static verify_code betterez_event(scheme *c, verify_event *e,
                                  verify_code opened) {
  verify_answer broken = *c->answer;
  uint32_t data = c->nodes[DATA], attempt = c->nodes[ATTEMPT];
  verify_code code = scheme_word(c, EVENT, &e->native);
  verify_code named = scheme_word(c, ID, &e->id);
  if (code == VERIFY_OK) code = named;
  if (opened == VERIFY_MALFORMED && code != VERIFY_MEMORY) {
    *c->answer = broken;
    return opened;
  }
  if (code == VERIFY_OK) code = scheme_required(c, DATA);
  if (code == VERIFY_OK) code = betterez_times(c, e);
  if (code == VERIFY_OK) code = betterez_invoice(c, data, e);
  if (code != VERIFY_OK) return code;
  e->id = scheme_id(c->work, e->id);
  e->data = json_raw(&c->work->doc, data);
  if (scheme_is(c->work, attempt, JSON_STRING) &&
      !scheme_string(c->work, attempt, &e->attempt))
    return scheme_refuse(c, VERIFY_MEMORY, NULL, SCHEME_NOMEMORY);
  if (!scheme_plain(e->attempt, VERIFY_MAXNAME)) e->attempt.p = NULL;
  return scheme_summed(c, c->nodes[EVENT], JSON_NONE, data);
}

verify_code scheme_betterez(scheme *c) {
  slice body = c->request->body;
  double at, tolerance = c->request->tolerance;
  verify_code code = betterez_proof(c, &body, &at);
  if (tolerance < 0) tolerance = VERIFY_TOLERANCE;
  if (code == VERIFY_OK) code = scheme_in_time(c, at, tolerance);
  if (code != VERIFY_OK) return code;
  code = scheme_object(c, body, names, MEMBERS);
  if (code != VERIFY_MEMORY) code = betterez_event(c, &c->work->first, code);
  return code == VERIFY_OK ? scheme_one(c) : scheme_kept(c, code);
}
