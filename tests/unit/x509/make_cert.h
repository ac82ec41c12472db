// SPDX-License-Identifier: ISC
/* Certificates and CRLs for tests, made in memory from short descriptions.  Whatever fails aborts the test. */
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdint.h>

#define MC_NOW 1800000000 /* 2027-01-15: 'now' of all tests */
#define MC_DAY 86400

/* Extensions as OpenSSL's configuration writes them, separated by '|'. */
#define MC_KEY_IDS "subjectKeyIdentifier=hash|authorityKeyIdentifier=keyid"
#define MC_CA      "basicConstraints=critical,CA:TRUE|keyUsage=critical,keyCertSign,cRLSign|" MC_KEY_IDS
#define MC_ROOT    "basicConstraints=critical,CA:TRUE|keyUsage=critical,keyCertSign,cRLSign|subjectKeyIdentifier=hash"
#define MC_DEVICE  "keyUsage=critical,digitalSignature|extendedKeyUsage=clientAuth|" MC_KEY_IDS

/* A key by name, made at its first use and kept: `p256:anything`, `p384:`, `rsa2048:`, `rsa1024:`, `ed25519:`,
 * `curve:NAME:`, `compressed:NAME:` (its point is compressed), `explicit:` (P-256 with explicit parameters), `fake_rsa:BITS:EXPONENT_BITS` (a public key only). */
EVP_PKEY *mc_key(const char *name);

struct mc_cert {
    const char *subject;    /* "/O=Acme/CN=x"; ignored when `name` is given */
    const X509_NAME *name;  /* borrowed */
    const char *key;        /* mc_key name */
    X509 *issuer;           /* NULL: signs itself */
    const char *issuer_key; /* NULL: `key` */
    const char *ext;        /* NULL: none */
    const char *md;         /* NULL: SHA256 */
    int64_t from, to;       /* 0: a day before, a year after MC_NOW */
    int64_t serial;         /* 0: 1 */
    int version;            /* 0: 3 */
    X509_EXTENSION *extra;  /* borrowed, or NULL */
    bool loose_key;         /* an octet too many behind the encoded key: OpenSSL takes that of RSA */
};

/* The caller owns the result. */
X509 *mc_cert(const struct mc_cert *spec);

struct mc_crl {
    X509 *issuer;
    const char *issuer_key;
    int64_t number;         /* 0: none */
    int64_t from, to;       /* 0: a day before, a month after MC_NOW; to < 0: no nextUpdate */
    const int64_t *revoked; /* serial numbers, ended by 0; NULL: none */
    int reason;             /* reason code of every entry; 0: none */
    const char *ext;
    const char *entry_ext; /* of every entry */
};
X509_CRL *mc_crl(const struct mc_crl *spec);

/* PEM text; the caller frees it. */
char *mc_pem(X509 *x509);
char *mc_crl_pem(X509_CRL *crl);
