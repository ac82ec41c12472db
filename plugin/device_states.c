// SPDX-License-Identifier: ISC
#include "plugin/device_states.h"

#include "plugin/resync.h"
#include "plugin/revalidate.h"
#include "tls/resumption.h"

#include <string.h>

#define PASSES_MAX                                                                                                     \
    100 /* of one device: a record that finds no room in the cache must not keep the broker thread busy */

struct closing {
    struct ia_core *core;
    const struct ia_device_records *states;
    const char *device_id;
    struct ia_device *closed[64]; /* copies of cached records, not ACTIVE any more */
    size_t n_closed;
};

/* What the states say of the device, and of one certificate of it; false: the device is deleted.  A certificate that is
 * not among them is left to the record: the device may have come with something else. */
static bool find_state(const struct closing *c, const uint8_t *fingerprint, enum ia_device_status *status,
                       enum ia_cert_status *certificate_status)
{
    bool found = false;
    for (size_t i = 0; i < c->states->n; i++) {
        const struct ia_device *state = c->states->items[i];
        if (strcmp(ia_device_id(state), c->device_id) != 0)
            continue;
        found = true;
        *status = state->status;
        if (memcmp(state->fingerprint, fingerprint, IA_FINGERPRINT_LEN) == 0)
            *certificate_status = state->certificate_status;
    }
    return found;
}

/* Does the record admit more than the states do?  Then the statuses that it should have. */
static bool is_to_close(const struct closing *c, const struct ia_device *device, enum ia_device_status *status,
                        enum ia_cert_status *certificate_status)
{
    *status = device->status;
    *certificate_status = device->certificate_status;
    if (!find_state(c, device->fingerprint, status, certificate_status))
        *status = IA_DEVICE_REVOKED;
    bool device_closes = *status != IA_DEVICE_ACTIVE && *status != device->status;
    bool certificate_closes =
        *certificate_status != IA_CERT_ACTIVE && *certificate_status != device->certificate_status;
    if (!device_closes)
        *status = device->status;
    if (!certificate_closes)
        *certificate_status = device->certificate_status;
    return device_closes || certificate_closes;
}

/* A client's own record, which may be older than that of the cache, or not in it. */
static void close_client(void *ctx, struct ia_client *client)
{
    const struct closing *c = ctx;
    enum ia_device_status status;
    enum ia_cert_status certificate_status;
    if (!client->device || !is_to_close(c, client->device, &status, &certificate_status))
        return;
    struct ia_device *closed = ia_device_with_status(client->device, status, certificate_status);
    if (!closed) {
        ia_disconnect_mark(c->core, client, IA_R_INTERNAL);
        return;
    }
    ia_client_set_device(client, closed);
    ia_device_free(closed);
    ia_revalidate(c->core, client);
}

static bool collect_closed(void *ctx, struct ia_device *device)
{
    struct closing *c = ctx;
    enum ia_device_status status;
    enum ia_cert_status certificate_status;
    if (!is_to_close(c, device, &status, &certificate_status))
        return true;
    struct ia_device *closed = ia_device_with_status(device, status, certificate_status);
    if (closed)
        c->closed[c->n_closed++] = closed;
    return closed && c->n_closed < sizeof c->closed / sizeof c->closed[0];
}

static void close_device(struct closing *c)
{
    const size_t room = sizeof c->closed / sizeof c->closed[0];
    for (unsigned pass = 0; pass < PASSES_MAX && (pass == 0 || c->n_closed == room); pass++) {
        c->n_closed = 0;
        ia_device_cache_each(c->core->devices, c->device_id, collect_closed, c);
        for (size_t i = 0; i < c->n_closed; i++)
            ia_resync_keep(c->core, c->closed[i]);
    }
    ia_clients_of_device(c->core->clients, c->device_id, close_client, c);
}

void ia_device_states_apply(struct ia_core *core, const struct ia_device_records *states)
{
    struct closing c = {.core = core, .states = states};
    for (size_t i = 0; i < states->n_ids; i++) {
        c.device_id = states->ids[i];
        close_device(&c);
    }
}
