// SPDX-License-Identifier: ISC
/* JSON Pointers (RFC 6901) into a token's claims: compiled once, evaluated without an allocation.  Internal to oauth/. */
#pragma once

#include "common/error.h"
#include "common/pointer_text.h"
#include "oauth/json.h"

#include <stdbool.h>
#include <stddef.h>

struct ia_pointer; /* immutable after parsing; any thread */

/* Compile `text`: reference tokens, each behind a '/', in which ~1 is '/' and ~0 is '~'.  IA_FORMAT for what
 * ia_pointer_text_fault finds wrong.  The caller owns *out. */
IA_MUST_USE enum ia_rc ia_pointer_parse(const char *text, struct ia_pointer **out, struct ia_err *err);
void ia_pointer_free(struct ia_pointer *pointer);

/* The value that the pointer names in `document`; NULL when there is none, or null.  In an array a reference token is an
 * index (decimal, without leading zeros); `-` names nothing. */
json_t *ia_pointer_get(const struct ia_pointer *pointer, const json_t *document);

/* The text that it was compiled from. */
const char *ia_pointer_text(const struct ia_pointer *pointer);
