// SPDX-License-Identifier: ISC
/* One certificate revocation list (RFC 5280 section 5): immutable, reference-counted, any thread. */
#pragma once

#include "common/error.h"
#include "x509/cert.h"

#include <stdbool.h>
#include <stdint.h>

struct ia_crl;

/* Parse PEM that holds exactly one CRL.  The signature is checked when a CA set is built.  The caller owns *out. */
IA_MUST_USE enum ia_rc ia_crl_parse_pem(const char *pem, struct ia_crl **out, struct ia_err *err);
struct ia_crl *ia_crl_ref(struct ia_crl *crl);
void ia_crl_free(struct ia_crl *crl);

/* Is it the list of this CA: issuer name and signature? */
bool ia_crl_signed_by(struct ia_crl *crl, const struct ia_cert *issuer);
