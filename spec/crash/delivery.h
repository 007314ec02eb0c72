/*
** delivery.h - signed deliveries of the three vendors, for the crash tests'
** sender. It shares no code with billhook: what is checked must not check
** itself.
**
** A delivery is a number (the first of its events' numbers), an account and
** how many events it has. All of its content follows from these, so that it
** can be delivered again: only the attempt's id and the signature's time
** differ then.
*/
#ifndef CRASH_DELIVERY_H
#define CRASH_DELIVERY_H

#include <stddef.h>
#include <stdint.h>

#define DELIVERY_ITEMS 12    /* events of one delivery, at most */
#define DELIVERY_ROOM  16384 /* bytes of a request */

/* The states of ADMISSIONS' invoices: a file of 32-bit numbers by invoice,
** which the sender counts up before it tells of a change, and the vendor's
** API reads. 0: there is no such invoice. */
#define DELIVERY_STATES 32 /* invoices of a sender's thread */
#define DELIVERY_THREADS 32

typedef enum delivery_account {
  TICKETS,   /* Betterez: signs time and body */
  SCHOOL,    /* DreamClass: signs the id, in the body */
  ADMISSIONS /* DreamApply: a header, and lists and maps of events */
} delivery_account;

typedef struct delivery {
  delivery_account account;
  uint64_t number;
  int items; /* 1 but for ADMISSIONS */
} delivery;

extern const char *const delivery_accounts[3];

/* the id that the vendor gives an event, and its invoice's id; "-": none */
void delivery_id(const delivery *d, int item, char id[64]);
void delivery_invoice(const delivery *d, int item, char invoice[64]);

/* The HTTP request's head and body, one behind the other, for room bytes of
** out: the head's length, with that of both in *whole. `expect`: asks to be
** told to go on before the body; `close`: the connection is not to be kept */
size_t delivery_request(const delivery *d, int expect, int close, char *out,
                        size_t room, size_t *whole);

/* a number that has nothing to do with its neighbours */
uint64_t delivery_mix(uint64_t x);

#endif
