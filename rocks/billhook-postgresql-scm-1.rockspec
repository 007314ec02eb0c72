rockspec_format = "3.0"
package = "billhook-postgresql"
version = "scm-1"
source = { url = "git+file://." }
description = {
  summary = "billhook's inbox in PostgreSQL, for more than one machine",
  detailed = [[
With this rock the inbox of billhook may be a "postgresql://" URL: receivers
and workers on any number of machines share one PostgreSQL database.]],
  license = "MIT",
}
supported_platforms = { "unix" }
dependencies = { "lua >= 5.1, < 5.5", "billhook" }
external_dependencies = {
  PQ = { library = "pq" },
}
build = {
  type = "builtin",
  modules = {
    ["billhook.pq"] = { sources = { "src/lpq.c", "src/pq.c" }, libraries = { "pq" } },
    ["billhook.inbox.postgresql"] = "lua/billhook/inbox/postgresql.lua",
  },
}
