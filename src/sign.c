/*
** sign.c - the few calls of libcrypto that billhook needs, for OpenSSL 1.1.1
** and 3.x. HMAC() and EVP_Digest() look the algorithm up at every call on
** 3.x; copying a prepared context does not.
*/
#include "sign.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#define BLOCK 64

typedef struct key {
  EVP_MD_CTX *inner, *outer; /* after the key's pads */
} key;

struct sign_ring {
  EVP_MD_CTX *blank; /* SHA-256 of nothing yet */
  EVP_MD_CTX *scratch;
  size_t count;
  key keys[SIGN_KEYS];
};

static int finish(EVP_MD_CTX *ctx, unsigned char *out) {
  return EVP_DigestFinal_ex(ctx, out, NULL) == 1;
}

static int update(EVP_MD_CTX *ctx, const slice *parts, size_t n) {
  size_t i;
  for (i = 0; i < n; i++)
    if (parts[i].n > 0 && EVP_DigestUpdate(ctx, parts[i].p, parts[i].n) != 1)
      return 0;
  return 1;
}

int sign_digest(sign_ring *ring, const slice *parts, size_t n,
                unsigned char *out) {
  return EVP_MD_CTX_copy_ex(ring->scratch, ring->blank) == 1 &&
         update(ring->scratch, parts, n) && finish(ring->scratch, out);
}

sign_ring *sign_open(void) {
  sign_ring *ring = calloc(1, sizeof *ring);
  if (ring == NULL) return NULL;
  ring->blank = EVP_MD_CTX_new();
  ring->scratch = EVP_MD_CTX_new();
  if (ring->blank != NULL && ring->scratch != NULL &&
      EVP_DigestInit_ex(ring->blank, EVP_sha256(), NULL) == 1)
    return ring;
  sign_close(ring);
  return NULL;
}

/* EVP_MD_CTX_free wipes the state that it frees */
void sign_close(sign_ring *ring) {
  size_t i;
  if (ring == NULL) return;
  for (i = 0; i < ring->count; i++) {
    EVP_MD_CTX_free(ring->keys[i].inner);
    EVP_MD_CTX_free(ring->keys[i].outer);
  }
  EVP_MD_CTX_free(ring->scratch);
  EVP_MD_CTX_free(ring->blank);
  free(ring);
}

size_t sign_count(const sign_ring *ring) {
  return ring->count;
}

/* a context that has read the key, each byte with mask */
static EVP_MD_CTX *padded(const EVP_MD_CTX *blank, const unsigned char *block,
                          unsigned char mask) {
  unsigned char pad[BLOCK];
  EVP_MD_CTX *ctx = EVP_MD_CTX_new();
  size_t i;
  int ok;
  for (i = 0; i < BLOCK; i++)
    pad[i] = block[i] ^ mask;
  ok = ctx != NULL && EVP_MD_CTX_copy_ex(ctx, blank) == 1 &&
       EVP_DigestUpdate(ctx, pad, BLOCK) == 1;
  OPENSSL_cleanse(pad, sizeof pad);
  if (ok) return ctx;
  EVP_MD_CTX_free(ctx);
  return NULL;
}

int sign_add(sign_ring *ring, slice secret) {
  unsigned char block[BLOCK] = {0};
  key k = {NULL, NULL};
  if (ring->count == SIGN_KEYS) return 0;
  if (secret.n > BLOCK) {
    if (!sign_digest(ring, &secret, 1, block)) return 0;
  } else if (secret.n > 0) {
    memcpy(block, secret.p, secret.n);
  }
  k.inner = padded(ring->blank, block, 0x36);
  k.outer = padded(ring->blank, block, 0x5c);
  OPENSSL_cleanse(block, sizeof block);
  if (k.inner == NULL || k.outer == NULL) {
    EVP_MD_CTX_free(k.inner);
    EVP_MD_CTX_free(k.outer);
    return 0;
  }
  ring->keys[ring->count++] = k;
  return 1;
}

int sign_mac(sign_ring *ring, size_t number, const slice *parts, size_t n,
             unsigned char *out) {
  const key *k = &ring->keys[number];
  EVP_MD_CTX *s = ring->scratch;
  return EVP_MD_CTX_copy_ex(s, k->inner) == 1 && update(s, parts, n) &&
         finish(s, out) && EVP_MD_CTX_copy_ex(s, k->outer) == 1 &&
         EVP_DigestUpdate(s, out, SIGN_SIZE) == 1 && finish(s, out);
}

int sign_find(sign_ring *ring, const slice *parts, size_t n,
              const unsigned char *code) {
  unsigned char mac[SIGN_SIZE];
  int found = 0;
  size_t i;
  for (i = ring->count; i-- > 0;) { /* backwards: the first one wins */
    int same, made = sign_mac(ring, i, parts, n, mac);
    if (!made) {
      found = -1;
      break;
    }
    same = sign_equal(mac, code, SIGN_SIZE);
    found = same * (int)(i + 1) + (1 - same) * found;
  }
  OPENSSL_cleanse(mac, sizeof mac);
  return found;
}

int sign_hmac(slice secret, slice message, unsigned char *out) {
  sign_ring *ring = sign_open();
  int ok = ring != NULL && sign_add(ring, secret) &&
           sign_mac(ring, 0, &message, 1, out);
  sign_close(ring);
  return ok;
}

int sign_sha256(slice text, unsigned char *out) {
  return EVP_Digest(text.p != NULL ? text.p : "", text.n, out, NULL,
                    EVP_sha256(), NULL) == 1;
}

int sign_equal(const void *a, const void *b, size_t n) {
  return CRYPTO_memcmp(a, b, n) == 0;
}

void sign_wipe(void *p, size_t n) {
  OPENSSL_cleanse(p, n);
}

int sign_random(void *out, size_t n) {
  return n <= INT_MAX && RAND_bytes(out, (int)n) == 1;
}
