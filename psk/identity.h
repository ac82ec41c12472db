// SPDX-License-Identifier: ISC
/* PSK identities (RFC 4279 section 5.1): what names a pre-shared key.  A client sends its identity before it has proved
 * anything, and OpenSSL hands it over as it came: any bytes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* RFC 4279 section 5.3 asks for at least 128 octets. */
#define IA_PSK_IDENTITY_MAX 128

/* The bytes of the digest under which the record of a device with that identity is kept. */
#define IA_PSK_DIGEST_LEN 32

/* Can identity[0..len) be in the registry: 1 to 128 bytes of UTF-8 without control characters?  Any other identity is
 * unknown, and its bytes reach neither PostgreSQL nor a log.  Any thread. */
bool ia_psk_identity_valid(const char *identity, size_t len);

/* The key of the device record of that identity, where a certificate's record has its fingerprint: the SHA-256 digest of
 * "iot-auth psk identity", a NUL and the identity.  No certificate has that fingerprint, because a DER encoding begins
 * otherwise.  False where OpenSSL fails.  Any thread. */
bool ia_psk_identity_digest(const char *identity, uint8_t digest[IA_PSK_DIGEST_LEN]);
