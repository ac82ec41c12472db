// SPDX-License-Identifier: ISC
#include "oauth/refusal.h"

#include "common/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ELLIPSIS "\xE2\x80\xA6"

enum ia_reason ia_refusal_set(char detail[IA_DETAIL_MAX], enum ia_reason reason, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(detail, IA_DETAIL_MAX, fmt, args);
    va_end(args);
    return reason;
}

/* Bytes of the character at text[0..len): 0 where it is not well-formed, or a control character. */
static size_t printable_len(const char *text, size_t len)
{
    const unsigned char *p = (const unsigned char *)text;
    if (p[0] < 0x20 || p[0] == 0x7F || (len > 1 && p[0] == 0xC2 && p[1] < 0xA0))
        return 0;
    for (size_t n = 1; n <= 4 && n <= len; n++)
        if (ia_utf8_valid(text, n))
            return n;
    return 0;
}

void ia_claimed_add(char claimed[IA_CLAIMED_MAX], const char *text, size_t len)
{
    size_t used = strlen(claimed), room = IA_CLAIMED_MAX - sizeof ELLIPSIS;
    if (used > room)
        return; /* truncated before */
    if (used && used < room)
        claimed[used++] = ' ';
    for (size_t i = 0; i < len;) {
        size_t n = printable_len(text + i, len - i);
        if (used + (n ? n : 1) > room) {
            memcpy(claimed + used, ELLIPSIS, sizeof ELLIPSIS);
            return;
        }
        memcpy(claimed + used, n ? text + i : "?", n ? n : 1);
        used += n ? n : 1;
        i += n ? n : 1;
    }
    claimed[used] = '\0';
}
