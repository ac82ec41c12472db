// SPDX-License-Identifier: ISC
#include "oauth/jwk.h"

#include "oauth/base64url.h"

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/param_build.h>
#include <openssl/x509.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARAM_MAX (IA_RSA_BITS_MAX / 8 + 1) /* bytes of one decoded member; one leading zero is common in the wild */

static enum ia_jwk_result ignored_key(char wrong[IA_JWK_TEXT_MAX], const char *member, const char *value)
{
    char printed[48];
    ia_kid_print(value, printed);
    snprintf(wrong, IA_JWK_TEXT_MAX, "%s '%s' is not used here", member, printed);
    return IA_JWK_IGNORED;
}

static enum ia_jwk_result bad_key(char wrong[IA_JWK_TEXT_MAX], const char *fmt, ...) IA_PRINTF(2, 3);

static enum ia_jwk_result bad_key(char wrong[IA_JWK_TEXT_MAX], const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(wrong, IA_JWK_TEXT_MAX, fmt, args);
    va_end(args);
    return IA_JWK_BAD;
}

void ia_kid_print(const char *kid, char out[48])
{
    snprintf(out, 48, "%s", kid);
    for (char *p = out; *p; p++)
        if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7F)
            *p = '?';
}

/* Decode the base64url member `name` into out[max]; 0 when it is absent, empty, too long or wrong. */
static size_t read_param(const json_t *json, const char *name, uint8_t *out, size_t max)
{
    bool wrong;
    uint8_t bytes[IA_BASE64URL_BYTES(PARAM_MAX * 4 / 3 + 4)];
    const char *text = ia_json_text(json, name, &wrong);
    size_t text_len = text ? strlen(text) : 0, len;
    if (text_len > PARAM_MAX * 4 / 3 + 4 || !ia_base64url_decode(text ? text : "", text_len, bytes, &len) || len > max)
        return 0;
    memcpy(out, bytes, len);
    return len;
}

/* Make the public key of `type` from the parameters in `build`. */
static EVP_PKEY *key_from(const char *type, OSSL_PARAM_BLD *build)
{
    EVP_PKEY *key = NULL;
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (params && ctx && EVP_PKEY_fromdata_init(ctx) == 1)
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    return key;
}

static EVP_PKEY *rsa_key(const BIGNUM *n, const BIGNUM *e)
{
    EVP_PKEY *key = NULL;
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    if (build && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e))
        key = key_from("RSA", build);
    OSSL_PARAM_BLD_free(build);
    return key;
}

/* Does the modulus have the mark of CVE-2017-15361 (ROCA): is it a power of 65537 modulo each of the small primes?  The
 * private key of such a modulus can be computed. */
static bool rsa_is_roca(const BIGNUM *n)
{
    static const unsigned short primes[] = {11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157};
    for (size_t i = 0; i < sizeof primes / sizeof primes[0]; i++) {
        unsigned p = primes[i], power = 1;
        BN_ULONG rest = BN_mod_word(n, p);
        do
            power = power * (65537 % p) % p;
        while (power != rest && power != 1);
        if (power != rest)
            return false;
    }
    return true;
}

static const char *find_rsa_fault(const BIGNUM *n, const BIGNUM *e)
{
    if (BN_num_bits(n) < IA_RSA_BITS_MIN)
        return "RSA modulus is shorter than 2048 bits";
    if (BN_num_bits(n) > IA_RSA_BITS_MAX)
        return "RSA modulus is longer than 8192 bits";
    /* With e = 1 anybody can sign; 3 has let forgeries through lax padding checks (CVE-2006-4339). */
    if (!BN_is_odd(e) || BN_num_bits(e) < 17)
        return "RSA exponent is weak (even, or below 65537)";
    if (BN_num_bits(e) > 64)
        return "RSA exponent is longer than 64 bits";
    if (!BN_is_odd(n))
        return "RSA modulus is even";
    if (rsa_is_roca(n))
        return "RSA modulus has the weakness of CVE-2017-15361 (ROCA)";
    return NULL;
}

static enum ia_jwk_result parse_rsa(const json_t *json, struct ia_jwk *out, char wrong[IA_JWK_TEXT_MAX])
{
    uint8_t bytes[PARAM_MAX];
    size_t n_len = read_param(json, "n", bytes, sizeof bytes);
    BIGNUM *n = n_len ? BN_bin2bn(bytes, (int)n_len, NULL) : NULL;
    size_t e_len = read_param(json, "e", bytes, sizeof bytes);
    BIGNUM *e = e_len ? BN_bin2bn(bytes, (int)e_len, NULL) : NULL;
    const char *fault = n && e ? find_rsa_fault(n, e) : "n or e is missing, too long or not base64url";
    if (!fault) {
        out->type = IA_KEY_RSA;
        out->key = rsa_key(n, e);
        fault = out->key ? NULL : "OpenSSL rejects the key";
    }
    BN_free(n);
    BN_free(e);
    return fault ? bad_key(wrong, "%s", fault) : IA_JWK_OK;
}

static const struct curve {
    const char *name; /* RFC 7518 section 6.2.1.1, RFC 8037 section 2; OpenSSL knows them by the same names */
    enum ia_key_type type;
    size_t len; /* bytes of a coordinate, or of the key */
} ec_curves[] = {{"P-256", IA_KEY_P256, 32}, {"P-384", IA_KEY_P384, 48}, {"P-521", IA_KEY_P521, 66}},
  okp_curves[] = {{"Ed25519", IA_KEY_ED25519, 32}, {"Ed448", IA_KEY_ED448, 57}};

static const struct curve *find_curve(const char *crv, const struct curve *curves, size_t n)
{
    for (size_t i = 0; crv && i < n; i++)
        if (strcmp(curves[i].name, crv) == 0)
            return &curves[i];
    return NULL;
}

/* A curve that is not in the table: one that is not used here, or none. */
static enum ia_jwk_result refuse_curve(const char *crv, char wrong[IA_JWK_TEXT_MAX])
{
    return crv && *crv ? ignored_key(wrong, "crv", crv) : bad_key(wrong, "crv is missing or not a string");
}

static EVP_PKEY *ec_key(const struct curve *curve, const uint8_t *point, size_t len)
{
    EVP_PKEY *key = NULL;
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    if (build && OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, curve->name, 0) &&
        OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, len))
        key = key_from("EC", build); /* checks that the point is on the curve */
    OSSL_PARAM_BLD_free(build);
    return key;
}

static enum ia_jwk_result parse_ec(const json_t *json, struct ia_jwk *out, char wrong[IA_JWK_TEXT_MAX])
{
    bool not_text;
    const char *crv = ia_json_text(json, "crv", &not_text);
    const struct curve *curve = find_curve(crv, ec_curves, sizeof ec_curves / sizeof ec_curves[0]);
    if (!curve)
        return refuse_curve(crv, wrong);
    uint8_t point[1 + 2 * 66] = {POINT_CONVERSION_UNCOMPRESSED};
    /* RFC 7518 section 6.2.1.2: the full size of a coordinate, leading zeros and all. */
    if (read_param(json, "x", point + 1, curve->len) != curve->len ||
        read_param(json, "y", point + 1 + curve->len, curve->len) != curve->len)
        return bad_key(wrong, "x or y is missing, not base64url, or not of the curve's size");
    out->type = curve->type;
    out->key = ec_key(curve, point, 1 + 2 * curve->len);
    return out->key ? IA_JWK_OK : bad_key(wrong, "x and y are not a point on the curve");
}

static enum ia_jwk_result parse_okp(const json_t *json, struct ia_jwk *out, char wrong[IA_JWK_TEXT_MAX])
{
    bool not_text;
    const char *crv = ia_json_text(json, "crv", &not_text);
    const struct curve *curve = find_curve(crv, okp_curves, sizeof okp_curves / sizeof okp_curves[0]);
    if (!curve)
        return refuse_curve(crv, wrong);
    uint8_t bytes[57];
    if (read_param(json, "x", bytes, curve->len) != curve->len)
        return bad_key(wrong, "x is missing, not base64url, or not of the curve's size");
    out->type = curve->type;
    out->key = EVP_PKEY_new_raw_public_key_ex(NULL, curve->name, NULL, bytes, curve->len);
    return out->key ? IA_JWK_OK : bad_key(wrong, "OpenSSL rejects the key");
}

static bool key_ops_verify(const json_t *ops)
{
    size_t i;
    json_t *op;
    json_array_foreach(ops, i, op) {
        if (json_is_string(op) && strcmp(json_string_value(op), "verify") == 0)
            return true;
    }
    return false;
}

/* RFC 7517 sections 4.2, 4.3: is the key meant for checking signatures? */
static enum ia_jwk_result read_purpose(const json_t *json, char wrong[IA_JWK_TEXT_MAX])
{
    bool not_text;
    const char *use = ia_json_text(json, "use", &not_text);
    if (not_text)
        return bad_key(wrong, "use is not a string");
    if (use && strcmp(use, "sig") != 0)
        return IA_JWK_SKIP;
    const json_t *ops = ia_json_get(json, "key_ops");
    if (ops && !json_is_array(ops))
        return bad_key(wrong, "key_ops is not an array");
    return !ops || key_ops_verify(ops) ? IA_JWK_OK : IA_JWK_SKIP;
}

/* A set that holds private keys has given them away: such a key signs for anybody who could read the set. */
static bool has_private_member(const json_t *json)
{
    static const char *const names[] = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (ia_json_get(json, names[i]))
            return true;
    return false;
}

static enum ia_jwk_result parse_material(const json_t *json, struct ia_jwk *out, char wrong[IA_JWK_TEXT_MAX])
{
    bool not_text;
    const char *kty = ia_json_text(json, "kty", &not_text);
    if (!kty)
        return bad_key(wrong, "kty is missing or not a string");
    if (strcmp(kty, "oct") == 0)
        return bad_key(wrong, "is symmetric: whoever can verify with it could sign with it");
    if (has_private_member(json))
        return bad_key(wrong, "contains private key parameters; the key must be considered compromised");
    if (strcmp(kty, "RSA") == 0)
        return parse_rsa(json, out, wrong);
    if (strcmp(kty, "EC") == 0)
        return parse_ec(json, out, wrong);
    if (strcmp(kty, "OKP") == 0)
        return parse_okp(json, out, wrong);
    return *kty ? ignored_key(wrong, "kty", kty) : bad_key(wrong, "kty is empty");
}

/* What the key may be used with: its alg, or without one all that fit its type and curve. */
static enum ia_jwk_result read_alg(const json_t *json, struct ia_jwk *out, char wrong[IA_JWK_TEXT_MAX])
{
    bool not_text;
    const char *alg = ia_json_text(json, "alg", &not_text);
    if (not_text)
        return bad_key(wrong, "alg is not a string");
    out->algs = ia_alg_set_of_key(out->type);
    if (!alg)
        return IA_JWK_OK;
    unsigned named = ia_alg_set(ia_alg_from_name(alg));
    if (named == 0)
        return ignored_key(wrong, "alg", alg);
    out->algs &= named;
    return out->algs ? IA_JWK_OK : bad_key(wrong, "alg does not fit the key's type and curve");
}

static bool compute_key_id(struct ia_jwk *jwk)
{
    unsigned char *der = NULL;
    int len = i2d_PUBKEY(jwk->key, &der);
    bool done = len > 0 && EVP_Digest(der, (size_t)len, jwk->key_id, NULL, EVP_sha256(), NULL) == 1;
    OPENSSL_free(der);
    return done;
}

static enum ia_jwk_result parse_named(const json_t *json, const char *kid, struct ia_jwk *out,
                                      char wrong[IA_JWK_TEXT_MAX])
{
    enum ia_jwk_result result = parse_material(json, out, wrong);
    if (result == IA_JWK_OK)
        result = read_alg(json, out, wrong);
    if (result != IA_JWK_OK)
        return result;
    out->kid = strdup(kid);
    if (!out->kid)
        return IA_JWK_NOMEM;
    errno = 0; /* OpenSSL has one 'no' for a key that it does not like and for want of memory; malloc sets errno */
    if (compute_key_id(out) && ia_signature_prepare(out))
        return IA_JWK_OK;
    return errno == ENOMEM ? IA_JWK_NOMEM : bad_key(wrong, "OpenSSL rejects the key");
}

enum ia_jwk_result ia_jwk_parse(const json_t *json, struct ia_jwk *out, char wrong[IA_JWK_TEXT_MAX])
{
    bool not_text;
    *out = (struct ia_jwk){0};
    if (!json_is_object(json))
        return bad_key(wrong, "is not a JSON object");
    enum ia_jwk_result result = read_purpose(json, wrong);
    if (result != IA_JWK_OK)
        return result;
    const char *kid = ia_json_text(json, "kid", &not_text);
    if (not_text || (kid && strlen(kid) > IA_KID_MAX))
        return bad_key(wrong, "has a kid that is not a string of at most 256 bytes");
    result = parse_named(json, kid ? kid : "", out, wrong);
    if (result != IA_JWK_OK)
        ia_jwk_clear(out);
    return result;
}

void ia_jwk_clear(struct ia_jwk *jwk)
{
    for (int i = 0; i < IA_ALG_COUNT; i++)
        EVP_MD_CTX_free(jwk->ready[i]);
    EVP_PKEY_free(jwk->key);
    free(jwk->kid);
    *jwk = (struct ia_jwk){0};
}
