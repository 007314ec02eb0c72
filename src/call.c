/*
** call.c - see call.h.
*/
#include "call.h"
#include "date.h"
#include "decimal.h"
#include "text.h"
#include <string.h>

/* --- finding ---------------------------------------------------------- */

const call_vendor *call_find_vendor(slice name) {
  static const call_vendor *const vendors[] = {
      &call_dreamapply, &call_dreamclass, &call_betterez};
  size_t i;
  for (i = 0; i < sizeof vendors / sizeof *vendors; i++)
    if (slice_equal(name, slice_of(vendors[i]->name))) return vendors[i];
  return NULL;
}

const call_op *call_find(const call_vendor *vendor, slice name) {
  const call_op *op;
  for (op = vendor->ops; op->name != NULL; op++)
    if (slice_equal(name, slice_of(op->name))) return op;
  return NULL;
}

const call_param *call_find_param(const call_param *params, slice name) {
  for (; params->name != NULL; params++)
    if (slice_equal(name, slice_of(params->name))) return params;
  return NULL;
}

const call_route *call_main_route(const call_op *op) {
  const call_route *route = op->routes;
  while (route->param != NULL)
    route++;
  return route;
}

/* --- values ----------------------------------------------------------- */

static const struct {
  const char *name, *must;
} types[] = {
    [CALL_BOOLEAN] = {"boolean", "must be a boolean"},
    [CALL_SWITCH] = {"switch", "must be \"On\", \"Off\" or a boolean"},
    [CALL_INTEGER] = {"integer", "must be a whole number"},
    [CALL_ID] = {"id", "must be a positive whole number"},
    [CALL_HEX24] = {"hex24", "must be 24 hexadecimal digits"},
    [CALL_TEXT] = {"text", "must be a string"},
    [CALL_CHOICE] = {"choice", "must be one of its choices"},
    [CALL_CURRENCY] = {"currency",
                       "must be three capital letters"},
    [CALL_DATE] = {"date", "must be a date YYYY-MM-DD"},
    [CALL_DATETIME] = {"datetime", "must be an ISO 8601 date or datetime"},
    [CALL_SINCE] = {"since", "must be an id or an ISO 8601 datetime"},
    [CALL_DECIMAL] = {"decimal", "must be a decimal"},
    [CALL_NUMBER] = {"number", "must be a decimal"},
    [CALL_NUMBERED] = {"numbered", "must be a whole number or { id = one }"},
    [CALL_OBJECT] = {"object", "must be a table with names"},
    [CALL_RECORD] = {"record", "must be a table"},
};

const char *call_type_name(call_type type) {
  return types[type].name;
}

const char *call_form_name(call_form form) {
  static const char *const names[] = {[CALL_ONE] = "one",
                                      [CALL_WHOLE] = "number",
                                      [CALL_MAP] = "map",
                                      [CALL_LISTED] = "list",
                                      [CALL_PAGE] = "page",
                                      [CALL_COUNT] = "count",
                                      [CALL_EXISTS] = "exists",
                                      [CALL_EMPTY] = "none",
                                      [CALL_LOCATION] = "location",
                                      [CALL_FILE] = "file",
                                      [CALL_ANY] = "any"};
  return names[form];
}

void call_put(call_out *out, slice text) {
  if (text.n > 0 && out->n + text.n <= out->room)
    memcpy(out->p + out->n, text.p, text.n);
  out->n += text.n;
}

static void put_encoded(call_out *out, slice text) {
  size_t bound = 3 * text.n;
  if (bound > 0 && out->n + bound <= out->room)
    bound = text_percent(text, out->p + out->n);
  out->n += bound;
}

static void put_text(call_out *out, slice text, int encoded) {
  if (encoded)
    put_encoded(out, text);
  else
    call_put(out, text);
}

static int put_integer(call_out *out, int64_t n) {
  char text[DECIMAL_ROOM];
  slice digits = {text, 0};
  decimal d;
  if (!decimal_integer(n, &d)) return 0;
  digits.n = decimal_text(d, text);
  call_put(out, digits);
  return 1;
}

static int put_decimal(call_out *out, slice value) {
  char text[DECIMAL_ROOM];
  slice written = {text, 0};
  int malformed;
  decimal d;
  if (!decimal_parse(value, &d, &malformed)) return 0;
  written.n = decimal_text(d, text);
  call_put(out, written);
  return 1;
}

/* epoch seconds in UTC */
static int put_epoch(call_out *out, int64_t epoch, int encoded) {
  char text[DATE_ROOM];
  slice written = {text, sizeof text};
  if (epoch < 0 || !date_write(epoch, text)) return 0;
  put_text(out, written, encoded);
  return 1;
}

static date_form form_of(slice s) {
  double epoch;
  return date_read(s, &epoch);
}

static int is_id(slice s) {
  int64_t id;
  return text_digits(s, &id) && s.p[0] != '0';
}

static int is_hex24(slice s) {
  char bytes[12];
  return text_unhex(s, bytes, sizeof bytes);
}

static int is_currency(slice s) {
  size_t i;
  for (i = 0; i < s.n; i++)
    if (s.p[i] < 'A' || s.p[i] > 'Z') return 0;
  return s.n == 3;
}

static int is_choice(const char *const *choices, slice s) {
  for (; *choices != NULL; choices++)
    if (slice_equal(s, slice_of(*choices))) return 1;
  return 0;
}

static int is_switch(slice s) {
  return slice_equal(s, slice_of("On")) || slice_equal(s, slice_of("Off"));
}

/* one that is empty, or dots alone, would lead to another resource: to all of
** them, where one was to be deleted */
static int is_segment(slice s) {
  return s.n > 0 && !slice_equal(s, slice_of(".")) &&
         !slice_equal(s, slice_of(".."));
}

/* may a text stand as it is? */
static int good_text(const call_param *param, slice s) {
  int64_t n;
  switch ((call_type)param->type) {
  case CALL_SWITCH:
    return is_switch(s);
  case CALL_ID:
    return is_id(s);
  case CALL_INTEGER:
  case CALL_NUMBERED:
    return text_digits(s, &n);
  case CALL_HEX24:
    return is_hex24(s);
  case CALL_TEXT:
    if (param->place == CALL_PATH && !is_segment(s)) return 0;
    return s.n == 0 || memchr(s.p, '\0', s.n) == NULL;
  case CALL_CHOICE:
    return is_choice(param->detail.choices, s);
  case CALL_CURRENCY:
    return is_currency(s);
  case CALL_DATE:
    return form_of(s) == DATE_DAY;
  case CALL_DATETIME:
    return form_of(s) != DATE_NONE;
  case CALL_SINCE:
    return is_id(s) || form_of(s) != DATE_NONE;
  default:
    return 0;
  }
}

static int is_amount(const call_param *param) {
  return param->type == CALL_DECIMAL || param->type == CALL_NUMBER;
}

static int write_text(const call_param *param, slice text, int encoded,
                      call_out *out) {
  if (is_amount(param)) return put_decimal(out, text);
  if (!good_text(param, text)) return 0;
  put_text(out, text, encoded);
  return 1;
}

static int write_integer(const call_param *param, int64_t n, int encoded,
                         call_out *out) {
  switch ((call_type)param->type) {
  case CALL_INTEGER:
  case CALL_NUMBERED:
    return n >= 0 && put_integer(out, n);
  case CALL_ID:
  case CALL_SINCE:
    return n >= 1 && put_integer(out, n);
  case CALL_DATETIME:
    return put_epoch(out, n, encoded);
  case CALL_DECIMAL:
  case CALL_NUMBER:
    return put_integer(out, n);
  default:
    return 0;
  }
}

static int write_boolean(const call_param *param, int on, call_out *out) {
  if (param->type == CALL_BOOLEAN)
    call_put(out, slice_of(on ? "true" : "false"));
  else if (param->type == CALL_SWITCH)
    call_put(out, slice_of(on ? "On" : "Off"));
  else
    return 0;
  return 1;
}

/* whatever is no number is found out about elsewhere */
static int in_range(const call_param *param, const call_value *value) {
  const call_range *range = param->detail.range;
  decimal d, bound;
  int malformed, read;
  if ((param->type != CALL_INTEGER && param->type != CALL_NUMBER) ||
      range == NULL)
    return 1;
  read = value->kind == CALL_IS_INTEGER
             ? decimal_integer(value->integer, &d)
             : decimal_parse(value->text, &d, &malformed);
  if (!read) return 1;
  decimal_parse(slice_of(range->least), &bound, &malformed);
  if (decimal_compare(d, bound) < 0) return 0;
  if (range->most == NULL) return 1;
  decimal_parse(slice_of(range->most), &bound, &malformed);
  return decimal_compare(d, bound) <= 0;
}

const char *call_write(const call_param *param, const call_value *value,
                       int encoded, call_out *out) {
  int good = 0;
  switch (value->kind) {
  case CALL_IS_BOOLEAN:
    good = write_boolean(param, value->integer != 0, out);
    break;
  case CALL_IS_INTEGER:
    good = write_integer(param, value->integer, encoded, out);
    break;
  case CALL_IS_TEXT:
    good = write_text(param, value->text, encoded, out);
    break;
  case CALL_IS_DECIMAL:
    good = is_amount(param) && put_decimal(out, value->text);
    break;
  case CALL_IS_NONE:
  case CALL_IS_OTHER:
    break;
  }
  if (good && in_range(param, value)) return NULL;
  if (good) return param->detail.range->must;
  if (param->type == CALL_TEXT && param->place == CALL_PATH)
    return "must be a string, neither empty nor dots alone";
  return types[param->type].must;
}

int call_number(const call_param *param, slice written, int64_t *out) {
  int malformed;
  decimal d;
  return (param->type == CALL_INTEGER || param->type == CALL_ID ||
          param->type == CALL_NUMBERED || param->type == CALL_NUMBER) &&
         decimal_parse(written, &d, &malformed) && decimal_whole(d, out);
}

static int is_blank(slice s) {
  size_t i;
  for (i = 0; i < s.n; i++)
    if (s.p[i] != ' ' && (s.p[i] < '\t' || s.p[i] > '\r')) return 0;
  return 1;
}

/* as an answer has it: any that a 64-bit number can tell */
static int is_answered_id(slice s) {
  size_t i;
  for (i = 0; i < s.n; i++)
    if (s.p[i] < '0' || s.p[i] > '9') return 0;
  return s.n > 0 && s.n <= 19 && s.p[0] != '0';
}

/* once for each element of a list, so not by snprintf */
static slice digits_of(int64_t n, char *room) {
  char *p = room + DECIMAL_ROOM;
  do
    *--p = (char)('0' + n % 10);
  while ((n /= 10) > 0);
  return (slice){p, (size_t)(room + DECIMAL_ROOM - p)};
}

int call_says(const call_mark *mark, const call_value *value, char *room,
              slice *out) {
  int text = value->kind == CALL_IS_TEXT, good = 0;
  if (value->kind == CALL_IS_INTEGER) {
    if (value->integer < (mark->type == CALL_ID)) return 0;
    *out = digits_of(value->integer, room);
    return mark->type == CALL_ID || mark->type == CALL_INTEGER;
  }
  *out = value->text;
  if (mark->type == CALL_ID) good = is_answered_id(value->text);
  if (mark->type == CALL_TEXT) good = !is_blank(value->text);
  if (mark->type == CALL_CHOICE)
    good = slice_same(value->text, slice_of("ok"));
  return text && good;
}

/* --- paths ------------------------------------------------------------ */

int call_piece(slice *path, slice *literal, slice *name) {
  const char *open, *close;
  name->p = NULL;
  name->n = 0;
  *literal = *path;
  if (path->n == 0) return 0;
  open = memchr(path->p, '{', path->n);
  close = memchr(path->p, '}', path->n);
  if (open == NULL || close == NULL || close < open) {
    path->p += path->n;
    path->n = 0;
    return 1;
  }
  literal->n = (size_t)(open - path->p);
  name->p = open + 1;
  name->n = (size_t)(close - open - 1);
  path->n -= (size_t)(close + 1 - path->p);
  path->p = close + 1;
  return 1;
}

/* a literal's characters: the unreserved ones, and what a path or a query
** of them is held together with */
static int plain(slice s) {
  size_t i;
  for (i = 0; i < s.n; i++) {
    char c = s.p[i];
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
          (c >= '0' && c <= '9') || memchr("-._~/?&=,", c, 9) != NULL))
      return 0;
    if (i > 0 && s.p[i - 1] == c && (c == '.' || c == '/')) return 0;
  }
  return 1;
}

static int in_path(slice path, slice wanted) {
  slice literal, name;
  while (call_piece(&path, &literal, &name))
    if (name.p != NULL && slice_equal(name, wanted)) return 1;
  return 0;
}

const char *call_check_path(const call_op *op, slice path, slice *name) {
  slice rest = path, literal, next;
  const call_param *param;
  if (path.n < 2 || path.p[0] != '/' || path.p[1] == '/')
    return "must be \"/...\"";
  while (call_piece(&rest, &literal, &next)) {
    *name = next;
    if (!plain(literal)) {
      name->n = 0;
      return "must be of plain characters";
    }
    if (next.p == NULL) continue;
    param = call_find_param(op->params, *name);
    if (param == NULL || param->place != CALL_PATH ||
        !(param->flags & CALL_REQUIRED))
      return "not a parameter of its path";
  }
  for (param = op->params; param->name != NULL; param++) {
    *name = slice_of(param->name);
    if (param->place == CALL_QUERY && memchr(path.p, '?', path.n) != NULL)
      return "would be a second query";
    if (param->place == CALL_PATH && (param->flags & CALL_REQUIRED) &&
        !in_path(path, *name))
      return "missing";
  }
  return NULL;
}

const call_op *call_strayed(const call_vendor *vendor, const call_op *op,
                            slice path) {
  const call_param *param = op->params;
  const call_op *other;
  while (param->name != NULL &&
         (param->place != CALL_PATH || param->type != CALL_TEXT))
    param++;
  if (param->name == NULL) return NULL; /* digits spell nothing */
  for (other = vendor->ops; other->name != NULL; other++)
    if (other != op && /* some servers do not tell letters' cases apart */
        slice_same(path, slice_of(call_main_route(other)->path)))
      return other;
  return NULL;
}

int call_leaves_out(const call_route *route, slice path,
                    const call_param *param) {
  slice name = slice_of(param->name);
  return route->alone && !slice_equal(name, slice_of(route->param)) &&
         !in_path(path, name);
}

/* --- answers ---------------------------------------------------------- */

/* scheme://authority, absent where a URL has none */
static slice origin_of(slice url) {
  slice none = {NULL, 0}, origin = url;
  size_t i, slashes = 0;
  for (i = 0; i < url.n && slashes < 3; i++)
    slashes += url.p[i] == '/';
  if (slashes < 2) return none;
  origin.n = slashes == 3 ? i - 1 : i;
  if (memchr(origin.p, ':', origin.n) == NULL) return none;
  return origin;
}

/* the path of a Location that leads to the client's own server */
static slice own_path(const call_answer *answer) {
  slice path = answer->location, none = {NULL, 0}, origin;
  if (path.n >= 1 && path.p[0] == '/')
    return path.n >= 2 && path.p[1] == '/' ? none : path;
  origin = origin_of(path);
  if (origin.n == 0 || !slice_same(origin, origin_of(answer->base)))
    return none;
  path.p += origin.n;
  path.n -= origin.n;
  return path;
}

static slice last_segment(slice *path) {
  slice segment = {path->p + path->n, 0};
  while (path->n > 0 && path->p[path->n - 1] != '/') {
    path->n--;
    segment.p--;
    segment.n++;
  }
  if (path->n > 0) path->n--;
  return segment;
}

/* does ".../applications/124" own what ".../applications/123/invoices" was
** asked to make? A path that says no owner may be anybody's. */
static int is_others(slice path, slice to) {
  slice id = last_segment(&path), owner = last_segment(&path), wanted;
  last_segment(&to);
  wanted = last_segment(&to);
  return slice_equal(owner, last_segment(&to)) && !slice_equal(id, wanted);
}

/* the number in ".../invoices/321", where the operation posts to
** ".../invoices": anything else is no answer to what was asked, nor are two
** headers, which come joined by a comma and a space */
static int64_t created_id(const call_op *op, const call_answer *answer) {
  slice path = own_path(answer), to = slice_of(call_main_route(op)->path);
  slice id;
  size_t i;
  int64_t n;
  if (path.n > 0 && memchr(path.p, ' ', path.n) != NULL) return 0;
  for (i = 0; i < path.n; i++)
    if (path.p[i] == '?' || path.p[i] == '#') path.n = i;
  if (path.n == 0 || memchr(path.p, ',', path.n) != NULL) return 0;
  id = last_segment(&path);
  if (!is_id(id) || !text_digits(id, &n) ||
      !slice_equal(last_segment(&path), last_segment(&to)))
    return 0;
  return answer->path.n > 0 && is_others(path, answer->path) ? 0 : n;
}

static int deletes(const call_op *op) {
  return strcmp(call_main_route(op)->method, "DELETE") == 0;
}

static int is_success(const call_op *op, int status) {
  if (op->flags & CALL_CREATED) return status == 201;
  if (status == 202) return deletes(op); /* it will be gone */
  return status == 200 || status == 201 || status == 204;
}

/* there is none: what was asked, or what a second DELETE finds where the
** first one was heard */
static int is_gone(const call_op *op, const call_answer *answer) {
  return answer->status == 404 &&
         (op->form == CALL_EXISTS || (answer->attempt > 1 && deletes(op)));
}

/* kinds as billhook.error has them */
static const char *kind_of(int status) {
  switch (status) {
  case 401:
  case 403:
    return "auth";
  case 404:
  case 410:
    return "not_found";
  case 408:
    return "timeout";
  case 409:
    return "conflict";
  case 413:
    return "too_large";
  case 429:
    return "rate_limited";
  default:
    return status >= 400 && status < 500 ? "invalid" : "server";
  }
}

/* the answers that tell that this request was turned away as it stood; a
** conflict may come from half-way through */
static int is_refusal(const call_vendor *vendor, int status) {
  if (status == 429) return vendor->refuses_unread;
  return status >= 400 && status < 500 && status != 408 && status != 409;
}

/* it may have been carried out all the same */
static int is_open(int status) {
  return status < 400 || status >= 500 || status == 408;
}

static int is_passing(int status) {
  return status == 408 || status == 429 || status == 500 || status == 502 ||
         status == 503 || status == 504;
}

static const char *odd_status(int status) {
  if (status >= 300 && status < 400) return "unexpected redirect";
  return status < 400 || status > 599 ? "unexpected status" : NULL;
}

call_outcome call_conclude(const call_vendor *vendor, const call_op *op,
                           const call_answer *answer) {
  call_outcome out = {0, NULL, NULL, 0, 0, 0, 0, 0, -1};
  int status = answer->status;
  out.gone = is_gone(op, answer);
  out.ok = out.gone || is_success(op, status);
  if (out.ok) {
    if (op->flags & CALL_CREATED) out.id = created_id(op, answer);
    if (!text_digits(answer->count, &out.count)) out.count = -1;
    return out;
  }
  out.kind = kind_of(status);
  out.message = odd_status(status);
  out.refused = is_refusal(vendor, status);
  out.open = is_open(status);
  out.retryable =
      is_passing(status) && ((op->flags & CALL_IDEMPOTENT) || out.refused);
  return out;
}
