// SPDX-License-Identifier: ISC
/* Names of principals, in events, user names, and topic variables: a device's is its id, an app's is
 * `app:<issuer>:<app id>`.  Issuers' names hold no ':' (SQL checks it), so the name can be taken apart again; device
 * ids never begin with `app:`, so no CA can mint an app's name. */
#pragma once

#include "common/str.h"

#include <stdbool.h>
#include <stddef.h>

#define IA_APP_PREFIX "app:"

/* The longest name of a principal, in bytes without the NUL: an app's. */
#define IA_PRINCIPAL_MAX (sizeof IA_APP_PREFIX - 1 + IA_VALUE_MAX + 1 + IA_VALUE_MAX)

/* Does the name begin with `app:`, which is the name space of apps? */
bool ia_principal_is_app(const char *principal);

/* Write `app:<issuer>:<app id>` into out[size], NUL-terminated and truncated to fit.  Returns its whole length without
 * the NUL, as snprintf does: `size` 0 measures. */
size_t ia_principal_app(const char *issuer, const char *app_id, char *out, size_t size);

/* Copy the issuer's name out of an app's name.  False for anything else. */
bool ia_principal_issuer(const char *principal, char issuer[IA_VALUE_MAX + 1]);
