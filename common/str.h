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

/* Read one UTF-8 sequence of at most `left` bytes (at least one) at `text`.  Returns its length, with the code point in
 * *cp, or 0 when the sequence is not well-formed. */
size_t ia_utf8_next(const char *text, size_t left, uint32_t *cp);

/* Is it a control character: C0, DEL or C1? */
static inline bool ia_is_control(uint32_t cp)
{
    return cp < 0x20 || (cp >= 0x7F && cp <= 0x9F);
}

/* Does it change how a terminal or a page shows other characters?  Controls, separators of lines, characters without
 * width, and those that change the direction of the text (Unicode Standard Annex 9). */
bool ia_misleads_reader(uint32_t cp);

/* The character at `text`, of which `left` bytes (at least one) are there: its length, 1 where it is not well-formed
 * UTF-8.  *shown: it is well-formed and does not mislead the reader of a log line. */
size_t ia_shown_character(const char *text, size_t left, bool *shown);

/* May text[0..len) be used as one value in an id, a topic level or a name?  1 to IA_VALUE_MAX bytes of valid UTF-8
 * without `+ # / *`, control characters (C0, DEL, C1) or a leading `$`: so a value can neither add levels or wildcards
 * to a topic nor reach the broker's own topics.  A NUL counts as a control character, so the whole length is checked,
 * not the part that a C string would show.  *why (may be NULL) gets NULL, or a static text for an error message. */
bool ia_value_valid(const char *text, size_t len, const char **why);

/* Are both texts equal, or both NULL? */
bool ia_same_text(const char *a, const char *b);

/* Lower-case hexadecimal of bytes[0..len) into out[2 * len + 1]. */
void ia_hex(const uint8_t *bytes, size_t len, char *out);

/* Read `len` bytes from the 2 * len hexadecimal digits at `digits`, in either case.  False: one is not a digit, and
 * out[0..len) is undefined. */
bool ia_hex_read(const char *digits, size_t len, uint8_t *out);
