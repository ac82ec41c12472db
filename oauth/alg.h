// SPDX-License-Identifier: ISC
/* The signature algorithms of JWS (RFC 7518 section 3, RFC 8037, RFC 9864) that may be used.  HMAC and `none` are not
 * among them: with these, a party that can verify a token could also make one. */
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
    IA_ALG_EDDSA, /* as a name only: it stands for the two below, the curve of the key decides */
    IA_ALG_ED25519,
    IA_ALG_ED448,
    IA_ALG_COUNT
};

/* Type and curve of a public key. */
enum ia_key_type { IA_KEY_RSA = 1, IA_KEY_P256, IA_KEY_P384, IA_KEY_P521, IA_KEY_ED25519, IA_KEY_ED448 };

/* The algorithm of that exact name (case counts), IA_ALG_NONE for any other.  ESP256, ESP384 and ESP512 (RFC 9864) are
 * ES256, ES384 and ES512, which JOSE has always bound to one curve. */
enum ia_alg ia_alg_from_name(const char *name);
const char *ia_alg_name(enum ia_alg alg); /* static; "" for IA_ALG_NONE */

/* The fully-specified algorithms (RFC 9864) that `alg` stands for, as a set of 1 << enum ia_alg: itself, but for EdDSA
 * Ed25519 and Ed448.  0 for IA_ALG_NONE. */
unsigned ia_alg_set(enum ia_alg alg);

/* The fully-specified algorithms that a key of that type and curve may be used with. */
unsigned ia_alg_set_of_key(enum ia_key_type type);

/* Name of the digest for OpenSSL, NULL for EdDSA, which hashes by itself. */
const char *ia_alg_digest(enum ia_alg alg);
bool ia_alg_is_pss(enum ia_alg alg);
