// SPDX-License-Identifier: ISC
#include "x509/server_credential.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DNS_NAME_MAX 253
#define DAY_S        86400

/* A key that needs a passphrase would stop the broker at its start: nobody answers there. */
static int refuse_passphrase(char *buffer, int size, int writing, void *ctx)
{
    (void)buffer, (void)size, (void)writing, (void)ctx;
    return -1;
}

static X509 *read_certificate(const char *pem)
{
    BIO *in = BIO_new_mem_buf(pem, -1);
    X509 *x509 = in ? PEM_read_bio_X509(in, NULL, refuse_passphrase, NULL) : NULL;
    BIO_free(in);
    return x509;
}

static EVP_PKEY *read_key(const char *pem)
{
    BIO *in = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = in ? PEM_read_bio_PrivateKey(in, NULL, refuse_passphrase, NULL) : NULL;
    BIO_free(in);
    return key;
}

static bool names_host(const X509 *x509)
{
    return X509_get_ext_by_NID(x509, NID_subject_alt_name, -1) >= 0 ||
           X509_NAME_get_index_by_NID(X509_get_subject_name(x509), NID_commonName, -1) >= 0;
}

static enum ia_rc check_pair(const X509 *x509, const EVP_PKEY *key, int64_t now, struct ia_err *err)
{
    time_t at = (time_t)now;
    if (!x509)
        return ia_fail(err, IA_FORMAT, "the server certificate is not a certificate in PEM");
    if (!key)
        return ia_fail(err, IA_FORMAT, "the server key is not a private key in PEM without a passphrase");
    if (X509_check_private_key(x509, key) != 1)
        return ia_fail(err, IA_FORMAT, "the server key is not the key of the first certificate of the file");
    if (X509_cmp_time(X509_get0_notAfter(x509), &at) <= 0)
        return ia_fail(err, IA_FORMAT, "the server certificate has expired");
    if (X509_cmp_time(X509_get0_notBefore(x509), &at) > 0)
        return ia_fail(err, IA_FORMAT, "the server certificate is not valid yet: is the clock right?");
    if (!names_host(x509))
        return ia_fail(err, IA_FORMAT, "the server certificate names no host, so no client can verify it");
    return IA_OK;
}

enum ia_rc ia_server_credential_check(const char *cert_pem, const char *key_pem, int64_t now, struct ia_err *err)
{
    X509 *x509 = read_certificate(cert_pem);
    EVP_PKEY *key = read_key(key_pem);
    enum ia_rc rc = check_pair(x509, key, now, err);
    EVP_PKEY_free(key);
    X509_free(x509);
    return rc;
}

/* ---- a pair for trying out */

static bool add_extension(X509 *x509, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, x509, x509, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool added = extension && X509_add_ext(x509, extension, -1);
    X509_EXTENSION_free(extension);
    return added;
}

/* 127 random bits: positive, not zero in practice (RFC 5280 4.1.2.2). */
static bool set_serial(X509 *x509)
{
    unsigned char octets[16];
    if (RAND_bytes(octets, sizeof octets) != 1)
        return false;
    octets[0] &= 0x7F;
    BIGNUM *number = BN_bin2bn(octets, sizeof octets, NULL);
    bool set = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x509));
    BN_free(number);
    return set;
}

/* It is a CA too, because some clients take only a CA as their trust anchor; pathlen:0, as it signs nothing else. */
static bool fill_certificate(X509 *x509, EVP_PKEY *key, const char *name)
{
    char names[DNS_NAME_MAX + 64];
    X509_NAME *subject = X509_get_subject_name(x509);
    (void)snprintf(names, sizeof names, "DNS:%s,DNS:localhost,IP:127.0.0.1,IP:::1", name);
    return X509_set_version(x509, X509_VERSION_3) && set_serial(x509) &&
           X509_gmtime_adj(X509_getm_notBefore(x509), 0) &&
           X509_gmtime_adj(X509_getm_notAfter(x509), (long)IA_SELF_SIGNED_DAYS * DAY_S) &&
           X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8, (const unsigned char *)"iot-auth setup", -1, -1,
                                      0) &&
           X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                      (const unsigned char *)(strlen(name) <= 64 ? name : "localhost"), -1, -1, 0) &&
           X509_set_issuer_name(x509, subject) && X509_set_pubkey(x509, key) &&
           add_extension(x509, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
           add_extension(x509, NID_key_usage, "critical,digitalSignature,keyCertSign") &&
           add_extension(x509, NID_ext_key_usage, "serverAuth") &&
           add_extension(x509, NID_subject_key_identifier, "hash") &&
           add_extension(x509, NID_subject_alt_name, names) && X509_sign(x509, key, EVP_sha256()) > 0;
}

/* What was written to `out` as a text of its own. */
static char *take_text(BIO *out)
{
    char *data = NULL;
    long len = BIO_get_mem_data(out, &data);
    return len > 0 ? strndup(data, (size_t)len) : NULL;
}

static enum ia_rc encode_pair(X509 *x509, EVP_PKEY *key, char **cert_pem, char **key_pem, struct ia_err *err)
{
    BIO *cert_out = BIO_new(BIO_s_mem()), *key_out = BIO_new(BIO_s_secmem());
    char *cert_text = NULL, *key_text = NULL;
    if (cert_out && key_out && PEM_write_bio_X509(cert_out, x509) &&
        PEM_write_bio_PrivateKey(key_out, key, NULL, NULL, 0, NULL, NULL)) {
        cert_text = take_text(cert_out);
        key_text = take_text(key_out);
    }
    BIO_free(cert_out);
    BIO_free(key_out);
    if (!cert_text || !key_text) {
        free(cert_text);
        if (key_text)
            OPENSSL_cleanse(key_text, strlen(key_text));
        free(key_text);
        return ia_fail(err, IA_CRYPTO, "the server certificate cannot be written as PEM");
    }
    *cert_pem = cert_text;
    *key_pem = key_text;
    return IA_OK;
}

/* The name becomes part of the text of an extension, in which ',' and ':' have a meaning. */
static bool is_dns_name(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";
    size_t len = strlen(name);
    return len > 0 && len <= DNS_NAME_MAX && strspn(name, allowed) == len;
}

enum ia_rc ia_server_credential_make(const char *name, char **cert_pem, char **key_pem, struct ia_err *err)
{
    if (!is_dns_name(name))
        return ia_fail(err, IA_USAGE, "'%.60s' is not a DNS name", name);
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    X509 *x509 = X509_new();
    enum ia_rc rc = key && x509 && fill_certificate(x509, key, name)
                        ? encode_pair(x509, key, cert_pem, key_pem, err)
                        : ia_fail(err, IA_CRYPTO, "OpenSSL made no server certificate");
    X509_free(x509);
    EVP_PKEY_free(key);
    return rc;
}
