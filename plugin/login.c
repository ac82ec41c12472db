// SPDX-License-Identifier: ISC
#include "plugin/login.h"

#include "plugin/acl_check.h"
#include "plugin/admit.h"
#include "plugin/broker_state.h"
#include "plugin/http_api.h"
#include "plugin/mosquitto_compat.h"
#include "plugin/new_devices.h"
#include "plugin/owned_ids.h"
#include "plugin/replies.h"
#include "plugin/revalidate.h"
#include "plugin/shared_subscriptions.h"

#include "oauth/bearer.h"
#include "tls/psk.h"
#include "tls/resumption.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- sessions */

/* A client can repeat a packet that ends its session, so the reports of such ends are limited (caused_by_client). */
static void revalidate_after_packet(struct ia_core *core, struct ia_client *client,
                                    void (*revalidate)(struct ia_core *core, struct ia_client *client))
{
    if (client->disconnect_reason != IA_R_NONE)
        return;
    revalidate(core, client);
    client->caused_by_client = client->disconnect_reason != IA_R_NONE;
}

static void disconnect_after_packet(struct ia_core *core, struct ia_client *client, enum ia_reason reason)
{
    if (client->disconnect_reason != IA_R_NONE)
        return;
    ia_disconnect_mark(core, client, reason);
    client->caused_by_client = true;
}

static void report_connected(struct ia_core *core, const struct ia_client *s, const struct ia_shared_key *psk)
{
    struct ia_request *request = ia_request_new(IA_REQUEST_CONNECTED, NULL);
    if (request) {
        (void)snprintf(request->connected.device_id, sizeof request->connected.device_id, "%s", ia_client_username(s));
        request->connected.at_us = ia_wall_us();
        if (psk)
            (void)snprintf(request->connected.psk_identity, sizeof request->connected.psk_identity, "%s",
                           psk->identity);
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

/* Does Mosquitto keep something under this client's id after its connection?  2.1 reports that when the connection ends. */
static enum ia_client_keep session_keep(const struct mosquitto *client)
{
    if (ia_mosq_is_21() || !mosquitto_client_clean_session(client))
        return IA_KEEP_YES;
    return mosquitto_client_protocol_version(client) >= 5 ? IA_KEEP_MAYBE : IA_KEEP_NO;
}

/* A client of who was decided, which takes the facts over; NULL: out of memory. */
static struct ia_client *new_client(struct ia_login *login)
{
    struct ia_admission *a = &login->admission;
    struct ia_clients *clients = login->core->clients;
    struct ia_chain *chain = a->chain ? ia_chain_copy(a->chain) : NULL;
    struct ia_client *client = NULL;
    if (!a->chain || chain)
        client = ia_client_open(clients, login->client, a->token ? IA_CLIENT_APP : IA_CLIENT_DEVICE, a->client_id,
                                a->token ? a->token->principal : a->device_id);
    if (!client) {
        free(chain);
        return NULL;
    }
    const struct ia_client_facts facts = {.device = a->device,
                                          .chain = chain,
                                          .token = a->token,
                                          .ip = a->ip,
                                          .address = a->address,
                                          .keep = session_keep(login->client),
                                          .by_ext_auth = login->by_ext_auth};
    a->device = NULL;
    a->token = NULL;
    if (ia_client_set_facts(clients, client, &facts))
        return client;
    ia_client_drop(clients, client);
    return NULL;
}

/* The whole of a client's expiry and token is known. */
static void complete_client(const struct ia_login *login, struct ia_client *client)
{
    uint8_t hash[32];
    hash_token(login, hash);
    ia_client_set_token_hash(client, hash);
    ia_client_set_expiry(client, ia_revalidate_expiry(client, login->admission.token_expires_at));
}

/* The steps of a live session are run at once, so that no session begins that the next change would end. */
static enum ia_reason begin_session(struct ia_login *login, struct ia_client *client)
{
    if (mosquitto_set_username(login->client, ia_client_username(client)) != MOSQ_ERR_SUCCESS)
        return ia_login_refuse(login, IA_R_INTERNAL, "Mosquitto refused the username");
    ia_revalidate(login->core, client);
    return client->disconnect_reason;
}

static enum ia_reason open_session(struct ia_login *login)
{
    struct ia_clients *clients = login->core->clients;
    struct ia_client *client = new_client(login);
    if (!client) {
        login->audit.principal = NULL;
        return ia_login_refuse(login, IA_R_INTERNAL, IA_NOMEM_TEXT);
    }
    complete_client(login, client);
    enum ia_reason reason = begin_session(login, client);
    if (reason != IA_R_NONE) {
        /* The principal's text may be the token's, which the client owns.  Nothing may be derived from it later. */
        login->audit.principal = login->audit.app ? NULL : login->admission.device_id;
        memcpy(login->audit.detail, login->admission.detail, sizeof login->audit.detail);
        ia_client_drop(clients, client);
        return reason;
    }
    if (!mosquitto_client_clean_session(login->client))
        ia_shared_inherit(client);
    ia_client_accept(clients, client);
    revalidate_after_packet(login->core, client, ia_revalidate_shared);
    ia_owned_ids_note(login->core, client);
    ia_revalidate_note_expiry(login->core, client);
    login->audit.principal = ia_client_username(client);
    if (client->kind == IA_CLIENT_DEVICE)
        report_connected(login->core, client, login->admission.psk);
    return IA_R_NONE;
}

/* The TLS session of an accepted client may be resumed, none of one that is refused, and none of one whose address is known
 * from its full handshake alone.  On a WebSocket listener that concerns all clients; over TCP only those that come by a
 * balancer with TLS 1.2, which must not end the resumption of the others. */
static void settle_tls_session(const struct ia_login *login, enum ia_reason reason)
{
    const struct ia_admission *a = &login->admission;
    if (!a->leaf)
        return;
    if (login->address_unknown && ia_mosq_is_websocket(login->client))
        ia_resumption_exclude(a->leaf);
    if (!login->address_unknown && reason == IA_R_NONE)
        ia_resumption_keep(a->leaf);
    if (reason != IA_R_NONE && a->chain->n_links > 0)
        ia_resumption_drop(a->chain->links[0].fingerprint);
}

/* Decide, open the session, report. */
static enum ia_reason finish_login(struct ia_login *login)
{
    enum ia_reason reason = ia_login_decide(login);
    ia_new_devices_note_protocol(login->core, login->client, login->admission.leaf);
    if (reason == IA_R_NONE)
        reason = open_session(login);
    settle_tls_session(login, reason);
    if (reason == IA_R_NONE)
        ia_report_accepted(login->core, &login->audit);
    else
        ia_report_refused(login->core, &login->audit, reason);
    return reason;
}

/* ---- SIGHUP: authentication once more */

static bool same_psk(const struct ia_client *s, const struct mosquitto *client)
{
    uint8_t digest[IA_PSK_DIGEST_LEN];
    const char *identity = ia_tls_psk_taken(client);
    return identity && s->device && ia_psk_identity_digest(identity, digest) &&
           memcmp(digest, s->device->fingerprint, sizeof digest) == 0;
}

static bool same_certificate(const struct ia_client *s, struct mosquitto *client)
{
    if (!s->chain)
        return same_psk(s, client);
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
    struct ia_presented presented;
    ia_presented_init(&presented, password, strlen(password));
    SHA256((const unsigned char *)presented.text, presented.len, hash);
    return memcmp(hash, s->token_hash, sizeof hash) == 0;
}

/* Does the broker ask of a client that it has, connected or not?  2.1 can be asked; 2.0 does so between RELOAD and
 * TICK, when it serves no others but WebSockets. */
static bool is_brokers_own(const struct ia_core *core, const struct mosquitto *client)
{
    const char *id = mosquitto_client_id(client);
    if (ia_mosq_is_21())
        return id && ia_mosq_client(id) == client;
    return ia_broker_is_reloading(core) && !ia_mosq_is_websocket(client);
}

/* Is this the broker asking again for a client that it has?  Only the same credential of a live session, or the broker
 * itself, proves that; a name or the time of the question does not. */
static bool is_reauthentication(struct ia_core *core, struct mosquitto *client, const char *password)
{
    const char *id = mosquitto_client_id(client);
    const struct ia_client *s = ia_client_find(core->clients, client);
    if (s && s->live && (s->kind == IA_CLIENT_DEVICE || s->kind == IA_CLIENT_APP)) {
        if (!id || strcmp(id, s->client_id) != 0)
            return false;
        return s->kind == IA_CLIENT_APP ? same_token(s, password) : same_certificate(s, client);
    }
    if ((s && s->kind == IA_CLIENT_DEFERRED) || ia_acl_is_deferred_by_name(core, client))
        return false; /* the plugins and files that were asked first are asked again */
    return is_brokers_own(core, client);
}

/* ---- other clients */

/* Leave the client to the next plugin or the password file, unless it would take what belongs to a device or app. */
static int defer_client(struct ia_login *login)
{
    struct ia_core *core = login->core;
    const struct ia_client *known = ia_client_find(core->clients, login->client);
    if (!(known && known->live) && is_brokers_own(core, login->client))
        return MOSQ_ERR_PLUGIN_DEFER; /* SIGHUP, for a client that is not connected: no session of it begins */
    const char *username = mosquitto_client_username(login->client);
    enum ia_reason reason = ia_login_decide_deferred(login, username ? username : "");
    struct ia_client *client = reason == IA_R_NONE ? ia_client_open(core->clients, login->client, IA_CLIENT_DEFERRED,
                                                                    login->admission.client_id, NULL)
                                                   : NULL;
    if (client) {
        ia_client_set_address(client, &login->admission.ip, login->admission.address, session_keep(login->client));
        return MOSQ_ERR_PLUGIN_DEFER;
    }
    if (reason == IA_R_NONE)
        reason = ia_login_refuse(login, IA_R_INTERNAL, IA_NOMEM_TEXT);
    ia_report_refused(core, &login->audit, reason);
    return ia_mosq_refusal(login->client, reason);
}

/* ---- Mosquitto's questions */

static bool is_deferred_login(struct ia_login *login)
{
    const struct ia_admission *a = &login->admission;
    return login->core->options.defer_others && !a->presented && a->snapshot && a->client_id &&
           !ia_login_take_psk(login) && !ia_login_take_leaf(login);
}

/* A session that has ended under the very pointer of a new client is over, before anything is decided: its client id may
 * be the new client's. */
static void forget_ended_session(struct ia_core *core, const struct mosquitto *client)
{
    if (!is_brokers_own(core, client))
        ia_client_forget_ended(core->clients, client);
}

int ia_on_basic_auth(int event, void *event_data, void *userdata)
{
    (void)event;
    const struct mosquitto_evt_basic_auth *ev = event_data;
    struct ia_core *core = userdata;
    struct ia_login login;
    if (!ia_broker_is_own_thread(core))
        return ia_http_api_login(core, ev);
    ia_replies_apply(core);
    if (is_reauthentication(core, ev->client, ev->password))
        return MOSQ_ERR_SUCCESS;
    forget_ended_session(core, ev->client);
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
static int reauthenticate_app(struct ia_login *login, struct ia_client *client)
{
    enum ia_reason reason = ia_login_decide_again(login, client->token->principal);
    if (reason != IA_R_NONE) {
        login->audit.principal = ia_client_username(client);
        ia_report_refused(login->core, &login->audit, reason);
        disconnect_after_packet(login->core, client, reason);
        return MOSQ_ERR_SUCCESS;
    }
    uint8_t hash[32];
    hash_token(login, hash);
    ia_client_set_token(client, login->admission.token);
    ia_client_set_token_hash(client, hash);
    login->admission.token = NULL;
    revalidate_after_packet(login->core, client, ia_revalidate); /* sets its new expiry */
    ia_revalidate_note_expiry(login->core, client);
    return MOSQ_ERR_SUCCESS;
}

static bool is_live_app(const struct ia_client *s, const char *client_id)
{
    return s && s->live && s->kind == IA_CLIENT_APP && client_id && strcmp(s->client_id, client_id) == 0;
}

static bool is_our_method(const struct mosquitto_evt_extended_auth *ev)
{
    return ev->auth_method && strcmp(ev->auth_method, "OAUTHBEARER") == 0;
}

/* Another plugin may know the method.  With other_clients defer its client is left to others from here on: were it
 * unknown, nothing would be allowed to it.  A live client that authenticates again is what it was. */
static int defer_method(struct ia_core *core, struct mosquitto *client)
{
    const struct ia_client *known = ia_client_find(core->clients, client);
    struct ia_login login;
    if (!core->options.defer_others || !mosquitto_client_id(client) || (known && known->live))
        return MOSQ_ERR_PLUGIN_DEFER;
    forget_ended_session(core, client);
    ia_login_init(&login, core, client);
    int rc = defer_client(&login);
    ia_login_clear(&login);
    return rc;
}

int ia_on_ext_auth_start(int event, void *event_data, void *userdata)
{
    (void)event;
    const struct mosquitto_evt_extended_auth *ev = event_data;
    struct ia_core *core = userdata;
    struct ia_login login;
    const char *token = "";
    size_t len = 0;
    if (!ia_broker_is_own_thread(core))
        return ia_http_api_refuse(core);
    ia_replies_apply(core);
    if (!is_our_method(ev))
        return defer_method(core, ev->client);
    ia_login_init(&login, core, ev->client);
    login.by_ext_auth = true;
    (void)ia_bearer_token(ev->data_in, ev->data_in_len, &token, &len); /* stays empty: refused as a malformed token */
    ia_login_present(&login, token, len, true);
    int rc = MOSQ_ERR_SUCCESS;
    struct ia_client *s = ia_client_find(core->clients, ev->client);
    if (is_live_app(s, login.admission.client_id)) {
        rc = reauthenticate_app(&login, s);
    } else {
        enum ia_reason reason = finish_login(&login);
        rc = reason == IA_R_NONE ? MOSQ_ERR_SUCCESS : ia_mosq_ext_refusal(reason);
    }
    ia_login_clear(&login);
    return rc;
}

/* OAUTHBEARER has one step: there is nothing to go on with.  Mosquitto calls this for a live client too, on an AUTH
 * packet without content; refusing that one would make it free the client id of a connection that it keeps (use after
 * free).  So the answer is to continue, and TICK disconnects it. */
int ia_on_ext_auth_continue(int event, void *event_data, void *userdata)
{
    (void)event;
    const struct mosquitto_evt_extended_auth *ev = event_data;
    struct ia_core *core = userdata;
    if (!ia_broker_is_own_thread(core))
        return ia_http_api_refuse(core);
    struct ia_client *client = ia_client_find(core->clients, ev->client);
    if (client && client->live && client->kind != IA_CLIENT_DEFERRED) {
        disconnect_after_packet(core, client, IA_R_TOKEN_MALFORMED);
        return MOSQ_ERR_AUTH_CONTINUE;
    }
    return is_our_method(ev) ? MOSQ_ERR_AUTH : MOSQ_ERR_PLUGIN_DEFER;
}
