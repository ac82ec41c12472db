// SPDX-License-Identifier: ISC
/* Resync: all device records are read again, page by page, after a reconnect and from time to time.  Each record that a
 * page holds is marked with the resync's epoch; what has an older mark afterwards has been deleted.  Broker thread. */
#pragma once

#include "plugin/core.h"

struct ia_resync;

struct ia_resync *ia_resync_new(void); /* NULL when out of memory */
void ia_resync_free(struct ia_resync *resync);

void ia_resync_begin(struct ia_core *core);

/* One record of a page: takes the reference over. */
void ia_resync_record(struct ia_core *core, struct ia_device *device);

/* All pages have been applied: clients of deleted devices are marked for disconnect; records are swept from TICK. */
void ia_resync_end(struct ia_core *core);

/* Sweep a slice of the cache.  True: there is more to do. */
bool ia_resync_sweep(struct ia_core *core);

/* Have all devices been read at least once? */
bool ia_resync_is_complete(const struct ia_core *core);

/* Keep a record that was read just now, with its mark, and give it to the clients that it concerns.  Takes the reference
 * over. */
void ia_resync_keep(struct ia_core *core, struct ia_device *device);

/* Keep it without giving it to clients.  Takes the reference over; without memory nothing is kept for its fingerprint. */
void ia_resync_put(struct ia_core *core, struct ia_device *device);

/* The record of that certificate in memory, or NULL.  A record that the last completed resync did not find has been
 * deleted, even if the sweep has not removed it yet. */
struct ia_device *ia_resync_find_device(struct ia_core *core, const uint8_t fingerprint[IA_FINGERPRINT_LEN]);

/* ---- for the tests */

bool ia_resync_is_sweeping(const struct ia_core *core);
