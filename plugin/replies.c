// SPDX-License-Identifier: ISC
/* Applies what the worker sends, in order.  May run inside any callback: it only marks sessions, TICK kicks them. */
#include "plugin/core.h"
#include "plugin/mosquitto_compat.h"
#include "plugin/report.h"

#include <stdlib.h>
#include <string.h>

#define APPLY_US 5000 /* of one callback: the live sessions wait meanwhile */

static void judge_one(void *ctx, struct ia_client *session)
{
    ia_revalidate(ctx, session);
}

/* Swap the record under each session that came with this certificate. */
static void take_record(void *ctx, struct ia_client *session)
{
    struct ia_device *device = ctx;
    if (!session->device || memcmp(session->device->fingerprint, device->fingerprint, IA_FINGERPRINT_LEN) != 0)
        return;
    if (session->device != device) {
        ia_device_free(session->device);
        session->device = ia_device_ref(device);
    }
    session->device_deleted = session->certificate_deleted = false;
    session->rights.generation = 0; /* roles and attributes may be others */
}

/* Put a record into the cache and under the sessions that it concerns; those hear of it also when there is no memory to
 * keep it.  Takes the reference over. */
static void device_arrived(struct ia_core *core, struct ia_device *device)
{
    const struct ia_device *old = ia_device_cache_find(core->devices, device->fingerprint);
    device->seen = core->seen;
    if (old) {
        device->refusal = old->refusal;
        device->refusal_unproven = old->refusal_unproven;
    }
    ia_device_ref(device);
    (void)ia_device_cache_put(core->devices, device);
    ia_clients_of_device(core->clients, ia_device_id(device), take_record, device);
    ia_clients_of_device(core->clients, ia_device_id(device), judge_one, core);
    ia_device_free(device);
}

/* ---- answers */

static void apply_answer(struct ia_core *core, struct ia_reply *reply)
{
    struct ia_pending *p = NULL;
    HASH_FIND(hh, core->pending, reply->answer.fingerprint, IA_FINGERPRINT_LEN, p);
    /* A look-up's answer may come when the registration is on its way already: that is not its answer. */
    if (p && p->registering == reply->answer.registering) {
        p->answered = true;
        p->reason = reply->answer.reason;
        p->at_us = ia_monotonic_us();
        strncpy(p->detail, reply->text, sizeof p->detail - 1);
    }
    struct ia_device *device = reply->answer.device;
    if (!device)
        return;
    reply->answer.device = NULL;
    if (reply->answer.registered)
        ia_report_registered(core, device);
    device_arrived(core, device);
}

/* ---- changed devices */

static void condemn_gone(void *ctx, struct ia_client *session)
{
    if (!session->device)
        return;
    session->device_deleted = session->certificate_deleted = true;
    ia_disconnect_mark(ctx, session, IA_R_DEVICE_UNKNOWN);
}

static void condemn_unseen(void *ctx, struct ia_client *session)
{
    const struct ia_core *core = ctx;
    if (session->device && session->device->seen != core->seen)
        condemn_gone(ctx, session);
}

struct stale {
    const struct ia_reply *reply;
    uint8_t found[16][IA_FINGERPRINT_LEN]; /* records to remove, a few at a time */
    size_t n;
};

static bool in_reply(const struct ia_reply *reply, const uint8_t *fingerprint)
{
    for (size_t i = 0; i < reply->records.n; i++)
        if (memcmp(reply->records.items[i]->fingerprint, fingerprint, IA_FINGERPRINT_LEN) == 0)
            return true;
    return false;
}

static bool collect_stale(void *ctx, struct ia_device *device)
{
    struct stale *stale = ctx;
    if (!in_reply(stale->reply, device->fingerprint))
        memcpy(stale->found[stale->n++], device->fingerprint, IA_FINGERPRINT_LEN);
    return stale->n < sizeof stale->found / sizeof stale->found[0];
}

/* Remove the records of a device that the registry no longer has. */
static void remove_stale(struct ia_core *core, const struct ia_reply *reply, const char *id)
{
    struct stale stale = {.reply = reply};
    do {
        stale.n = 0;
        ia_device_cache_each(core->devices, id, collect_stale, &stale);
        for (size_t i = 0; i < stale.n; i++)
            ia_device_cache_remove(core->devices, stale.found[i]);
    } while (stale.n > 0);
}

struct gone {
    struct ia_core *core;
    const struct ia_reply *reply;
};

static bool has_device(const struct ia_reply *reply, const char *id)
{
    for (size_t i = 0; i < reply->records.n; i++)
        if (strcmp(ia_device_id(reply->records.items[i]), id) == 0)
            return true;
    return false;
}

/* Of a device that is there with other certificates, this one is gone. */
static void condemn_if_gone(void *ctx, struct ia_client *session)
{
    const struct gone *gone = ctx;
    if (!session->device || in_reply(gone->reply, session->device->fingerprint))
        return;
    session->certificate_deleted = true; /* of an ended one: its will stays unsaid */
    session->device_deleted = !has_device(gone->reply, ia_device_id(session->device));
    ia_disconnect_mark(gone->core, session, IA_R_DEVICE_UNKNOWN);
}

static void apply_devices(struct ia_core *core, struct ia_reply *reply)
{
    struct gone gone = {.core = core, .reply = reply};
    for (size_t i = 0; i < reply->records.n_ids; i++) {
        remove_stale(core, reply, reply->records.ids[i]);
        ia_clients_of_device(core->clients, reply->records.ids[i], condemn_if_gone, &gone);
    }
    size_t n = reply->records.n;
    reply->records.n = 0;
    for (size_t i = 0; i < n; i++)
        device_arrived(core, reply->records.items[i]);
}

/* ---- the walk through all devices */

static void count_session(void *ctx, struct ia_client *session)
{
    (void)session;
    ++*(size_t *)ctx;
}

/* Is this record worth a place: known already, or somebody is connected with it, or there is room? */
static bool worth_keeping(struct ia_core *core, const struct ia_device *device)
{
    size_t sessions = 0;
    if (!ia_device_cache_is_full(core->devices) || ia_device_cache_find(core->devices, device->fingerprint))
        return true;
    ia_clients_of_device(core->clients, ia_device_id(device), count_session, &sessions);
    return sessions > 0;
}

static void apply_page(struct ia_core *core, struct ia_reply *reply)
{
    size_t n = reply->records.n;
    reply->records.n = 0;
    for (size_t i = 0; i < n; i++) {
        struct ia_device *device = reply->records.items[i];
        struct ia_device *old = ia_device_cache_find(core->devices, device->fingerprint);
        if (old && ia_device_equal(old, device)) {
            old->seen = core->seen;
            ia_device_free(device);
        } else if (worth_keeping(core, device)) {
            device_arrived(core, device);
        } else {
            ia_device_free(device);
        }
    }
}

static void begin_resync(struct ia_core *core)
{
    core->seen++;
    if (core->seen == core->walked_seen) /* 255 came to no end: what the earliest of them found counts as found later */
        core->walked_seen++;
    core->sweeping = false;
}

/* A session whose record has been evicted is found by nobody else. */
static void end_resync(struct ia_core *core)
{
    core->resynced = true;
    core->walked_seen = core->seen;
    ia_clients_each(core->clients, condemn_unseen, core);
    core->sweeping = true; /* in slices, from TICK */
    ia_device_cache_sweep_begin(core->devices);
}

/* ---- snapshots */

/* Freeing a large snapshot takes milliseconds: the worker does it. */
static void retire(struct ia_core *core, struct ia_snapshot *snapshot)
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

static void adopt(struct ia_core *core, struct ia_reply *reply)
{
    struct ia_snapshot *old = core->snapshot;
    core->snapshot = reply->snapshot;
    reply->snapshot = NULL;
    if (!old)
        ia_log(MOSQ_LOG_NOTICE, "ready: %zu CAs registered", ia_ca_settings_count(core->snapshot->ca_settings));
    retire(core, old);
}

/* ---- one reply after the other */

static int mosquitto_level(enum ia_log_level level)
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

static void apply(struct ia_core *core, struct ia_reply *reply)
{
    switch (reply->kind) {
    case IA_REPLY_SNAPSHOT:
        adopt(core, reply);
        break;
    case IA_REPLY_ANSWER:
        apply_answer(core, reply);
        break;
    case IA_REPLY_DEVICES:
        apply_devices(core, reply);
        break;
    case IA_REPLY_PAGE:
        apply_page(core, reply);
        break;
    case IA_REPLY_RESYNC_BEGIN:
        begin_resync(core);
        break;
    case IA_REPLY_RESYNC_END:
        end_resync(core);
        break;
    case IA_REPLY_STATE:
        core->db_up = reply->connected;
        if (reply->connected)
            core->db_contact_s = ia_wall_s();
        break;
    case IA_REPLY_CONTACT:
        core->db_contact_s = ia_wall_s();
        break;
    case IA_REPLY_LOG:
        ia_log(mosquitto_level(reply->level), "%s", reply->text);
        break;
    case IA_REPLY_EVENT:
        ia_report_publish(core, reply->event, reply->text);
        break;
    }
    ia_reply_free(reply);
}

void ia_replies_apply(struct ia_core *core)
{
    if (!ia_worker_has_reply(core->worker))
        return;
    int64_t until = ia_monotonic_us() + APPLY_US;
    struct ia_reply *reply;
    while ((reply = ia_worker_reply(core->worker, 0)) != NULL) {
        apply(core, reply);
        if (ia_monotonic_us() >= until)
            return;
    }
}

bool ia_replies_wait(struct ia_core *core, int64_t wait_us)
{
    struct ia_reply *reply = ia_worker_reply(core->worker, wait_us);
    if (!reply)
        return false;
    apply(core, reply);
    return true;
}

bool ia_resync_sweep(struct ia_core *core, size_t slots)
{
    return ia_device_cache_sweep(core->devices, core->seen, slots, NULL, NULL);
}
