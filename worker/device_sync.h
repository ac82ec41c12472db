// SPDX-License-Identifier: ISC
/* Keeps the broker thread's device records current: reads the devices again that a notification names, and all devices
 * in a resync.  After a connect, or where a notification says that any device may have changed, a resync is a stream in a
 * few parts; the periodic one, in case a notification was lost, is read in pages of 2,000 records.
 * Each part or page occupies the connection for as long as it lasts, and everything else gets its turn between two of
 * them.  Worker thread. */
#pragma once

#include "common/error.h"
#include "sql/db.h"
#include "worker/config_sync.h"
#include "worker/sink.h"

struct ia_device_sync;

/* Borrows everything.  `config` knows which roles the policy has.  NULL: out of memory. */
struct ia_device_sync *ia_device_sync_new(struct ia_db *db, struct ia_config_sync *config, const struct ia_sink *sink);
void ia_device_sync_free(struct ia_device_sync *sync);

/* This device has changed: read it again.  Of too many changed devices, all are read again. */
void ia_device_sync_changed(struct ia_device_sync *sync, const char *device_id);

/* The broker thread asks for this device.  Ignored while many changes are waiting: it can ask again, and its question
 * must not cause a resync. */
void ia_device_sync_ask(struct ia_device_sync *sync, const char *device_id);

/* There is a new connection: read all devices, at once. */
void ia_device_sync_connected(struct ia_device_sync *sync);

/* Any device may have changed: read all of them once more, after the resync that is under way. */
void ia_device_sync_restart(struct ia_device_sync *sync);

/* Read all devices again in pages, unless that is under way. */
void ia_device_sync_refresh(struct ia_device_sync *sync);
int64_t ia_device_sync_wait_ms(const struct ia_device_sync *sync); /* until a resync may begin; -1: none is wanted */

/* The connection was lost: the resync that is under way is not completed. */
void ia_device_sync_abort(struct ia_device_sync *sync);

/* Read the changed devices and send their records. */
bool ia_device_sync_changes_due(const struct ia_device_sync *sync);
IA_MUST_USE enum ia_rc ia_device_sync_read_changes(struct ia_device_sync *sync, struct ia_err *err);

/* While a table is locked that records are joined from: send the statuses alone of what has changed since, which is all
 * that a revocation needs.  It waits for no lock but those of the statuses' own tables. */
bool ia_device_sync_is_locked(const struct ia_device_sync *sync);
bool ia_device_sync_states_due(const struct ia_device_sync *sync);
IA_MUST_USE enum ia_rc ia_device_sync_read_states(struct ia_device_sync *sync, struct ia_err *err);

/* Read the next part of the resync and send its records. */
bool ia_device_sync_resync_due(const struct ia_device_sync *sync);
IA_MUST_USE enum ia_rc ia_device_sync_read_part(struct ia_device_sync *sync, struct ia_err *err);
