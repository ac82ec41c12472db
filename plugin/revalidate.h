// SPDX-License-Identifier: ISC
/* Live sessions: may they go on?  Revalidated when the configuration changes, when their device does, and when they
 * expire; disconnected from TICK only, in slices, so that ten thousand at once delay no other client.  Broker thread. */
#pragma once

#include "plugin/core.h"

struct ia_session_scan;

struct ia_session_scan *ia_session_scan_new(void); /* NULL when out of memory */
void ia_session_scan_free(struct ia_session_scan *scan);

/* May this live session go on, as things are now?  Marks it for disconnect where not.  Of an ended one the shared
 * subscriptions end that it may no longer read.  Not from ACL_CHECK, where Mosquitto is going through its subscriptions. */
void ia_revalidate(struct ia_core *core, struct ia_client *client);

/* Its certificate, or with `device_too` its device, is no longer in the registry: a live session is marked for disconnect,
 * an ended one of a deleted device loses all its shared subscriptions.  Not from ACL_CHECK. */
void ia_revalidate_deleted(struct ia_core *core, struct ia_client *client, bool device_too);

/* A session that was resumed just now: may it read what its shared subscriptions bring?  Marks it where not. */
void ia_revalidate_shared(struct ia_core *core, struct ia_client *client);

/* May the will of this ended client still be published? */
enum ia_reason ia_revalidate_ended(struct ia_core *core, const struct ia_client *client);

/* The first second at which this session is over: its token's, or that after the notAfter of its chain. */
int64_t ia_revalidate_expiry(const struct ia_client *client, int64_t token_expires_at);

/* A session's expiry is known, or has changed. */
void ia_revalidate_note_expiry(struct ia_core *core, const struct ia_client *client);

/* To be disconnected from the next TICK, for `reason`.  From any callback. */
void ia_disconnect_mark(struct ia_core *core, struct ia_client *client, enum ia_reason reason);

/* Call `check` once with each live session, in slices from TICK.  It may mark the session for disconnect.  A later call
 * begins another round, with its own `check`. */
typedef void ia_session_check(struct ia_core *core, struct ia_client *client);
void ia_revalidate_each(struct ia_core *core, ia_session_check *check);

/* Is Mosquitto disconnecting this client at this moment, on our behalf? */
bool ia_disconnect_is_under_way(const struct ia_core *core, const struct ia_client *client);

/* Disconnect what is marked, revalidate what is due, for at most budget_us.  True: there is more to do. */
bool ia_revalidate_slice(struct ia_core *core, int64_t budget_us);
