// SPDX-License-Identifier: ISC
#include "oauth/json.h"

#include <stdbool.h>

/* How many levels deep is it?  A rough count that only has to be right for what the parser then accepts: jansson would
 * go down 2048 levels. */
static bool depth_ok(const char *p, size_t len)
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
    if (!depth_ok(text, len))
        return NULL;
    json_t *value = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    if (value && !json_is_object(value)) {
        json_decref(value);
        return NULL;
    }
    return value;
}

const char *ia_json_text(const json_t *object, const char *name, bool *wrong)
{
    const json_t *value = json_object_get(object, name);
    *wrong = value && !json_is_string(value);
    return json_string_value(value);
}
