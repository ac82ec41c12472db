/* BASIC_AUTH and extended authentication: who connects?  All checks that need no database come first, so that nobody
 * waits, is registered or parks on another's client id who would be refused anyway. */
#include "plugin/core.h"
#include "plugin/gate.h"
#include "plugin/mosq.h"
#include "plugin/registry.h"
#include "plugin/report.h"

#include "jitr/decide.h"
#include "oauth/bearer.h"

#include <openssl/sha.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEYS_EVERY_US 100000

/* One connection under decision. */
struct connect {
    struct ia_core *core;
    struct mosquitto *client;
    struct ia_attempt attempt;
    struct ia_ip ip;
    int64_t now;
    X509 *leaf;             /* owned; NULL: none */
    const char *token_text; /* NULL: none */
    size_t token_len;
    bool by_ext_auth;
    struct ia_chain chain;    /* of the leaf, once verified */
    struct ia_cert_info info; /* of the leaf */
    char device_id[IA_VALUE_MAX + 1];
    struct ia_device *device; /* owned reference */
    struct ia_token *token;   /* owned reference */
};

static enum ia_reason refuse(struct connect *c, enum ia_reason reason, const char *detail)
{
    (void)snprintf(c->attempt.detail, sizeof c->attempt.detail, "%s", detail);
    return reason;
}

static const struct ia_snapshot *snapshot(const struct connect *c)
{
    return c->core->snapshot;
}

/* --- what comes before any credential -------------------------------------------------------------------------------
 */

static bool admitted(struct connect *c, enum ia_ip_scope scope, const char *key)
{
    int64_t rule_id = 0;
    if (ia_ip_check(snapshot(c)->ips, scope, key, &c->ip, c->now, &rule_id) == IA_ALLOW)
        return true;
    (void)snprintf(c->attempt.detail, sizeof c->attempt.detail, "ip_rule %lld", (long long)rule_id);
    return false;
}

static bool is_stale(const struct ia_core *core, int64_t now)
{
    return core->options.stale_max_s && !core->db_up && now - core->db_contact_s > core->options.stale_max_s;
}

static enum ia_reason decide_readiness(struct connect *c)
{
    if (!ia_has_ticks(c->core))
        return refuse(c, IA_R_INTERNAL, "Mosquitto sends no TICK");
    if (!snapshot(c))
        return refuse(c, IA_R_REGISTRY_UNAVAILABLE, "no snapshot yet: the database has not been reached");
    if (is_stale(c->core, c->now))
        return refuse(c, IA_R_SNAPSHOT_STALE, "the database has been unreachable for longer than stale_max_s");
    return IA_R_NONE;
}

/* --- the certificate ------------------------------------------------------------------------------------------------
 */

/* Mosquitto is linked against another OpenSSL: no listener was seen, so the chain is not known.  The leaf alone is
 * verified, which admits devices directly below a registered CA. */
static bool verifies_alone(struct ia_core *core)
{
    /* With a list of ports there is no telling whether this client came by one of them. */
    if (core->options.gate != IA_GATE_ALL || ia_gate_has_listeners())
        return false;
    if (!core->fallback_told)
        ia_log(MOSQ_LOG_WARNING,
               "no TLS listener of Mosquitto's was seen (another OpenSSL?): certificates are verified "
               "without their intermediates, after the handshake");
    core->fallback_told = true;
    return true;
}

/* Take over what the gate decided; false: this certificate is no credential here. */
static bool take_chain(struct connect *c)
{
    uint64_t generation = 0;
    if (ia_gate_result(c->leaf, &c->chain, &generation) == IA_LEAF_VERIFIED) {
        if (c->chain.reason == IA_R_NONE && generation != snapshot(c)->ca_generation)
            c->chain.reason = ia_chain_recheck(snapshot(c)->cas, &c->chain, c->now);
        return true;
    }
    if (!verifies_alone(c->core))
        return false;
    ia_chain_verify(snapshot(c)->cas, c->leaf, NULL, c->now, &c->chain);
    return true;
}

static enum ia_reason decide_chain(struct connect *c)
{
    c->attempt.ca = ia_profile_find(snapshot(c)->profiles, c->chain.ca_id);
    c->attempt.ca_id = c->chain.ca_id;
    if (c->chain.reason != IA_R_NONE)
        return refuse(c, c->chain.reason, c->chain.detail);
    if (c->chain.not_after <= c->now)
        return refuse(c, IA_R_CERTIFICATE_EXPIRED, "the certificate or one above it has expired");
    if (!c->attempt.ca)
        return refuse(c, IA_R_CA_INACTIVE, "the CA cannot be used: see iot_auth.ca.problem");
    return c->attempt.ca->active ? IA_R_NONE : refuse(c, IA_R_CA_INACTIVE, "");
}

static enum ia_reason decide_identity(struct connect *c)
{
    struct ia_identity identity;
    struct ia_err err = {0};
    if (ia_cert_info_read(c->leaf, &c->info, &err) != IA_OK)
        return refuse(c, IA_R_CERTIFICATE_UNFIT, err.msg);
    c->attempt.fingerprint = c->info.fingerprint;
    ia_identity_read(c->leaf, &identity);
    enum ia_reason reason = ia_decide_device_id(c->attempt.ca, &identity, c->device_id, &err);
    if (reason != IA_R_NONE)
        return refuse(c, reason, err.msg);
    c->attempt.principal = c->device_id;
    return IA_R_NONE;
}

static enum ia_reason decide_ca_addresses(struct connect *c)
{
    for (size_t i = 0; i < c->chain.n_cas; i++) {
        const struct ia_profile *ca = ia_profile_find(snapshot(c)->profiles, c->chain.cas[i]);
        if (!ca)
            return refuse(c, IA_R_CA_INACTIVE, "a CA above it cannot be used: see iot_auth.ca.problem");
        if (!admitted(c, IA_IP_CA, ca->name))
            return IA_R_ADDRESS_DENIED;
    }
    return IA_R_NONE;
}

static enum ia_reason decide_record(struct connect *c)
{
    struct ia_newcomer who = {
        .info = &c->info, .device_id = c->device_id, .ca_id = c->chain.ca_id, .address = c->attempt.address};
    struct ia_device *device = NULL;
    enum ia_reason reason = ia_registry_find(c->core, &who, &device, c->attempt.detail, sizeof c->attempt.detail);
    /* Waiting may have brought a new snapshot: borrowed pointers are of the old one. */
    c->attempt.ca = ia_profile_find(snapshot(c)->profiles, c->chain.ca_id);
    if (reason != IA_R_NONE)
        return reason;
    c->device = ia_device_ref(device);
    c->attempt.device = c->device;
    reason = ia_decide_device(c->device, c->chain.ca_id, c->device_id, c->now);
    if (reason == IA_R_INTERNAL)
        return refuse(c, reason, "the device has more roles and attributes than are kept (60000 bytes)");
    if (reason != IA_R_NONE)
        return reason;
    if (!c->attempt.ca || !c->attempt.ca->active)
        return IA_R_CA_INACTIVE;
    return admitted(c, IA_IP_DEVICE, c->device_id) ? IA_R_NONE : IA_R_ADDRESS_DENIED;
}

/* The part of the certificate's checks that needs no database. */
static enum ia_reason decide_certificate(struct connect *c)
{
    enum ia_reason reason = decide_chain(c);
    return reason == IA_R_NONE ? decide_identity(c) : reason;
}

/* --- client ids -----------------------------------------------------------------------------------------------------
 */

/* A new connection inherits what the client id's last one left, whoever it is: subscriptions and queue.  So an id is
 * one principal's for as long as Mosquitto may keep something under it. */
static enum ia_reason decide_ownership(struct connect *c, const char *username)
{
    const struct ia_session *owner = ia_session_owner(c->core->sessions, c->attempt.client_id);
    const struct mosquitto *kept = ia_mosq_client(c->attempt.client_id);
    bool is_kept = ia_mosq_is_21() ? kept != NULL : owner && owner->may_persist; /* 2.0 cannot be asked */
    if (owner && (owner->live || is_kept) && strcmp(ia_session_username(owner), username) != 0)
        return refuse(c, IA_R_CLIENT_ID_MISMATCH, "the client id is in use by another");
    const char *kept_name = kept && kept != c->client ? mosquitto_client_username(kept) : NULL;
    if (kept_name && strcmp(kept_name, username) != 0)
        return refuse(c, IA_R_CLIENT_ID_MISMATCH, "the client id's session is another's");
    return IA_R_NONE;
}

/* --- device, app, others --------------------------------------------------------------------------------------------
 */

static enum ia_reason decide_device(struct connect *c)
{
    enum ia_reason reason = decide_certificate(c);
    if (reason == IA_R_NONE && !ia_decide_client_id(c->attempt.ca, c->device_id, c->attempt.client_id))
        reason = refuse(c, IA_R_CLIENT_ID_MISMATCH, "no client id template of the CA fits");
    if (reason == IA_R_NONE)
        reason = decide_ownership(c, c->device_id);
    if (reason == IA_R_NONE)
        reason = decide_ca_addresses(c);
    return reason == IA_R_NONE ? decide_record(c) : reason;
}

/* A token names a key that is not known, which takes no valid signature: a flood of them must not fill the worker's
 * queue. */
static void ask_for_keys(struct ia_core *core, const char *issuer)
{
    uint32_t hash = 5381;
    for (const char *p = issuer; *p; p++)
        hash = hash * 33 ^ (unsigned char)*p;
    int64_t now = ia_monotonic_us(), *asked = &core->keys_asked_us[hash % 64];
    if (*asked && now - *asked < KEYS_EVERY_US)
        return;
    *asked = now;
    struct ia_request *request = ia_request_new(IA_REQUEST_KEYS, NULL);
    if (request)
        (void)snprintf(request->name, sizeof request->name, "%s", issuer);
    (void)ia_worker_ask(core->worker, request);
}

static enum ia_reason decide_token(struct connect *c)
{
    struct ia_token_why why;
    enum ia_reason reason = ia_token_cache_verify(c->core->tokens, snapshot(c)->issuers, c->token_text, c->token_len,
                                                  c->now, c->leaf ? c->info.fingerprint : NULL, &c->token, &why);
    if (reason == IA_R_NONE) {
        c->attempt.principal = c->token->principal;
        return IA_R_NONE;
    }
    if (why.refresh)
        ask_for_keys(c->core, why.issuer);
    return refuse(c, reason, why.detail);
}

/* An app: the token decides who it is; a certificate beside it must be an ACTIVE device's, and the token bound to it.
 */
static enum ia_reason decide_app(struct connect *c)
{
    c->attempt.app = true;
    enum ia_reason reason = c->leaf ? decide_certificate(c) : IA_R_NONE;
    c->attempt.principal = NULL;
    if (reason == IA_R_NONE)
        reason = decide_token(c);
    if (reason == IA_R_NONE && !admitted(c, IA_IP_ISSUER, c->token->issuer))
        reason = IA_R_ADDRESS_DENIED;
    if (reason == IA_R_NONE && !ia_token_client_id_fits(snapshot(c)->issuers, c->token, c->attempt.client_id))
        reason = refuse(c, IA_R_CLIENT_ID_MISMATCH, "no client id template of the issuer fits");
    if (reason == IA_R_NONE)
        reason = decide_ownership(c, c->token->principal);
    if (reason == IA_R_NONE && c->leaf)
        reason = decide_ca_addresses(c);
    return reason == IA_R_NONE && c->leaf ? decide_record(c) : reason;
}

/* The leaf, if it is a credential here. */
static void take_leaf(struct connect *c)
{
    c->leaf = mosquitto_client_certificate(c->client);
    if (c->leaf && !take_chain(c)) {
        X509_free(c->leaf);
        c->leaf = NULL;
    }
    c->attempt.proven = c->leaf != NULL; /* BASIC_AUTH comes after the handshake */
    if (c->leaf && c->chain.n_links > 0)
        c->attempt.fingerprint = c->chain.links[0].fingerprint;
}

static enum ia_reason decide(struct connect *c)
{
    enum ia_reason reason = decide_readiness(c);
    if (reason != IA_R_NONE)
        return reason;
    take_leaf(c); /* first, so that a refusal by address says whose it is */
    if (!admitted(c, IA_IP_GLOBAL, NULL))
        return IA_R_ADDRESS_DENIED;
    if (c->token_text)
        return decide_app(c);
    return c->leaf ? decide_device(c) : refuse(c, IA_R_NO_CREDENTIAL, "neither a certificate nor a token");
}

/* --- sessions -------------------------------------------------------------------------------------------------------
 */

static void tell_connected(struct ia_core *core, const struct ia_session *s)
{
    struct ia_request *request = ia_request_new(IA_REQUEST_CONNECTED, NULL);
    if (request) {
        (void)snprintf(request->name, sizeof request->name, "%s", ia_session_username(s));
        request->at_us = ia_wall_us();
    }
    (void)ia_worker_ask(core->worker, request);
    struct ia_device *kept = ia_device_cache_find(core->devices, s->device->fingerprint);
    if (kept)
        kept->refusal = IA_R_NONE;
}

static void hash_token(const struct connect *c, uint8_t out[32])
{
    memset(out, 0, 32);
    if (c->token_text)
        SHA256((const unsigned char *)c->token_text, c->token_len, out);
}

/* May Mosquitto keep something under this client's id when it is gone?  How long an MQTT 5 session lasts a plugin
 * cannot see. */
static bool may_persist(const struct mosquitto *client)
{
    return mosquitto_client_protocol_version(client) >= 5 || !mosquitto_client_clean_session(client);
}

static void take_address(const struct connect *c, struct ia_session *s)
{
    s->ip = c->ip;
    (void)snprintf(s->address, sizeof s->address, "%s", c->attempt.address ? c->attempt.address : "");
}

/* Give what was decided to the session. */
static bool fill_session(struct connect *c, struct ia_session *s)
{
    s->token = c->token;
    c->token = NULL;
    take_address(c, s);
    s->may_persist = may_persist(c->client);
    s->ends = s->token ? s->token->ends : INT64_MAX;
    if (s->chain && s->chain->not_after < s->ends)
        s->ends = s->chain->not_after;
    s->judged = snapshot(c)->generation;
    s->by_ext_auth = c->by_ext_auth;
    hash_token(c, s->token_hash);
    struct ia_device *device = c->device;
    c->device = NULL;
    return !device || ia_session_set_device(c->core->sessions, s, device);
}

static struct ia_chain *copy_chain(const struct connect *c)
{
    size_t size = offsetof(struct ia_chain, links) + c->chain.n_links * sizeof c->chain.links[0];
    struct ia_chain *copy = malloc(size); /* a quarter of the whole, for most */
    if (copy)
        memcpy(copy, &c->chain, size);
    return copy;
}

static enum ia_reason open_session(struct connect *c)
{
    struct ia_chain *chain = c->leaf ? copy_chain(c) : NULL;
    if (c->leaf && !chain)
        return refuse(c, IA_R_INTERNAL, "out of memory");
    const char *username = c->token ? c->token->principal : c->device_id;
    struct ia_session *s = ia_session_open(c->core->sessions, c->client, c->token ? IA_SESSION_APP : IA_SESSION_DEVICE,
                                           c->attempt.client_id, username);
    if (!s) {
        free(chain);
        return refuse(c, IA_R_INTERNAL, "out of memory");
    }
    s->chain = chain;
    s->ca_id = chain ? chain->ca_id : 0;
    enum ia_reason reason = fill_session(c, s) ? IA_R_NONE : refuse(c, IA_R_INTERNAL, "out of memory");
    if (reason == IA_R_NONE && mosquitto_set_username(c->client, ia_session_username(s)) != MOSQ_ERR_SUCCESS)
        reason = refuse(c, IA_R_INTERNAL, "Mosquitto refused the username");
    if (reason == IA_R_NONE) {
        ia_judge(c->core, s); /* waiting for the registry may have let things change that were judged before it */
        reason = s->condemned;
    }
    if (reason != IA_R_NONE) {
        c->attempt.device = NULL;
        c->attempt.principal = c->attempt.app ? NULL : c->device_id;
        ia_session_drop(c->core->sessions, s); /* it never was: nothing may be derived from it later */
        return reason;
    }
    ia_note_end(c->core, s);
    c->attempt.principal = ia_session_username(s);
    if (s->kind == IA_SESSION_DEVICE)
        tell_connected(c->core, s);
    return IA_R_NONE;
}

static void connect_init(struct connect *c, struct ia_core *core, struct mosquitto *client)
{
    memset(c, 0, sizeof *c);
    c->core = core;
    c->client = client;
    c->now = ia_wall_s();
    c->attempt.client = client;
    c->attempt.client_id = mosquitto_client_id(client);
    c->attempt.address = mosquitto_client_address(client);
    c->ip = ia_ip_parse(c->attempt.address ? c->attempt.address : "");
}

static void connect_clear(struct connect *c)
{
    X509_free(c->leaf);
    ia_device_free(c->device);
    ia_token_free(c->token);
}

/* Decide, open the session, tell. */
static enum ia_reason finish(struct connect *c)
{
    enum ia_reason reason = c->attempt.client_id ? decide(c) : refuse(c, IA_R_CLIENT_ID_MISMATCH, "no client id");
    if (reason == IA_R_NONE)
        reason = open_session(c);
    if (reason == IA_R_NONE)
        ia_report_accepted(c->core, &c->attempt);
    else
        ia_report_refused(c->core, &c->attempt, reason);
    return reason;
}

/* --- SIGHUP: authentication once more -------------------------------------------------------------------------------
 */

static bool same_certificate(const struct ia_session *s, struct mosquitto *client)
{
    X509 *leaf = mosquitto_client_certificate(client);
    bool same = ia_session_has_certificate(s, leaf);
    X509_free(leaf);
    return same;
}

static bool same_token(const struct ia_session *s, const char *password)
{
    uint8_t hash[32];
    if (s->by_ext_auth)
        return true; /* its token came in an AUTH packet and is not passed on again */
    if (!password)
        return false;
    SHA256((const unsigned char *)password, strlen(password), hash);
    return memcmp(hash, s->token_hash, sizeof hash) == 0;
}

/* Is this the broker asking again for a client that it has?  Only a live session with the credential that it came with
 * says so, or the broker itself; a name or a moment proves nothing. */
static bool is_reauthentication(struct ia_core *core, struct mosquitto *client, const char *password)
{
    const char *id = mosquitto_client_id(client);
    const struct ia_session *s = ia_session_find(core->sessions, client);
    if (s && s->live && (s->kind == IA_SESSION_DEVICE || s->kind == IA_SESSION_APP)) {
        if (!id || strcmp(id, s->client_id) != 0)
            return false;
        return s->kind == IA_SESSION_APP ? same_token(s, password) : same_certificate(s, client);
    }
    if (s && s->kind == IA_SESSION_HANDED_ON)
        return false; /* those who were asked first are asked again */
    if (ia_mosq_is_21())
        return id && ia_mosq_client(id) == client;
    return core->reloading && mosquitto_client_protocol(client) != mp_websockets;
}

/* --- other clients --------------------------------------------------------------------------------------------------
 */

static bool stop_at_device(void *ctx, struct ia_device *device)
{
    (void)device;
    *(bool *)ctx = true;
    return false;
}

/* Does this text name a device or an app? */
static bool is_taken_name(struct ia_core *core, const char *name)
{
    bool taken = strncmp(name, "app:", 4) == 0;
    ia_device_cache_each(core->devices, name, stop_at_device, &taken);
    return taken;
}

static enum ia_reason decide_other(struct connect *c, const char *username)
{
    enum ia_reason reason = decide_readiness(c);
    if (reason == IA_R_NONE && !admitted(c, IA_IP_GLOBAL, NULL))
        reason = IA_R_ADDRESS_DENIED;
    if (reason == IA_R_NONE)
        reason = decide_ownership(c, username);
    if (reason == IA_R_NONE && (is_taken_name(c->core, username) || is_taken_name(c->core, c->attempt.client_id)))
        reason = refuse(c, IA_R_CLIENT_ID_MISMATCH, "that name is a device's or an app's");
    return reason;
}

/* Leave the client to the next plugin or the password file, unless it would take over what belongs to a device or app.
 */
static int hand_on(struct connect *c)
{
    const struct ia_session *ended = ia_session_find(c->core->sessions, c->client);
    if (ended && !ended->live && ended->kind == IA_SESSION_HANDED_ON && ia_session_is_of(ended, c->client))
        return MOSQ_ERR_PLUGIN_DEFER; /* SIGHUP, for a client that is not connected: no session of it begins */
    const char *username = mosquitto_client_username(c->client);
    username = username ? username : "";
    enum ia_reason reason = decide_other(c, username);
    struct ia_session *s = reason == IA_R_NONE ? ia_session_open(c->core->sessions, c->client, IA_SESSION_HANDED_ON,
                                                                 c->attempt.client_id, username)
                                               : NULL;
    if (s) {
        s->may_persist = may_persist(c->client);
        take_address(c, s);
        return MOSQ_ERR_PLUGIN_DEFER;
    }
    if (reason == IA_R_NONE)
        reason = IA_R_INTERNAL;
    ia_report_refused(c->core, &c->attempt, reason);
    return ia_mosq_refusal(c->client, reason);
}

/* --------------------------------------------------------------------------------------------------------------------
 */

int ia_on_basic_auth(int event, void *event_data, void *userdata)
{
    (void)event;
    const struct mosquitto_evt_basic_auth *ev = event_data;
    struct ia_core *core = userdata;
    struct connect c;
    ia_apply(core);
    if (is_reauthentication(core, ev->client, ev->password))
        return MOSQ_ERR_SUCCESS;
    connect_init(&c, core, ev->client);
    if (ev->password && ia_token_looks_like(ev->password, strlen(ev->password))) {
        c.token_text = ev->password;
        c.token_len = strlen(ev->password);
    }
    if (core->options.defer_others && !c.token_text && core->snapshot && c.attempt.client_id) {
        take_leaf(&c);
        if (!c.leaf)
            return hand_on(&c);
        X509_free(c.leaf);
        c.leaf = NULL;
    }
    enum ia_reason reason = finish(&c);
    connect_clear(&c);
    return reason == IA_R_NONE ? MOSQ_ERR_SUCCESS : ia_mosq_refusal(ev->client, reason);
}

/* Re-authentication of a live session: the same issuer and app, or it ends.  Answered with SUCCESS in any case,
 * because 2.0 would send a second CONNACK; TICK kicks. */
static int reauthenticate(struct connect *c, struct ia_session *s)
{
    enum ia_reason reason = decide_readiness(c);
    if (reason == IA_R_NONE)
        take_leaf(c);
    if (reason == IA_R_NONE && !admitted(c, IA_IP_GLOBAL, NULL))
        reason = IA_R_ADDRESS_DENIED;
    if (reason == IA_R_NONE && c->leaf)
        reason = decide_certificate(c);
    if (reason == IA_R_NONE)
        reason = decide_token(c);
    if (reason == IA_R_NONE && strcmp(c->token->principal, s->token->principal) != 0)
        reason = refuse(c, IA_R_TOKEN_CLAIMS, "re-authentication as another app");
    if (reason != IA_R_NONE) {
        c->attempt.principal = ia_session_username(s);
        ia_report_refused(c->core, &c->attempt, reason);
        ia_condemn(c->core, s, reason);
        return MOSQ_ERR_SUCCESS;
    }
    ia_token_free(s->token);
    s->token = c->token;
    c->token = NULL;
    s->binding.generation = 0;
    hash_token(c, s->token_hash);
    ia_judge(c->core, s); /* sets its new end */
    ia_note_end(c->core, s);
    return MOSQ_ERR_SUCCESS;
}

int ia_on_ext_auth_start(int event, void *event_data, void *userdata)
{
    (void)event;
    const struct mosquitto_evt_extended_auth *ev = event_data;
    struct ia_core *core = userdata;
    struct connect c;
    if (!ev->auth_method || strcmp(ev->auth_method, "OAUTHBEARER") != 0)
        return MOSQ_ERR_PLUGIN_DEFER;
    ia_apply(core);
    connect_init(&c, core, ev->client);
    c.by_ext_auth = true;
    c.attempt.app = true;
    struct ia_session *s = ia_session_find(core->sessions, ev->client);
    if (!ia_bearer_token(ev->data_in, ev->data_in_len, &c.token_text, &c.token_len)) {
        c.token_text = ""; /* decided as the malformed token that it is */
        c.token_len = 0;
    }
    int rc = MOSQ_ERR_SUCCESS;
    if (s && s->live && s->kind == IA_SESSION_APP && c.attempt.client_id &&
        strcmp(s->client_id, c.attempt.client_id) == 0) {
        rc = reauthenticate(&c, s);
    } else {
        enum ia_reason reason = finish(&c);
        rc = reason == IA_R_NONE ? MOSQ_ERR_SUCCESS : ia_mosq_ext_refusal(reason);
    }
    connect_clear(&c);
    return rc;
}

/* OAUTHBEARER has one step: there is nothing to go on with.  Mosquitto calls this for a live client too, on an AUTH
 * packet without content; refusing that one would make it free the client id of a connection that it keeps (use after
 * free).  So it is told to continue, and TICK kicks it. */
int ia_on_ext_auth_continue(int event, void *event_data, void *userdata)
{
    (void)event;
    const struct mosquitto_evt_extended_auth *ev = event_data;
    struct ia_core *core = userdata;
    struct ia_session *s = ia_session_find(core->sessions, ev->client);
    if (s && s->live) {
        ia_condemn(core, s, IA_R_TOKEN_MALFORMED);
        return MOSQ_ERR_AUTH_CONTINUE;
    }
    bool ours = ev->auth_method && strcmp(ev->auth_method, "OAUTHBEARER") == 0;
    return ours ? MOSQ_ERR_AUTH : MOSQ_ERR_PLUGIN_DEFER;
}
