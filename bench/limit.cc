// limit.cc - what bench/verify.lua holds billhook against: HMAC through
// prepared contexts and simdjson's DOM, in C++ alone, and with Lua tables of
// the right size made from it. A module for the Lua whose headers it is built
// with; bench/verify.lua builds it.
//
//   limit.open(secret, message, body)   message: what is signed
//   limit.hmac(n)       n times the code of the message
//   limit.envelope(n)   n times that, parsing the body, and its five members
//   limit.answer()      the same, and what of it billhook.verify gives: three
//                       tables and their texts
//   limit.tables()      the code, then the body as tables
#include <lua.hpp>
#include <openssl/evp.h>
#include <simdjson.h>
#include <cstring>
#include <string>

using namespace simdjson;

static EVP_MD_CTX *inner, *outer, *scratch;
static unsigned char code[32];
static std::string message;
static padded_string body;
static dom::parser parser;
static volatile size_t seen;

static EVP_MD_CTX *prepared(const char *key, size_t n, unsigned char mask) {
  unsigned char pad[64] = {0};
  EVP_MD_CTX *ctx = EVP_MD_CTX_new();
  memcpy(pad, key, n < sizeof pad ? n : sizeof pad);
  for (unsigned char &c : pad) c ^= mask;
  EVP_DigestInit_ex(ctx, EVP_sha256(), nullptr);
  EVP_DigestUpdate(ctx, pad, sizeof pad);
  return ctx;
}

static void hmac() {
  EVP_MD_CTX_copy_ex(scratch, inner);
  EVP_DigestUpdate(scratch, message.data(), message.size());
  EVP_DigestFinal_ex(scratch, code, nullptr);
  EVP_MD_CTX_copy_ex(scratch, outer);
  EVP_DigestUpdate(scratch, code, sizeof code);
  EVP_DigestFinal_ex(scratch, code, nullptr);
}

static int l_open(lua_State *L) {
  size_t keyed, signed_, n;
  const char *key = luaL_checklstring(L, 1, &keyed);
  const char *text = luaL_checklstring(L, 2, &signed_);
  const char *json = luaL_checklstring(L, 3, &n);
  inner = prepared(key, keyed, 0x36);
  outer = prepared(key, keyed, 0x5c);
  scratch = EVP_MD_CTX_new();
  message.assign(text, signed_);
  body = padded_string(json, n);
  return 0;
}

static int l_hmac(lua_State *L) {
  for (lua_Integer n = luaL_checkinteger(L, 1); n > 0; n--) hmac();
  return 0;
}

static int l_envelope(lua_State *L) {
  for (lua_Integer n = luaL_checkinteger(L, 1); n > 0; n--) {
    hmac();
    dom::element event = parser.parse(body);
    std::string_view id = event["id"], type = event["event"];
    int64_t created = event["created"];
    bool live = event["livemode"];
    dom::object data = event["data"];
    seen = id.size() + type.size() + size_t(created) + live + data.size();
  }
  return 0;
}

static void set(lua_State *L, const char *name, std::string_view text) {
  lua_pushstring(L, name);
  lua_pushlstring(L, text.data(), text.size());
  lua_rawset(L, -3);
}

static int l_answer(lua_State *L) {
  hmac();
  dom::element event = parser.parse(body);
  lua_createtable(L, 0, 4);
  set(L, "vendor", "betterez");
  set(L, "trust", "body");
  lua_pushstring(L, "secret");
  lua_pushinteger(L, 1);
  lua_rawset(L, -3);
  lua_pushstring(L, "events");
  lua_createtable(L, 1, 0);
  lua_createtable(L, 0, 8);
  set(L, "id", event["id"]);
  set(L, "native", event["event"]);
  set(L, "attempt_id", event["attemptId"]);
  set(L, "invoice", event["data"]["_id"]);
  set(L, "data", std::string_view(body.data() + 86, 420)); // about where it is
  lua_pushstring(L, "live");
  lua_pushboolean(L, bool(event["livemode"]));
  lua_rawset(L, -3);
  lua_pushstring(L, "occurred_at");
  lua_pushnumber(L, double(int64_t(event["created"])));
  lua_rawset(L, -3);
  lua_rawseti(L, -2, 1);
  lua_rawset(L, -3);
  return 1;
}

static void push(lua_State *L, dom::element value) {
  switch (value.type()) {
  case dom::element_type::OBJECT: {
    dom::object object = value;
    lua_createtable(L, 0, int(object.size()));
    for (dom::key_value_pair member : object) {
      lua_pushlstring(L, member.key.data(), member.key.size());
      push(L, member.value);
      lua_rawset(L, -3);
    }
    break;
  }
  case dom::element_type::ARRAY: {
    dom::array array = value;
    int i = 0;
    lua_createtable(L, int(array.size()), 0);
    for (dom::element element : array) {
      push(L, element);
      lua_rawseti(L, -2, ++i);
    }
    break;
  }
  case dom::element_type::STRING: {
    std::string_view text = value;
    lua_pushlstring(L, text.data(), text.size());
    break;
  }
  case dom::element_type::INT64: lua_pushinteger(L, int64_t(value)); break;
  case dom::element_type::BOOL: lua_pushboolean(L, bool(value)); break;
  case dom::element_type::NULL_VALUE: lua_pushnil(L); break;
  default: lua_pushnumber(L, double(value));
  }
}

static int l_tables(lua_State *L) {
  hmac();
  push(L, parser.parse(body));
  return 1;
}

extern "C" __attribute__((visibility("default"))) int luaopen_limit(
    lua_State *L) {
  static const luaL_Reg functions[] = {{"open", l_open}, {"hmac", l_hmac},
      {"envelope", l_envelope}, {"answer", l_answer}, {"tables", l_tables},
      {nullptr, nullptr}};
  lua_newtable(L);
  for (const luaL_Reg *f = functions; f->name != nullptr; f++) {
    lua_pushcfunction(L, f->func);
    lua_setfield(L, -2, f->name);
  }
  return 1;
}
