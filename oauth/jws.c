// SPDX-License-Identifier: ISC
#include "oauth/jws.h"

#include "common/error.h"
#include "oauth/base64url.h"
#include "oauth/json.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The three parts of the compact form; each may be empty. */
struct parts {
    const char *header, *payload, *signature;
    size_t header_len, payload_len, signature_len;
};

static enum ia_reason refuse(char detail[IA_DETAIL_MAX], enum ia_reason reason, const char *text)
{
    snprintf(detail, IA_DETAIL_MAX, "%s", text);
    return reason;
}

static bool split(const char *text, size_t len, struct parts *out)
{
    const char *end = text + len;
    const char *first = memchr(text, '.', len);
    if (!first)
        return false;
    const char *second = memchr(first + 1, '.', (size_t)(end - first - 1));
    if (!second || memchr(second + 1, '.', (size_t)(end - second - 1)))
        return false;
    *out = (struct parts){.header = text,
                          .header_len = (size_t)(first - text),
                          .payload = first + 1,
                          .payload_len = (size_t)(second - first - 1),
                          .signature = second + 1,
                          .signature_len = (size_t)(end - second - 1)};
    return true;
}

/* Copy the string member `name` into out[size], which stays as it is when the member is absent. */
static bool copy_text(const json_t *header, const char *name, char *out, size_t size, bool *there)
{
    bool wrong;
    const char *text = ia_json_text(header, name, &wrong);
    *there = text;
    if (wrong || (text && strlen(text) >= size))
        return false;
    if (text)
        memcpy(out, text, strlen(text) + 1);
    return true;
}

static enum ia_reason read_header(const json_t *header, struct ia_jws *jws, char detail[IA_DETAIL_MAX])
{
    bool there, wrong;
    /* RFC 7515 section 4.1.11: extensions that must be understood, and we know none. */
    if (json_object_get(header, "crit"))
        return refuse(detail, IA_R_TOKEN_MALFORMED, "the header holds crit, an extension that is not supported");
    if (!copy_text(header, "kid", jws->kid, sizeof jws->kid, &jws->has_kid))
        return refuse(detail, IA_R_TOKEN_MALFORMED, "kid is no string, or too long");
    if (!copy_text(header, "typ", jws->typ, sizeof jws->typ, &there))
        return refuse(detail, IA_R_TOKEN_MALFORMED, "typ is no string, or too long");
    const char *alg = ia_json_text(header, "alg", &wrong);
    if (!alg)
        return refuse(detail, IA_R_TOKEN_MALFORMED, "the header has no alg");
    jws->alg = ia_alg_from_name(alg);
    if (jws->alg == IA_ALG_NONE)
        return refuse(detail, IA_R_TOKEN_ALGORITHM, "alg is none, symmetric or unknown");
    return IA_R_NONE;
}

static enum ia_reason decode_header(const struct parts *parts, struct ia_jws *jws, char detail[IA_DETAIL_MAX])
{
    size_t len;
    if (!ia_base64url_decode(parts->header, parts->header_len, jws->block, &len))
        return refuse(detail, IA_R_TOKEN_MALFORMED, "the header is not base64url");
    json_auto_t *header = ia_json_load(jws->block, len);
    if (!header)
        return refuse(detail, IA_R_TOKEN_MALFORMED, "the header is not one JSON object without duplicates");
    return read_header(header, jws, detail);
}

static enum ia_reason decode(const struct parts *parts, struct ia_jws *jws, char detail[IA_DETAIL_MAX])
{
    enum ia_reason reason = decode_header(parts, jws, detail);
    if (reason != IA_R_NONE)
        return reason;
    jws->payload = jws->block;
    if (!ia_base64url_decode(parts->payload, parts->payload_len, jws->payload, &jws->payload_len))
        return refuse(detail, IA_R_TOKEN_MALFORMED, "the payload is not base64url");
    jws->signature = jws->block + jws->payload_len;
    if (!ia_base64url_decode(parts->signature, parts->signature_len, jws->signature, &jws->signature_len))
        return refuse(detail, IA_R_TOKEN_MALFORMED, "the signature is not base64url");
    return IA_R_NONE;
}

enum ia_reason ia_jws_parse(const char *text, size_t len, struct ia_jws *out, char detail[IA_DETAIL_MAX])
{
    struct parts parts;
    detail[0] = '\0';
    if (len > IA_TOKEN_MAX)
        return refuse(detail, IA_R_TOKEN_MALFORMED, "longer than 16384 bytes");
    if (!split(text, len, &parts))
        return refuse(detail, IA_R_TOKEN_MALFORMED, "not three parts with two dots");
    struct ia_jws jws = {.signed_text = text, .signed_len = parts.header_len + 1 + parts.payload_len};
    jws.block_len = IA_BASE64URL_BYTES(len) + 2; /* header and payload are decoded one after the other */
    jws.block = malloc(jws.block_len);
    if (!jws.block)
        return refuse(detail, IA_R_INTERNAL, IA_NOMEM_TEXT);
    enum ia_reason reason = decode(&parts, &jws, detail);
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

bool ia_token_looks_like(const char *text, size_t len)
{
    struct parts parts;
    size_t decoded;
    if (!split(text, len, &parts) || parts.header_len > IA_TOKEN_MAX)
        return false;
    uint8_t *bytes = malloc(IA_BASE64URL_BYTES(parts.header_len));
    if (!bytes)
        return true; /* better refused as a bad token than taken for a password */
    json_auto_t *header = NULL;
    if (ia_base64url_decode(parts.header, parts.header_len, bytes, &decoded))
        header = ia_json_load(bytes, decoded);
    OPENSSL_cleanse(bytes, IA_BASE64URL_BYTES(parts.header_len));
    free(bytes);
    return header && json_object_get(header, "alg");
}
