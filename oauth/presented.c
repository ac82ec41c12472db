// SPDX-License-Identifier: ISC
#include "oauth/presented.h"

#include <string.h>
#include <strings.h>

#define JWS_DOTS 2
#define JWE_DOTS 4

/* ---- what is copied along with a token */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void strip_blanks(struct ia_presented *p)
{
    while (p->len && is_blank(p->text[0])) {
        p->text++;
        p->len--;
    }
    while (p->len && is_blank(p->text[p->len - 1]))
        p->len--;
}

static void strip_quotes(struct ia_presented *p)
{
    char quote = p->len ? p->text[0] : '\0';
    if (p->len < 2 || (quote != '"' && quote != '\'') || p->text[p->len - 1] != quote)
        return;
    p->text++;
    p->len -= 2;
    strip_blanks(p);
}

static void strip_scheme(struct ia_presented *p)
{
    static const char scheme[] = "Bearer";
    size_t len = sizeof scheme - 1;
    if (p->len <= len || strncasecmp(p->text, scheme, len) != 0 || !is_blank(p->text[len]))
        return;
    p->has_scheme = true;
    p->text += len;
    p->len -= len;
    strip_blanks(p);
}

void ia_presented_init(struct ia_presented *out, const char *text, size_t len)
{
    *out = (struct ia_presented){.text = text, .len = len};
    strip_blanks(out);
    strip_quotes(out);
    strip_scheme(out);
    strip_quotes(out);
}

/* ---- what it is */

static size_t count_dots(const struct ia_presented *p)
{
    size_t dots = 0;
    for (size_t i = 0; i < p->len; i++)
        dots += p->text[i] == '.';
    return dots;
}

static bool has_jose_header(const struct ia_presented *p)
{
    const char *dot = memchr(p->text, '.', p->len);
    return dot && ia_jose_header_valid(p->text, (size_t)(dot - p->text));
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
    bool jose = has_jose_header(p);
    if (jose && (dots == JWS_DOTS || dots == JWE_DOTS))
        p->kind = IA_PRESENTED_TOKEN;
    else if (jose || p->has_scheme || is_opaque_token(p))
        p->kind = IA_PRESENTED_UNUSABLE;
    if (jose && dots == JWS_DOTS)
        return; /* the header says what is wrong */
    p->reason = IA_R_TOKEN_MALFORMED;
    if (jose && dots == JWE_DOTS)
        (void)ia_refusal_set(p->detail, p->reason,
                             "an encrypted token (JWE, five parts); a signed one is needed (JWS)");
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
    if (presented->reason == IA_R_NONE)
        presented->kind = IA_PRESENTED_TOKEN;
    else
        classify_other(presented);
}

void ia_presented_clear(struct ia_presented *presented)
{
    ia_jws_clear(&presented->jws);
    *presented = (struct ia_presented){0};
}
