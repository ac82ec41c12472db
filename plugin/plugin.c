// SPDX-License-Identifier: ISC
/* The plugin's entry points, and the callbacks that decide nothing. */
#include "common/json_out.h"
#include "jitr/registration.h"
#include "plugin/acl_check.h"
#include "plugin/broker_state.h"
#include "plugin/core.h"
#include "plugin/database_state.h"
#include "plugin/device_requests.h"
#include "plugin/event_limits.h"
#include "plugin/key_requests.h"
#include "plugin/last_refusals.h"
#include "plugin/log.h"
#include "plugin/login.h"
#include "plugin/mosquitto_compat.h"
#include "plugin/new_devices.h"
#include "plugin/owned_ids.h"
#include "plugin/psk_handshake.h"
#include "plugin/psk_keys.h"
#include "plugin/replies.h"
#include "plugin/report.h"
#include "plugin/resync.h"
#include "plugin/revalidate.h"
#include "sql/versions.h"
#include "tls/gate.h"
#include "tls/listener.h"
#include "tls/parking.h"
#include "worker/waker.h"
#include "x509/cert.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IA_EXPORT __attribute__((visibility("default")))

#define REVALIDATE_US  5000 /* of one TICK, for live sessions */
#define TOKENS_CACHED  100000
#define TICK_MS        50 /* 2.1 sleeps until something is due */
#define TICK_PARKED_MS 5  /* … and looks for answers only then; 2.0 is woken by them */
#define TICK_BUSY_MS   1

static struct ia_core *the_core; /* one instance a process */

/* ---- the gate's questions */

static const struct ia_snapshot *gate_snapshot(void *ctx)
{
    struct ia_core *core = ctx;
    ia_replies_apply(core);
    return core->snapshot;
}

static const struct ia_snapshot *gate_peek_snapshot(void *ctx)
{
    const struct ia_core *core = ctx;
    return core->snapshot;
}

static void gate_proven(void *ctx, SSL *ssl, X509 *leaf, const struct ia_chain *chain)
{
    ia_new_devices_arrive(ctx, ssl, leaf, chain->links[0].fingerprint);
}

static void gate_refused(void *ctx, const char *address, const struct ia_chain *chain, X509 *leaf)
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
    struct ia_shown_certificate shown;
    if (leaf) {
        ia_shown_certificate_read(leaf, &shown);
        a.shown = &shown;
        a.fingerprint = shown.fingerprint;
    }
    ia_report_refused(core, &a, chain ? chain->reason : IA_R_ADDRESS_DENIED);
}

/* ---- callbacks */

static int on_tick(int event, void *event_data, void *userdata)
{
    (void)event;
    struct ia_core *core = userdata;
    ia_broker_tick(core);
    ia_replies_apply(core);
    ia_new_devices_expire(core);
    ia_clients_tidy(core->clients);
    bool more = ia_revalidate_slice(core, REVALIDATE_US);
    bool sweeping = ia_resync_sweep(core);
    ia_psk_handshake_tick(core);
    if (ia_psk_keys_tick(core))
        sweeping = true;
    if (ia_resumption_sweep())
        more = true;
    if (ia_broker_publish_due(core)) {
        ia_device_requests_tidy(core);
        ia_report_counters(core);
        ia_last_refusals_write(core, IA_REFUSALS_A_SECOND);
    }
    bool busy = more || sweeping || ia_worker_has_reply(core->worker);
    int idle_ms = ia_parking_count() > 0 ? TICK_PARKED_MS : TICK_MS;
    ia_mosq_next_tick(event_data, busy ? TICK_BUSY_MS : idle_ms);
    if (busy)
        ia_waker_wake_soon();
    return MOSQ_ERR_SUCCESS;
}

/* The end of a connection; also reported of clients that were refused, or twice.  Of a client that was never let in, the
 * pointer is remembered until the next TICK: its username must not count when its will is checked.  2.1 sends
 * CLIENT_OFFLINE instead where it keeps the session, so DISCONNECT says that nothing is kept. */
static int on_disconnect(int event, void *event_data, void *userdata)
{
    const struct mosquitto_evt_disconnect *ev = event_data;
    struct ia_core *core = userdata;
    if (!ia_broker_is_own_thread(core))
        return MOSQ_ERR_SUCCESS;
    bool dropped = ia_mosq_is_21() && event == MOSQ_EVT_DISCONNECT;
    const char *id = mosquitto_client_id(ev->client);
    struct ia_client *client = ia_client_find(core->clients, ev->client);
    /* Also where an ended session's pointer has a new owner, of which nothing was known until now. */
    if (id && (!client || (!client->live && !ia_client_is_of(client, ev->client))))
        client = ia_client_open(core->clients, ev->client, IA_CLIENT_UNAUTHENTICATED, id, NULL);
    if (client)
        ia_client_end(core->clients, client, dropped ? IA_KEEP_NO : IA_KEEP_YES);
    return MOSQ_ERR_SUCCESS;
}

/* An error from here would end Mosquitto 2.1. */
static int on_reload(int event, void *event_data, void *userdata)
{
    (void)event, (void)event_data;
    struct ia_core *core = userdata;
    ia_broker_reload(core);
    ia_tls_listener_reload();
    ia_psk_keys_reload(core);
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
    {MOSQ_EVT_PSK_KEY, ia_on_psk_key, false},
    {IA_EVT_CLIENT_OFFLINE, on_disconnect, true},
};
#define N_CALLBACKS (sizeof callbacks / sizeof callbacks[0])

/* ---- start */

static int on_dynamic_security(int event, void *event_data, void *userdata)
{
    (void)event, (void)event_data, (void)userdata;
    return MOSQ_ERR_SUCCESS;
}

/* Plugins are asked in the order in which they are loaded, and the first answer counts: dynamic-security in front of
 * this plugin would admit a device by its name alone, `admin` for instance.  Its control topic can be registered only
 * once, so a registration shows whether it is there. */
static enum ia_rc check_load_order(const struct ia_core *core, struct ia_err *err)
{
    static const char topic[] = "$CONTROL/dynamic-security/v1";
    int rc = mosquitto_callback_register(core->id, MOSQ_EVT_CONTROL, on_dynamic_security, topic, NULL);
    if (rc == MOSQ_ERR_SUCCESS) {
        (void)mosquitto_callback_unregister(core->id, MOSQ_EVT_CONTROL, on_dynamic_security, topic);
        return IA_OK;
    }
    if (rc != MOSQ_ERR_ALREADY_EXISTS)
        return IA_OK; /* it cannot be determined here */
    return ia_fail(err, IA_USAGE,
                   "the dynamic-security plugin is loaded before this one and would answer first: put the "
                   "`plugin` line of mosquitto_iot_auth.so above it");
}

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

/* Where every plugin defers, Mosquitto denies each topic with SUBACK 0x80 and no log line: so it is said at start. */
static void log_defer(const struct ia_core *core)
{
    if (core->options.defer_others)
        ia_log(MOSQ_LOG_NOTICE,
               "other_clients defer: Mosquitto denies such clients every topic that no acl_file and no "
               "other plugin allows");
}

/* Until the first snapshot and all devices are there, or the time is over. */
static void wait_for_registry(struct ia_core *core)
{
    int64_t until = ia_monotonic_us() + core->options.startup_wait_ms * 1000;
    while (!ia_resync_is_complete(core) || !ia_psk_keys_are_complete(core)) {
        int64_t left = until - ia_monotonic_us();
        if (left <= 0 || !ia_replies_wait_at_start(core, left))
            break;
    }
    if (!core->snapshot)
        ia_log(MOSQ_LOG_WARNING, "no snapshot after startup_wait_ms: everything is refused until the database answers");
    else
        ia_log(MOSQ_LOG_NOTICE, "%zu device certificates and %zu pre-shared keys in memory",
               ia_device_cache_count(core->devices), ia_psk_keys_count(core));
}

static enum ia_rc make_parts(struct ia_core *core, struct ia_err *err)
{
    core->devices = ia_device_cache_new((size_t)core->options.device_cache_size);
    core->clients = ia_clients_new();
    core->broker = ia_broker_state_new();
    core->database = ia_database_state_new();
    core->resync = ia_resync_new();
    core->scan = ia_session_scan_new();
    core->registrations = ia_registrations_new();
    core->device_requests = ia_device_requests_new();
    core->new_devices = ia_new_devices_new();
    core->psk_keys = ia_psk_keys_new();
    core->key_requests = ia_key_requests_new();
    core->owned_ids = ia_owned_ids_new();
    core->event_limits = ia_event_limits_new();
    core->last_refusals = ia_last_refusals_new();
    core->acl = ia_acl_state_new();
    if (!core->devices || !core->clients || !core->broker || !core->database || !core->resync || !core->scan ||
        !core->registrations || !core->device_requests || !core->new_devices || !core->psk_keys ||
        !core->key_requests || !core->owned_ids || !core->event_limits || !core->last_refusals || !core->acl)
        return ia_nomem(err);
    return ia_token_cache_new(TOKENS_CACHED, &core->tokens, err);
}

static void free_parts(struct ia_core *core)
{
    ia_clients_free(core->clients);
    ia_device_cache_free(core->devices);
    ia_token_cache_free(core->tokens);
    ia_snapshot_free(core->snapshot);
    ia_acl_state_free(core->acl);
    ia_owned_ids_free(core->owned_ids);
    ia_last_refusals_free(core->last_refusals);
    ia_event_limits_free(core->event_limits);
    ia_key_requests_free(core->key_requests);
    ia_psk_keys_free(core->psk_keys);
    ia_new_devices_free(core->new_devices);
    ia_device_requests_free(core->device_requests);
    ia_registrations_free(core->registrations);
    ia_session_scan_free(core->scan);
    ia_resync_free(core->resync);
    ia_database_state_free(core->database);
    ia_broker_state_free(core->broker);
}

static void describe_versions(struct ia_core *core)
{
    char libpq[IA_DB_VERSION_SIZE], schema[IA_DB_VERSION_SIZE];
    struct ia_json_out j;
    ia_json_out_begin(&j, core->versions, sizeof core->versions);
    ia_json_out_text(&j, "plugin", IA_VERSION);
    ia_json_out_text(&j, "mosquitto", ia_mosq_version());
    ia_json_out_text(&j, "openssl", OpenSSL_version(OPENSSL_VERSION_STRING));
    ia_json_out_text(&j, "libpq", ia_db_libpq_version(libpq));
    ia_json_out_text(&j, "schema", ia_db_schema_needed(schema));
    ia_json_out_text(&j, "ml_dsa", ia_openssl_has_ml_dsa() ? "yes" : "no");
    core->options.worker.versions = ia_json_out_end(&j);
    (void)snprintf(core->program, sizeof core->program, "plugin " IA_VERSION ", Mosquitto %s, OpenSSL %s",
                   ia_mosq_version(), OpenSSL_version(OPENSSL_VERSION_STRING));
    core->options.worker.program = core->program;
}

/* What is wrong with the options is a line of that format, too. */
static bool wants_json(const struct mosquitto_opt *options, int n)
{
    for (int i = 0; i < n; i++)
        if (strcmp(options[i].key, "log_format") == 0)
            return options[i].value && strcmp(options[i].value, "json") == 0;
    return false;
}

static enum ia_rc open_parking(struct ia_core *core, struct ia_err *err)
{
    const struct ia_parking_settings settings = {
        .max = (size_t)core->options.parked_max, .ctx = core, .released = ia_new_devices_note_parked};
    return ia_parking_open(&settings, err);
}

static enum ia_rc start_core(struct ia_core *core, const struct mosquitto_opt *options, int n, struct ia_err *err)
{
    const struct ia_gate_hooks hooks = {.ctx = core,
                                        .snapshot = gate_snapshot,
                                        .peek_snapshot = gate_peek_snapshot,
                                        .proven = gate_proven,
                                        .refused = gate_refused};
    enum ia_rc rc = ia_options_read(options, n, &core->options, err);
    if (rc == IA_OK)
        rc = make_parts(core, err);
    if (rc == IA_OK)
        rc = check_load_order(core, err);
    if (rc == IA_OK)
        ia_log_begin(core->options.log_json, core->options.worker.node_name);
    describe_versions(core);
    if (rc == IA_OK)
        rc = ia_psk_handshake_open(core, err);
    if (rc == IA_OK)
        rc = ia_worker_start(&core->options.worker, &core->worker, err);
    if (rc == IA_OK)
        rc = open_parking(core, err);
    if (rc == IA_OK && core->options.gate.mode != IA_GATE_OFF)
        rc = ia_gate_open(&core->options.gate, &hooks, err);
    if (rc == IA_OK)
        rc = register_callbacks(core, err);
    return rc;
}

static void core_free(struct ia_core *core)
{
    ia_parking_close();
    ia_gate_close();
    ia_psk_handshake_close();
    ia_waker_close();
    bool stopped = ia_worker_stop(core->worker);
    free_parts(core);
    ia_log_begin(ia_log_is_json(), NULL);
    if (!stopped)
        return; /* the worker may still read the options: they live as long as the process */
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
    if (!the_core)
        ia_log_begin(wants_json(options, option_count), NULL);
    if (the_core) {
        ia_log(MOSQ_LOG_ERR, "the plugin is loaded a second time: use it once, before the first listener, with "
                             "per_listener_settings false");
        return MOSQ_ERR_INVAL;
    }
    struct ia_core *core = calloc(1, sizeof *core);
    if (!core)
        return MOSQ_ERR_NOMEM;
    core->id = identifier;
    ia_mosq_introduce(identifier, IA_VERSION);
    if (start_core(core, options, option_count, &err) != IA_OK) {
        ia_log(MOSQ_LOG_ERR, "cannot start: %s", err.msg);
        core_free(core);
        return MOSQ_ERR_INVAL;
    }
    the_core = core;
    *userdata = core;
    log_defer(core);
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
    ia_last_refusals_write(core, SIZE_MAX);
    core_free(core);
    return MOSQ_ERR_SUCCESS;
}
