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

void ia_claimed_add(char claimed[IA_CLAIMED_MAX], const char *text, size_t len)
{
    size_t used = strlen(claimed), room = IA_CLAIMED_MAX - sizeof ELLIPSIS;
    if (used > room)
        return; /* truncated before */
    if (used && used < room)
        claimed[used++] = ' ';
    for (size_t i = 0; i < len;) {
        bool printable;
        size_t n = ia_shown_character(text + i, len - i, &printable), shown = printable ? n : 1;
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
