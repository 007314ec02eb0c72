/*
** call.h - the vendors' API calls as data, and the two pure steps around
** each: prepare (parameters are checked and written into a path, a query and
** body fields) and conclude (a status and headers become an outcome).
**
** A vendor is one static table of operations (dreamapply.c, dreamclass.c,
** betterez.c). The walk over the caller's tables is the binding's (lcall.c);
** what a value may be and how it is written is decided here, one value at a
** time. Nothing here allocates, and nothing ever touches the network.
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
  const char *expected;     /* for a message */
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

/* How an operation is sent where param is given. With alone, the parameters
** that are neither param nor in the path are refused beside it. */
typedef struct call_route {
  const char *param; /* NULL: where no other route's is */
  const char *method, *path;
  const char *wrap; /* the body goes under this member */
  uint8_t alone;
} call_route;

#define CALL_SAFE       1  /* changes nothing */
#define CALL_IDEMPOTENT 2  /* twice is as good as once */
#define CALL_CREATED    4  /* 201 is the only success */
#define CALL_UNVERIFIED 8  /* no document shows the path: ours is a guess */
#define CALL_INVOICES   16 /* the answer is an invoice, or a list of them */
#define CALL_PRIVATE    32 /* bodies hold credentials: no error quotes them */

/* What an object of an answer is known by: a status alone proves nothing,
** for some servers call a failure a success. */
typedef struct call_mark {
  const char *member;
  uint8_t type;     /* CALL_ID, CALL_INTEGER, CALL_TEXT; CALL_CHOICE: "OK" */
  const char *same; /* the parameter that it repeats, or NULL */
} call_mark;

/* What the body of a success must be, where an object is one that has its
** mark, or, without a mark, any members. Everything else is no success. */
typedef enum call_form {
  CALL_ONE,      /* an object, under the member unwrap where it is there */
  CALL_WHOLE,    /* a whole number */
  CALL_MAP,      /* objects by the mark; [] where there are none */
  CALL_LISTED,   /* a list of objects, bare or under one of unwrap's members */
  CALL_PAGE,     /* a list of objects under unwrap, with next, previous */
  CALL_COUNT,    /* no body, and a number in X-Count */
  CALL_EXISTS,   /* no body: the status says whether there is one */
  CALL_LOCATION, /* no body, and a Location; or an object */
  CALL_EMPTY,    /* no body; or an object with the mark */
  CALL_FILE,     /* a PDF */
  CALL_ANY       /* no document shows it: an object, or nothing */
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

/* Room that the caller gives; n counts on where there is none left, so the
** first pass may be made without any. */
typedef struct call_out {
  char *p;
  size_t n, room;
} call_out;

void call_put(call_out *out, slice text);

/* Writes one value as a URL has it (encoded) or as a body does: NULL, or
** what was expected instead, a phrase for a message. In the pass without
** room, n is a bound. */
const char *call_write(const call_param *param, const call_value *value,
                       int encoded, call_out *out);

/* What a body has for a value that was written for it: 1 and the number, or
** 0, it is text, or, as CALL_NUMBER, a number that only its text keeps. */
int call_number(const call_param *param, slice written, int64_t *out);

/* what the value of a mark's member says, as text: 1, or 0 where it is none.
** It points into the value or into room, which has DECIMAL_ROOM bytes. */
int call_says(const call_mark *mark, const call_value *value, char *room,
              slice *out);

/* --- paths ------------------------------------------------------------ */

/* Cuts the next piece off a template: what stands before a {name}, and the
** name, absent at the end. 1, or 0 where nothing is left. */
int call_piece(slice *path, slice *literal, slice *name);

/* whether a template of a client's own can stand for an operation's path:
** it starts at the root, stays below it and names no host, and its {names}
** are the parameters that must be in it. NULL, or what is wrong; name is then
** the parameter that it is about, if one. */
const char *call_check_path(const call_op *op, slice path, slice *name);

const call_route *call_main_route(const call_op *op);

/* the operation whose path this is, where it was meant for another one: an id
** of letters that spells the path of all of them, say. NULL: there is none */
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
  int open;            /* it leaves open whether something was done */
  int gone;            /* a success because there is none (any more) */
  int64_t id;          /* of what was created; 0: not told */
  int64_t count;       /* below 0: not told */
} call_outcome;

call_outcome call_conclude(const call_vendor *vendor, const call_op *op,
                           const call_answer *answer);

#pragma GCC visibility pop

#endif
