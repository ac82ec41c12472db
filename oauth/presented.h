// SPDX-License-Identifier: ISC
/* A text that a client presents, its MQTT password for instance: is it a token?  Its header is parsed here, once; the
 * verification continues from there. */
#pragma once

#include "oauth/jws.h"

#define IA_SHA256_LEN 32

/* A password of this many characters of RFC 6750's b64token, or more, may be an opaque token: 22 characters of base64url
 * are the 128 bits that RFC 6749 section 10.10 asks for. */
#define IA_OPAQUE_TOKEN_MIN 22

enum ia_presented_kind {
    IA_PRESENTED_OTHER = 0, /* nothing, or an ordinary password */
    IA_PRESENTED_UNUSABLE,  /* perhaps a token, but none in JOSE compact form; it may be an ordinary password as well */
    IA_PRESENTED_TOKEN, /* JOSE compact form (JWS: three parts, JWE: five) with a header: refused as a token when it is
                               a bad one, never taken for a password */
};

struct ia_presented {
    enum ia_presented_kind kind;
    const char *text; /* borrowed; behind `Bearer ` */
    size_t len;
    bool has_scheme;       /* `Bearer ` came before it */
    bool parsed;           /* the members below are valid */
    enum ia_reason reason; /* IA_R_NONE while nothing is wrong with it */
    char detail[IA_DETAIL_MAX];
    struct ia_jws jws; /* opened; owned */
    bool hashed;
    uint8_t sha256[IA_SHA256_LEN]; /* of text */
};

/* Begin with text[0..len), which must outlive *out.  `Bearer ` before a token, as in HTTP, is not part of it. */
void ia_presented_init(struct ia_presented *out, const char *text, size_t len);

/* Classify it and parse its header, unless that was done. */
void ia_presented_parse(struct ia_presented *presented);

/* Wipe and free what the struct owns. */
void ia_presented_clear(struct ia_presented *presented);
