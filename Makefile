# What to type: make, make demo, make test (one of it: make test T=json), make check-all, make lint,
# make docs, make install, make uninstall, make clean.
# Shared objects go to build/lua5.4 and build/luajit, one folder a Lua.

CC     ?= cc
CFLAGS ?= -O2 -g
LIBFLAG ?= -shared
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

# each shared object: its sources and its library
OBJECTS := core curl sqlite pq process
SRC_core := core.c json.c json_names.c json_out.c json_redact.c json_stream.c ljson.c decimal.c \
  ldecimal.c text.c date.c head.c sign.c verify.c scheme.c scheme_betterez.c \
  scheme_dreamapply.c scheme_dreamclass.c lverify.c ltext.c say.c call.c lcall.c lparam.c \
  lbody.c dreamapply.c dreamclass.c betterez.c request.c lrequest.c \
  lcheck.c lmark.c
LIB_core := -lcrypto
SRC_curl := curl.c curl_head.c lcurl.c request.c lrequest.c
LIB_curl := -lcurl
SRC_sqlite := sqlite.c sqlite_code.c rescue.c durable.c place.c
LIB_sqlite := -lsqlite3
SRC_pq := pq.c lpq.c
LIB_pq := -lpq
SRC_process := process.c lfiles.c tree.c

# Debian's packages, for those who build, and for those who test
PACKAGES := gcc libc6-dev lua5.4 liblua5.4-dev luajit2 libluajit2-5.1-dev \
  libcurl4-openssl-dev libssl-dev libsqlite3-dev libpq-dev lua-cjson lua-argparse \
  nginx-light libnginx-mod-http-lua
TEST_PACKAGES := lua-busted lua-socket lua-check luarocks clang openssl curl \
  procps binutils postgresql wrk locales valgrind lua-posix lua-md5

define object # (lua, name)
$(B)/$(1)/billhook/$(2).so: $(SRC_$(2):%.c=$(B)/$(1)/%.o)
	@mkdir -p $$(@D)
	$$(CC) $$(LIBFLAG) $$(HARD_LDFLAGS) $$(LDFLAGS) -o $$@ $$^ $(LIB_$(2))
all: $(B)/$(1)/billhook/$(2).so
endef

define rules # (lua)
$(B)/$(1)/%.o: src/%.c Makefile
	@mkdir -p $$(@D)
	$$(CC) $$(HARD_CFLAGS) $$(CPPFLAGS) $$(CFLAGS) $$(WARN) -fPIC -fvisibility=hidden \
	  -I$$(INC_$(1)) -MMD -MP -c -o $$@ $$<
endef

all:
$(foreach l,$(LUAS),$(eval $(call rules,$(l))))
$(foreach l,$(LUAS),$(foreach o,$(OBJECTS),$(eval $(call object,$(l),$(o)))))
-include $(wildcard $(B)/*/*.d)

# What makes a mistake harder to use, as far as this compiler and its linker take it: each is tried,
# with the flags that the build has. HARD=: a build without, for sanitizers and coverage. Where there
# is no compiler yet (make reads this before it installs one), nothing is written.
HARD ?= yes
HARD_TRY := -fstack-protector-strong -fstack-clash-protection -fcf-protection
FORTIFY := -Wp,-U_FORTIFY_SOURCE,-D_FORTIFY_SOURCE
ifneq ($(HARD),)
$(B)/hard.mk: Makefile
	@mkdir -p $(@D)
	@takes() { printf '#include <string.h>\nint f(void);\nint f(void) { return 0; }\n' | \
	  $(CC) $(CFLAGS) -Werror -fPIC $(LIBFLAG) "$$1" -x c -o $@.so - 2>/dev/null; }; \
	takes -fPIC || exit 0; c=; l=; \
	for flag in $(HARD_TRY); do ! takes $$flag || c="$$c $$flag"; done; \
	for n in 3 2; do ! takes $(FORTIFY)=$$n || { c="$$c $(FORTIFY)=$$n"; break; }; done; \
	for flag in -Wl,-z,relro -Wl,-z,now; do ! takes $$flag || l="$$l $$flag"; done; \
	rm -f $@.so; printf 'HARD_CFLAGS :=%s\nHARD_LDFLAGS :=%s\n' "$$c" "$$l" >$@
-include $(B)/hard.mk
endif

demo: packages
	@$(MAKE) -s all
	@bin/billhook demo

crash: packages test-packages
	@$(MAKE) -s all
	@sh spec/crash/all

# C tests and fuzz targets, each linked from the objects of the build it is for; its first line says
# of which ones, or of which shared object's: /* with: json.c text.c -lcrypto */, /* with: core */
FUZZ_MAIN ?= fuzz/corpus.c
FUZZERS := $(filter-out fuzz/corpus.c,$(wildcard fuzz/*.c))
needs = $(shell sed -n '1s,^/. with: \(.*\) ./$$,\1,p' $(1))
with = $(foreach w,$(call needs,$(1)),$(if $(SRC_$(w)),$(SRC_$(w)) $(LIB_$(w)),$(w)))
define program # (source, what it is built from, where its main is)
$(B)/$(1:%.c=%): $(1) $(3) $(patsubst %.c,$(B)/lua5.4/%.o,$(filter %.c,$(2))) $(wildcard src/*.h fuzz/*.h)
	@mkdir -p $$(@D)
	$$(CC) $$(CFLAGS) $$(WARN) -Isrc -I$$(INC_lua5.4) -o $$@ $$(filter-out %.h,$$^) \
	  $(filter-out %.c,$(2)) -lm $$(LDFLAGS)
endef
ifneq ($(filter programs fuzzers,$(MAKECMDGOALS)),)
$(foreach p,$(wildcard spec/c/*_test.c),$(eval $(call program,$(p),$(call with,$(p)))))
$(foreach p,$(FUZZERS),$(eval $(call program,$(p),$(call with,$(p)),$(FUZZ_MAIN))))
endif
fuzzers: $(FUZZERS:%.c=$(B)/%)
programs: fuzzers $(patsubst %.c,$(B)/%,$(wildcard spec/c/*_test.c))

# Lua 5.4's objects once more under AddressSanitizer and UBSan, with those programs
SANITIZE := -fsanitize=address,undefined
sanitized:
	@$(MAKE) -s B=build/sanitized HARD= LUAS=lua5.4 LDFLAGS="$(SANITIZE)" \
	  CFLAGS="-O1 -g $(SANITIZE) -fno-sanitize-recover=all" all programs

bench: all
	@BENCH_DOCS=1 $(LUA) bench/run

# what is written from the code: the table in docs/vendors.md, lua/billhook/calls_meta.lua,
# docs/reference.md, the rockspecs of this version
docs: all
	@for file in docs/calls docs/reference packaging/release; do LUA_PATH='lua/?.lua;lua/?/init.lua;;' \
	  LUA_CPATH="$(B)/lua5.4/?.so;;" lua5.4 $$file.lua || exit; done

# T=name: only the suites of that name (a spec file, a C test, a script of spec/suite), or with
# that text in theirs
test: packages test-packages
	@$(MAKE) -s -j$(shell nproc) all sanitized
	@lua5.4 spec/run.lua "$(T)"

# each target for so many seconds, or only that of T=name, with clang's libFuzzer
SECONDS ?= 60
FUZZ := -fsanitize=fuzzer,address,undefined
fuzz: packages test-packages
	@$(MAKE) -s -j$(shell nproc) B=build/fuzz HARD= CC=clang FUZZ_MAIN= LUAS=lua5.4 LDFLAGS="$(FUZZ)" \
	  CFLAGS="-O1 -g $(subst fuzzer,fuzzer-no-link,$(FUZZ)) -fno-sanitize-recover=all" fuzzers
	@sh fuzz/run $(SECONDS) "$(T)"

# how many lines of the engines (the C sources that know no Lua) the specs, the C tests and the
# corpora reach; fails below 95 of 100
coverage: packages test-packages
	@$(MAKE) -s -j$(shell nproc) B=build/coverage HARD= LUAS=lua5.4 LDFLAGS=--coverage \
	  CFLAGS="-O0 -g --coverage" all programs
	@sh spec/coverage

# make test, and what takes longer than anybody waits for: with T=name only that, of spec/long
check-all: $(if $(T),packages test-packages,test)
	@$(MAKE) -s all
	@lua5.4 spec/run.lua long "$(T)"

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

# A system-wide copy without LuaRocks, and its removal: what was put there is written down.
export DESTDIR PREFIX
install: all
	@sh packaging/install put $(B) $(foreach l,$(LUAS),$(l):$(VERSION_$(l)))
uninstall:
	@sh packaging/install remove

# What the rockspecs ask for: one Lua, whose headers LuaRocks names
ROCK = @rm -rf build/rock && $(MAKE) -s B=build/rock LUAS=rock INC_rock="$(LUA_INCDIR)" \
  WARN=-std=gnu11 OBJECTS="$(1)" all
rock:
	$(call ROCK,core curl sqlite process)
rock-postgresql:
	$(call ROCK,pq)

clean:
	rm -rf build

.PHONY: all docs coverage demo test check-all sanitized programs fuzzers fuzz crash bench lint packages \
  test-packages install uninstall rock rock-postgresql clean
