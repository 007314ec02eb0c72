/* sqlite_code.h - the names of SQLite's result codes. */
#ifndef BILLHOOK_SQLITE_CODE_H
#define BILLHOOK_SQLITE_CODE_H

#pragma GCC visibility push(hidden)

/* an extended code without a name of its own goes by its primary code's */
const char *codename(int code);

#pragma GCC visibility pop

#endif
