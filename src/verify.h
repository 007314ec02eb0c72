/*
** verify.h - is this delivery the vendor's, and what does it say?
**
** verify_check looks at the headers and the raw bytes of one delivery, in an
** order that decodes as little as it can before the proof holds, and refuses
** with one code for each reason. verify_next then gives the events one by
** one: a DreamApply body may have thousands.
**
** A refusal is final, because it is not known whether the vendors send again.
** So only deliveries that are not authentic are refused. An authentic delivery
** that cannot be processed is a bad event, which is kept for a person to look
** at. Its id begins with "bad-", so it never replaces the good one. A member
** that decides (an id, a type, whose data it is) must be there once, as plain
** text that no two readers read differently; the rest may be as it is.
**
** Keys are made once (each secret is digested, each credential is kept only
** as its code under a random key) and used many times. Work is the room that
** a delivery is read in; it is used again for the next one. Both belong to
** one thread at a time. Slices in answers and events point into the body
** or the work.
*/
#ifndef BILLHOOK_VERIFY_H
#define BILLHOOK_VERIFY_H

#include <stddef.h>
#include <stdint.h>
#include "json.h"
#include "sign.h"
#include "slice.h"

#pragma GCC visibility push(hidden)

#define VERIFY_MAXHEADERS 100
#define VERIFY_MAXVALUE   4096       /* bytes of a header value that we read */
#define VERIFY_MAXBODY    (64 << 20) /* bytes */
#define VERIFY_MAXITEMS   10000      /* of one DreamApply body */
#define VERIFY_MAXNAME    128        /* bytes of an id or a type */
#define VERIFY_MAXTEXT    1024       /* bytes of a DreamApply event's text */
#define VERIFY_TOLERANCE  300        /* seconds, Betterez */

typedef enum verify_vendor {
  VERIFY_DREAMAPPLY,
  VERIFY_DREAMCLASS,
  VERIFY_BETTEREZ
} verify_vendor;

typedef enum verify_code {
  VERIFY_OK,
  VERIFY_UNSIGNED,     /* no signature, or no Authorization */
  VERIFY_UNAUTHORIZED, /* a wrong Authorization */
  VERIFY_MISMATCH,     /* no key makes this signature */
  VERIFY_STALE,
  VERIFY_FUTURE,
  VERIFY_TENANT,
  VERIFY_UNCONFIGURED, /* there is no key to check with: refused */
  VERIFY_HEADER,       /* malformed, twice, or too many */
  VERIFY_MALFORMED,    /* the body, where nothing proves it */
  VERIFY_ENCODING,     /* a compressed body */
  VERIFY_MEMORY
} verify_code;

/* --- keys -------------------------------------------------------------- */

typedef struct verify_keys {
  sign_ring *secrets;
  sign_ring *blind; /* one random key, to compare credentials under */
  size_t authorizations;
  int has_basic;
  unsigned char basic[SIGN_SIZE];
  unsigned char authorization[SIGN_KEYS][SIGN_SIZE];
} verify_keys;

/* 1, or 0 (no memory, no randomness); close also after a failure, and after
** all zeros */
int verify_keys_open(verify_keys *keys);
void verify_keys_close(verify_keys *keys);

/* NULL, or why it cannot be taken (never with the secret in it) */
const char *verify_add_secret(verify_keys *keys, slice secret);
const char *verify_add_authorization(verify_keys *keys, slice value);
const char *verify_set_basic(verify_keys *keys, slice user, slice password);

/* --- one delivery ------------------------------------------------------ */

typedef struct verify_request {
  verify_vendor vendor;
  slice body;
  slice tenant;     /* absent: any */
  double now;       /* epoch seconds */
  double tolerance; /* seconds; negative: the vendor's default */
  int undigested;   /* an envelope's event needs no digest */
  size_t entries;   /* headers so far; the rest is verify_header's */
  slice authorization, signature;
  const char *twice;
  int coded; /* the body is compressed */
} verify_request;

typedef struct verify_event {
  slice id, native, invoice, attempt, data; /* absent where there is none */
  double occurred_at;
  int timed, live;  /* timed: occurred_at is there */
  const char *bad;  /* why it is no event of its vendor; or NULL */
  const char *part; /* bad: the member that it is about; or NULL */
  long at;          /* bad: the byte, from 1; or 0 */
  char digest[2 * SIGN_SIZE];
} verify_event;

typedef struct verify_work {
  json_doc doc;
  char *form;  /* the body in JavaScript's spelling */
  char *text;  /* strings without their escapes */
  char *canon; /* what is digested */
  size_t form_room, text_room, text_used, canon_room;
  uint32_t at, left; /* the next item's node, how many there are still */
  int map;           /* items stand under their ids */
  int ready;         /* first is the next event */
  verify_event first;
  char id[VERIFY_MAXNAME], invoice[24]; /* of the event at hand */
} verify_work;

typedef struct verify_answer {
  const char *why;  /* it is refused; or NULL */
  const char *part; /* the member that this is about; or NULL */
  long at;          /* the byte, from 0; or -1 */
  int secret;       /* which one matched, from 1 */
  uint32_t events;
  slice tenant;
} verify_answer;

void verify_work_open(verify_work *work); /* never fails; all zeros is open */
void verify_work_close(verify_work *work);
void verify_work_trim(verify_work *work); /* after a delivery: what is large */

/* one header; an absent value is one that is no text */
void verify_header(verify_request *request, slice name, slice value);

/* VERIFY_OK, or why not. keys may be NULL. */
verify_code verify_check(verify_keys *keys, verify_work *work,
                         const verify_request *request, verify_answer *answer);

/* What the headers decide alone, so that nobody's body need be waited for to
** refuse it: VERIFY_OK, or why not. It proves nothing. */
verify_code verify_headers(verify_keys *keys, const verify_request *request,
                           verify_answer *answer);

/* DreamApply's journal as its API gives it: the same shapes and the same
** events as in a delivery, without a proof. Keys that are open will do. */
verify_code verify_items(verify_keys *keys, verify_work *work,
                         const verify_request *request, verify_answer *answer);

/* after VERIFY_OK: 1 and the next event, good until the one after it; 0: that
** was all; -1: no memory */
int verify_next(verify_keys *keys, verify_work *work, verify_event *event);

const char *verify_name(verify_code code); /* "stale" */

#pragma GCC visibility pop

#endif
