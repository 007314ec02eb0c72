/*
** scheme.h - between verify.c and the three schemes: one call's state, and
** reading a body for a decision. Only verify.c and scheme*.c include it.
**
** A step gives VERIFY_OK, or the code with which it refused. Members are read
** strictly, so that no other reader can understand them differently: null is
** absent; a name that is repeated or escaped is refused, and so is a string
** with half an emoji. If the proof holds, scheme_kept turns what is refused
** into a bad event instead.
*/
#ifndef BILLHOOK_SCHEME_H
#define BILLHOOK_SCHEME_H

#include "verify.h"

#pragma GCC visibility push(hidden)

#define SCHEME_NOMEMORY "not enough memory"

extern const char scheme_twice[]; /* what is wrong with a member */

#define SCHEME_MEMBERS 6 /* that are read of an envelope */

/* a slice of a constant text */
#define SCHEME_NAME(text) \
  { text, sizeof(text) - 1 }

typedef struct scheme {
  verify_keys *keys;
  verify_work *work;
  const verify_request *request;
  verify_answer *answer;
  const slice *names;             /* of the members that are read, */
  uint32_t nodes[SCHEME_MEMBERS]; /* and their nodes */
} scheme;

/* --- the schemes; each fills the answer -------------------------------- */

/* the first step of each: what can be decided by the headers alone */
verify_code scheme_betterez_head(scheme *c);
verify_code scheme_dreamclass_head(scheme *c);
verify_code scheme_dreamapply_head(scheme *c);

verify_code scheme_betterez(scheme *c);
verify_code scheme_dreamclass(scheme *c);
verify_code scheme_dreamapply(scheme *c);
verify_code scheme_items(scheme *c); /* DreamApply without its proof */

/* Reads the journal item at a node, with the id that is its name, or -1. What
** is no item becomes a bad event, so that it is stored for a person: 1;
** -1: no memory. */
int scheme_item(verify_keys *keys, verify_work *work, uint32_t node,
                int64_t key, verify_event *e);

int64_t scheme_key(const verify_work *work, uint32_t name); /* or -1 */

/* --- refusing and accepting -------------------------------------------- */

/* returns the code; part: the member that it is about, or NULL */
verify_code scheme_refuse(scheme *c, verify_code code, const char *part,
                          const char *why);

/* by the number of the key that matched; below 1: none did */
verify_code scheme_found(scheme *c, int number, verify_code wrong,
                         const char *why);

verify_code scheme_in_time(scheme *c, double at, double tolerance);
verify_code scheme_one(scheme *c); /* the event is in work->first */

/* For when the proof holds and the rest ended with this code: a malformed body
** becomes one bad event, with whatever work->first has of it. */
verify_code scheme_kept(scheme *c, verify_code code);

/* the event's id becomes bad-..., with its own id or else its digest */
void scheme_spoil(verify_work *work, verify_event *e);

/* --- the body ---------------------------------------------------------- */

verify_code scheme_parse(scheme *c, slice text);

/* Finds the members of an object that have these names, also in the readable
** beginning of a text that is refused. */
verify_code scheme_object(scheme *c, slice body, const slice *names, size_t n);

/* Checks of a member (by its index among the names): not repeated; present; a
** string; a string of visible ASCII. */
verify_code scheme_optional(scheme *c, int member);
verify_code scheme_required(scheme *c, int member);
verify_code scheme_text(scheme *c, int member, slice *out);
verify_code scheme_word(scheme *c, int member, slice *out);

/* the digest of the envelope's event, if the caller wants one */
verify_code scheme_summed(scheme *c, uint32_t type, uint32_t tenant,
                          uint32_t data);

/* --- values ------------------------------------------------------------ */

/* a string that is not valid text does not count */
int scheme_is(const verify_work *work, uint32_t node, json_kind kind);

/* Finds members that are present and not null: their nodes, or JSON_NONE or
** JSON_TWICE. A value that is no object has none. */
void scheme_members(const verify_work *work, uint32_t object,
                    const slice *names, size_t n, uint32_t *found);
uint32_t scheme_member(const verify_work *work, uint32_t object,
                       const char *name);

/* A string's text; strings with escapes share one buffer as large as the
** whole text, which suffices as each is read once an event. 1, or 0: memory */
int scheme_string(verify_work *work, uint32_t node, slice *out);

/* an id from 0 on, that is an integer or digits in a string: 1, or 0 */
int scheme_number(verify_work *work, uint32_t node, int64_t *out);

/* the same, also where it is spelt with a fraction of zeros: 16.0 */
int scheme_whole(verify_work *work, uint32_t node, int64_t *out);

int scheme_control(slice s);             /* has control characters */
int scheme_decent(slice s, size_t most); /* fit for logs and databases */
int scheme_plain(slice s, size_t most);  /* visible ASCII alone, not empty */
int scheme_uuid(slice s);                /* 8-4-4-4-12 hexadecimal digits */

/* the event's id: a UUID in lower case (in work), others as they are */
slice scheme_id(verify_work *work, slice id);

/* a number from 0 on in its shortest spelling, at the end of out */
slice scheme_decimal(int64_t value, char *out, size_t room);

/* at least size bytes at *p, whose content is lost: 1, or 0 */
int scheme_room(char **p, size_t *room, size_t size);

/* SHA-256 of {"data":...,"tenant":...,"type":...} in canonical spelling, of
** the nodes that are there: 1, or 0: memory */
int scheme_digest(verify_keys *keys, verify_work *work,
                  const uint32_t nodes[3], char *hex);

#pragma GCC visibility pop

#endif
