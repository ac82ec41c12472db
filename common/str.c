// SPDX-License-Identifier: ISC
#include "common/str.h"

#include <stdlib.h>
#include <string.h>

void ia_free_ptr(void *p)
{
    void *held;
    memcpy(&held, p, sizeof held);
    free(held);
}

/* The length of the UTF-8 sequence at p, at most `left` bytes, or 0 when it is not well-formed.  *cp gets the code
 * point. */
static size_t utf8_sequence(const unsigned char *p, size_t left, uint32_t *cp)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n;
    if (p[0] < 0x80) {
        *cp = p[0];
        return 1;
    }
    if ((p[0] & 0xE0) == 0xC0)
        n = 2;
    else if ((p[0] & 0xF0) == 0xE0)
        n = 3;
    else if ((p[0] & 0xF8) == 0xF0)
        n = 4;
    else
        return 0;
    if (n > left)
        return 0;
    uint32_t c = p[0] & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3Fu);
    }
    if (c < least[n] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
        return 0;
    *cp = c;
    return n;
}

bool ia_utf8_valid(const char *text, size_t len)
{
    uint32_t cp;
    for (size_t i = 0, n; i < len; i += n) {
        n = utf8_sequence((const unsigned char *)text + i, len - i, &cp);
        if (n == 0)
            return false;
    }
    return true;
}

static bool refuse_value(const char **why, const char *text)
{
    if (why)
        *why = text;
    return false;
}

bool ia_value_valid(const char *text, size_t len, const char **why)
{
    if (len == 0)
        return refuse_value(why, "it is empty");
    if (len > IA_VALUE_MAX)
        return refuse_value(why, "it is longer than 128 bytes");
    if (text[0] == '$')
        return refuse_value(why, "it begins with '$'");
    uint32_t cp;
    for (size_t i = 0, n; i < len; i += n) {
        n = utf8_sequence((const unsigned char *)text + i, len - i, &cp);
        if (n == 0)
            return refuse_value(why, "it is not valid UTF-8");
        if (cp < 0x20 || (cp >= 0x7F && cp <= 0x9F))
            return refuse_value(why, "it holds a control character");
        if (cp == '+' || cp == '#' || cp == '/' || cp == '*')
            return refuse_value(why, "it holds one of + # / *");
    }
    if (why)
        *why = NULL;
    return true;
}

void ia_hex(const uint8_t *bytes, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * len] = '\0';
}
