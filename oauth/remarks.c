// SPDX-License-Identifier: ISC
#include "oauth/remarks.h"

#include <stdarg.h>
#include <stdio.h>

void ia_remarks_add(struct ia_remarks *remarks, const char *fmt, ...)
{
    size_t left = sizeof remarks->text - remarks->used;
    int n = remarks->used ? snprintf(remarks->text + remarks->used, left, "; ") : 0;
    va_list args;
    va_start(args, fmt);
    if ((size_t)n < left)
        n += vsnprintf(remarks->text + remarks->used + n, left - (size_t)n, fmt, args);
    va_end(args);
    remarks->used += (size_t)n < left ? (size_t)n : left - 1;
}
