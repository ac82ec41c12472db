// SPDX-License-Identifier: ISC
#include "oauth/presented.h"

#include <string.h>
#include <strings.h>

#define JWS_DOTS 2
#define JWE_DOTS 4
#define WRAPPED  "blanks or quotes around the token"

/* RFC 6750 section 2.1: the scheme, of any case, and blanks. */
void ia_presented_init(struct ia_presented *out, const char *text, size_t len)
{
    static const char scheme[] = "Bearer ";
    size_t prefix = sizeof scheme - 1;
    *out = (struct ia_presented){.text = text, .len = len};
    if (len < prefix || strncasecmp(text, scheme, prefix) != 0)
        return;
    while (prefix < len && text[prefix] == ' ')
        prefix++;
    out->has_scheme = true;
    out->text += prefix;
    out->len -= prefix;
}

/* ---- what it is */

static size_t count_dots(const struct ia_presented *p)
{
    size_t dots = 0;
    for (size_t i = 0; i < p->len; i++)
        dots += p->text[i] == '.';
    return dots;
}

static bool has_jose_header(const char *text, size_t len)
{
    const char *dot = memchr(text, '.', len);
    return dot && ia_jose_header_valid(text, (size_t)(dot - text));
}

/* Characters that are copied along with a token, but are not part of it. */
static bool is_wrapping(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '"' || c == '\'';
}

/* Is it a token with blanks or quotes around it, and perhaps `Bearer ` inside them?  Two texts for one token are not
 * accepted, but the mistake is named. */
static bool is_wrapped_token(const struct ia_presented *p)
{
    size_t from = 0, to = p->len;
    while (from < to && is_wrapping(p->text[from]))
        from++;
    while (to > from && is_wrapping(p->text[to - 1]))
        to--;
    if (to - from == p->len)
        return false;
    struct ia_presented inside;
    ia_presented_init(&inside, p->text + from, to - from);
    return has_jose_header(inside.text, inside.len);
}

/* RFC 6750 section 2.1: b64token, which no password with other characters can be. */
static bool is_opaque_token(const struct ia_presented *p)
{
    static const char also[] = "-._~+/";
    size_t len = p->len;
    while (len && p->text[len - 1] == '=')
        len--;
    if (len < IA_OPAQUE_TOKEN_MIN || p->len > IA_TOKEN_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = p->text[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              memchr(also, c, sizeof also - 1)))
            return false;
    }
    return true;
}

/* A text that is no JWS with a valid header: what is it instead? */
static void classify_other(struct ia_presented *p)
{
    size_t dots = count_dots(p);
    bool jose = has_jose_header(p->text, p->len), wrapped = !jose && is_wrapped_token(p);
    if (jose && (dots == JWS_DOTS || dots == JWE_DOTS))
        p->kind = IA_PRESENTED_TOKEN;
    else if (jose || wrapped || p->has_scheme || is_opaque_token(p))
        p->kind = IA_PRESENTED_UNUSABLE;
    if (jose && dots == JWS_DOTS)
        return; /* the header says what is wrong */
    p->reason = IA_R_TOKEN_MALFORMED;
    if (jose && dots == JWE_DOTS)
        (void)ia_refusal_set(p->detail, p->reason,
                             "an encrypted token (JWE, five parts); a signed one is needed (JWS)");
    else if (wrapped)
        (void)ia_refusal_set(p->detail, p->reason, WRAPPED);
    else if (jose)
        (void)ia_refusal_set(p->detail, p->reason, "%zu parts, a signed token (JWS) has three", dots + 1);
    else if (p->kind == IA_PRESENTED_UNUSABLE)
        (void)ia_refusal_set(p->detail, p->reason,
                             "%snot in JWS form (three parts with two dots, and a JOSE header): an opaque token, or an "
                             "ordinary password",
                             p->has_scheme ? "'Bearer' and a text that is " : "");
}

void ia_presented_parse(struct ia_presented *presented)
{
    if (presented->parsed)
        return;
    presented->parsed = true;
    presented->reason = ia_jws_open(presented->text, presented->len, &presented->jws, presented->detail);
    if (presented->reason != IA_R_NONE) {
        classify_other(presented);
        return;
    }
    presented->kind = IA_PRESENTED_TOKEN;
    if (is_wrapping(presented->text[presented->len - 1])) /* its signature would not decode */
        presented->reason = ia_refusal_set(presented->detail, IA_R_TOKEN_MALFORMED, WRAPPED);
}

void ia_presented_clear(struct ia_presented *presented)
{
    ia_jws_clear(&presented->jws);
    *presented = (struct ia_presented){0};
}
