// SPDX-License-Identifier: ISC
#include "plugin/report.h"

#include "common/json_out.h"
#include "common/rfc3339.h"
#include "plugin/database_state.h"
#include "plugin/event_limits.h"
#include "plugin/http_api.h"
#include "plugin/last_refusals.h"
#include "plugin/log.h"
#include "plugin/mosquitto_compat.h"
#include "tls/parking.h"
#include "tls/proxy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define EVENT_JSON_MAX  4096
#define LOG_SHOWN_MAX   700 /* the whole line has 1023 bytes */
#define LOG_CLAIMED_MAX (5 * (IA_CLAIMED_MAX + 16))
#define COUNTERS_MAX    16384

/* What clients send may hold anything: in a log line it must not pass for another line, or another member of this one.
 * Copies what fits, with a '?' for each character up to `last_bad`, each quote and DEL. */
static const char *harmless(const char *text, unsigned char last_bad, char *out, size_t size)
{
    size_t n = 0;
    for (; n < size - 1 && text[n]; n++) {
        unsigned char c = (unsigned char)text[n];
        out[n] = (char)(c <= last_bad || c == 0x7F || c == '"' ? '?' : c);
    }
    out[n] = '\0';
    return out;
}

static const char *word(const char *text, char out[IA_VALUE_MAX + 1])
{
    return text && *text ? harmless(text, ' ', out, IA_VALUE_MAX + 1) : "-";
}

static const char *ca_name(const struct ia_audit_entry *entry)
{
    return entry->ca ? entry->ca->name : NULL;
}

/* ---- what a refused token claims */

/* The name of a claimed value in log and event; "claimed_" says that it is not verified. */
static const struct {
    const char *name;
    size_t offset;
} claimed_members[] = {
    {"claimed_iss", offsetof(struct ia_token_claimed, iss)}, {"claimed_aud", offsetof(struct ia_token_claimed, aud)},
    {"claimed_azp", offsetof(struct ia_token_claimed, azp)}, {"claimed_kid", offsetof(struct ia_token_claimed, kid)},
    {"claimed_typ", offsetof(struct ia_token_claimed, typ)},
};

/* The claimed value of member i; "" for none. */
static const char *claimed_value(const struct ia_audit_entry *a, size_t i)
{
    return a->claimed ? (const char *)a->claimed + claimed_members[i].offset : "";
}

static const char *claimed_text(const struct ia_audit_entry *a, char out[LOG_CLAIMED_MAX])
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < sizeof claimed_members / sizeof claimed_members[0]; i++) {
        char value[IA_CLAIMED_MAX];
        if (*harmless(claimed_value(a, i), 0x1F, value, sizeof value))
            used += (size_t)snprintf(out + used, LOG_CLAIMED_MAX - used, " %s=\"%s\"", claimed_members[i].name, value);
    }
    return out;
}

static void describe_claimed(struct ia_json_out *j, const struct ia_audit_entry *a)
{
    for (size_t i = 0; i < sizeof claimed_members / sizeof claimed_members[0]; i++)
        if (*claimed_value(a, i))
            ia_json_out_text(j, claimed_members[i].name, claimed_value(a, i));
}

/* ---- what a refused certificate says of itself */

/* `cn` and `serial` are looked for by iot_auth.why_refused. */
static const struct {
    const char *name;
    size_t offset;
} shown_members[] = {
    {"cn", offsetof(struct ia_shown_certificate, cn)},
    {"serial", offsetof(struct ia_shown_certificate, serial)},
    {"claimed_subject", offsetof(struct ia_shown_certificate, subject)},
    {"claimed_issuer", offsetof(struct ia_shown_certificate, issuer)},
    {"claimed_key_id", offsetof(struct ia_shown_certificate, key_id)},
    {"claimed_authority_key_id", offsetof(struct ia_shown_certificate, authority_key_id)},
    {"claimed_not_after", offsetof(struct ia_shown_certificate, not_after)},
};
#define N_SHOWN (sizeof shown_members / sizeof shown_members[0])

/* The value of member i; "" for none. */
static const char *shown_value(const struct ia_audit_entry *a, size_t i)
{
    return a->shown ? (const char *)a->shown + shown_members[i].offset : "";
}

static const char *shown_text(const struct ia_audit_entry *a, char out[LOG_SHOWN_MAX])
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < N_SHOWN && used < LOG_SHOWN_MAX; i++) {
        char value[IA_SHOWN_TEXT_MAX];
        if (*harmless(shown_value(a, i), 0x1F, value, sizeof value))
            used += (size_t)snprintf(out + used, LOG_SHOWN_MAX - used, " %s=\"%s\"", shown_members[i].name, value);
    }
    return out;
}

static void describe_shown(struct ia_json_out *j, const struct ia_audit_entry *a)
{
    for (size_t i = 0; i < N_SHOWN; i++)
        if (*shown_value(a, i))
            ia_json_out_text(j, shown_members[i].name, shown_value(a, i));
}

/* ---- log */

static void log_text(const struct ia_audit_entry *a, const char *verdict, enum ia_reason reason)
{
    char who[IA_VALUE_MAX + 1], cid[IA_VALUE_MAX + 1], ca[IA_VALUE_MAX + 1], from[IA_VALUE_MAX + 1];
    char issuer[IA_VALUE_MAX + 1];
    char detail[sizeof a->detail], claimed[LOG_CLAIMED_MAX], shown[LOG_SHOWN_MAX];
    bool refused = reason != IA_R_NONE;
    (void)harmless(refused ? a->detail : "", 0x1F, detail, sizeof detail);
    ia_log(refused ? MOSQ_LOG_NOTICE : MOSQ_LOG_INFO, "%s%s%s %s=%s client=%s address=%s ca=%s%s%s%s%s%s%s%s", verdict,
           refused ? " reason=" : "", ia_reason_name(reason), a->app ? "app" : "device", word(a->principal, who),
           word(a->client_id, cid), word(a->address, from), word(ca_name(a), ca), a->issuer ? " issuer=" : "",
           a->issuer ? word(a->issuer, issuer) : "", detail[0] ? " detail=\"" : "", detail, detail[0] ? "\"" : "",
           claimed_text(a, claimed), shown_text(a, shown));
}

/* Users match on the names of an event and of a log line alike, and they differ for these two. */
static const struct member_names {
    const char *device, *client;
} event_names = {"device_id", "client_id"}, log_names = {"device", "client"};

/* The members that log line and event share. */
static void describe_entry(struct ia_json_out *j, const struct ia_core *core, const struct member_names *names,
                           const struct ia_audit_entry *a, enum ia_reason reason, int64_t at_us)
{
    char at[IA_RFC3339_SIZE], hex[2 * IA_FINGERPRINT_LEN + 1];
    ia_json_out_text(j, a->app ? "app" : names->device, a->principal);
    if (a->fingerprint) {
        ia_hex(a->fingerprint, IA_FINGERPRINT_LEN, hex);
        ia_json_out_text(j, "fingerprint", hex);
    }
    ia_json_out_text(j, "ca", ca_name(a));
    if (a->issuer)
        ia_json_out_text(j, "issuer", a->issuer);
    if (a->client_id) {
        char cut[IA_VALUE_MAX + 1]; /* it may be 64 KB long, and must not push the rest out */
        (void)snprintf(cut, sizeof cut, "%s", a->client_id);
        ia_json_out_text(j, names->client, cut);
    }
    ia_json_out_text(j, "address", a->address);
    if (reason != IA_R_NONE)
        ia_json_out_text(j, "reason", ia_reason_name(reason));
    if (a->detail[0])
        ia_json_out_text(j, "detail", a->detail);
    ia_json_out_text(j, "node", core->options.worker.node_name);
    ia_json_out_text(j, "at", ia_rfc3339(at_us, at));
}

static int decision_level(enum ia_reason reason)
{
    return reason == IA_R_NONE ? MOSQ_LOG_INFO : MOSQ_LOG_NOTICE;
}

static const char *format_decision(const struct ia_core *core, const struct ia_audit_entry *a, const char *verdict,
                                   enum ia_reason reason, bool with_claimed, char out[EVENT_JSON_MAX])
{
    struct ia_json_out j;
    ia_json_out_begin(&j, out, EVENT_JSON_MAX);
    ia_json_out_text(&j, "verdict", verdict);
    ia_json_out_text(&j, "level", ia_log_level_word(decision_level(reason)));
    describe_entry(&j, core, &log_names, a, reason, ia_wall_us());
    if (with_claimed) {
        describe_claimed(&j, a);
        describe_shown(&j, a);
    }
    return ia_json_out_end(&j);
}

static void log_json(const struct ia_core *core, const struct ia_audit_entry *a, const char *verdict,
                     enum ia_reason reason)
{
    char text[EVENT_JSON_MAX];
    const char *line = format_decision(core, a, verdict, reason, true, text);
    if (!line || strlen(line) > IA_LOG_JSON_MAX) /* the event has the claimed values too */
        line = format_decision(core, a, verdict, reason, false, text);
    if (line)
        mosquitto_log_printf(decision_level(reason), "%s", line);
}

static void log_decision(const struct ia_core *core, const struct ia_audit_entry *a, const char *verdict,
                         enum ia_reason reason)
{
    if (ia_log_is_json())
        log_json(core, a, verdict, reason);
    else
        log_text(a, verdict, reason);
}

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

static void make_event(const struct ia_core *core, const char *kind, const struct ia_audit_entry *a,
                       enum ia_reason reason, struct report_event *out)
{
    struct ia_json_out j;
    out->row = (struct ia_event_request){
        .at_us = ia_wall_us(), .kind = kind, .reason = reason, .ca_id = a->ca ? a->ca->ca_id : a->ca_id};
    (void)snprintf(out->row.principal, sizeof out->row.principal, "%s", a->principal ? a->principal : "");
    (void)snprintf(out->row.address, sizeof out->row.address, "%s", a->address ? a->address : "");
    ia_json_out_begin(&j, out->text, sizeof out->text);
    describe_entry(&j, core, &event_names, a, reason, out->row.at_us);
    describe_claimed(&j, a);
    describe_shown(&j, a);
    out->json = ia_json_out_end(&j);
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

static const uint8_t *record_key(const struct ia_audit_entry *a)
{
    return a->record ? a->record : a->fingerprint;
}

/* What an app, or a device whose token is refused, is known by: its principal, or what its token claims. */
static const char *refused_app(const struct ia_audit_entry *a, char out[2 * IA_CLAIMED_MAX])
{
    if (a->principal)
        return a->app || !record_key(a) ? a->principal : NULL;
    if (!a->app && !a->issuer)
        return NULL;
    bool nothing = !a->claimed || (!a->claimed->iss[0] && !a->claimed->azp[0]);
    (void)snprintf(out, 2 * IA_CLAIMED_MAX, "%s %s", nothing ? "" : a->claimed->iss, nothing ? "" : a->claimed->azp);
    return nothing ? NULL : out;
}

/* Of sampled refusals too, the last of each client is kept. */
static void keep_refusal(struct ia_core *core, const struct ia_audit_entry *a, const struct report_event *event)
{
    char app[2 * IA_CLAIMED_MAX];
    const struct ia_refused_client client = {
        .fingerprint = record_key(a), .app = refused_app(a, app), .address = a->address};
    if (event->json)
        ia_last_refusals_note(core->last_refusals, &client, &event->row, event->json);
}

void ia_report_accepted(struct ia_core *core, const struct ia_audit_entry *entry)
{
    if (entry->app)
        core->counters.accepted_apps++;
    else
        core->counters.accepted_devices++;
    log_decision(core, entry, "accepted", IA_R_NONE);
}

/* The record of the device that was refused; NULL for an unregistered one. */
static struct ia_device *refused_device(struct ia_core *core, const struct ia_audit_entry *entry)
{
    return record_key(entry) ? ia_device_cache_find(core->devices, record_key(entry)) : NULL;
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
    log_decision(core, entry, "refused", reason);
    struct report_event event;
    make_event(core, entry->app ? "app/refused" : "device/refused", entry, reason, &event);
    if (is_transition(core, entry, reason))
        write_event(core, &event);
    keep_refusal(core, entry, &event);
    if (entry->leaf)
        entry->shown = NULL;
}

void ia_report_ended(struct ia_core *core, const struct ia_client *session, const char *client_id,
                     enum ia_reason reason)
{
    struct ia_audit_entry a = {.client_id = client_id,
                               .address = session->address,
                               .principal = ia_client_username(session),
                               .app = session->kind == IA_CLIENT_APP};
    if (session->chain && session->device && !a.app)
        a.fingerprint = session->device->fingerprint;
    if (session->token && !a.app)
        a.issuer = session->token->issuer;
    if (session->ca_id && core->snapshot)
        a.ca = ia_ca_settings_find(core->snapshot->ca_settings, session->ca_id);
    core->counters.ended[reason]++;
    log_decision(core, &a, "ended", reason);
    struct report_event event;
    make_event(core, "session/ended", &a, reason, &event);
    if (session->username)
        write_event(core, &event);
}

void ia_report_denied(struct ia_core *core, const struct ia_audit_entry *entry)
{
    log_decision(core, entry, "denied", IA_R_TOPIC_DENIED);
    struct report_event event;
    make_event(core, entry->app ? "app/refused" : "device/refused", entry, IA_R_TOPIC_DENIED, &event);
    if (ia_event_limits_admit(core, entry->principal))
        write_event(core, &event);
    keep_refusal(core, entry, &event);
}

static void log_registered(const struct ia_core *core, const struct ia_device *device, const struct ia_ca_settings *ca)
{
    const char *status = ia_device_status_name(device->status);
    char who[IA_VALUE_MAX + 1], of[IA_VALUE_MAX + 1], line[EVENT_JSON_MAX], at[IA_RFC3339_SIZE];
    const char *issuer = ia_device_issuer(device);
    if (!ia_log_is_json()) {
        ia_log(MOSQ_LOG_INFO, "registered device=%s %s=%s status=%s", word(ia_device_id(device), who),
               issuer ? "issuer" : "ca",
               word(issuer ? issuer
                    : ca   ? ca->name
                           : NULL,
                    of),
               status);
        return;
    }
    struct ia_json_out j;
    ia_json_out_begin(&j, line, sizeof line);
    ia_json_out_text(&j, "verdict", "registered");
    ia_json_out_text(&j, "level", ia_log_level_word(MOSQ_LOG_INFO));
    ia_json_out_text(&j, log_names.device, ia_device_id(device));
    ia_json_out_text(&j, issuer ? "issuer" : "ca", issuer ? issuer : ca ? ca->name : NULL);
    ia_json_out_text(&j, "status", status);
    ia_json_out_text(&j, "node", core->options.worker.node_name);
    ia_json_out_text(&j, "at", ia_rfc3339(ia_wall_us(), at));
    const char *json = ia_json_out_end(&j);
    if (json)
        mosquitto_log_printf(MOSQ_LOG_INFO, "%s", json);
}

void ia_report_registered(struct ia_core *core, const struct ia_device *device)
{
    char text[EVENT_JSON_MAX], hex[2 * IA_FINGERPRINT_LEN + 1], at[IA_RFC3339_SIZE];
    const struct ia_ca_settings *ca =
        core->snapshot ? ia_ca_settings_find(core->snapshot->ca_settings, device->certificate_ca_id) : NULL;
    core->counters.registrations++;
    ia_hex(device->fingerprint, IA_FINGERPRINT_LEN, hex);
    struct ia_json_out j;
    ia_json_out_begin(&j, text, sizeof text);
    ia_json_out_text(&j, "device_id", ia_device_id(device));
    if (ia_device_issuer(device)) {
        ia_json_out_text(&j, "issuer", ia_device_issuer(device));
    } else {
        ia_json_out_text(&j, "fingerprint", hex);
        ia_json_out_text(&j, "ca", ca ? ca->name : NULL);
        ia_json_out_text(&j, "ca_fingerprint", ca ? ca->fingerprint_hex : NULL);
    }
    ia_json_out_text(&j, "status", ia_device_status_name(device->status));
    ia_json_out_text(&j, "tenant", ia_device_tenant(device));
    ia_json_out_text(&j, "node", core->options.worker.node_name);
    ia_json_out_text(&j, "at", ia_rfc3339(ia_wall_us(), at));
    const char *json = ia_json_out_end(&j);
    if (json)
        ia_report_publish(core, "device/registered", json); /* its row was written by the registration itself */
    log_registered(core, device, ca);
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

void ia_report_counters(struct ia_core *core)
{
    char text[COUNTERS_MAX];
    struct ia_json_out j;
    ia_counters_each(&core->counters, publish_counter, NULL);
    each_gauge(core, publish_counter, NULL);
    ia_json_out_begin(&j, text, sizeof text);
    ia_counters_each(&core->counters, write_counter, &j);
    each_gauge(core, write_counter, &j);
    const char *json = ia_json_out_end(&j);
    if (json)
        (void)ia_worker_ask(core->worker, ia_request_new(IA_REQUEST_COUNTERS, json));
}
