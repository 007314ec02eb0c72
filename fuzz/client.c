/* with: core.c json.c json_out.c json_redact.c json_stream.c ljson.c decimal.c ldecimal.c text.c date.c head.c sign.c verify.c scheme.c scheme_betterez.c scheme_dreamapply.c scheme_dreamclass.c lverify.c ltext.c say.c call.c lcall.c lparam.c lbody.c dreamapply.c dreamclass.c betterez.c request.c lrequest.c lcheck.c lmark.c sqlite.c sqlite_code.c rescue.c place.c process.c lfiles.c tree.c -lcrypto -lsqlite3 -llua5.4 -ldl */
/* fuzz/client.c - see client.lua: the client over answers of any bytes */
#include "host.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  host_run("fuzz/client.lua", data, size);
  return 0;
}
