/* with: core -llua5.4 -ldl */
/* fuzz/bindings.c - see bindings.lua: billhook.core as Lua has it */
#include "host.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  host_run("fuzz/bindings.lua", data, size);
  return 0;
}
