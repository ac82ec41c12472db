// SPDX-License-Identifier: ISC
#include "plugin/admit.h"
#include "plugin/mosquitto_compat.h"
#include "plugin/registration_wait.h"
#include "plugin/tls_gate.h"

#include "jitr/device_check.h"

#include <stdio.h>
#include <string.h>

#define KEYS_EVERY_US 100000

enum ia_reason ia_connect_refuse(struct ia_connect *c, enum ia_reason reason, const char *detail)
{
    (void)snprintf(c->attempt.detail, sizeof c->attempt.detail, "%s", detail);
    return reason;
}

static const struct ia_snapshot *snapshot(const struct ia_connect *c)
{
    return c->core->snapshot;
}

/* ---- what comes before any credential */

static bool admitted(struct ia_connect *c, enum ia_ip_scope scope, const char *key)
{
    int64_t rule_id = 0;
    if (ia_ip_check(snapshot(c)->ips, scope, key, &c->ip, c->now, &rule_id) == IA_ALLOW)
        return true;
    const char *nowhere =
        c->attempt.address ? "" : ": this Mosquitto does not say reliably where a WebSocket comes from";
    (void)snprintf(c->attempt.detail, sizeof c->attempt.detail, "ip_rule %lld%s", (long long)rule_id, nowhere);
    return false;
}

static void set_address(struct ia_connect *c, const char *address)
{
    c->attempt.address = address;
    c->ip = ia_ip_parse(address ? address : "");
}

static bool is_stale(const struct ia_core *core, int64_t now)
{
    return core->options.stale_max_s && !core->db_up && now - core->db_contact_s > core->options.stale_max_s;
}

static enum ia_reason decide_readiness(struct ia_connect *c)
{
    if (!ia_has_ticks(c->core))
        return ia_connect_refuse(c, IA_R_INTERNAL, "Mosquitto sends no TICK");
    if (!snapshot(c))
        return ia_connect_refuse(c, IA_R_REGISTRY_UNAVAILABLE, "no snapshot yet: the database has not been reached");
    if (is_stale(c->core, c->now))
        return ia_connect_refuse(c, IA_R_SNAPSHOT_STALE,
                                 "the database has been unreachable for longer than stale_max_s");
    return IA_R_NONE;
}

/* ---- the certificate */

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
static bool take_chain(struct ia_connect *c)
{
    uint64_t generation = 0;
    if (ia_gate_result(c->leaf, &c->chain, &generation) == IA_LEAF_VERIFIED) {
        if (c->chain.reason == IA_R_NONE && generation != snapshot(c)->ca_generation)
            c->chain.reason = ia_chain_revalidate(snapshot(c)->cas, &c->chain, c->now);
        return true;
    }
    if (!verifies_alone(c->core))
        return false;
    ia_chain_verify(snapshot(c)->cas, c->leaf, NULL, c->now, &c->chain);
    return true;
}

static enum ia_reason decide_chain(struct ia_connect *c)
{
    c->attempt.ca = ia_ca_settings_find(snapshot(c)->ca_settings, c->chain.ca_id);
    c->attempt.ca_id = c->chain.ca_id;
    if (c->chain.reason != IA_R_NONE)
        return ia_connect_refuse(c, c->chain.reason, c->chain.detail);
    if (c->chain.not_after <= c->now)
        return ia_connect_refuse(c, IA_R_CERTIFICATE_EXPIRED, "the certificate or one above it has expired");
    if (!c->attempt.ca)
        return ia_connect_refuse(c, IA_R_CA_INACTIVE, "the CA cannot be used: see iot_auth.ca.problem");
    return c->attempt.ca->active ? IA_R_NONE : ia_connect_refuse(c, IA_R_CA_INACTIVE, "");
}

static enum ia_reason decide_identity(struct ia_connect *c)
{
    struct ia_identity identity;
    struct ia_err err = {0};
    if (ia_cert_info_read(c->leaf, &c->info, &err) != IA_OK)
        return ia_connect_refuse(c, IA_R_CERTIFICATE_UNFIT, err.msg);
    c->attempt.fingerprint = c->info.fingerprint;
    ia_identity_read(c->leaf, &identity);
    enum ia_reason reason = ia_decide_device_id(c->attempt.ca, &identity, c->device_id, &err);
    if (reason != IA_R_NONE)
        return ia_connect_refuse(c, reason, err.msg);
    c->attempt.principal = c->device_id;
    return IA_R_NONE;
}

static enum ia_reason decide_ca_addresses(struct ia_connect *c)
{
    for (size_t i = 0; i < c->chain.n_cas; i++) {
        const struct ia_ca_settings *ca = ia_ca_settings_find(snapshot(c)->ca_settings, c->chain.cas[i]);
        if (!ca)
            return ia_connect_refuse(c, IA_R_CA_INACTIVE, "a CA above it cannot be used: see iot_auth.ca.problem");
        if (!admitted(c, IA_IP_CA, ca->name))
            return IA_R_ADDRESS_DENIED;
    }
    return IA_R_NONE;
}

static enum ia_reason decide_record(struct ia_connect *c)
{
    struct ia_newcomer who = {
        .info = &c->info, .device_id = c->device_id, .ca_id = c->chain.ca_id, .address = c->attempt.address};
    struct ia_device *device = NULL;
    enum ia_reason reason = ia_registry_find(c->core, &who, &device, c->attempt.detail, sizeof c->attempt.detail);
    /* Waiting may have brought a new snapshot: borrowed pointers are of the old one. */
    c->attempt.ca = ia_ca_settings_find(snapshot(c)->ca_settings, c->chain.ca_id);
    if (reason != IA_R_NONE)
        return reason;
    c->device = ia_device_ref(device);
    c->attempt.device = c->device;
    reason = ia_decide_device(c->device, snapshot(c)->ca_settings, c->chain.cas, c->chain.n_cas, c->device_id, c->now);
    if (reason == IA_R_INTERNAL)
        return ia_connect_refuse(c, reason, "the device has more roles and attributes than are kept (60000 bytes)");
    if (reason != IA_R_NONE)
        return reason;
    if (!c->attempt.ca || !c->attempt.ca->active)
        return IA_R_CA_INACTIVE;
    return admitted(c, IA_IP_DEVICE, c->device_id) ? IA_R_NONE : IA_R_ADDRESS_DENIED;
}

/* The part of the certificate's checks that needs no database. */
static enum ia_reason decide_certificate(struct ia_connect *c)
{
    enum ia_reason reason = decide_chain(c);
    return reason == IA_R_NONE ? decide_identity(c) : reason;
}

/* ---- client ids */

/* A new connection inherits what the client id's last one left, whoever it is: subscriptions and queue.  So an id is
 * one principal's for as long as Mosquitto may keep something under it. */
static enum ia_reason decide_ownership(struct ia_connect *c, const char *username)
{
    const struct ia_session *owner = ia_session_owner(c->core->sessions, c->attempt.client_id);
    const struct mosquitto *kept = ia_mosq_client(c->attempt.client_id);
    bool is_kept = ia_mosq_is_21() ? kept != NULL : owner && owner->may_persist; /* 2.0 cannot be asked */
    if (owner && (owner->live || is_kept) && strcmp(ia_session_username(owner), username) != 0)
        return ia_connect_refuse(c, IA_R_CLIENT_ID_MISMATCH, "the client id is in use by another");
    const char *kept_name = kept && kept != c->client ? mosquitto_client_username(kept) : NULL;
    if (kept_name && strcmp(kept_name, username) != 0)
        return ia_connect_refuse(c, IA_R_CLIENT_ID_MISMATCH, "the client id's session is another's");
    return IA_R_NONE;
}

/* ---- device, app, others */

static enum ia_reason decide_device(struct ia_connect *c)
{
    enum ia_reason reason = decide_certificate(c);
    if (reason == IA_R_NONE && !ia_decide_client_id(c->attempt.ca, c->device_id, c->attempt.client_id))
        reason = ia_connect_refuse(c, IA_R_CLIENT_ID_MISMATCH, "no client id template of the CA fits");
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
    int64_t now = ia_monotonic_us();
    size_t slot = hash % (sizeof core->keys_asked / sizeof core->keys_asked[0]);
    if (core->keys_asked[slot].issuer == hash && now - core->keys_asked[slot].at_us < KEYS_EVERY_US)
        return;
    core->keys_asked[slot].issuer = hash;
    core->keys_asked[slot].at_us = now;
    struct ia_request *request = ia_request_new(IA_REQUEST_KEYS, NULL);
    if (request)
        (void)snprintf(request->issuer, sizeof request->issuer, "%s", issuer);
    (void)ia_worker_ask(core->worker, request);
}

static enum ia_reason decide_token(struct ia_connect *c)
{
    struct ia_token_refusal refusal;
    const struct ia_token_check check = {.issuers = snapshot(c)->issuers,
                                         .presented = &c->presented,
                                         .now = c->now,
                                         .cert_sha256 = c->leaf ? c->info.fingerprint : NULL};
    enum ia_reason reason = ia_token_cache_verify(c->core->tokens, &check, &c->token, &refusal);
    if (reason == IA_R_NONE) {
        c->attempt.principal = c->token->principal;
        return IA_R_NONE;
    }
    if (refusal.refresh_keys)
        ask_for_keys(c->core, refusal.issuer);
    return ia_connect_refuse(c, reason, refusal.detail);
}

/* An app: the token decides who it is; a certificate beside it must be an ACTIVE device's, and the token bound to
 * it. */
static enum ia_reason decide_app(struct ia_connect *c)
{
    c->attempt.app = true;
    enum ia_reason reason = c->leaf ? decide_certificate(c) : IA_R_NONE;
    c->attempt.principal = NULL;
    if (reason == IA_R_NONE)
        reason = decide_token(c);
    if (reason == IA_R_NONE && !admitted(c, IA_IP_ISSUER, c->token->issuer))
        reason = IA_R_ADDRESS_DENIED;
    if (reason == IA_R_NONE && !ia_token_allows_client_id(snapshot(c)->issuers, c->token, c->attempt.client_id))
        reason = ia_connect_refuse(c, IA_R_CLIENT_ID_MISMATCH, "no client id template of the issuer fits");
    if (reason == IA_R_NONE)
        reason = decide_ownership(c, c->token->principal);
    if (reason == IA_R_NONE && c->leaf)
        reason = decide_ca_addresses(c);
    return reason == IA_R_NONE && c->leaf ? decide_record(c) : reason;
}

/* The leaf, if it is a credential here. */
void ia_connect_take_leaf(struct ia_connect *c)
{
    c->leaf = mosquitto_client_certificate(c->client);
    if (c->leaf && !take_chain(c)) {
        X509_free(c->leaf);
        c->leaf = NULL;
    }
    if (c->leaf && !c->attempt.address)
        set_address(c, ia_gate_address(c->leaf));
    c->attempt.proven = c->leaf != NULL; /* BASIC_AUTH comes after the handshake */
    if (c->leaf && c->chain.n_links > 0)
        c->attempt.fingerprint = c->chain.links[0].fingerprint;
}

enum ia_reason ia_connect_decide(struct ia_connect *c)
{
    enum ia_reason reason = decide_readiness(c);
    if (reason != IA_R_NONE)
        return reason;
    ia_connect_take_leaf(c); /* first, so that a refusal by address says whose it is */
    if (!admitted(c, IA_IP_GLOBAL, NULL))
        return IA_R_ADDRESS_DENIED;
    if (c->has_token)
        return decide_app(c);
    return c->leaf ? decide_device(c) : ia_connect_refuse(c, IA_R_NO_CREDENTIAL, "neither a certificate nor a token");
}

void ia_connect_init(struct ia_connect *c, struct ia_core *core, struct mosquitto *client)
{
    memset(c, 0, sizeof *c);
    c->core = core;
    c->client = client;
    c->now = ia_wall_s();
    c->attempt.client = client;
    c->attempt.client_id = mosquitto_client_id(client);
    set_address(c, ia_mosq_address(client));
}

void ia_connect_clear(struct ia_connect *c)
{
    X509_free(c->leaf);
    ia_device_free(c->device);
    ia_token_free(c->token);
    ia_presented_clear(&c->presented);
}

/* ---- again, and others */

enum ia_reason ia_connect_decide_again(struct ia_connect *c, const char *principal)
{
    enum ia_reason reason = decide_readiness(c);
    if (reason == IA_R_NONE)
        ia_connect_take_leaf(c);
    if (reason == IA_R_NONE && !admitted(c, IA_IP_GLOBAL, NULL))
        reason = IA_R_ADDRESS_DENIED;
    if (reason == IA_R_NONE && c->leaf)
        reason = decide_certificate(c);
    if (reason == IA_R_NONE)
        reason = decide_token(c);
    if (reason == IA_R_NONE && strcmp(c->token->principal, principal) != 0)
        reason = ia_connect_refuse(c, IA_R_TOKEN_CLAIMS, "re-authentication as another app");
    return reason;
}

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

enum ia_reason ia_connect_decide_other(struct ia_connect *c, const char *username)
{
    enum ia_reason reason = decide_readiness(c);
    if (reason == IA_R_NONE && !admitted(c, IA_IP_GLOBAL, NULL))
        reason = IA_R_ADDRESS_DENIED;
    if (reason == IA_R_NONE)
        reason = decide_ownership(c, username);
    if (reason == IA_R_NONE && (is_taken_name(c->core, username) || is_taken_name(c->core, c->attempt.client_id)))
        reason = ia_connect_refuse(c, IA_R_CLIENT_ID_MISMATCH, "that name is a device's or an app's");
    return reason;
}
