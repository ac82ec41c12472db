// SPDX-License-Identifier: ISC
#include "oauth/jws.h"

#include "common/error.h"
#include "oauth/base64url.h"
#include "oauth/json.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Split the three parts of the compact form (each may be empty) into *out. */
static bool split_parts(const char *text, size_t len, struct ia_jws *out)
{
    const char *end = text + len;
    const char *first = memchr(text, '.', len);
    if (!first)
        return false;
    const char *second = memchr(first + 1, '.', (size_t)(end - first - 1));
    if (!second || memchr(second + 1, '.', (size_t)(end - second - 1)))
        return false;
    *out = (struct ia_jws){.signed_text = text,
                           .signed_len = (size_t)(second - text),
                           .encoded_payload = first + 1,
                           .encoded_payload_len = (size_t)(second - first - 1),
                           .encoded_signature = second + 1,
                           .encoded_signature_len = (size_t)(end - second - 1)};
    return true;
}

/* Copy the string member `name` into out[size], which stays as it is when the member is absent. */
static bool copy_text(const json_t *header, const char *name, char *out, size_t size, bool *there)
{
    bool wrong;
    const char *text = ia_json_text(header, name, &wrong);
    *there = text;
    if (wrong || (text && strlen(text) >= size) || !ia_json_readable(ia_json_get(header, name)))
        return false;
    if (text)
        memcpy(out, text, strlen(text) + 1);
    return true;
}

static enum ia_reason read_header(const json_t *header, struct ia_jws *jws, char detail[IA_DETAIL_MAX])
{
    bool there, wrong;
    /* RFC 7515 section 4.1.11: extensions that must be understood; none is supported. */
    if (ia_json_get(header, "crit"))
        return ia_refusal_set(detail, IA_R_TOKEN_MALFORMED,
                              "the header holds crit, an extension that is not supported");
    if (!copy_text(header, "kid", jws->kid, sizeof jws->kid, &jws->has_kid))
        return ia_refusal_set(detail, IA_R_TOKEN_MALFORMED, "kid is not a string of at most %d bytes", IA_KID_MAX);
    if (!copy_text(header, "typ", jws->typ, sizeof jws->typ, &there))
        return ia_refusal_set(detail, IA_R_TOKEN_MALFORMED, "typ is not a string of at most %d bytes", IA_TYP_MAX);
    const char *alg = ia_json_text(header, "alg", &wrong);
    if (!alg || !ia_json_readable(ia_json_get(header, "alg")))
        return ia_refusal_set(detail, IA_R_TOKEN_MALFORMED, "the header has no alg, or it is not a string");
    jws->alg = ia_alg_from_name(alg);
    if (jws->alg == IA_ALG_NONE)
        return ia_refusal_set(detail, IA_R_TOKEN_ALGORITHM, "alg is none, symmetric or unknown");
    return IA_R_NONE;
}

static enum ia_reason decode_header(struct ia_jws *jws, char detail[IA_DETAIL_MAX])
{
    size_t len, encoded_len = jws->signed_len - jws->encoded_payload_len - 1;
    if (!ia_base64url_decode(jws->signed_text, encoded_len, jws->block, &len))
        return ia_refusal_set(detail, IA_R_TOKEN_MALFORMED, "the header is not base64url");
    const char *why;
    json_auto_t *header = ia_json_load(jws->block, len, &why);
    if (!header)
        return ia_refusal_set(detail, IA_R_TOKEN_MALFORMED, "the header %s", why);
    return read_header(header, jws, detail);
}

enum ia_reason ia_jws_open(const char *text, size_t len, struct ia_jws *out, char detail[IA_DETAIL_MAX])
{
    struct ia_jws jws;
    detail[0] = '\0';
    if (len > IA_TOKEN_MAX)
        return ia_refusal_set(detail, IA_R_TOKEN_MALFORMED, "longer than %d bytes", IA_TOKEN_MAX);
    if (!split_parts(text, len, &jws))
        return ia_refusal_set(detail, IA_R_TOKEN_MALFORMED, "not three parts with two dots");
    jws.block_len = IA_BASE64URL_BYTES(len) + 2; /* header and payload are decoded one after the other */
    jws.block = malloc(jws.block_len);
    if (!jws.block)
        return ia_refusal_set(detail, IA_R_INTERNAL, IA_NOMEM_TEXT);
    enum ia_reason reason = decode_header(&jws, detail);
    if (reason == IA_R_NONE)
        *out = jws;
    else
        ia_jws_clear(&jws);
    return reason;
}

enum ia_reason ia_jws_decode(struct ia_jws *jws, char detail[IA_DETAIL_MAX])
{
    // NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Assign): ia_jws_open has set it
    jws->payload = jws->block; /* the decoded header is not needed any more */
    if (!ia_base64url_decode(jws->encoded_payload, jws->encoded_payload_len, jws->payload, &jws->payload_len))
        return ia_refusal_set(detail, IA_R_TOKEN_MALFORMED, "the payload is not base64url");
    jws->signature = jws->block + jws->payload_len;
    if (!ia_base64url_decode(jws->encoded_signature, jws->encoded_signature_len, jws->signature, &jws->signature_len))
        return ia_refusal_set(detail, IA_R_TOKEN_MALFORMED, "the signature is not base64url");
    return IA_R_NONE;
}

enum ia_reason ia_jws_parse(const char *text, size_t len, struct ia_jws *out, char detail[IA_DETAIL_MAX])
{
    struct ia_jws jws;
    enum ia_reason reason = ia_jws_open(text, len, &jws, detail);
    if (reason != IA_R_NONE)
        return reason;
    reason = ia_jws_decode(&jws, detail);
    if (reason == IA_R_NONE)
        *out = jws;
    else
        ia_jws_clear(&jws);
    return reason;
}

void ia_jws_clear(struct ia_jws *jws)
{
    if (jws->block)
        OPENSSL_cleanse(jws->block, jws->block_len);
    free(jws->block);
    *jws = (struct ia_jws){0};
}

bool ia_jose_header_valid(const char *text, size_t len)
{
    size_t decoded;
    if (len > IA_TOKEN_MAX)
        return false;
    uint8_t *bytes = malloc(IA_BASE64URL_BYTES(len));
    if (!bytes)
        return true;
    json_auto_t *header = NULL;
    if (ia_base64url_decode(text, len, bytes, &decoded))
        header = ia_json_load(bytes, decoded, NULL);
    OPENSSL_cleanse(bytes, IA_BASE64URL_BYTES(len));
    free(bytes);
    return header && ia_json_get(header, "alg");
}
