// SPDX-License-Identifier: ISC
#include "plugin/admit.h"
#include "plugin/mosquitto_compat.h"
#include "plugin/registration_wait.h"
#include "plugin/tls_gate.h"

#include "common/hash.h"
#include "common/principal.h"

#include <stdio.h>
#include <string.h>

#define KEYS_EVERY_US 100000

enum ia_reason ia_login_refuse(struct ia_login *login, enum ia_reason reason, const char *detail)
{
    return ia_admission_refuse(&login->admission, reason, detail);
}

static void set_login_address(struct ia_login *login, const char *address)
{
    login->admission.address = address;
    login->admission.ip = ia_ip_parse(address ? address : "");
}

static bool is_snapshot_stale(const struct ia_core *core, int64_t now)
{
    return core->options.stale_max_s && !core->db_up && now - core->db_contact_s > core->options.stale_max_s;
}

/* ---- the certificate */

/* Mosquitto is linked against another OpenSSL: no listener was seen, so the chain is not known.  The leaf alone is
 * verified, which admits devices directly below a registered CA. */
static bool verifies_leaf_alone(struct ia_core *core)
{
    /* With a list of ports it cannot be known whether this client came by one of them. */
    if (core->options.gate != IA_GATE_ALL || ia_gate_has_listeners())
        return false;
    if (!core->fallback_told)
        ia_log(MOSQ_LOG_WARNING, "no TLS listener of Mosquitto was seen (another OpenSSL?): certificates are verified "
                                 "without their intermediates, after the handshake");
    core->fallback_told = true;
    return true;
}

/* Take over what the gate decided; false: this certificate is no credential here. */
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

bool ia_login_take_leaf(struct ia_login *login)
{
    struct ia_admission *a = &login->admission;
    X509 *leaf = a->leaf ? NULL : mosquitto_client_certificate(login->client);
    if (!leaf)
        return a->leaf != NULL;
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

/* ---- client ids */

static bool is_other_name(const char *name, const char *username)
{
    return name && strcmp(name, username) != 0;
}

/* A new connection inherits what the client id's last one left, whoever it is: subscriptions and queue.  So an id
 * belongs to one principal for as long as Mosquitto may keep something under it. */
static const char *find_client_id_conflict(void *ctx, const char *username)
{
    const struct ia_login *login = ctx;
    const char *client_id = login->admission.client_id;
    const struct ia_client *owner = ia_client_owner(login->core->clients, client_id);
    const struct mosquitto *kept = ia_mosq_client(client_id);
    bool is_kept = ia_mosq_is_21() ? kept != NULL : owner && owner->may_persist; /* 2.0 cannot be asked */
    if (owner && (owner->live || is_kept) && is_other_name(ia_client_username(owner), username))
        return "the client id is in use by another principal";
    if (kept && kept != login->client && is_other_name(mosquitto_client_username(kept), username))
        return "the client id's session belongs to another principal";
    return NULL;
}

static bool note_any_device(void *ctx, struct ia_device *device)
{
    (void)device;
    *(bool *)ctx = true;
    return false;
}

static bool is_principal_name(void *ctx, const char *name)
{
    const struct ia_login *login = ctx;
    bool found = ia_principal_is_app(name);
    ia_device_cache_each(login->core->devices, name, note_any_device, &found);
    return found;
}

/* ---- the record */

static enum ia_reason find_login_device(void *ctx, struct ia_admission *a)
{
    struct ia_login *login = ctx;
    const struct ia_unregistered_device who = {
        .info = a->info, .device_id = a->device_id, .ca_id = a->chain->ca_id, .address = a->address};
    struct ia_device *device = NULL;
    enum ia_reason reason = ia_registration_find(login->core, &who, &device, a->detail, sizeof a->detail);
    a->snapshot = login->core->snapshot; /* waiting may have brought a newer one */
    if (reason == IA_R_NONE)
        a->device = ia_device_ref(device);
    return reason;
}

/* ---- keys */

/* A token names a key that is not known, which takes no valid signature: a flood of them must not fill the worker's
 * queue. */
static void request_issuer_keys(struct ia_core *core, const char *issuer)
{
    uint32_t hash = (uint32_t)ia_hash_text(0, issuer);
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

/* ---- the question */

/* What log and event say of this connection.  Of an app the token decides who it is, whatever its certificate names. */
static void fill_audit(struct ia_login *login)
{
    const struct ia_admission *a = &login->admission;
    struct ia_audit_entry *entry = &login->audit;
    entry->client_id = a->client_id;
    entry->address = a->address;
    entry->app = a->context != IA_ADMIT_DEVICE && a->context != IA_ADMIT_DEFERRED;
    entry->principal = entry->app ? NULL : a->device_id;
    if (entry->app && a->token)
        entry->principal = a->token->principal;
    entry->proven = a->leaf != NULL; /* BASIC_AUTH comes after the handshake */
    entry->ca = a->ca;
    entry->ca_id = a->chain ? a->chain->ca_id : 0;
    entry->fingerprint = a->chain && a->chain->n_links > 0 ? a->chain->links[0].fingerprint : NULL;
    memcpy(entry->detail, a->detail, sizeof entry->detail);
}

static enum ia_reason decide_login(struct ia_login *login, enum ia_admission_context context)
{
    struct ia_admission *a = &login->admission;
    a->context = context;
    enum ia_reason reason = ia_admission_decide(a);
    if (a->refresh_issuer[0])
        request_issuer_keys(login->core, a->refresh_issuer);
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
    take_leaf_if_ready(login);
    return decide_login(login, login->admission.presented ? IA_ADMIT_APP : IA_ADMIT_DEVICE);
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
}

void ia_login_init(struct ia_login *login, struct ia_core *core, struct mosquitto *client)
{
    memset(login, 0, sizeof *login);
    login->core = core;
    login->client = client;
    login->hooks = (struct ia_admission_hooks){.ctx = login,
                                               .client_id_conflict = find_client_id_conflict,
                                               .is_protected_name = is_principal_name,
                                               .find_device = find_login_device};
    struct ia_admission *a = &login->admission;
    a->snapshot = core->snapshot;
    a->now = ia_wall_s();
    a->without_ticks = !ia_has_ticks(core);
    a->stale = is_snapshot_stale(core, a->now);
    a->client_id = mosquitto_client_id(client);
    a->info = &login->info;
    a->tokens = core->tokens;
    a->hooks = &login->hooks;
    set_login_address(login, ia_mosq_address(client));
}

void ia_login_clear(struct ia_login *login)
{
    X509_free(login->admission.leaf);
    ia_device_free(login->admission.device);
    ia_token_free(login->admission.token);
    ia_presented_clear(&login->presented);
}
