// SPDX-License-Identifier: ISC
/* One JSON Web Key (RFC 7517 section 4, 7518 section 6, 8037 section 2).  Internal to oauth/. */
#pragma once

#include "oauth/json.h"
#include "oauth/jwks.h"

enum ia_jwk_result {
    IA_JWK_OK,
    IA_JWK_SKIP,    /* for another use, e.g. encryption */
    IA_JWK_IGNORED, /* of a type, curve or algorithm that is not used here; `wrong` says which */
    IA_JWK_BAD,     /* `wrong` says why */
    IA_JWK_NOMEM,
};

#define IA_JWK_TEXT_MAX 160

/* Parse `json`; on IA_JWK_OK the caller owns what *out holds (ia_jwk_clear).  `wrong` never quotes key material. */
enum ia_jwk_result ia_jwk_parse(const json_t *json, struct ia_jwk *out, char wrong[IA_JWK_TEXT_MAX]);
void ia_jwk_clear(struct ia_jwk *jwk);

/* `kid` for a message: truncated, and characters that could forge a line replaced. */
void ia_kid_print(const char *kid, char out[48]);

/* Initialise a verification for each algorithm that `jwk` may be used with: looking up OpenSSL's algorithms takes a quarter
 * of a whole RSA verification, a copy next to nothing. */
IA_MUST_USE bool ia_signature_prepare(struct ia_jwk *jwk);
