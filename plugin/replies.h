// SPDX-License-Identifier: ISC
/* Applies what the worker sends, in order.  May run inside any callback: it
 * only marks clients for disconnect, TICK disconnects them.  Broker thread. */
#pragma once

#include "plugin/core.h"

/* Apply what is there, for a few milliseconds at most. */
void ia_replies_apply(struct ia_core *core);

/* Wait at most wait_us for one reply, and apply it.  False: none came.  Before the broker serves anybody, and never
 * after. */
bool ia_replies_wait_at_start(struct ia_core *core, int64_t wait_us);
