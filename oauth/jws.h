// SPDX-License-Identifier: ISC
/* JWS compact serialization (RFC 7515 section 7.1), split and decoded strictly.  Nothing here is verified yet: that
 * takes ia_signature_verify with a key of the right issuer. */
#pragma once

#include "oauth/alg.h"
#include "oauth/refusal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IA_TOKEN_MAX 16384 /* bytes of the compact form */
#define IA_KID_MAX   256   /* bytes of a key id */
#define IA_TYP_MAX   64

struct ia_jws {
    enum ia_alg alg;
    bool has_kid;
    char kid[IA_KID_MAX + 1]; /* data, never a path or a query */
    char typ[IA_TYP_MAX + 1]; /* as it stands, "" when absent */
    const char *signed_text;  /* header and payload as signed: borrowed from the input */
    size_t signed_len;
    const char *encoded_payload, *encoded_signature; /* borrowed likewise */
    size_t encoded_payload_len, encoded_signature_len;
    uint8_t *payload; /* decoded; owned, like signature */
    size_t payload_len;
    uint8_t *signature;
    size_t signature_len;
    uint8_t *block; /* holds both */
    size_t block_len;
};

/* Is text[0..len) a JOSE header in base64url: a JSON object with a member `alg`, whatever its value?  Without memory
 * the answer is yes: it is better to refuse a bad token than to take a token for a password. */
bool ia_jose_header_valid(const char *text, size_t len);

/* Split text[0..len), which must outlive *out, and read its header.  Refused with IA_R_TOKEN_MALFORMED or
 * IA_R_TOKEN_ALGORITHM and `detail`: padding, bits beyond the last byte, more or fewer than two dots, a header that is
 * not one JSON object without duplicates, `crit` (extensions that we would have to understand), an algorithm that is
 * not in ia_alg.  `jku`, `jwk`, `x5u` and `x5c` are ignored: a token cannot bring its own key.  On success the caller
 * owns *out (ia_jws_clear). */
enum ia_reason ia_jws_open(const char *text, size_t len, struct ia_jws *out, char detail[IA_DETAIL_MAX]);

/* Decode payload and signature of an opened one. */
enum ia_reason ia_jws_decode(struct ia_jws *jws, char detail[IA_DETAIL_MAX]);

/* Both.  On success the caller owns *out. */
enum ia_reason ia_jws_parse(const char *text, size_t len, struct ia_jws *out, char detail[IA_DETAIL_MAX]);

/* Wipe and free.  Harmless on a zeroed one. */
void ia_jws_clear(struct ia_jws *jws);
