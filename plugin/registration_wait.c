// SPDX-License-Identifier: ISC
#include "plugin/registration_wait.h"

#include "common/principal.h"
#include "jitr/registration.h"
#include "plugin/database_state.h"
#include "plugin/replies.h"
#include "plugin/resync.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_A_SECOND 64

struct ia_registration_wait {
    struct ia_wait_budget budget;
    size_t named; /* devices asked for by name in the present second … */
    int64_t named_s;
};

struct ia_registration_wait *ia_registration_wait_new(void)
{
    return calloc(1, sizeof(struct ia_registration_wait));
}

void ia_registration_wait_free(struct ia_registration_wait *wait)
{
    free(wait);
}

void ia_registration_prefetch(struct ia_core *core, const uint8_t fingerprint[IA_FINGERPRINT_LEN])
{
    struct ia_registrations *pending = core->registrations;
    if (!ia_database_is_up(core) || ia_resync_find_device(core, fingerprint) ||
        ia_registration_find(pending, fingerprint))
        return;
    struct ia_request *request = ia_request_new(IA_REQUEST_LOOKUP, NULL);
    if (!request)
        return;
    memcpy(request->fingerprint, fingerprint, IA_FINGERPRINT_LEN);
    if (ia_worker_ask(core->worker, request))
        (void)ia_registration_ask(pending, fingerprint, false, ia_monotonic_us());
}

/* Send the registration, unless it is under way already. */
static bool send_registration(struct ia_core *core, const struct ia_unregistered_device *who)
{
    struct ia_registrations *pending = core->registrations;
    if (ia_registration_is_pending(ia_registration_find(pending, who->info->fingerprint)))
        return true;
    struct ia_request *request = ia_request_new(IA_REQUEST_REGISTER, NULL);
    if (!request)
        return false;
    struct ia_register_request *r = &request->registration;
    r->info = *who->info;
    r->ca_id = who->ca_id;
    (void)snprintf(r->device_id, sizeof r->device_id, "%s", who->device_id);
    (void)snprintf(r->address, sizeof r->address, "%s", who->address ? who->address : "");
    return ia_worker_ask(core->worker, request) &&
           ia_registration_ask(pending, who->info->fingerprint, true, ia_monotonic_us());
}

static void count_wait(struct ia_core *core, int64_t waited_us)
{
    core->counters.waits++;
    ia_histogram_note(&core->counters.parked, waited_us);
    if ((uint64_t)waited_us > core->counters.longest_wait_us)
        core->counters.longest_wait_us = (uint64_t)waited_us;
    ia_wait_budget_spend(&core->wait->budget, waited_us);
}

/* Wait for the answer to a registration, or for the record to arrive by an earlier look-up; not beyond the report that
 * the connection is lost. */
static struct ia_device *wait_for_device(struct ia_core *core, const uint8_t *fingerprint, int64_t most_us)
{
    int64_t begun = ia_monotonic_us(), until = begun + most_us;
    struct ia_device *device = NULL;
    for (;;) {
        device = ia_resync_find_device(core, fingerprint);
        int64_t left = until - ia_monotonic_us();
        if (device || left <= 0 || !ia_database_is_up(core) ||
            !ia_registration_is_pending(ia_registration_find(core->registrations, fingerprint)))
            break;
        if (!ia_replies_wait(core, left))
            break;
    }
    count_wait(core, ia_monotonic_us() - begun);
    return device;
}

static enum ia_reason registry_unavailable(char *detail, size_t size, const char *why)
{
    (void)snprintf(detail, size, "%s", why);
    return IA_R_REGISTRY_UNAVAILABLE;
}

static enum ia_reason answered_reason(const struct ia_core *core, const uint8_t *fingerprint, char *detail, size_t size)
{
    const struct ia_registration *r = ia_registration_find(core->registrations, fingerprint);
    if (!r || !r->answered || !r->registering)
        return registry_unavailable(detail, size, "no answer within auth_wait_ms; the registration goes on");
    (void)snprintf(detail, size, "%s", r->detail);
    return r->reason == IA_R_NONE ? IA_R_INTERNAL : r->reason; /* a record that could not be kept */
}

static enum ia_reason ask_registry(struct ia_core *core, const struct ia_unregistered_device *who,
                                   struct ia_device **device, char *detail, size_t size)
{
    if (!send_registration(core, who))
        return registry_unavailable(detail, size, "too many requests are waiting for the database");
    int64_t most_us =
        ia_wait_budget_allowance(&core->wait->budget, core->options.auth_wait_ms * 1000, ia_monotonic_us());
    if (most_us <= 0)
        return registry_unavailable(detail, size, "the database is slow; the registration goes on");
    *device = wait_for_device(core, who->info->fingerprint, most_us);
    if (*device)
        return IA_R_NONE;
    if (!ia_database_is_up(core))
        return registry_unavailable(detail, size, "the database is not connected");
    return answered_reason(core, who->info->fingerprint, detail, size);
}

enum ia_reason ia_registration_obtain(struct ia_core *core, const struct ia_unregistered_device *who,
                                      struct ia_device **device, char *detail, size_t detail_size)
{
    const uint8_t *fingerprint = who->info->fingerprint;
    struct ia_registrations *pending = core->registrations;
    *device = ia_resync_find_device(core, fingerprint);
    if (*device) {
        core->counters.cache_hits++;
        return IA_R_NONE;
    }
    core->counters.cache_misses++;
    if (!ia_database_is_up(core))
        return registry_unavailable(detail, detail_size, "the database is not connected");
    if (!ia_registration_has_room(pending, fingerprint))
        return registry_unavailable(detail, detail_size, "too many devices are waiting for the registry");
    if (ia_registration_is_refused(ia_registration_find(pending, fingerprint), ia_monotonic_us()))
        return answered_reason(core, fingerprint, detail, detail_size);
    return ask_registry(core, who, device, detail, detail_size);
}

void ia_registration_ask_by_name(struct ia_core *core, const char *device_id)
{
    struct ia_registration_wait *wait = core->wait;
    int64_t now_s = ia_wall_s();
    if (wait->named_s != now_s) {
        wait->named_s = now_s;
        wait->named = 0;
    }
    bool is_device = !ia_principal_is_app(device_id) && strlen(device_id) <= IA_VALUE_MAX;
    if (!is_device || !ia_database_is_up(core) || wait->named++ >= NAMES_A_SECOND)
        return;
    struct ia_request *request = ia_request_new(IA_REQUEST_DEVICE, NULL);
    if (request)
        (void)snprintf(request->device_id, sizeof request->device_id, "%s", device_id);
    (void)ia_worker_ask(core->worker, request);
}

size_t ia_registration_pending(const struct ia_core *core)
{
    return ia_registrations_count(core->registrations);
}

void ia_registration_turn(struct ia_core *core)
{
    ia_wait_budget_turn(&core->wait->budget);
}

void ia_registration_tidy(struct ia_core *core)
{
    ia_registrations_tidy(core->registrations, ia_monotonic_us());
}
