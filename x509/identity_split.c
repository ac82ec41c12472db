// SPDX-License-Identifier: ISC
/* Splitters take a part of a value as it stands; nothing is decoded, so that no two texts become one. */
#include "x509/identity_private.h"

#include <string.h>

struct part {
    const char *at;
    size_t len;
};

static const char *find_text(const struct part *in, const char *text, size_t len)
{
    return len <= in->len ? memmem(in->at, in->len, text, len) : NULL;
}

/* The n-th part between separators, from 1. */
static bool take_nth(struct part *in, const char *separator, size_t len, unsigned n)
{
    for (;;) {
        const char *end = find_text(in, separator, len);
        size_t skip = end ? (size_t)(end - in->at) : in->len;
        if (--n == 0) {
            in->len = skip;
            return true;
        }
        if (!end)
            return false;
        in->at += skip + len;
        in->len -= skip + len;
    }
}

static void skip_bytes(struct part *in, size_t n)
{
    in->at += n;
    in->len -= n;
}

static size_t span_until(const struct part *in, const char *stop)
{
    size_t n = 0;
    while (n < in->len && !strchr(stop, in->at[n]))
        n++;
    return n;
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* RFC 3986 3.1: scheme = ALPHA *( ALPHA / DIGIT / "+" / "-" / "." ), then ":". */
static bool skip_scheme(struct part *in)
{
    size_t n = 0;
    while (n < in->len && (is_letter(in->at[n]) || (n > 0 && strchr("0123456789+-.", in->at[n]))))
        n++;
    if (n == 0 || n == in->len || in->at[n] != ':')
        return false;
    skip_bytes(in, n + 1);
    return true;
}

/* URI = scheme ":" [ "//" authority ] path [ "?" query ] [ "#" fragment ] */
static bool take_uri_path(struct part *in)
{
    if (!skip_scheme(in))
        return false;
    if (in->len >= 2 && memcmp(in->at, "//", 2) == 0) {
        skip_bytes(in, 2);
        skip_bytes(in, span_until(in, "/?#"));
    }
    in->len = span_until(in, "?#");
    if (in->len > 0 && in->at[0] == '/')
        skip_bytes(in, 1);
    return true;
}

static const char *split_part(const struct ia_identity_query *query, struct part *part)
{
    switch (query->splitter) {
    case IA_SPLIT_PREFIX:
        skip_bytes(part, query->len);
        return NULL;
    case IA_SPLIT_FIELD:
        return take_nth(part, query->text, query->len, query->n) ? NULL : "the value has fewer fields";
    case IA_SPLIT_PATH:
        if (!take_uri_path(part))
            return "the value is not a URI";
        return take_nth(part, "/", 1, query->n) ? NULL : "the path has fewer segments";
    case IA_SPLIT_NONE:
        break;
    }
    return NULL;
}

void ia_split_value(const struct ia_identity_query *query, struct ia_raw_value *value)
{
    struct part part = {value->text, value->len};
    value->why = split_part(query, &part);
    if (value->why)
        return;
    memmove(value->text, part.at, part.len);
    value->len = part.len;
    value->text[part.len] = '\0';
}
