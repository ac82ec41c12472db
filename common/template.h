// SPDX-License-Identifier: ISC
/* Templates with `${variables}`: device ids, client ids.  The template is parsed before values are inserted, and
 * inserted values are never expanded again: a value `${x}` or `*` is only text. */
#pragma once

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>

/* Does text[0..len) contain a placeholder of other brokers, `%u`, `%c` or `%m` (Mosquitto's acl_file, EMQX, VerneMQ)?
 * Nothing replaces it here, so a setting with one could never match what was meant.  A letter or digit after it makes
 * it ordinary text: `50%capacity`, `%c3%a9`. */
bool ia_has_percent_placeholder(const char *text, size_t len);

#define IA_TEMPLATE_MAX   512 /* bytes of template text */
#define IA_TEMPLATE_PARTS 16

struct ia_template; /* immutable after parsing; any thread */

/* The value of variable `name`: a valid value (ia_value_valid), or NULL when the variable is not set; *why may then get
 * the reason, a static text.  The result must live until the function that called the lookup returns. */
typedef const char *ia_template_lookup(void *ctx, const char *name, const char **why);

/* Parse `text`.  With `allow_wildcard`, one trailing `*` matches any rest.  A `*` elsewhere, and `+ # /` or control
 * characters anywhere, are refused (`/` is allowed with allow_wildcard, because client ids may contain it).  Variable
 * names are checked with known(name), unless that is NULL.  The caller owns *out. */
IA_MUST_USE enum ia_rc ia_template_parse(const char *text, bool allow_wildcard, bool (*known)(const char *name),
                                         struct ia_template **out, struct ia_err *err);
void ia_template_free(struct ia_template *t);

/* Write the text with all values inserted to out[size].  IA_FORMAT when a variable is not set (err names the variable
 * and the reason) or the text does not fit. */
IA_MUST_USE enum ia_rc ia_template_fill(const struct ia_template *t, ia_template_lookup *lookup, void *ctx, char *out,
                                        size_t size, struct ia_err *err);

/* Does `text` equal the template with its values inserted (or begin with that, when the template ends in `*`)?  False
 * when a variable is not set. */
bool ia_template_match(const struct ia_template *t, ia_template_lookup *lookup, void *ctx, const char *text);
