// SPDX-License-Identifier: ISC
#include "common/principal.h"

#include <stdio.h>
#include <string.h>

static const size_t prefix_len = sizeof IA_APP_PREFIX - 1;

bool ia_principal_is_app(const char *principal)
{
    return strncmp(principal, IA_APP_PREFIX, prefix_len) == 0;
}

size_t ia_principal_app(const char *issuer, const char *app_id, char *out, size_t size)
{
    int len = snprintf(out, size, IA_APP_PREFIX "%s:%s", issuer, app_id);
    return len > 0 ? (size_t)len : 0;
}

bool ia_principal_issuer(const char *principal, char issuer[IA_VALUE_MAX + 1])
{
    if (!ia_principal_is_app(principal))
        return false;
    const char *name = principal + prefix_len;
    size_t len = strcspn(name, ":");
    if (name[len] != ':' || len == 0 || len > IA_VALUE_MAX)
        return false;
    memcpy(issuer, name, len);
    issuer[len] = '\0';
    return true;
}
