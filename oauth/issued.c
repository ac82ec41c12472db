// SPDX-License-Identifier: ISC
#include "oauth/issued.h"

#include "common/str.h"

#include <openssl/evp.h>
#include <string.h>

bool ia_issued_fingerprint(const char *issuer, const char *device_id, uint8_t out[IA_ISSUED_FINGERPRINT_LEN])
{
    static const char domain[] = "iot-auth issuer device"; /* with its NUL */
    char text[sizeof domain + IA_VALUE_MAX + 1 + IA_VALUE_MAX];
    size_t issuer_len = strnlen(issuer, IA_VALUE_MAX + 1), id_len = strnlen(device_id, IA_VALUE_MAX + 1);
    if (issuer_len > IA_VALUE_MAX || id_len > IA_VALUE_MAX)
        return false;
    char *end = text + sizeof domain;
    memcpy(text, domain, sizeof domain);
    memcpy(end, issuer, issuer_len + 1);
    end += issuer_len + 1;
    memcpy(end, device_id, id_len);
    end += id_len;
    return EVP_Digest(text, (size_t)(end - text), out, NULL, EVP_sha256(), NULL) == 1;
}
