// SPDX-License-Identifier: ISC
/* base64url without padding (RFC 7515 section 2, RFC 4648 section 5), one spelling for each value. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Most bytes that `len` characters decode to. */
#define IA_BASE64URL_BYTES(len) ((len) / 4 * 3 + 2)

/* Decode text[0..len) into out[IA_BASE64URL_BYTES(len)].  False for padding, white space, any other character, a length
 * that no byte string has, or bits set beyond the last byte: a second spelling of one token would pass for another. */
bool ia_base64url_decode(const char *text, size_t len, uint8_t *out, size_t *out_len);
