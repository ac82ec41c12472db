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

/* Bytes of the character at text[0..len), 1 where it is not well-formed; *printable: it may be shown. */
static size_t character_len(const char *text, size_t len, bool *printable)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t n = 1;
    while (n < 4 && n < len && !ia_utf8_valid(text, n))
        n++;
    bool valid = ia_utf8_valid(text, n);
    *printable = valid && p[0] >= 0x20 && p[0] != 0x7F && (p[0] != 0xC2 || p[1] >= 0xA0);
    return valid ? n : 1;
}

void ia_claimed_add(char claimed[IA_CLAIMED_MAX], const char *text, size_t len)
{
    size_t used = strlen(claimed), room = IA_CLAIMED_MAX - sizeof ELLIPSIS;
    if (used > room)
        return; /* truncated before */
    if (used && used < room)
        claimed[used++] = ' ';
    for (size_t i = 0; i < len;) {
        bool printable;
        size_t n = character_len(text + i, len - i, &printable), shown = printable ? n : 1;
        if (used + shown > room) {
            memcpy(claimed + used, ELLIPSIS, sizeof ELLIPSIS);
            return;
        }
        memcpy(claimed + used, printable ? text + i : "?", shown);
        used += shown;
        i += n;
    }
    claimed[used] = '\0';
}
