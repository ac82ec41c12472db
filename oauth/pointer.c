// SPDX-License-Identifier: ISC
#include "oauth/pointer.h"

#include "common/str.h"

#include <stdlib.h>
#include <string.h>

struct ia_pointer {
    size_t n;
    const char *tokens[IA_POINTER_DEPTH_MAX]; /* unescaped, one behind the other in `names` */
    char names[IA_POINTER_MAX + 1];
};

static const char *find_text_fault(const char *text)
{
    size_t len = strnlen(text, IA_POINTER_MAX + 1);
    if (len == 0)
        return "is empty: it would name the whole token";
    if (len > IA_POINTER_MAX)
        return "is longer than 512 bytes";
    if (text[0] != '/')
        return "has no slash at its start (RFC 6901)";
    if (!ia_utf8_valid(text, len))
        return "is not valid UTF-8";
    for (const char *p = text; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7F)
            return "holds a control character";
        if (*p == '~' && p[1] != '0' && p[1] != '1')
            return "holds a ~ that is neither ~0 nor ~1 (RFC 6901)";
    }
    return NULL;
}

/* Split the valid text; false when it has too many reference tokens.  ~01 becomes ~1: each escape is read once. */
static bool split_tokens(struct ia_pointer *p, const char *text)
{
    char *out = p->names;
    for (const char *in = text; *in; in++) {
        if (*in == '/') {
            if (p->n == IA_POINTER_DEPTH_MAX)
                return false;
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
    return true;
}

enum ia_rc ia_pointer_parse(const char *text, struct ia_pointer **out, struct ia_err *err)
{
    const char *fault = find_text_fault(text);
    if (fault)
        return ia_fail(err, IA_FORMAT, "pointer '%.60s' %s", text, fault);
    struct ia_pointer *pointer = calloc(1, sizeof *pointer);
    if (!pointer)
        return ia_nomem(err);
    if (!split_tokens(pointer, text)) {
        free(pointer);
        return ia_fail(err, IA_FORMAT, "pointer '%.60s' is deeper than %d levels", text, IA_POINTER_DEPTH_MAX);
    }
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
