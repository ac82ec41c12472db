// SPDX-License-Identifier: ISC
/* JWK sets (RFC 7517, 7518 section 6, 8037): the public keys of an issuer, parsed once.  Immutable after parsing, so
 * safe from any thread. */
#pragma once

#include "common/error.h"
#include "common/problem.h"
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
    char *kid; /* "": it has none */
    enum ia_key_type type;
    unsigned algs;      /* set of 1 << enum ia_alg: what it may be used with (its alg, or all that fit its type) */
    unsigned ambiguous; /* likewise: what another key of that kid may be used with too, and so neither */
    EVP_PKEY *key;
    EVP_MD_CTX
    *ready[IA_ALG_COUNT];          /* initialised verifications to copy; NULL where the algorithm is not for the key */
    uint8_t key_id[IA_KEY_ID_LEN]; /* SHA-256 of its SubjectPublicKeyInfo: the same key under any name */
};

struct ia_jwks;

/* Each is called for each key that is not used, with the key's index in the set; the texts never quote key material. */
struct ia_jwks_report {
    struct ia_problem_callback problem; /* it should be usable, or should not be published */
    struct ia_problem_callback note;    /* it is of a kind that is not used here (RFC 7517 section 5: ignored), which is
                                           no reason for an alarm */
};

/* Parse a set.  A bad key is left out and reported (`report` may be NULL): RSA below 2048 bits or with an exponent that is even or below 65537, a point that is not on its curve, a symmetric or private
 * key.  Keys of an unknown type, curve or algorithm are left out with a note, keys for encryption without a report.
 * Keys of one kid are distinguished by their algorithms (RFC 7517 section 4.5); where two different ones fit an
 * algorithm, neither is used for it.  IA_FORMAT when the text is not a JWK set, or exceeds a limit; a set without a usable
 * key parses.  The caller owns *out. */
IA_MUST_USE enum ia_rc ia_jwks_parse(const char *text, size_t len, const struct ia_jwks_report *report,
                                     struct ia_jwks **out, struct ia_err *err);
void ia_jwks_free(struct ia_jwks *jwks);

enum ia_jwks_found {
    IA_JWKS_FOUND,
    IA_JWKS_NO_KID,    /* no key has that kid */
    IA_JWKS_NO_ALG,    /* none that has it may be used with any of the algorithms */
    IA_JWKS_AMBIGUOUS, /* several may */
};

/* The key of that exact kid for one of the algorithms in `algs` (set of 1 << enum ia_alg); without a kid (NULL) the only
 * key of the set that fits one of them (OpenID Connect Core section 10.1), IA_JWKS_AMBIGUOUS if several do.  *out is borrowed from the
 * set, which may be NULL. */
enum ia_jwks_found ia_jwks_find(const struct ia_jwks *jwks, const char *kid, unsigned algs, const struct ia_jwk **out);

/* Keys that the set lists, and those of them that can be used. */
size_t ia_jwks_listed(const struct ia_jwks *jwks);
size_t ia_jwks_count(const struct ia_jwks *jwks);

/* Is the signature of `jws` by `key`?  IA_R_NONE; IA_R_TOKEN_ALGORITHM when the algorithm is not for that key; IA_R_TOKEN_SIGNATURE; IA_R_INTERNAL.  Leaves OpenSSL's error queue as it was.  Any thread. */
enum ia_reason ia_signature_verify(const struct ia_jws *jws, const struct ia_jwk *key, char detail[IA_DETAIL_MAX]);
