// SPDX-License-Identifier: ISC
/* Verifies the signature of a JWS with a parsed key. */
#include "oauth/jwk.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <stdio.h>

#define ECDSA_DER_MAX 160 /* SEQUENCE of two INTEGERs of 66 bytes, with room */

/* Bytes of r and of s (RFC 7518 section 3.4), 0 where signatures of the key are no such pair. */
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

/* r || s in DER for OpenSSL; 0 on failure.  `raw` has 2 * n bytes. */
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

static bool begin_verification(EVP_MD_CTX *ctx, enum ia_alg alg, EVP_PKEY *key)
{
    EVP_PKEY_CTX *key_ctx = NULL; /* owned by ctx */
    return EVP_DigestVerifyInit_ex(ctx, &key_ctx, ia_alg_digest(alg), NULL, NULL, key, NULL) == 1 &&
           (!ia_alg_is_pss(alg) || set_pss(key_ctx));
}

bool ia_signature_prepare(struct ia_jwk *jwk)
{
    for (enum ia_alg alg = IA_ALG_NONE + 1; alg < IA_ALG_COUNT; alg++) {
        if (!(jwk->algs & 1u << alg))
            continue;
        jwk->ready[alg] = EVP_MD_CTX_new();
        if (!jwk->ready[alg] || !begin_verification(jwk->ready[alg], alg, jwk->key))
            return false;
    }
    return true;
}

static enum ia_reason verify_bytes(const struct ia_jws *jws, const EVP_MD_CTX *ready, const uint8_t *signature,
                                   size_t len, char detail[IA_DETAIL_MAX])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (!ctx || EVP_MD_CTX_copy_ex(ctx, ready) != 1) {
        EVP_MD_CTX_free(ctx);
        return ia_refusal_set(detail, IA_R_INTERNAL, "OpenSSL cannot start the verification");
    }
    EVP_MD_CTX_set_flags(ctx, EVP_MD_CTX_FLAG_FINALISE); /* it is used once: no need to keep a copy */
    int good = EVP_DigestVerify(ctx, signature, len, (const uint8_t *)jws->signed_text, jws->signed_len);
    EVP_MD_CTX_free(ctx);
    return good == 1 ? IA_R_NONE
                     : ia_refusal_set(detail, IA_R_TOKEN_SIGNATURE, "the signature does not verify with the key");
}

static enum ia_reason verify_ecdsa_pair(const struct ia_jws *jws, const EVP_MD_CTX *ready, size_t n,
                                        char detail[IA_DETAIL_MAX])
{
    uint8_t der[ECDSA_DER_MAX];
    if (jws->signature_len != 2 * n)
        return ia_refusal_set(detail, IA_R_TOKEN_SIGNATURE, "the signature does not have the size of the curve");
    size_t len = ecdsa_der(jws->signature, n, der);
    if (len == 0)
        return ia_refusal_set(detail, IA_R_INTERNAL, IA_NOMEM_TEXT);
    return verify_bytes(jws, ready, der, len, detail);
}

/* The lowest algorithm of a set that is not empty; of a key's two EdDSA never both. */
static enum ia_alg first_alg(unsigned algs)
{
    return (enum ia_alg)__builtin_ctz(algs);
}

enum ia_reason ia_signature_verify(const struct ia_jws *jws, const struct ia_jwk *key, char detail[IA_DETAIL_MAX])
{
    detail[0] = '\0';
    unsigned algs = ia_alg_set(jws->alg) & key->algs & ~key->ambiguous;
    if (algs == 0)
        return ia_refusal_set(detail, IA_R_TOKEN_ALGORITHM, "alg is not for the key of that kid");
    const EVP_MD_CTX *ready = key->ready[first_alg(algs)];
    ERR_set_mark();
    size_t n = coordinate_len(key->type);
    enum ia_reason reason = n ? verify_ecdsa_pair(jws, ready, n, detail)
                              : verify_bytes(jws, ready, jws->signature, jws->signature_len, detail);
    ERR_pop_to_mark();
    return reason;
}
