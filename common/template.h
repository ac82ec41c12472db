// SPDX-License-Identifier: ISC
/* Templates with `${variables}`: device ids, client ids.  Parsed before anything is filled in; filled-in text is never
 * expanded again, so a value that reads `${x}` or `*` stays what it is. */
#pragma once

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>

#define IA_TEMPLATE_MAX   512 /* bytes of template text */
#define IA_TEMPLATE_PARTS 16

struct ia_template; /* immutable after parsing; any thread */

/* The value of variable `name`: a valid value (ia_value_valid), or NULL when it is unset, with *why (may stay NULL)
 * saying why in a static text.  The result must live until the call that asked for it returns. */
typedef const char *ia_template_lookup(void *ctx, const char *name, const char **why);

/* Parse `text`.  With `allow_wildcard`, one trailing `*` stands for 'anything after'; elsewhere a `*`, and `+ # /` or
 * control characters anywhere, are refused (`/` is allowed with allow_wildcard: client ids may hold it).  Variable
 * names are checked against known(name) when it is given.  The caller owns *out. */
IA_MUST_USE enum ia_rc ia_template_parse(const char *text, bool allow_wildcard, bool (*known)(const char *name),
                                         struct ia_template **out, struct ia_err *err);
void ia_template_free(struct ia_template *t);

/* Fill in into out[size].  IA_FORMAT with the variable and the cause when one is unset or the text does not fit. */
IA_MUST_USE enum ia_rc ia_template_fill(const struct ia_template *t, ia_template_lookup *lookup, void *ctx, char *out,
                                        size_t size, struct ia_err *err);

/* Does `text` equal the filled-in template (or begin with it, where the template ends in `*`)?  An unset variable never
 * matches. */
bool ia_template_match(const struct ia_template *t, ia_template_lookup *lookup, void *ctx, const char *text);
