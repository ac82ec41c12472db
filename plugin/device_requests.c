// SPDX-License-Identifier: ISC
#include "plugin/device_requests.h"

#include "common/principal.h"
#include "jitr/provisioning.h"
#include "jitr/registration.h"
#include "plugin/database_state.h"
#include "plugin/resync.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_A_SECOND 64

struct ia_device_requests {
    size_t named; /* devices asked for by name in the present second … */
    int64_t named_s;
};

struct ia_device_requests *ia_device_requests_new(void)
{
    return calloc(1, sizeof(struct ia_device_requests));
}

void ia_device_requests_free(struct ia_device_requests *requests)
{
    free(requests);
}

/* What the CA's template makes of the certificate, and the certificate itself: the template may be another one by the time of
 * the commit, and then counts.  False: out of memory. */
static bool add_provision(struct ia_register_request *r, const struct ia_unregistered_device *who)
{
    struct ia_identity identity;
    ia_identity_read(who->leaf, &identity);
    (void)snprintf(r->terms, sizeof r->terms, "%s", who->ca->terms ? who->ca->terms : "");
    r->der_len = i2d_X509(who->leaf, &r->der);
    return r->der_len > 0 && ia_provisioning_fill(who->ca, &identity, false, &r->provision, NULL) == IA_OK;
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
    if (who->leaf && who->ca && !add_provision(r, who)) {
        ia_request_free(request);
        return false;
    }
    return ia_worker_ask(core->worker, request) &&
           ia_registration_ask(pending, who->info->fingerprint, ia_monotonic_us());
}

static enum ia_reason registry_unavailable(char *detail, size_t size, const char *why)
{
    (void)snprintf(detail, size, "%s", why);
    return IA_R_REGISTRY_UNAVAILABLE;
}

enum ia_reason ia_device_requests_find(struct ia_core *core, const struct ia_unregistered_device *who,
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
    const struct ia_registration *answered = ia_registration_find(pending, fingerprint);
    if (ia_registration_is_refused(answered, ia_monotonic_us())) {
        (void)snprintf(detail, detail_size, "%s", answered->detail);
        return answered->reason;
    }
    if (!send_registration(core, who))
        return registry_unavailable(detail, detail_size, "too many requests are waiting for the database");
    return registry_unavailable(detail, detail_size, "the registry has been asked and has not answered yet");
}

/* Ask for all records of the device. */
static bool ask_for_device(struct ia_core *core, const char *device_id)
{
    struct ia_request *request = ia_request_new(IA_REQUEST_DEVICE, NULL);
    if (request)
        (void)snprintf(request->device_id, sizeof request->device_id, "%s", device_id);
    return ia_worker_ask(core->worker, request);
}

enum ia_reason ia_device_requests_find_by_key(struct ia_core *core, const uint8_t digest[IA_PSK_DIGEST_LEN],
                                              const char *device_id, struct ia_device **device, bool *asked,
                                              const char **detail)
{
    *asked = false;
    *device = ia_resync_find_device(core, digest);
    if (*device)
        return IA_R_NONE;
    core->counters.cache_misses++;
    *detail = "the database is not connected";
    if (!ia_database_is_up(core))
        return IA_R_REGISTRY_UNAVAILABLE;
    *asked = ask_for_device(core, device_id);
    *detail = *asked ? "the registry has been asked and has not answered yet"
                     : "too many requests are waiting for the database";
    return IA_R_REGISTRY_UNAVAILABLE;
}

bool ia_device_requests_is_pending(const struct ia_core *core, const uint8_t fingerprint[IA_FINGERPRINT_LEN])
{
    return ia_database_is_up(core) &&
           ia_registration_is_pending(ia_registration_find(core->registrations, fingerprint));
}

void ia_device_requests_ask_by_name(struct ia_core *core, const char *device_id)
{
    struct ia_device_requests *requests = core->device_requests;
    int64_t now_s = ia_wall_s();
    if (requests->named_s != now_s) {
        requests->named_s = now_s;
        requests->named = 0;
    }
    bool is_device = !ia_principal_is_app(device_id) && strlen(device_id) <= IA_VALUE_MAX;
    if (!is_device || !ia_database_is_up(core) || requests->named++ >= NAMES_A_SECOND)
        return;
    struct ia_request *request = ia_request_new(IA_REQUEST_DEVICE, NULL);
    if (request)
        (void)snprintf(request->device_id, sizeof request->device_id, "%s", device_id);
    (void)ia_worker_ask(core->worker, request);
}

void ia_device_requests_tidy(struct ia_core *core)
{
    ia_registrations_tidy(core->registrations, ia_monotonic_us());
}
