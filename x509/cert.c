// SPDX-License-Identifier: ISC
#include "x509/cert.h"

#include "common/str.h"
#include "x509/internal.h"

#include <ctype.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SECURITY_BITS  112 /* OpenSSL's security level 2 */
#define KEY_NUMBER_MAX (OPENSSL_RSA_MAX_MODULUS_BITS / 8)

bool ia_x509_fingerprint(const X509 *x509, uint8_t out[IA_FINGERPRINT_LEN])
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

/* The number that tells keys of this kind apart; NULL: another kind, told apart by its encoded bits. */
static const char *key_number(const EVP_PKEY *key)
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

/* Returns its length, 0 for one longer than OpenSSL would use. */
static size_t number_octets(const EVP_PKEY *key, const char *name, uint8_t out[KEY_NUMBER_MAX])
{
    BIGNUM *number = NULL;
    size_t len = 0;
    if (EVP_PKEY_get_bn_param(key, name, &number) == 1 && BN_num_bytes(number) <= KEY_NUMBER_MAX)
        len = (size_t)BN_bn2bin(number, out);
    BN_free(number);
    return len;
}

/* Of an EC point only the x coordinate: the point may be compressed. */
static bool bit_octets(X509 *x509, const uint8_t **octets, size_t *len)
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

/* The octets that stand for the public key whatever its encoding: a CA that was disabled could come back with its key
 * encoded otherwise (an octet too many behind an RSA key, a point compressed), and would be no twin by its bytes. */
static bool key_octets(X509 *x509, uint8_t number[KEY_NUMBER_MAX], const uint8_t **octets, size_t *len)
{
    const EVP_PKEY *key = X509_get0_pubkey(x509);
    const char *name = key ? key_number(key) : NULL;
    if (!name)
        return bit_octets(x509, octets, len);
    *octets = number;
    *len = number_octets(key, name, number);
    return *len > 0;
}

bool ia_x509_subject_key(X509 *x509, uint8_t out[32])
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
    if (!time || ASN1_TIME_to_tm(time, &tm) != 1)
        return false;
    *out = timegm(&tm);
    return true;
}

/* A name may be of any length: what does not fit is cut.  RFC 2253 with everything beyond ASCII escaped, so the text is
 * fit for a log line and a text column whatever was in the certificate. */
static bool subject_text(const X509_NAME *name, char out[IA_SUBJECT_MAX])
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

static enum ia_rc read_info(X509 *x509, struct ia_cert_info *out, struct ia_err *err)
{
    struct ia_serial serial;
    const ASN1_INTEGER *number = X509_get0_serialNumber(x509);
    *out = (struct ia_cert_info){0};
    if (!ia_x509_serial(number, &serial))
        return ia_fail(err, IA_FORMAT, "its serial number is missing or longer than %d octets", IA_SERIAL_MAX);
    bool negative = ASN1_STRING_type(number) == V_ASN1_NEG_INTEGER;
    out->serial[0] = '-';
    ia_hex(serial.octets, serial.len, out->serial + negative);
    if (!ia_x509_time(X509_get0_notBefore(x509), &out->not_before) ||
        !ia_x509_time(X509_get0_notAfter(x509), &out->not_after))
        return ia_fail(err, IA_FORMAT, "its validity is malformed");
    if (!subject_text(X509_get_subject_name(x509), out->subject))
        return ia_fail(err, IA_FORMAT, "its subject cannot be printed");
    if (!ia_x509_fingerprint(x509, out->fingerprint))
        return ia_fail(err, IA_CRYPTO, "its fingerprint cannot be computed");
    return IA_OK;
}

enum ia_rc ia_cert_info_read(X509 *x509, struct ia_cert_info *out, struct ia_err *err)
{
    ERR_set_mark();
    struct ia_cert_info info;
    enum ia_rc rc = read_info(x509, &info, err);
    ERR_pop_to_mark();
    if (rc == IA_OK)
        *out = info;
    return rc;
}

static bool only_space(BIO *bio)
{
    char *rest = NULL;
    long len = BIO_get_mem_data(bio, &rest);
    for (long i = 0; i < len; i++)
        if (!isspace((unsigned char)rest[i]))
            return false;
    return true;
}

static enum ia_rc check_block(BIO *bio, const char *label, const char *header, const struct ia_pem_kind *kind,
                              struct ia_err *err)
{
    if (strcmp(label, kind->label) != 0 && strcmp(label, kind->old_label) != 0)
        return ia_fail(err, IA_FORMAT, "it holds '%.40s' instead of '%s'", label, kind->label);
    if (header[0] != '\0')
        return ia_fail(err, IA_FORMAT, "its PEM has headers");
    if (!only_space(bio))
        return ia_fail(err, IA_FORMAT, "something follows the first '%s'", kind->label);
    return IA_OK;
}

static enum ia_rc read_block(BIO *bio, const struct ia_pem_kind *kind, unsigned char **der, long *len,
                             struct ia_err *err)
{
    char *label = NULL, *header = NULL;
    unsigned char *data = NULL;
    long n = 0;
    if (PEM_read_bio(bio, &label, &header, &data, &n) != 1)
        return ia_fail(err, IA_FORMAT, "it is not PEM");
    enum ia_rc rc = check_block(bio, label, header, kind, err);
    OPENSSL_free(label);
    OPENSSL_free(header);
    if (rc != IA_OK) {
        OPENSSL_clear_free(data, (size_t)n); /* it may have been a private key, pasted by mistake */
        return rc;
    }
    *der = data;
    *len = n;
    return IA_OK;
}

enum ia_rc ia_pem_read(const char *pem, const struct ia_pem_kind *kind, unsigned char **der, long *len,
                       struct ia_err *err)
{
    size_t size = strnlen(pem, kind->max + 1);
    if (size > kind->max)
        return ia_fail(err, IA_FORMAT, "it is longer than %zu bytes", kind->max);
    BIO *bio = BIO_new_mem_buf(pem, (int)size);
    if (!bio)
        return ia_nomem(err);
    enum ia_rc rc = read_block(bio, kind, der, len, err);
    BIO_free(bio);
    return rc;
}

static enum ia_rc parse_x509(const char *pem, X509 **out, struct ia_err *err)
{
    static const struct ia_pem_kind kind = {"CERTIFICATE", "X509 CERTIFICATE", IA_PEM_MAX};
    unsigned char *der = NULL;
    long len = 0;
    enum ia_rc rc = ia_pem_read(pem, &kind, &der, &len, err);
    if (rc != IA_OK)
        return rc;
    const unsigned char *p = der;
    X509 *x509 = d2i_X509(NULL, &p, len);
    if (!x509)
        rc = ia_fail(err, IA_FORMAT, "it is not a certificate");
    else if (p != der + len)
        rc = ia_fail(err, IA_FORMAT, "something follows the certificate inside its PEM block");
    OPENSSL_free(der);
    if (rc != IA_OK) {
        X509_free(x509);
        return rc;
    }
    *out = x509;
    return IA_OK;
}

static enum ia_rc fill(struct ia_cert *cert, struct ia_err *err)
{
    /* Makes OpenSSL read the extensions now, so that the threads that share the certificate only read. */
    (void)X509_check_purpose(cert->x509, -1, 0);
    enum ia_rc rc = read_info(cert->x509, &cert->info, err);
    if (rc != IA_OK)
        return rc;
    if (!ia_x509_serial(X509_get0_serialNumber(cert->x509), &cert->serial) ||
        !ia_x509_subject_key(cert->x509, cert->subject_key) ||
        !ia_x509_name_hash(X509_get_subject_name(cert->x509), &cert->subject_hash) ||
        !ia_x509_name_hash(X509_get_issuer_name(cert->x509), &cert->issuer_hash))
        return ia_fail(err, IA_CRYPTO, "its names and key cannot be hashed");
    return IA_OK;
}

static enum ia_rc parse(const char *pem, struct ia_cert **out, struct ia_err *err)
{
    struct ia_cert *cert = calloc(1, sizeof *cert);
    if (!cert)
        return ia_nomem(err);
    atomic_init(&cert->refs, 1);
    errno = 0;
    enum ia_rc rc = parse_x509(pem, &cert->x509, err);
    if (rc == IA_OK)
        rc = fill(cert, err);
    if (ia_memory_ran_out())
        rc = ia_nomem(err);
    if (rc != IA_OK) {
        ia_cert_free(cert);
        return rc;
    }
    *out = cert;
    return IA_OK;
}

enum ia_rc ia_cert_parse_pem(const char *pem, struct ia_cert **out, struct ia_err *err)
{
    ERR_set_mark();
    enum ia_rc rc = parse(pem, out, err);
    ERR_pop_to_mark();
    return rc;
}

struct ia_cert *ia_cert_ref(struct ia_cert *cert)
{
    atomic_fetch_add_explicit(&cert->refs, 1, memory_order_relaxed);
    return cert;
}

void ia_cert_free(struct ia_cert *cert)
{
    if (!cert || atomic_fetch_sub_explicit(&cert->refs, 1, memory_order_acq_rel) != 1)
        return;
    X509_free(cert->x509);
    free(cert);
}

const struct ia_cert_info *ia_cert_info(const struct ia_cert *cert)
{
    return &cert->info;
}

X509 *ia_cert_x509(const struct ia_cert *cert)
{
    return cert->x509;
}

/* RFC 5280 4.2.1.9 and 4.2.1.3. */
static const char *why_not_ca(X509 *x509)
{
    uint32_t flags = X509_get_extension_flags(x509);
    if (flags & EXFLAG_INVALID)
        return "an extension of it is malformed";
    if (X509_get_version(x509) != X509_VERSION_3)
        return "it is not of version 3: it cannot say that it is a CA";
    if (!(flags & EXFLAG_BCONS) || !(flags & EXFLAG_CA))
        return "it is not a CA: basicConstraints does not say so";
    if (!(X509_get_key_usage(x509) & KU_KEY_CERT_SIGN))
        return "its key usage lacks keyCertSign";
    if (flags & EXFLAG_CRITICAL)
        return "it has a critical extension that is not known here";
    if (X509_check_purpose(x509, X509_PURPOSE_SSL_CLIENT, 1) != 1)
        return "its extended key usage does not let it sign for TLS clients";
    return NULL;
}

/* OpenSSL's security level 2: what the same certificate would be refused for in a chain. */
static const char *why_weak(X509 *x509)
{
    EVP_PKEY *key = X509_get0_pubkey(x509);
    int signature_bits = -1;
    if (!key)
        return "its public key cannot be read";
    if (EVP_PKEY_get_security_bits(key) < SECURITY_BITS)
        return "its key is too weak (RSA and DSA: 2048 bits, EC: 224 at least)";
    if (!X509_get_signature_info(x509, NULL, NULL, &signature_bits, NULL) || signature_bits < SECURITY_BITS)
        return "its signature is too weak (SHA-1, MD5) or not known here";
    return NULL;
}

enum ia_rc ia_cert_check_ca_form(const struct ia_cert *cert, struct ia_err *err)
{
    ERR_set_mark();
    const char *why = why_not_ca(cert->x509);
    if (!why)
        why = why_weak(cert->x509);
    ERR_pop_to_mark();
    return why ? ia_fail(err, IA_FORMAT, "%s", why) : IA_OK;
}

static void date_text(int64_t at, char out[32])
{
    time_t time = (time_t)at;
    struct tm tm = {0};
    if (!gmtime_r(&time, &tm) || strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        out[0] = '\0';
}

enum ia_rc ia_cert_check_ca(const struct ia_cert *cert, int64_t now, struct ia_err *err)
{
    char date[32];
    enum ia_rc rc = ia_cert_check_ca_form(cert, err);
    if (rc != IA_OK)
        return rc;
    date_text(now < cert->info.not_before ? cert->info.not_before : cert->info.not_after, date);
    if (now < cert->info.not_before)
        return ia_fail(err, IA_FORMAT, "it is not valid before %s", date);
    if (now > cert->info.not_after)
        return ia_fail(err, IA_FORMAT, "it expired at %s", date);
    return IA_OK;
}

bool ia_signed_memo_has(struct ia_signed_memo *memo, const struct ia_cert *issuer)
{
    return atomic_load_explicit(&memo->state, memory_order_acquire) == 2 &&
           memcmp(memo->issuer, issuer->info.fingerprint, IA_FINGERPRINT_LEN) == 0;
}

void ia_signed_memo_keep(struct ia_signed_memo *memo, const struct ia_cert *issuer)
{
    int empty = 0;
    if (!atomic_compare_exchange_strong(&memo->state, &empty, 1))
        return;
    memcpy(memo->issuer, issuer->info.fingerprint, IA_FINGERPRINT_LEN);
    atomic_store_explicit(&memo->state, 2, memory_order_release);
}

bool ia_cert_signed_by(struct ia_cert *cert, const struct ia_cert *issuer)
{
    if (ia_signed_memo_has(&cert->parent, issuer))
        return true;
    EVP_PKEY *key = X509_get0_pubkey(issuer->x509);
    if (!key || X509_verify(cert->x509, key) != 1)
        return false;
    ia_signed_memo_keep(&cert->parent, issuer);
    return true;
}
