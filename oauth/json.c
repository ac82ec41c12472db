// SPDX-License-Identifier: ISC
#include "oauth/json.h"

#include <stdbool.h>

/* Is the text at most IA_JSON_DEPTH_MAX levels deep?  The count is exact only for text that the parser then accepts.
 * jansson itself would recurse 2048 levels. */
static bool depth_allowed(const char *p, size_t len)
{
    size_t depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < len; i++) {
        if (quoted) {
            if (p[i] == '\\')
                i++;
            else if (p[i] == '"')
                quoted = false;
        } else if (p[i] == '"') {
            quoted = true;
        } else if (p[i] == '{' || p[i] == '[') {
            if (++depth > IA_JSON_DEPTH_MAX)
                return false;
        } else if ((p[i] == '}' || p[i] == ']') && depth > 0) {
            depth--;
        }
    }
    return true;
}

json_t *ia_json_load(const void *text, size_t len)
{
    if (!depth_allowed(text, len))
        return NULL;
    json_t *value = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    if (value && !json_is_object(value)) {
        json_decref(value);
        return NULL;
    }
    return value;
}

const char *ia_json_text(const json_t *object, const char *name, bool *wrong_type)
{
    const json_t *value = json_object_get(object, name);
    *wrong_type = value && !json_is_string(value);
    return json_string_value(value);
}
