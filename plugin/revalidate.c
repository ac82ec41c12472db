// SPDX-License-Identifier: ISC
#include "plugin/revalidate.h"

#include "access/admission.h"
#include "plugin/client_rights.h"
#include "plugin/log.h"
#include "plugin/mosquitto_compat.h"
#include "plugin/report.h"
#include "plugin/shared_subscriptions.h"
#include "tls/resumption.h"
#include "x509/validity.h"

#include <stdio.h>
#include <stdlib.h>

#define RETRY_US 1000000 /* a disconnect that failed is tried again */

struct ia_session_scan {
    bool running;                      /* a scan of the live sessions is under way */
    bool all;                          /* it revalidates every session: an address rule has expired */
    uint64_t generation;               /* of the snapshot that the last scan began under */
    int64_t next_rule_expiry;          /* seconds since 1970 */
    int64_t next_expiry;               /* of all live sessions: no scan is due before it */
    ia_session_check *wanted;          /* of the next scan; NULL: none */
    ia_session_check *check;           /* of this scan */
    const struct ia_client *under_way; /* being disconnected at this moment */
    int64_t retry_at_us;               /* 0: no disconnect has failed */
};

struct ia_session_scan *ia_session_scan_new(void)
{
    return calloc(1, sizeof(struct ia_session_scan));
}

void ia_session_scan_free(struct ia_session_scan *scan)
{
    free(scan);
}

/* ---- one session */

/* What is known of a session, live or ended, for the table of admission. */
static struct ia_admission session_facts(const struct ia_core *core, const struct ia_client *client,
                                         enum ia_admission_context context, int64_t now)
{
    return (struct ia_admission){.context = context,
                                 .snapshot = core->snapshot,
                                 .now = now,
                                 .ip = client->ip,
                                 .address = client->address[0] ? client->address : NULL,
                                 .client_id = client->client_id,
                                 .chain = client->chain,
                                 .device = client->device,
                                 .token = client->token};
}

static bool is_psk_session(const struct ia_client *client)
{
    return client->device && !client->chain && !client->token;
}

int64_t ia_revalidate_expiry(const struct ia_client *client, int64_t token_expires_at)
{
    int64_t expires_at = client->token ? token_expires_at : INT64_MAX;
    if (is_psk_session(client) && client->device->not_after)
        return client->device->not_after == INT64_MAX ? INT64_MAX : client->device->not_after + 1;
    if (!client->chain || client->chain->not_after == INT64_MAX)
        return expires_at;
    /* RFC 5280 4.1.2.5: notAfter itself still belongs to the validity period. */
    return client->chain->not_after + 1 < expires_at ? client->chain->not_after + 1 : expires_at;
}

/* The session stays a member of its groups while the client is away.  What waits for a device that is REVOKED is dropped,
 * whatever its rights are. */
static void revalidate_kept(const struct ia_core *core, struct ia_client *client)
{
    if (!client->check.shared || client->keep == IA_KEEP_NO)
        return;
    if (client->kind == IA_CLIENT_DEVICE && client->device->status == IA_DEVICE_REVOKED) {
        ia_shared_delete_all(client);
        return;
    }
    ia_client_rights_resolve(core, client);
    ia_shared_delete_lost(core, client);
}

void ia_revalidate(struct ia_core *core, struct ia_client *client)
{
    if (!core->snapshot || client->kind == IA_CLIENT_UNAUTHENTICATED)
        return;
    ia_client_set_validated(client, core->snapshot->generation);
    if (!client->live) {
        revalidate_kept(core, client);
        return;
    }
    struct ia_admission a = session_facts(core, client, IA_ADMIT_LIVE, ia_wall_s());
    enum ia_reason reason = ia_admission_decide(&a);
    if (reason == IA_R_NONE && !ia_client_rights_cover_shared(core, client))
        reason = IA_R_RIGHTS_CHANGED;
    if (reason != IA_R_NONE) {
        ia_disconnect_mark(core, client, reason);
        return;
    }
    ia_client_set_expiry(client, ia_revalidate_expiry(client, a.token_expires_at));
    ia_revalidate_note_expiry(core, client); /* a pre-shared key's may be another now */
}

void ia_revalidate_deleted(struct ia_core *core, struct ia_client *client, bool device_too)
{
    ia_client_set_deleted(client, device_too);
    if (device_too && !client->live && client->keep != IA_KEEP_NO)
        ia_shared_delete_all(client);
    ia_disconnect_mark(core, client, IA_R_DEVICE_UNKNOWN);
}

void ia_revalidate_shared(struct ia_core *core, struct ia_client *client)
{
    if (client->disconnect_reason == IA_R_NONE && !ia_client_rights_cover_shared(core, client))
        ia_disconnect_mark(core, client, IA_R_RIGHTS_CHANGED);
}

/* Its own expiry does not count: the client was connected in good time, and rights outlive the connection. */
enum ia_reason ia_revalidate_ended(struct ia_core *core, const struct ia_client *client)
{
    int64_t wall = ia_wall_s(), now = wall < client->expires_at ? wall : client->expires_at - 1;
    struct ia_admission a = session_facts(core, client, IA_ADMIT_WILL, now);
    return ia_admission_decide(&a);
}

void ia_revalidate_note_expiry(struct ia_core *core, const struct ia_client *client)
{
    if (client->expires_at < core->scan->next_expiry)
        core->scan->next_expiry = client->expires_at;
}

/* ---- disconnecting */

void ia_disconnect_mark(struct ia_core *core, struct ia_client *client, enum ia_reason reason)
{
    if (client->chain && client->chain->n_links > 0)
        ia_resumption_drop(client->chain->links[0].fingerprint);
    ia_client_mark_disconnect(core->clients, client, reason);
}

bool ia_disconnect_is_under_way(const struct ia_core *core, const struct ia_client *client)
{
    return core->scan->under_way == client;
}

/* A live client's context can be asked; devices and apps have a copy. */
static const char *live_client_id(const struct ia_client *client)
{
    return client->client_id ? client->client_id : mosquitto_client_id(client->context);
}

/* Would disconnecting its client id meet this client?  After a take-over the id is another's, until its own DISCONNECT
 * follows: on 2.0 that of a WebSocket which does not read may take minutes. */
static bool has_its_client_id(const struct ia_core *core, const struct ia_client *client)
{
    const char *id = live_client_id(client);
    if (!id)
        return false;
    if (ia_mosq_is_21())
        return ia_mosq_client(id) == client->context;
    const struct ia_client *newest = ia_client_newest(core->clients, id);
    return !ia_mosq_is_websocket(client->context) || !client->client_id || newest == client;
}

/* By client id, and where Mosquitto does not find the client by that (2.0.11 with use_username_as_clientid forgets a
 * context's id when another client's CONNECT fails), by username: that ends the principal's other connections as well,
 * which may come back.  True: it is disconnected, or (a WebSocket) will be in a moment. */
static bool try_disconnect(const struct ia_client *client)
{
    int rc = mosquitto_kick_client_by_clientid(live_client_id(client), false);
    bool closes_later = rc == MOSQ_ERR_SUCCESS && ia_mosq_is_websocket(client->context);
    if (!client->live || closes_later)
        return true;
    if (client->username)
        (void)mosquitto_kick_client_by_username(client->username, false);
    return !client->live;
}

/* Only a client that is connected may be disconnected: on 2.0 anything else corrupts the broker's expiry list.  A live
 * client is one whose DISCONNECT has not come.  The report says what happened, not what was intended. */
static void disconnect_client(struct ia_core *core, struct ia_client *client)
{
    bool ended = false, tried = has_its_client_id(core, client);
    char client_id[IA_VALUE_MAX + 1] = "";
    if (tried) {
        (void)snprintf(client_id, sizeof client_id, "%s", live_client_id(client));
        core->scan->under_way = client;
        ended = try_disconnect(client); /* its DISCONNECT comes from within */
        core->scan->under_way = NULL;
    }
    ia_client_set_cannot_disconnect(client, !ended);
    if (ended) {
        if (client->check.shared && core->snapshot) {
            ia_client_rights_resolve(core, client);
            ia_shared_forget_lost(core, client);
        }
        ia_report_ended(core, client, client_id, client->disconnect_reason);
        return;
    }
    core->scan->retry_at_us = ia_monotonic_us() + RETRY_US;
    if (tried)
        ia_log(
            MOSQ_LOG_ERR,
            "Mosquitto does not disconnect the client of %s: all its actions are denied; the disconnect is tried again",
            ia_client_username(client));
}

static void retry_disconnect(void *ctx, struct ia_client *client)
{
    struct ia_core *core = ctx;
    if (client->live && client->cannot_disconnect)
        ia_client_retry_disconnect(core->clients, client);
}

static void retry_if_due(struct ia_core *core)
{
    if (!core->scan->retry_at_us || ia_monotonic_us() < core->scan->retry_at_us)
        return;
    core->scan->retry_at_us = 0;
    ia_clients_each(core->clients, retry_disconnect, core);
}

/* ---- the scan */

static enum ia_reason expiry_reason(const struct ia_client *client, int64_t now)
{
    if (now < client->expires_at)
        return IA_R_NONE;
    if (is_psk_session(client))
        return IA_R_PSK_UNKNOWN;
    return client->chain && ia_x509_expired(client->chain->not_after, now) ? IA_R_CERTIFICATE_EXPIRED
                                                                           : IA_R_TOKEN_EXPIRED;
}

/* One session of the scan: has it expired, is it to be revalidated? */
static void scan_client(struct ia_core *core, struct ia_client *client, int64_t now)
{
    if (client->live && client->disconnect_reason != IA_R_NONE)
        return;
    if (core->scan->all || client->validated_generation != core->snapshot->generation)
        ia_revalidate(core, client); /* also learns a token's expiry under the issuer's present leeway */
    if (!client->live)
        return;
    if (core->scan->check)
        core->scan->check(core, client);
    enum ia_reason reason = expiry_reason(client, now);
    if (reason != IA_R_NONE)
        ia_disconnect_mark(core, client, reason);
    else
        ia_revalidate_note_expiry(core, client);
}

void ia_revalidate_each(struct ia_core *core, ia_session_check *check)
{
    core->scan->wanted = check;
}

/* Is there a reason to look at every live session: another snapshot, a rule or session that has expired, or a check of
 * ia_revalidate_each? */
static bool is_scan_due(struct ia_core *core, int64_t now)
{
    struct ia_session_scan *scan = core->scan;
    if (scan->running)
        return true;
    bool same = scan->generation == core->snapshot->generation;
    if (same && now < scan->next_expiry && now < scan->next_rule_expiry && !scan->wanted)
        return false;
    scan->running = true;
    scan->check = scan->wanted;
    scan->wanted = NULL;
    scan->all = now >= scan->next_rule_expiry;
    scan->next_rule_expiry = ia_ip_next_expiry(core->snapshot->ips, now);
    scan->generation = core->snapshot->generation;
    scan->next_expiry = INT64_MAX; /* found by this scan */
    ia_clients_scan_begin(core->clients);
    return true;
}

/* Disconnect one client, or else look at one.  False: there is nothing to do. */
static bool take_step(struct ia_core *core, int64_t now)
{
    struct ia_client *client = ia_clients_next_disconnect(core->clients);
    if (client) {
        disconnect_client(core, client);
        return true;
    }
    if (!core->snapshot || !is_scan_due(core, now))
        return false;
    client = ia_clients_scan(core->clients);
    if (client)
        scan_client(core, client, now);
    else
        core->scan->running = false;
    return true;
}

bool ia_revalidate_slice(struct ia_core *core, int64_t budget_us)
{
    int64_t until = ia_monotonic_us() + budget_us, now = ia_wall_s();
    retry_if_due(core);
    for (unsigned i = 1; take_step(core, now); i++)
        if (i % 16 == 0 && ia_monotonic_us() >= until)
            return true;
    return false;
}
