// SPDX-License-Identifier: ISC
/* The signature algorithms of JWS (RFC 7518 section 3, RFC 8037) that may be used.  HMAC and `none` are not among them:
 * with these, a party that can verify a token could also make one. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Also the number of a bit in a set of algorithms. */
enum ia_alg {
    IA_ALG_NONE = 0, /* no algorithm, or one that is not supported */
    IA_ALG_RS256,
    IA_ALG_RS384,
    IA_ALG_RS512,
    IA_ALG_PS256,
    IA_ALG_PS384,
    IA_ALG_PS512,
    IA_ALG_ES256,
    IA_ALG_ES384,
    IA_ALG_ES512,
    IA_ALG_EDDSA,
    IA_ALG_COUNT
};

/* Type and curve of a public key. */
enum ia_key_type { IA_KEY_RSA = 1, IA_KEY_P256, IA_KEY_P384, IA_KEY_P521, IA_KEY_ED25519, IA_KEY_ED448 };

/* The algorithm of that exact name (case counts), IA_ALG_NONE for any other. */
enum ia_alg ia_alg_from_name(const char *name);
const char *ia_alg_name(enum ia_alg alg); /* static; "" for IA_ALG_NONE */

/* May `alg` be used with a key of that type and curve? */
bool ia_alg_fits(enum ia_alg alg, enum ia_key_type type);

/* Name of the digest for OpenSSL, NULL for EdDSA, which hashes by itself. */
const char *ia_alg_digest(enum ia_alg alg);
bool ia_alg_is_pss(enum ia_alg alg);
