// SPDX-License-Identifier: ISC
#include "plugin/report.h"

#include "common/json_out.h"
#include "common/rfc3339.h"
#include "plugin/mosquitto_compat.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define EVENT_JSON_MAX  2048
#define EVENTS_A_SECOND 10 /* of refused strangers: anyone can mint certificates */
#define COUNTERS_MAX    8192

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

static const char *ca_name(const struct ia_audit_entry *attempt)
{
    return attempt->ca ? attempt->ca->name : NULL;
}

static void log_text(const struct ia_audit_entry *a, const char *verdict, enum ia_reason reason)
{
    char who[IA_VALUE_MAX + 1], cid[IA_VALUE_MAX + 1], ca[IA_VALUE_MAX + 1], from[IA_VALUE_MAX + 1];
    char detail[sizeof a->detail];
    bool refused = reason != IA_R_NONE;
    (void)harmless(refused ? a->detail : "", 0x1F, detail, sizeof detail);
    ia_log(refused ? MOSQ_LOG_NOTICE : MOSQ_LOG_INFO, "%s%s%s %s=%s client=%s address=%s ca=%s%s%s%s", verdict,
           refused ? " reason=" : "", ia_reason_name(reason), a->app ? "app" : "device", word(a->principal, who),
           word(a->client_id, cid), word(a->address, from), word(ca_name(a), ca), detail[0] ? " detail=\"" : "", detail,
           detail[0] ? "\"" : "");
}

/* The members that log line and event share. */
static void describe(struct ia_json_out *j, const struct ia_core *core, const struct ia_audit_entry *a,
                     enum ia_reason reason, int64_t at_us)
{
    char at[IA_RFC3339_SIZE], hex[2 * IA_FINGERPRINT_LEN + 1];
    ia_json_out_text(j, a->app ? "app" : "device_id", a->principal);
    if (a->fingerprint) {
        ia_hex(a->fingerprint, IA_FINGERPRINT_LEN, hex);
        ia_json_out_text(j, "fingerprint", hex);
    }
    ia_json_out_text(j, "ca", ca_name(a));
    if (a->client_id) {
        char cut[IA_VALUE_MAX + 1]; /* it may be 64 KB long, and must not push the rest out */
        (void)snprintf(cut, sizeof cut, "%s", a->client_id);
        ia_json_out_text(j, "client_id", cut);
    }
    ia_json_out_text(j, "address", a->address);
    if (reason != IA_R_NONE)
        ia_json_out_text(j, "reason", ia_reason_name(reason));
    if (a->detail[0])
        ia_json_out_text(j, "detail", a->detail);
    ia_json_out_text(j, "node", core->options.worker.node_name);
    ia_json_out_text(j, "at", ia_rfc3339(at_us, at));
}

static void log_json(const struct ia_core *core, const struct ia_audit_entry *a, const char *verdict,
                     enum ia_reason reason)
{
    char text[EVENT_JSON_MAX];
    struct ia_json_out j;
    ia_json_out_begin(&j, text, sizeof text);
    ia_json_out_text(&j, "verdict", verdict);
    describe(&j, core, a, reason, ia_wall_us());
    const char *line = ia_json_out_end(&j);
    if (line)
        mosquitto_log_printf(reason == IA_R_NONE ? MOSQ_LOG_INFO : MOSQ_LOG_NOTICE, "%s", line);
}

static void log_decision(const struct ia_core *core, const struct ia_audit_entry *a, const char *verdict,
                         enum ia_reason reason)
{
    if (core->options.log_json)
        log_json(core, a, verdict, reason);
    else
        log_text(a, verdict, reason);
}

void ia_report_publish(const struct ia_core *core, const char *kind, const char *json)
{
    char topic[512];
    (void)snprintf(topic, sizeof topic, "%s/%s", core->options.event_prefix, kind);
    /* An event that cannot be published for lack of memory is still a row. */
    (void)mosquitto_broker_publish_copy(NULL, topic, (int)strlen(json), json, 0, false, NULL);
}

/* Write and publish one event. */
static void event(struct ia_core *core, const char *kind, const struct ia_audit_entry *a, enum ia_reason reason)
{
    char text[EVENT_JSON_MAX];
    struct ia_json_out j;
    int64_t at_us = ia_wall_us();
    ia_json_out_begin(&j, text, sizeof text);
    describe(&j, core, a, reason, at_us);
    const char *json = ia_json_out_end(&j);
    struct ia_request *row = json ? ia_request_new(IA_REQUEST_EVENT, json) : NULL;
    if (!row) {
        core->counters.events_dropped++;
        return;
    }
    row->event.kind = kind;
    row->event.at_us = at_us;
    row->event.reason = reason;
    row->event.ca_id = a->ca ? a->ca->ca_id : a->ca_id;
    (void)snprintf(row->event.principal, sizeof row->event.principal, "%s", a->principal ? a->principal : "");
    (void)snprintf(row->event.address, sizeof row->event.address, "%s", a->address ? a->address : "");
    if (!ia_worker_ask(core->worker, row))
        core->counters.events_dropped++;
    ia_report_publish(core, kind, json);
}

void ia_report_accepted(struct ia_core *core, const struct ia_audit_entry *attempt)
{
    if (attempt->app)
        core->counters.accepted_apps++;
    else
        core->counters.accepted_devices++;
    log_decision(core, attempt, "accepted", IA_R_NONE);
}

/* May one more event of a stranger be written in this second?  Counted if not. */
static bool sample(struct ia_core *core)
{
    int64_t now_s = ia_wall_s();
    if (core->sampled_s != now_s) {
        core->sampled_s = now_s;
        core->sampled = 0;
    }
    if (core->sampled++ < EVENTS_A_SECOND)
        return true;
    core->counters.events_dropped++;
    return false;
}

/* The record of the device that was refused; NULL for a stranger. */
static struct ia_device *known_device(struct ia_core *core, const struct ia_audit_entry *attempt)
{
    return attempt->proven && attempt->fingerprint ? ia_device_cache_find(core->devices, attempt->fingerprint) : NULL;
}

/* A device that is known tells once that it is refused for something new, however often it retries.  In the handshake
 * the key is not proven yet, and a certificate is public: whoever shows another's is sampled like any stranger, and
 * does not silence what is told of the device itself. */
static bool is_transition(struct ia_core *core, const struct ia_audit_entry *attempt, enum ia_reason reason)
{
    struct ia_device *kept = attempt->fingerprint ? ia_device_cache_find(core->devices, attempt->fingerprint) : NULL;
    if (!kept)
        return sample(core);
    if ((attempt->proven ? kept->refusal : kept->refusal_unproven) == (uint8_t)reason)
        return false;
    if (!attempt->proven && !sample(core))
        return false;
    kept->refusal_unproven = (uint8_t)reason;
    if (attempt->proven)
        kept->refusal = (uint8_t)reason;
    return true;
}

void ia_report_refused(struct ia_core *core, struct ia_audit_entry *attempt, enum ia_reason reason)
{
    const struct ia_device *known = known_device(core, attempt);
    if (known && !attempt->app && !attempt->principal)
        attempt->principal = ia_device_id(known);
    core->counters.refused[reason]++;
    log_decision(core, attempt, "refused", reason);
    if (is_transition(core, attempt, reason))
        event(core, attempt->app ? "app/refused" : "device/refused", attempt, reason);
}

void ia_report_ended(struct ia_core *core, const struct ia_client *session, enum ia_reason reason)
{
    struct ia_audit_entry a = {.client_id = session->client_id,
                               .address = session->address,
                               .principal = ia_client_username(session),
                               .app = session->kind == IA_CLIENT_APP};
    if (session->device && !a.app)
        a.fingerprint = session->device->fingerprint;
    if (session->ca_id && core->snapshot)
        a.ca = ia_ca_settings_find(core->snapshot->ca_settings, session->ca_id);
    core->counters.ended[reason]++;
    log_decision(core, &a, "ended", reason);
    if (session->username)
        event(core, "session/ended", &a, reason);
}

void ia_report_denied(struct ia_core *core, const struct ia_audit_entry *attempt)
{
    log_decision(core, attempt, "denied", IA_R_TOPIC_DENIED);
    if (sample(core))
        event(core, attempt->app ? "app/refused" : "device/refused", attempt, IA_R_TOPIC_DENIED);
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
    ia_json_out_text(&j, "fingerprint", hex);
    ia_json_out_text(&j, "ca", ca ? ca->name : NULL);
    ia_json_out_text(&j, "ca_fingerprint", ca ? ca->fingerprint_hex : NULL);
    ia_json_out_text(&j, "status", ia_device_status_name(device->status));
    ia_json_out_text(&j, "tenant", ia_device_tenant(device));
    ia_json_out_text(&j, "node", core->options.worker.node_name);
    ia_json_out_text(&j, "at", ia_rfc3339(ia_wall_us(), at));
    const char *json = ia_json_out_end(&j);
    if (json)
        ia_report_publish(core, "device/registered", json); /* its row was written by the registration itself */
    char who[IA_VALUE_MAX + 1], of[IA_VALUE_MAX + 1];
    ia_log(MOSQ_LOG_INFO, "registered device=%s ca=%s status=%s", word(ia_device_id(device), who),
           word(ca ? ca->name : NULL, of), ia_device_status_name(device->status));
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
    fn(ctx, "cache/devices", (int64_t)ia_device_cache_count(core->devices));
    struct ia_token_cache_stats tokens = ia_token_cache_stats(core->tokens);
    fn(ctx, "cache/tokens", (int64_t)tokens.entries);
    fn(ctx, "cache/token_hits", (int64_t)tokens.hits);
    fn(ctx, "cache/token_misses", (int64_t)tokens.misses);
    fn(ctx, "snapshot/generation", core->snapshot ? (int64_t)core->snapshot->generation : 0);
    fn(ctx, "snapshot/age_s", core->db_contact_s ? ia_wall_s() - core->db_contact_s : -1);
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
