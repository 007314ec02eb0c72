/*
** durable.h - what was committed stays committed although a sync has failed.
**
** After a failed sync Linux takes the pages for written: they can be read, but
** no later sync writes them. A power cut would take what SQLite relies on:
**
**   * A checkpoint that a reader holds up counts the frames that it has copied
**     into the file as copied, without a sync. If the sync of the next one
**     fails, the one after that copies only what came later, and its sync
**     succeeds: the log is written over, and what was copied first is nowhere.
**     So nothing of the log counts as copied until a sync has succeeded.
**   * The process that opens the log first takes each whole commit in it for
**     committed: also one whose sync has failed, or whose writer was killed
**     before. What is committed behind it would be lost with it. So the first
**     one writes the log once more.
*/
#ifndef BILLHOOK_DURABLE_H
#define BILLHOOK_DURABLE_H

#include "rescue.h"

#pragma GCC visibility push(hidden)

/* Once the connection is open, and before it is used. */
void durable_watch(anchor *d);

/* Notes what is at its path, which belongs together. Its log is on the disk by
** then: written once more, unless somebody else has noted it before. Gives a
** result code of SQLite's. */
int durable_note(anchor *d);

#pragma GCC visibility pop

#endif
