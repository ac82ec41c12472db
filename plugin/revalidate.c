// SPDX-License-Identifier: ISC
/* Live sessions: are they still allowed to be there?  Judged when the configuration changes, when their device does,
 * and when their end comes; kicked from TICK only, in slices, so that ten thousand at once delay nobody. */
#include "jitr/device_check.h"
#include "plugin/core.h"
#include "plugin/mosquitto_compat.h"
#include "plugin/report.h"

#define TICK_MISSING_US 2000000

static bool address_admitted(const struct ia_core *core, const struct ia_session *s, enum ia_ip_scope scope,
                             const char *key, int64_t now)
{
    return ia_ip_check(core->snapshot->ips, scope, key, &s->ip, now, NULL) == IA_ALLOW;
}

static enum ia_reason judge_certificate(const struct ia_core *core, struct ia_session *s, int64_t now)
{
    const struct ia_snapshot *snapshot = core->snapshot;
    enum ia_reason reason = ia_chain_revalidate(snapshot->cas, s->chain, now);
    if (reason != IA_R_NONE)
        return reason;
    const struct ia_ca_settings *settings = ia_ca_settings_find(snapshot->ca_settings, s->chain->ca_id);
    if (!settings || !settings->active)
        return IA_R_CA_INACTIVE;
    for (size_t i = 0; i < s->chain->n_cas; i++) {
        const struct ia_ca_settings *ca = ia_ca_settings_find(snapshot->ca_settings, s->chain->cas[i]);
        if (!ca || !address_admitted(core, s, IA_IP_CA, ca->name, now))
            return ca ? IA_R_ADDRESS_DENIED : IA_R_CA_INACTIVE;
    }
    reason = ia_decide_device(s->device, snapshot->ca_settings, s->chain->cas, s->chain->n_cas, ia_device_id(s->device),
                              now);
    if (reason != IA_R_NONE)
        return reason;
    if (!address_admitted(core, s, IA_IP_DEVICE, ia_device_id(s->device), now))
        return IA_R_ADDRESS_DENIED;
    if (s->kind == IA_SESSION_DEVICE && !ia_decide_client_id(settings, ia_device_id(s->device), s->client_id))
        return IA_R_RIGHTS_CHANGED;
    return IA_R_NONE;
}

static enum ia_reason judge_token(const struct ia_core *core, struct ia_session *s, int64_t now)
{
    struct ia_token_refusal why;
    int64_t ends = 0;
    enum ia_reason reason = ia_token_revalidate(core->snapshot->issuers, s->token, now, &ends, &why);
    if (reason != IA_R_NONE)
        return reason;
    s->ends = s->chain && s->chain->not_after < ends ? s->chain->not_after : ends;
    if (!address_admitted(core, s, IA_IP_ISSUER, s->token->issuer, now))
        return IA_R_ADDRESS_DENIED;
    return ia_token_allows_client_id(core->snapshot->issuers, s->token, s->client_id) ? IA_R_NONE : IA_R_RIGHTS_CHANGED;
}

static enum ia_reason judge_by(const struct ia_core *core, struct ia_session *s)
{
    int64_t now = ia_wall_s();
    if (!address_admitted(core, s, IA_IP_GLOBAL, NULL, now))
        return IA_R_ADDRESS_DENIED;
    enum ia_reason reason = s->chain ? judge_certificate(core, s, now) : IA_R_NONE;
    return reason == IA_R_NONE && s->token ? judge_token(core, s, now) : reason;
}

void ia_judge(struct ia_core *core, struct ia_session *session)
{
    if (!session->live || !core->snapshot || session->kind == IA_SESSION_STRANGER)
        return;
    session->judged = core->snapshot->generation;
    enum ia_reason reason = judge_by(core, session);
    if (reason != IA_R_NONE)
        ia_condemn(core, session, reason);
}

void ia_condemn(struct ia_core *core, struct ia_session *session, enum ia_reason reason)
{
    ia_session_condemn(core->sessions, session, reason);
}

/* Would a kick of its client id meet this session?  After a take-over it is another's, until its own DISCONNECT
 * follows: on 2.0 that of a WebSocket which does not read may take minutes. */
static bool has_its_id(const struct ia_core *core, const struct ia_session *s)
{
    if (ia_mosq_is_21())
        return ia_mosq_client(s->client_id) == s->client;
    return !ia_mosq_is_websocket(s->client) || ia_session_newest(core->sessions, s->client_id) == s;
}

/* Disconnect one condemned session.  Only a client that is connected may be kicked: on 2.0 anything else corrupts the
 * broker's expiry list.  A live session is one whose DISCONNECT has not been seen. */
static void kick(struct ia_core *core, struct ia_session *session)
{
    session->stranded = !has_its_id(core, session);
    if (session->stranded)
        return;
    ia_report_ended(core, session, session->condemned);
    core->kicking = session;
    (void)mosquitto_kick_client_by_clientid(session->client_id, false); /* ends the session by its DISCONNECT */
    core->kicking = NULL;
}

static enum ia_reason end_of(const struct ia_session *s, int64_t now)
{
    if (s->ends > now)
        return IA_R_NONE;
    return s->chain && s->chain->not_after <= now ? IA_R_CERTIFICATE_EXPIRED : IA_R_TOKEN_EXPIRED;
}

/* One session's turn in the round: is it at its end, is it to be judged anew? */
static void take_turn(struct ia_core *core, struct ia_session *s, int64_t now)
{
    if (s->condemned != IA_R_NONE)
        return;
    if (core->anew || s->judged != core->snapshot->generation)
        ia_judge(core, s); /* also tells a token's end under the issuer's leeway of now */
    enum ia_reason end = end_of(s, now);
    if (end != IA_R_NONE)
        ia_condemn(core, s, end);
    else if (s->ends < core->first_end)
        core->first_end = s->ends;
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
    ia_sessions_walk_begin(core->sessions);
    return true;
}

/* Kick one, or else judge one.  False: there is nothing to do. */
static bool take_step(struct ia_core *core, int64_t now)
{
    struct ia_session *s = ia_sessions_next_condemned(core->sessions);
    if (s) {
        kick(core, s);
        return true;
    }
    if (!core->snapshot || !round_due(core, now))
        return false;
    s = ia_sessions_walk(core->sessions);
    if (s)
        take_turn(core, s, now);
    else
        core->walking = false;
    return true;
}

/* Its own end does not count: it was there in good time, and rights outlive the connection. */
enum ia_reason ia_judge_ended(struct ia_core *core, const struct ia_session *session)
{
    int64_t wall = ia_wall_s(), now = wall < session->ends ? wall : session->ends - 1, ends = 0;
    struct ia_token_refusal why;
    enum ia_reason reason = IA_R_NONE;
    const struct ia_chain *chain = session->chain;
    if (chain)
        reason = ia_chain_revalidate(core->snapshot->cas, session->chain, now);
    if (reason == IA_R_NONE && chain && session->device)
        reason = ia_decide_device(session->device, core->snapshot->ca_settings, chain->cas, chain->n_cas,
                                  ia_device_id(session->device), now);
    if (reason == IA_R_NONE && session->token)
        reason = ia_token_revalidate(core->snapshot->issuers, session->token, now, &ends, &why);
    return reason;
}

void ia_note_end(struct ia_core *core, const struct ia_session *session)
{
    if (session->ends < core->first_end)
        core->first_end = session->ends;
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

bool ia_judge_slice(struct ia_core *core, int64_t budget_us)
{
    int64_t until = ia_monotonic_us() + budget_us, now = ia_wall_s();
    for (unsigned i = 1; take_step(core, now); i++)
        if (i % 16 == 0 && ia_monotonic_us() >= until)
            return true;
    return false;
}
