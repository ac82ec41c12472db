// SPDX-License-Identifier: ISC
/* What is known of the broker itself: does it send TICK, is it reloading, which thread is its own.  Broker thread, but for
 * ia_broker_is_own_thread. */
#pragma once

#include "plugin/core.h"

struct ia_broker_state;

/* To be called on the broker's thread.  NULL when out of memory. */
struct ia_broker_state *ia_broker_state_new(void);
void ia_broker_state_free(struct ia_broker_state *state);

/* Is this the broker's main thread?  Mosquitto 2.1 calls BASIC_AUTH and ACL_CHECK for its http_api listener on another.
 * Any thread. */
bool ia_broker_is_own_thread(const struct ia_core *core);

/* TICK has come. */
void ia_broker_tick(struct ia_core *core);

/* Are the counters to be published in this TICK?  Once a second, so that the row in iot_auth.node is at most a heartbeat
 * and a second old. */
bool ia_broker_publish_due(struct ia_core *core);

/* RELOAD (SIGHUP): until the next TICK Mosquitto may ask BASIC_AUTH of clients that it has. */
void ia_broker_reload(struct ia_core *core);
bool ia_broker_is_reloading(const struct ia_core *core);

/* Does Mosquitto send TICK?  Without it no client would ever be disconnected (2.0.11 sends none under
 * per_listener_settings), so two seconds after the first question everything is denied. */
bool ia_broker_has_ticks(struct ia_core *core);
