/*
** request.h - the rules for a request to a transport, defined only here. Every
** transport checks a request by these rules first, so that a header cannot
** smuggle another one in, whichever library sends it.
**
** A request is a table in Lua, read by lrequest.c:
**
**   method           "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"
**   url              http:// or https://, without a user name
**   headers          name -> value; without those that a transport writes
**                    itself
**   body             string; not with GET and HEAD
**   timeout          seconds for the whole call, fractions too; 30
**   connect_timeout  seconds until the connection stands, TLS included; 10,
**                    at most timeout
**   stall            seconds without a byte, while whoever asked waits for
**                    one, that end it: 60 for a stream; else there is timeout
**                    alone
**   fresh            true: a connection of its own, whose loss cannot be
**                    mistaken for an idle one's. Always so for what is
**                    neither GET nor HEAD.
**   limit            most bytes of the answer's body, decoded; 64 MiB
**   ca_file          PEM file of the authorities to trust instead of the
**                    system's
**   proxy            "http://host:port" (also https, socks5, socks5h).
**                    Without it there is none: http_proxy and its like in the
**                    environment are not looked at.
**
** Unusable requests are mistakes of the caller.
*/
#ifndef BILLHOOK_REQUEST_H
#define BILLHOOK_REQUEST_H

#include "slice.h"

#pragma GCC visibility push(hidden)

#define REQUEST_NO_STALL (-1e308)

/* before the caller's own are read */
#define REQUEST_DEFAULTS                                  \
  {                                                       \
    .timeout = 30, .connect_timeout = 10, .limit = 64 << 20, \
    .stall = REQUEST_NO_STALL                             \
  }

typedef struct request {
  slice method, url, body, ca_file, proxy; /* absent where they are */
  double timeout, connect_timeout, stall;  /* seconds */
  double limit;
  int fresh;
} request;

/* NULL, or what is wrong, for a message; completes what depends on the rest */
const char *request_check(request *r, int stream);

/* the same for a header; of its name alone, where the value is no text. What
** is wrong comes after "request.headers", and has a %s for the name or none */
const char *request_header_fault(slice name, slice value);

#pragma GCC visibility pop

#endif
