// SPDX-License-Identifier: ISC
/* JWK sets (RFC 7517, 7518 section 6, 8037): the public keys of an issuer, parsed once.  Immutable after parsing, so
 * safe from any thread. */
#pragma once

#include "common/error.h"
#include "oauth/alg.h"
#include "oauth/jws.h"

#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

#define IA_JWKS_MAX      (256 * 1024) /* bytes of a set's text */
#define IA_JWKS_KEYS_MAX 100
#define IA_RSA_BITS_MIN  2048
#define IA_RSA_BITS_MAX  8192 /* a longer key would make each token cost the broker milliseconds */
#define IA_KEY_ID_LEN    32

struct ia_jwk {
    char *kid;
    enum ia_alg alg; /* the only one that it may be used with; IA_ALG_NONE when the set does not say */
    enum ia_key_type type;
    EVP_PKEY *key;
    EVP_MD_CTX
    *ready[IA_ALG_COUNT];          /* initialised verifications to copy; NULL where the algorithm is not for the key */
    uint8_t key_id[IA_KEY_ID_LEN]; /* SHA-256 of its SubjectPublicKeyInfo: the same key under any name */
};

struct ia_jwks;

/* Called for each key that cannot be used; the text never quotes key material. */
struct ia_jwks_report {
    void (*problem)(void *ctx, const char *text); /* may be NULL */
    void *ctx;
};

/* Parse a set.  A bad key is left out and reported (`report` may be NULL): no `kid` (tokens name their key), a kid that
 * two different keys have (ambiguous), RSA below 2048 bits or with an exponent that is even or below 65537, a
 * point that is not on its curve, a symmetric or private key.  Keys for encryption are left out without a report.
 * IA_FORMAT when the text is no JWK set, or exceeds a limit; a set without a usable key parses.  The caller owns
 * *out. */
IA_MUST_USE enum ia_rc ia_jwks_parse(const char *text, size_t len, const struct ia_jwks_report *report,
                                     struct ia_jwks **out, struct ia_err *err);
void ia_jwks_free(struct ia_jwks *jwks);

/* The key of that exact kid, or NULL: borrowed from the set. */
const struct ia_jwk *ia_jwks_find(const struct ia_jwks *jwks, const char *kid);
size_t ia_jwks_count(const struct ia_jwks *jwks);

/* Is the signature of `jws` by `key`?  IA_R_NONE; IA_R_TOKEN_ALGORITHM when the algorithm does not fit the key's type
 * and curve or its `alg`; IA_R_TOKEN_SIGNATURE; IA_R_INTERNAL.  Leaves OpenSSL's error queue as it was.  Any thread. */
enum ia_reason ia_signature_verify(const struct ia_jws *jws, const struct ia_jwk *key, char detail[IA_DETAIL_MAX]);
