// SPDX-License-Identifier: ISC
/* ACL_CHECK: may this client do that?  Asked for each message, each subscription and each delivery; also for clients
 * that are not connected (queues, wills, retained messages), of whom Mosquitto has only an id and a username. */
#include "plugin/core.h"
#include "plugin/mosquitto_compat.h"
#include "plugin/registration_wait.h"
#include "plugin/report.h"

#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

static int answer(struct ia_core *core, bool allowed)
{
    if (allowed)
        core->counters.acl_allowed++;
    else
        core->counters.acl_denied++;
    return allowed ? MOSQ_ERR_SUCCESS : MOSQ_ERR_ACL_DENIED;
}

static struct ia_rights_holder who_is(const struct ia_core *core, const struct ia_client *s)
{
    return (struct ia_rights_holder){
        .ca = s->ca_id ? ia_ca_settings_find(core->snapshot->ca_settings, s->ca_id) : NULL,
        .device = s->device,
        .token = s->token,
        .client_id = s->client_id,
    };
}

static void bind_session(const struct ia_core *core, struct ia_client *s)
{
    if (s->rights.generation == core->snapshot->generation)
        return;
    struct ia_rights_holder who = who_is(core, s);
    ia_rights_resolve(&s->rights, core->snapshot, &who);
    s->published.known = s->received.known = false; /* decided by the roles of before */
}

static struct ia_last_topic *memo_of(struct ia_client *s, enum ia_action action)
{
    return action == IA_PUBLISH ? &s->published : action == IA_RECEIVE ? &s->received : NULL;
}

static bool is_remembered(const struct ia_last_topic *memo, const struct ia_access *access)
{
    return memo && memo->known && memo->qos == access->qos && memo->retain == access->retain &&
           strcmp(memo->topic, access->topic) == 0;
}

/* A client that goes from topic to topic is not worth the copying each time. */
static void remember(struct ia_last_topic *memo, const struct ia_access *access)
{
    if (!memo || memo->missed++ % IA_LAST_TOPIC_MISSES != 0)
        return;
    size_t len = strnlen(access->topic, IA_LAST_TOPIC_TOPIC_MAX + 1);
    if (len == 0 || len > IA_LAST_TOPIC_TOPIC_MAX)
        return;
    memo->known = true;
    memo->qos = access->qos;
    memo->retain = access->retain;
    memcpy(memo->topic, access->topic, len + 1);
}

/* ---- connected */

static const char *verb(enum ia_action action)
{
    return action == IA_PUBLISH ? "publish" : action == IA_SUBSCRIBE ? "subscribe" : "receive";
}

/* One event per session and action says which rule decided; a client that keeps trying is only counted. */
static void tell_denial(struct ia_core *core, struct ia_client *s, const struct ia_access *access)
{
    if (access->action == IA_RECEIVE || (s->denials_reported & access->action))
        return;
    s->denials_reported |= access->action;
    int64_t rule_id = 0;
    (void)ia_rights_check(&s->rights, core->snapshot, access, &rule_id);
    struct ia_audit_entry a = {.client_id = s->client_id,
                               .address = s->address,
                               .principal = ia_client_username(s),
                               .app = s->kind == IA_CLIENT_APP};
    if (s->ca_id)
        a.ca = ia_ca_settings_find(core->snapshot->ca_settings, s->ca_id);
    int n = snprintf(a.detail, sizeof a.detail, "%s %.100s: ", verb(access->action), access->topic);
    if (n > 0 && (size_t)n < sizeof a.detail) {
        size_t left = sizeof a.detail - (size_t)n;
        if (rule_id)
            (void)snprintf(a.detail + n, left, "rule %lld", (long long)rule_id);
        else if (s->rights.broken)
            (void)snprintf(a.detail + n, left, "a role is missing, or it has more than %d", IA_SUBJECT_ROLES_MAX);
        else
            (void)snprintf(a.detail + n, left, "no rule allows it");
    }
    ia_report_denied(core, &a);
}

/* Is its right to be here gone for good?  Then nothing is kept for it.  A certificate that was revoked or removed is
 * not its device's end, which may come back with another (rotation). */
static bool is_final(const struct ia_client *s)
{
    return s->device_deleted || s->disconnect_reason == IA_R_DEVICE_REVOKED;
}

/* Between being condemned and being kicked it publishes nothing more.  What it receives it may go on receiving, so that
 * nothing that is queued for it is lost, unless its end is final.  The kick itself asks for each subscription again,
 * and deletes what is denied: then all that it has is kept. */
static bool check_condemned(const struct ia_core *core, const struct ia_client *s, const struct ia_access *access)
{
    if (access->action == IA_PUBLISH || s->cannot_disconnect || is_final(s))
        return false;
    if (access->action == IA_SUBSCRIBE && core->kicking == s)
        return true;
    return ia_rights_check(&s->rights, core->snapshot, access, NULL) == IA_ALLOW;
}

static bool check_rights(const struct ia_core *core, struct ia_client *s, const struct ia_access *access)
{
    bind_session(core, s);
    return ia_rights_check(&s->rights, core->snapshot, access, NULL) == IA_ALLOW;
}

static bool check_live(struct ia_core *core, struct ia_client *s, const struct ia_access *access)
{
    if (s->kind == IA_CLIENT_UNAUTHENTICATED)
        return false;
    bind_session(core, s);
    if (s->disconnect_reason != IA_R_NONE)
        return check_condemned(core, s, access);
    struct ia_last_topic *memo = memo_of(s, access->action);
    if (is_remembered(memo, access))
        return true;
    if (ia_rights_check(&s->rights, core->snapshot, access, NULL) == IA_ALLOW) {
        remember(memo, access);
        return true;
    }
    tell_denial(core, s, access);
    return false;
}

/* Never through our BASIC_AUTH, and no session of it has ended: it is connected by use_identity_as_username, or a
 * listener with other rules.  With rights derived from its username this would be impersonation.  It is kicked where
 * its certificate proves that it is connected: kicking one that is not corrupts Mosquitto 2.0's memory, and an address
 * proves nothing. */
static bool meet_stranger(struct ia_core *core, const struct mosquitto *client)
{
    struct ia_client *s =
        ia_client_open(core->clients, client, IA_CLIENT_UNAUTHENTICATED, mosquitto_client_id(client), NULL);
    X509 *certificate = mosquitto_client_certificate(client);
    if (s && certificate)
        ia_disconnect_mark(core, s, IA_R_NO_CREDENTIAL);
    X509_free(certificate);
    return false;
}

/* ---- not connected */

struct offline {
    struct ia_core *core;
    const struct ia_access *access;
    const char *client_id;
    bool known, allowed;
};

/* What memory says of a device that is not connected.  Of two certificates the one with more rights counts. */
static bool check_record(void *ctx, struct ia_device *device)
{
    struct offline *o = ctx;
    const struct ia_ca_settings *settings =
        ia_ca_settings_find(o->core->snapshot->ca_settings, device->certificate_ca_id);
    o->known = true;
    if (device->status == IA_DEVICE_REVOKED)
        return true;
    if (o->access->action != IA_PUBLISH && !settings) {
        o->allowed = true; /* its CA's row is bad for now: what waits for the device is not thrown away for that */
        return false;
    }
    /* A will or retained message of one who may not be here now is withheld. */
    bool is_good = device->status == IA_DEVICE_ACTIVE && device->certificate_status == IA_CERT_ACTIVE;
    if (o->access->action == IA_PUBLISH && (!is_good || !settings || !settings->active))
        return true;
    struct ia_rights_holder who = {.ca = settings, .device = device, .client_id = o->client_id};
    ia_rights_resolve(&o->core->scratch, o->core->snapshot, &who);
    o->allowed |= ia_rights_check(&o->core->scratch, o->core->snapshot, o->access, NULL) == IA_ALLOW;
    return !o->allowed;
}

/* An ended session: a device by what memory says now, or (evicted since) said then; an app by the scopes that it
 * had. */
static bool check_ended(struct ia_core *core, struct ia_client *s, const struct ia_access *access)
{
    if (s->kind == IA_CLIENT_UNAUTHENTICATED || is_final(s))
        return false;
    /* Its will, perhaps an hour later: could it still be here?  One that was kicked has none. */
    if (access->action == IA_PUBLISH &&
        (s->certificate_deleted || s->disconnect_reason != IA_R_NONE || ia_revalidate_ended(core, s) != IA_R_NONE))
        return false;
    if (s->kind == IA_CLIENT_DEVICE) {
        struct offline o = {.core = core, .access = access, .client_id = s->client_id};
        ia_device_cache_each(core->devices, ia_client_username(s), check_record, &o);
        if (!o.known)
            (void)check_record(&o, s->device);
        return o.allowed;
    }
    return check_rights(core, s, access);
}

/* The session of that client id, if it is that principal's.  A retained message's publisher has no more than both
 * names, and is not the context that it once was. */
static struct ia_client *owner_named(struct ia_core *core, const struct mosquitto *client, const char *username)
{
    const char *id = mosquitto_client_id(client);
    struct ia_client *s = id ? ia_client_owner(core->clients, id) : NULL;
    return s && strcmp(ia_client_username(s), username) == 0 ? s : NULL;
}

/* An app's retained message: is it known that it may not be said any more? */
static bool is_withheld(struct ia_core *core, const struct mosquitto *client, const char *username,
                        const struct ia_access *access)
{
    struct ia_client *s = owner_named(core, client, username);
    if (s)
        return s->disconnect_reason != IA_R_NONE ||
               !(s->live ? check_rights(core, s, access) : check_ended(core, s, access));
    return !ia_issuer_set_admits(core->snapshot->issuers, username);
}

/* By its username, which is a device id only for a client that was admitted as that device, or was restored after a
 * restart. Not in memory: what was promised is not thrown away; Mosquitto asks again when the client is back.  That
 * holds for what waits for the client, and for retained messages whose publisher is asked for (check_retain_source):
 * those come with a context that has no protocol.  A will has one. */
static bool check_by_name(struct ia_core *core, const struct mosquitto *client, const struct ia_access *access)
{
    const char *username = mosquitto_client_username(client);
    bool retained = access->action == IA_PUBLISH && mosquitto_client_protocol_version(client) == 0;
    bool benign = access->action == IA_RECEIVE || retained;
    if (!username || !core->snapshot)
        return benign;
    if (strncmp(username, "app:", 4) == 0)
        return benign && !(retained && is_withheld(core, client, username, access));
    struct offline o = {.core = core, .access = access, .client_id = mosquitto_client_id(client)};
    ia_device_cache_each(core->devices, username, check_record, &o);
    if (o.known)
        return o.allowed;
    if (retained)
        ia_registration_ask_by_name(core, username);
    return benign;
}

/* ---- Mosquitto's questions */

static bool decide(struct ia_core *core, const struct mosquitto *client, struct ia_client *s,
                   const struct ia_access *access)
{
    if (access->action == IA_PUBLISH && ia_rights_is_event_topic(core->options.event_prefix, access->topic))
        return false;
    if (s && s->live)
        return core->snapshot && check_live(core, s, access);
    if (s && ia_client_is_of(s, client))
        return core->snapshot ? check_ended(core, s, access) : access->action == IA_RECEIVE;
    if (ia_mosq_has_address(client))
        return meet_stranger(core, client);
    return check_by_name(core, client, access);
}

/* Is it for others to say?  Also of what such a client has left as a retained message. */
static bool is_handed_on(struct ia_core *core, const struct mosquitto *client, const struct ia_client *s)
{
    if (s && (s->live || ia_client_is_of(s, client)))
        return s->kind == IA_CLIENT_DEFERRED;
    const char *username = mosquitto_client_username(client);
    s = username && !ia_mosq_has_address(client) ? owner_named(core, client, username) : NULL;
    return s && s->kind == IA_CLIENT_DEFERRED;
}

int ia_on_acl_check(int event, void *event_data, void *userdata)
{
    (void)event;
    const struct mosquitto_evt_acl_check *ev = event_data;
    struct ia_core *core = userdata;
    if (ev->access == MOSQ_ACL_UNSUBSCRIBE)
        return MOSQ_ERR_SUCCESS; /* giving up is always allowed, also what one may no longer have */
    if (!ev->topic || (ev->access != MOSQ_ACL_READ && ev->access != MOSQ_ACL_WRITE && ev->access != MOSQ_ACL_SUBSCRIBE))
        return answer(core, false);
    struct ia_access access = {
        .action = ev->access == MOSQ_ACL_READ    ? IA_RECEIVE
                  : ev->access == MOSQ_ACL_WRITE ? IA_PUBLISH
                                                 : IA_SUBSCRIBE,
        .topic = ev->topic,
        .qos = ev->qos,
        .retain = ev->retain,
        .split = core->topic_split,
    };
    if (!ia_has_ticks(core))
        return answer(core, false);
    struct ia_client *s = ia_client_find(core->clients, ev->client);
    if (is_handed_on(core, ev->client, s) &&
        !(access.action == IA_PUBLISH && ia_rights_is_event_topic(core->options.event_prefix, ev->topic)))
        return MOSQ_ERR_PLUGIN_DEFER;
    return answer(core, decide(core, ev->client, s, &access));
}
