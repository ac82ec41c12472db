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

size_t ia_utf8_next(const char *text, size_t left, uint32_t *cp)
{
    const unsigned char *p = (const unsigned char *)text;
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
        n = ia_utf8_next(text + i, len - i, &cp);
        if (n == 0)
            return false;
    }
    return true;
}

bool ia_misleads_reader(uint32_t cp)
{
    static const struct {
        uint32_t first, last;
    } ranges[] = {
        /* in order: the loop below ends at the first that is beyond cp */
        {0, 0x1F},        {0x7F, 0x9F},     {0xAD, 0xAD},     {0x61C, 0x61C},   {0x180E, 0x180E},   {0x200B, 0x200F},
        {0x2028, 0x202E}, {0x2060, 0x206F}, {0xFEFF, 0xFEFF}, {0xFFF9, 0xFFFB}, {0xE0000, 0xE007F},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0] && cp >= ranges[i].first; i++)
        if (cp <= ranges[i].last)
            return true;
    return false;
}

size_t ia_shown_character(const char *text, size_t left, bool *shown)
{
    uint32_t cp = 0;
    size_t n = ia_utf8_next(text, left, &cp);
    *shown = n > 0 && !ia_misleads_reader(cp);
    return n > 0 ? n : 1;
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
        n = ia_utf8_next(text + i, len - i, &cp);
        if (n == 0)
            return refuse_value(why, "it is not valid UTF-8");
        if (ia_is_control(cp))
            return refuse_value(why, "it contains a control character");
        if (cp == '+' || cp == '#' || cp == '/' || cp == '*')
            return refuse_value(why, "it contains one of + # / *");
    }
    if (why)
        *why = NULL;
    return true;
}

bool ia_same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
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

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool ia_hex_read(const char *digits, size_t len, uint8_t *out)
{
    for (size_t i = 0; i < len; i++) {
        int high = hex_digit(digits[2 * i]), low = high < 0 ? -1 : hex_digit(digits[2 * i + 1]);
        if (low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}
