// SPDX-License-Identifier: ISC
/* The fields of a certificate that decisions and parsed columns are made of, read in one way for registered
 * certificates and for those from the network. */
#include "common/str.h"
#include "x509/private.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <time.h>

#define UTC_TIME_LEN         13 /* YYMMDDHHMMSSZ */
#define GENERALIZED_TIME_LEN 15 /* YYYYMMDDHHMMSSZ */
#define KEY_NUMBER_MAX       (OPENSSL_RSA_MAX_MODULUS_BITS / 8)

bool ia_cert_fingerprint(const X509 *x509, uint8_t out[IA_FINGERPRINT_LEN])
{
    unsigned len = 0;
    return X509_digest(x509, EVP_sha256(), out, &len) == 1 && len == IA_FINGERPRINT_LEN;
}

bool ia_x509_name_hash(const X509_NAME *name, uint32_t *out)
{
    int ok = 0;
    *out = (uint32_t)X509_NAME_hash_ex(name, NULL, NULL, &ok);
    return ok == 1;
}

/* The number that distinguishes keys of this type; NULL: a type that is distinguished by its encoded bits. */
static const char *key_number_name(const EVP_PKEY *key)
{
    switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_RSA:
    case EVP_PKEY_RSA_PSS:
        return OSSL_PKEY_PARAM_RSA_N;
    case EVP_PKEY_DSA:
        return OSSL_PKEY_PARAM_PUB_KEY;
    default:
        return NULL;
    }
}

/* Returns its length, 0 for a number that is longer than OpenSSL would use. */
static size_t key_number_octets(const EVP_PKEY *key, const char *name, uint8_t out[KEY_NUMBER_MAX])
{
    BIGNUM *number = NULL;
    size_t len = 0;
    if (EVP_PKEY_get_bn_param(key, name, &number) == 1 && BN_num_bytes(number) <= KEY_NUMBER_MAX)
        len = (size_t)BN_bn2bin(number, out);
    BN_free(number);
    return len;
}

/* Of an EC point only the x coordinate: the point may be compressed. */
static bool key_bit_octets(X509 *x509, const uint8_t **octets, size_t *len)
{
    ASN1_OBJECT *algorithm = NULL;
    const ASN1_BIT_STRING *bits = X509_get0_pubkey_bitstr(x509);
    if (!bits || !X509_PUBKEY_get0_param(&algorithm, NULL, NULL, NULL, X509_get_X509_PUBKEY(x509)))
        return false;
    *octets = ASN1_STRING_get0_data(bits);
    *len = (size_t)ASN1_STRING_length(bits);
    if (OBJ_obj2nid(algorithm) != NID_X9_62_id_ecPublicKey || *len < 2)
        return true;
    bool compressed = (*octets)[0] == 2 || (*octets)[0] == 3;
    *len = compressed ? *len - 1 : (*len - 1) / 2;
    (*octets)++;
    return true;
}

/* The octets that stand for the public key whatever its encoding: otherwise a disabled CA could return with its key
 * encoded in another way (an additional octet after an RSA key, a compressed point) and would not be recognised. */
static bool key_octets(X509 *x509, uint8_t number[KEY_NUMBER_MAX], const uint8_t **octets, size_t *len)
{
    const EVP_PKEY *key = X509_get0_pubkey(x509);
    const char *name = key ? key_number_name(key) : NULL;
    if (!name)
        return key_bit_octets(x509, octets, len);
    *octets = number;
    *len = key_number_octets(key, name, number);
    return *len > 0;
}

bool ia_x509_name_key_hash(X509 *x509, uint8_t out[32])
{
    const uint8_t *octets;
    size_t len;
    uint32_t name;
    uint8_t number[KEY_NUMBER_MAX], both[sizeof name + 32];
    if (!key_octets(x509, number, &octets, &len) || !ia_x509_name_hash(X509_get_subject_name(x509), &name))
        return false;
    memcpy(both, &name, sizeof name);
    return EVP_Digest(octets, len, both + sizeof name, NULL, EVP_sha256(), NULL) == 1 &&
           EVP_Digest(both, sizeof both, out, NULL, EVP_sha256(), NULL) == 1;
}

bool ia_x509_serial(const ASN1_INTEGER *number, struct ia_serial *out)
{
    const uint8_t *octets = number ? ASN1_STRING_get0_data(number) : NULL;
    int len = number ? ASN1_STRING_length(number) : 0;
    for (; len > 1 && octets[0] == 0; len--)
        octets++;
    if (!octets || len < 1 || len > IA_SERIAL_MAX)
        return false;
    *out = (struct ia_serial){.len = (uint8_t)len};
    memcpy(out->octets, octets, (size_t)len);
    return true;
}

bool ia_x509_time(const ASN1_TIME *time, int64_t *out)
{
    struct tm tm = {0};
    int expected_len = time && ASN1_STRING_type(time) == V_ASN1_UTCTIME ? UTC_TIME_LEN : GENERALIZED_TIME_LEN;
    if (!time || ASN1_STRING_length(time) != expected_len || ASN1_STRING_get0_data(time)[expected_len - 1] != 'Z' ||
        ASN1_TIME_to_tm(time, &tm) != 1)
        return false;
    *out = timegm(&tm);
    return true;
}

/* A name may be of any length: what does not fit is cut.  RFC 2253 with everything beyond ASCII escaped, so that the
 * text can stand in a log line and a text column whatever the certificate holds. */
static bool print_subject(const X509_NAME *name, char out[IA_SUBJECT_MAX])
{
    BIO *bio = BIO_new(BIO_s_mem());
    if (!bio)
        return false;
    bool done = X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0;
    if (done) {
        int len = BIO_read(bio, out, IA_SUBJECT_MAX - 1); /* -1 for an empty name: nothing to read */
        out[len > 0 ? len : 0] = '\0';
    }
    BIO_free(bio);
    return done;
}

static bool take_fingerprint(const X509 *x509, const uint8_t *known, uint8_t out[IA_FINGERPRINT_LEN])
{
    if (!known)
        return ia_cert_fingerprint(x509, out);
    memcpy(out, known, IA_FINGERPRINT_LEN);
    return true;
}

static enum ia_rc read_cert_fields(X509 *x509, const uint8_t *fingerprint, struct ia_cert_info *out, struct ia_err *err)
{
    struct ia_serial serial;
    const ASN1_INTEGER *number = X509_get0_serialNumber(x509);
    *out = (struct ia_cert_info){0};
    if (!ia_x509_serial(number, &serial))
        return ia_fail(err, IA_FORMAT, "the serial number is missing or longer than %d octets", IA_SERIAL_MAX);
    bool negative = ASN1_STRING_type(number) == V_ASN1_NEG_INTEGER;
    out->serial[0] = '-';
    ia_hex(serial.octets, serial.len, out->serial + negative);
    if (!ia_x509_time(X509_get0_notBefore(x509), &out->not_before) ||
        !ia_x509_time(X509_get0_notAfter(x509), &out->not_after))
        return ia_fail(err, IA_FORMAT, "the validity is malformed");
    if (!print_subject(X509_get_subject_name(x509), out->subject))
        return ia_fail(err, IA_FORMAT, "the subject cannot be printed");
    if (!take_fingerprint(x509, fingerprint, out->fingerprint))
        return ia_fail(err, IA_CRYPTO, "the fingerprint cannot be computed");
    return IA_OK;
}

enum ia_rc ia_cert_info_read(X509 *x509, struct ia_cert_info *out, struct ia_err *err)
{
    return ia_cert_info_read_hashed(x509, NULL, out, err);
}

enum ia_rc ia_cert_info_read_hashed(X509 *x509, const uint8_t fingerprint[IA_FINGERPRINT_LEN], struct ia_cert_info *out,
                                    struct ia_err *err)
{
    struct ia_openssl_scope scope;
    struct ia_cert_info info;
    ia_openssl_enter(&scope);
    enum ia_rc rc = read_cert_fields(x509, fingerprint, &info, err);
    if (ia_openssl_leave(&scope) != IA_OK)
        return ia_nomem(err);
    if (rc == IA_OK)
        *out = info;
    return rc;
}
