/*
** request.c - see request.h.
*/
#include "request.h"

#include <math.h>

static int is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         (c >= '0' && c <= '9');
}

static int is_one_of(slice text, const char *const *names) {
  for (; *names != NULL; names++)
    if (slice_same(text, slice_of(*names))) return 1;
  return 0;
}

static int is_printable(slice text) {
  size_t i;
  for (i = 0; i < text.n; i++)
    if (text.p[i] <= ' ' || text.p[i] > '~') return 0;
  return 1;
}

/* what comes after the scheme, up to its end or a character of `ends`; empty
** without a scheme of these */
static slice authority(slice url, const char *const *schemes,
                       const char *ends) {
  slice none = {url.p, 0};
  for (; *schemes != NULL; schemes++) {
    slice scheme = slice_of(*schemes), rest = {url.p + scheme.n, 0};
    slice head = {url.p, scheme.n};
    if (url.n < scheme.n || !slice_same(head, scheme)) continue;
    while (rest.p + rest.n < url.p + url.n &&
           strchr(ends, rest.p[rest.n]) == NULL)
      rest.n++;
    return rest;
  }
  return none;
}

static const char *method_fault(const request *r) {
  static const char *const names[] = {"GET",   "HEAD",   "POST", "PUT",
                                      "PATCH", "DELETE", NULL};
  size_t i = 0;
  while (names[i] != NULL && !slice_equal(r->method, slice_of(names[i])))
    i++;
  if (names[i] == NULL)
    return "request.method must be GET, HEAD, POST, PUT, PATCH or DELETE";
  if (r->body.p != NULL && i == 0) return "request.body is not for GET";
  if (r->body.p != NULL && i == 1) return "request.body is not for HEAD";
  return NULL;
}

static const char *url_fault(slice url) {
  static const char *const schemes[] = {"http://", "https://", NULL};
  slice host;
  if (url.p == NULL) return "request.url is missing";
  if (!is_printable(url) || memchr(url.p, '\\', url.n) != NULL)
    return "request.url has a character that must be percent-encoded";
  host = authority(url, schemes, "/?#");
  if (host.n == 0)
    return "request.url must begin with https:// or http:// and a host";
  if (memchr(host.p, '@', host.n) != NULL)
    return "request.url must not carry a user name or password";
  return NULL;
}

static const char *proxy_fault(slice proxy) {
  static const char *const schemes[] = {"http://", "https://", "socks5://",
                                        "socks5h://", NULL};
  slice host = {NULL, 0}, rest;
  if (proxy.p == NULL) return NULL;
  if (is_printable(proxy)) host = authority(proxy, schemes, "/?#");
  rest = (slice){host.p + host.n, 0};
  if (host.n > 0) rest.n = (size_t)(proxy.p + proxy.n - rest.p);
  if (host.n > 0 && (rest.n == 0 || slice_equal(rest, slice_of("/"))))
    return NULL;
  return "request.proxy must be http://host:port, or https, socks5 or"
         " socks5h";
}

static int is_time(double seconds) {
  return seconds > 0 && seconds < HUGE_VAL;
}

const char *request_check(request *r, int stream) {
  const char *fault = method_fault(r);
  if (fault == NULL) fault = url_fault(r->url);
  if (fault == NULL) fault = proxy_fault(r->proxy);
  if (fault != NULL) return fault;
  if (r->ca_file.p != NULL && memchr(r->ca_file.p, '\0', r->ca_file.n))
    return "request.ca_file holds a NUL byte";
  if (!is_time(r->timeout))
    return "request.timeout must be more than 0 seconds";
  if (!is_time(r->connect_timeout))
    return "request.connect_timeout must be more than 0 seconds";
  if (r->stall != REQUEST_NO_STALL && !is_time(r->stall))
    return "request.stall must be more than 0 seconds";
  if (!(r->limit >= 0 && r->limit < 9007199254740992.0))
    return "request.limit must be a number of bytes";
  if (r->connect_timeout > r->timeout) r->connect_timeout = r->timeout;
  if (stream && r->stall == REQUEST_NO_STALL) r->stall = 60;
  if (!slice_equal(r->method, slice_of("GET")) &&
      !slice_equal(r->method, slice_of("HEAD")))
    r->fresh = 1;
  return NULL;
}

/* A transport counts, compresses and connects by itself. */
static const char *const own[] = {"host",
                                  "content-length",
                                  "transfer-encoding",
                                  "te",
                                  "connection",
                                  "keep-alive",
                                  "upgrade",
                                  "trailer",
                                  "expect",
                                  "accept-encoding",
                                  "proxy-authorization",
                                  "proxy-connection",
                                  NULL};

static int is_token(slice name) {
  size_t i;
  for (i = 0; i < name.n; i++)
    if (!is_letter_or_digit(name.p[i]) &&
        memchr("!#$%&'*+-.^_`|~", name.p[i], 15) == NULL)
      return 0;
  return name.n > 0;
}

const char *request_header_fault(slice name, slice value) {
  size_t i;
  if (!is_token(name)) return " has a malformed name";
  if (is_one_of(name, own)) return ": %s is the transport's own";
  if (value.p == NULL) return ": %s must be a string";
  for (i = 0; i < value.n; i++) {
    unsigned char c = (unsigned char)value.p[i];
    if (c == 127 || (c < ' ' && c != '\t'))
      return ": %s has a control character";
  }
  return NULL;
}
