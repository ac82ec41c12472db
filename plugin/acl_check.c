// SPDX-License-Identifier: ISC
#include "plugin/acl_check.h"

#include "common/hash.h"
#include "plugin/broker_state.h"
#include "plugin/client_rights.h"
#include "plugin/http_api.h"
#include "plugin/mosquitto_compat.h"
#include "plugin/report.h"
#include "plugin/revalidate.h"
#include "plugin/shared_subscriptions.h"

#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ia_acl_state *ia_acl_state_new(void)
{
    struct ia_acl_state *state = calloc(1, sizeof *state);
    if (state && (state->topic_split = ia_topic_split_new()) != NULL)
        return state;
    free(state);
    return NULL;
}

void ia_acl_state_free(struct ia_acl_state *state)
{
    if (!state)
        return;
    ia_topic_split_free(state->topic_split);
    ia_rights_clear(&state->offline_rights);
    free(state);
}

static int acl_answer(struct ia_core *core, bool allowed)
{
    if (allowed)
        core->counters.acl_allowed++;
    else
        core->counters.acl_denied++;
    return allowed ? MOSQ_ERR_SUCCESS : MOSQ_ERR_ACL_DENIED;
}

/* ---- the topic that was allowed last */

static struct ia_last_topic *last_topic(struct ia_client *client, enum ia_action action)
{
    if (action == IA_PUBLISH)
        return &client->check.published;
    return action == IA_RECEIVE ? &client->check.received : NULL;
}

static bool is_last_topic(const struct ia_last_topic *last, const struct ia_access *access)
{
    return last && last->known && last->qos == access->qos && last->retain == access->retain &&
           strcmp(last->topic, access->topic) == 0;
}

/* Not at each miss: a client that alternates between topics would have one copied for each message. */
static void cache_topic(struct ia_last_topic *last, const struct ia_access *access)
{
    if (!last || last->misses++ % IA_LAST_TOPIC_MISSES != 0)
        return;
    size_t len = strnlen(access->topic, IA_LAST_TOPIC_MAX + 1);
    if (len == 0 || len > IA_LAST_TOPIC_MAX)
        return;
    last->known = true;
    last->qos = access->qos;
    last->retain = access->retain;
    memcpy(last->topic, access->topic, len + 1);
}

/* ---- connected */

static void write_denial(const struct ia_client *client, const struct ia_access *access, int64_t rule_id, char *out,
                         size_t size)
{
    int n = snprintf(out, size, "%s %.100s: ", ia_action_name(access->action), access->topic);
    if (n < 0 || (size_t)n >= size)
        return;
    size_t left = size - (size_t)n;
    if (rule_id)
        (void)snprintf(out + n, left, "rule %lld", (long long)rule_id);
    else if (client->check.rights.broken)
        (void)snprintf(out + n, left, "a role is missing, or it has more than %d", IA_SUBJECT_ROLES_MAX);
    else
        (void)snprintf(out + n, left, "no rule allows it");
}

/* 8 bits of topic and action, never 0. */
static uint8_t denial_mark(const struct ia_access *access)
{
    uint8_t mark = (uint8_t)ia_hash_text((uint64_t)access->action, access->topic);
    return mark ? mark : 1;
}

/* One event per session and action says which rule decided; a client that keeps trying is only counted.  A device that
 * is denied the same at each reconnect, as a bridge's notification topic, has one event until its record changes. */
static bool is_denial_reported(struct ia_client *client, const struct ia_access *access)
{
    if (client->check.denials_reported & access->action)
        return true;
    client->check.denials_reported |= access->action;
    if (client->kind != IA_CLIENT_DEVICE)
        return false;
    bool same = client->device->denial == denial_mark(access);
    client->device->denial = denial_mark(access);
    return same;
}

static void report_denial(struct ia_core *core, struct ia_client *client, const struct ia_access *access)
{
    if (access->action == IA_RECEIVE || is_denial_reported(client, access))
        return;
    int64_t rule_id = 0;
    (void)ia_rights_check(&client->check.rights, core->snapshot, access, &rule_id);
    struct ia_audit_entry entry = {.client_id = client->client_id,
                                   .address = client->address,
                                   .principal = ia_client_username(client),
                                   .app = client->kind == IA_CLIENT_APP};
    if (ia_client_ca_id(client))
        entry.ca = ia_ca_settings_find(core->snapshot->ca_settings, ia_client_ca_id(client));
    write_denial(client, access, rule_id, entry.detail, sizeof entry.detail);
    ia_report_denied(core, &entry);
}

static bool is_allowed(const struct ia_core *core, const struct ia_client *client, const struct ia_access *access)
{
    return ia_rights_check(&client->check.rights, core->snapshot, access, NULL) == IA_ALLOW;
}

/* Until it is disconnected it publishes nothing more.  What it receives it may go on receiving, so that nothing that is
 * queued for it is lost, unless its end is final.  The disconnect itself asks for each subscription again, and deletes
 * what is denied: then all that it has is kept, but a place in a group whose messages it may no longer read. */
static bool check_marked(const struct ia_core *core, const struct ia_client *client, const struct ia_access *access)
{
    if (access->action == IA_PUBLISH || client->cannot_disconnect || ia_acl_is_final(client))
        return false;
    if (access->action == IA_SUBSCRIBE && ia_disconnect_is_under_way(core, client))
        return !ia_shared_is_lost(core, client, access->topic);
    return is_allowed(core, client, access);
}

static bool check_connected(struct ia_core *core, struct ia_client *client, const struct ia_access *access)
{
    if (client->kind == IA_CLIENT_UNAUTHENTICATED)
        return false;
    ia_client_rights_resolve(core, client);
    if (client->disconnect_reason != IA_R_NONE)
        return check_marked(core, client, access);
    struct ia_last_topic *last = last_topic(client, access->action);
    if (is_last_topic(last, access))
        return true;
    if (is_allowed(core, client, access) && ia_shared_admit(core, client, access)) {
        cache_topic(last, access);
        return true;
    }
    report_denial(core, client, access);
    return false;
}

/* This plugin has not authenticated the client, and no session of it has ended: it is connected by
 * use_identity_as_username, or by a listener with other rules.  Rights derived from its username would be impersonation.
 * It is disconnected where its certificate proves that it is connected: disconnecting one that is not corrupts the
 * memory of Mosquitto 2.0, and an address proves nothing. */
static bool meet_unauthenticated(struct ia_core *core, const struct mosquitto *context)
{
    struct ia_client *client =
        ia_client_open(core->clients, context, IA_CLIENT_UNAUTHENTICATED, mosquitto_client_id(context), NULL);
    X509 *certificate = mosquitto_client_certificate(context);
    if (client && certificate)
        ia_disconnect_mark(core, client, IA_R_NO_CREDENTIAL);
    X509_free(certificate);
    return false;
}

/* ---- Mosquitto's questions */

/* A context whose session has ended, and is remembered by its names only.  A certificate would be that of a new client
 * under the same pointer. */
static bool is_kept_context(struct ia_core *core, const struct mosquitto *context)
{
    const char *username = mosquitto_client_username(context);
    if (!ia_clients_kept_is_of(core->clients, context, username))
        return false;
    X509 *certificate = mosquitto_client_certificate(context);
    X509_free(certificate);
    return certificate == NULL;
}

static bool decide_access(struct ia_core *core, const struct mosquitto *context, struct ia_client *client,
                          const struct ia_access *access)
{
    if (client && client->live)
        return core->snapshot && check_connected(core, client, access);
    if (client && ia_client_is_of(client, context))
        return core->snapshot ? ia_acl_check_ended(core, client, access) : access->action == IA_RECEIVE;
    if (ia_mosq_has_address(context) && !is_kept_context(core, context))
        return meet_unauthenticated(core, context);
    return ia_acl_check_by_name(core, context, access);
}

static bool is_deferred(struct ia_core *core, const struct mosquitto *context, const struct ia_client *client)
{
    if (client && (client->live || ia_client_is_of(client, context)))
        return client->kind == IA_CLIENT_DEFERRED;
    if (ia_clients_kept_is_of(core->clients, context, NULL))
        return core->options.defer_others;
    return !ia_mosq_has_address(context) && ia_acl_is_deferred_by_name(core, context);
}

static bool action_of(int access, enum ia_action *action)
{
    static const struct {
        int access;
        enum ia_action action;
    } actions[] = {{MOSQ_ACL_READ, IA_RECEIVE}, {MOSQ_ACL_WRITE, IA_PUBLISH}, {MOSQ_ACL_SUBSCRIBE, IA_SUBSCRIBE}};
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++) {
        if (actions[i].access != access)
            continue;
        *action = actions[i].action;
        return true;
    }
    return false;
}

/* UNSUBSCRIBE is always allowed, also from a subscription that the client may no longer have. */
static int check_unsubscribe(struct ia_core *core, const struct mosquitto_evt_acl_check *ev, struct ia_client *client)
{
    if (is_deferred(core, ev->client, client))
        return MOSQ_ERR_PLUGIN_DEFER;
    if (client && client->live && ev->topic)
        ia_shared_remove(client, ev->topic);
    return MOSQ_ERR_SUCCESS;
}

int ia_on_acl_check(int event, void *event_data, void *userdata)
{
    (void)event;
    const struct mosquitto_evt_acl_check *ev = event_data;
    struct ia_core *core = userdata;
    struct ia_access access = {.topic = ev->topic, .qos = ev->qos, .retain = ev->retain};
    if (!ia_broker_is_own_thread(core))
        return ia_http_api_acl(core, ev);
    struct ia_client *client = ia_client_find(core->clients, ev->client);
    if (ev->access == MOSQ_ACL_UNSUBSCRIBE)
        return check_unsubscribe(core, ev, client);
    if (!ev->topic || !action_of(ev->access, &access.action) || !ia_broker_has_ticks(core))
        return acl_answer(core, false);
    access.split = core->acl->topic_split;
    bool is_event = access.action == IA_PUBLISH && ia_rights_is_event_topic(core->options.event_prefix, ev->topic);
    if (is_event)
        return acl_answer(core, false); /* only the broker publishes events, whatever the rules say */
    if (is_deferred(core, ev->client, client))
        return MOSQ_ERR_PLUGIN_DEFER;
    return acl_answer(core, decide_access(core, ev->client, client, &access));
}
