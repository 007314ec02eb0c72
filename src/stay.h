/*
** stay.h - keeps a shared object in memory until the process ends.
**
** When a Lua state is closed, LuaJIT and plain Lua 5.1 unload each C module
** before they run the finalisers of objects that are older than it: such a
** finaliser that calls the module would jump into nothing. Threads and
** callbacks of libraries may outlive the state, too. Every luaopen_ begins
** with this. Needs _GNU_SOURCE.
*/
#ifndef BILLHOOK_STAY_H
#define BILLHOOK_STAY_H

#include <dlfcn.h>
#include <stddef.h>

static inline void stay_loaded(void) {
  Dl_info self;
  static const char here = 0;
  if (dladdr(&here, &self) != 0 && self.dli_fname != NULL)
    (void)dlopen(self.dli_fname, RTLD_NOW | RTLD_NODELETE | RTLD_NOLOAD);
}

#endif
