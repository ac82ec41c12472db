// SPDX-License-Identifier: ISC
/* JSON from outside, read strictly by jansson.  Internal to oauth/. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define IA_JSON_DEPTH_MAX 16

/* Parse text[0..len) as one object: no duplicate members (which of the two does the signer mean?), no NUL, nothing after
 * it, at most IA_JSON_DEPTH_MAX levels deep.  NULL for anything else; the caller owns the result. */
json_t *ia_json_load(const void *text, size_t len);

/* The string member `name`: NULL when it is absent, with *wrong_type set when it is present but not a string. */
const char *ia_json_text(const json_t *object, const char *name, bool *wrong_type);
