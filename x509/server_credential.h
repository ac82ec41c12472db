// SPDX-License-Identifier: ISC
/* The broker's own certificate and key, as `iot-auth setup` checks and makes them.  No broker uses this. */
#pragma once

#include "common/error.h"

#include <stdint.h>

#define IA_SELF_SIGNED_DAYS 365

/* Can a broker present this certificate at `now`?  The first certificate of `cert_pem` is within its validity and names a
 * host (RFC 6125: subjectAltName, else a common name), and `key_pem` is its private key, not encrypted.  IA_FORMAT says
 * what is wrong; no text of the key is repeated. */
IA_MUST_USE enum ia_rc ia_server_credential_check(const char *cert_pem, const char *key_pem, int64_t now,
                                                  struct ia_err *err);

/* Make a P-256 key and a certificate that it signs itself, for `name` (a DNS name), localhost and 127.0.0.1, valid from
 * now for IA_SELF_SIGNED_DAYS.  The caller owns both texts, and wipes the key. */
IA_MUST_USE enum ia_rc ia_server_credential_make(const char *name, char **cert_pem, char **key_pem, struct ia_err *err);
