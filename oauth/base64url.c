// SPDX-License-Identifier: ISC
#include "oauth/base64url.h"

/* Value of each character plus one; 0 for any other character. */
static const uint8_t digits[256] = {
    ['A'] = 1,  ['B'] = 2,  ['C'] = 3,  ['D'] = 4,  ['E'] = 5,  ['F'] = 6,  ['G'] = 7,  ['H'] = 8,
    ['I'] = 9,  ['J'] = 10, ['K'] = 11, ['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16,
    ['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22, ['W'] = 23, ['X'] = 24,
    ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29, ['d'] = 30, ['e'] = 31, ['f'] = 32,
    ['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36, ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40,
    ['o'] = 41, ['p'] = 42, ['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48,
    ['w'] = 49, ['x'] = 50, ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56,
    ['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62, ['-'] = 63, ['_'] = 64,
};

/* The bits of p[0..n), most significant first; false for a character that is not a digit. */
static bool gather_digits(const unsigned char *p, size_t n, uint32_t *bits)
{
    *bits = 0;
    for (size_t i = 0; i < n; i++) {
        if (digits[p[i]] == 0)
            return false;
        *bits = *bits << 6 | (uint32_t)(digits[p[i]] - 1);
    }
    return true;
}

bool ia_base64url_decode(const char *text, size_t len, uint8_t *out, size_t *out_len)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t rest = len % 4, used = 0;
    uint32_t bits;
    if (rest == 1)
        return false;
    for (const unsigned char *end = p + (len - rest); p < end; p += 4) {
        if (!gather_digits(p, 4, &bits))
            return false;
        out[used++] = (uint8_t)(bits >> 16);
        out[used++] = (uint8_t)(bits >> 8);
        out[used++] = (uint8_t)bits;
    }
    if (!gather_digits(p, rest, &bits))
        return false;
    if (rest == 2) {
        if (bits & 0xF)
            return false;
        out[used++] = (uint8_t)(bits >> 4);
    } else if (rest == 3) {
        if (bits & 0x3)
            return false;
        out[used++] = (uint8_t)(bits >> 10);
        out[used++] = (uint8_t)(bits >> 2);
    }
    *out_len = used;
    return true;
}
