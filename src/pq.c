/*
** pq.c - see pq.h: connecting, waiting, statements and failures.
*/
#include "pq.h"
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define OLDEST 100000 /* version 10 */

/* --- what went wrong -------------------------------------------------- */

static const char *const names[][2] = {
    {"0A000", "PG_FEATURE_NOT_SUPPORTED"},
    {"22021", "PG_CHARACTER_NOT_IN_REPERTOIRE"},
    {"22P02", "PG_INVALID_TEXT_REPRESENTATION"},
    {"23502", "PG_NOT_NULL_VIOLATION"},
    {"23505", "PG_UNIQUE_VIOLATION"},
    {"25006", "PG_READ_ONLY"},
    {"25P02", "PG_IN_FAILED_TRANSACTION"},
    {"25P03", "PG_IDLE_IN_TRANSACTION"},
    {"26000", "PG_INVALID_STATEMENT_NAME"},
    {"40001", "PG_SERIALIZATION_FAILURE"},
    {"40P01", "PG_DEADLOCK_DETECTED"},
    {"42501", "PG_INSUFFICIENT_PRIVILEGE"},
    {"42601", "PG_SYNTAX_ERROR"},
    {"42P01", "PG_UNDEFINED_TABLE"},
    {"53100", "PG_DISK_FULL"},
    {"53200", "PG_OUT_OF_MEMORY"},
    {"55P03", "PG_LOCK_NOT_AVAILABLE"},
    {"57014", "PG_QUERY_CANCELED"},
    {"57P01", "PG_ADMIN_SHUTDOWN"},
    {"57P02", "PG_CRASH_SHUTDOWN"},
    {"58030", "PG_IO_ERROR"},
    {"XX001", "PG_DATA_CORRUPTED"},
    {"XX002", "PG_INDEX_CORRUPTED"},
};

/* A state without a name of its own goes by its five characters. Only the
** primary message is told: the details of a constraint quote the row. */
const char *pq_failure(const pq_database *d, char *state,
                       const char **message) {
  const char *code = PQresultErrorField(d->answer, PG_DIAG_SQLSTATE);
  size_t i;
  if (d->code != NULL || code == NULL) {
    *message = d->code != NULL ? d->why : PQerrorMessage(d->conn);
    return d->code != NULL ? d->code : "PG_CONNECTION";
  }
  *message = PQresultErrorField(d->answer, PG_DIAG_MESSAGE_PRIMARY);
  if (*message == NULL) *message = "no message";
  for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
    if (strcmp(names[i][0], code) == 0) return names[i][1];
  snprintf(state, PQ_STATE, "PG_%.5s", code);
  return state;
}

static int failed(pq_database *d, const char *code, const char *why) {
  d->code = code;
  d->why = why;
  return 0;
}

/* --- talking to the server -------------------------------------------- */

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void pq_forget(pq_database *d) {
  PQclear(d->answer);
  d->answer = NULL;
}

static void give_up(pq_database *d) {
  int i;
  pq_forget(d);
  PQfinish(d->conn);
  d->conn = NULL;
  for (i = 0; i <= PQ_SLOTS; i++) {
    free(d->kept[i].sql);
    d->kept[i].sql = NULL;
  }
}

/* Waits until all is sent and PQgetResult has something to give: 0 where the
** time is up. A failed connection has something to give: its error. */
static int settle(pq_database *d, int64_t till) {
  for (;;) {
    int unsent = PQflush(d->conn), n;
    int64_t left = till - now();
    struct pollfd p;
    if (unsent <= 0 && !PQisBusy(d->conn)) return 1;
    if (left <= 0) return 0;
    p.fd = PQsocket(d->conn);
    p.events = (short)(unsent > 0 ? POLLIN | POLLOUT : POLLIN);
    n = p.fd < 0 ? -1 : poll(&p, 1, left < INT_MAX ? (int)left : INT_MAX);
    if (n < 0 && (p.fd < 0 || errno != EINTR)) return 1;
    if (n > 0 && (p.revents & ~POLLOUT) && !PQconsumeInput(d->conn)) return 1;
  }
}

static int good(const PGresult *answer) {
  ExecStatusType status = PQresultStatus(answer);
  return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK ||
         status == PGRES_EMPTY_QUERY;
}

/* copying is nothing that is done here, and would never end */
static int copies(const PGresult *answer) {
  ExecStatusType status = PQresultStatus(answer);
  return status == PGRES_COPY_OUT || status == PGRES_COPY_IN ||
         status == PGRES_COPY_BOTH;
}

/* Takes the answers to what was sent, and keeps the last one, or the first
** that is an error. */
static int finish(pq_database *d, int sent) {
  int64_t till = now() + d->timeout;
  if (d->till != 0 && d->till < till) till = d->till;
  pq_forget(d);
  d->code = NULL;
  while (sent) {
    PGresult *next;
    if (!settle(d, till)) {
      give_up(d);
      return failed(d, "PG_TIMEOUT", "the server does not answer");
    }
    next = PQgetResult(d->conn);
    if (next == NULL) return good(d->answer);
    if (d->answer == NULL || good(d->answer)) {
      pq_forget(d);
      d->answer = next;
    } else {
      PQclear(next);
    }
    if (copies(d->answer)) {
      give_up(d);
      return failed(d, "PG_FEATURE_NOT_SUPPORTED", "COPY is not supported");
    }
    if (PQstatus(d->conn) != CONNECTION_OK) return 0;
  }
  return 0;
}

/* --- open and close --------------------------------------------------- */

/* libpq's message on a URL that it cannot read quotes it, password and all */
static int readable(const char *url) {
  PQconninfoOption *options = PQconninfoParse(url, NULL);
  PQconninfoFree(options);
  return options != NULL;
}

/* Notices would go to stderr. */
static void ignore(void *data, const PGresult *notice) {
  (void)data;
  (void)notice;
}

/* What the URL says comes after our defaults and overrides them. Keepalives
** and the limit on unacknowledged bytes find out a host that has vanished. */
static PGconn *connect(const char *url) {
  static const char *const words[] = {
      "connect_timeout",      "keepalives_idle",
      "keepalives_interval",  "keepalives_count",
      "tcp_user_timeout",     "fallback_application_name",
      "target_session_attrs", "dbname",
      "client_encoding",      NULL};
  const char *values[] = {"3",        "10",         "5", "3",    "10000",
                          "billhook", "read-write", url, "UTF8", NULL};
  return PQconnectdbParams(words, values, 1);
}

int pq_open(pq_database *d, const char *url, int timeout) {
  d->opener = getpid();
  d->timeout = timeout;
  if (!PQisthreadsafe())
    return failed(d, "PG_MISUSE", "libpq is built without threads");
  if (!readable(url))
    return failed(d, "PG_MISUSE", "this is no URL of a PostgreSQL database");
  d->conn = connect(url);
  if (PQstatus(d->conn) != CONNECTION_OK) return 0;
  PQsetNoticeReceiver(d->conn, ignore, NULL);
  if (PQserverVersion(d->conn) < OLDEST)
    return failed(d, "PG_FEATURE_NOT_SUPPORTED",
                  "PostgreSQL 10 or a newer one is needed");
  return PQsetnonblocking(d->conn, 1) == 0;
}

void pq_within(pq_database *d, int ms) {
  d->till = ms > 0 ? now() + ms : 0;
}

int pq_usable(pq_database *d) {
  if (d->closed) return failed(d, "PG_MISUSE", "the database is closed");
  if (d->opener != getpid())
    return failed(d, "PG_MISUSE", "the database was opened before a fork");
  if (d->conn != NULL && PQstatus(d->conn) == CONNECTION_OK) return 1;
  return failed(d, "PG_CONNECTION", "the connection has ended");
}

/* The server ends an idle connection by closing it, most often with a word
** before; both can be read without asking. */
int pq_lost(pq_database *d) {
  struct pollfd p;
  if (!pq_usable(d)) return 1;
  p.fd = PQsocket(d->conn);
  p.events = POLLIN;
  while (poll(&p, 1, 0) > 0)
    if (!PQconsumeInput(d->conn)) return 1;
  return 0;
}

void pq_close(pq_database *d) {
  d->closed = 1;
  if (d->opener == getpid()) give_up(d);
}

/* --- statements ------------------------------------------------------- */

/* of the length and 16 bytes: statements that differ do so in those, or else
** only share their slots */
static unsigned hash(const char *sql, size_t len) {
  unsigned h = (unsigned)len;
  size_t i, step = len / 16 + 1;
  for (i = 0; i < len; i += step)
    h = (h ^ (unsigned char)sql[i]) * 16777619u;
  return h ^ h >> 15;
}

/* Frees a slot. One without a name is free as it is: what comes next takes its
** place. */
static int drop(pq_database *d, pq_statement *s) {
  char text[32];
  if (s != &d->kept[PQ_SLOTS]) {
    snprintf(text, sizeof(text), "DEALLOCATE %s", s->name);
    if (!pq_exec(d, text)) return 0;
  }
  free(s->sql);
  s->sql = NULL;
  return 1;
}

/* asks the server what the statement takes */
static int prepare(pq_database *d, pq_statement *s, const char *sql) {
  int i;
  s->name[0] = '\0';
  if (s != &d->kept[PQ_SLOTS])
    snprintf(s->name, sizeof(s->name), "s%u", ++d->number);
  if (!finish(d, PQsendPrepare(d->conn, s->name, sql, 0, NULL))) return 0;
  if (!finish(d, PQsendDescribePrepared(d->conn, s->name))) return 0;
  s->values = PQnparams(d->answer);
  for (i = 0; i < s->values && i < PQ_VALUES; i++)
    s->types[i] = PQparamtype(d->answer, i);
  s->sql = strdup(sql); /* NULL: prepared once more the next time */
  return 1;
}

pq_statement *pq_find(pq_database *d, const char *sql, size_t len) {
  unsigned first = hash(sql, len) % PQ_SLOTS;
  pq_statement *s = NULL;
  int i;
  for (i = 0; i < 2; i++) { /* where both are taken, the second gives way */
    s = &d->kept[(first + (unsigned)i) % PQ_SLOTS];
    if (s->sql == NULL) break;
    if (strcmp(s->sql, sql) == 0) return s;
  }
  if (s->sql != NULL && PQtransactionStatus(d->conn) == PQTRANS_INERROR)
    s = &d->kept[PQ_SLOTS];
  if (s->sql != NULL && !drop(d, s)) return NULL;
  return prepare(d, s, sql) ? s : NULL;
}

/* A COMMIT after an error is answered as ROLLBACK, and as a success. */
static int undone(pq_database *d, const char *sql) {
  return (*sql == 'C' || *sql == 'c') &&
         strcmp(PQcmdStatus(d->answer), "ROLLBACK") == 0;
}

int pq_run(pq_database *d, const pq_statement *s, const pq_values *v) {
  if (!finish(d, PQsendQueryPrepared(d->conn, s->name, s->values, v->value,
                                     v->length, v->binary, 0)))
    return 0;
  if (s->sql != NULL && undone(d, s->sql))
    return failed(d, "PG_IN_FAILED_TRANSACTION", "it was rolled back");
  return 1;
}

int pq_exec(pq_database *d, const char *sql) {
  return finish(d, PQsendQuery(d->conn, sql));
}
