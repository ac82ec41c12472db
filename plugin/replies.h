// SPDX-License-Identifier: ISC
/* Applies what the worker sends, in order, and keeps what is known of the database.  May run inside any callback: it
 * only marks clients for disconnect, TICK disconnects them.  Broker thread. */
#pragma once

#include "plugin/core.h"

struct ia_database_state;

struct ia_database_state *ia_database_state_new(void); /* NULL when out of memory */
void ia_database_state_free(struct ia_database_state *state);

/* Apply what is there, for a few milliseconds at most. */
void ia_replies_apply(struct ia_core *core);

/* Wait at most wait_us for one reply, and apply it.  False: none came. */
bool ia_replies_wait(struct ia_core *core, int64_t wait_us);

/* Is the database reachable? */
bool ia_replies_database_up(const struct ia_core *core);

/* Seconds since the database answered last; -1: it never has. */
int64_t ia_replies_database_age_s(const struct ia_core *core, int64_t now);

/* Has it been unreachable for longer than stale_max_s? */
bool ia_replies_is_stale(const struct ia_core *core, int64_t now);
