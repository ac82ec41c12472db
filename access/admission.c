// SPDX-License-Identifier: ISC
#include "access/admission.h"

#include "jitr/device_check.h"
#include "x509/validity.h"

#include <stdio.h>
#include <string.h>

enum ia_reason ia_admission_refuse(struct ia_admission *a, enum ia_reason reason, const char *detail)
{
    (void)snprintf(a->detail, sizeof a->detail, "%s", detail);
    return reason;
}

/* ---- before any credential */

static enum ia_reason check_ticks(struct ia_admission *a)
{
    return a->without_ticks ? ia_admission_refuse(a, IA_R_INTERNAL, "Mosquitto sends no TICK") : IA_R_NONE;
}

static enum ia_reason check_snapshot(struct ia_admission *a)
{
    if (a->snapshot)
        return IA_R_NONE;
    return ia_admission_refuse(a, IA_R_REGISTRY_UNAVAILABLE, "no snapshot yet: the database has not been reached");
}

static enum ia_reason check_snapshot_age(struct ia_admission *a)
{
    if (a->stale)
        return ia_admission_refuse(a, IA_R_SNAPSHOT_STALE,
                                   "the database has been unreachable for longer than stale_max_s");
    return IA_R_NONE;
}

static enum ia_reason check_address(struct ia_admission *a, enum ia_ip_scope scope, const char *key)
{
    int64_t rule_id = 0;
    if (ia_ip_check(a->snapshot->ips, scope, key, &a->ip, a->now, &rule_id) == IA_ALLOW)
        return IA_R_NONE;
    const char *unknown = a->address ? "" : ": the client's address is not known";
    (void)snprintf(a->detail, sizeof a->detail, "ip_rule %lld%s", (long long)rule_id, unknown);
    return IA_R_ADDRESS_DENIED;
}

static enum ia_reason check_global_address(struct ia_admission *a)
{
    return check_address(a, IA_IP_GLOBAL, NULL);
}

static enum ia_reason check_credential(struct ia_admission *a)
{
    if (a->psk && (a->psk->why || !a->psk->device_id))
        return ia_admission_refuse(a, IA_R_PSK_UNKNOWN, a->psk->why ? a->psk->why : "the key has no device");
    if (a->chain || a->psk)
        return IA_R_NONE;
    if (a->unusable_token)
        return ia_admission_refuse(a, IA_R_TOKEN_MALFORMED, a->unusable_token);
    return ia_admission_refuse(a, IA_R_NO_CREDENTIAL, "neither a certificate nor a token nor a pre-shared key");
}

/* ---- the certificate */

static enum ia_reason check_chain(struct ia_admission *a)
{
    struct ia_chain *chain = a->chain;
    if (!chain)
        return IA_R_NONE;
    a->ca = ia_ca_settings_find(a->snapshot->ca_settings, chain->ca_id);
    if (chain->reason == IA_R_NONE && a->chain_generation != a->snapshot->ca_generation)
        return ia_chain_revalidate(a->snapshot->cas, chain, a->now);
    if (chain->reason != IA_R_NONE)
        return ia_admission_refuse(a, chain->reason, chain->detail);
    if (ia_x509_expired(chain->not_after, a->now))
        return ia_admission_refuse(a, IA_R_CERTIFICATE_EXPIRED, "the certificate or one above it has expired");
    return IA_R_NONE;
}

/* Is this a device with a pre-shared key, and nothing else to show? */
static bool is_psk_device(const struct ia_admission *a)
{
    bool known = a->device && !ia_device_has_certificate(a->device);
    return !a->chain && !a->token && !a->presented && (a->psk || known);
}

/* The CA that a device belongs to, and those above it where these are known. */
static size_t cas_of_device(const struct ia_admission *a, const int64_t **cas)
{
    if (!a->device || !a->device->device_ca_id)
        return 0;
    size_t n = a->snapshot->cas ? ia_ca_set_above(a->snapshot->cas, a->device->device_ca_id, cas) : 0;
    if (n > 0)
        return n;
    *cas = &a->device->device_ca_id;
    return 1;
}

/* The registered CAs on and above the chain, of which iot-auth-check knows the lowest only; of a pre-shared key, the CA of
 * its device and those above it.  None: no certificate. */
static size_t admission_cas(const struct ia_admission *a, const int64_t **cas)
{
    if (a->chain) {
        *cas = a->chain->cas;
        return a->chain->n_cas;
    }
    if (is_psk_device(a))
        return cas_of_device(a, cas);
    *cas = &a->ca_id;
    return a->ca_id ? 1 : 0;
}

/* A CA whose row cannot be used has no settings: then nothing is known of its rules, so it admits nobody. */
static enum ia_reason check_ca(struct ia_admission *a)
{
    const int64_t *cas = NULL;
    size_t n = admission_cas(a, &cas);
    if (n == 0 && !a->chain && (a->context != IA_ADMIT_COMMAND || is_psk_device(a)))
        return IA_R_NONE;
    a->ca = ia_ca_settings_find(a->snapshot->ca_settings, a->chain ? a->chain->ca_id : cas[0]);
    if (!a->ca)
        return ia_admission_refuse(a, IA_R_CA_INACTIVE, "the CA cannot be used: see iot_auth.ca.problem");
    if (!a->ca->active)
        return IA_R_CA_INACTIVE;
    for (size_t i = 0; i < n; i++) {
        const struct ia_ca_settings *above = ia_ca_settings_find(a->snapshot->ca_settings, cas[i]);
        if (!above)
            return ia_admission_refuse(a, IA_R_CA_INACTIVE, "a CA above it cannot be used: see iot_auth.ca.problem");
        if (!above->active && !a->chain) /* of a chain, it was found while that was verified */
            return ia_admission_refuse(a, IA_R_CA_INACTIVE, "a CA above the device's is not ACTIVE");
    }
    return IA_R_NONE;
}

static enum ia_reason check_identity(struct ia_admission *a)
{
    struct ia_identity identity;
    struct ia_err err = {0};
    if (a->psk && !a->chain)
        a->device_id = a->psk->device_id;
    if (!a->chain)
        return IA_R_NONE;
    const uint8_t *hash = a->chain->n_links > 0 ? a->chain->links[0].fingerprint : NULL;
    if (ia_cert_info_read_hashed(a->leaf, hash, a->info, &err) != IA_OK)
        return ia_admission_refuse(a, IA_R_CERTIFICATE_UNFIT, err.msg);
    ia_identity_read(a->leaf, &identity);
    enum ia_reason reason = ia_device_id_derive(a->ca, &identity, a->device_id_text, &err);
    if (reason != IA_R_NONE)
        return ia_admission_refuse(a, reason, err.msg);
    a->device_id = a->device_id_text;
    return IA_R_NONE;
}

/* ---- the token */

/* The cache of tokens does not know of revocations: it is asked again for each connect. */
static enum ia_reason check_revocation(struct ia_admission *a)
{
    char detail[IA_DETAIL_MAX] = "";
    enum ia_reason reason = ia_revocations_check(a->snapshot->revocations, a->token, a->now, detail);
    return reason == IA_R_NONE ? reason : ia_admission_refuse(a, reason, detail);
}

static enum ia_reason verify_presented_token(struct ia_admission *a)
{
    struct ia_token_refusal refusal;
    const struct ia_token_check check = {.issuers = a->snapshot->issuers,
                                         .presented = a->presented,
                                         .now = a->now,
                                         .cert_sha256 = a->chain ? a->info->fingerprint : NULL};
    enum ia_reason reason = ia_token_cache_verify(a->tokens, &check, &a->token, &refusal);
    if (reason == IA_R_NONE) {
        a->token_expires_at = a->token->expires_at;
        return check_revocation(a);
    }
    if (refusal.refresh_keys)
        (void)snprintf(a->refresh_issuer, sizeof a->refresh_issuer, "%s", refusal.issuer);
    a->claimed = refusal.claimed;
    return ia_admission_refuse(a, reason, refusal.detail);
}

static enum ia_reason check_token(struct ia_admission *a)
{
    struct ia_token_refusal refusal;
    if (a->presented && a->psk)
        return ia_admission_refuse(a, IA_R_TOKEN_UNBOUND,
                                   "the client sends a token and uses a pre-shared key, but no token can be bound to "
                                   "a pre-shared key");
    if (a->presented)
        return verify_presented_token(a);
    if (!a->token)
        return IA_R_NONE;
    enum ia_reason reason = ia_token_revalidate(a->snapshot->issuers, a->token, a->now, &a->token_expires_at, &refusal);
    return reason == IA_R_NONE ? check_revocation(a) : ia_admission_refuse(a, reason, refusal.detail);
}

static enum ia_reason check_same_app(struct ia_admission *a)
{
    if (strcmp(a->token->principal, a->required_principal) == 0)
        return IA_R_NONE;
    return ia_admission_refuse(a, IA_R_TOKEN_CLAIMS, "re-authentication as another app");
}

static enum ia_reason check_issuer_address(struct ia_admission *a)
{
    return a->token ? check_address(a, IA_IP_ISSUER, a->token->issuer) : IA_R_NONE;
}

/* ---- the client id */

/* The client id of a live session was admitted at its CONNECT: a refusal now means that the rights to it have
 * changed. */
static enum ia_reason refuse_client_id(struct ia_admission *a, const char *detail)
{
    return ia_admission_refuse(a, a->context == IA_ADMIT_LIVE ? IA_R_RIGHTS_CHANGED : IA_R_CLIENT_ID_MISMATCH, detail);
}

static enum ia_reason check_client_id(struct ia_admission *a)
{
    if (a->context == IA_ADMIT_LIVE && !a->chain && !a->token && !a->device)
        return IA_R_NONE; /* a deferred client */
    if (!a->client_id)
        return a->context == IA_ADMIT_COMMAND ? IA_R_NONE : refuse_client_id(a, "no client id");
    const char *why = NULL;
    if (a->token)
        return ia_token_allows_client_id(a->snapshot->issuers, a->token, a->client_id, &why) ? IA_R_NONE
                                                                                             : refuse_client_id(a, why);
    if (a->psk && !a->device)
        return IA_R_NONE; /* the record says which CA's templates count: check_record asks again when it is there */
    if (!a->ca && is_psk_device(a))
        return ia_client_id_is_device(a->device_id, a->client_id)
                   ? IA_R_NONE
                   : refuse_client_id(a, "the client id of a device without a CA must be its device id");
    return ia_client_id_check(a->ca, a->device_id, a->client_id)
               ? IA_R_NONE
               : refuse_client_id(a, "no client id template of the CA fits");
}

/* A live session was admitted before the name was reserved: it continues until it ends. */
static enum ia_reason check_reserved_name(struct ia_admission *a)
{
    if (!a->token && ia_reserved_has(a->snapshot->reserved, a->device_id))
        return ia_admission_refuse(a, IA_R_IDENTITY_INVALID, "the device id is a reserved name");
    if (ia_reserved_has(a->snapshot->reserved, a->client_id))
        return ia_admission_refuse(a, IA_R_CLIENT_ID_MISMATCH, "the client id is a reserved name");
    return IA_R_NONE;
}

static const char *admission_username(const struct ia_admission *a)
{
    if (a->context == IA_ADMIT_DEFERRED)
        return a->username;
    return a->token ? a->token->principal : a->device_id;
}

static enum ia_reason check_client_id_owner(struct ia_admission *a)
{
    const char *conflict = a->hooks->client_id_conflict(a->hooks->ctx, admission_username(a));
    return conflict ? ia_admission_refuse(a, IA_R_CLIENT_ID_MISMATCH, conflict) : IA_R_NONE;
}

static enum ia_reason check_protected_name(struct ia_admission *a)
{
    if (!a->hooks->is_protected_name(a->hooks->ctx, a->username) &&
        !(a->client_id && a->hooks->is_protected_name(a->hooks->ctx, a->client_id)))
        return IA_R_NONE;
    return ia_admission_refuse(a, IA_R_CLIENT_ID_MISMATCH, "the name belongs to a device or an app");
}

static enum ia_reason check_ca_address(struct ia_admission *a)
{
    const int64_t *cas = NULL;
    size_t n = admission_cas(a, &cas);
    for (size_t i = 0; i < n; i++) {
        const struct ia_ca_settings *ca = ia_ca_settings_find(a->snapshot->ca_settings, cas[i]);
        enum ia_reason reason = ca ? check_address(a, IA_IP_CA, ca->name) : IA_R_CA_INACTIVE;
        if (reason != IA_R_NONE)
            return reason;
    }
    return IA_R_NONE;
}

/* ---- the device's record */

static enum ia_reason check_record(struct ia_admission *a)
{
    if (!a->chain && (!a->psk || a->device))
        return IA_R_NONE;
    enum ia_reason reason = a->hooks->find_device(a->hooks->ctx, a);
    bool unchecked = a->psk && (a->context == IA_ADMIT_DEVICE || a->context == IA_ADMIT_COMMAND);
    return reason == IA_R_NONE && unchecked ? check_client_id(a) : reason;
}

static enum ia_reason check_psk_device(struct ia_admission *a)
{
    const char *detail = NULL;
    if (!a->device)
        return IA_R_DEVICE_UNKNOWN;
    const char *device_id = a->device_id ? a->device_id : ia_device_id(a->device);
    enum ia_reason reason = ia_device_check_psk(a->device, device_id, a->now, &detail);
    return detail ? ia_admission_refuse(a, reason, detail) : reason;
}

static enum ia_reason check_device(struct ia_admission *a)
{
    const int64_t *cas = NULL;
    if (is_psk_device(a))
        return check_psk_device(a);
    size_t n = admission_cas(a, &cas);
    if (n == 0)
        return IA_R_NONE;
    if (!a->device)
        return IA_R_DEVICE_UNKNOWN;
    const char *device_id = a->device_id ? a->device_id : ia_device_id(a->device);
    enum ia_reason reason = ia_device_check(a->device, a->snapshot->ca_settings, cas, n, device_id, a->now);
    if (reason == IA_R_INTERNAL)
        return ia_admission_refuse(a, reason, ia_device_fault(a->device));
    return reason;
}

static enum ia_reason check_device_address(struct ia_admission *a)
{
    return a->device ? check_address(a, IA_IP_DEVICE, ia_device_id(a->device)) : IA_R_NONE;
}

/* ---- the table */

#define DEVICE    (1U << IA_ADMIT_DEVICE)
#define APP       (1U << IA_ADMIT_APP)
#define REAUTH    (1U << IA_ADMIT_REAUTH)
#define LIVE      (1U << IA_ADMIT_LIVE)
#define WILL      (1U << IA_ADMIT_WILL)
#define DEFERRED  (1U << IA_ADMIT_DEFERRED)
#define HANDSHAKE (1U << IA_ADMIT_HANDSHAKE)
#define COMMAND   (1U << IA_ADMIT_COMMAND)

static const struct admission_step {
    const char *name;
    enum ia_reason (*check)(struct ia_admission *a);
    unsigned contexts;
} admission_steps[] = {
    {"ticks", check_ticks, DEVICE | APP | REAUTH | DEFERRED | HANDSHAKE},
    {"snapshot", check_snapshot, DEVICE | APP | REAUTH | LIVE | WILL | DEFERRED | HANDSHAKE | COMMAND},
    {"snapshot age", check_snapshot_age, DEVICE | APP | REAUTH | DEFERRED | HANDSHAKE},
    {"global address", check_global_address, DEVICE | APP | REAUTH | LIVE | DEFERRED | HANDSHAKE},
    {"credential", check_credential, DEVICE},
    {"chain", check_chain, DEVICE | APP | REAUTH | LIVE | WILL | HANDSHAKE},
    {"CA", check_ca, DEVICE | APP | REAUTH | LIVE | WILL | HANDSHAKE | COMMAND},
    {"identity", check_identity, DEVICE | APP | REAUTH | HANDSHAKE},
    {"token", check_token, APP | REAUTH | LIVE | WILL},
    {"same app", check_same_app, REAUTH},
    {"issuer address", check_issuer_address, APP | LIVE},
    {"client id", check_client_id, DEVICE | APP | LIVE | COMMAND},
    {"reserved name", check_reserved_name, DEVICE | APP | HANDSHAKE | COMMAND},
    {"client id owner", check_client_id_owner, DEVICE | APP | DEFERRED},
    {"protected name", check_protected_name, DEFERRED},
    {"CA address", check_ca_address, DEVICE | APP | LIVE | HANDSHAKE},
    {"device record", check_record, DEVICE | APP | HANDSHAKE},
    {"device status", check_device, DEVICE | APP | LIVE | WILL | COMMAND},
    {"device address", check_device_address, DEVICE | APP | LIVE},
};
#define N_STEPS (sizeof admission_steps / sizeof admission_steps[0])

enum ia_reason ia_admission_decide(struct ia_admission *a)
{
    a->detail[0] = a->refresh_issuer[0] = '\0';
    if ((a->context == IA_ADMIT_LIVE || a->context == IA_ADMIT_COMMAND) && a->device)
        a->device_id = ia_device_id(a->device);
    enum ia_reason reason = IA_R_NONE;
    for (size_t i = 0; i < N_STEPS && reason == IA_R_NONE; i++)
        if (ia_admission_step_applies(i, a->context))
            reason = admission_steps[i].check(a);
    return reason;
}

const char *ia_admission_step_name(size_t i)
{
    return i < N_STEPS ? admission_steps[i].name : NULL;
}

bool ia_admission_step_applies(size_t i, enum ia_admission_context context)
{
    return i < N_STEPS && (admission_steps[i].contexts >> context & 1U);
}

const char *ia_admission_context_name(enum ia_admission_context context)
{
    static const char *const names[IA_ADMISSION_CONTEXTS] = {
        [IA_ADMIT_DEVICE] = "device",       [IA_ADMIT_APP] = "app",        [IA_ADMIT_REAUTH] = "re-authentication",
        [IA_ADMIT_LIVE] = "live",           [IA_ADMIT_WILL] = "will",      [IA_ADMIT_DEFERRED] = "deferred",
        [IA_ADMIT_HANDSHAKE] = "handshake", [IA_ADMIT_COMMAND] = "command"};
    return context < IA_ADMISSION_CONTEXTS ? names[context] : "";
}
