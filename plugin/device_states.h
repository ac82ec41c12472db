// SPDX-License-Identifier: ISC
/* Statuses of changed devices, read without the rest of their records because another table is locked.  They close what is
 * no longer ACTIVE, and open nothing: that is left to the records, which follow.  Broker thread. */
#pragma once

#include "plugin/core.h"
#include "worker/channel.h"

void ia_device_states_apply(struct ia_core *core, const struct ia_device_records *states);
