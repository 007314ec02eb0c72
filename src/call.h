/*
** call.h - the vendors' API calls as data, and the two pure steps around
** each: prepare (parameters are checked and written into a path, a query and
** body fields) and conclude (a status and headers become an outcome).
**
** A vendor is one static table of operations (dreamapply.c, dreamclass.c,
** betterez.c). The binding (lcall.c) reads the caller's tables. This file
** decides, for one value at a time, whether it is allowed and how it is
** written. Nothing here allocates memory or uses the network.
*/
#ifndef BILLHOOK_CALL_H
#define BILLHOOK_CALL_H

#include "slice.h"

#pragma GCC visibility push(hidden)

typedef enum call_type {
  CALL_BOOLEAN,  /* true, false */
  CALL_SWITCH,   /* "On" or "Off"; a boolean will do */
  CALL_INTEGER,  /* a whole number from 0 up */
  CALL_ID,       /* a whole number from 1 up, or its digits */
  CALL_HEX24,    /* 24 hexadecimal digits */
  CALL_TEXT,     /* any text without a NUL */
  CALL_CHOICE,   /* one of detail.choices */
  CALL_CURRENCY, /* three capital letters */
  CALL_DATE,     /* YYYY-MM-DD */
  CALL_DATETIME, /* ISO 8601: a date, or a date with a time; epoch seconds */
  CALL_SINCE,    /* an id, or a datetime as text */
  CALL_DECIMAL,  /* an amount, sent as text */
  CALL_NUMBER,   /* an amount where the vendor's samples have a number */
  CALL_NUMBERED, /* a whole number from 0 up, or a table { id = one } */
  CALL_OBJECT,   /* a table that is passed on as it is */
  CALL_RECORD    /* a table with detail.fields */
} call_type;

typedef enum call_place {
  CALL_PATH,
  CALL_QUERY,
  CALL_FIELD, /* a member of the body */
  CALL_BODY,  /* the whole body */
  CALL_BASIC  /* of the header Authorization: the name, then the password */
} call_place;

#define CALL_REQUIRED 1  /* must be given */
#define CALL_LIST     2  /* a list of them; one alone is a list too */
#define CALL_NULL     4  /* a field that is sent as null where absent */
#define CALL_DRY      8  /* where it is true, nothing is changed */
#define CALL_FIRST    32 /* where absent, the first of its choices is sent */
#define CALL_SPELT    16 /* text where a CALL_NUMBERED is a table */

/* what a vendor says of how small and how large a number may be */
typedef struct call_range {
  const char *least, *most; /* NULL: as large as it likes */
  const char *must;         /* for a message */
} call_range;

typedef struct call_param {
  const char *name; /* NULL ends a list of them */
  uint8_t type, place, flags;
  union {
    const char *const *choices;
    const struct call_param *fields;
    const call_range *range; /* of a CALL_INTEGER or CALL_NUMBER, or NULL */
  } detail;
} call_param;

/* one without a detail, and the end of a list of them */
#define CALL_PARAM(name, type, place, flags) \
  {                                          \
    name, type, place, flags, {              \
      NULL                                   \
    }                                        \
  }
#define CALL_END     \
  {                  \
    NULL, 0, 0, 0, { \
      NULL           \
    }                \
  }

/* How an operation is sent if the caller gives param. If alone is set, no
** other parameters may be given, except those in the path. */
typedef struct call_route {
  const char *param; /* NULL: if no other route matches */
  const char *method, *path;
  const char *wrap; /* the body goes under this member */
  uint8_t alone;
} call_route;

#define CALL_SAFE       1  /* changes nothing */
#define CALL_IDEMPOTENT 2  /* may be sent again */
#define CALL_CREATED    4  /* 201 is the only success */
#define CALL_UNVERIFIED 8  /* no document shows the path: ours is a guess */
#define CALL_INVOICES   16 /* the answer is an invoice, or a list of them */
#define CALL_PRIVATE    32 /* bodies hold credentials: no error quotes them */

/* The member by which an object in an answer is recognized. A status alone
** proves nothing: some servers answer failures with 200. */
typedef struct call_mark {
  const char *member;
  uint8_t type;     /* CALL_ID, CALL_INTEGER, CALL_TEXT; CALL_CHOICE: "OK" */
  const char *same; /* the parameter that it repeats, or NULL */
} call_mark;

/* What a successful answer's body must be. An object counts if it has the
** mark or, if the operation has no mark, any member. Every other body is an
** error. */
typedef enum call_form {
  CALL_ONE,      /* an object, possibly under the member unwrap */
  CALL_WHOLE,    /* a whole number */
  CALL_MAP,      /* objects by their ids; [] if there are none */
  CALL_LISTED,   /* a list of objects, bare or under one of unwrap's members */
  CALL_PAGE,     /* a list of objects under unwrap, with next, previous */
  CALL_COUNT,    /* no body, and a number in X-Count */
  CALL_EXISTS,   /* no body: the status says whether there is one */
  CALL_LOCATION, /* no body, and a Location; or an object */
  CALL_EMPTY,    /* no body; or an object with the mark */
  CALL_FILE,     /* a PDF */
  CALL_ANY       /* not documented: an object, or nothing */
} call_form;

typedef struct call_op {
  const char *name;
  uint8_t form;
  const char *unwrap;    /* names of members, a space between them; or NULL */
  const call_mark *mark; /* or NULL */
  uint8_t flags;
  const char *service; /* beside that of the base URL, its last segment; NULL:
                       ** that one */
  const call_param *params; /* in the order in which a query has them */
  const call_route *routes; /* the last one has no param */
  const char *about;        /* for the documents: a sentence or two */
} call_op;

typedef struct call_vendor {
  const char *name;
  const call_op *ops; /* ends with one without a name */
  int refuses_unread; /* a 429 says that nothing was done */
} call_vendor;

extern const call_vendor call_dreamapply, call_dreamclass, call_betterez;

const call_vendor *call_find_vendor(slice name); /* or NULL */
const call_op *call_find(const call_vendor *vendor, slice name);
const call_param *call_find_param(const call_param *params, slice name);
const char *call_type_name(call_type type);
const char *call_form_name(call_form form);

/* --- one value -------------------------------------------------------- */

typedef enum call_kind {
  CALL_IS_NONE,
  CALL_IS_BOOLEAN,
  CALL_IS_INTEGER,
  CALL_IS_TEXT,
  CALL_IS_DECIMAL, /* a decimal, or a number with a fraction; in text */
  CALL_IS_OTHER
} call_kind;

typedef struct call_value {
  call_kind kind;
  int64_t integer; /* or 0, 1 */
  slice text;
} call_value;

/* Memory that the caller gives. n also counts bytes that find no room, so
** that a first pass without room can measure. */
typedef struct call_out {
  char *p;
  size_t n, room;
} call_out;

void call_put(call_out *out, slice text);

/* Writes one value for a URL (encoded) or a body. Gives NULL, or what it
** must be instead, as a phrase for a message. In a pass without room, n is an
** upper bound. */
const char *call_write(const call_param *param, const call_value *value,
                       int encoded, call_out *out);

/* How a body contains a written value: 1 and an integer; or 0: as text or,
** if it is a CALL_NUMBER, as a number that only its text holds exactly. */
int call_number(const call_param *param, slice written, int64_t *out);

/* The value of a mark's member as text: 1, or 0 if it has the wrong type.
** out points into the value or into room, which has DECIMAL_ROOM bytes. */
int call_says(const call_mark *mark, const call_value *value, char *room,
              slice *out);

/* --- paths ------------------------------------------------------------ */

/* Cuts the next piece off a template: the text before a {name}, and the name,
** which is absent in the last piece. 1, or 0 if nothing is left. */
int call_piece(slice *path, slice *literal, slice *name);

/* Checks a path template from a client's options: it must start at the root,
** stay below it and name no host, and its {names} must be the operation's
** path parameters. NULL, or what is wrong; name is then the parameter that
** the message is about, if any. */
const char *call_check_path(const call_op *op, slice path, slice *name);

const call_route *call_main_route(const call_op *op);

/* The other operation that has this path: for example, an id such as "list"
** makes the path of an invoice that of the list. NULL: there is none */
const call_op *call_strayed(const call_vendor *vendor, const call_op *op,
                            slice path);

/* whether a path, chosen by this route, leaves no place for a parameter */
int call_leaves_out(const call_route *route, slice path,
                    const call_param *param);

/* --- answers ---------------------------------------------------------- */

typedef struct call_answer {
  int status;
  int64_t attempt; /* from 1 */
  slice location;  /* headers, absent where they are */
  slice count;
  slice base; /* of the client, "https://host/..."; absent: not known */
  slice path; /* of the request; absent: not known */
} call_answer;

typedef struct call_outcome {
  int ok;
  const char *kind;    /* of the error, if not ok */
  const char *message; /* more about it, or NULL */
  int retryable;       /* this call may be repeated */
  int refused;         /* the answer proves that nothing was done */
  int open;            /* it does not say whether something was done */
  int gone;            /* a success: the object does not exist (any more) */
  int64_t id;          /* of what was created; 0: not told */
  int64_t count;       /* below 0: not told */
} call_outcome;

call_outcome call_conclude(const call_vendor *vendor, const call_op *op,
                           const call_answer *answer);

#pragma GCC visibility pop

#endif
