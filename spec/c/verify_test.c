/* with: verify.c scheme.c scheme_betterez.c scheme_dreamapply.c scheme_dreamclass.c head.c date.c text.c sign.c json.c json_out.c -lcrypto -Wl,--wrap=malloc -Wl,--wrap=realloc -Wl,--wrap=calloc */
/*
** verify_test.c - HMAC and the webhook schemes on raw bytes: vectors, one
** refusal for each code, every byte of a delivery changed, every allocation
** refused.
*/
#include "verify.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>

static int passed, failed;

static void check(int ok, const char *what, int line) {
  if (ok)
    passed++;
  else
    failed++, printf("line %d: %s\n", line, what);
}
#define CHECK(x) check((x), #x, __LINE__)

static slice S(const char *text) {
  return slice_of(text);
}

/* --- allocations that fail --------------------------------------------- */

/* ours by the linker's wrap, OpenSSL's by its hook */

void *__real_malloc(size_t n);
void *__real_realloc(void *p, size_t n);
void *__real_calloc(size_t n, size_t size);
void *__wrap_malloc(size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_calloc(size_t n, size_t size);

static long fuse = -1; /* so many allocations succeed; -1: all */

static int broke(void) {
  return fuse >= 0 && fuse-- == 0 ? (fuse = 0, 1) : 0;
}

void *__wrap_malloc(size_t n) {
  return broke() ? NULL : __real_malloc(n);
}

void *__wrap_realloc(void *p, size_t n) {
  return broke() ? NULL : __real_realloc(p, n);
}

void *__wrap_calloc(size_t n, size_t size) {
  return broke() ? NULL : __real_calloc(n, size);
}

static void *ssl_malloc(size_t n, const char *file, int line) {
  (void)file, (void)line;
  return n == 0 || broke() ? NULL : __real_malloc(n);
}

static void *ssl_realloc(void *p, size_t n, const char *file, int line) {
  (void)file, (void)line;
  return broke() ? NULL : __real_realloc(p, n);
}

static void ssl_free(void *p, const char *file, int line) {
  (void)file, (void)line;
  free(p);
}

/* --- HMAC -------------------------------------------------------------- */

/* RFC 4231, test cases 1, 2, 3, 6 and 7 */
static void test_hmac(void) {
  static char aa[131], dd[50];
  static const struct {
    slice key, data;
    const char *code;
  } cases[] = {
      {{"\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b"
        "\x0b\x0b\x0b",
        20},
       {"Hi There", 8},
       "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
      {{"Jefe", 4},
       {"what do ya want for nothing?", 28},
       "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
      {{aa, 20},
       {dd, 50},
       "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
      {{aa, 131},
       {"Test Using Larger Than Block-Size Key - Hash Key First", 54},
       "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
      {{aa, 131},
       {"This is a test using a larger than block-size key and a "
        "larger than block-size data. The key needs to be hashed before being "
        "used by the HMAC algorithm.",
        152},
       "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"}};
  size_t i;
  memset(aa, 0xaa, sizeof aa);
  memset(dd, 0xdd, sizeof dd);
  for (i = 0; i < sizeof cases / sizeof *cases; i++) {
    unsigned char code[SIGN_SIZE], wanted[SIGN_SIZE];
    CHECK(text_unhex(S(cases[i].code), wanted, SIGN_SIZE));
    CHECK(sign_hmac(cases[i].key, cases[i].data, code));
    CHECK(sign_equal(code, wanted, SIGN_SIZE));
  }
}

static void test_ring(void) {
  unsigned char code[SIGN_SIZE], again[SIGN_SIZE];
  slice parts[3];
  sign_ring *ring = sign_open();
  int i;
  parts[0] = S("17");
  parts[1] = S(".");
  parts[2] = S("{}");
  CHECK(sign_find(ring, parts, 3, code) == 0); /* no keys, no match */
  CHECK(sign_add(ring, S("a")) && sign_add(ring, S("b")));
  CHECK(sign_add(ring, S("b")) && sign_count(ring) == 3);
  CHECK(sign_hmac(S("b"), S("17.{}"), code));
  CHECK(sign_find(ring, parts, 3, code) == 2); /* the first that matches */
  CHECK(sign_mac(ring, 1, parts, 3, again) && !memcmp(code, again, 32));
  for (i = 0; i < SIGN_SIZE * 8; i++) {
    code[i / 8] ^= (unsigned char)(1 << i % 8);
    if (sign_find(ring, parts, 3, code) != 0) break;
    code[i / 8] ^= (unsigned char)(1 << i % 8);
  }
  CHECK(i == SIGN_SIZE * 8);
  while (sign_count(ring) < SIGN_KEYS)
    CHECK(sign_add(ring, S("c")));
  CHECK(!sign_add(ring, S("d")));
  sign_close(ring);
  sign_close(NULL);
}

static void test_digest(void) {
  unsigned char sum[SIGN_SIZE], wanted[SIGN_SIZE];
  slice absent = {NULL, 0};
  text_unhex(S("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8"
               "55"),
             wanted, SIGN_SIZE);
  CHECK(sign_sha256(absent, sum) && sign_equal(sum, wanted, SIGN_SIZE));
  CHECK(sign_random(sum, 16) && sign_random(wanted, 16));
  CHECK(!sign_equal(sum, wanted, 16));
}

/* --- keys -------------------------------------------------------------- */

static void test_keys(void) {
  static char longer[VERIFY_MAXVALUE + 1];
  slice all = {longer, sizeof longer};
  verify_keys k;
  int i;
  memset(longer, 'x', sizeof longer);
  CHECK(verify_keys_open(&k));
  CHECK(verify_add_secret(&k, S("")) != NULL);
  CHECK(verify_add_secret(&k, S(" a")) != NULL);
  CHECK(verify_add_secret(&k, S("a\n")) != NULL);
  CHECK(verify_add_secret(&k, S("a\t")) != NULL);
  CHECK(verify_add_authorization(&k, S("")) != NULL);
  CHECK(verify_add_authorization(&k, S("a\r\n")) != NULL);
  CHECK(verify_add_authorization(&k, S("a\nb")) != NULL);
  CHECK(verify_add_authorization(&k, all) != NULL);
  CHECK(verify_set_basic(&k, S(""), S("p")) != NULL);
  CHECK(verify_set_basic(&k, S("u"), S("")) != NULL);
  CHECK(verify_set_basic(&k, S("u:v"), S("p")) != NULL);
  CHECK(verify_set_basic(&k, S("u"), S("p\n")) != NULL);
  CHECK(verify_set_basic(&k, S("u"), all) != NULL);
  CHECK(sign_count(k.secrets) == 0 && k.authorizations == 0 && !k.has_basic);
  for (i = 0; i < SIGN_KEYS; i++) {
    CHECK(verify_add_secret(&k, S("a b")) == NULL);
    CHECK(verify_add_authorization(&k, S("Bearer a")) == NULL);
  }
  CHECK(verify_add_secret(&k, S("a")) != NULL);
  CHECK(verify_add_authorization(&k, S("a")) != NULL);
  verify_keys_close(&k);
  verify_keys_close(&k);
}

/* --- deliveries -------------------------------------------------------- */

#define NOW      1700000000.0
#define CLASS_ID "AA3a27d6-05b5-4fcd-bd04-505bfffacfc2"

static const char class_body[] =
    "{ \"id\": \"" CLASS_ID "\", \"data\": {\"id\": 16, \"amount\": 300.0,\n"
    "\"text\": \"a\\u00e9\"}, \"type\": \"INVOICE_CREATED\",\r\n"
    "\"tenant\": \"my-school\", \"timestamp\": 1727884920561,\t"
    "\"signature\": \"%s\", \"more\": [1] }";

static const char better_body[] =
    "{ \"id\": \"efec49e0-80a0-4734-bf02-2581cddd13af\",\n \"attemptId\": "
    "\"b\","
    "\"created\": 1623794899, \"event\": \"invoices.created\",\r\n"
    "\"livemode\": true, \"data\": {\"_id\": \"616d\", \"s\": \"\\/\\u0041\"} "
    "}";

static const char apply_body[] =
    "{\"7\": {\"id\": \"07\", \"event\": \"Invoice was paid: ?\",\"logged\":"
    "\"2025-12-03T13:15:31+00:00\", \"invoice\": \"/api/v9/invoices/17\"}}";

typedef struct fixture {
  verify_keys keys;
  verify_work work;
  verify_request r;
  verify_answer a;
  verify_event e;
  char body[1024], header[256];
} fixture;

static void sign_better(fixture *f, const char *message) {
  unsigned char code[SIGN_SIZE];
  sign_hmac(S("two"), S(message), code);
  strcpy(f->header, "t=1700000000,s=x,s2=");
  text_hex(code, SIGN_SIZE, f->header + 20);
  f->header[20 + 2 * SIGN_SIZE] = 0;
}

static void sign_class(fixture *f) {
  unsigned char code[SIGN_SIZE];
  char written[TEXT_BASE64(SIGN_SIZE) + 1];
  sign_hmac(S("two"), S(CLASS_ID), code);
  written[text_base64(code, SIGN_SIZE, written)] = 0;
  snprintf(f->body, sizeof f->body, class_body, written);
}

/* a good delivery, to be spoilt */
static int set_up(fixture *f, verify_vendor vendor) {
  char message[1100];
  memset(f, 0, sizeof *f);
  verify_work_open(&f->work);
  if (!verify_keys_open(&f->keys)) return 0;
  if (verify_add_secret(&f->keys, S("one")) != NULL) return 0;
  if (verify_add_secret(&f->keys, S("two")) != NULL) return 0;
  if (verify_add_authorization(&f->keys, S("Bearer one")) != NULL) return 0;
  if (verify_add_authorization(&f->keys, S("Bearer two")) != NULL) return 0;
  fuse = -1; /* making the delivery is not what is tested */
  strcpy(f->body, vendor == VERIFY_BETTEREZ ? better_body : apply_body);
  strcpy(f->header, "Bearer two");
  if (vendor == VERIFY_DREAMCLASS) sign_class(f);
  snprintf(message, sizeof message, "1700000000.%s", f->body);
  if (vendor == VERIFY_BETTEREZ) sign_better(f, message);
  f->r.vendor = vendor;
  f->r.now = NOW;
  f->r.tolerance = -1;
  return 1;
}

static verify_code run(fixture *f) {
  verify_code code;
  verify_request r = f->r;
  r.body = S(f->body);
  if (f->header[0] != 0 && r.vendor == VERIFY_BETTEREZ)
    verify_header(&r, S("X-BTRZ-Signature"), S(f->header));
  if (f->header[0] != 0 && r.vendor != VERIFY_BETTEREZ)
    verify_header(&r, S("authorization"), S(f->header));
  code = verify_check(&f->keys, &f->work, &r, &f->a);
  if (code == VERIFY_OK && verify_next(&f->keys, &f->work, &f->e) < 0)
    code = VERIFY_MEMORY;
  if (code != VERIFY_OK && code != VERIFY_MEMORY && f->a.why == NULL)
    CHECK(f->a.why != NULL);
  return code;
}

static void tear_down(fixture *f) {
  verify_work_trim(&f->work);
  verify_work_close(&f->work);
  verify_keys_close(&f->keys);
}

static void test_good(void) {
  fixture f;
  set_up(&f, VERIFY_DREAMCLASS);
  CHECK(run(&f) == VERIFY_OK && f.a.secret == 2 && f.a.events == 1);
  CHECK(slice_equal(f.e.id, S("aa3a27d6-05b5-4fcd-bd04-505bfffacfc2")));
  CHECK(slice_equal(f.e.invoice, S("16")) && f.e.live && f.e.bad == NULL);
  CHECK(slice_equal(f.a.tenant, S("my-school")));
  CHECK(f.e.timed && f.e.occurred_at == 1727884920.561);
  tear_down(&f);
  set_up(&f, VERIFY_BETTEREZ);
  CHECK(run(&f) == VERIFY_OK && f.a.secret == 2);
  CHECK(slice_equal(f.e.native, S("invoices.created")));
  CHECK(slice_equal(f.e.invoice, S("616d")));
  CHECK(slice_equal(f.e.attempt, S("b")));
  CHECK(f.e.timed && f.e.occurred_at == 1623794899);
  tear_down(&f);
  set_up(&f, VERIFY_DREAMAPPLY);
  CHECK(run(&f) == VERIFY_OK && f.a.secret == 2);
  CHECK(slice_equal(f.e.id, S("7")) && slice_equal(f.e.invoice, S("17")));
  CHECK(f.e.timed && f.e.occurred_at == 1764767731 && f.e.bad == NULL);
  CHECK(verify_next(&f.keys, &f.work, &f.e) == 0);
  tear_down(&f);
}

/* what JSON.stringify would have made of the body, behind t */
static const char stringified[] =
    "1700000000.{\"id\":\"efec49e0-80a0-4734-bf02-2581cddd13af\","
    "\"attemptId\":\"b\",\"created\":1623794899,\"event\":"
    "\"invoices.created\",\"livemode\":true,\"data\":{\"_id\":"
    "\"616d\",\"s\":\"/A\"}}";

static void test_form(void) {
  fixture f;
  set_up(&f, VERIFY_BETTEREZ);
  sign_better(&f, stringified);
  CHECK(run(&f) == VERIFY_OK);
  CHECK(slice_equal(f.e.data, S("{\"_id\":\"616d\",\"s\":\"/A\"}")));
  f.body[0] = ' ';
  CHECK(run(&f) == VERIFY_MISMATCH); /* no JSON: no second chance */
  tear_down(&f);
  set_up(&f, VERIFY_BETTEREZ);
  sign_better(&f, "1700000000.{}");
  CHECK(run(&f) == VERIFY_MISMATCH);
  CHECK(f.work.doc.room == 0); /* what nobody vouches for is not parsed */
  tear_down(&f);
  set_up(&f, VERIFY_BETTEREZ);
  sign_better(&f, "1700000000.[12]");
  strcpy(f.body, " [1 2] ");
  CHECK(run(&f) == VERIFY_MISMATCH); /* and what is no JSON is not taken */
  tear_down(&f);
}

static void test_headers(void) {
  fixture f;
  slice absent = {NULL, 0};
  int i;
  set_up(&f, VERIFY_BETTEREZ);
  for (i = 0; i < 99; i++)
    verify_header(&f.r, S("a"), S("b"));
  CHECK(run(&f) == VERIFY_OK);
  verify_header(&f.r, S("a"), absent);
  CHECK(run(&f) == VERIFY_HEADER);
  tear_down(&f);
  set_up(&f, VERIFY_BETTEREZ);
  verify_header(&f.r, S("x-btrz-signature"), S(f.header));
  CHECK(run(&f) == VERIFY_HEADER);
  tear_down(&f);
  set_up(&f, VERIFY_DREAMCLASS);
  verify_header(&f.r, S("x-btrz-signature"), S("a"));
  verify_header(&f.r, S("x-btrz-signature"), S("a"));
  CHECK(run(&f) == VERIFY_OK); /* not one that this vendor reads */
  tear_down(&f);
  set_up(&f, VERIFY_DREAMAPPLY);
  verify_header(&f.r, S("Content-Encoding"), S(" Identity "));
  CHECK(run(&f) == VERIFY_OK);
  tear_down(&f);
  set_up(&f, VERIFY_DREAMAPPLY);
  verify_header(&f.r, S("Content-Encoding"), S("gzip"));
  CHECK(run(&f) == VERIFY_ENCODING);
  tear_down(&f);
  set_up(&f, VERIFY_DREAMAPPLY);
  verify_header(&f.r, S("Content-Encoding"), S("UTF-8"));
  verify_header(&f.r, S("Content-Encoding"), S("identity"));
  CHECK(run(&f) == VERIFY_OK);
  verify_header(&f.r, S("Content-Encoding"), S("utf-8 , BR;q=1"));
  CHECK(run(&f) == VERIFY_ENCODING);
  tear_down(&f);
}

static void test_unconfigured(void) {
  fixture f;
  verify_keys none;
  verify_request r;
  verify_work work;
  verify_keys_open(&none);
  verify_work_open(&work);
  verify_set_basic(&none, S("u"), S("p"));
  set_up(&f, VERIFY_DREAMCLASS);
  r = f.r;
  r.body = S(f.body);
  CHECK(verify_check(&none, &work, &r, &f.a) == VERIFY_UNCONFIGURED);
  CHECK(verify_check(NULL, &work, &r, &f.a) == VERIFY_UNCONFIGURED);
  r.vendor = VERIFY_BETTEREZ;
  CHECK(verify_check(&none, &work, &r, &f.a) == VERIFY_UNCONFIGURED);
  r.vendor = VERIFY_DREAMAPPLY;
  CHECK(verify_check(&none, &work, &r, &f.a) == VERIFY_UNCONFIGURED);
  tear_down(&f);
  verify_work_close(&work);
  verify_keys_close(&none);
}

/* every code has its own name */
static void test_names(void) {
  int i, k;
  for (i = VERIFY_OK; i <= VERIFY_MEMORY; i++)
    for (k = VERIFY_OK; k < i; k++)
      CHECK(strcmp(verify_name((verify_code)i), verify_name((verify_code)k)));
  CHECK(strcmp(verify_name(VERIFY_STALE), "stale") == 0);
  CHECK(strcmp(verify_name(VERIFY_ENCODING), "encoding") == 0);
}

/* --- every byte changed ------------------------------------------------ */

typedef struct outcome {
  int refused; /* or kept, and not acted on */
  char id[64], digest[2 * SIGN_SIZE];
} outcome;

static outcome outcome_of(fixture *f) {
  outcome o = {run(f) != VERIFY_OK || f->e.bad != NULL, {0}, {0}};
  if (o.refused || f->e.id.n >= sizeof o.id) return o;
  memcpy(o.id, f->e.id.p, f->e.id.n);
  memcpy(o.digest, f->e.digest, sizeof o.digest);
  return o;
}

static int same_digest(const outcome *a, const outcome *b) {
  return memcmp(a->digest, b->digest, sizeof a->digest) == 0;
}

static const unsigned char masks[] = {1, 2, 4, 8, 16, 32, 64, 128, 3, 0x29};

/* how many changes of text were accepted with another id, or (strict) with
** other content */
static int forged(fixture *f, char *text, int strict) {
  outcome good = outcome_of(f), o;
  size_t i, m;
  int bad = good.refused ? 1000 : 0;
  for (i = 0; text[i] != 0; i++)
    for (m = 0; m < sizeof masks; m++) {
      char before = text[i];
      text[i] = (char)(text[i] ^ masks[m]);
      o = outcome_of(f);
      text[i] = before;
      if (o.refused) continue;
      bad += strcmp(o.id, good.id) != 0 || (strict && !same_digest(&o, &good));
    }
  return bad;
}

static void test_flips(void) {
  fixture f;
  set_up(&f, VERIFY_BETTEREZ);
  CHECK(forged(&f, f.body, 1) == 0);
  CHECK(forged(&f, f.header, 1) == 0);
  tear_down(&f);
  set_up(&f, VERIFY_DREAMCLASS); /* its data is not signed */
  CHECK(forged(&f, f.body, 0) == 0);
  tear_down(&f);
  set_up(&f, VERIFY_DREAMAPPLY);
  CHECK(forged(&f, f.header, 1) == 0);
  tear_down(&f);
}

/* DreamClass: a change in what is not signed shows in the digest, unless it
** is in white space, the time, or a member that means nothing */
static int unnoticed(fixture *f, const char *from, const char *to) {
  outcome good = outcome_of(f), o;
  char *p = strstr(f->body, from), *end = strstr(f->body, to);
  int bad = 0;
  size_t m;
  for (; p < end; p++)
    for (m = 0; m < sizeof masks; m++) {
      char before = *p;
      if (before == ' ' || before == '\n' || before == '\r') continue;
      *p = (char)(*p ^ masks[m]);
      o = outcome_of(f);
      *p = before;
      bad += !o.refused && same_digest(&o, &good);
    }
  return bad;
}

static void test_contested(void) {
  fixture f;
  set_up(&f, VERIFY_DREAMCLASS);
  CHECK(unnoticed(&f, "16, ", "300.0") == 0);
  CHECK(unnoticed(&f, "INVOICE", "\", \"timestamp") == 0);
  tear_down(&f);
}

/* --- every end of the text --------------------------------------------- */

/* where the proof is beside the body, or came before the end, what is left is
** kept; it is never acted on */
static void test_truncated(void) {
  static const verify_vendor all[] = {VERIFY_DREAMAPPLY, VERIFY_DREAMCLASS,
                                      VERIFY_BETTEREZ};
  size_t i, n;
  for (i = 0; i < 3; i++) {
    fixture f;
    int kept = 0, acted = 0;
    set_up(&f, all[i]);
    for (n = strlen(f.body); n-- > 0;) {
      char *copy;
      verify_request r = f.r;
      verify_answer a;
      verify_event e;
      /* exactly as long, so that a byte too far is seen */
      copy = __real_malloc(n + 1);
      memcpy(copy, f.body, n);
      r.body.p = copy;
      r.body.n = n;
      verify_header(&r,
                    all[i] == VERIFY_BETTEREZ ? S("x-btrz-signature")
                                              : S("authorization"),
                    S(f.header));
      if (verify_check(&f.keys, &f.work, &r, &a) == VERIFY_OK) {
        CHECK(verify_next(&f.keys, &f.work, &e) == 1);
        kept++, acted += e.bad == NULL;
        CHECK(memcmp(e.id.p, "bad-", 4) == 0 && a.why == NULL && e.at > 0);
      }
      free(copy);
    }
    CHECK(acted == 0);
    if (all[i] == VERIFY_BETTEREZ) CHECK(kept == 0);
    if (all[i] == VERIFY_DREAMAPPLY) CHECK(kept == (int)strlen(f.body));
    if (all[i] == VERIFY_DREAMCLASS) CHECK(kept == 15); /* behind the code */
    tear_down(&f);
  }
}

/* --- no memory --------------------------------------------------------- */

/* the n-th allocation and all after it fail, wherever that is: no memory is
** never taken for a forgery, and nothing leaks */
static void test_no_memory(verify_vendor vendor, const char *form) {
  verify_code code = VERIFY_MEMORY;
  long n;
  for (n = 0; code == VERIFY_MEMORY; n++) {
    fixture f;
    int up;
    code = VERIFY_MEMORY;
    if (form == NULL) fuse = n;
    up = set_up(&f, vendor);
    if (form != NULL) sign_better(&f, form);
    fuse = n;
    if (up) code = run(&f);
    fuse = -1;
    tear_down(&f);
  }
  CHECK(code == VERIFY_OK && n > 5);
}

int main(void) {
  CHECK(CRYPTO_set_mem_functions(ssl_malloc, ssl_realloc, ssl_free));
  test_hmac();
  test_ring();
  test_digest();
  test_keys();
  test_good();
  test_form();
  test_headers();
  test_unconfigured();
  test_names();
  test_flips();
  test_contested();
  test_truncated();
  test_no_memory(VERIFY_DREAMAPPLY, NULL);
  test_no_memory(VERIFY_DREAMCLASS, NULL);
  test_no_memory(VERIFY_BETTEREZ, NULL);
  test_no_memory(VERIFY_BETTEREZ, stringified);
  printf("%d passed, %d failed\n", passed, failed);
  return failed > 0;
}
