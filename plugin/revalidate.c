// SPDX-License-Identifier: ISC
/* Live sessions: are they still allowed to be there?  Judged when the configuration changes, when their device does,
 * and when their end comes; kicked from TICK only, in slices, so that ten thousand at once delay nobody. */
#include "access/admission.h"
#include "plugin/core.h"
#include "plugin/mosquitto_compat.h"
#include "plugin/report.h"
#include "x509/validity.h"

#define TICK_MISSING_US 2000000

/* What is known of a session, live or ended, for admission's table. */
static struct ia_admission session_facts(const struct ia_core *core, const struct ia_client *s,
                                         enum ia_admission_context context, int64_t now)
{
    return (struct ia_admission){.context = context,
                                 .snapshot = core->snapshot,
                                 .now = now,
                                 .ip = s->ip,
                                 .address = s->address[0] ? s->address : NULL,
                                 .client_id = s->client_id,
                                 .chain = s->chain,
                                 .device = s->device,
                                 .token = s->token};
}

int64_t ia_revalidate_expiry(const struct ia_client *client, int64_t token_expires_at)
{
    int64_t expires_at = client->token ? token_expires_at : INT64_MAX;
    if (!client->chain || client->chain->not_after == INT64_MAX)
        return expires_at;
    /* RFC 5280 4.1.2.5: notAfter itself still belongs to the validity period. */
    return client->chain->not_after + 1 < expires_at ? client->chain->not_after + 1 : expires_at;
}

void ia_revalidate(struct ia_core *core, struct ia_client *client)
{
    if (!client->live || !core->snapshot ||
        (client->kind != IA_CLIENT_DEVICE && client->kind != IA_CLIENT_APP && client->kind != IA_CLIENT_DEFERRED))
        return;
    client->validated_generation = core->snapshot->generation;
    struct ia_admission a = session_facts(core, client, IA_ADMIT_LIVE, ia_wall_s());
    enum ia_reason reason = ia_admission_decide(&a);
    if (reason == IA_R_NONE)
        client->expires_at = ia_revalidate_expiry(client, a.token_expires_at);
    else
        ia_disconnect_mark(core, client, reason);
}

void ia_disconnect_mark(struct ia_core *core, struct ia_client *session, enum ia_reason reason)
{
    ia_client_mark_disconnect(core->clients, session, reason);
}

/* Would a kick of its client id meet this session?  After a take-over it is another's, until its own DISCONNECT
 * follows: on 2.0 that of a WebSocket which does not read may take minutes. */
static bool has_its_id(const struct ia_core *core, const struct ia_client *s)
{
    if (ia_mosq_is_21())
        return ia_mosq_client(s->client_id) == s->client;
    return !ia_mosq_is_websocket(s->client) || ia_client_newest(core->clients, s->client_id) == s;
}

/* Disconnect one condemned session.  Only a client that is connected may be kicked: on 2.0 anything else corrupts the
 * broker's expiry list.  A live session is one whose DISCONNECT has not been seen. */
static void kick(struct ia_core *core, struct ia_client *session)
{
    session->cannot_disconnect = !has_its_id(core, session);
    if (session->cannot_disconnect)
        return;
    ia_report_ended(core, session, session->disconnect_reason);
    core->kicking = session;
    (void)mosquitto_kick_client_by_clientid(session->client_id, false); /* ends the session by its DISCONNECT */
    core->kicking = NULL;
}

static enum ia_reason end_of(const struct ia_client *s, int64_t now)
{
    if (now < s->expires_at)
        return IA_R_NONE;
    return s->chain && ia_x509_expired(s->chain->not_after, now) ? IA_R_CERTIFICATE_EXPIRED : IA_R_TOKEN_EXPIRED;
}

/* One session's turn in the round: is it at its end, is it to be judged anew? */
static void take_turn(struct ia_core *core, struct ia_client *s, int64_t now)
{
    if (s->disconnect_reason != IA_R_NONE)
        return;
    if (core->anew || s->validated_generation != core->snapshot->generation)
        ia_revalidate(core, s); /* also tells a token's end under the issuer's leeway of now */
    enum ia_reason end = end_of(s, now);
    if (end != IA_R_NONE)
        ia_disconnect_mark(core, s, end);
    else if (s->expires_at < core->first_end)
        core->first_end = s->expires_at;
}

/* Is there a reason to look at every live session: another snapshot, or a rule or session whose end has come? */
static bool round_due(struct ia_core *core, int64_t now)
{
    if (core->walking)
        return true;
    bool same = core->walked_generation == core->snapshot->generation;
    if (same && now < core->first_end && now < core->rule_end)
        return false;
    core->walking = true;
    core->anew = now >= core->rule_end;
    core->rule_end = ia_ip_next_expiry(core->snapshot->ips, now);
    core->walked_generation = core->snapshot->generation;
    core->first_end = INT64_MAX; /* found anew in this round */
    ia_clients_scan_begin(core->clients);
    return true;
}

/* Kick one, or else judge one.  False: there is nothing to do. */
static bool take_step(struct ia_core *core, int64_t now)
{
    struct ia_client *s = ia_clients_next_disconnect(core->clients);
    if (s) {
        kick(core, s);
        return true;
    }
    if (!core->snapshot || !round_due(core, now))
        return false;
    s = ia_clients_scan(core->clients);
    if (s)
        take_turn(core, s, now);
    else
        core->walking = false;
    return true;
}

/* Its own expiry does not count: the client was connected in good time, and rights outlive the connection. */
enum ia_reason ia_revalidate_ended(struct ia_core *core, const struct ia_client *session)
{
    int64_t wall = ia_wall_s(), now = wall < session->expires_at ? wall : session->expires_at - 1;
    struct ia_admission a = session_facts(core, session, IA_ADMIT_WILL, now);
    return ia_admission_decide(&a);
}

void ia_revalidate_note_expiry(struct ia_core *core, const struct ia_client *session)
{
    if (session->expires_at < core->first_end)
        core->first_end = session->expires_at;
}

bool ia_has_ticks(struct ia_core *core)
{
    if (core->last_tick_us)
        return true;
    int64_t now = ia_monotonic_us();
    if (!core->first_call_us)
        core->first_call_us = now;
    if (now - core->first_call_us < TICK_MISSING_US)
        return true;
    if (!core->tickless_told)
        ia_log(MOSQ_LOG_ERR, "Mosquitto sends no TICK (per_listener_settings true on 2.0?): everything is denied");
    core->tickless_told = true;
    return false;
}

bool ia_revalidate_slice(struct ia_core *core, int64_t budget_us)
{
    int64_t until = ia_monotonic_us() + budget_us, now = ia_wall_s();
    for (unsigned i = 1; take_step(core, now); i++)
        if (i % 16 == 0 && ia_monotonic_us() >= until)
            return true;
    return false;
}
