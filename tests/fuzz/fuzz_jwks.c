// SPDX-License-Identifier: ISC
/* What a provider answers: a key set, or metadata.  A set must keep to its bounds and hold only keys that are fit, each
 * under one kid, and no report has a control character. */
#include "oauth/fetch_url.h"
#include "oauth/jwks.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void on_text(void *ctx, int64_t index, const char *text)
{
    (void)ctx;
    must(index >= 0 && index < IA_JWKS_KEYS_MAX);
    must(text[0] != '\0');
    for (; *text; text++)
        must((unsigned char)*text >= 0x20 && *text != 0x7F);
}

/* Whatever key came through must not take a signature that nobody made. */
static void try_key(const struct ia_jwk *key)
{
    char detail[IA_DETAIL_MAX];
    uint8_t zeros[IA_RSA_BITS_MAX / 8] = {0};
    struct ia_jws jws = {.signed_text = "a.b", .signed_len = 3, .signature = zeros, .signature_len = 64};
    must(key->kid[0] && strlen(key->kid) <= IA_KID_MAX);
    must(key->algs && !(key->algs & ~ia_alg_set_of_key(key->type)));
    must(key->type != IA_KEY_RSA || EVP_PKEY_get_bits(key->key) >= IA_RSA_BITS_MIN);
    for (jws.alg = IA_ALG_NONE + 1; jws.alg < IA_ALG_COUNT; jws.alg++)
        if (jws.alg < IA_ALG_EDDSA) /* a key of small order takes a signature of zeros: its owner's own fault */
            must(ia_signature_verify(&jws, key, detail) != IA_R_NONE);
}

static void parse_set(const char *text, size_t len)
{
    static const struct ia_jwks_report report = {.problem = {on_text, NULL}, .note = {on_text, NULL}};
    struct ia_jwks *jwks = NULL;
    if (ia_jwks_parse(text, len, &report, &jwks, NULL) != IA_OK)
        return;
    must(ia_jwks_count(jwks) <= IA_JWKS_KEYS_MAX);
    static const char *const kids[] = {"k", "k1", "1", "a"};
    for (size_t i = 0; i < sizeof kids / sizeof kids[0]; i++) {
        const struct ia_jwk *key = NULL;
        if (ia_jwks_find(jwks, kids[i], ~0u, &key) == IA_JWKS_FOUND)
            try_key(key);
    }
    ia_jwks_free(jwks);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char url[IA_FETCH_URL_MAX];
    parse_set((const char *)data, size);
    if (ia_fetch_metadata_read((const char *)data, size, "https://idp.example", false, url, NULL) == IA_OK)
        must(strncasecmp(url, "https://", 8) == 0);
    must(ERR_peek_error() == 0);
    return 0;
}
