/* with: core sqlite process -llua5.4 -ldl */
/* fuzz/client.c - see client.lua: the client over answers of any bytes */
#include "host.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  host_run("fuzz/client.lua", data, size);
  return 0;
}
