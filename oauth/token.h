// SPDX-License-Identifier: ISC
/* Access tokens (RFC 9068, 8725, 8705): verified against the registered issuers, and judged anew when those change. */
#pragma once

#include "common/error.h"
#include "common/reason.h"
#include "oauth/issuer.h"
#include "oauth/jwks.h"
#include "oauth/jws.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IA_SCOPES_MAX     256
#define IA_AUDIENCE_MAX   64
#define IA_CLAIMS_MAX     64 /* scalar claims kept; one that is not kept counts as unset */
#define IA_CLAIM_NAME_MAX 64
#define IA_CERT_HASH_LEN  32

struct ia_claim {
    const char *name;
    const char *value; /* valid by ia_value_valid */
};

/* A verified token: one block of memory, immutable, shared by reference.  Holds nothing that could be presented again.
 * Plain data: it keeps no pointer into the issuer set. */
struct ia_token {
    atomic_uint refs;
    const char *issuer;       /* name of the issuer's row */
    const char *iss;          /* its `issuer` */
    const char *app_id;       /* valid by ia_value_valid */
    const char *principal;    /* app:<issuer name>:<app_id>; the broker's username */
    const char *app_id_claim; /* the issuer's setting that app_id came from, NULL for the default */
    const char *kid;
    const char *typ;
    enum ia_alg alg;
    uint8_t key_id[IA_KEY_ID_LEN]; /* the key that signed it */
    int64_t exp;                   /* seconds since 1970 */
    int64_t expires_at;            /* exp plus the issuer's leeway: it may not be used from this second on */
    int64_t not_before;            /* nbf minus leeway, INT64_MIN without nbf */
    bool bound;                    /* to the certificate with that SHA-256 (RFC 8705) */
    uint8_t cert_sha256[IA_CERT_HASH_LEN];
    const char *const *audience;
    size_t n_audience;
    const char *const *scopes;
    size_t n_scopes;
    const struct ia_claim *claims;
    size_t n_claims;
    size_t size; /* of the block */
};

/* Why a token was refused, for log and event; never a part of the token but its registered issuer and its kid. */
struct ia_token_refusal {
    char issuer[129]; /* name of the issuer, "" when it did not get that far */
    bool refresh;     /* token_key_unknown with a kid: fetching the issuer's keys again may mend it */
    char detail[IA_DETAIL_MAX];
};

/* Verify text[0..len) at time `now` (seconds since 1970).  `cert_sha256` is the SHA-256 of the client's certificate in
 * DER: the token must then be bound to it (`cnf` `x5t#S256`); NULL without a certificate: the token must carry no
 * `cnf`.  IA_R_NONE and *out, one reference owned by the caller; or the reason, and *why (always filled) says more.
 * Any thread. */
enum ia_reason ia_token_verify(const struct ia_issuer_set *set, const char *text, size_t len, int64_t now,
                               const uint8_t *cert_sha256, struct ia_token **out, struct ia_token_refusal *why);

struct ia_token *ia_token_ref(struct ia_token *token);
void ia_token_free(struct ia_token *token); /* gives one reference back; NULL is fine */

/* Does a token that was verified before still stand under `set`: issuer there and ACTIVE, the key still its own under
 * the same kid, algorithm, audience, type and app_id rule still fitting, not past its end?  IA_R_NONE and *ends (under
 * the leeway of now), or the reason and *why. */
enum ia_reason ia_token_revalidate(const struct ia_issuer_set *set, const struct ia_token *token, int64_t now,
                                   int64_t *ends, struct ia_token_refusal *why);

/* Is the token good for a client with this certificate (NULL: none)?  IA_R_NONE or IA_R_TOKEN_UNBOUND with detail. */
enum ia_reason ia_token_check_binding(const struct ia_token *token, const uint8_t *cert_sha256,
                                      struct ia_token_refusal *why);

/* The roles that the scopes of `token` give it under `set`: distinct, sorted, borrowed from the set.  Writes the first
 * `max` and returns how many there are: never work with fewer, a role may deny. */
size_t ia_token_roles(const struct ia_issuer_set *set, const struct ia_token *token, const char **roles, size_t max);

/* Value of the variable `app_id`, `issuer`, `tenant` or `claim.NAME` (topic filters, client id templates) under `set`;
 * NULL when unset.  Borrowed from set and token. */
const char *ia_token_variable(const struct ia_issuer_set *set, const struct ia_token *token, const char *name);

/* May a client with this token use `client_id`: does one of its issuer's templates fit? */
bool ia_token_allows_client_id(const struct ia_issuer_set *set, const struct ia_token *token, const char *client_id);
