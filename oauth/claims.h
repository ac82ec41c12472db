// SPDX-License-Identifier: ISC
/* The claims of a token, validated against its issuer's row (RFC 7519 section 4, RFC 9068 section 4).  Internal to
 * oauth/. */
#pragma once

#include "oauth/issuer_set.h"
#include "oauth/json.h"
#include "oauth/token.h"

struct ia_slice {
    const char *at;
    size_t len;
};

#define IA_CLAIM_POINTERS_SIZE 4096 /* bytes of the pointers of all kept claims */

struct ia_kept_claim {
    const char *pointer; /* JSON Pointer */
    const char *text;    /* NULL: it is in `number` */
    char number[24];
};

/* The claims that count.  Texts are borrowed from the JSON. */
struct ia_claims {
    int64_t exp;
    int64_t iat;        /* INT64_MIN: the token has none */
    int64_t not_before; /* the later of nbf and iat, minus leeway; INT64_MIN: neither */
    bool bound;
    uint8_t cert_sha256[IA_CERT_HASH_LEN];
    const char *app_id; /* of a device its id */
    struct ia_slice audience[IA_AUDIENCE_MAX];
    size_t n_audience;
    struct ia_slice scopes[IA_SCOPE_VALUES_MAX]; /* sorted, each once */
    size_t n_scopes;
    bool too_many_scopes;
    struct ia_kept_claim claims[IA_CLAIMS_MAX];
    size_t n_claims;
    uint64_t marks[IA_MARKS_MAX];
    size_t n_marks;
    bool unmarked;                         /* a claim has no mark: there is no random key, or too many */
    char pointers[IA_CLAIM_POINTERS_SIZE]; /* what claims[].pointer point into */
    size_t pointers_used;
};

/* Read and validate `payload`, whose signature is verified, at time `now`.  IA_R_NONE, or the reason and `detail`. */
enum ia_reason ia_claims_validate(const json_t *payload, const struct ia_issuer *issuer, int64_t now,
                                  struct ia_claims *out, char detail[IA_DETAIL_MAX]);

/* Does the payload, whose signature may be unverified, name one of the issuer's audiences?  *scratch is overwritten. */
bool ia_claims_fit_audience(const json_t *payload, const struct ia_issuer *issuer, struct ia_claims *scratch);

/* Is exp - iat within the issuer's max_lifetime_s?  `iat` is INT64_MIN for a token without one.  IA_R_NONE, or
 * IA_R_TOKEN_CLAIMS and `detail`. */
enum ia_reason ia_claims_check_lifetime(const struct ia_issuer *issuer, int64_t iat, int64_t exp,
                                        char detail[IA_DETAIL_MAX]);

/* exp plus leeway, the first second at which the token is not valid any more. */
int64_t ia_claims_expiry(int64_t exp, const struct ia_issuer *issuer);
