// SPDX-License-Identifier: ISC
/* JSON from outside, read strictly by jansson.  Internal to oauth/.
 *
 * Two things that RFC 8259 allows jansson refuses for the whole text: a number that C cannot hold, and a string with a
 * NUL or a lone surrogate.  A member that nothing reads must not decide, so these values are replaced, by a text that
 * no reader accepts (ia_json_readable).  Everything else stays refused: syntax, UTF-8, duplicate members. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define IA_JSON_DEPTH_MAX 16

/* What stands for a value that jansson cannot hold: a string of one backspace.  As a token it is never longer than what
 * it replaces ("1e999", "\ud800"), so the text is rewritten in place.  No reader takes a control character. */
#define IA_JSON_REPLACEMENT '\b'

/* Parse text[0..len) as one object: no duplicate members (which of the two does the signer mean?), nothing after it, at
 * most IA_JSON_DEPTH_MAX levels deep.  NULL for anything else, and *why (may be NULL) says what is wrong in a static
 * text that completes "the payload …"; the caller owns the result. */
json_t *ia_json_load(const void *text, size_t len, const char **why);

/* Does `value` (may be NULL), at any depth, hold only what was in the text?  False where something was replaced. */
bool ia_json_readable(const json_t *value);

/* The member `name`; NULL when it is absent or null, which is the same here: providers write null for what they do not
 * set. */
json_t *ia_json_get(const json_t *object, const char *name);

/* The string member `name`: NULL when it is absent or null, with *wrong_type set when it is of another type. */
const char *ia_json_text(const json_t *object, const char *name, bool *wrong_type);
