// SPDX-License-Identifier: ISC
/* Certificate revocation lists (RFC 5280 section 5).
 *
 * A list of a million entries takes 16 MB as sorted serial numbers, but half a gigabyte as OpenSSL's objects; and a CA
 * that adds a list each day leaves hundreds that are superseded.  So a list is read from its PEM text part by part and
 * never becomes an object of OpenSSL: struct ia_crl keeps what is needed to compare it with other lists, and only lists
 * in force keep their serial numbers.  A function that needs more of a list takes the text again. */
#pragma once

#include "common/error.h"
#include "x509/cert.h"

#include <stdbool.h>
#include <stdint.h>

struct ia_crl;

/* One list and the text that it was parsed from; both borrowed. */
struct ia_crl_spec {
    struct ia_crl *crl;
    const char *pem;
};

/* Parse PEM that holds exactly one CRL: dates, number and scope.  The signature is verified and the entries are read when
 * a CA set is built.  For one thread.  The caller owns *out (ia_crl_free). */
IA_MUST_USE enum ia_rc ia_crl_parse_pem(const char *pem, struct ia_crl **out, struct ia_err *err);
void ia_crl_free(struct ia_crl *crl);

/* Was it issued by this CA: issuer name and signature?  A yes is remembered for the CA's key.  False also when an
 * allocation failed. */
bool ia_crl_signed_by(const struct ia_crl_spec *spec, const struct ia_cert *issuer);

/* Was it parsed from this text? */
bool ia_crl_is_from(const struct ia_crl *crl, const char *pem);

/* ---- for the tests */

/* Octets of memory that its serial numbers take; 0 while it is not in force. */
size_t ia_crl_entries_size(const struct ia_crl *crl);
