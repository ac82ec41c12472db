// SPDX-License-Identifier: ISC
/* Strings and the one rule for values that come from outside. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `ia_autofree char *s = NULL;` frees s when it goes out of scope. */
#define ia_autofree __attribute__((cleanup(ia_free_ptr)))
void ia_free_ptr(void *p);

/* The longest value that is taken over from a certificate, token, client or row, in bytes without the NUL. */
#define IA_VALUE_MAX 128

/* Is text[0..len) well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF)? */
bool ia_utf8_valid(const char *text, size_t len);

/* May text[0..len) stand as one value in an id, a topic level or a name?  1 to IA_VALUE_MAX bytes of valid UTF-8
 * without
 * `+ # / *`, control characters (C0, DEL, C1) or a leading `$`.  NULL, or *why set to a static text that says what is
 * wrong, for an error message.  A NUL counts as a control character, so the whole length is judged, not a prefix. */
bool ia_value_valid(const char *text, size_t len, const char **why);

/* Lower-case hexadecimal of bytes[0..len) into out[2 * len + 1]. */
void ia_hex(const uint8_t *bytes, size_t len, char *out);
