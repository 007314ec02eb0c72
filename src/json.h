/*
** json.h - JSON, read once into a flat tape of nodes.
**
** json_parse checks a whole text (RFC 8259, UTF-8, nothing beside it, at
** most JSON_MAXDEPTH deep) and puts its values on a tape, in the order of the
** text. json_read is less strict, for deliveries that have to be stored: see
** there. Everything else here reads that tape: single members for a decision,
** whole values for Lua tables (ljson.c), the canonical digest, redaction,
** JavaScript's spelling. json_stream cuts the elements out of a text that
** comes in pieces; each is then parsed as above.
**
** No function here knows Lua. None keeps a pointer after it returns, except
** in a json_doc, which points to its text and owns its tape.
*/
#ifndef BILLHOOK_JSON_H
#define BILLHOOK_JSON_H

#include <stddef.h>
#include <stdint.h>
#include "slice.h"

#pragma GCC visibility push(hidden)

#define JSON_MAXDEPTH 64

typedef enum json_kind {
  JSON_NULL,
  JSON_FALSE,
  JSON_TRUE,
  JSON_NUMBER,
  JSON_STRING,
  JSON_ARRAY,
  JSON_OBJECT
} json_kind;

enum { JSON_NAME = 1, JSON_HIDDEN = 2 }; /* of a node's mark */

/* In an object each member is two values: its name, then what it holds. */
typedef struct json_node {
  uint32_t at;    /* offset of the first byte, for strings of the quote */
  uint32_t len;   /* bytes as written, for strings with both quotes */
  uint32_t next;  /* index after this value and everything inside it */
  uint32_t count; /* of elements or members; of a name, see json_names.h */
  uint8_t kind;
  uint8_t escaped; /* strings: has a backslash; numbers: has . e or E */
  uint8_t odd;     /* strings: json_read took what json_parse does not */
  uint8_t mark;    /* JSON_NAME: is a member's name */
} json_node;

typedef struct json_doc {
  const char *text;
  size_t len;
  json_node *nodes; /* nodes[0] is the whole value */
  uint32_t used, room;
  const char *error; /* what is wrong with the text, a constant */
  size_t error_at;   /* at which byte, from 0 */
  int lenient;       /* json_read has read it */
  int texts;         /* the caller's: json_parse takes odd strings, too */
  size_t read;       /* bytes that are on the tape; len, but for an error */
} json_doc;

#define JSON_NONE  UINT32_MAX       /* there is no such member */
#define JSON_TWICE (UINT32_MAX - 1) /* it comes twice, or its name hides */

void json_open(json_doc *doc); /* an empty one; never fails */
void json_close(json_doc *doc);

/* 1, or 0 with doc->error ("invalid UTF-8", "out of memory", ...). May be
** called again with another text: the tape's room is used again. */
int json_parse(json_doc *doc, const char *text, size_t len);

/* The same, less strictly, for texts of other programs. Also allowed are: a
** byte order mark; in strings, halves of surrogate pairs, invalid UTF-8 and
** control characters; repeated members; any depth. If the text is still no
** JSON: 0 and doc->error, and the tape has what was read until there (count is
** then undefined), which only json_member and json_hide may use. */
int json_read(json_doc *doc, const char *text, size_t len);

int json_starved(const json_doc *doc); /* is its error "out of memory"? */

/* The value that a text begins with, level brackets deep in another one: its
** length, or 0 where it is cut off or wrong. */
size_t json_parse_first(json_doc *doc, const char *text, size_t len,
                        unsigned level);

/* The value of one member of an object node: its index, JSON_NONE, or
** JSON_TWICE where the name comes twice or is spelt with an escape (such a
** name could be read differently by another reader). */
uint32_t json_member(const json_doc *doc, uint32_t object, slice name);

/* as written */
static inline slice json_raw(const json_doc *doc, uint32_t node) {
  slice raw = {doc->text + doc->nodes[node].at, doc->nodes[node].len};
  return raw;
}

/* A string's text: without its quotes where it has no escape; otherwise
** unescaped into out, which has room for json_room bytes. In an odd one each
** half of a pair and each byte that is no UTF-8 becomes U+FFFD. */
size_t json_room(const json_doc *doc, uint32_t node);
slice json_text(const json_doc *doc, uint32_t node, char *out);

/* a number spelt as an integer (1, not 1.0) within int64: 1, or 0 */
int json_int64(const json_doc *doc, uint32_t node, int64_t *out);

/* a number of at most 15 significant digits, and no extreme size, as the
** nearest double: 1; 0: a double would not tell it from its neighbours, or
** it is beyond what is converted without error */
int json_double(const json_doc *doc, uint32_t node, double *out);

/* Does no object, at any depth, have two members of one name, however they
** are spelt? 1, or 0 with doc->error. Takes O(n log n). */
int json_unique(json_doc *doc);

#define JSON_DOUBLE   (-1) /* a member comes twice */
#define JSON_NOMEMORY (-2)

/* The input of SHA-256: the same bytes for the same value, whatever the order
** of members, white space and escapes. Members are sorted by the bytes of
** their names; only what must be escaped is, in the shortest way. Numbers keep
** their spelling, but an integer value has only one, the shortest (1 for 1.0
** and 10e-1; 1e3 for 1000). What only json_read accepts stays as it is
** written: values that are too deep, and repeated members, in their order.
** Members named in skip (n of them, of the top object only) are left out.
** Gives the length, at most the node's len, or JSON_DOUBLE or JSON_NOMEMORY;
** out may be NULL to measure. Takes O(n log n). */
long json_canonical(const json_doc *doc, uint32_t node, const slice *skip,
                    size_t n, char *out);

/* What is not kept of a text. */
typedef struct json_secrets {
  const slice *names; /* of members, at any depth: apiKey is also APIKEY, */
  size_t n;           /* api_key and "Api Key"; *key is also signerKeys */
  const slice *below; /* of members so named nothing is kept */
  size_t nbelow;
  const slice *kept; /* but the scalars with one of these names, */
  size_t nkept;      /* numbers and such included, and nulls */
} json_secrets;

/* Marks what is secret: the values of members with these names, or of an
** object {name, value} or {key, value} with such a name, and everything below
** them; in such places also strings that contain JSON. A name that is too long
** to check counts as secret. 1, or 0 if nothing is secret. */
int json_hide(json_doc *doc, const json_secrets *secrets);

/* After json_hide: the text, with secrets replaced by "***". In the part after
** an error in the JSON, everything from the first of the names (or "value")
** on is replaced. Gives the length; out may be NULL. */
size_t json_redact(const json_doc *doc, const json_secrets *secrets,
                   char *out);

/* What JavaScript's JSON.stringify would write for a text, with numbers and
** the order of members unchanged; at most as many bytes. It needs no tape, so
** it is cheap for texts that are not verified yet. From a text that is no JSON
** it makes another one that is none, or that is shorter. */
size_t json_stringify(slice text, char *out);

/* --- a text that comes in pieces ------------------------------------- */

/* Cuts the elements of the top array, or the members' values of the top
** object, or those of the list under one member of the top object, out of a
** stream, however it is cut into pieces. The text around the elements is
** checked as strictly as by json_parse; the caller parses the elements.
** Memory: twice the largest element, and the largest piece fed. */
typedef struct json_stream json_stream;

/* under: the member that holds the list ("invoices"), or absent for the top
** value itself. limit: bytes of an element. NULL: out of memory. */
json_stream *json_stream_open(slice under, size_t limit);
void json_stream_close(json_stream *s);

/* appends bytes: 1, or 0 (out of memory, or broken before) */
int json_stream_feed(json_stream *s, const char *bytes, size_t n);

/* 1: out is the next whole element (good until the next call); 0: feed more,
** or the end; -1: broken (as an element over the limit), and stays so */
int json_stream_next(json_stream *s, slice *out);

/* The same, with the element parsed into doc: doc->error where it is wrong.
** Faster than next and json_parse. */
int json_stream_value(json_stream *s, json_doc *doc, slice *out);

/* The name of the element that came last, as it is spelled between its
** quotes, and cut to JSON_KEY bytes; absent in an array. It lies in s. */
#define JSON_KEY 32
slice json_stream_key(const json_stream *s);

/* after the last byte, when next gave 0: 1 where the text was whole, else 0 */
int json_stream_end(json_stream *s);
const char *json_stream_error(const json_stream *s); /* NULL: none */

#pragma GCC visibility pop

#endif
