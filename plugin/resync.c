// SPDX-License-Identifier: ISC
#include "plugin/resync.h"

#include "plugin/revalidate.h"
#include "tls/resumption.h"

#include <stdlib.h>
#include <string.h>

#define SWEEP_SLOTS 20000 /* of the cache, in one TICK */

struct ia_resync {
    uint8_t epoch;           /* mark of the present resync, or of the last */
    uint8_t completed_epoch; /* mark of the last completed resync */
    bool complete_once;
    bool sweeping; /* removing what the last resync did not find */
};

struct ia_resync *ia_resync_new(void)
{
    return calloc(1, sizeof(struct ia_resync));
}

void ia_resync_free(struct ia_resync *resync)
{
    free(resync);
}

/* ---- records */

static void revalidate_client(void *ctx, struct ia_client *client)
{
    ia_revalidate(ctx, client);
}

static void replace_record(void *ctx, struct ia_client *client)
{
    struct ia_device *device = ctx;
    if (client->device && memcmp(client->device->fingerprint, device->fingerprint, IA_FINGERPRINT_LEN) == 0)
        ia_client_set_device(client, device);
}

void ia_resync_put(struct ia_core *core, struct ia_device *device)
{
    const struct ia_device *old = ia_device_cache_find(core->devices, device->fingerprint);
    device->resync_epoch = core->resync->epoch;
    if (old) {
        device->refusal = old->refusal;
        device->refusal_unproven = old->refusal_unproven;
    }
    if (!ia_device_is_active(device))
        ia_resumption_drop(device->fingerprint);
    (void)ia_device_cache_put(core->devices, device);
}

/* The clients get the record also when there is no memory to keep it in the cache. */
void ia_resync_keep(struct ia_core *core, struct ia_device *device)
{
    ia_resync_put(core, ia_device_ref(device));
    ia_clients_of_device(core->clients, ia_device_id(device), replace_record, device);
    ia_clients_of_device(core->clients, ia_device_id(device), revalidate_client, core);
    ia_device_free(device);
}

static void count_client(void *ctx, struct ia_client *client)
{
    (void)client;
    ++*(size_t *)ctx;
}

/* Is the record worth a place: known already, or a client has come with it, or there is room? */
static bool is_worth_keeping(struct ia_core *core, const struct ia_device *device)
{
    size_t clients = 0;
    if (!ia_device_cache_is_full(core->devices) || ia_device_cache_find(core->devices, device->fingerprint))
        return true;
    ia_clients_of_device(core->clients, ia_device_id(device), count_client, &clients);
    return clients > 0;
}

void ia_resync_record(struct ia_core *core, struct ia_device *device)
{
    struct ia_device *old = ia_device_cache_find(core->devices, device->fingerprint);
    bool same = old && ia_device_equal(old, device);
    if (same)
        old->resync_epoch = core->resync->epoch;
    if (!same && is_worth_keeping(core, device))
        ia_resync_keep(core, device);
    else
        ia_device_free(device);
}

struct ia_device *ia_resync_find_device(struct ia_core *core, const uint8_t fingerprint[IA_FINGERPRINT_LEN])
{
    const struct ia_resync *resync = core->resync;
    struct ia_device *device = ia_device_cache_find(core->devices, fingerprint);
    uint8_t since_completed = (uint8_t)(resync->epoch - resync->completed_epoch);
    if (!device || (uint8_t)(resync->epoch - device->resync_epoch) <= since_completed)
        return device;
    ia_device_cache_remove(core->devices, fingerprint);
    return NULL;
}

/* ---- begin, end, sweep */

/* The 8-bit epoch may wrap without a completed resync: the last completed epoch then advances, so that old marks are
 * not taken for new ones. */
void ia_resync_begin(struct ia_core *core)
{
    struct ia_resync *resync = core->resync;
    resync->epoch++;
    if (resync->epoch == resync->completed_epoch)
        resync->completed_epoch++;
    resync->sweeping = false;
}

static void disconnect_if_not_found(void *ctx, struct ia_client *client)
{
    struct ia_core *core = ctx;
    if (!client->device || client->device->resync_epoch == core->resync->epoch)
        return;
    ia_revalidate_deleted(core, client, true);
}

/* All clients are looked at, because one whose record has been evicted from the cache is found in no other way. */
void ia_resync_end(struct ia_core *core)
{
    struct ia_resync *resync = core->resync;
    resync->complete_once = true;
    resync->completed_epoch = resync->epoch;
    ia_clients_each(core->clients, disconnect_if_not_found, core);
    resync->sweeping = true;
    ia_device_cache_sweep_begin(core->devices);
}

bool ia_resync_sweep(struct ia_core *core)
{
    struct ia_resync *resync = core->resync;
    if (resync->sweeping)
        resync->sweeping = !ia_device_cache_sweep(core->devices, resync->epoch, SWEEP_SLOTS);
    return resync->sweeping;
}

bool ia_resync_is_sweeping(const struct ia_core *core)
{
    return core->resync->sweeping;
}

bool ia_resync_is_complete(const struct ia_core *core)
{
    return core->resync->complete_once;
}
