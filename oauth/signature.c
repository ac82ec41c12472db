// SPDX-License-Identifier: ISC
/* Checking the signature of a JWS with a key that was parsed before. */
#include "oauth/jwk.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <stdio.h>

#define ECDSA_DER_MAX 160 /* SEQUENCE of two INTEGERs of 66 bytes, with room */

static enum ia_reason refuse(char detail[IA_DETAIL_MAX], enum ia_reason reason, const char *text)
{
    snprintf(detail, IA_DETAIL_MAX, "%s", text);
    return reason;
}

/* Bytes of r and of s (RFC 7518 section 3.4), 0 where the key's signatures are no such pair. */
static size_t coordinate_len(enum ia_key_type type)
{
    switch (type) {
    case IA_KEY_P256:
        return 32;
    case IA_KEY_P384:
        return 48;
    case IA_KEY_P521:
        return 66;
    default:
        return 0;
    }
}

/* r || s as OpenSSL wants it; 0 on failure.  `raw` has 2 * n bytes. */
static size_t ecdsa_der(const uint8_t *raw, size_t n, uint8_t der[ECDSA_DER_MAX])
{
    ECDSA_SIG *pair = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw, (int)n, NULL);
    BIGNUM *s = BN_bin2bn(raw + n, (int)n, NULL);
    int len = 0;
    if (!pair || !r || !s || ECDSA_SIG_set0(pair, r, s) != 1) {
        BN_free(r);
        BN_free(s);
    } else if (i2d_ECDSA_SIG(pair, NULL) <= ECDSA_DER_MAX) {
        len = i2d_ECDSA_SIG(pair, &der);
    }
    ECDSA_SIG_free(pair);
    return len > 0 ? (size_t)len : 0;
}

static bool set_pss(EVP_PKEY_CTX *ctx)
{
    /* RFC 7518 section 3.5: the salt is as long as the digest, and MGF1 uses the same digest (OpenSSL's default). */
    return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1;
}

static bool begin(EVP_MD_CTX *ctx, enum ia_alg alg, EVP_PKEY *key)
{
    EVP_PKEY_CTX *key_ctx = NULL; /* owned by ctx */
    return EVP_DigestVerifyInit_ex(ctx, &key_ctx, ia_alg_digest(alg), NULL, NULL, key, NULL) == 1 &&
           (!ia_alg_is_pss(alg) || set_pss(key_ctx));
}

bool ia_signature_prepare(struct ia_jwk *jwk)
{
    for (enum ia_alg alg = IA_ALG_NONE + 1; alg < IA_ALG_COUNT; alg++) {
        if (!ia_alg_fits(alg, jwk->type) || (jwk->alg != IA_ALG_NONE && jwk->alg != alg))
            continue;
        jwk->ready[alg] = EVP_MD_CTX_new();
        if (!jwk->ready[alg] || !begin(jwk->ready[alg], alg, jwk->key))
            return false;
    }
    return true;
}

static enum ia_reason verify(const struct ia_jws *jws, const struct ia_jwk *key, const uint8_t *signature, size_t len,
                             char detail[IA_DETAIL_MAX])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (!ctx || EVP_MD_CTX_copy_ex(ctx, key->ready[jws->alg]) != 1) {
        EVP_MD_CTX_free(ctx);
        return refuse(detail, IA_R_INTERNAL, "OpenSSL cannot begin to verify");
    }
    EVP_MD_CTX_set_flags(ctx, EVP_MD_CTX_FLAG_FINALISE); /* it is used once: no need to keep a copy */
    int good = EVP_DigestVerify(ctx, signature, len, (const uint8_t *)jws->signed_text, jws->signed_len);
    EVP_MD_CTX_free(ctx);
    return good == 1 ? IA_R_NONE : refuse(detail, IA_R_TOKEN_SIGNATURE, "the signature is not by that key");
}

static enum ia_reason verify_ecdsa(const struct ia_jws *jws, const struct ia_jwk *key, size_t n,
                                   char detail[IA_DETAIL_MAX])
{
    uint8_t der[ECDSA_DER_MAX];
    if (jws->signature_len != 2 * n)
        return refuse(detail, IA_R_TOKEN_SIGNATURE, "the signature is not of its curve's size");
    size_t len = ecdsa_der(jws->signature, n, der);
    if (len == 0)
        return refuse(detail, IA_R_INTERNAL, IA_NOMEM_TEXT);
    return verify(jws, key, der, len, detail);
}

enum ia_reason ia_signature_verify(const struct ia_jws *jws, const struct ia_jwk *key, char detail[IA_DETAIL_MAX])
{
    detail[0] = '\0';
    if (!ia_alg_fits(jws->alg, key->type))
        return refuse(detail, IA_R_TOKEN_ALGORITHM, "alg does not fit the key's type and curve");
    if (key->alg != IA_ALG_NONE && key->alg != jws->alg)
        return refuse(detail, IA_R_TOKEN_ALGORITHM, "alg is not the one that the key is for");
    ERR_set_mark();
    size_t n = coordinate_len(key->type);
    enum ia_reason reason =
        n ? verify_ecdsa(jws, key, n, detail) : verify(jws, key, jws->signature, jws->signature_len, detail);
    ERR_pop_to_mark();
    return reason;
}
