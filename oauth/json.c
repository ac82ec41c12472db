// SPDX-License-Identifier: ISC
#include "oauth/json.h"

#include <ctype.h>
#include <openssl/crypto.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

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

/* ---- values that jansson refuses */

/* A text that is rewritten from left to right, never longer than it was. */
struct rewriter {
    const char *in, *end;
    char *out;
};

static void copy_bytes(struct rewriter *r, size_t n)
{
    memmove(r->out, r->in, n);
    r->out += n;
    r->in += n;
}

static void skip_to(struct rewriter *r, const char *after, const char *replacement)
{
    size_t n = strlen(replacement);
    memcpy(r->out, replacement, n);
    r->out += n;
    r->in = after;
}

/* The UTF-16 code unit of the escape \uXXXX at p; -1 for anything else. */
static int escaped_unit(const char *p, const char *end)
{
    int unit = 0;
    if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
        return -1;
    for (int i = 2; i < 6; i++) {
        if (!isxdigit((unsigned char)p[i]))
            return -1;
        unit = unit * 16 + (p[i] <= '9' ? p[i] - '0' : (p[i] & 0x5F) - 'A' + 10);
    }
    return unit;
}

static bool is_high_surrogate(int unit)
{
    return unit >= 0xD800 && unit <= 0xDBFF;
}

static bool is_low_surrogate(int unit)
{
    return unit >= 0xDC00 && unit <= 0xDFFF;
}

/* One escape, at r->in. */
static void rewrite_escape(struct rewriter *r)
{
    int unit = escaped_unit(r->in, r->end);
    if (is_high_surrogate(unit) && is_low_surrogate(escaped_unit(r->in + 6, r->end)))
        copy_bytes(r, 12);
    else if (unit == 0 || is_high_surrogate(unit) || is_low_surrogate(unit))
        skip_to(r, r->in + 6, "\\b");
    else
        copy_bytes(r, r->end - r->in > 1 ? 2 : 1);
}

/* The string at r->in, quotes included. */
static void rewrite_string(struct rewriter *r)
{
    copy_bytes(r, 1);
    while (r->in < r->end && *r->in != '"') {
        if (*r->in == '\\')
            rewrite_escape(r);
        else
            copy_bytes(r, 1);
    }
    if (r->in < r->end)
        copy_bytes(r, 1);
}

static const char *skip_digits(const char *p, const char *end)
{
    while (p < end && isdigit((unsigned char)*p))
        p++;
    return p;
}

/* The end of the number at p, by the grammar of RFC 8259 section 6; NULL where there is none. */
static const char *number_end(const char *p, const char *end)
{
    if (p < end && *p == '-')
        p++;
    const char *digits = p;
    p = skip_digits(p, end);
    if (p == digits || (*digits == '0' && p - digits > 1))
        return NULL;
    if (p < end && *p == '.') {
        digits = p + 1;
        p = skip_digits(digits, end);
        if (p == digits)
            return NULL;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        digits = p + 1 < end && (p[1] == '+' || p[1] == '-') ? p + 2 : p + 1;
        p = skip_digits(digits, end);
        if (p == digits)
            return NULL;
    }
    return p;
}

/* Something outside of strings. */
static void rewrite_other(struct rewriter *r)
{
    const char *end = *r->in == '-' || isdigit((unsigned char)*r->in) ? number_end(r->in, r->end) : NULL;
    if (!end) {
        copy_bytes(r, 1);
        return;
    }
    json_auto_t *value = json_loadb(r->in, (size_t)(end - r->in), JSON_DECODE_ANY, NULL);
    if (value)
        copy_bytes(r, (size_t)(end - r->in));
    else
        skip_to(r, end, "\"\\b\"");
}

/* Parse a copy of the text in which the values that jansson refuses are replaced. */
static json_t *load_replaced(const char *text, size_t len, json_error_t *error)
{
    char *copy = malloc(len);
    if (!copy)
        return NULL;
    struct rewriter r = {.in = text, .end = text + len, .out = copy};
    while (r.in < r.end) {
        if (*r.in == '"')
            rewrite_string(&r);
        else
            rewrite_other(&r);
    }
    json_t *value = json_loadb(copy, (size_t)(r.out - copy), JSON_REJECT_DUPLICATES, error);
    OPENSSL_cleanse(copy, len);
    free(copy);
    return value;
}

bool ia_json_readable(const json_t *value)
{
    size_t i;
    const char *name;
    json_t *entry;
    if (json_is_string(value))
        return !memchr(json_string_value(value), IA_JSON_REPLACEMENT, json_string_length(value));
    json_array_foreach(value, i, entry) {
        if (!ia_json_readable(entry))
            return false;
    }
    json_object_foreach((json_t *)value, name, entry) {
        if (strchr(name, IA_JSON_REPLACEMENT) || !ia_json_readable(entry))
            return false;
    }
    return true;
}

/* ---- reading */

static const char *explain_error(const json_error_t *error)
{
    return json_error_code(error) == json_error_duplicate_key ? "has two members of one name" : "is not JSON";
}

json_t *ia_json_load(const void *text, size_t len, const char **why)
{
    const char *ignored;
    json_error_t error = {0};
    if (!why)
        why = &ignored;
    if (!depth_allowed(text, len)) {
        *why = "is nested deeper than 16 levels";
        return NULL;
    }
    json_t *value = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
    if (!value && json_error_code(&error) != json_error_duplicate_key)
        value = load_replaced(text, len, &error);
    if (!value) {
        *why = explain_error(&error);
        return NULL;
    }
    if (json_is_object(value))
        return value;
    *why = "is not a JSON object";
    json_decref(value);
    return NULL;
}

json_t *ia_json_get(const json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);
    return json_is_null(value) ? NULL : value;
}

const char *ia_json_text(const json_t *object, const char *name, bool *wrong_type)
{
    const json_t *value = ia_json_get(object, name);
    *wrong_type = value && !json_is_string(value);
    return json_string_value(value);
}
