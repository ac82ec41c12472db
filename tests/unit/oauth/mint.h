// SPDX-License-Identifier: ISC
/* Test helper: keys, JWK sets and tokens made by OpenSSL, apart from the code under test. */
#pragma once

#include "oauth/alg.h"

#include <openssl/evp.h>
#include <stddef.h>

/* A key pair made once a process for that type; `bits` counts for RSA only. */
EVP_PKEY *mint_key(enum ia_key_type type, unsigned bits);
EVP_PKEY *mint_rsa(unsigned bits, unsigned exponent); /* the caller's */

/* base64url without padding; the caller frees. */
char *mint_base64url(const void *bytes, size_t len);

/* The public key as a JWK; `kid` NULL: without; `more`: further members such as `,"use":"sig"`.  The caller frees. */
char *mint_jwk(EVP_PKEY *key, const char *kid, const char *more);
char *mint_jwks(EVP_PKEY *key, const char *kid); /* a set with that one key */

/* header and payload as given, signed.  The caller frees. */
char *mint_token(EVP_PKEY *key, enum ia_alg alg, const char *header, const char *payload);

/* snprintf into fresh memory; the caller frees. */
char *mint_text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
