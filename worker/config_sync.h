// SPDX-License-Identifier: ISC
/* Keeps the broker thread's configuration current: reads the changed parts from the database, fetches the issuers' keys,
 * builds snapshots, and writes what is wrong with a row into its `problem` column and the log.  Worker thread. */
#pragma once

#include "common/error.h"
#include "jitr/ca_settings.h"
#include "oauth/fetch.h"
#include "sql/db.h"
#include "sql/rows.h"
#include "worker/outbox.h"
#include "worker/sink.h"

struct ia_config_sync;

/* How the keys of issuers are fetched and kept. */
struct ia_key_options {
    struct ia_fetch_options fetch;
    int64_t stale_max_s;   /* how long the last good keys are used while no fetch succeeds; 0: no limit */
    const char *state_dir; /* where they survive a restart; NULL: nowhere */
};

/* Borrows db, outbox and sink; copies the key options.  The caller owns *out. */
IA_MUST_USE enum ia_rc ia_config_sync_new(const struct ia_key_options *keys, struct ia_db *db, struct ia_outbox *outbox,
                                          const struct ia_sink *sink, struct ia_config_sync **out, struct ia_err *err);
void ia_config_sync_free(struct ia_config_sync *sync);

/* These parts (a set of enum ia_load) may have changed: they are read again. */
void ia_config_sync_invalidate(struct ia_config_sync *sync, unsigned parts);

/* The same, because a notification says so: the time until the change is in force is measured from here. */
void ia_config_sync_notified(struct ia_config_sync *sync, unsigned parts);

/* There is a new connection: read everything, at once. */
void ia_config_sync_connected(struct ia_config_sync *sync);

/* Read the parts that may have changed, and send a snapshot, once each part was read at least once.  A part that the
 * server refuses stays as it was read last; it is logged and tried again, and the others do not wait for it. */
bool ia_config_sync_due(const struct ia_config_sync *sync);
int64_t ia_config_sync_wait_ms(const struct ia_config_sync *sync); /* until it is due; -1: nothing has changed */
IA_MUST_USE enum ia_rc ia_config_sync_reload(struct ia_config_sync *sync, struct ia_err *err);

/* Is one of these parts to be read again, but not yet?  For half a second at most: notifications, which any role can send,
 * must not keep the worker busy with reloads. */
bool ia_config_sync_is_paused(const struct ia_config_sync *sync, unsigned parts);

/* The CAs of the last snapshot, borrowed until the next reload; NULL before the first. */
const struct ia_ca_set *ia_config_sync_cas(const struct ia_config_sync *sync);

/* The settings of the CAs in the last snapshot, likewise. */
const struct ia_ca_settings_set *ia_config_sync_ca_settings(const struct ia_config_sync *sync);

bool ia_config_sync_has_role(const struct ia_config_sync *sync, const char *role); /* in the last snapshot */

/* ---- keys of issuers that come by URL */

/* A token names a key of this issuer that is not known. */
void ia_config_sync_request_keys(struct ia_config_sync *sync, const char *issuer);

/* Start the fetches that are due, and go on with those in flight.  Never waits. */
void ia_config_sync_run_fetches(struct ia_config_sync *sync);

/* Without the database: build the issuers with the keys fetched since from the rows read last, and send a snapshot. */
void ia_config_sync_adopt_keys(struct ia_config_sync *sync);

/* ia_config_sync_run_fetches has something to do when this descriptor is readable (-1: not yet), or after so many
 * milliseconds (-1: never). */
int ia_config_sync_fetch_fd(const struct ia_config_sync *sync);
int64_t ia_config_sync_fetch_wait_ms(const struct ia_config_sync *sync);

/* Abort the fetches and close their sockets, which belong to the worker thread's descriptor table. */
void ia_config_sync_stop_fetches(struct ia_config_sync *sync);
