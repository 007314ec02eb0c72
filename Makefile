# What to type: make, make demo, make test, make lint, make install, make clean.
# Shared objects go to build/lua5.4 and build/luajit, one folder a Lua.

CC     ?= cc
CFLAGS ?= -O2 -g
PREFIX ?= /usr/local
B      ?= build
LUAS   := lua5.4 luajit
LUA    ?= lua5.4
INC_lua5.4 ?= /usr/include/lua5.4
INC_luajit ?= /usr/include/luajit-2.1
VERSION_lua5.4 := 5.4
VERSION_luajit := 5.1

WARN := -std=gnu11 -Wall -Wextra -Wpedantic -Wshadow -Wcast-qual \
  -Wwrite-strings -Wstrict-prototypes -Wmissing-prototypes -Wvla \
  -Wundef -Wpointer-arith -Wformat=2 -Werror

# each shared object: its sources and its library (the rockspec says the same)
OBJECTS := core curl sqlite pq process
SRC_core := core.c json.c json_out.c json_redact.c json_stream.c ljson.c decimal.c ldecimal.c \
  text.c date.c head.c sign.c verify.c scheme.c scheme_betterez.c \
  scheme_dreamapply.c scheme_dreamclass.c lverify.c ltext.c say.c call.c lcall.c lparam.c \
  lbody.c dreamapply.c dreamclass.c betterez.c
LIB_core := -lcrypto
SRC_curl := curl.c curl_head.c lcurl.c
LIB_curl := -lcurl
SRC_sqlite := sqlite.c sqlite_code.c rescue.c place.c
LIB_sqlite := -lsqlite3
SRC_pq := pq.c lpq.c
LIB_pq := -lpq
SRC_process := process.c lfiles.c tree.c

# Debian's packages, for those who build, and for those who test
PACKAGES := gcc libc6-dev lua5.4 liblua5.4-dev luajit2 libluajit2-5.1-dev \
  libcurl4-openssl-dev libssl-dev libsqlite3-dev libpq-dev lua-cjson lua-argparse \
  nginx-light libnginx-mod-http-lua
TEST_PACKAGES := lua-busted lua-socket lua-check luarocks clang openssl curl \
  procps binutils postgresql wrk locales

define object # (lua, name)
$(B)/$(1)/billhook/$(2).so: $(SRC_$(2):%.c=$(B)/$(1)/%.o)
	@mkdir -p $$(@D)
	$$(CC) -shared $$(LDFLAGS) -o $$@ $$^ $(LIB_$(2))
all: $(B)/$(1)/billhook/$(2).so
endef

define rules # (lua)
$(B)/$(1)/%.o: src/%.c Makefile
	@mkdir -p $$(@D)
	$$(CC) $$(CFLAGS) $$(WARN) -fPIC -fvisibility=hidden -I$$(INC_$(1)) \
	  -MMD -MP -c -o $$@ $$<
endef

all:
$(foreach l,$(LUAS),$(eval $(call rules,$(l))))
$(foreach l,$(LUAS),$(foreach o,$(OBJECTS),$(eval $(call object,$(l),$(o)))))
-include $(wildcard $(B)/*/*.d)

demo: packages
	@$(MAKE) -s all
	@bin/billhook demo

crash: packages test-packages
	@$(MAKE) -s all
	@sh spec/crash/all

bench: all
	@$(LUA) bench/run
	@for l in $(LUAS); do LUA_PATH='lua/?.lua;lua/?/init.lua;;' \
	  LUA_CPATH="$(B)/$$l/?.so;;" $$l bench/verify.lua; done

# the table in docs/vendors.md and lua/billhook/calls_meta.lua, from the C core's tables
calls: all
	@LUA_PATH='lua/?.lua;lua/?/init.lua;;' LUA_CPATH="$(B)/lua5.4/?.so;;" lua5.4 docs/calls.lua

test: packages test-packages
	@$(MAKE) -s all
	@$(LUA) spec/run.lua

lint: packages test-packages
	@$(MAKE) -s all
	@$(LUA) spec/lint.lua

# The missing ones of a list of Debian packages, installed without starting
# any service; on other systems their names are all that can be said.
define install
@missing=$$(for p in $(1); do dpkg-query -W -f='$${db:Status-Status}' $$p \
  2>/dev/null | grep -qx installed || echo $$p; done); \
[ -z "$$missing" ] && exit 0; \
command -v apt-get >/dev/null || { echo "please install: $$missing"; exit 1; }; \
sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; echo "installing:" $$missing; \
$$sudo apt-get update -qq && $$sudo env RUNLEVEL=1 \
  DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends $$missing >/dev/null
endef

packages:
	$(call install,$(PACKAGES))
test-packages:
	$(call install,$(TEST_PACKAGES))

# for a system-wide copy without LuaRocks
install: all
	$(foreach l,$(LUAS),install -d \
	  $(DESTDIR)$(PREFIX)/lib/lua/$(VERSION_$(l))/billhook && \
	  install -m 755 build/$(l)/billhook/*.so \
	  $(DESTDIR)$(PREFIX)/lib/lua/$(VERSION_$(l))/billhook/ && \
	  install -d $(DESTDIR)$(PREFIX)/share/lua/$(VERSION_$(l)) && \
	  cp -R lua/billhook $(DESTDIR)$(PREFIX)/share/lua/$(VERSION_$(l))/ &&) \
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 bin/billhook $(DESTDIR)$(PREFIX)/bin/billhook
	install -d $(DESTDIR)$(PREFIX)/share/billhook/examples
	install -m 644 examples/* $(DESTDIR)$(PREFIX)/share/billhook/examples/

clean:
	rm -rf build

.PHONY: all calls demo test crash bench lint packages test-packages install clean
