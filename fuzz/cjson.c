/* with: core -llua5.4 -ldl */
/* fuzz/cjson.c - see cjson.lua: our reading of JSON beside lua-cjson's */
#include "host.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  host_run("fuzz/cjson.lua", data, size);
  return 0;
}
