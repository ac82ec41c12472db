// SPDX-License-Identifier: ISC
/* Devices of an issuer, which come by token and have no certificate. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define IA_ISSUED_FINGERPRINT_LEN 32

/* What stands for a certificate's fingerprint in the record of an issuer's device, so that one cache, one table of
 * questions and one kind of reply serve both: SHA-256 of `iot-auth issuer device`, NUL, the name of the issuer, NUL and
 * the device id, as iot_auth.issued_fingerprint computes it.  No certificate has it: its bytes would have to be found
 * for that hash.  False for names longer than IA_VALUE_MAX bytes, or when OpenSSL fails: `out` is undefined. */
bool ia_issued_fingerprint(const char *issuer, const char *device_id, uint8_t out[IA_ISSUED_FINGERPRINT_LEN]);
