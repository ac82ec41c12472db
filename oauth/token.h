// SPDX-License-Identifier: ISC
/* Access tokens (RFC 9068, 8725, 8705): verified against the registered issuers, and revalidated when those change. */
#pragma once

#include "common/error.h"
#include "common/reason.h"
#include "common/ref.h"
#include "oauth/issuer.h"
#include "oauth/jwks.h"
#include "oauth/presented.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IA_SCOPES_MAX    256 /* different values that the issuer maps */
#define IA_AUDIENCE_MAX  64
#define IA_CLAIMS_MAX    64 /* scalar claims kept; the others count as unset */
#define IA_CERT_HASH_LEN 32

/* Values under scope_claims, mapped or not: more than a token of IA_TOKEN_MAX bytes can hold under one pointer. */
#define IA_SCOPE_VALUES_MAX 8192

/* Marks of claims (claim_mark.h): a token of IA_TOKEN_MAX bytes holds at most 6,144 values, each of two marks. */
#define IA_MARKS_MAX 12288

struct ia_claim {
    const char *pointer; /* JSON Pointer (RFC 6901) */
    const char *value;   /* valid by ia_value_valid */
};

/* A verified token: one block of memory, immutable, shared by reference.  Holds nothing that could be presented to a
 * server, and no pointer into the issuer set. */
struct ia_token {
    struct ia_ref refs;
    const char *issuer;    /* name of the issuer's row */
    const char *iss;       /* its `issuer` */
    const char *app_id;    /* valid by ia_value_valid */
    const char *principal; /* app:<issuer name>:<app_id>; the broker's username */
    const char *kid;       /* NULL: the header has none */
    const char *typ;
    enum ia_alg alg;
    uint8_t key_id[IA_KEY_ID_LEN]; /* the key that signed it */
    uint64_t claim_rules;          /* of the issuer, under which the claims were read */
    uint64_t rivals;               /* ia_token_rivals when it was verified: it fitted none of them */
    int64_t exp;                   /* seconds since 1970 */
    int64_t iat;                   /* likewise; INT64_MIN: it has none */
    int64_t expires_at;            /* exp plus the issuer's leeway, the first second at which it is not valid */
    int64_t not_before;            /* the later of nbf and iat, minus leeway; INT64_MIN: neither */
    bool bound;                    /* to the certificate with that SHA-256 (RFC 8705) */
    uint8_t cert_sha256[IA_CERT_HASH_LEN];
    const char *const *audience;
    size_t n_audience;
    const char *const *scopes; /* the values under scope_claims: sorted, each once */
    size_t n_scopes;
    const struct ia_claim *claims;
    size_t n_claims;
    const uint64_t *marks; /* of all texts, whole numbers and truth values in it, for ia_revocations_check */
    size_t n_marks;
    size_t size; /* of the block */
};

/* What is verified, and against what.  All borrowed. */
struct ia_token_check {
    struct ia_issuer_set *issuers;
    struct ia_presented *presented;
    int64_t now;                /* seconds since 1970 */
    const uint8_t *cert_sha256; /* SHA-256 of the client's certificate in DER: the token must then be bound to it (`cnf`
                                   `x5t#S256`); NULL without a certificate: the token must carry no `cnf` */
};

/* IA_R_NONE and *out, one reference owned by the caller; or the reason, and *refusal (always filled) says more.  Any
 * thread. */
enum ia_reason ia_token_verify(const struct ia_token_check *check, struct ia_token **out,
                               struct ia_token_refusal *refusal);

struct ia_token *ia_token_ref(struct ia_token *token);
void ia_token_free(struct ia_token *token); /* gives one reference back; NULL is fine */

/* Is a token that was verified before still valid under `set`: issuer registered and ACTIVE, the key still the issuer's
 * under the same kid, algorithm, audience, type and lifetime still accepted, its claims still read by the same
 * settings, its audience no other row's with the same iss, not expired?  IA_R_NONE and *expires_at
 * (with the leeway that the issuer has now), or the reason and *refusal. */
enum ia_reason ia_token_revalidate(const struct ia_issuer_set *set, const struct ia_token *token, int64_t now,
                                   int64_t *expires_at, struct ia_token_refusal *refusal);

/* May a client with this certificate (NULL: none) use the token?  IA_R_NONE or IA_R_TOKEN_UNBOUND with detail. */
enum ia_reason ia_token_check_binding(const struct ia_token *token, const uint8_t *cert_sha256,
                                      struct ia_token_refusal *refusal);

/* The roles that the scopes of `token` give it under `set`: distinct, sorted, borrowed from the set.  Writes the first
 * `max` and returns how many there are: never work with fewer, a role may deny. */
size_t ia_token_roles(const struct ia_issuer_set *set, const struct ia_token *token, const char **roles, size_t max);

/* Value of the variable `app_id`, `issuer`, `tenant`, `claim.NAME` or `claim:/pointer` (topic filters, client id templates) under `set`;
 * NULL when unset.  Borrowed from set and token. */
const char *ia_token_variable(const struct ia_issuer_set *set, const struct ia_token *token, const char *name);

#define IA_APP_CLIENT_ID_MAX 512 /* bytes of an app's client id */

/* May a client with this token use `client_id`?  It must match one of the issuer's templates, and be 1 to
 * IA_APP_CLIENT_ID_MAX bytes of UTF-8 without `+ #` or control characters: a template that ends in `*` would take 64 KB, and
 * the broker keeps an id as long as its session.  If not, *why (may be NULL) is a static text. */
bool ia_token_allows_client_id(const struct ia_issuer_set *set, const struct ia_token *token, const char *client_id,
                               const char **why);
