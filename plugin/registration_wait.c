// SPDX-License-Identifier: ISC
#include "plugin/registration_wait.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FREE_WAIT_US   20000    /* of one wait, that costs nobody anything */
#define BUDGET_US      250000   /* of waits beyond that, for each second */
#define NEGATIVE_US    1000000  /* how long a refusal by the registry is believed */
#define UNANSWERED_US  60000000 /* then the question was lost with its connection */
#define NAMES_A_SECOND 64
#define PENDING_MAX    20000

static struct ia_pending *pending_find(struct ia_core *core, const uint8_t *fingerprint)
{
    struct ia_pending *p = NULL;
    HASH_FIND(hh, core->pending, fingerprint, IA_FINGERPRINT_LEN, p);
    return p;
}

static struct ia_pending *pending_get(struct ia_core *core, const uint8_t *fingerprint)
{
    struct ia_pending *p = pending_find(core, fingerprint);
    if (p || HASH_COUNT(core->pending) >= PENDING_MAX)
        return p;
    p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    memcpy(p->fingerprint, fingerprint, sizeof p->fingerprint);
    p->answered = true; /* nothing is on its way */
    p->reason = IA_R_DEVICE_UNKNOWN;
    HASH_ADD(hh, core->pending, fingerprint, IA_FINGERPRINT_LEN, p);
    if (p->hh.tbl)
        return p;
    free(p);
    return NULL;
}

static void asked(struct ia_pending *p, bool registering)
{
    p->answered = false;
    p->registering = registering;
    p->at_us = ia_monotonic_us();
}

/* The record in memory.  One that the last walk through all devices did not find is gone, also where the sweep has yet
 * to come by, or the next walk has called it off. */
static struct ia_device *recall(struct ia_core *core, const uint8_t *fingerprint)
{
    struct ia_device *device = ia_device_cache_find(core->devices, fingerprint);
    uint8_t walks = (uint8_t)(core->seen - core->walked_seen);
    if (!device || (uint8_t)(core->seen - device->seen) <= walks)
        return device;
    ia_device_cache_remove(core->devices, fingerprint);
    return NULL;
}

void ia_registration_prefetch(struct ia_core *core, const uint8_t fingerprint[IA_FINGERPRINT_LEN])
{
    if (!core->db_up || recall(core, fingerprint) || pending_find(core, fingerprint))
        return;
    struct ia_request *request = ia_request_new(IA_REQUEST_LOOKUP, NULL);
    if (!request)
        return;
    memcpy(request->fingerprint, fingerprint, IA_FINGERPRINT_LEN);
    if (!ia_worker_ask(core->worker, request))
        return;
    struct ia_pending *p = pending_get(core, fingerprint);
    if (p)
        asked(p, false);
}

/* Send the registration, unless it is on its way already. */
static bool ask(struct ia_core *core, struct ia_pending *p, const struct ia_unregistered_device *who)
{
    if (!p->answered && p->registering)
        return true;
    struct ia_request *request = ia_request_new(IA_REQUEST_REGISTER, NULL);
    if (!request)
        return false;
    request->registration.info = *who->info;
    request->registration.ca_id = who->ca_id;
    (void)snprintf(request->registration.device_id, sizeof request->registration.device_id, "%s", who->device_id);
    (void)snprintf(request->registration.address, sizeof request->registration.address, "%s",
                   who->address ? who->address : "");
    if (!ia_worker_ask(core->worker, request))
        return false;
    asked(p, true);
    return true;
}

/* For how long may the broker thread wait now?  Long waits are a debt, paid off at 250 ms a second, so that a slow
 * database and a storm of new devices cannot starve the live sessions; and between two TICKs, when the live sessions
 * have their turn, all waits together last no longer than auth_wait_ms. */
static int64_t allowance_us(struct ia_core *core)
{
    int64_t now = ia_monotonic_us();
    int64_t paid = (now - core->waited_since_us) / 1000 * BUDGET_US / 1000;
    core->waited_us = paid < core->waited_us ? core->waited_us - paid : 0;
    core->waited_since_us = now;
    return core->waited_us < BUDGET_US ? core->options.auth_wait_ms * 1000 - core->waited_turn_us : 0;
}

static void account(struct ia_core *core, int64_t waited_us)
{
    core->counters.waits++;
    if ((uint64_t)waited_us > core->counters.longest_wait_us)
        core->counters.longest_wait_us = (uint64_t)waited_us;
    if (waited_us > FREE_WAIT_US)
        core->waited_us += waited_us - FREE_WAIT_US;
    core->waited_turn_us += waited_us;
}

/* Wait for the answer of a registration, or for the record to arrive by an earlier look-up; not beyond the news that
 * the connection is lost. */
static struct ia_device *await(struct ia_core *core, const uint8_t *fingerprint, int64_t most_us)
{
    int64_t begun = ia_monotonic_us(), until = begun + most_us;
    struct ia_device *device = NULL;
    for (;;) {
        device = recall(core, fingerprint);
        const struct ia_pending *p = pending_find(core, fingerprint);
        int64_t left = until - ia_monotonic_us();
        if (device || left <= 0 || !core->db_up || !p || (p->answered && p->registering))
            break;
        if (!ia_replies_wait(core, left))
            break;
    }
    account(core, ia_monotonic_us() - begun);
    return device;
}

static enum ia_reason unavailable(char *detail, size_t size, const char *why)
{
    (void)snprintf(detail, size, "%s", why);
    return IA_R_REGISTRY_UNAVAILABLE;
}

/* What the registry said a moment ago stands for a second. */
static bool is_refused_lately(const struct ia_pending *p)
{
    return p->answered && p->registering && p->reason != IA_R_NONE && p->reason != IA_R_REGISTRY_UNAVAILABLE &&
           ia_monotonic_us() - p->at_us < NEGATIVE_US;
}

enum ia_reason ia_registration_find(struct ia_core *core, const struct ia_unregistered_device *who,
                                    struct ia_device **device, char *detail, size_t detail_size)
{
    const uint8_t *fingerprint = who->info->fingerprint;
    *device = recall(core, fingerprint);
    if (*device) {
        core->counters.cache_hits++;
        return IA_R_NONE;
    }
    core->counters.cache_misses++;
    if (!core->db_up)
        return unavailable(detail, detail_size, "the database is not connected");
    struct ia_pending *p = pending_get(core, fingerprint);
    if (!p)
        return unavailable(detail, detail_size, "too many devices are waiting for the registry");
    if (!is_refused_lately(p)) {
        if (!ask(core, p, who))
            return unavailable(detail, detail_size, "too many requests are waiting for the database");
        int64_t most_us = allowance_us(core);
        if (most_us <= 0)
            return unavailable(detail, detail_size, "the database is slow; the registration goes on");
        *device = await(core, fingerprint, most_us);
        if (*device)
            return IA_R_NONE;
        p = pending_find(core, fingerprint);
        if (!core->db_up)
            return unavailable(detail, detail_size, "the database is not connected");
    }
    if (!p || !p->answered || !p->registering)
        return unavailable(detail, detail_size, "no answer within auth_wait_ms; the registration goes on");
    (void)snprintf(detail, detail_size, "%s", p->detail);
    return p->reason == IA_R_NONE ? IA_R_INTERNAL : p->reason; /* a record that could not be kept */
}

void ia_registration_ask_by_name(struct ia_core *core, const char *device_id)
{
    int64_t now_s = ia_wall_s();
    if (core->named_asked_s != now_s) {
        core->named_asked_s = now_s;
        core->named_asked = 0;
    }
    bool is_device = strncmp(device_id, "app:", 4) != 0 && strlen(device_id) <= IA_VALUE_MAX;
    if (!is_device || !core->db_up || core->named_asked++ >= NAMES_A_SECOND)
        return;
    struct ia_request *request = ia_request_new(IA_REQUEST_DEVICE, NULL);
    if (request)
        (void)snprintf(request->device_id, sizeof request->device_id, "%s", device_id);
    (void)ia_worker_ask(core->worker, request);
}

void ia_registration_clear(struct ia_core *core)
{
    struct ia_pending *p, *next;
    HASH_ITER(hh, core->pending, p, next) {
        HASH_DEL(core->pending, p);
        free(p);
    }
}

void ia_registration_tidy(struct ia_core *core)
{
    struct ia_pending *p, *next;
    int64_t now = ia_monotonic_us();
    HASH_ITER(hh, core->pending, p, next) {
        if (now - p->at_us < (p->answered ? NEGATIVE_US : UNANSWERED_US))
            continue;
        HASH_DEL(core->pending, p);
        free(p);
    }
}
