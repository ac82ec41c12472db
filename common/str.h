// SPDX-License-Identifier: ISC
/* Strings, and the one rule for values that come from outside. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `ia_autofree char *s = NULL;` frees s when it goes out of scope. */
#define ia_autofree __attribute__((cleanup(ia_free_ptr)))
void ia_free_ptr(void *p);

/* The longest value that is accepted from a certificate, token, client or row, in bytes without the NUL. */
#define IA_VALUE_MAX 128

/* Is text[0..len) well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF)? */
bool ia_utf8_valid(const char *text, size_t len);

/* May text[0..len) be used as one value in an id, a topic level or a name?  1 to IA_VALUE_MAX bytes of valid UTF-8
 * without `+ # / *`, control characters (C0, DEL, C1) or a leading `$`: so a value can neither add levels or wildcards
 * to a topic nor reach the broker's own topics.  A NUL counts as a control character, so the whole length is checked,
 * not the part that a C string would show.  *why (may be NULL) gets NULL, or a static text for an error message. */
bool ia_value_valid(const char *text, size_t len, const char **why);

/* Lower-case hexadecimal of bytes[0..len) into out[2 * len + 1]. */
void ia_hex(const uint8_t *bytes, size_t len, char *out);
