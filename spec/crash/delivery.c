#define _GNU_SOURCE 1
#include "delivery.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SECRET "the private key"
#define PHRASE "Bearer of the journal"

const char *const delivery_accounts[3] = {"tickets", "school", "admissions"};

typedef struct text {
  char *p;
  size_t n, room;
} text;

__attribute__((format(printf, 2, 3))) static void
add(text *t, const char *format, ...) {
  va_list args;
  int n;
  va_start(args, format);
  n = vsnprintf(t->p + t->n, t->room - t->n, format, args);
  va_end(args);
  if (n < 0 || (size_t)n >= t->room - t->n) abort(); /* too small */
  t->n += (size_t)n;
}

uint64_t delivery_mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

void delivery_id(const delivery *d, int item, char id[64]) {
  uint64_t n = d->number + (uint64_t)item;
  if (d->account == ADMISSIONS)
    snprintf(id, 64, "%llu", (unsigned long long)n);
  else
    snprintf(id, 64, "%08x-%04x-4%03x-8%03x-%012llx",
             (unsigned)(delivery_mix(n) >> 32), (unsigned)d->account, 0x1a2,
             0x3b4, (unsigned long long)n);
}

/* Of ten events six are about the sender's few busy invoices, three about
** one of three events, and one about none. Of ADMISSIONS there are few
** invoices in all: each has a state that can be asked for. */
void delivery_invoice(const delivery *d, int item, char invoice[64]) {
  uint64_t n = d->number + (uint64_t)item, thread = n / 1000000000;
  uint64_t dice = delivery_mix(n) % 10, number = 0;
  uint64_t all = d->account == ADMISSIONS ? DELIVERY_STATES : 10000000;
  if (dice < 6)
    number = thread * all + delivery_mix(n * 31) % 6 + 1;
  else
    number = thread * all + 10 + n % 1000000000 / 3 % (all - 10);
  if (dice == 9)
    snprintf(invoice, 64, "-");
  else if (d->account == TICKETS)
    snprintf(invoice, 64, "616d7cf3%016llx", (unsigned long long)number);
  else
    snprintf(invoice, 64, "%llu", (unsigned long long)number);
}

static const char *kind_of(const delivery *d, int item) {
  static const char *const kinds[3][3] = {
      {"created", "updated", "updated"},
      {"CREATED", "UPDATED", "DELETED"},
      {"was created: ?", "was edited: ?", "was deleted: ?"}};
  uint64_t n = d->number + (uint64_t)item;
  return kinds[d->account][delivery_mix(n * 7) % 3];
}

static void sign(const char *data, size_t n, unsigned char mac[32]) {
  unsigned size = 32;
  HMAC(EVP_sha256(), SECRET, (int)strlen(SECRET), (const unsigned char *)data,
       n, mac, &size);
}

static const char filler[] =
    "It is what such an invoice says of itself: who pays, for whom, for which "
    "period, by which day, and what becomes of it if nobody does. Two lines "
    "of small print follow, and nobody has ever read them to their end.";

static void tickets_body(const delivery *d, text *t) {
  char id[64], invoice[64];
  delivery_id(d, 0, id);
  delivery_invoice(d, 0, invoice);
  add(t, "{\"attemptId\":\"%08lx-0000-4000-8000-000000000000\",", random());
  if (invoice[0] == '-') {
    add(t, "\"created\":1623794899,\"data\":{\"from\":\"x\"},"
           "\"event\":\"invoiceemail.created\",");
  } else {
    add(t,
        "\"created\":1623794899,\"data\":{\"_id\":\"%s\",\"serie\":\"456\","
        "\"number\":\"%llu\",\"type\":\"certification\",\"note\":\"%s\"},"
        "\"event\":\"invoices.%s\",",
        invoice, (unsigned long long)d->number, filler, kind_of(d, 0));
  }
  add(t, "\"id\":\"%s\",\"livemode\":true}", id);
}

static void school_body(const delivery *d, text *t) {
  char id[64], invoice[64];
  unsigned char mac[32], coded[64];
  delivery_id(d, 0, id);
  delivery_invoice(d, 0, invoice);
  sign(id, strlen(id), mac);
  EVP_EncodeBlock(coded, mac, 32);
  add(t, "{\"id\":\"%s\",\"signature\":\"%s\",\"tenant\":\"my-school\",", id,
      (char *)coded);
  if (invoice[0] == '-')
    add(t, "\"type\":\"STUDENT_CREATED\",\"data\":{\"fullname\":\"x\"},");
  else
    add(t, "\"type\":\"INVOICE_%s\",\"data\":{\"id\":%s,\"note\":\"%s\"},",
        kind_of(d, 0), invoice, filler);
  add(t, "\"timestamp\":%lld}", (long long)time(NULL) * 1000);
}

static void item(const delivery *d, int i, text *t) {
  char id[64], invoice[64];
  delivery_id(d, i, id);
  delivery_invoice(d, i, invoice);
  add(t, "{\"id\":%s,\"logged\":\"2026-11-21T10:00:00+00:00\",", id);
  add(t, "\"bind\":[],");
  if (invoice[0] == '-')
    add(t, "\"event\":\"Offer was edited: ?\",\"invoice\":null}");
  else
    add(t, "\"event\":\"Invoice %s\",\"invoice\":\"/api/v9/invoices/%s\"}",
        kind_of(d, i), invoice);
}

/* one item by itself, a list of them, or a map of them by id */
static void admissions_body(const delivery *d, text *t) {
  int map = delivery_mix(d->number) % 3 == 0;
  if (d->items == 1) {
    item(d, 0, t);
    return;
  }
  add(t, map ? "{" : "[");
  for (int i = 0; i < d->items; i++) {
    char id[64];
    delivery_id(d, i, id);
    if (i > 0) add(t, ",");
    if (map) add(t, "\"%s\":", id);
    item(d, i, t);
  }
  add(t, map ? "}" : "]");
}

static void tickets_header(const text *body, text *head) {
  char data[DELIVERY_ROOM];
  unsigned char mac[32];
  int n = snprintf(data, sizeof data, "%lld.", (long long)time(NULL));
  memcpy(data + n, body->p, body->n);
  sign(data, (size_t)n + body->n, mac);
  add(head, "x-btrz-signature: t=%.*s,s2=", n - 1, data);
  for (int i = 0; i < 32; i++)
    add(head, "%02x", mac[i]);
  add(head, "\r\n");
}

size_t delivery_request(const delivery *d, int expect, int close, char *out,
                        size_t room, size_t *whole) {
  char bytes[DELIVERY_ROOM];
  text body = {bytes, 0, sizeof bytes - 32}, head = {out, 0, room};
  if (d->account == TICKETS) tickets_body(d, &body);
  if (d->account == SCHOOL) school_body(d, &body);
  if (d->account == ADMISSIONS) admissions_body(d, &body);
  add(&head, "POST /webhooks/%s HTTP/1.1\r\nHost: localhost\r\n",
      delivery_accounts[d->account]);
  if (d->account == TICKETS) tickets_header(&body, &head);
  if (d->account == ADMISSIONS) add(&head, "Authorization: %s\r\n", PHRASE);
  if (expect) add(&head, "Expect: 100-continue\r\n");
  if (close) add(&head, "Connection: close\r\n");
  add(&head, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
      body.n);
  if (head.n + body.n > room) abort();
  memcpy(out + head.n, body.p, body.n);
  *whole = head.n + body.n;
  return head.n;
}
