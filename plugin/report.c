// SPDX-License-Identifier: ISC
#include "plugin/report.h"

#include "common/json_out.h"
#include "common/rfc3339.h"
#include "plugin/database_state.h"
#include "plugin/decision_log.h"
#include "plugin/event_limits.h"
#include "plugin/http_api.h"
#include "plugin/last_refusals.h"
#include "plugin/mosquitto_compat.h"
#include "tls/parking.h"
#include "tls/proxy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define EVENT_JSON_MAX 4096
#define COUNTERS_MAX   16384

void ia_report_publish(const struct ia_core *core, const char *kind, const char *json)
{
    char topic[512];
    (void)snprintf(topic, sizeof topic, "%s/%s", core->options.event_prefix, kind);
    /* An event that cannot be published because memory ran out is still a row. */
    (void)mosquitto_broker_publish_copy(NULL, topic, (int)strlen(json), json, 0, false, NULL);
}

/* An event, and its row. */
struct report_event {
    char text[EVENT_JSON_MAX];
    const char *json; /* NULL: it does not fit */
    struct ia_event_request row;
};

static const char *write_event_json(const struct ia_core *core, const struct ia_audit_entry *a, enum ia_reason reason,
                                    size_t max, struct report_event *out)
{
    static const struct ia_entry_names names = {"device_id", "client_id"};
    const struct ia_entry_context ctx = {
        .names = &names, .node = core->options.worker.node_name, .reason = reason, .at_us = out->row.at_us, .max = max};
    struct ia_json_out j;
    ia_json_out_begin(&j, out->text, sizeof out->text);
    ia_audit_entry_describe(&j, a, &ctx);
    ia_audit_entry_describe_claims(&j, a, max);
    return ia_json_out_end(&j);
}

static void make_event(const struct ia_core *core, const char *kind, const struct ia_audit_entry *a,
                       enum ia_reason reason, struct report_event *out)
{
    static const size_t bounds[] = {0, 200, 100}; /* what the event may hold of each value: the last one always fits */
    out->json = NULL;
    out->row = (struct ia_event_request){
        .at_us = ia_wall_us(), .kind = kind, .reason = reason, .ca_id = a->ca ? a->ca->ca_id : a->ca_id};
    (void)snprintf(out->row.principal, sizeof out->row.principal, "%s", a->principal ? a->principal : "");
    (void)snprintf(out->row.address, sizeof out->row.address, "%s", a->address ? a->address : "");
    for (size_t i = 0; !out->json && i < sizeof bounds / sizeof bounds[0]; i++)
        out->json = write_event_json(core, a, reason, bounds[i], out);
}

/* Write and publish an event. */
static void write_event(struct ia_core *core, const struct report_event *event)
{
    struct ia_request *row = event->json ? ia_request_new(IA_REQUEST_EVENT, event->json) : NULL;
    if (!row) {
        core->counters.events_dropped++;
        return;
    }
    row->event = event->row;
    if (!ia_worker_ask(core->worker, row))
        core->counters.events_dropped++;
    ia_report_publish(core, event->row.kind, event->json);
}

/* What an app is known by: its principal, or what its token claims. */
static const char *refused_app(const struct ia_audit_entry *a, char out[2 * IA_CLAIMED_MAX])
{
    if (!a->app || a->principal)
        return a->app ? a->principal : NULL;
    bool nothing = !a->claimed || (!a->claimed->iss[0] && !a->claimed->azp[0]);
    (void)snprintf(out, 2 * IA_CLAIMED_MAX, "%s %s", nothing ? "" : a->claimed->iss, nothing ? "" : a->claimed->azp);
    return nothing ? NULL : out;
}

/* Of sampled refusals too, the last of each client is kept. */
static void keep_refusal(struct ia_core *core, const struct ia_audit_entry *a, const struct report_event *event)
{
    char app[2 * IA_CLAIMED_MAX];
    const struct ia_refused_client client = {
        .fingerprint = a->fingerprint, .app = refused_app(a, app), .address = a->address};
    if (event->json)
        ia_last_refusals_note(core->last_refusals, &client, &event->row, event->json);
}

void ia_report_accepted(struct ia_core *core, const struct ia_audit_entry *entry)
{
    if (entry->app)
        core->counters.accepted_apps++;
    else
        core->counters.accepted_devices++;
    ia_decision_log(core, entry, "accepted", IA_R_NONE);
}

/* The record of the device that was refused; NULL for an unregistered one. */
static struct ia_device *refused_device(struct ia_core *core, const struct ia_audit_entry *entry)
{
    return entry->fingerprint ? ia_device_cache_find(core->devices, entry->fingerprint) : NULL;
}

/* A registered device has one event when it is refused for another reason than before, however often it retries.  In
 * the handshake the key is not proven yet, and a certificate is public: whoever shows another's is limited like any
 * unregistered one, and does not silence the events of the device itself. */
static bool is_transition(struct ia_core *core, const struct ia_audit_entry *entry, enum ia_reason reason)
{
    struct ia_device *kept = refused_device(core, entry);
    if (!kept)
        return ia_event_limits_admit(core, entry->app ? entry->principal : NULL);
    if ((entry->proven ? kept->refusal : kept->refusal_unproven) == (uint8_t)reason)
        return false;
    if (!ia_event_limits_admit(core, entry->proven ? ia_device_id(kept) : NULL))
        return false;
    kept->refusal_unproven = (uint8_t)reason;
    if (entry->proven)
        kept->refusal = (uint8_t)reason;
    return true;
}

void ia_report_refused(struct ia_core *core, struct ia_audit_entry *entry, enum ia_reason reason)
{
    const struct ia_device *known = entry->proven ? refused_device(core, entry) : NULL;
    if (known && !entry->app && !entry->principal)
        entry->principal = ia_device_id(known);
    struct ia_shown_certificate shown;
    if (entry->leaf && !entry->shown) {
        ia_shown_certificate_read(entry->leaf, &shown);
        entry->shown = &shown;
    }
    core->counters.refused[reason]++;
    ia_decision_log(core, entry, "refused", reason);
    struct report_event event;
    make_event(core, entry->app ? "app/refused" : "device/refused", entry, reason, &event);
    if (is_transition(core, entry, reason))
        write_event(core, &event);
    keep_refusal(core, entry, &event);
    if (entry->leaf)
        entry->shown = NULL;
}

/* Can the client cause this end of its session again and again by itself: by a bad AUTH, or with a credential that is
 * about to expire? */
static bool is_repeatable_end(const struct ia_client *session, enum ia_reason reason)
{
    return session->caused_by_client || reason == IA_R_TOKEN_EXPIRED || reason == IA_R_CERTIFICATE_EXPIRED;
}

void ia_report_ended(struct ia_core *core, const struct ia_client *session, const char *client_id,
                     enum ia_reason reason)
{
    struct ia_audit_entry a = {.client_id = client_id,
                               .address = session->address,
                               .principal = ia_client_username(session),
                               .app = session->kind == IA_CLIENT_APP};
    if (session->device && !a.app)
        a.fingerprint = session->device->fingerprint;
    if (core->snapshot)
        a.ca = ia_ca_settings_find(core->snapshot->ca_settings, ia_client_ca_id(session));
    core->counters.ended[reason]++;
    ia_decision_log(core, &a, "ended", reason);
    struct report_event event;
    make_event(core, "session/ended", &a, reason, &event);
    if (session->username && (!is_repeatable_end(session, reason) || ia_event_limits_admit(core, session->username)))
        write_event(core, &event);
}

void ia_report_denied(struct ia_core *core, const struct ia_audit_entry *entry)
{
    ia_decision_log(core, entry, "denied", IA_R_TOPIC_DENIED);
    struct report_event event;
    make_event(core, entry->app ? "app/refused" : "device/refused", entry, IA_R_TOPIC_DENIED, &event);
    if (ia_event_limits_admit(core, entry->principal))
        write_event(core, &event);
    keep_refusal(core, entry, &event);
}

void ia_report_registered(struct ia_core *core, const struct ia_device *device, const char *event)
{
    const struct ia_ca_settings *ca =
        core->snapshot ? ia_ca_settings_find(core->snapshot->ca_settings, device->certificate_ca_id) : NULL;
    core->counters.registrations++;
    if (*event)
        ia_report_publish(core, "device/registered", event);
    ia_decision_log_registered(core, device, ca);
}

/* ---- counters */

static void publish_counter(void *ctx, const char *name, int64_t value)
{
    (void)ctx;
    char topic[160], text[24];
    (void)snprintf(topic, sizeof topic, "$SYS/broker/iot-auth/%s", name);
    int n = snprintf(text, sizeof text, "%" PRId64, value);
    (void)mosquitto_broker_publish_copy(NULL, topic, n, text, 0, true, NULL);
}

static void write_counter(void *ctx, const char *name, int64_t value)
{
    ia_json_out_int(ctx, name, value);
}

/* Figures that are not counted but are as they are. */
static void each_gauge(const struct ia_core *core, ia_counter_fn *fn, void *ctx)
{
    fn(ctx, "sessions", (int64_t)ia_clients_live(core->clients));
    fn(ctx, "parked/now", (int64_t)ia_parking_count());
    fn(ctx, "http_api/questions", (int64_t)ia_http_api_count());
    fn(ctx, "cache/devices", (int64_t)ia_device_cache_count(core->devices));
    fn(ctx, "cache/size", core->options.device_cache_size);
    struct ia_token_cache_stats tokens = ia_token_cache_stats(core->tokens);
    fn(ctx, "cache/tokens", (int64_t)tokens.entries);
    fn(ctx, "cache/token_hits", (int64_t)tokens.hits);
    fn(ctx, "cache/token_misses", (int64_t)tokens.misses);
    fn(ctx, "proxy/connections", (int64_t)ia_proxy_counts().connections);
    fn(ctx, "proxy/refused", (int64_t)ia_proxy_counts().refused);
    fn(ctx, "database/up", ia_database_is_up(core));
    fn(ctx, "snapshot/generation", core->snapshot ? (int64_t)core->snapshot->generation : 0);
    fn(ctx, "snapshot/age_s", ia_database_age_s(core, ia_wall_s()));
}

/* What runs here, as in the log.  Without the address of the database: any client with a right to $SYS reads it. */
static void publish_version(const struct ia_core *core)
{
    char text[384];
    const char *database = ia_database_versions(core);
    int n = snprintf(text, sizeof text, "%s%s%s", core->program, *database ? ", " : "", database);
    (void)mosquitto_broker_publish_copy(NULL, "$SYS/broker/iot-auth/version", n, text, 0, true, NULL);
}

void ia_report_counters(struct ia_core *core)
{
    char text[COUNTERS_MAX];
    struct ia_json_out j;
    publish_version(core);
    ia_counters_each(&core->counters, publish_counter, NULL);
    each_gauge(core, publish_counter, NULL);
    ia_json_out_begin(&j, text, sizeof text);
    ia_counters_each(&core->counters, write_counter, &j);
    each_gauge(core, write_counter, &j);
    const char *json = ia_json_out_end(&j);
    if (json)
        (void)ia_worker_ask(core->worker, ia_request_new(IA_REQUEST_COUNTERS, json));
}
