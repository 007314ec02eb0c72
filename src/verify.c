/*
** verify.c - keys, the room that deliveries are read in, and what all three
** schemes begin with. The schemes themselves are in scheme_*.c.
**
** The order is the same everywhere: headers, keys, encoding, then the proof,
** then the body's members, then tenant and time. DreamClass signs a member of
** the body, so there the envelope is read before the proof holds; nothing of
** it leaves the scheme unless it does.
*/
#include "verify.h"

#include <stdlib.h>
#include <string.h>

#include "scheme.h"

#define KEEP     65536 /* bytes of a buffer that work keeps */
#define KEEPTAPE 4096  /* nodes */

const char *verify_name(verify_code code) {
  static const char *const names[] = {
      "ok",     "unsigned",  "unauthorized", "mismatch",
      "stale",  "future",    "tenant",       "unconfigured",
      "header", "malformed", "encoding",     "memory"};
  return names[code];
}

/* --- keys -------------------------------------------------------------- */

int verify_keys_open(verify_keys *keys) {
  unsigned char key[SIGN_SIZE];
  slice s = {(const char *)key, sizeof key};
  int ok;
  memset(keys, 0, sizeof *keys);
  keys->secrets = sign_open();
  keys->blind = sign_open();
  ok = keys->secrets != NULL && keys->blind != NULL &&
       sign_random(key, sizeof key) && sign_add(keys->blind, s);
  sign_wipe(key, sizeof key);
  return ok;
}

void verify_keys_close(verify_keys *keys) {
  sign_close(keys->secrets);
  sign_close(keys->blind);
  sign_wipe(keys, sizeof *keys);
}

static int space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

/* what copying and pasting does to a secret */
static const char *unfit(slice s) {
  if (s.n == 0) return "is empty";
  if (space(s.p[0]) || space(s.p[s.n - 1]))
    return "has white space at an end: is it pasted with a line break?";
  return NULL;
}

const char *verify_add_secret(verify_keys *keys, slice secret) {
  const char *why = unfit(secret);
  if (why != NULL) return why;
  if (sign_count(keys->secrets) == SIGN_KEYS) return "is the 17th: 16 will do";
  return sign_add(keys->secrets, secret) ? NULL : SCHEME_NOMEMORY;
}

const char *verify_add_authorization(verify_keys *keys, slice value) {
  const char *why = unfit(value);
  if (why != NULL) return why;
  if (scheme_control(value)) return "has a control character";
  if (value.n > VERIFY_MAXVALUE) return "is longer than 4096 bytes";
  if (keys->authorizations == SIGN_KEYS) return "is the 17th: 16 will do";
  if (!sign_mac(keys->blind, 0, &value, 1,
                keys->authorization[keys->authorizations]))
    return SCHEME_NOMEMORY;
  keys->authorizations++;
  return NULL;
}

const char *verify_set_basic(verify_keys *keys, slice user, slice password) {
  slice parts[3];
  if (user.n == 0 || password.n == 0) return "has an empty part";
  if (scheme_control(user) || scheme_control(password))
    return "has a control character";
  if (memchr(user.p, ':', user.n) != NULL) return "has a ':' in the user";
  if (user.n + password.n > VERIFY_MAXVALUE / 2) return "is too long";
  parts[0] = user;
  parts[1] = slice_of(":");
  parts[2] = password;
  if (!sign_mac(keys->blind, 0, parts, 3, keys->basic)) return SCHEME_NOMEMORY;
  keys->has_basic = 1;
  return NULL;
}

/* --- work -------------------------------------------------------------- */

void verify_work_open(verify_work *work) {
  memset(work, 0, sizeof *work);
}

void verify_work_close(verify_work *work) {
  json_close(&work->doc);
  free(work->form);
  free(work->text);
  free(work->canon);
  verify_work_open(work);
}

static void trim(char **p, size_t *room) {
  if (*room <= KEEP) return;
  free(*p);
  *p = NULL;
  *room = 0;
}

void verify_work_trim(verify_work *work) {
  if (work->doc.room > KEEPTAPE) json_close(&work->doc);
  trim(&work->form, &work->form_room);
  trim(&work->text, &work->text_room);
  trim(&work->canon, &work->canon_room);
  work->left = 0;
}

/* --- a delivery -------------------------------------------------------- */

/* in lower case, as most servers hand names on, or in any */
static int named(slice name, slice wanted) {
  return name.n == wanted.n &&
         (memcmp(name.p, wanted.p, name.n) == 0 || slice_same(name, wanted));
}

/* Is a coding of HTTP in this list? Others ("utf-8") are somebody's mistake,
** and say nothing about the body. */
static int coded(slice list) {
  static const char *const codings[] = {
      "gzip", "x-gzip", "deflate", "br",           "zstd",      "compress",
      "dcb",  "dcz",    "exi",     "pack200-gzip", "aes128gcm", "x-compress"};
  size_t at, i;
  int found = 0;
  while (list.n > 0) {
    slice one = list;
    for (at = 0; at < list.n && list.p[at] != ',' && list.p[at] != ';';)
      at++;
    one.n = at;
    one = slice_trim(one);
    for (i = 0; i < sizeof codings / sizeof *codings; i++)
      found |= slice_same(one, slice_of(codings[i]));
    at += at < list.n;
    list.p += at, list.n -= at;
  }
  return found;
}

void verify_header(verify_request *r, slice name, slice value) {
  static const slice encoding = SCHEME_NAME("content-encoding");
  static const slice authorization = SCHEME_NAME("authorization");
  static const slice signature = SCHEME_NAME("x-btrz-signature");
  int signs = r->vendor == VERIFY_BETTEREZ;
  const slice *read = signs ? &signature : &authorization;
  slice *into = signs ? &r->signature : &r->authorization;
  r->entries++;
  if (named(name, encoding)) {
    if (value.p == NULL || value.n > VERIFY_MAXVALUE)
      r->twice = encoding.p;
    else
      r->coded |= coded(value);
  } else if (named(name, *read)) {
    if (into->p != NULL || value.p == NULL || value.n > VERIFY_MAXVALUE)
      r->twice = read->p;
    *into = value;
  }
}

static int configured(const scheme *c) {
  if (c->keys == NULL) return 0;
  if (c->request->vendor == VERIFY_DREAMAPPLY)
    return c->keys->authorizations > 0;
  return sign_count(c->keys->secrets) > 0;
}

static verify_code envelope(scheme *c) {
  const verify_request *r = c->request;
  if (r->entries > VERIFY_MAXHEADERS)
    return scheme_refuse(c, VERIFY_HEADER, NULL, "more than 100 headers");
  if (r->twice != NULL)
    return scheme_refuse(
        c, VERIFY_HEADER, r->twice,
        "comes twice, is no text, or is longer than 4096 bytes");
  if (!configured(c))
    return scheme_refuse(c, VERIFY_UNCONFIGURED, NULL,
                         "nothing is configured to check this delivery with");
  if (r->coded)
    return scheme_refuse(
        c, VERIFY_ENCODING, NULL,
        "the body is compressed; a signature covers plain bytes");
  if (r->body.n > VERIFY_MAXBODY)
    return scheme_refuse(c, VERIFY_MALFORMED, NULL, "the body is over 64 MiB");
  return VERIFY_OK;
}

/* nothing is known yet */
static void start(verify_work *work, verify_answer *answer) {
  memset(answer, 0, sizeof *answer);
  memset(&work->first, 0, sizeof work->first);
  answer->at = -1;
  work->left = 0;
  work->ready = 0;
}

verify_code verify_check(verify_keys *keys, verify_work *work,
                         const verify_request *request,
                         verify_answer *answer) {
  scheme c = {keys, work, request, answer, NULL, {0}};
  verify_code code;
  start(work, answer);
  code = envelope(&c);
  if (code != VERIFY_OK) return code;
  if (request->vendor == VERIFY_BETTEREZ) return scheme_betterez(&c);
  if (request->vendor == VERIFY_DREAMCLASS) return scheme_dreamclass(&c);
  return scheme_dreamapply(&c);
}

verify_code verify_headers(verify_keys *keys, const verify_request *request,
                           verify_answer *answer) {
  scheme c = {keys, NULL, request, answer, NULL, {0}};
  verify_code code;
  memset(answer, 0, sizeof *answer);
  answer->at = -1;
  code = envelope(&c);
  if (code != VERIFY_OK) return code;
  if (request->vendor == VERIFY_BETTEREZ) return scheme_betterez_head(&c);
  if (request->vendor == VERIFY_DREAMCLASS) return scheme_dreamclass_head(&c);
  return scheme_dreamapply_head(&c);
}

verify_code verify_items(verify_keys *keys, verify_work *work,
                         const verify_request *request,
                         verify_answer *answer) {
  scheme c = {keys, work, request, answer, NULL, {0}};
  start(work, answer);
  return scheme_items(&c);
}

int verify_next(verify_keys *keys, verify_work *work, verify_event *event) {
  uint32_t node = work->at + (work->map ? 1 : 0);
  int64_t key = -1;
  if (work->ready) {
    work->ready = 0;
    *event = work->first;
    return 1;
  }
  if (work->left == 0) return 0;
  if (work->map) key = scheme_key(work, work->at);
  work->left--;
  work->at = work->doc.nodes[node].next;
  return scheme_item(keys, work, node, key, event);
}
