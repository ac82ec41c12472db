// SPDX-License-Identifier: ISC
#include "oauth/pointer.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(IA_POINTER_DEPTH_MAX == IA_JSON_DEPTH_MAX, "a pointer reaches what JSON may hold, and no deeper");

struct ia_pointer {
    size_t n;
    const char *tokens[IA_POINTER_DEPTH_MAX]; /* unescaped, one behind the other in `names` */
    char text[IA_POINTER_MAX + 1];
    char names[IA_POINTER_MAX + 1];
};

/* Split the valid text.  ~01 becomes ~1: each escape is read once. */
static void split_tokens(struct ia_pointer *p)
{
    char *out = p->names;
    for (const char *in = p->text; *in; in++) {
        if (*in == '/') {
            if (p->n)
                *out++ = '\0';
            p->tokens[p->n++] = out;
        } else if (*in == '~') {
            *out++ = *++in == '0' ? '~' : '/';
        } else {
            *out++ = *in;
        }
    }
    *out = '\0';
}

enum ia_rc ia_pointer_parse(const char *text, struct ia_pointer **out, struct ia_err *err)
{
    size_t len = strnlen(text, IA_POINTER_MAX + 1);
    const char *fault = ia_pointer_text_fault(text, len);
    if (fault)
        return ia_fail(err, IA_FORMAT, "pointer '%.60s' %s", text, fault);
    struct ia_pointer *pointer = calloc(1, sizeof *pointer);
    if (!pointer)
        return ia_nomem(err);
    memcpy(pointer->text, text, len + 1);
    split_tokens(pointer);
    *out = pointer;
    return IA_OK;
}

void ia_pointer_free(struct ia_pointer *pointer)
{
    free(pointer);
}

/* RFC 6901 section 4: digits without leading zeros.  An index beyond any array is none. */
static bool read_index(const char *token, size_t *index)
{
    size_t n = 0;
    if (*token == '\0' || (token[0] == '0' && token[1]))
        return false;
    for (; *token; token++) {
        if (*token < '0' || *token > '9' || n > 1000000)
            return false;
        n = n * 10 + (size_t)(*token - '0');
    }
    *index = n;
    return true;
}

static json_t *get_member(json_t *value, const char *token)
{
    size_t index;
    if (json_is_object(value))
        return json_object_get(value, token);
    return json_is_array(value) && read_index(token, &index) ? json_array_get(value, index) : NULL;
}

json_t *ia_pointer_get(const struct ia_pointer *pointer, const json_t *document)
{
    json_t *value = (json_t *)document;
    for (size_t i = 0; i < pointer->n && value; i++)
        value = get_member(value, pointer->tokens[i]);
    return json_is_null(value) ? NULL : value;
}

const char *ia_pointer_text(const struct ia_pointer *pointer)
{
    return pointer->text;
}
