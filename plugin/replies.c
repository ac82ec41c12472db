// SPDX-License-Identifier: ISC
#include "plugin/replies.h"

#include "plugin/device_states.h"

#include "jitr/registration.h"
#include "plugin/database_state.h"
#include "plugin/log.h"
#include "plugin/mosquitto_compat.h"
#include "plugin/new_devices.h"
#include "plugin/owned_ids.h"
#include "plugin/psk_keys.h"
#include "plugin/report.h"
#include "plugin/resync.h"
#include "plugin/revalidate.h"
#include "tls/resumption.h"

#include <stdlib.h>
#include <string.h>

#define APPLY_US 5000 /* of one callback: the live sessions wait meanwhile */

/* ---- answers */

static void count_answer(struct ia_core *core, const struct ia_device_answer *answer)
{
    const struct ia_registration *asked = ia_registration_find(core->registrations, answer->fingerprint);
    if (asked && !asked->answered)
        ia_histogram_note(&core->counters.database, ia_monotonic_us() - asked->at_us);
}

static void apply_answer(struct ia_core *core, struct ia_reply *reply)
{
    struct ia_device_answer *answer = &reply->answer;
    count_answer(core, answer);
    ia_registration_answer(core->registrations, answer->fingerprint, answer->reason, reply->text, ia_monotonic_us());
    if (answer->device) {
        if (answer->registered)
            ia_report_registered(core, answer->device, reply->text);
        ia_resync_keep(core, answer->device);
        answer->device = NULL;
    }
    ia_new_devices_answered(answer->fingerprint);
}

static void apply_state(struct ia_core *core, bool connected, const char *versions)
{
    ia_database_report_state(core, connected, versions);
    if (!connected)
        ia_new_devices_release_all();
}

/* ---- changed devices */

/* Records that are to be removed from the cache, a few at a time. */
struct deleted_records {
    const struct ia_reply *reply;
    uint8_t found[16][IA_FINGERPRINT_LEN];
    size_t n;
};

/* The record of that certificate or pre-shared key, for the same device: a key's row may name another one now. */
static bool reply_has_record(const struct ia_reply *reply, const struct ia_device *device)
{
    for (size_t i = 0; i < reply->records.n; i++)
        if (memcmp(reply->records.items[i]->fingerprint, device->fingerprint, IA_FINGERPRINT_LEN) == 0)
            return strcmp(ia_device_id(reply->records.items[i]), ia_device_id(device)) == 0;
    return false;
}

static bool collect_deleted(void *ctx, struct ia_device *device)
{
    struct deleted_records *deleted = ctx;
    if (!reply_has_record(deleted->reply, device))
        memcpy(deleted->found[deleted->n++], device->fingerprint, IA_FINGERPRINT_LEN);
    return deleted->n < sizeof deleted->found / sizeof deleted->found[0];
}

/* Remove the records of a device that the registry no longer has. */
static void remove_deleted(struct ia_core *core, const struct ia_reply *reply, const char *id)
{
    struct deleted_records deleted = {.reply = reply};
    do {
        deleted.n = 0;
        ia_device_cache_each(core->devices, id, collect_deleted, &deleted);
        for (size_t i = 0; i < deleted.n; i++) {
            ia_resumption_drop(deleted.found[i]);
            ia_device_cache_remove(core->devices, deleted.found[i]);
        }
    } while (deleted.n > 0);
}

struct changed_devices {
    struct ia_core *core;
    const struct ia_reply *reply;
};

static bool reply_has_device(const struct ia_reply *reply, const char *id)
{
    for (size_t i = 0; i < reply->records.n; i++)
        if (strcmp(ia_device_id(reply->records.items[i]), id) == 0)
            return true;
    return false;
}

/* The device may still be there with other certificates; this one is deleted. */
static void disconnect_if_deleted(void *ctx, struct ia_client *client)
{
    const struct changed_devices *changed = ctx;
    if (!client->device || reply_has_record(changed->reply, client->device))
        return;
    bool device_too = !reply_has_device(changed->reply, ia_device_id(client->device));
    ia_revalidate_deleted(changed->core, client, device_too);
}

static void apply_devices(struct ia_core *core, struct ia_reply *reply)
{
    struct changed_devices changed = {.core = core, .reply = reply};
    for (size_t i = 0; i < reply->records.n_ids; i++) {
        remove_deleted(core, reply, reply->records.ids[i]);
        ia_clients_of_device(core->clients, reply->records.ids[i], disconnect_if_deleted, &changed);
    }
    size_t n = reply->records.n;
    reply->records.n = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t fingerprint[IA_FINGERPRINT_LEN]; /* the record may be freed */
        memcpy(fingerprint, reply->records.items[i]->fingerprint, sizeof fingerprint);
        ia_resync_keep(core, reply->records.items[i]);
        ia_new_devices_answered(fingerprint); /* of a pre-shared key, whose device was asked for by its id */
    }
}

static void apply_states(struct ia_core *core, const struct ia_reply *reply)
{
    if (reply->kind == IA_REPLY_STATES)
        ia_device_states_apply(core, &reply->records);
    else
        ia_device_states_close(core, &reply->records);
}

static void apply_page(struct ia_core *core, struct ia_reply *reply)
{
    size_t n = reply->records.n;
    reply->records.n = 0;
    for (size_t i = 0; i < n; i++)
        ia_resync_record(core, reply->records.items[i]);
}

/* ---- snapshots */

/* Freeing a large snapshot takes milliseconds: the worker does it. */
static void retire_snapshot(struct ia_core *core, struct ia_snapshot *snapshot)
{
    if (!snapshot)
        return;
    struct ia_request *request = ia_request_new(IA_REQUEST_RETIRE, NULL);
    if (!request) {
        ia_snapshot_free(snapshot);
        return;
    }
    request->snapshot = snapshot;
    (void)ia_worker_ask(core->worker, request); /* a full queue has freed it here */
}

static void adopt_snapshot(struct ia_core *core, struct ia_reply *reply)
{
    struct ia_snapshot *old = core->snapshot;
    core->snapshot = reply->snapshot;
    reply->snapshot = NULL;
    if (!old)
        ia_log(MOSQ_LOG_NOTICE, "ready: %zu CAs registered", ia_ca_settings_count(core->snapshot->ca_settings));
    retire_snapshot(core, old);
    /* Sessions are dropped under this snapshot before the next one replaces it, which may come before a TICK: a CA that was
     * disabled and enabled again has lost its sessions. */
    (void)ia_resumption_sweep();
}

/* ---- one reply after the other */

static int mosquitto_log_level(enum ia_log_level level)
{
    switch (level) {
    case IA_LOG_NOTICE:
        return MOSQ_LOG_NOTICE;
    case IA_LOG_WARNING:
        return MOSQ_LOG_WARNING;
    case IA_LOG_ERROR:
        break;
    }
    return MOSQ_LOG_ERR;
}

static void apply_reply(struct ia_core *core, struct ia_reply *reply)
{
    switch (reply->kind) {
    case IA_REPLY_SNAPSHOT:
        adopt_snapshot(core, reply);
        break;
    case IA_REPLY_ANSWER:
        apply_answer(core, reply);
        break;
    case IA_REPLY_DEVICES:
        apply_devices(core, reply);
        break;
    case IA_REPLY_STATES:
    case IA_REPLY_CLOSED:
        apply_states(core, reply);
        break;
    case IA_REPLY_PAGE:
        apply_page(core, reply);
        break;
    case IA_REPLY_RESYNC_BEGIN:
        ia_resync_begin(core);
        break;
    case IA_REPLY_RESYNC_END:
        ia_resync_end(core);
        break;
    case IA_REPLY_STATE:
        apply_state(core, reply->connected, reply->text);
        break;
    case IA_REPLY_CONTACT:
        ia_database_report_contact(core);
        break;
    case IA_REPLY_RELEASED:
        (void)ia_clients_release_client_id(core->clients, reply->text);
        ia_owned_ids_release(core, reply->text);
        break;
    case IA_REPLY_OWNERS:
        ia_owned_ids_restore(core, reply->owners.keys, reply->owners.n);
        break;
    case IA_REPLY_KEYRING:
        ia_psk_keys_adopt(core, reply->keyring);
        reply->keyring = NULL;
        break;
    case IA_REPLY_PSKS:
        ia_psk_keys_apply(core, &reply->psks);
        break;
    case IA_REPLY_PSK_BEGIN:
        ia_psk_keys_begin(core);
        break;
    case IA_REPLY_PSK_END:
        ia_psk_keys_end(core);
        break;
    case IA_REPLY_LOG:
        ia_log(mosquitto_log_level(reply->level), "%s", reply->text);
        break;
    case IA_REPLY_EVENT:
        ia_report_publish(core, reply->event, reply->text);
        break;
    }
}

/* Takes the reply over. */
static void take_reply(struct ia_core *core, struct ia_reply *reply)
{
    int64_t heard_us = reply->heard_us;
    apply_reply(core, reply);
    if (heard_us)
        ia_histogram_note(&core->counters.applied, ia_monotonic_us() - heard_us);
    ia_reply_free(reply);
}

void ia_replies_apply(struct ia_core *core)
{
    if (!ia_worker_has_reply(core->worker))
        return;
    int64_t until = ia_monotonic_us() + APPLY_US;
    struct ia_reply *reply;
    while ((reply = ia_worker_reply(core->worker)) != NULL) {
        take_reply(core, reply);
        if (ia_monotonic_us() >= until)
            return;
    }
}

bool ia_replies_wait_at_start(struct ia_core *core, int64_t wait_us)
{
    struct ia_reply *reply = ia_worker_reply_wait(core->worker, wait_us);
    if (!reply)
        return false;
    take_reply(core, reply);
    return true;
}
