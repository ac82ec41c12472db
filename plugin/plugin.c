// SPDX-License-Identifier: ISC
/* The plugin's entry points, and the callbacks that only keep house. */
#include "plugin/core.h"
#include "plugin/mosquitto_compat.h"
#include "plugin/registration_wait.h"
#include "plugin/report.h"
#include "plugin/tls_gate.h"
#include "plugin/tls_listener.h"
#include "worker/waker.h"

#include <stdlib.h>
#include <string.h>

#define IA_EXPORT __attribute__((visibility("default")))

#define JUDGE_US          5000  /* of one TICK, for live sessions */
#define SWEEP_SLOTS       20000 /* of one TICK, for records that a walk did not find */
#define PUBLISH_EVERY_US  5000000
#define TOKENS_REMEMBERED 100000
#define TICK_MS           50 /* 2.1 sleeps until something is due */
#define TICK_BUSY_MS      1

static struct ia_core *the_core; /* one instance a process */

/* ---- the gate's questions */

static const struct ia_snapshot *gate_snapshot(void *ctx)
{
    struct ia_core *core = ctx;
    ia_replies_apply(core);
    return core->snapshot;
}

static void gate_verified(void *ctx, const struct ia_chain *chain)
{
    ia_registration_prefetch(ctx, chain->links[0].fingerprint);
}

static void gate_refused(void *ctx, const char *address, const struct ia_chain *chain)
{
    struct ia_core *core = ctx;
    struct ia_audit_entry a = {.address = address};
    if (chain && core->snapshot)
        a.ca = ia_ca_settings_find(core->snapshot->ca_settings, chain->ca_id);
    a.ca_id = chain ? chain->ca_id : 0;
    if (chain && chain->n_links)
        a.fingerprint = chain->links[0].fingerprint;
    if (chain)
        memcpy(a.detail, chain->detail, sizeof chain->detail);
    ia_report_refused(core, &a, chain ? chain->reason : IA_R_ADDRESS_DENIED);
}

/* ---- callbacks */

static int on_tick(int event, void *event_data, void *userdata)
{
    (void)event;
    struct ia_core *core = userdata;
    core->last_tick_us = ia_monotonic_us();
    core->waited_turn_us = 0;
    core->reloading = false;
    ia_replies_apply(core);
    ia_clients_tidy(core->clients);
    bool more = ia_revalidate_slice(core, JUDGE_US);
    if (core->sweeping)
        core->sweeping = !ia_resync_sweep(core, SWEEP_SLOTS);
    if (core->last_tick_us >= core->next_publish_us) {
        core->next_publish_us = core->last_tick_us + PUBLISH_EVERY_US;
        ia_registration_tidy(core);
        ia_report_counters(core);
    }
    bool busy = more || core->sweeping || ia_worker_has_reply(core->worker);
    ia_mosq_next_tick(event_data, busy ? TICK_BUSY_MS : TICK_MS);
    if (busy)
        ia_waker_wake_soon();
    return MOSQ_ERR_SUCCESS;
}

/* The end of a connection; also told of clients that were refused, or twice.  Of one that was never let in, the pointer
 * is remembered: its username must not speak for it when its will is checked. */
static int on_disconnect(int event, void *event_data, void *userdata)
{
    (void)event;
    const struct mosquitto_evt_disconnect *ev = event_data;
    struct ia_core *core = userdata;
    const char *id = mosquitto_client_id(ev->client);
    struct ia_client *s = ia_client_find(core->clients, ev->client);
    /* Also where an ended session's pointer has a new owner, of whom we have heard nothing until now. */
    if (id && (!s || (!s->live && !ia_client_is_of(s, ev->client))))
        s = ia_client_open(core->clients, ev->client, IA_CLIENT_UNAUTHENTICATED, id, NULL);
    if (s)
        ia_client_end(core->clients, s);
    return MOSQ_ERR_SUCCESS;
}

/* An error from here would end Mosquitto 2.1. */
static int on_reload(int event, void *event_data, void *userdata)
{
    (void)event, (void)event_data;
    struct ia_core *core = userdata;
    core->reloading = core->last_tick_us != 0; /* only TICK ends it */
    ia_tls_listener_reload();
    return ia_mosq_is_21() ? MOSQ_ERR_SUCCESS : MOSQ_ERR_PLUGIN_DEFER;
}

static const struct {
    int event;
    MOSQ_FUNC_generic_callback callback;
    bool optional; /* 2.0 does not know it */
} callbacks[] = {
    {MOSQ_EVT_BASIC_AUTH, ia_on_basic_auth, false},
    {MOSQ_EVT_EXT_AUTH_START, ia_on_ext_auth_start, false},
    {MOSQ_EVT_EXT_AUTH_CONTINUE, ia_on_ext_auth_continue, false},
    {MOSQ_EVT_ACL_CHECK, ia_on_acl_check, false},
    {MOSQ_EVT_TICK, on_tick, false},
    {MOSQ_EVT_DISCONNECT, on_disconnect, false},
    {MOSQ_EVT_RELOAD, on_reload, false},
    {IA_EVT_CLIENT_OFFLINE, on_disconnect, true},
};
#define N_CALLBACKS (sizeof callbacks / sizeof callbacks[0])

/* ---- start */

static enum ia_rc register_callbacks(struct ia_core *core, struct ia_err *err)
{
    for (size_t i = 0; i < N_CALLBACKS; i++) {
        int rc = mosquitto_callback_register(core->id, callbacks[i].event, callbacks[i].callback, NULL, core);
        if (rc != MOSQ_ERR_SUCCESS && !callbacks[i].optional)
            return ia_fail(err, IA_UNAVAILABLE, "Mosquitto does not take a callback for event %d (error %d)",
                           callbacks[i].event, rc);
    }
    return IA_OK;
}

/* Until the first snapshot and all devices are there, or the time is over. */
static void wait_for_registry(struct ia_core *core)
{
    int64_t until = ia_monotonic_us() + core->options.startup_wait_ms * 1000;
    while (!core->resynced) {
        int64_t left = until - ia_monotonic_us();
        if (left <= 0 || !ia_replies_wait(core, left))
            break;
    }
    if (!core->snapshot)
        ia_log(MOSQ_LOG_WARNING, "no snapshot after startup_wait_ms: everything is refused until the database answers");
    else
        ia_log(MOSQ_LOG_NOTICE, "%zu device certificates in memory", ia_device_cache_count(core->devices));
}

static enum ia_rc make_parts(struct ia_core *core, struct ia_err *err)
{
    core->devices = ia_device_cache_new((size_t)core->options.device_cache_size);
    core->clients = ia_clients_new();
    core->topic_split = ia_topic_split_new();
    if (!core->devices || !core->clients || !core->topic_split)
        return ia_nomem(err);
    return ia_token_cache_new(TOKENS_REMEMBERED, &core->tokens, err);
}

static enum ia_rc start(struct ia_core *core, const struct mosquitto_opt *options, int n, struct ia_err *err)
{
    const struct ia_gate_hooks hooks = {
        .ctx = core, .snapshot = gate_snapshot, .verified = gate_verified, .refused = gate_refused};
    enum ia_rc rc = ia_options_read(options, n, &core->options, err);
    if (rc == IA_OK)
        rc = make_parts(core, err);
    if (rc == IA_OK)
        rc = ia_worker_start(&core->options.worker, &core->worker, err);
    if (rc == IA_OK && core->options.gate != IA_GATE_OFF)
        rc = ia_gate_open(&core->options, &hooks, err);
    if (rc == IA_OK)
        rc = register_callbacks(core, err);
    return rc;
}

static void core_free(struct ia_core *core)
{
    ia_gate_close();
    ia_waker_close();
    bool stopped = ia_worker_stop(core->worker);
    ia_clients_free(core->clients);
    ia_topic_split_free(core->topic_split);
    ia_device_cache_free(core->devices);
    ia_token_cache_free(core->tokens);
    ia_snapshot_free(core->snapshot);
    ia_registration_clear(core);
    ia_rights_clear(&core->scratch);
    if (!stopped)
        return; /* the worker may still read the options: they end with the process */
    ia_options_clear(&core->options);
    free(core);
}

IA_EXPORT int mosquitto_plugin_version(int supported_version_count, const int *supported_versions);
IA_EXPORT int mosquitto_plugin_init(mosquitto_plugin_id_t *identifier, void **userdata, struct mosquitto_opt *options,
                                    int option_count);
IA_EXPORT int mosquitto_plugin_cleanup(void *userdata, struct mosquitto_opt *options, int option_count);

int mosquitto_plugin_version(int supported_version_count, const int *supported_versions)
{
    for (int i = 0; i < supported_version_count; i++)
        if (supported_versions[i] == 5)
            return 5;
    return -1;
}

int mosquitto_plugin_init(mosquitto_plugin_id_t *identifier, void **userdata, struct mosquitto_opt *options,
                          int option_count)
{
    struct ia_err err = {0};
    ia_mosq_init();
    if (the_core) {
        ia_log(MOSQ_LOG_ERR, "the plugin is loaded a second time: use it once, before the first listener, with "
                             "per_listener_settings false");
        return MOSQ_ERR_INVAL;
    }
    struct ia_core *core = calloc(1, sizeof *core);
    if (!core)
        return MOSQ_ERR_NOMEM;
    core->id = identifier;
    if (start(core, options, option_count, &err) != IA_OK) {
        ia_log(MOSQ_LOG_ERR, "cannot start: %s", err.msg);
        core_free(core);
        return MOSQ_ERR_INVAL;
    }
    the_core = core;
    *userdata = core;
    wait_for_registry(core);
    if (!ia_mosq_is_21())
        ia_waker_open();
    return MOSQ_ERR_SUCCESS;
}

int mosquitto_plugin_cleanup(void *userdata, struct mosquitto_opt *options, int option_count)
{
    (void)options, (void)option_count;
    struct ia_core *core = userdata;
    if (!core)
        return MOSQ_ERR_SUCCESS;
    for (size_t i = 0; i < N_CALLBACKS; i++)
        (void)mosquitto_callback_unregister(core->id, callbacks[i].event, callbacks[i].callback, NULL);
    the_core = NULL;
    core_free(core);
    return MOSQ_ERR_SUCCESS;
}
