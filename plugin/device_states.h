// SPDX-License-Identifier: ISC
/* Statuses of changed devices, read without the rest of their records because another table is locked.  They close what is
 * no longer ACTIVE, and open nothing: that is left to the records, which follow.  Broker thread. */
#pragma once

#include "plugin/core.h"
#include "worker/channel.h"

/* Of the devices states->ids; the states by device id (strcmp), then fingerprint.  A device without state is deleted. */
void ia_device_states_apply(struct ia_core *core, const struct ia_device_records *states);

/* Of any devices, each state for itself: what is not among them stays as it is. */
void ia_device_states_close(struct ia_core *core, const struct ia_device_records *states);
