// SPDX-License-Identifier: ISC
/* Keeps the broker thread's pre-shared keys current, sealed as they are in the database.  Reads the rows again that a
 * notification or the broker thread names.  Reads all rows, in pages, after a connect and from time to time, because a
 * notification may have been lost.  Reads the key file again on SIGHUP, and when a row names an unknown
 * key-encryption key, because the broker thread reads no files.  Without a key file it does nothing.  Worker thread. */
#pragma once

#include "common/error.h"
#include "sql/db.h"
#include "worker/outbox.h"
#include "worker/sink.h"

struct ia_psk_sync;

/* Borrows everything.  `key_file` NULL: no pre-shared keys.  NULL: out of memory. */
struct ia_psk_sync *ia_psk_sync_new(struct ia_db *db, struct ia_outbox *outbox, const char *key_file,
                                    const struct ia_sink *sink);
void ia_psk_sync_free(struct ia_psk_sync *sync);

/* The row of this identity has changed: read it again.  After too many changes, all rows are read again. */
void ia_psk_sync_changed(struct ia_psk_sync *sync, const char *identity);

/* The broker thread asks for this identity, which it does not know.  Ignored while many are waiting: a client that
 * invents identities must not cause a resync. */
void ia_psk_sync_ask(struct ia_psk_sync *sync, const char *identity);

/* There is a new connection, or any row may have changed: read all of them. */
void ia_psk_sync_connected(struct ia_psk_sync *sync);
void ia_psk_sync_refresh(struct ia_psk_sync *sync);

/* Read the key file again, now: needs no connection. */
void ia_psk_sync_read_keys(struct ia_psk_sync *sync);

/* Read what is due: changed rows, the key file, or the next page. */
bool ia_psk_sync_due(const struct ia_psk_sync *sync);
int64_t ia_psk_sync_wait_ms(const struct ia_psk_sync *sync); /* until it is due; -1: nothing is */
IA_MUST_USE enum ia_rc ia_psk_sync_read(struct ia_psk_sync *sync, struct ia_err *err);
