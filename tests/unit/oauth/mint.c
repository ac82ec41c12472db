// SPDX-License-Identifier: ISC
#define _GNU_SOURCE /* vasprintf */
#include "mint.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/rsa.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *kty, *crv;
    size_t len;
} types[] = {
    [IA_KEY_RSA] = {"RSA", NULL, 0},           [IA_KEY_P256] = {"EC", "P-256", 32},
    [IA_KEY_P384] = {"EC", "P-384", 48},       [IA_KEY_P521] = {"EC", "P-521", 66},
    [IA_KEY_ED25519] = {"OKP", "Ed25519", 32}, [IA_KEY_ED448] = {"OKP", "Ed448", 57},
};

/* A helper that fails must not let a test pass. */
static void require(bool good)
{
    if (!good)
        abort();
}

char *mint_text(const char *fmt, ...)
{
    va_list args;
    char *text = NULL;
    va_start(args, fmt);
    int n = vasprintf(&text, fmt, args);
    va_end(args);
    require(n >= 0);
    return text;
}

EVP_PKEY *mint_rsa(unsigned bits, unsigned exponent)
{
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_RSA, NULL);
    BIGNUM *e = BN_new();
    BN_set_word(e, exponent);
    int good = EVP_PKEY_keygen_init(ctx) == 1 && EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, (int)bits) == 1 &&
               EVP_PKEY_CTX_set1_rsa_keygen_pubexp(ctx, e) == 1 && EVP_PKEY_generate(ctx, &key) == 1;
    require(good);
    BN_free(e);
    EVP_PKEY_CTX_free(ctx);
    return key;
}

EVP_PKEY *mint_key(enum ia_key_type type, unsigned bits)
{
    static EVP_PKEY *keys[IA_KEY_ED448 + 1];
    if (type == IA_KEY_RSA && bits != 2048)
        return mint_rsa(bits, 65537);
    if (!keys[type]) {
        if (type == IA_KEY_RSA)
            keys[type] = mint_rsa(bits, 65537);
        else if (type == IA_KEY_ED25519 || type == IA_KEY_ED448)
            keys[type] = EVP_PKEY_Q_keygen(NULL, NULL, types[type].crv);
        else
            keys[type] = EVP_PKEY_Q_keygen(NULL, NULL, "EC", types[type].crv);
    }
    require(keys[type] != NULL);
    return keys[type];
}

char *mint_base64url(const void *bytes, size_t len)
{
    char *out = malloc(len * 4 / 3 + 8);
    int n = EVP_EncodeBlock((unsigned char *)out, bytes, (int)len);
    while (n > 0 && out[n - 1] == '=')
        n--;
    out[n] = '\0';
    for (char *p = out; *p; p++)
        *p = *p == '+' ? '-' : *p == '/' ? '_' : *p;
    return out;
}

static char *bn_member(EVP_PKEY *key, const char *param, const char *name, size_t len)
{
    BIGNUM *n = NULL;
    int good = EVP_PKEY_get_bn_param(key, param, &n);
    require(good == 1);
    if (len == 0)
        len = (size_t)BN_num_bytes(n);
    uint8_t *bytes = calloc(1, len);
    BN_bn2binpad(n, bytes, (int)len);
    char *value = mint_base64url(bytes, len);
    char *member = mint_text(",\"%s\":\"%s\"", name, value);
    BN_free(n);
    free(bytes);
    free(value);
    return member;
}

static enum ia_key_type type_of(EVP_PKEY *key)
{
    if (EVP_PKEY_is_a(key, "RSA"))
        return IA_KEY_RSA;
    if (EVP_PKEY_is_a(key, "ED25519"))
        return IA_KEY_ED25519;
    if (EVP_PKEY_is_a(key, "ED448"))
        return IA_KEY_ED448;
    int bits = EVP_PKEY_get_bits(key);
    return bits == 256 ? IA_KEY_P256 : bits == 384 ? IA_KEY_P384 : IA_KEY_P521;
}

char *mint_jwk(EVP_PKEY *key, const char *kid, const char *more)
{
    enum ia_key_type type = type_of(key);
    char *a, *b = NULL;
    if (type == IA_KEY_RSA) {
        a = bn_member(key, OSSL_PKEY_PARAM_RSA_N, "n", 0);
        b = bn_member(key, OSSL_PKEY_PARAM_RSA_E, "e", 0);
    } else if (type == IA_KEY_ED25519 || type == IA_KEY_ED448) {
        uint8_t raw[57];
        size_t len = sizeof raw;
        EVP_PKEY_get_raw_public_key(key, raw, &len);
        char *value = mint_base64url(raw, len);
        a = mint_text(",\"x\":\"%s\"", value);
        free(value);
    } else {
        a = bn_member(key, OSSL_PKEY_PARAM_EC_PUB_X, "x", types[type].len);
        b = bn_member(key, OSSL_PKEY_PARAM_EC_PUB_Y, "y", types[type].len);
    }
    char *crv = types[type].crv ? mint_text(",\"crv\":\"%s\"", types[type].crv) : mint_text("%s", "");
    char *name = kid ? mint_text(",\"kid\":\"%s\"", kid) : mint_text("%s", "");
    char *jwk = mint_text("{\"kty\":\"%s\"%s%s%s%s%s}", types[type].kty, crv, name, a, b ? b : "", more ? more : "");
    free(a);
    free(b);
    free(crv);
    free(name);
    return jwk;
}

char *mint_jwks(EVP_PKEY *key, const char *kid)
{
    char *jwk = mint_jwk(key, kid, NULL);
    char *jwks = mint_text("{\"keys\":[%s]}", jwk);
    free(jwk);
    return jwks;
}

/* OpenSSL's DER signature as r || s. */
static size_t raw_ecdsa(uint8_t *signature, size_t len, size_t n)
{
    const unsigned char *p = signature;
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &p, (long)len);
    require(pair != NULL);
    BN_bn2binpad(ECDSA_SIG_get0_r(pair), signature, (int)n);
    BN_bn2binpad(ECDSA_SIG_get0_s(pair), signature + n, (int)n);
    ECDSA_SIG_free(pair);
    return 2 * n;
}

static const EVP_MD *digest_of(enum ia_alg alg)
{
    switch (alg) {
    case IA_ALG_RS384:
    case IA_ALG_PS384:
    case IA_ALG_ES384:
        return EVP_sha384();
    case IA_ALG_RS512:
    case IA_ALG_PS512:
    case IA_ALG_ES512:
        return EVP_sha512();
    case IA_ALG_EDDSA:
    case IA_ALG_ED25519:
    case IA_ALG_ED448:
        return NULL;
    default:
        return EVP_sha256();
    }
}

static size_t sign(EVP_PKEY *key, enum ia_alg alg, const char *text, uint8_t *signature, size_t size)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *key_ctx = NULL;
    int good = EVP_DigestSignInit(ctx, &key_ctx, digest_of(alg), NULL, key);
    if (good == 1 && alg >= IA_ALG_PS256 && alg <= IA_ALG_PS512)
        good = EVP_PKEY_CTX_set_rsa_padding(key_ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
               EVP_PKEY_CTX_set_rsa_pss_saltlen(key_ctx, RSA_PSS_SALTLEN_DIGEST) == 1;
    if (good == 1)
        good = EVP_DigestSign(ctx, signature, &size, (const uint8_t *)text, strlen(text));
    require(good == 1);
    EVP_MD_CTX_free(ctx);
    enum ia_key_type type = type_of(key);
    return type >= IA_KEY_P256 && type <= IA_KEY_P521 ? raw_ecdsa(signature, size, types[type].len) : size;
}

char *mint_token(EVP_PKEY *key, enum ia_alg alg, const char *header, const char *payload)
{
    uint8_t signature[1200];
    char *h = mint_base64url(header, strlen(header));
    char *p = mint_base64url(payload, strlen(payload));
    char *text = mint_text("%s.%s", h, p);
    size_t len = sign(key, alg, text, signature, sizeof signature);
    char *s = mint_base64url(signature, len);
    char *token = mint_text("%s.%s", text, s);
    free(h);
    free(p);
    free(text);
    free(s);
    return token;
}
