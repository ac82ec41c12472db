// SPDX-License-Identifier: ISC
/* The token inside the authentication data of MQTT 5 enhanced authentication, method OAUTHBEARER: either the client
 * response of RFC 7628 section 3.1 (`n,,^Aauth=Bearer TOKEN^A^A`) or the bare token. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* *token points into data[0..len).  False when it is neither: authentication data must be
 * unambiguous. */
bool ia_bearer_token(const void *data, size_t len, const char **token, size_t *token_len);
