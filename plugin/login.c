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

static void tell_connected(struct ia_core *core, const struct ia_session *s)
{
    struct ia_request *request = ia_request_new(IA_REQUEST_CONNECTED, NULL);
    if (request) {
        (void)snprintf(request->connected.device_id, sizeof request->connected.device_id, "%s", ia_session_username(s));
        request->connected.at_us = ia_wall_us();
    }
    (void)ia_worker_ask(core->worker, request);
    struct ia_device *kept = ia_device_cache_find(core->devices, s->device->fingerprint);
    if (kept)
        kept->refusal = kept->refusal_unproven = IA_R_NONE;
}

static void hash_token(const struct ia_connect *c, uint8_t out[32])
{
    memset(out, 0, 32);
    if (c->has_token)
        SHA256((const unsigned char *)c->presented.text, c->presented.len, out);
}

/* May Mosquitto keep something under this client's id when it is gone?  How long an MQTT 5 session lasts a plugin
 * cannot see. */
static bool may_persist(const struct mosquitto *client)
{
    return mosquitto_client_protocol_version(client) >= 5 || !mosquitto_client_clean_session(client);
}

static void take_address(const struct ia_connect *c, struct ia_session *s)
{
    s->ip = c->ip;
    (void)snprintf(s->address, sizeof s->address, "%s", c->attempt.address ? c->attempt.address : "");
}

/* Give what was decided to the session. */
static bool fill_session(struct ia_connect *c, struct ia_session *s)
{
    s->token = c->token;
    c->token = NULL;
    take_address(c, s);
    s->may_persist = may_persist(c->client);
    s->ends = s->token ? s->token->expires_at : INT64_MAX;
    if (s->chain && s->chain->not_after < s->ends)
        s->ends = s->chain->not_after;
    s->judged = c->core->snapshot->generation;
    s->by_ext_auth = c->by_ext_auth;
    hash_token(c, s->token_hash);
    struct ia_device *device = c->device;
    c->device = NULL;
    return !device || ia_session_set_device(c->core->sessions, s, device);
}

static struct ia_chain *copy_chain(const struct ia_connect *c)
{
    size_t size = offsetof(struct ia_chain, links) + c->chain.n_links * sizeof c->chain.links[0];
    struct ia_chain *copy = malloc(size); /* a quarter of the whole, for most */
    if (copy)
        memcpy(copy, &c->chain, size);
    return copy;
}

static enum ia_reason open_session(struct ia_connect *c)
{
    struct ia_chain *chain = c->leaf ? copy_chain(c) : NULL;
    if (c->leaf && !chain)
        return ia_connect_refuse(c, IA_R_INTERNAL, IA_NOMEM_TEXT);
    const char *username = c->token ? c->token->principal : c->device_id;
    struct ia_session *s = ia_session_open(c->core->sessions, c->client, c->token ? IA_SESSION_APP : IA_SESSION_DEVICE,
                                           c->attempt.client_id, username);
    if (!s) {
        free(chain);
        return ia_connect_refuse(c, IA_R_INTERNAL, IA_NOMEM_TEXT);
    }
    s->chain = chain;
    s->ca_id = chain ? chain->ca_id : 0;
    enum ia_reason reason = fill_session(c, s) ? IA_R_NONE : ia_connect_refuse(c, IA_R_INTERNAL, IA_NOMEM_TEXT);
    if (reason == IA_R_NONE && mosquitto_set_username(c->client, ia_session_username(s)) != MOSQ_ERR_SUCCESS)
        reason = ia_connect_refuse(c, IA_R_INTERNAL, "Mosquitto refused the username");
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

/* Decide, open the session, tell. */
static enum ia_reason finish(struct ia_connect *c)
{
    enum ia_reason reason =
        c->attempt.client_id ? ia_connect_decide(c) : ia_connect_refuse(c, IA_R_CLIENT_ID_MISMATCH, "no client id");
    if (reason == IA_R_NONE)
        reason = open_session(c);
    if (reason == IA_R_NONE)
        ia_report_accepted(c->core, &c->attempt);
    else
        ia_report_refused(c->core, &c->attempt, reason);
    return reason;
}

/* ---- SIGHUP: authentication once more */

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
    const struct ia_session *s = ia_session_find(core->sessions, client);
    if (s && s->live && (s->kind == IA_SESSION_DEVICE || s->kind == IA_SESSION_APP)) {
        if (!id || strcmp(id, s->client_id) != 0)
            return false;
        return s->kind == IA_SESSION_APP ? same_token(s, password) : same_certificate(s, client);
    }
    if (s && s->kind == IA_SESSION_HANDED_ON)
        return false; /* those who were asked first are asked again */
    return is_brokers_own(core, client);
}

/* ---- other clients */

/* Leave the client to the next plugin or the password file, unless it would take over what belongs to a device or
 * app. */
static int hand_on(struct ia_connect *c)
{
    const struct ia_session *ended = ia_session_find(c->core->sessions, c->client);
    bool is_its = ended && !ended->live && ended->kind == IA_SESSION_HANDED_ON && ia_session_is_of(ended, c->client);
    if (is_its && is_brokers_own(c->core, c->client))
        return MOSQ_ERR_PLUGIN_DEFER; /* SIGHUP, for a client that is not connected: no session of it begins */
    const char *username = mosquitto_client_username(c->client);
    username = username ? username : "";
    enum ia_reason reason = ia_connect_decide_other(c, username);
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

/* ---- Mosquitto's questions */

int ia_on_basic_auth(int event, void *event_data, void *userdata)
{
    (void)event;
    const struct mosquitto_evt_basic_auth *ev = event_data;
    struct ia_core *core = userdata;
    struct ia_connect c;
    ia_apply(core);
    if (is_reauthentication(core, ev->client, ev->password))
        return MOSQ_ERR_SUCCESS;
    ia_connect_init(&c, core, ev->client);
    if (ev->password)
        ia_token_cache_classify(core->tokens, ev->password, strlen(ev->password), &c.presented);
    c.has_token = c.presented.kind == IA_PRESENTED_TOKEN;
    if (core->options.defer_others && !c.has_token && core->snapshot && c.attempt.client_id) {
        ia_connect_take_leaf(&c);
        if (!c.leaf) {
            ia_presented_clear(&c.presented);
            return hand_on(&c);
        }
        X509_free(c.leaf);
        c.leaf = NULL;
    }
    enum ia_reason reason = finish(&c);
    ia_connect_clear(&c);
    return reason == IA_R_NONE ? MOSQ_ERR_SUCCESS : ia_mosq_refusal(ev->client, reason);
}

/* Re-authentication of a live session: the same issuer and app, or it ends.  Answered with SUCCESS in any case,
 * because 2.0 would send a second CONNACK; TICK kicks. */
static int reauthenticate(struct ia_connect *c, struct ia_session *s)
{
    enum ia_reason reason = ia_connect_decide_again(c, s->token->principal);
    if (reason != IA_R_NONE) {
        c->attempt.principal = ia_session_username(s);
        ia_report_refused(c->core, &c->attempt, reason);
        ia_condemn(c->core, s, reason);
        return MOSQ_ERR_SUCCESS;
    }
    ia_token_free(s->token);
    s->token = c->token;
    c->token = NULL;
    s->rights.generation = 0;
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
    struct ia_connect c;
    if (!ev->auth_method || strcmp(ev->auth_method, "OAUTHBEARER") != 0)
        return MOSQ_ERR_PLUGIN_DEFER;
    ia_apply(core);
    ia_connect_init(&c, core, ev->client);
    c.by_ext_auth = true;
    c.attempt.app = true;
    struct ia_session *s = ia_session_find(core->sessions, ev->client);
    const char *token = "";
    size_t token_len = 0; /* stays empty for data that is not in form: refused as a malformed token */
    (void)ia_bearer_token(ev->data_in, ev->data_in_len, &token, &token_len);
    ia_token_cache_classify(core->tokens, token, token_len, &c.presented);
    c.has_token = true;
    int rc = MOSQ_ERR_SUCCESS;
    if (s && s->live && s->kind == IA_SESSION_APP && c.attempt.client_id &&
        strcmp(s->client_id, c.attempt.client_id) == 0) {
        rc = reauthenticate(&c, s);
    } else {
        enum ia_reason reason = finish(&c);
        rc = reason == IA_R_NONE ? MOSQ_ERR_SUCCESS : ia_mosq_ext_refusal(reason);
    }
    ia_connect_clear(&c);
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
