// SPDX-License-Identifier: ISC
/* One parsed X.509 certificate (RFC 5280) of the registry: immutable, reference-counted, any thread. */
#pragma once

#include "common/error.h"

#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IA_PEM_MAX         65536 /* bytes of PEM text taken for one certificate */
#define IA_CRL_PEM_MAX     (64 << 20)
#define IA_FINGERPRINT_LEN 32 /* SHA-256 of the DER */
#define IA_SERIAL_MAX      20 /* RFC 5280 4.1.2.2: at most 20 octets */
#define IA_SUBJECT_MAX     512

struct ia_cert;

/* The parsed columns of a certificate row. */
struct ia_cert_info {
    uint8_t fingerprint[IA_FINGERPRINT_LEN];
    char serial[2 * IA_SERIAL_MAX + 2]; /* lower-case hex, '-' in front of a negative one */
    char subject[IA_SUBJECT_MAX];       /* RFC 2253, cut if longer */
    int64_t not_before, not_after;      /* seconds since 1970, UTC */
};

/* Parse PEM that holds exactly one certificate and only white space after it.  The caller owns *out (ia_cert_free). */
IA_MUST_USE enum ia_rc ia_cert_parse_pem(const char *pem, struct ia_cert **out, struct ia_err *err);
struct ia_cert *ia_cert_ref(struct ia_cert *cert);
void ia_cert_free(struct ia_cert *cert);

/* Borrowed: lives as long as the certificate. */
const struct ia_cert_info *ia_cert_info(const struct ia_cert *cert);
X509 *ia_cert_x509(const struct ia_cert *cert);

/* SHA-256 of the DER: what the registry knows a certificate by.  False: out of memory. */
IA_MUST_USE bool ia_cert_fingerprint(const X509 *x509, uint8_t out[IA_FINGERPRINT_LEN]);

/* The same columns for a leaf from the network.  IA_FORMAT when a field is missing, too long or malformed. */
IA_MUST_USE enum ia_rc ia_cert_info_read(X509 *x509, struct ia_cert_info *out, struct ia_err *err);

/* The same of a leaf whose fingerprint is known (NULL: it is not): the hash costs more than all the rest. */
IA_MUST_USE enum ia_rc ia_cert_info_read_hashed(X509 *x509, const uint8_t fingerprint[IA_FINGERPRINT_LEN],
                                                struct ia_cert_info *out, struct ia_err *err);

/* May this certificate act as a registered CA at `now`?  basicConstraints CA, keyCertSign where key usage is present,
 * version 3, a key of security level 2, within validity.  Otherwise IA_FORMAT with the cause for
 * `ca.problem`. */
IA_MUST_USE enum ia_rc ia_cert_check_ca(const struct ia_cert *cert, int64_t now, struct ia_err *err);

/* Can this OpenSSL verify with ML-DSA keys (3.5 and newer can)?  Any thread; leaves the error queue as it was. */
bool ia_openssl_has_ml_dsa(void);
