// SPDX-License-Identifier: ISC
#include "plugin/device_states.h"

#include "plugin/resync.h"
#include "plugin/revalidate.h"
#include "tls/resumption.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM 16 /* cached records of one device, before memory is needed: a device has one or two */

/* Cached records of one device that admit more than the states do; each with a reference of its own. */
struct closed_records {
    struct ia_device *first[FIRST_ROOM], **items; /* items is `first` or allocated */
    size_t n, room;
    bool more; /* out of memory: the rest is collected after these */
};

struct closing {
    struct ia_core *core;
    struct ia_device *const *states; /* of the device, by fingerprint */
    size_t n_states;                 /* 0: it is deleted */
    bool complete;                   /* a certificate or key that is not among them is deleted */
    struct closed_records closed;
};

/* ---- what the states say */

/* The first state of a device whose id is not below `id`, or (`after`) is above it. */
static size_t find_first_state(const struct ia_device_records *states, const char *id, bool after)
{
    size_t low = 0, high = states->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(ia_device_id(states->items[middle]), id);
        if (order < 0 || (after && order == 0))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int compare_fingerprint(const void *fingerprint, const void *item)
{
    const struct ia_device *state = *(struct ia_device *const *)item;
    return memcmp(fingerprint, state->fingerprint, IA_FINGERPRINT_LEN);
}

static const struct ia_device *find_state(const struct closing *c, const struct ia_device *device)
{
    struct ia_device *const *same =
        bsearch(device->fingerprint, c->states, c->n_states, sizeof(struct ia_device *), compare_fingerprint);
    return same ? *same : NULL;
}

/* Does the record admit more than the states of its device do?  Then the statuses that it should have. */
static bool is_to_close(const struct closing *c, const struct ia_device *device, enum ia_device_status *status,
                        enum ia_cert_status *certificate_status)
{
    const struct ia_device *same = find_state(c, device);
    enum ia_device_status of_device = c->states[0]->status;
    enum ia_cert_status of_certificate = same ? same->certificate_status : IA_CERT_ACTIVE;
    bool device_closes = of_device != IA_DEVICE_ACTIVE && of_device != device->status;
    bool certificate_closes = of_certificate != IA_CERT_ACTIVE && of_certificate != device->certificate_status;
    *status = device_closes ? of_device : device->status;
    *certificate_status = certificate_closes ? of_certificate : device->certificate_status;
    return device_closes || certificate_closes;
}

static bool is_deleted(const struct closing *c, const struct ia_device *device)
{
    return c->complete && !find_state(c, device);
}

/* ---- the cache */

static bool grow_closed(struct closed_records *closed)
{
    size_t room = closed->room * 2;
    bool is_first = closed->items == closed->first;
    struct ia_device **items = realloc(is_first ? NULL : closed->items, room * sizeof(struct ia_device *));
    if (!items)
        return false;
    if (is_first)
        memcpy(items, closed->first, sizeof closed->first);
    closed->items = items;
    closed->room = room;
    return true;
}

static bool collect_closed(void *ctx, struct ia_device *device)
{
    struct closing *c = ctx;
    struct closed_records *closed = &c->closed;
    enum ia_device_status status;
    enum ia_cert_status certificate_status;
    if (c->n_states > 0 && !is_deleted(c, device) && !is_to_close(c, device, &status, &certificate_status))
        return true;
    closed->more = closed->n == closed->room && !grow_closed(closed);
    if (closed->more)
        return false;
    closed->items[closed->n++] = ia_device_ref(device);
    return true;
}

/* Replace the cached record by one that admits no more than the states, or, without memory and of a deleted device or
 * certificate, by none: the registry is asked again. */
static void close_record(const struct closing *c, const struct ia_device *device)
{
    enum ia_device_status status;
    enum ia_cert_status certificate_status;
    struct ia_device *copy = NULL;
    if (c->n_states > 0 && is_to_close(c, device, &status, &certificate_status))
        copy = ia_device_with_status(device, status, certificate_status);
    if (copy) {
        ia_resync_put(c->core, copy);
        return;
    }
    ia_resumption_drop(device->fingerprint);
    ia_device_cache_remove(c->core->devices, device->fingerprint);
}

/* Each record is out of the way after one look at it, so this ends. */
static void close_records(struct closing *c, const char *device_id)
{
    struct closed_records *closed = &c->closed;
    closed->items = closed->first;
    closed->room = FIRST_ROOM;
    do {
        closed->n = 0;
        closed->more = false;
        ia_device_cache_each(c->core->devices, device_id, collect_closed, c);
        for (size_t i = 0; i < closed->n; i++) {
            close_record(c, closed->items[i]);
            ia_device_free(closed->items[i]);
        }
    } while (closed->more);
    if (closed->items != closed->first)
        free(closed->items);
}

/* ---- the clients */

/* The cached record where it is of the same device, else a copy of the client's own, which may be older or not in the cache.
 * NULL: out of memory. */
static struct ia_device *find_closed(const struct closing *c, const struct ia_device *device,
                                     enum ia_device_status status, enum ia_cert_status certificate_status)
{
    enum ia_device_status cached_status;
    enum ia_cert_status cached_certificate_status;
    struct ia_device *cached = ia_device_cache_find(c->core->devices, device->fingerprint);
    if (cached && strcmp(ia_device_id(cached), ia_device_id(device)) == 0 &&
        !is_to_close(c, cached, &cached_status, &cached_certificate_status))
        return ia_device_ref(cached);
    return ia_device_with_status(device, status, certificate_status);
}

static void close_client(void *ctx, struct ia_client *client)
{
    const struct closing *c = ctx;
    enum ia_device_status status;
    enum ia_cert_status certificate_status;
    if (!client->device)
        return;
    if (c->n_states == 0) {
        ia_revalidate_deleted(c->core, client, true);
        return;
    }
    if (!is_to_close(c, client->device, &status, &certificate_status)) {
        if (is_deleted(c, client->device))
            ia_revalidate_deleted(c->core, client, false);
        return;
    }
    struct ia_device *closed = find_closed(c, client->device, status, certificate_status);
    if (!closed) {
        ia_disconnect_mark(c->core, client, IA_R_INTERNAL);
        return;
    }
    ia_client_set_device(client, closed);
    ia_device_free(closed);
    ia_revalidate(c->core, client);
}

static void close_device(struct closing *c, const char *device_id)
{
    close_records(c, device_id);
    ia_clients_of_device(c->core->clients, device_id, close_client, c);
}

void ia_device_states_apply(struct ia_core *core, const struct ia_device_records *states)
{
    struct closing c = {.core = core, .complete = true};
    for (size_t i = 0; i < states->n_ids; i++) {
        size_t first = find_first_state(states, states->ids[i], false);
        c.states = states->items + first;
        c.n_states = find_first_state(states, states->ids[i], true) - first;
        close_device(&c, states->ids[i]);
    }
}

void ia_device_states_close(struct ia_core *core, const struct ia_device_records *states)
{
    struct closing c = {.core = core, .n_states = 1};
    for (size_t i = 0; i < states->n; i++) {
        c.states = states->items + i;
        close_device(&c, ia_device_id(states->items[i]));
    }
}
