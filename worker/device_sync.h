// SPDX-License-Identifier: ISC
/* Keeps the broker thread's device records current: reads the devices again that a notification names, and all devices
 * in a resync.  A resync is a stream in a few parts: each occupies the connection for as long as it lasts, and everything
 * else gets its turn between two parts.  Worker thread. */
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

/* Any device may have changed: read all of them, from the beginning. */
void ia_device_sync_restart(struct ia_device_sync *sync);

/* The connection was lost: the resync that is under way is not completed. */
void ia_device_sync_abort(struct ia_device_sync *sync);

/* Read the changed devices and send their records. */
bool ia_device_sync_changes_due(const struct ia_device_sync *sync);
IA_MUST_USE enum ia_rc ia_device_sync_read_changes(struct ia_device_sync *sync, struct ia_err *err);

/* Read the next part of the resync and send its records. */
bool ia_device_sync_resync_due(const struct ia_device_sync *sync);
IA_MUST_USE enum ia_rc ia_device_sync_read_part(struct ia_device_sync *sync, struct ia_err *err);
