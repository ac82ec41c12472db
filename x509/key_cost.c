// SPDX-License-Identifier: ISC
/* What a signature verification costs, by type and size of the key: a peer chooses the keys in its chain, and RSA-16384
 * with a long exponent takes 700 times as long as P-256.  Measured with OpenSSL 3.0 on x86-64 (microseconds of one core):
 * P-256 83, P-384 900, P-521 830, brainpoolP512 1900, Ed25519 220, Ed448 400, DSA-2048 300, RSA-2048 24, RSA-4096 102,
 * RSA-7680 310; with OpenSSL 3.5 ML-DSA-44 150, ML-DSA-65 220, ML-DSA-87 400.  bench/chain.c measures whole chains. */
#include "x509/private.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <openssl/objects.h>
#include <openssl/x509.h>
#include <string.h>
#include <strings.h>

#define RSA_BITS_MAX          8192
#define RSA_EXPONENT_BITS_MAX 64
#define RSA_EXPONENT_STEPS    17 /* multiplications for the usual exponent, 65537 */
#define DSA_BITS_MAX          4096
#define GROUP_NAME_MAX        80
#define OTHER_CURVE_COST      4  /* a bit of the field */
#define BINARY_CURVE_COST     12 /* sect571r1: 6.7 ms */
#define COST_OF_OTHER_KEYS    1000
#define LEAF_COST_MAX         1500 /* the signature of the handshake is verified with it: P-384 is 900 */

static const struct {
    const char *group;
    unsigned cost;
} curve_costs[] = {
    {SN_X9_62_prime256v1, IA_KEY_COST_P256},
    {"P-256", IA_KEY_COST_P256},
    {SN_secp224r1, 130},
    {SN_secp384r1, 900},
    {SN_secp521r1, 830},
};

/* Multiplications that the public exponent takes; its length in bits in *bits, 0 for one that is even. */
static unsigned exponent_steps(const EVP_PKEY *key, int *bits)
{
    BIGNUM *e = NULL;
    unsigned steps = 0;
    *bits = 0;
    if (EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &e) == 1 && BN_is_odd(e)) {
        *bits = BN_num_bits(e);
        for (int i = 0; i < *bits && i <= RSA_EXPONENT_BITS_MAX; i++)
            steps += BN_is_bit_set(e, i) ? 2u : 1u;
    }
    BN_free(e);
    return steps;
}

static unsigned rsa_cost(const EVP_PKEY *key)
{
    int exponent_bits;
    unsigned long bits = (unsigned long)EVP_PKEY_get_bits(key);
    unsigned long steps = exponent_steps(key, &exponent_bits);
    if (steps < RSA_EXPONENT_STEPS)
        steps = RSA_EXPONENT_STEPS;
    return (unsigned)(24 * bits * bits / (2048 * 2048) * steps / RSA_EXPONENT_STEPS) + 10;
}

static bool has_binary_field(const EVP_PKEY *key)
{
    char type[GROUP_NAME_MAX];
    return EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_EC_FIELD_TYPE, type, sizeof type, NULL) == 1 &&
           strcmp(type, SN_X9_62_prime_field) != 0;
}

static unsigned curve_cost(const EVP_PKEY *key)
{
    char group[GROUP_NAME_MAX];
    size_t len = 0;
    if (EVP_PKEY_get_group_name(key, group, sizeof group, &len) == 1)
        for (size_t i = 0; i < sizeof curve_costs / sizeof curve_costs[0]; i++)
            if (strcasecmp(group, curve_costs[i].group) == 0)
                return curve_costs[i].cost;
    return (has_binary_field(key) ? BINARY_CURVE_COST : OTHER_CURVE_COST) * (unsigned)EVP_PKEY_get_bits(key);
}

/* FIPS 204, RFC 9881: object identifiers, and names of the keys in OpenSSL 3.5, which has no numbers (NID) for them in 3.0's
 * headers. */
static const struct {
    const char *name, *oid;
    unsigned cost;
} ml_dsa[] = {
    {"ML-DSA-44", "2.16.840.1.101.3.4.3.17", 150},
    {"ML-DSA-65", "2.16.840.1.101.3.4.3.18", 220},
    {"ML-DSA-87", "2.16.840.1.101.3.4.3.19", 400},
};

static unsigned named_key_cost(const EVP_PKEY *key)
{
    for (size_t i = 0; i < sizeof ml_dsa / sizeof ml_dsa[0]; i++)
        if (EVP_PKEY_is_a(key, ml_dsa[i].name))
            return ml_dsa[i].cost;
    return COST_OF_OTHER_KEYS;
}

const char *ia_ml_dsa_name(const X509 *x509)
{
    char text[GROUP_NAME_MAX];
    ASN1_OBJECT *oid = NULL;
    if (X509_PUBKEY_get0_param(&oid, NULL, NULL, NULL, X509_get_X509_PUBKEY(x509)) != 1 ||
        OBJ_obj2txt(text, sizeof text, oid, 1) <= 0)
        return NULL;
    for (size_t i = 0; i < sizeof ml_dsa / sizeof ml_dsa[0]; i++)
        if (strcmp(text, ml_dsa[i].oid) == 0)
            return ml_dsa[i].name;
    return NULL;
}

unsigned ia_key_cost(const EVP_PKEY *key)
{
    switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_RSA:
    case EVP_PKEY_RSA_PSS:
        return rsa_cost(key);
    case EVP_PKEY_EC:
        return curve_cost(key);
    case EVP_PKEY_ED25519:
        return 220;
    case EVP_PKEY_ED448:
        return 400;
    case EVP_PKEY_DSA:
        return 300 * (unsigned)(EVP_PKEY_get_bits(key) / 1024) / 2;
    default:
        return named_key_cost(key);
    }
}

static const char *rsa_problem(const EVP_PKEY *key)
{
    int exponent_bits;
    (void)exponent_steps(key, &exponent_bits);
    if (EVP_PKEY_get_bits(key) > RSA_BITS_MAX)
        return "an RSA key of more than 8192 bits";
    if (exponent_bits < 2) /* with exponent 1 the padded hash is its own signature: anybody can sign */
        return "an RSA key whose exponent is 1 or even";
    return exponent_bits > RSA_EXPONENT_BITS_MAX ? "an RSA key with an exponent of more than 64 bits" : NULL;
}

/* Explicit parameters are also how CVE-2020-0601 worked: a known curve with another base point. */
static const char *curve_problem(const EVP_PKEY *key)
{
    int is_explicit = 0;
    if (EVP_PKEY_get_int_param(key, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS, &is_explicit) == 1 && is_explicit)
        return "an EC key with explicit curve parameters";
    return NULL;
}

const char *ia_key_problem(const EVP_PKEY *key)
{
    switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_RSA:
    case EVP_PKEY_RSA_PSS:
        return rsa_problem(key);
    case EVP_PKEY_EC:
        return curve_problem(key);
    case EVP_PKEY_DSA:
        return EVP_PKEY_get_bits(key) > DSA_BITS_MAX ? "a DSA key of more than 4096 bits" : NULL;
    default:
        return NULL;
    }
}

/* TLS knows three curves for signatures (RFC 8422 5.1.1, RFC 8446 4.2.3); P-224, secp256k1 and Brainpool's curves are not
 * negotiated by OpenSSL's servers.  TLS 1.3 has no DSA. */
static bool tls_negotiates(const EVP_PKEY *key)
{
    static const char *const types[] = {"RSA", "RSA-PSS", "ED25519", "ED448"};
    static const int curves[] = {NID_X9_62_prime256v1, NID_secp384r1, NID_secp521r1};
    char group[GROUP_NAME_MAX];
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (EVP_PKEY_is_a(key, types[i]))
            return true;
    for (size_t i = 0; i < sizeof ml_dsa / sizeof ml_dsa[0]; i++)
        if (EVP_PKEY_is_a(key, ml_dsa[i].name))
            return true;
    if (!EVP_PKEY_is_a(key, "EC") || EVP_PKEY_get_group_name(key, group, sizeof group, NULL) != 1)
        return false;
    int nid = OBJ_txt2nid(group);
    for (size_t i = 0; i < sizeof curves / sizeof curves[0]; i++)
        if (nid == curves[i])
            return true;
    return false;
}

const char *ia_leaf_key_problem(const EVP_PKEY *key)
{
    const char *problem = ia_key_problem(key);
    if (problem)
        return problem;
    if (!tls_negotiates(key))
        return "TLS does not negotiate the type of the leaf's key (RSA, P-256, P-384, P-521, Ed25519, Ed448, ML-DSA)";
    return ia_key_cost(key) > LEAF_COST_MAX ? "an RSA key whose exponent makes it too slow" : NULL;
}
