// SPDX-License-Identifier: ISC
/* All reasons of refusals, as they appear in logs, events and counters.  Users match on these names: they never
 * change. */
#pragma once

#define IA_REASONS(X)                                                                                                  \
    X(NONE, "")                                                                                                        \
    X(ADDRESS_DENIED, "address_denied")                                                                                \
    X(NO_CREDENTIAL, "no_credential")                                                                                  \
    X(CHAIN_INVALID, "chain_invalid")                                                                                  \
    X(CA_UNKNOWN, "ca_unknown")                                                                                        \
    X(CA_INACTIVE, "ca_inactive")                                                                                      \
    X(CERTIFICATE_EXPIRED, "certificate_expired")                                                                      \
    X(CERTIFICATE_REVOKED, "certificate_revoked")                                                                      \
    X(CERTIFICATE_INACTIVE, "certificate_inactive")                                                                    \
    X(CERTIFICATE_UNFIT, "certificate_unfit")                                                                          \
    X(IDENTITY_INVALID, "identity_invalid")                                                                            \
    X(DEVICE_CONFLICT, "device_conflict")                                                                              \
    X(DEVICE_UNKNOWN, "device_unknown")                                                                                \
    X(DEVICE_PENDING, "device_pending")                                                                                \
    X(DEVICE_INACTIVE, "device_inactive")                                                                              \
    X(DEVICE_REVOKED, "device_revoked")                                                                                \
    X(QUOTA_EXCEEDED, "quota_exceeded")                                                                                \
    X(DEVICE_UNEXPECTED, "device_unexpected")                                                                          \
    X(HOOK_REFUSED, "hook_refused")                                                                                    \
    X(CLIENT_ID_MISMATCH, "client_id_mismatch")                                                                        \
    X(REGISTRY_UNAVAILABLE, "registry_unavailable")                                                                    \
    X(TOKEN_MALFORMED, "token_malformed")                                                                              \
    X(TOKEN_ALGORITHM, "token_algorithm")                                                                              \
    X(TOKEN_KEY_UNKNOWN, "token_key_unknown")                                                                          \
    X(TOKEN_SIGNATURE, "token_signature")                                                                              \
    X(TOKEN_EXPIRED, "token_expired")                                                                                  \
    X(TOKEN_NOT_YET_VALID, "token_not_yet_valid")                                                                      \
    X(TOKEN_ISSUER, "token_issuer")                                                                                    \
    X(TOKEN_AUDIENCE, "token_audience")                                                                                \
    X(TOKEN_TYPE, "token_type")                                                                                        \
    X(TOKEN_CLAIMS, "token_claims")                                                                                    \
    X(TOKEN_UNBOUND, "token_unbound")                                                                                  \
    X(TOKEN_REVOKED, "token_revoked")                                                                                  \
    X(PSK_UNKNOWN, "psk_unknown")                                                                                      \
    X(ISSUER_INACTIVE, "issuer_inactive")                                                                              \
    X(TOPIC_DENIED, "topic_denied")                                                                                    \
    X(RIGHTS_CHANGED, "rights_changed")                                                                                \
    X(SNAPSHOT_STALE, "snapshot_stale")                                                                                \
    X(INTERNAL, "internal")

enum ia_reason {
#define X(id, name) IA_R_##id,
    IA_REASONS(X)
#undef X
        IA_REASON_COUNT
};

/* The name of a reason: a static string, "" for IA_R_NONE, "internal" for a value out of range. */
const char *ia_reason_name(enum ia_reason reason);

/* The reason with that name; IA_R_INTERNAL for an unknown name. */
enum ia_reason ia_reason_from_name(const char *name);
