// SPDX-License-Identifier: ISC
#include "plugin/decision_log.h"

#include "common/rfc3339.h"
#include "common/str.h"
#include "plugin/log.h"

#include <stdio.h>
#include <string.h>

#define WORD_JSON_MAX 150 /* bytes of a word of the line of a registration */

static const struct ia_entry_names log_names = {"device", "client"};

static const char *word(const char *text, char out[IA_VALUE_MAX + 1])
{
    return text && *text ? ia_harmless_text(text, ' ', out, IA_VALUE_MAX + 1) : "-";
}

static void log_text(const struct ia_audit_entry *a, const char *verdict, enum ia_reason reason)
{
    char who[IA_VALUE_MAX + 1], cid[IA_VALUE_MAX + 1], ca[IA_VALUE_MAX + 1], from[IA_VALUE_MAX + 1];
    char detail[sizeof a->detail], claims[IA_ENTRY_CLAIMS_MAX];
    bool refused = reason != IA_R_NONE;
    (void)ia_harmless_text(refused ? a->detail : "", 0x1F, detail, sizeof detail);
    ia_log(refused ? MOSQ_LOG_NOTICE : MOSQ_LOG_INFO, "%s%s%s %s=%s client=%s address=%s ca=%s%s%s%s%s", verdict,
           refused ? " reason=" : "", ia_reason_name(reason), a->app ? "app" : "device", word(a->principal, who),
           word(a->client_id, cid), word(a->address, from), word(a->ca ? a->ca->name : NULL, ca),
           detail[0] ? " detail=\"" : "", detail, detail[0] ? "\"" : "", ia_audit_entry_claims_text(a, claims));
}

static int decision_level(enum ia_reason reason)
{
    return reason == IA_R_NONE ? MOSQ_LOG_INFO : MOSQ_LOG_NOTICE;
}

/* What a line may hold of each value.  The last one always fits. */
struct line_bounds {
    size_t max; /* 0: all of it */
    bool with_claims;
};

static const char *format_decision(const struct ia_core *core, const struct ia_audit_entry *a, const char *verdict,
                                   enum ia_reason reason, const struct line_bounds *bounds,
                                   char out[IA_LOG_JSON_MAX + 1])
{
    struct ia_json_out j;
    const struct ia_entry_context ctx = {.names = &log_names,
                                         .node = core->options.worker.node_name,
                                         .reason = reason,
                                         .at_us = ia_wall_us(),
                                         .max = bounds->max};
    ia_json_out_begin(&j, out, IA_LOG_JSON_MAX + 1);
    ia_json_out_text(&j, "verdict", verdict);
    ia_json_out_text(&j, "level", ia_log_level_word(decision_level(reason)));
    ia_audit_entry_describe(&j, a, &ctx);
    if (bounds->with_claims)
        ia_audit_entry_describe_claims(&j, a, bounds->max);
    return ia_json_out_end(&j);
}

/* Mosquitto would cut a line that is too long, and half an object is none: values are shortened until it fits.  The event
 * has them whole. */
static void log_json(const struct ia_core *core, const struct ia_audit_entry *a, const char *verdict,
                     enum ia_reason reason)
{
    static const struct line_bounds bounds[] = {{0, true}, {100, true}, {50, true}, {25, true}, {40, false}};
    char text[IA_LOG_JSON_MAX + 1];
    const char *line = NULL;
    for (size_t i = 0; !line && i < sizeof bounds / sizeof bounds[0]; i++)
        line = format_decision(core, a, verdict, reason, &bounds[i], text);
    if (line)
        mosquitto_log_printf(decision_level(reason), "%s", line);
}

void ia_decision_log(const struct ia_core *core, const struct ia_audit_entry *entry, const char *verdict,
                     enum ia_reason reason)
{
    if (ia_log_is_json())
        log_json(core, entry, verdict, reason);
    else
        log_text(entry, verdict, reason);
}

void ia_decision_log_registered(const struct ia_core *core, const struct ia_device *device,
                                const struct ia_ca_settings *ca)
{
    const char *status = ia_device_status_name(device->status);
    char who[IA_VALUE_MAX + 1], of[IA_VALUE_MAX + 1], line[IA_LOG_JSON_MAX + 1], at[IA_RFC3339_SIZE];
    if (!ia_log_is_json()) {
        ia_log(MOSQ_LOG_INFO, "registered device=%s ca=%s status=%s", word(ia_device_id(device), who),
               word(ca ? ca->name : NULL, of), status);
        return;
    }
    struct ia_json_out j;
    ia_json_out_begin(&j, line, sizeof line);
    ia_json_out_text(&j, "verdict", "registered");
    ia_json_out_text(&j, "level", ia_log_level_word(MOSQ_LOG_INFO));
    ia_json_out_cut(&j, log_names.device, ia_device_id(device), WORD_JSON_MAX);
    ia_json_out_cut(&j, "ca", ca ? ca->name : NULL, WORD_JSON_MAX);
    ia_json_out_text(&j, "status", status);
    ia_json_out_cut(&j, "node", core->options.worker.node_name, WORD_JSON_MAX);
    ia_json_out_text(&j, "at", ia_rfc3339(ia_wall_us(), at));
    const char *json = ia_json_out_end(&j);
    if (json)
        mosquitto_log_printf(MOSQ_LOG_INFO, "%s", json);
}
