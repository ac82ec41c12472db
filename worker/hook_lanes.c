// SPDX-License-Identifier: ISC
#include "worker/hook_lanes.h"

#include "common/clock.h"

#include <stdlib.h>

struct ia_hook_lane {
    struct ia_hook_lane *next;
    int64_t ca_id;
    struct ia_fifo waiting; /* struct ia_request, the oldest first */
    bool in_work;
    int64_t rests_until_ms, slow_until_ms; /* 0: it does not rest, it is not slow */
};

static struct ia_hook_lane *find_lane(const struct ia_hook_lanes *lanes, int64_t ca_id)
{
    struct ia_hook_lane *lane = lanes->first;
    while (lane && lane->ca_id != ca_id)
        lane = lane->next;
    return lane;
}

static struct ia_hook_lane *make_lane(struct ia_hook_lanes *lanes, int64_t ca_id)
{
    struct ia_hook_lane *lane = calloc(1, sizeof *lane);
    if (!lane)
        return NULL;
    lane->ca_id = ca_id;
    lane->next = lanes->first;
    lanes->first = lane;
    return lane;
}

static struct ia_request *oldest_of(const struct ia_hook_lane *lane)
{
    return lane->waiting.head ? ia_container_of(lane->waiting.head, struct ia_request, link) : NULL;
}

static struct ia_request *take_oldest(struct ia_hook_lanes *lanes, struct ia_hook_lane *lane)
{
    lanes->n_waiting--;
    return ia_requests_take(&lane->waiting);
}

/* Lanes that hold nothing, not even a pause, are forgotten: a CA may be deleted. */
static void forget_lanes(struct ia_hook_lanes *lanes, int64_t now_ms)
{
    for (struct ia_hook_lane **at = &lanes->first; *at;) {
        struct ia_hook_lane *lane = *at;
        bool is_used =
            lane->in_work || lane->waiting.n > 0 || lane->rests_until_ms > now_ms || lane->slow_until_ms > now_ms;
        if (is_used) {
            at = &lane->next;
            continue;
        }
        *at = lane->next;
        free(lane);
    }
}

bool ia_hook_lanes_add(struct ia_hook_lanes *lanes, struct ia_request *request)
{
    struct ia_hook_lane *lane = find_lane(lanes, request->registration.ca_id);
    if (!lane)
        lane = make_lane(lanes, request->registration.ca_id);
    if (!lane || lane->waiting.n >= IA_HOOK_LANE_MAX)
        return false;
    ia_fifo_append(&lane->waiting, &request->link);
    lanes->n_waiting++;
    return true;
}

/* Slow hooks that run. */
static size_t slow_in_work(const struct ia_hook_lanes *lanes, int64_t now_ms)
{
    size_t n = 0;
    for (const struct ia_hook_lane *lane = lanes->first; lane; lane = lane->next)
        n += lane->in_work && lane->slow_until_ms > now_ms;
    return n;
}

static bool is_ready(const struct ia_hook_lane *lane, size_t n_slow, int64_t now_ms)
{
    bool is_slow = lane->slow_until_ms > now_ms;
    return !lane->in_work && lane->waiting.n > 0 && lane->rests_until_ms <= now_ms &&
           (!is_slow || n_slow < IA_HOOK_SLOW_MAX);
}

struct ia_request *ia_hook_lanes_take(struct ia_hook_lanes *lanes, int64_t now_ms)
{
    struct ia_hook_lane *found = NULL;
    size_t n_slow = slow_in_work(lanes, now_ms);
    for (struct ia_hook_lane *lane = lanes->first; lane; lane = lane->next)
        if (is_ready(lane, n_slow, now_ms) && (!found || oldest_of(lane)->taken_ms < oldest_of(found)->taken_ms))
            found = lane;
    if (!found)
        return NULL;
    found->in_work = true;
    return take_oldest(lanes, found);
}

void ia_hook_lanes_finish(struct ia_hook_lanes *lanes, int64_t ca_id, enum ia_hook_pace pace, int64_t now_ms)
{
    struct ia_hook_lane *lane = find_lane(lanes, ca_id);
    if (!lane)
        return;
    lane->in_work = false;
    lane->slow_until_ms = pace == IA_HOOK_FAST ? 0 : now_ms + IA_HOOK_SLOW_MS;
    lane->rests_until_ms = pace == IA_HOOK_UNENDED ? now_ms + IA_HOOK_REST_MS : 0;
    forget_lanes(lanes, now_ms);
}

struct ia_request *ia_hook_lanes_give_up(struct ia_hook_lanes *lanes, int64_t now_ms)
{
    for (struct ia_hook_lane *lane = lanes->first; lane; lane = lane->next)
        if (lane->waiting.n > 0 && now_ms - oldest_of(lane)->taken_ms >= IA_HOOK_GIVE_UP_MS)
            return take_oldest(lanes, lane);
    forget_lanes(lanes, now_ms);
    return NULL;
}

size_t ia_hook_lanes_ready(const struct ia_hook_lanes *lanes, int64_t now_ms)
{
    size_t n = 0, n_slow = slow_in_work(lanes, now_ms);
    for (const struct ia_hook_lane *lane = lanes->first; lane; lane = lane->next) {
        if (!is_ready(lane, n_slow, now_ms))
            continue;
        n++;
        n_slow += lane->slow_until_ms > now_ms;
    }
    return n;
}

static int64_t left_ms(int64_t until_ms, int64_t now_ms)
{
    return until_ms > now_ms ? until_ms - now_ms : 0;
}

int64_t ia_hook_lanes_give_up_ms(const struct ia_hook_lanes *lanes, int64_t now_ms)
{
    int64_t wait = -1;
    for (const struct ia_hook_lane *lane = lanes->first; lane; lane = lane->next)
        if (lane->waiting.n > 0)
            wait = ia_sooner_ms(wait, left_ms(oldest_of(lane)->taken_ms + IA_HOOK_GIVE_UP_MS, now_ms));
    return wait;
}

int64_t ia_hook_lanes_rest_ms(const struct ia_hook_lanes *lanes, int64_t now_ms)
{
    int64_t wait = -1;
    for (const struct ia_hook_lane *lane = lanes->first; lane; lane = lane->next)
        if (lane->waiting.n > 0 && lane->rests_until_ms > now_ms)
            wait = ia_sooner_ms(wait, lane->rests_until_ms - now_ms);
    return wait;
}

void ia_hook_lanes_clear(struct ia_hook_lanes *lanes)
{
    while (lanes->first) {
        struct ia_hook_lane *lane = lanes->first;
        lanes->first = lane->next;
        while (lane->waiting.n > 0)
            ia_request_free(take_oldest(lanes, lane));
        free(lane);
    }
}
