/* with: verify.c scheme.c scheme_betterez.c scheme_dreamapply.c scheme_dreamclass.c head.c date.c text.c sign.c json.c json_out.c -lcrypto */
/*
** What one Betterez delivery costs in C, in nanoseconds, best of many rounds:
** checked and read, with and without the content's digest; refused; and the
** HMAC alone, through a ring of prepared keys and without one.
**
**   cc -O2 -Isrc bench/verify.c src/verify.c src/scheme*.c src/head.c \
**     src/date.c src/text.c src/sign.c src/json.c src/json_out.c -lcrypto -o
* /tmp/verify-bench
*/
#include "verify.h"
#include "text.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define ROUNDS 40
#define TIMES  20000

static const char body[] =
    "{\"attemptId\":\"0ab70210-547a-4a7a-8e1b-e402a8663308\",\"created\":"
    "1623794899,\"data\":{\"invoiceProviderId\":\"5f243d100617680712e78dd7\","
    "\"authNumber\":\"BD2ECBAC-4B37-4760-8DD9-9D50C3C9B194\",\"serie\":"
    "\"456889\",\"number\":\"1261913952\",\"type\":\"certification\","
    "\"transactionId\":\"616d7cf38fedff37e449215c\",\"accountId\":"
    "\"563c1457c4f260b0b7765569\",\"createdBy\":\"4e9774b45f014e0100000003\","
    "\"createdAt\":{\"value\":\"2021-10-18T13:47:55.691Z\",\"offset\":0},"
    "\"updatedAt\":{\"value\":\"2021-10-18T13:47:55.692Z\",\"offset\":0},"
    "\"_id\":\"616d7cf38fedff37e4492161\"},\"event\":\"invoices.created\","
    "\"id\":\"efec49e0-80a0-4734-bf02-2581cddd13af\",\"livemode\":true}";

typedef struct bench {
  verify_keys keys;
  verify_work work;
  verify_request request;
  slice parts[3];
  char header[16 + 2 * SIGN_SIZE];
} bench;

static void whole(bench *b) {
  verify_answer answer;
  verify_event event;
  if (verify_check(&b->keys, &b->work, &b->request, &answer) == VERIFY_OK)
    verify_next(&b->keys, &b->work, &event);
  verify_work_trim(&b->work);
}

static void ring(bench *b) {
  unsigned char code[SIGN_SIZE];
  sign_mac(b->keys.secrets, 0, b->parts, 3, code);
}

static void once(bench *b) {
  unsigned char code[SIGN_SIZE];
  sign_hmac(slice_of("secret"), b->request.body, code);
}

static double clock_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void measure(const char *name, void (*fn)(bench *), bench *b) {
  double best = 1e18;
  int round, i;
  for (round = 0; round < ROUNDS; round++) {
    double start = clock_ns(), took;
    for (i = 0; i < TIMES; i++)
      fn(b);
    took = (clock_ns() - start) / TIMES;
    if (took < best) best = took;
  }
  printf("%-32s %6.0f ns\n", name, best);
}

static void set_up(bench *b) {
  unsigned char code[SIGN_SIZE];
  slice header = {b->header, 0};
  memset(b, 0, sizeof *b);
  verify_keys_open(&b->keys);
  verify_add_secret(&b->keys, slice_of("secret"));
  b->request.vendor = VERIFY_BETTEREZ;
  b->request.body = slice_of(body);
  b->request.now = 1700000000;
  b->request.tolerance = -1;
  b->parts[0] = slice_of("1700000000");
  b->parts[1] = slice_of(".");
  b->parts[2] = b->request.body;
  sign_mac(b->keys.secrets, 0, b->parts, 3, code);
  memcpy(b->header, "t=1700000000,s2=", 16);
  text_hex(code, SIGN_SIZE, b->header + 16);
  header.n = sizeof b->header;
  verify_header(&b->request, slice_of("x-btrz-signature"), header);
}

int main(void) {
  static bench b;
  set_up(&b);
  printf("a body of %lu bytes\n", (unsigned long)b.request.body.n);
  measure("HMAC, prepared key", ring, &b);
  measure("HMAC, key of one use", once, &b);
  measure("checked and read, digest", whole, &b);
  b.request.undigested = 1;
  measure("checked and read", whole, &b);
  b.header[16] ^= 1;
  measure("refused", whole, &b);
  verify_work_close(&b.work);
  verify_keys_close(&b.keys);
  return 0;
}
