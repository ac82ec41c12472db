// SPDX-License-Identifier: ISC
#include "oauth/refusal.h"

#include <stdarg.h>
#include <stdio.h>

enum ia_reason ia_refusal_set(char detail[IA_DETAIL_MAX], enum ia_reason reason, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(detail, IA_DETAIL_MAX, fmt, args);
    va_end(args);
    return reason;
}
