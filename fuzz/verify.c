/* with: verify.c scheme.c scheme_betterez.c scheme_dreamapply.c scheme_dreamclass.c head.c date.c text.c sign.c json.c json_out.c -lcrypto */
/*
** fuzz/verify.c - any body under any header, and the same body with a right
** code: nothing wrong is accepted, what is right is never refused for its
** body, and what is accepted holds together.
**
** The first byte chooses the vendor, the second how long the header is; then
** come the header and the body.
*/
#include "verify.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int good) {
  if (!good) abort();
}

static verify_keys keys;

static void make_keys(void) {
  if (keys.secrets != NULL) return;
  must(verify_keys_open(&keys));
  must(verify_add_secret(&keys, slice_of("one")) == NULL);
  must(verify_add_secret(&keys, slice_of("two")) == NULL);
  must(verify_add_authorization(&keys, slice_of("Bearer one")) == NULL);
}

static void events(verify_work *work, const verify_answer *answer) {
  verify_event e;
  uint32_t n = 0;
  char none[2 * SIGN_SIZE] = {0};
  int more;
  while ((more = verify_next(&keys, work, &e)) > 0) {
    n++;
    must(e.id.n > 0 && e.id.n <= VERIFY_MAXNAME && e.data.p != NULL);
    must(e.bad == NULL || memcmp(e.id.p, "bad-", 4) == 0);
    must(memcmp(e.digest, none, sizeof none) != 0);
    must(e.bad != NULL || (e.native.n > 0 && e.native.n <= VERIFY_MAXTEXT));
    must(e.invoice.p == NULL || e.invoice.n > 0);
  }
  must(more == 0 && n == answer->events);
}

/* 1 where it was accepted */
static int check(const verify_request *request) {
  static verify_work work; /* used again, as in a server */
  verify_answer answer, again;
  verify_code code = verify_check(&keys, &work, request, &answer);
  must((code == VERIFY_OK) == (answer.why == NULL) && code != VERIFY_MEMORY);
  if (code == VERIFY_OK) events(&work, &answer);
  must(verify_check(&keys, &work, request, &again) == code);
  must(again.events == answer.events && again.secret == answer.secret);
  verify_work_trim(&work);
  return code == VERIFY_OK;
}

static void sign(slice message, unsigned char *code) {
  must(sign_hmac(slice_of("two"), message, code));
}

/* a right header for the body */
static void signed_betterez(verify_request *r) {
  unsigned char code[SIGN_SIZE];
  char header[20 + 2 * SIGN_SIZE] = "t=1700000000,s=x,s2=";
  char *message = malloc(r->body.n + 11);
  slice s = {message, r->body.n + 11};
  must(message != NULL);
  memcpy(message, "1700000000.", 11);
  memcpy(message + 11, r->body.p, r->body.n);
  sign(s, code);
  free(message);
  text_hex(code, sizeof code, header + 20);
  r->signature.p = header;
  r->signature.n = sizeof header;
  must(check(r));
}

/* a right code in the body, where it has room for one */
static void signed_dreamclass(verify_request *r, char *body) {
  unsigned char code[SIGN_SIZE];
  json_doc doc;
  char *room = malloc(3 * r->body.n + 1);
  uint32_t id = JSON_NONE, place = JSON_NONE;
  must(room != NULL);
  json_open(&doc);
  if (json_read(&doc, r->body.p, r->body.n)) {
    id = json_member(&doc, 0, slice_of("id"));
    place = json_member(&doc, 0, slice_of("signature"));
  }
  if (id < JSON_TWICE && place < JSON_TWICE && !doc.nodes[id].escaped &&
      doc.nodes[id].kind == JSON_STRING &&
      doc.nodes[place].len == TEXT_BASE64(SIGN_SIZE) + 2) {
    sign(json_text(&doc, id, room), code);
    text_base64(code, sizeof code, body + doc.nodes[place].at + 1);
    check(r);
  }
  json_close(&doc);
  free(room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  verify_request r;
  char *body;
  size_t n;
  if (size < 2) return 0;
  make_keys();
  memset(&r, 0, sizeof r);
  r.vendor = (verify_vendor)(data[0] % 3);
  r.now = 1700000000;
  r.tolerance = -1;
  n = data[1] < size - 2 ? data[1] : size - 2;
  body = malloc(size - 2 - n + 1);
  must(body != NULL);
  memcpy(body, data + 2 + n, size - 2 - n);
  r.body.p = body;
  r.body.n = size - 2 - n;
  verify_header(&r,
                slice_of(r.vendor == VERIFY_BETTEREZ ? "x-btrz-signature"
                                                     : "authorization"),
                (slice){(const char *)data + 2, n});
  /* who does not know the secret never gets in */
  must(!check(&r) || r.vendor == VERIFY_DREAMAPPLY);
  if (r.vendor == VERIFY_BETTEREZ) signed_betterez(&r);
  if (r.vendor == VERIFY_DREAMCLASS) signed_dreamclass(&r, body);
  r.authorization = slice_of("Bearer one");
  if (r.vendor == VERIFY_DREAMAPPLY) must(check(&r));
  free(body);
  return 0;
}
