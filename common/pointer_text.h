// SPDX-License-Identifier: ISC
/* The form of a JSON Pointer (RFC 6901) as settings and rules may write it: `${claim:/realm_access/tenant}` is checked
 * where it is compiled, in a topic rule as in a client id template. */
#pragma once

#include <stddef.h>

#define IA_POINTER_MAX       512 /* bytes of a pointer */
#define IA_POINTER_DEPTH_MAX 16  /* reference tokens: nothing in a token is deeper (IA_JSON_DEPTH_MAX) */

/* What is wrong with text[0..len) as a pointer, as a static text that completes "the pointer …"; NULL: nothing.
 * Invalid are the empty pointer (the whole document is not a claim), a text without a leading '/', a '~' that is neither
 * ~0 nor ~1, invalid UTF-8, control characters, and one over the limits. */
const char *ia_pointer_text_fault(const char *text, size_t len);
