// SPDX-License-Identifier: ISC
/* Registrations that wait for the hook of their CA, a lane for each CA: what one CA's hook does holds up that lane alone.
 * Each lane has a bound of its own, one registration at a time, and a pause of its own after a hook that did not end.  A hook
 * that was slow lately is given at most IA_HOOK_SLOW_MAX of the threads, so that the others never wait for slow ones.
 *
 * `now_ms` is an argument (ia_monotonic_ms).  No lock: the caller has one.  Zeroed memory is valid and empty. */
#pragma once

#include "worker/channel.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IA_HOOK_LANE_MAX   512   /* registrations that wait in one lane */
#define IA_HOOK_GIVE_UP_MS 2500  /* one that has waited that long is refused: its client may try again */
#define IA_HOOK_REST_MS    2000  /* without calls of a hook that did not end */
#define IA_HOOK_SLOW_MS    10000 /* how long a hook counts as slow after a slow call */
#define IA_HOOK_SLOW_MAX   4     /* slow hooks that run at a time */

enum ia_hook_pace { IA_HOOK_FAST, IA_HOOK_SLOW, IA_HOOK_UNENDED };

struct ia_hook_lane;

struct ia_hook_lanes {
    struct ia_hook_lane *first;
    size_t n_waiting;
};

/* Let the registration wait.  False (the lane is full, or out of memory): it is still the caller's. */
bool ia_hook_lanes_add(struct ia_hook_lanes *lanes, struct ia_request *request);

/* The registration to be made next, whose lane is in work from now on; NULL: none. */
struct ia_request *ia_hook_lanes_take(struct ia_hook_lanes *lanes, int64_t now_ms);

/* The lane is no longer in work. */
void ia_hook_lanes_finish(struct ia_hook_lanes *lanes, int64_t ca_id, enum ia_hook_pace pace, int64_t now_ms);

/* A registration that has waited too long, the caller's again; NULL: none. */
struct ia_request *ia_hook_lanes_give_up(struct ia_hook_lanes *lanes, int64_t now_ms);

/* How many registrations could be taken now, one after the other; and the time until ia_hook_lanes_give_up has one (-1: never),
 * or a pause ends. */
size_t ia_hook_lanes_ready(const struct ia_hook_lanes *lanes, int64_t now_ms);
int64_t ia_hook_lanes_give_up_ms(const struct ia_hook_lanes *lanes, int64_t now_ms);
int64_t ia_hook_lanes_rest_ms(const struct ia_hook_lanes *lanes, int64_t now_ms);

/* Free what waits. */
void ia_hook_lanes_clear(struct ia_hook_lanes *lanes);
