/*
** sign.h - HMAC-SHA256, SHA-256, comparison in constant time, random bytes.
** sign.c is the only file that uses OpenSSL.
**
** A ring holds up to SIGN_KEYS keys, each already digested into the two
** states that an HMAC starts from, so that a message costs no key set-up; the
** keys themselves are not kept. Making a code copies a state into the ring's
** own scratch: a ring serves one thread at a time.
*/
#ifndef BILLHOOK_SIGN_H
#define BILLHOOK_SIGN_H

#include <stddef.h>
#include "slice.h"

#pragma GCC visibility push(hidden)

#define SIGN_SIZE 32 /* bytes of a digest or a code */
#define SIGN_KEYS 16 /* of one ring */

typedef struct sign_ring sign_ring;

sign_ring *sign_open(void);       /* without keys; NULL: out of memory */
void sign_close(sign_ring *ring); /* wipes them; NULL is fine */
size_t sign_count(const sign_ring *ring);

/* 1, or 0: the ring is full or there is no memory */
int sign_add(sign_ring *ring, slice secret);

/* the code of the parts, one after the other, under one key (from 0):
** 1, or 0 (OpenSSL failed, which means memory) */
int sign_mac(sign_ring *ring, size_t key, const slice *parts, size_t n,
             unsigned char *out);

/* Which key makes this code: its number from 1; 0: none; -1: OpenSSL failed.
** Every key is tried, whichever matches, in constant time. */
int sign_find(sign_ring *ring, const slice *parts, size_t n,
              const unsigned char *code);

/* SHA-256 of the parts: 1, or 0 */
int sign_digest(sign_ring *ring, const slice *parts, size_t n,
                unsigned char *out);

/* the same two without a ring, for what is done once: 1, or 0 */
int sign_hmac(slice secret, slice message, unsigned char *out);
int sign_sha256(slice text, unsigned char *out);

int sign_equal(const void *a, const void *b, size_t n); /* constant time */
void sign_wipe(void *p, size_t n);
int sign_random(void *out, size_t n); /* 1, or 0: no randomness to be had */

#pragma GCC visibility pop

#endif
