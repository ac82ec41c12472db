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

static void report_connected(struct ia_core *core, const struct ia_client *s)
{
    struct ia_request *request = ia_request_new(IA_REQUEST_CONNECTED, NULL);
    if (request) {
        (void)snprintf(request->connected.device_id, sizeof request->connected.device_id, "%s", ia_client_username(s));
        request->connected.at_us = ia_wall_us();
    }
    (void)ia_worker_ask(core->worker, request);
    struct ia_device *kept = ia_device_cache_find(core->devices, s->device->fingerprint);
    if (kept)
        kept->refusal = kept->refusal_unproven = IA_R_NONE;
}

static void hash_token(const struct ia_login *login, uint8_t out[32])
{
    const struct ia_admission *a = &login->admission;
    memset(out, 0, 32);
    if (a->presented)
        SHA256((const unsigned char *)a->presented->text, a->presented->len, out);
}

/* May Mosquitto keep something under this client's id when it is gone?  How long an MQTT 5 session lasts a plugin
 * cannot see. */
static bool may_persist(const struct mosquitto *client)
{
    return mosquitto_client_protocol_version(client) >= 5 || !mosquitto_client_clean_session(client);
}

static void take_address(const struct ia_login *login, struct ia_client *s)
{
    const struct ia_admission *a = &login->admission;
    s->ip = a->ip;
    (void)snprintf(s->address, sizeof s->address, "%s", a->address ? a->address : "");
}

/* Give what was decided to the session. */
static bool fill_session(struct ia_login *login, struct ia_client *s)
{
    struct ia_admission *a = &login->admission;
    s->token = a->token;
    a->token = NULL;
    take_address(login, s);
    s->may_persist = may_persist(login->client);
    s->expires_at = ia_revalidate_expiry(s, a->token_expires_at);
    s->validated_generation = login->core->snapshot->generation;
    s->by_ext_auth = login->by_ext_auth;
    hash_token(login, s->token_hash);
    struct ia_device *device = a->device;
    a->device = NULL;
    return !device || ia_client_set_device(login->core->clients, s, device);
}

static struct ia_chain *copy_chain(const struct ia_chain *chain)
{
    size_t size = offsetof(struct ia_chain, links) + chain->n_links * sizeof chain->links[0];
    struct ia_chain *copy = malloc(size); /* a quarter of the whole, for most */
    if (copy)
        memcpy(copy, chain, size);
    return copy;
}

/* A session of who was decided, not filled yet; NULL: out of memory. */
static struct ia_client *new_session(struct ia_login *login)
{
    const struct ia_admission *a = &login->admission;
    struct ia_chain *chain = a->chain ? copy_chain(a->chain) : NULL;
    if (a->chain && !chain)
        return NULL;
    struct ia_client *s =
        ia_client_open(login->core->clients, login->client, a->token ? IA_CLIENT_APP : IA_CLIENT_DEVICE, a->client_id,
                       a->token ? a->token->principal : a->device_id);
    if (!s) {
        free(chain);
        return NULL;
    }
    s->chain = chain;
    s->ca_id = chain ? chain->ca_id : 0;
    return s;
}

/* Waiting for the registry may have let things change that were checked before it: the steps of a live session are run
 * at once. */
static enum ia_reason begin_session(struct ia_login *login, struct ia_client *s)
{
    if (!fill_session(login, s))
        return ia_login_refuse(login, IA_R_INTERNAL, IA_NOMEM_TEXT);
    if (mosquitto_set_username(login->client, ia_client_username(s)) != MOSQ_ERR_SUCCESS)
        return ia_login_refuse(login, IA_R_INTERNAL, "Mosquitto refused the username");
    ia_revalidate(login->core, s);
    return s->disconnect_reason;
}

static enum ia_reason open_session(struct ia_login *login)
{
    struct ia_client *s = new_session(login);
    if (!s)
        return ia_login_refuse(login, IA_R_INTERNAL, IA_NOMEM_TEXT);
    enum ia_reason reason = begin_session(login, s);
    if (reason != IA_R_NONE) {
        /* The texts may be those of the token that the session owns.  Nothing may be derived from it later. */
        login->audit.principal = login->audit.app ? NULL : login->admission.device_id;
        memcpy(login->audit.detail, login->admission.detail, sizeof login->audit.detail);
        ia_client_drop(login->core->clients, s);
        return reason;
    }
    ia_revalidate_note_expiry(login->core, s);
    login->audit.principal = ia_client_username(s);
    if (s->kind == IA_CLIENT_DEVICE)
        report_connected(login->core, s);
    return IA_R_NONE;
}

/* Decide, open the session, report. */
static enum ia_reason finish_login(struct ia_login *login)
{
    enum ia_reason reason = ia_login_decide(login);
    if (reason == IA_R_NONE)
        reason = open_session(login);
    if (reason == IA_R_NONE)
        ia_report_accepted(login->core, &login->audit);
    else
        ia_report_refused(login->core, &login->audit, reason);
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
static int defer_client(struct ia_login *login)
{
    struct ia_core *core = login->core;
    const struct ia_client *ended = ia_client_find(core->clients, login->client);
    bool is_its = ended && !ended->live && ended->kind == IA_CLIENT_DEFERRED && ia_client_is_of(ended, login->client);
    if (is_its && is_brokers_own(core, login->client))
        return MOSQ_ERR_PLUGIN_DEFER; /* SIGHUP, for a client that is not connected: no session of it begins */
    const char *username = mosquitto_client_username(login->client);
    username = username ? username : "";
    enum ia_reason reason = ia_login_decide_deferred(login, username);
    struct ia_client *s = reason == IA_R_NONE ? ia_client_open(core->clients, login->client, IA_CLIENT_DEFERRED,
                                                               login->admission.client_id, username)
                                              : NULL;
    if (s) {
        s->may_persist = may_persist(login->client);
        take_address(login, s);
        return MOSQ_ERR_PLUGIN_DEFER;
    }
    if (reason == IA_R_NONE)
        reason = IA_R_INTERNAL;
    ia_report_refused(core, &login->audit, reason);
    return ia_mosq_refusal(login->client, reason);
}

/* ---- Mosquitto's questions */

static bool is_deferred_login(struct ia_login *login)
{
    const struct ia_admission *a = &login->admission;
    return login->core->options.defer_others && !a->presented && a->snapshot && a->client_id &&
           !ia_login_take_leaf(login);
}

int ia_on_basic_auth(int event, void *event_data, void *userdata)
{
    (void)event;
    const struct mosquitto_evt_basic_auth *ev = event_data;
    struct ia_core *core = userdata;
    struct ia_login login;
    ia_replies_apply(core);
    if (is_reauthentication(core, ev->client, ev->password))
        return MOSQ_ERR_SUCCESS;
    ia_login_init(&login, core, ev->client);
    if (ev->password)
        ia_login_present(&login, ev->password, strlen(ev->password), false);
    if (is_deferred_login(&login)) {
        int rc = defer_client(&login);
        ia_login_clear(&login);
        return rc;
    }
    enum ia_reason reason = finish_login(&login);
    ia_login_clear(&login);
    return reason == IA_R_NONE ? MOSQ_ERR_SUCCESS : ia_mosq_refusal(ev->client, reason);
}

/* Re-authentication of a live session: the same issuer and app, or it ends.  Answered with SUCCESS in any case,
 * because 2.0 would send a second CONNACK; TICK disconnects. */
static int reauthenticate(struct ia_login *login, struct ia_client *s)
{
    enum ia_reason reason = ia_login_decide_again(login, s->token->principal);
    if (reason != IA_R_NONE) {
        login->audit.principal = ia_client_username(s);
        ia_report_refused(login->core, &login->audit, reason);
        ia_disconnect_mark(login->core, s, reason);
        return MOSQ_ERR_SUCCESS;
    }
    ia_token_free(s->token);
    s->token = login->admission.token;
    login->admission.token = NULL;
    s->rights.generation = 0;
    hash_token(login, s->token_hash);
    ia_revalidate(login->core, s); /* sets its new end */
    ia_revalidate_note_expiry(login->core, s);
    return MOSQ_ERR_SUCCESS;
}

static bool is_live_app(const struct ia_client *s, const char *client_id)
{
    return s && s->live && s->kind == IA_CLIENT_APP && client_id && strcmp(s->client_id, client_id) == 0;
}

int ia_on_ext_auth_start(int event, void *event_data, void *userdata)
{
    (void)event;
    const struct mosquitto_evt_extended_auth *ev = event_data;
    struct ia_core *core = userdata;
    struct ia_login login;
    const char *token = "";
    size_t len = 0;
    if (!ev->auth_method || strcmp(ev->auth_method, "OAUTHBEARER") != 0)
        return MOSQ_ERR_PLUGIN_DEFER;
    ia_replies_apply(core);
    ia_login_init(&login, core, ev->client);
    login.by_ext_auth = true;
    (void)ia_bearer_token(ev->data_in, ev->data_in_len, &token, &len); /* stays empty: refused as a malformed token */
    ia_login_present(&login, token, len, true);
    int rc = MOSQ_ERR_SUCCESS;
    struct ia_client *s = ia_client_find(core->clients, ev->client);
    if (is_live_app(s, login.admission.client_id)) {
        rc = reauthenticate(&login, s);
    } else {
        enum ia_reason reason = finish_login(&login);
        rc = reason == IA_R_NONE ? MOSQ_ERR_SUCCESS : ia_mosq_ext_refusal(reason);
    }
    ia_login_clear(&login);
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
