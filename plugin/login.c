// SPDX-License-Identifier: ISC
/* BASIC_AUTH and extended authentication: Mosquitto's questions, and the sessions that begin with the answers. */
#include "plugin/admit.h"
#include "plugin/mosquitto_compat.h"

#include "oauth/bearer.h"

#include <openssl/sha.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- sessions */

static void tell_connected(struct ia_core *core, const struct ia_client *s)
{
    struct ia_request *request = ia_request_new(IA_REQUEST_CONNECTED, NULL);
    if (request) {
        (void)snprintf(request->name, sizeof request->name, "%s", ia_client_username(s));
        request->at_us = ia_wall_us();
    }
    (void)ia_worker_ask(core->worker, request);
    struct ia_device *kept = ia_device_cache_find(core->devices, s->device->fingerprint);
    if (kept)
        kept->refusal = kept->refusal_unproven = IA_R_NONE;
}

static void hash_token(const struct ia_login *c, uint8_t out[32])
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

static void take_address(const struct ia_login *c, struct ia_client *s)
{
    s->ip = c->ip;
    (void)snprintf(s->address, sizeof s->address, "%s", c->audit.address ? c->audit.address : "");
}

/* Give what was decided to the session. */
static bool fill_session(struct ia_login *c, struct ia_client *s)
{
    s->token = c->token;
    c->token = NULL;
    take_address(c, s);
    s->may_persist = may_persist(c->client);
    s->expires_at = s->token ? s->token->ends : INT64_MAX;
    if (s->chain && s->chain->not_after < s->expires_at)
        s->expires_at = s->chain->not_after;
    s->validated_generation = c->core->snapshot->generation;
    s->by_ext_auth = c->by_ext_auth;
    hash_token(c, s->token_hash);
    struct ia_device *device = c->device;
    c->device = NULL;
    return !device || ia_client_set_device(c->core->clients, s, device);
}

static struct ia_chain *copy_chain(const struct ia_login *c)
{
    size_t size = offsetof(struct ia_chain, links) + c->chain.n_links * sizeof c->chain.links[0];
    struct ia_chain *copy = malloc(size); /* a quarter of the whole, for most */
    if (copy)
        memcpy(copy, &c->chain, size);
    return copy;
}

static enum ia_reason open_session(struct ia_login *c)
{
    struct ia_chain *chain = c->leaf ? copy_chain(c) : NULL;
    if (c->leaf && !chain)
        return ia_login_refuse(c, IA_R_INTERNAL, "out of memory");
    const char *username = c->token ? c->token->principal : c->device_id;
    struct ia_client *s = ia_client_open(c->core->clients, c->client, c->token ? IA_CLIENT_APP : IA_CLIENT_DEVICE,
                                         c->audit.client_id, username);
    if (!s) {
        free(chain);
        return ia_login_refuse(c, IA_R_INTERNAL, "out of memory");
    }
    s->chain = chain;
    s->ca_id = chain ? chain->ca_id : 0;
    enum ia_reason reason = fill_session(c, s) ? IA_R_NONE : ia_login_refuse(c, IA_R_INTERNAL, "out of memory");
    if (reason == IA_R_NONE && mosquitto_set_username(c->client, ia_client_username(s)) != MOSQ_ERR_SUCCESS)
        reason = ia_login_refuse(c, IA_R_INTERNAL, "Mosquitto refused the username");
    if (reason == IA_R_NONE) {
        ia_revalidate(c->core, s); /* waiting for the registry may have let things change that were judged before it */
        reason = s->disconnect_reason;
    }
    if (reason != IA_R_NONE) {
        c->audit.device = NULL;
        c->audit.principal = c->audit.app ? NULL : c->device_id;
        ia_client_drop(c->core->clients, s); /* it never was: nothing may be derived from it later */
        return reason;
    }
    ia_revalidate_note_expiry(c->core, s);
    c->audit.principal = ia_client_username(s);
    if (s->kind == IA_CLIENT_DEVICE)
        tell_connected(c->core, s);
    return IA_R_NONE;
}

/* Decide, open the session, tell. */
static enum ia_reason finish(struct ia_login *c)
{
    enum ia_reason reason =
        c->audit.client_id ? ia_login_decide(c) : ia_login_refuse(c, IA_R_CLIENT_ID_MISMATCH, "no client id");
    if (reason == IA_R_NONE)
        reason = open_session(c);
    if (reason == IA_R_NONE)
        ia_report_accepted(c->core, &c->audit);
    else
        ia_report_refused(c->core, &c->audit, reason);
    return reason;
}

/* ---- SIGHUP: authentication once more */

static bool same_certificate(const struct ia_client *s, struct mosquitto *client)
{
    X509 *leaf = mosquitto_client_certificate(client);
    bool same = ia_client_has_certificate(s, leaf);
    X509_free(leaf);
    return same;
}

static bool same_token(const struct ia_client *s, const char *password)
{
    uint8_t hash[32];
    if (s->by_ext_auth)
        return true; /* its token came in an AUTH packet and is not passed on again */
    if (!password)
        return false;
    SHA256((const unsigned char *)password, strlen(password), hash);
    return memcmp(hash, s->token_hash, sizeof hash) == 0;
}

/* Does the broker ask of a client that it has, connected or not?  2.1 can be asked; 2.0 does so between RELOAD and
 * TICK, when it serves no others but WebSockets. */
static bool is_brokers_own(const struct ia_core *core, const struct mosquitto *client)
{
    const char *id = mosquitto_client_id(client);
    if (ia_mosq_is_21())
        return id && ia_mosq_client(id) == client;
    return core->reloading && !ia_mosq_is_websocket(client);
}

/* Is this the broker asking again for a client that it has?  Only a live session with the credential that it came with
 * says so, or the broker itself; a name or a moment proves nothing. */
static bool is_reauthentication(struct ia_core *core, struct mosquitto *client, const char *password)
{
    const char *id = mosquitto_client_id(client);
    const struct ia_client *s = ia_client_find(core->clients, client);
    if (s && s->live && (s->kind == IA_CLIENT_DEVICE || s->kind == IA_CLIENT_APP)) {
        if (!id || strcmp(id, s->client_id) != 0)
            return false;
        return s->kind == IA_CLIENT_APP ? same_token(s, password) : same_certificate(s, client);
    }
    if (s && s->kind == IA_CLIENT_DEFERRED)
        return false; /* those who were asked first are asked again */
    return is_brokers_own(core, client);
}

/* ---- other clients */

/* Leave the client to the next plugin or the password file, unless it would take over what belongs to a device or
 * app. */
static int hand_on(struct ia_login *c)
{
    const struct ia_client *ended = ia_client_find(c->core->clients, c->client);
    bool is_its = ended && !ended->live && ended->kind == IA_CLIENT_DEFERRED && ia_client_is_of(ended, c->client);
    if (is_its && is_brokers_own(c->core, c->client))
        return MOSQ_ERR_PLUGIN_DEFER; /* SIGHUP, for a client that is not connected: no session of it begins */
    const char *username = mosquitto_client_username(c->client);
    username = username ? username : "";
    enum ia_reason reason = ia_login_decide_other(c, username);
    struct ia_client *s = reason == IA_R_NONE ? ia_client_open(c->core->clients, c->client, IA_CLIENT_DEFERRED,
                                                               c->audit.client_id, username)
                                              : NULL;
    if (s) {
        s->may_persist = may_persist(c->client);
        take_address(c, s);
        return MOSQ_ERR_PLUGIN_DEFER;
    }
    if (reason == IA_R_NONE)
        reason = IA_R_INTERNAL;
    ia_report_refused(c->core, &c->audit, reason);
    return ia_mosq_refusal(c->client, reason);
}

/* ---- Mosquitto's questions */

int ia_on_basic_auth(int event, void *event_data, void *userdata)
{
    (void)event;
    const struct mosquitto_evt_basic_auth *ev = event_data;
    struct ia_core *core = userdata;
    struct ia_login c;
    ia_replies_apply(core);
    if (is_reauthentication(core, ev->client, ev->password))
        return MOSQ_ERR_SUCCESS;
    ia_login_init(&c, core, ev->client);
    if (ev->password && ia_token_looks_like(ev->password, strlen(ev->password))) {
        c.token_text = ev->password;
        c.token_len = strlen(ev->password);
    }
    if (core->options.defer_others && !c.token_text && core->snapshot && c.audit.client_id) {
        ia_login_take_leaf(&c);
        if (!c.leaf)
            return hand_on(&c);
        X509_free(c.leaf);
        c.leaf = NULL;
    }
    enum ia_reason reason = finish(&c);
    ia_login_clear(&c);
    return reason == IA_R_NONE ? MOSQ_ERR_SUCCESS : ia_mosq_refusal(ev->client, reason);
}

/* Re-authentication of a live session: the same issuer and app, or it ends.  Answered with SUCCESS in any case,
 * because 2.0 would send a second CONNACK; TICK kicks. */
static int reauthenticate(struct ia_login *c, struct ia_client *s)
{
    enum ia_reason reason = ia_login_decide_again(c, s->token->principal);
    if (reason != IA_R_NONE) {
        c->audit.principal = ia_client_username(s);
        ia_report_refused(c->core, &c->audit, reason);
        ia_disconnect_mark(c->core, s, reason);
        return MOSQ_ERR_SUCCESS;
    }
    ia_token_free(s->token);
    s->token = c->token;
    c->token = NULL;
    s->rights.generation = 0;
    hash_token(c, s->token_hash);
    ia_revalidate(c->core, s); /* sets its new end */
    ia_revalidate_note_expiry(c->core, s);
    return MOSQ_ERR_SUCCESS;
}

int ia_on_ext_auth_start(int event, void *event_data, void *userdata)
{
    (void)event;
    const struct mosquitto_evt_extended_auth *ev = event_data;
    struct ia_core *core = userdata;
    struct ia_login c;
    if (!ev->auth_method || strcmp(ev->auth_method, "OAUTHBEARER") != 0)
        return MOSQ_ERR_PLUGIN_DEFER;
    ia_replies_apply(core);
    ia_login_init(&c, core, ev->client);
    c.by_ext_auth = true;
    c.audit.app = true;
    struct ia_client *s = ia_client_find(core->clients, ev->client);
    if (!ia_bearer_token(ev->data_in, ev->data_in_len, &c.token_text, &c.token_len)) {
        c.token_text = ""; /* decided as the malformed token that it is */
        c.token_len = 0;
    }
    int rc = MOSQ_ERR_SUCCESS;
    if (s && s->live && s->kind == IA_CLIENT_APP && c.audit.client_id && strcmp(s->client_id, c.audit.client_id) == 0) {
        rc = reauthenticate(&c, s);
    } else {
        enum ia_reason reason = finish(&c);
        rc = reason == IA_R_NONE ? MOSQ_ERR_SUCCESS : ia_mosq_ext_refusal(reason);
    }
    ia_login_clear(&c);
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
    struct ia_client *s = ia_client_find(core->clients, ev->client);
    if (s && s->live) {
        ia_disconnect_mark(core, s, IA_R_TOKEN_MALFORMED);
        return MOSQ_ERR_AUTH_CONTINUE;
    }
    bool ours = ev->auth_method && strcmp(ev->auth_method, "OAUTHBEARER") == 0;
    return ours ? MOSQ_ERR_AUTH : MOSQ_ERR_PLUGIN_DEFER;
}
