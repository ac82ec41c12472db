// SPDX-License-Identifier: ISC
#include "plugin/admit.h"

#include "plugin/broker_state.h"
#include "plugin/database_state.h"
#include "plugin/device_requests.h"
#include "plugin/key_requests.h"
#include "plugin/log.h"
#include "plugin/mosquitto_compat.h"
#include "plugin/owned_ids.h"
#include "plugin/psk_keys.h"
#include "plugin/resync.h"
#include "tls/gate.h"
#include "tls/proxy.h"
#include "tls/psk.h"

#include "common/principal.h"

#include <stdio.h>
#include <string.h>

enum ia_reason ia_login_refuse(struct ia_login *login, enum ia_reason reason, const char *detail)
{
    return ia_admission_refuse(&login->admission, reason, detail);
}

static void set_login_address(struct ia_login *login, const char *address)
{
    login->admission.address = address;
    login->admission.ip = ia_ip_parse(address ? address : "");
}

/* Behind a balancer it is what the balancer says; elsewhere what Mosquitto says, as far as that can be relied on. */
static const char *client_address(const struct mosquitto *client)
{
    X509 *leaf = mosquitto_client_certificate(client);
    const char *socket = mosquitto_client_address(client);
    const char *address = ia_proxy_client_address(client, leaf, ia_mosq_is_websocket(client), socket);
    X509_free(leaf);
    return address == socket ? ia_mosq_address(client) : address;
}

/* ---- the certificate */

/* Mosquitto is linked against another OpenSSL: no listener was seen, so the chain is not known.  The leaf alone is
 * verified, which admits devices directly below a registered CA. */
static bool verifies_leaf_alone(struct ia_core *core)
{
    /* With a list of ports it cannot be known whether this client came by one of them. */
    if (core->options.gate.mode != IA_GATE_ALL || ia_gate_has_listeners())
        return false;
    static bool logged;
    if (!logged)
        ia_log(MOSQ_LOG_WARNING, "no TLS listener of Mosquitto was seen (another OpenSSL?): certificates are verified "
                                 "without their intermediates, after the handshake");
    logged = true;
    return true;
}

/* Take over what the gate decided; false: this certificate is not a credential here. */
static bool take_chain(struct ia_login *login, X509 *leaf)
{
    struct ia_admission *a = &login->admission;
    if (ia_gate_result(leaf, &login->chain, &a->chain_generation) == IA_LEAF_VERIFIED)
        return true;
    if (!verifies_leaf_alone(login->core))
        return false;
    ia_chain_verify(a->snapshot->cas, leaf, NULL, a->now, &login->chain);
    a->chain_generation = a->snapshot->ca_generation;
    return true;
}

/* Takes the reference over. */
static bool take_leaf(struct ia_login *login, X509 *leaf)
{
    struct ia_admission *a = &login->admission;
    if (!take_chain(login, leaf)) {
        X509_free(leaf);
        return false;
    }
    a->leaf = leaf;
    a->chain = &login->chain;
    if (!a->address)
        set_login_address(login, ia_gate_address(leaf));
    return true;
}

bool ia_login_take_leaf(struct ia_login *login)
{
    const struct ia_admission *a = &login->admission;
    X509 *leaf = a->leaf ? NULL : mosquitto_client_certificate(login->client);
    return leaf ? take_leaf(login, leaf) : a->leaf != NULL;
}

/* ---- the pre-shared key */

/* `replaced`: the client proved a key that is no longer the key of the identity.  The key still counts as a credential,
 * which is refused: a client without any credential could be left to other plugins. */
static bool use_psk(struct ia_login *login, const char *identity, bool replaced)
{
    struct ia_core *core = login->core;
    struct ia_admission *a = &login->admission;
    if (!ia_psk_identity_digest(identity, login->psk_digest))
        return false;
    login->psk = (struct ia_shared_key){.identity = identity, .digest = login->psk_digest};
    login->psk.device_id = ia_psk_keys_device(core, identity, &login->psk.why);
    if (replaced && !login->psk.why)
        login->psk.why = "the key has been replaced since the handshake";
    struct ia_device *device = ia_resync_find_device(core, login->psk_digest);
    a->psk = &login->psk;
    a->device = device ? ia_device_ref(device) : NULL;
    return true;
}

/* Behind a balancer only the TLS connection knows the client's address. */
bool ia_login_take_psk(struct ia_login *login)
{
    SSL *ssl = NULL;
    bool replaced = true;
    struct ia_admission *a = &login->admission;
    const char *identity = a->psk ? NULL : ia_tls_psk_take(login->client, &ssl, &replaced);
    if (!identity)
        return a->psk != NULL;
    ia_gate_peer_address(ssl, login->psk_address);
    set_login_address(login, login->psk_address[0] ? login->psk_address : NULL);
    return use_psk(login, identity, replaced);
}

/* ---- client ids */

static bool is_other_name(const char *name, const char *username)
{
    return name && strcmp(name, username) != 0;
}

#define RELEASE_HINT "; iot_auth.release_client_id frees it"

/* What this memory says: an accepted login owns its client id while it is live, and after it for as long as Mosquitto
 * may keep the session. */
static bool is_owned_by_other(const struct ia_login *login, const char *client_id, const char *username)
{
    const struct ia_clients *clients = login->core->clients;
    const struct ia_client *owner = ia_client_owner(clients, client_id);
    if (owner && owner->live)
        return is_other_name(ia_client_username(owner), username);
    if (ia_mosq_is_21())
        return owner && ia_mosq_client(client_id) && is_other_name(ia_client_username(owner), username);
    if (owner && owner->keep != IA_KEEP_NO)
        return is_other_name(ia_client_username(owner), username);
    return ia_clients_kept_conflicts(clients, client_id, username);
}

/* May the session of this context, which is not the asking client's, be taken over by any client: is it of one that
 * was left to other plugins?  Clients of that kind take ids from each other as Mosquitto lets them. */
static bool is_free_for_all(const struct ia_login *login, const struct mosquitto *kept)
{
    struct ia_core *core = login->core;
    const struct ia_client *client = ia_client_find(core->clients, kept);
    if (client && client->live)
        return client->kind == IA_CLIENT_DEFERRED;
    if (ia_clients_kept_is_of(core->clients, kept, NULL))
        return true;
    return login->admission.context == IA_ADMIT_DEFERRED &&
           !ia_login_is_principal(core, mosquitto_client_username(kept));
}

/* On 2.0 a session may have been restored of which nothing is known: own names have no row (owned_ids.h).  Whoever is
 * known to own the client id keeps it, so that nobody can lock its owner out by registering a device of that name. */
static bool may_be_anothers_session(const struct ia_login *login, const char *client_id, const char *username)
{
    struct ia_core *core = login->core;
    return !ia_mosq_is_21() && login->admission.context != IA_ADMIT_DEFERRED &&
           !ia_clients_is_owner(core->clients, client_id, username) &&
           ia_owned_ids_is_anothers_name(core, client_id, username);
}

/* A new connection inherits what the client id's last one left, whoever it is: subscriptions and queue.  So an id
 * belongs to one principal for as long as Mosquitto may keep something under it.  2.1 can be asked what it has, also
 * what it restored from disk. */
static const char *find_client_id_conflict(void *ctx, const char *username)
{
    const struct ia_login *login = ctx;
    const char *client_id = login->admission.client_id;
    const struct mosquitto *kept = ia_mosq_client(client_id);
    if (is_owned_by_other(login, client_id, username))
        return "the client id is in use by another principal";
    if (may_be_anothers_session(login, client_id, username))
        return "the client id is the name of another device or app";
    if (!kept || kept == login->client || !is_other_name(mosquitto_client_username(kept), username) ||
        is_free_for_all(login, kept))
        return NULL;
    bool ended =
        false; /* 2.1 keeps the address of a client that has disconnected, so it does not say that it is connected */
    if (ia_clients_is_released(login->core->clients, client_id, &ended) && (ended || !ia_mosq_has_address(kept)))
        return NULL;
    return "the client id's session belongs to another principal" RELEASE_HINT;
}

static bool note_any_device(void *ctx, struct ia_device *device)
{
    (void)device;
    *(bool *)ctx = true;
    return false;
}

bool ia_login_is_principal(struct ia_core *core, const char *name)
{
    bool found = ia_principal_is_app(name);
    ia_device_cache_each(core->devices, name, note_any_device, &found);
    return found;
}

static bool is_protected_login_name(void *ctx, const char *name)
{
    const struct ia_login *login = ctx;
    return ia_login_is_principal(login->core, name);
}

/* ---- the record */

static enum ia_reason find_key_device(struct ia_login *login, struct ia_admission *a)
{
    struct ia_device *device = NULL;
    const char *detail = NULL;
    enum ia_reason reason = ia_device_requests_find_by_key(login->core, a->psk->digest, a->psk->device_id, &device,
                                                           &login->awaits_registry, &detail);
    if (reason != IA_R_NONE)
        return ia_admission_refuse(a, reason, detail);
    a->device = ia_device_ref(device);
    return IA_R_NONE;
}

static enum ia_reason find_login_device(void *ctx, struct ia_admission *a)
{
    struct ia_login *login = ctx;
    if (a->psk)
        return find_key_device(login, a);
    const struct ia_unregistered_device who = {.info = a->info,
                                               .device_id = a->device_id,
                                               .ca_id = a->chain->ca_id,
                                               .address = a->address,
                                               .leaf = a->leaf,
                                               .ca = a->ca};
    struct ia_device *device = NULL;
    enum ia_reason reason = ia_device_requests_find(login->core, &who, &device, a->detail, sizeof a->detail);
    if (reason == IA_R_NONE)
        a->device = ia_device_ref(device);
    else
        login->awaits_registry = ia_device_requests_is_pending(login->core, a->info->fingerprint);
    return reason;
}

/* ---- the question */

/* What log and event say of this connection.  Of an app the token decides who it is, whatever its certificate names. */
static void fill_audit(struct ia_login *login)
{
    const struct ia_admission *a = &login->admission;
    struct ia_audit_entry *entry = &login->audit;
    entry->client_id = a->client_id;
    entry->address = a->address;
    bool token_meant = a->unusable_token && !a->chain && !a->psk;
    entry->app = token_meant || (a->context != IA_ADMIT_DEVICE && a->context != IA_ADMIT_DEFERRED);
    entry->principal = entry->app ? NULL : a->device_id;
    if (entry->app && a->token)
        entry->principal = a->token->principal;
    entry->proven = a->leaf || a->psk; /* BASIC_AUTH comes after the handshake */
    entry->psk_identity = a->psk ? a->psk->identity : NULL;
    entry->ca = a->ca;
    entry->ca_id = a->chain ? a->chain->ca_id : 0;
    entry->fingerprint = a->chain && a->chain->n_links > 0 ? a->chain->links[0].fingerprint : NULL;
    if (a->psk)
        entry->fingerprint = a->psk->digest;
    entry->claimed = &a->claimed;
    entry->leaf = a->leaf;
    memcpy(entry->detail, a->detail, sizeof entry->detail);
}

static enum ia_reason decide_login(struct ia_login *login, enum ia_admission_context context)
{
    struct ia_admission *a = &login->admission;
    a->context = context;
    enum ia_reason reason = ia_admission_decide(a);
    if (a->refresh_issuer[0])
        ia_key_requests_ask(login->core, a->refresh_issuer);
    fill_audit(login);
    return reason;
}

/* The certificate comes first, so that a refusal by address says whose it is. */
static void take_leaf_if_ready(struct ia_login *login)
{
    const struct ia_admission *a = &login->admission;
    if (a->snapshot && !a->without_ticks && !a->stale)
        (void)ia_login_take_leaf(login);
}

enum ia_reason ia_login_decide(struct ia_login *login)
{
    int64_t begun_us = ia_monotonic_us();
    if (!ia_login_take_psk(login))
        take_leaf_if_ready(login);
    enum ia_reason reason = decide_login(login, login->admission.presented ? IA_ADMIT_APP : IA_ADMIT_DEVICE);
    ia_histogram_note(&login->core->counters.connect, ia_monotonic_us() - begun_us);
    return reason;
}

enum ia_reason ia_login_decide_handshake(struct ia_login *login)
{
    return decide_login(login, IA_ADMIT_HANDSHAKE);
}

enum ia_reason ia_login_decide_again(struct ia_login *login, const char *principal)
{
    take_leaf_if_ready(login);
    login->admission.required_principal = principal;
    return decide_login(login, IA_ADMIT_REAUTH);
}

enum ia_reason ia_login_decide_deferred(struct ia_login *login, const char *username)
{
    login->admission.username = username;
    return decide_login(login, IA_ADMIT_DEFERRED);
}

/* ---- */

void ia_login_present(struct ia_login *login, const char *text, size_t len, bool required)
{
    ia_token_cache_classify(login->core->tokens, text, len, &login->presented);
    if (required || login->presented.kind == IA_PRESENTED_TOKEN)
        login->admission.presented = &login->presented;
    else if (login->presented.kind == IA_PRESENTED_UNUSABLE)
        login->admission.unusable_token = login->presented.detail;
}

static void init_login(struct ia_login *login, struct ia_core *core)
{
    memset(login, 0, sizeof *login);
    login->core = core;
    login->hooks = (struct ia_admission_hooks){.ctx = login,
                                               .client_id_conflict = find_client_id_conflict,
                                               .is_protected_name = is_protected_login_name,
                                               .find_device = find_login_device};
    struct ia_admission *a = &login->admission;
    a->snapshot = core->snapshot;
    a->now = ia_wall_s();
    a->without_ticks = !ia_broker_has_ticks(core);
    a->stale = ia_database_is_stale(core, a->now);
    a->info = &login->info;
    a->tokens = core->tokens;
    a->hooks = &login->hooks;
}

void ia_login_init(struct ia_login *login, struct ia_core *core, struct mosquitto *client)
{
    init_login(login, core);
    login->client = client;
    login->admission.client_id = mosquitto_client_id(client);
    set_login_address(login, client_address(client));
    login->address_unknown = !login->admission.address;
}

void ia_login_init_handshake(struct ia_login *login, struct ia_core *core, X509 *leaf, const char *address)
{
    init_login(login, core);
    set_login_address(login, address);
    if (X509_up_ref(leaf) == 1)
        (void)take_leaf(login, leaf);
}

void ia_login_init_psk_handshake(struct ia_login *login, struct ia_core *core, const char *identity,
                                 const char *address)
{
    init_login(login, core);
    set_login_address(login, address);
    (void)use_psk(login, identity, false); /* the hook comes from within the handshake */
}

void ia_login_clear(struct ia_login *login)
{
    X509_free(login->admission.leaf);
    ia_device_free(login->admission.device);
    ia_token_free(login->admission.token);
    ia_presented_clear(&login->presented);
}
