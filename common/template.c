// SPDX-License-Identifier: ISC
#include "common/template.h"

#include "common/str.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* One part of a template: a literal, or the name of a variable.  Both are in ia_template.text, NUL-terminated. */
struct part {
    bool variable;
    const char *text;
    size_t len;
};

struct ia_template {
    size_t n;
    bool wildcard;
    struct part parts[IA_TEMPLATE_PARTS];
    char text[]; /* the parts, each NUL-terminated */
};

bool ia_has_percent_placeholder(const char *text, size_t len)
{
    for (size_t i = 0; i + 1 < len; i++)
        if (text[i] == '%' && strchr("ucm", text[i + 1]) && text[i + 1] &&
            (i + 2 == len || !isalnum((unsigned char)text[i + 2])))
            return true;
    return false;
}

static bool literal_byte_allowed(unsigned char c, bool client_id)
{
    if (c < 0x20 || c == 0x7F || c == '+' || c == '#' || c == '*' || c == '$' || c == '{' || c == '}')
        return false;
    return c != '/' || client_id;
}

static bool add_part(struct ia_template *t, bool variable, const char *text, size_t len)
{
    if (t->n == IA_TEMPLATE_PARTS)
        return false;
    t->parts[t->n++] = (struct part){.variable = variable, .text = text, .len = len};
    return true;
}

/* Copy one `${name}`, or the literal up to the next one, from *in to *out as a part.  NULL, or the error as a static
 * text. */
static const char *parse_part(struct ia_template *t, const char **in, char **out, bool wildcard,
                              bool (*known)(const char *name))
{
    char *start = *out;
    const char *p = *in;
    bool variable = p[0] == '$' && p[1] == '{';
    if (variable) {
        const char *end = strchr(p, '}');
        if (!end || end == p + 2)
            return "'${' must be followed by a name and '}'";
        size_t len = (size_t)(end - p - 2);
        memcpy(start, p + 2, len);
        start[len] = '\0';
        if (known && !known(start))
            return "it contains a ${variable} that does not exist";
        *out = start + len + 1;
        *in = end + 1;
    } else {
        while (*p && !(p[0] == '$' && p[1] == '{') && !(wildcard && p[0] == '*' && p[1] == '\0')) {
            if (!literal_byte_allowed((unsigned char)*p, wildcard))
                return "it contains a character that is not allowed";
            *(*out)++ = *p++;
        }
        *(*out)++ = '\0';
        *in = p;
        if (ia_has_percent_placeholder(start, strlen(start)))
            return "it contains %u, %c or %m, which is not replaced: a variable is written ${name}";
    }
    return add_part(t, variable, start, (size_t)(*out - start - 1)) ? NULL : "it has more than 16 parts";
}

enum ia_rc ia_template_parse(const char *text, bool allow_wildcard, bool (*known)(const char *name),
                             struct ia_template **out, struct ia_err *err)
{
    size_t len = strlen(text);
    if (len == 0 || len > IA_TEMPLATE_MAX)
        return ia_fail(err, IA_FORMAT, "template: must be 1 to %d bytes", IA_TEMPLATE_MAX);
    if (!ia_utf8_valid(text, len))
        return ia_fail(err, IA_FORMAT, "template: not valid UTF-8");
    /* A literal needs one byte more, for its NUL; a variable needs two bytes less than `${name}`. */
    struct ia_template *t = calloc(1, sizeof *t + len + IA_TEMPLATE_PARTS + 1);
    if (!t)
        return ia_nomem(err);
    char *to = t->text;
    const char *error = NULL;
    for (const char *p = text; *p && !error;) {
        if (allow_wildcard && p[0] == '*' && p[1] == '\0') {
            t->wildcard = true;
            break;
        }
        error = parse_part(t, &p, &to, allow_wildcard, known);
    }
    if (error) {
        free(t);
        return ia_fail(err, IA_FORMAT, "template '%.100s': %s", text, error);
    }
    *out = t;
    return IA_OK;
}

void ia_template_free(struct ia_template *t)
{
    free(t);
}

/* The text of a literal or the value of a variable; NULL when it is not set, with *why. */
static const char *part_value(const struct part *part, ia_template_lookup *lookup, void *ctx, const char **why)
{
    return part->variable ? lookup(ctx, part->text, why) : part->text;
}

enum ia_rc ia_template_fill(const struct ia_template *t, ia_template_lookup *lookup, void *ctx, char *out, size_t size,
                            struct ia_err *err)
{
    size_t used = 0;
    for (size_t i = 0; i < t->n; i++) {
        const char *why = NULL;
        const char *value = part_value(&t->parts[i], lookup, ctx, &why);
        if (!value)
            return ia_fail(err, IA_FORMAT, "${%.60s}: %s", t->parts[i].text, why ? why : "it is not set");
        size_t len = strlen(value);
        if (len >= size - used)
            return ia_fail(err, IA_FORMAT, "the text with its values is longer than %zu bytes", size - 1);
        memcpy(out + used, value, len);
        used += len;
    }
    out[used] = '\0';
    return IA_OK;
}

bool ia_template_match(const struct ia_template *t, ia_template_lookup *lookup, void *ctx, const char *text)
{
    for (size_t i = 0; i < t->n; i++) {
        const char *why = NULL;
        const char *value = part_value(&t->parts[i], lookup, ctx, &why);
        if (!value)
            return false;
        size_t len = strlen(value);
        if (strncmp(text, value, len) != 0)
            return false;
        text += len;
    }
    return t->wildcard || *text == '\0';
}
