/*
** json_names.h - the names of members that a stream's elements had so far.
**
** The elements of a list have the same members. The number of a name finds its
** Lua string (ljson.c), and shows whether an object has a member twice. No
** number is used for two names. A name that is too long, has an escape, or
** finds no free number has none.
*/
#ifndef BILLHOOK_JSON_NAMES_H
#define BILLHOOK_JSON_NAMES_H

#include "json.h"

#pragma GCC visibility push(hidden)

#define JSON_NAMES 256 /* numbers are 1 to this */

typedef struct json_name {
  uint8_t n; /* 0: free */
  char text[31];
} json_name;

typedef struct json_names { /* all zero: none yet */
  json_name known[JSON_NAMES];
} json_names;

/* Gives each name on the tape its number, or 0, as its count. 1 where all have
** one and no object has a member twice; 0 where json_unique must find out. */
int names_mark(json_names *names, json_doc *doc);

#pragma GCC visibility pop

#endif
