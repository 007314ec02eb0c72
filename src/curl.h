/*
** curl.h - HTTP transfers over libcurl's multi interface, without Lua.
**
** A pool is one multi handle and the things to keep between transfers:
** connections, TLS sessions, names, easy handles. A transfer is one request
** and its answer. libcurl runs only inside pool_poll and the functions
** that start, read or free a transfer; its callbacks copy bytes and count.
**
** A transfer is sent at most once: where libcurl would quietly repeat it
** (a kept connection that died, a refused HTTP/2 stream) it fails instead.
**
** Both are reference-counted: a transfer holds its pool, so they may be freed
** in any order. After a fork, the child forgets the parent's objects and never
** closes them: closing would send data on the parent's connections.
*/
#ifndef BILLHOOK_CURL_H
#define BILLHOOK_CURL_H

#include <stddef.h>
#include <stdint.h>
#include <curl/curl.h>
#include "curl_head.h"

#pragma GCC visibility push(hidden)

#if LIBCURL_VERSION_NUM < 0x075700
#error "libcurl 7.87 or newer is needed"
#endif

#define CURL_WINDOW (256 * 1024L) /* bytes that wait for a reader */
#define CURL_FEW    (16 * 1024)  /* the same, before it took the first */

typedef struct pool pool;

/* what to send; the strings are needed during transfer_start only */
typedef struct order {
  const char *method, *url;
  const char *body;              /* NULL: none */
  const char *ca_file, *proxy;   /* NULL: the system's, none */
  size_t size;                   /* of the body */
  size_t limit;                  /* most bytes of an answer's body */
  long timeout, connect_timeout; /* milliseconds */
  long stall;                    /* of silence; 0: any time */
  int fresh;                     /* a connection of its own */
  int stream;                    /* hold back what is not read yet */
} order;

/* to be read by the binding, written by the engine only */
typedef struct transfer {
  pool *pool;
  CURL *easy;
  struct curl_slist *headers, **next_header;
  struct transfer *next, *prev; /* the pool's running ones */
  size_t limit, total;          /* body bytes allowed, and come so far */
  curl_head head;
  char *bytes; /* of the body: those that nobody took yet */
  size_t at, used, room; /* those before at were taken */
  int stream, paused, running;
  long stall;        /* milliseconds without a byte that end it; 0: none do */
  int64_t quiet;     /* such ones so far, of those that pool_poll waited */
  int moved;         /* since quiet was counted */
  int primed;        /* its handle is set for a plain request, */
  char *ca_file;     /* which went this way: see set_kind in curl.c */
  char *proxy;
  int headed;        /* the final status and headers are there */
  int done;          /* with or without a failure */
  unsigned sends;    /* how often libcurl went to send the request */
  long status;
  const char *kind;  /* of the failure, or NULL */
  const char *fault; /* why a callback refused what came, or NULL */
  char message[CURL_ERROR_SIZE + 64];
  char said[CURL_ERROR_SIZE]; /* libcurl's own words */
} transfer;

pool *pool_new(void); /* NULL: out of memory */
void pool_drop(pool *p);
int pool_foreign(const pool *p); /* made before a fork, by the parent? */

/* Runs transfers until one finished or a stream moved, at most so many
** milliseconds. Gives 1 if something did, else 0. */
int pool_poll(pool *p, long ms);
void pool_sleep(pool *p, long ms); /* all of the time, while transfers run */

transfer *transfer_new(pool *p); /* NULL: no memory */

/* Adds a header; value NULL: libcurl is to send none of that name. Gives 0
** when out of memory. Where the request that this transfer carried before had
** the same one at the same place, transfer_repeats adds it as it stands and
** gives 1: it need not be looked at again. */
int transfer_header(transfer *t, const char *name, const char *value);
int transfer_repeats(transfer *t, const char *name, size_t n,
                     const char *value, size_t m);
int transfer_has(const transfer *t, const char *name); /* in any case */

CURLcode transfer_start(transfer *t, const order *o); /* CURLE_OK: it runs */
int transfer_wait(transfer *t, long ms); /* is it done by then? */
void transfer_taken(transfer *t, size_t n); /* so many of bytes, from at */
void transfer_free(transfer *t);  /* ends it if it still runs */

#pragma GCC visibility pop

#endif
