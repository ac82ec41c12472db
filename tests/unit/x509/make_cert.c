// SPDX-License-Identifier: ISC
#include "tests/unit/x509/make_cert.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEYS_MAX 512

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "make_cert: %s\n", what);
    ERR_print_errors_fp(stderr);
    abort();
}

/* An RSA public key of that many bits with an exponent of that many bits: nobody has its private key, so it can only be
 * in a certificate. */
static EVP_PKEY *fake_rsa_key(int bits, int exponent_bits)
{
    BIGNUM *n = BN_new(), *e = BN_new();
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    must(n && e && ctx && builder && BN_rand(n, bits, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ODD) == 1 &&
             BN_set_bit(e, exponent_bits) == 1 && BN_sub_word(e, 1) == 1 &&
             OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
             OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e) == 1,
         "fake RSA key");
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(builder);
    must(params && EVP_PKEY_fromdata_init(ctx) == 1 && EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) == 1,
         "fake RSA key");
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(builder);
    EVP_PKEY_CTX_free(ctx);
    BN_free(n);
    BN_free(e);
    return key;
}

static EVP_PKEY *explicit_curve_key(void)
{
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, NULL);
    must(ctx && EVP_PKEY_keygen_init(ctx) == 1 &&
             EVP_PKEY_CTX_set_ec_paramgen_curve_nid(ctx, NID_X9_62_prime256v1) == 1 &&
             EVP_PKEY_CTX_set_ec_param_enc(ctx, OPENSSL_EC_EXPLICIT_CURVE) == 1 && EVP_PKEY_keygen(ctx, &key) == 1,
         "explicit curve");
    EVP_PKEY_CTX_free(ctx);
    return key;
}

/* "curve:NAME:anything" */
static EVP_PKEY *curve_key(const char *name)
{
    char curve[64];
    const char *end = strchr(name + 6, ':');
    must(end && (size_t)(end - name - 6) < sizeof curve, name);
    memcpy(curve, name + 6, (size_t)(end - name - 6));
    curve[end - name - 6] = '\0';
    return EVP_EC_gen(curve);
}

/* "compressed:NAME:anything" */
static EVP_PKEY *compressed_key(const char *name)
{
    EVP_PKEY *key = curve_key(name + 5); /* "compressed:" is five letters longer than "curve:" */
    must(key && EVP_PKEY_set_utf8_string_param(key, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "compressed") == 1,
         name);
    return key;
}

static EVP_PKEY *generate(const char *name)
{
    if (strncmp(name, "compressed:", 11) == 0)
        return compressed_key(name);
    if (strncmp(name, "curve:", 6) == 0)
        return curve_key(name);
    if (strncmp(name, "fake_rsa:", 9) == 0) {
        char *end = NULL;
        int bits = (int)strtol(name + 9, &end, 10);
        return fake_rsa_key(bits, (int)strtol(end + 1, NULL, 10));
    }
    if (strncmp(name, "explicit:", 9) == 0)
        return explicit_curve_key();
    if (strncmp(name, "p256:", 5) == 0)
        return EVP_EC_gen("P-256");
    if (strncmp(name, "p384:", 5) == 0)
        return EVP_EC_gen("P-384");
    if (strncmp(name, "rsa2048:", 8) == 0)
        return EVP_RSA_gen(2048);
    if (strncmp(name, "rsa1024:", 8) == 0)
        return EVP_RSA_gen(1024);
    if (strncmp(name, "ed25519:", 8) == 0)
        return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    return NULL;
}

EVP_PKEY *mc_key(const char *name)
{
    static struct {
        const char *name;
        EVP_PKEY *key;
    } kept[KEYS_MAX];
    size_t i = 0;
    for (; i < KEYS_MAX && kept[i].name; i++)
        if (strcmp(kept[i].name, name) == 0)
            return kept[i].key;
    must(i < KEYS_MAX, "too many keys");
    kept[i].name = strdup(name);
    kept[i].key = generate(name);
    must(kept[i].name && kept[i].key, name);
    return kept[i].key;
}

/* "/O=Acme/CN=x" */
static void add_attributes(X509_NAME *name, const char *text)
{
    char *copy = strdup(text), *rest = NULL;
    for (char *part = strtok_r(copy, "/", &rest); part; part = strtok_r(NULL, "/", &rest)) {
        char *value = strchr(part, '=');
        must(value != NULL, text);
        *value++ = '\0';
        must(X509_NAME_add_entry_by_txt(name, part, MBSTRING_UTF8, (const unsigned char *)value, -1, -1, 0) == 1, text);
    }
    free(copy);
}

/* "name=value|name=value" */
static void add_extensions(X509V3_CTX *ctx, const char *text, int (*add)(void *, X509_EXTENSION *), void *to)
{
    char *copy = strdup(text ? text : ""), *rest = NULL;
    for (char *part = strtok_r(copy, "|", &rest); part; part = strtok_r(NULL, "|", &rest)) {
        char *value = strchr(part, '=');
        must(value != NULL, text);
        *value++ = '\0';
        X509_EXTENSION *ext = X509V3_EXT_nconf(NULL, ctx, part, value);
        must(ext && add(to, ext) == 1, text);
        X509_EXTENSION_free(ext);
    }
    free(copy);
}

static int add_to_cert(void *to, X509_EXTENSION *ext)
{
    return X509_add_ext(to, ext, -1);
}

static int add_to_crl(void *to, X509_EXTENSION *ext)
{
    return X509_CRL_add_ext(to, ext, -1);
}

static int add_to_entry(void *to, X509_EXTENSION *ext)
{
    return X509_REVOKED_add_ext(to, ext, -1);
}

static const EVP_MD *digest_for(EVP_PKEY *key, const char *md)
{
    if (EVP_PKEY_is_a(key, "ED25519"))
        return NULL;
    return EVP_get_digestbyname(md ? md : "SHA256");
}

static void set_times(X509 *x509, const struct mc_cert *spec)
{
    must(ASN1_TIME_set(X509_getm_notBefore(x509), spec->from ? spec->from : MC_NOW - MC_DAY) &&
             ASN1_TIME_set(X509_getm_notAfter(x509), spec->to ? spec->to : MC_NOW + 365 * MC_DAY),
         "times");
}

static void set_names(X509 *x509, const struct mc_cert *spec)
{
    X509_NAME *name = X509_NAME_new();
    if (!spec->name && spec->subject)
        add_attributes(name, spec->subject);
    const X509_NAME *subject = spec->name ? spec->name : name;
    const X509_NAME *issuer = spec->issuer ? X509_get_subject_name(spec->issuer) : subject;
    must(X509_set_subject_name(x509, subject) == 1 && X509_set_issuer_name(x509, issuer) == 1, "names");
    X509_NAME_free(name);
}

/* Encode the key once more, with a zero behind it. */
static void loosen_key(X509_PUBKEY *key)
{
    X509_ALGOR *algorithm = NULL;
    const ASN1_OBJECT *kind = NULL;
    const unsigned char *octets = NULL;
    int len = 0, type = V_ASN1_UNDEF;
    must(X509_PUBKEY_get0_param(NULL, &octets, &len, &algorithm, key) == 1, "key");
    X509_ALGOR_get0(&kind, &type, NULL, algorithm);
    unsigned char *more = OPENSSL_zalloc((size_t)len + 1);
    must(more != NULL, "memory");
    memcpy(more, octets, (size_t)len);
    must(X509_PUBKEY_set0_param(key, OBJ_dup(kind), type, NULL, more, len + 1) == 1, "loose key");
}

X509 *mc_cert(const struct mc_cert *spec)
{
    X509 *x509 = X509_new();
    EVP_PKEY *key = mc_key(spec->key), *signer = mc_key(spec->issuer_key ? spec->issuer_key : spec->key);
    must(x509 && X509_set_version(x509, (spec->version ? spec->version : 3) - 1) == 1, "version");
    must(ASN1_INTEGER_set_int64(X509_get_serialNumber(x509), spec->serial ? spec->serial : 1) == 1, "serial");
    set_names(x509, spec);
    set_times(x509, spec);
    must(X509_set_pubkey(x509, key) == 1, "key");
    if (spec->loose_key)
        loosen_key(X509_get_X509_PUBKEY(x509));
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, spec->issuer ? spec->issuer : x509, x509, NULL, NULL, 0);
    add_extensions(&ctx, spec->ext, add_to_cert, x509);
    must(!spec->extra || X509_add_ext(x509, spec->extra, -1) == 1, "extra extension");
    must(X509_sign(x509, signer, digest_for(signer, spec->md)) > 0, "signature");
    return x509;
}

static void add_revoked(X509_CRL *crl, const struct mc_crl *spec, int64_t serial)
{
    X509_REVOKED *entry = X509_REVOKED_new();
    ASN1_INTEGER *number = ASN1_INTEGER_new();
    ASN1_TIME *date = ASN1_TIME_set(NULL, MC_NOW - MC_DAY);
    must(entry && number && date && ASN1_INTEGER_set_int64(number, serial) == 1, "entry");
    must(X509_REVOKED_set_serialNumber(entry, number) == 1 && X509_REVOKED_set_revocationDate(entry, date) == 1,
         "entry");
    if (spec->reason) {
        ASN1_ENUMERATED *reason = ASN1_ENUMERATED_new();
        must(reason && ASN1_ENUMERATED_set(reason, spec->reason) == 1 &&
                 X509_REVOKED_add1_ext_i2d(entry, NID_crl_reason, reason, 0, 0) == 1,
             "reason");
        ASN1_ENUMERATED_free(reason);
    }
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, spec->issuer, NULL, NULL, crl, 0);
    add_extensions(&ctx, spec->entry_ext, add_to_entry, entry);
    must(X509_CRL_add0_revoked(crl, entry) == 1, "entry");
    ASN1_INTEGER_free(number);
    ASN1_TIME_free(date);
}

static void set_crl_times(X509_CRL *crl, const struct mc_crl *spec)
{
    ASN1_TIME *from = ASN1_TIME_set(NULL, spec->from ? spec->from : MC_NOW - MC_DAY);
    ASN1_TIME *to = ASN1_TIME_set(NULL, spec->to > 0 ? spec->to : MC_NOW + 30 * MC_DAY);
    must(from && to && X509_CRL_set1_lastUpdate(crl, from) == 1, "thisUpdate");
    must(spec->to < 0 || X509_CRL_set1_nextUpdate(crl, to) == 1, "nextUpdate");
    ASN1_TIME_free(from);
    ASN1_TIME_free(to);
}

X509_CRL *mc_crl(const struct mc_crl *spec)
{
    X509_CRL *crl = X509_CRL_new();
    EVP_PKEY *signer = mc_key(spec->issuer_key);
    must(crl && X509_CRL_set_version(crl, X509_CRL_VERSION_2) == 1 &&
             X509_CRL_set_issuer_name(crl, X509_get_subject_name(spec->issuer)) == 1,
         "CRL");
    set_crl_times(crl, spec);
    for (const int64_t *serial = spec->revoked; serial && *serial; serial++)
        add_revoked(crl, spec, *serial);
    if (spec->number) {
        ASN1_INTEGER *number = ASN1_INTEGER_new();
        must(number && ASN1_INTEGER_set_int64(number, spec->number) == 1 &&
                 X509_CRL_add1_ext_i2d(crl, NID_crl_number, number, 0, 0) == 1,
             "CRL number");
        ASN1_INTEGER_free(number);
    }
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, spec->issuer, NULL, NULL, crl, 0);
    add_extensions(&ctx, spec->ext, add_to_crl, crl);
    must(X509_CRL_sort(crl) == 1 && X509_CRL_sign(crl, signer, digest_for(signer, NULL)) > 0, "CRL signature");
    return crl;
}

static char *text_of(BIO *bio)
{
    char *data = NULL;
    long len = BIO_get_mem_data(bio, &data);
    char *text = calloc(1, (size_t)len + 1);
    must(text != NULL, "memory");
    memcpy(text, data, (size_t)len);
    BIO_free(bio);
    return text;
}

char *mc_pem(X509 *x509)
{
    BIO *bio = BIO_new(BIO_s_mem());
    must(bio && PEM_write_bio_X509(bio, x509) == 1, "PEM");
    return text_of(bio);
}

char *mc_crl_pem(X509_CRL *crl)
{
    BIO *bio = BIO_new(BIO_s_mem());
    must(bio && PEM_write_bio_X509_CRL(bio, crl) == 1, "PEM");
    return text_of(bio);
}
