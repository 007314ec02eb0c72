/*
** pq.h - a connection to PostgreSQL that never waits longer than its deadline.
**
** The engine of billhook.pq: it sends a statement, waits for the answer with a
** deadline of its own (a server that is stopped or cut off answers nothing,
** and libpq would wait for ever), and keeps statements prepared by their text.
** The last answer belongs to the connection, until the next one or
** pq_forget(). pq_failure() reads the reason of a failure from it.
*/
#ifndef BILLHOOK_PQ_H
#define BILLHOOK_PQ_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#if __has_include(<libpq-fe.h>)
#include <libpq-fe.h>
#else
#include <postgresql/libpq-fe.h> /* Debian's place */
#endif

#pragma GCC visibility push(hidden)

#define PQ_SLOTS  64 /* kept statements; a power of two */
#define PQ_VALUES 40 /* parameters of a statement */

typedef struct pq_statement {
  char *sql; /* NULL: a free slot */
  char name[16];
  int values;
  Oid types[PQ_VALUES];
} pq_statement;

typedef struct pq_database {
  PGconn *conn; /* NULL: closed, or given up */
  PGresult *answer;
  pid_t opener;
  int closed, timeout;
  int64_t till;           /* of all that follows; 0: no such time */
  unsigned number;        /* of the last name */
  const char *code, *why; /* what the answer cannot say */
  int busy;    /* rows are made of the answer: that may run finalisers */
  int closing; /* one of these has closed it */
  pq_statement kept[PQ_SLOTS + 1]; /* the last one has no name */
} pq_database;

/* values in the order of the parameters; NULL is NULL */
typedef struct pq_values {
  const char *value[PQ_VALUES];
  int length[PQ_VALUES], binary[PQ_VALUES];
} pq_values;

/* Fills a zeroed connection; timeout in ms, for everything but connecting.
** These give 1, or 0 where pq_failure() says why. */
int pq_open(pq_database *d, const char *url, int timeout);
int pq_run(pq_database *d, const pq_statement *s, const pq_values *v);
int pq_exec(pq_database *d, const char *sql);

/* All that follows has to be answered within so many ms from now; 0: as long
** as each may take. */
void pq_within(pq_database *d, int ms);

/* The statement for this text, kept in one of two slots; in a transaction that
** has failed, which can give none up, until the next one. NULL: a failure. */
pq_statement *pq_find(pq_database *d, const char *sql, size_t len);

/* Can it be used? If not, pq_failure() says why. */
int pq_usable(pq_database *d);

/* Has the server closed the connection meanwhile? */
int pq_lost(pq_database *d);

/* The name of what went wrong; *message in the server's words, which may hold
** line breaks. state: room for a name that is not in the list. */
#define PQ_STATE 16
const char *pq_failure(const pq_database *d, char *state,
                       const char **message);

void pq_forget(pq_database *d);

/* In a process that was forked from the opener nothing is closed: the server
** would take that for the parent's word. */
void pq_close(pq_database *d);

#pragma GCC visibility pop

#endif
