// SPDX-License-Identifier: ISC
#include "psk/identity.h"

#include "common/str.h"

#include <openssl/evp.h>
#include <string.h>

bool ia_psk_identity_valid(const char *identity, size_t len)
{
    if (len == 0 || len > IA_PSK_IDENTITY_MAX)
        return false;
    for (size_t at = 0, n; at < len; at += n) {
        uint32_t cp;
        n = ia_utf8_next(identity + at, len - at, &cp);
        if (n == 0 || ia_is_control(cp))
            return false;
    }
    return true;
}

bool ia_psk_identity_digest(const char *identity, uint8_t digest[IA_PSK_DIGEST_LEN])
{
    static const char prefix[] = "iot-auth psk identity"; /* with its NUL */
    char text[sizeof prefix + IA_PSK_IDENTITY_MAX];
    size_t len = strnlen(identity, IA_PSK_IDENTITY_MAX + 1);
    if (len > IA_PSK_IDENTITY_MAX)
        return false;
    memcpy(text, prefix, sizeof prefix);
    memcpy(text + sizeof prefix, identity, len);
    return EVP_Digest(text, sizeof prefix + len, digest, NULL, EVP_sha256(), NULL) == 1;
}
