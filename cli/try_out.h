// SPDX-License-Identifier: ISC
/* An app without an identity provider, for trying out: a key pair in a folder stands for the provider. */
#pragma once

#include "cli/call.h"

/* issuer add, with --try-out or without. */
int ia_try_out_add(const struct ia_call *call);

/* token make. */
int ia_try_out_token(const struct ia_call *call);

/* The files of the folder. */
#define IA_TRY_OUT_KEY    "try-out-key.pem"     /* PKCS #8, mode 0600 */
#define IA_TRY_OUT_ISSUER "try-out-issuer.json" /* {"name", "issuer", "audience", "kid"} */

/* What its tokens say as iss: a name that RFC 2606 reserves, so that no provider can have it.  `status` warns by it. */
#define IA_TRY_OUT_PREFIX "https://try-out.invalid/"
