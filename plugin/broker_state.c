// SPDX-License-Identifier: ISC
#include "plugin/broker_state.h"

#include "plugin/log.h"
#include "plugin/mosquitto_compat.h"

#include <pthread.h>
#include <stdlib.h>

#define TICK_MISSING_US  2000000
#define PUBLISH_EVERY_US 1000000

struct ia_broker_state {
    pthread_t thread;
    int64_t first_call_us, last_tick_us; /* 0: not yet */
    int64_t next_publish_us;
    bool reloading; /* between RELOAD and TICK */
    bool tickless_logged;
};

struct ia_broker_state *ia_broker_state_new(void)
{
    struct ia_broker_state *state = calloc(1, sizeof *state);
    if (state)
        state->thread = pthread_self();
    return state;
}

void ia_broker_state_free(struct ia_broker_state *state)
{
    free(state);
}

bool ia_broker_is_own_thread(const struct ia_core *core)
{
    return pthread_equal(core->broker->thread, pthread_self()) != 0;
}

void ia_broker_tick(struct ia_core *core)
{
    core->broker->last_tick_us = ia_monotonic_us();
    core->broker->reloading = false;
}

bool ia_broker_publish_due(struct ia_core *core)
{
    struct ia_broker_state *state = core->broker;
    if (state->last_tick_us < state->next_publish_us)
        return false;
    state->next_publish_us = state->last_tick_us + PUBLISH_EVERY_US;
    return true;
}

/* Only TICK ends it. */
void ia_broker_reload(struct ia_core *core)
{
    core->broker->reloading = core->broker->last_tick_us != 0;
}

bool ia_broker_is_reloading(const struct ia_core *core)
{
    return core->broker->reloading;
}

bool ia_broker_has_ticks(struct ia_core *core)
{
    struct ia_broker_state *state = core->broker;
    if (state->last_tick_us)
        return true;
    int64_t now = ia_monotonic_us();
    if (!state->first_call_us)
        state->first_call_us = now;
    if (now - state->first_call_us < TICK_MISSING_US)
        return true;
    if (!state->tickless_logged)
        ia_log(MOSQ_LOG_ERR,
               "Mosquitto sends no TICK (is per_listener_settings true on 2.0?), so everything is denied");
    state->tickless_logged = true;
    return false;
}
