// SPDX-License-Identifier: ISC
/* What both programs need of a call, without the table of verbs. */
#include "cli/call.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *ia_call_words(const struct ia_call *call)
{
    bool is_check = strcmp(call->program, "iot-auth-check") == 0 && strncmp(call->verb->words, "check ", 6) == 0;
    return call->verb->words + (is_check ? 6 : 0);
}

int ia_call_fail(const struct ia_call *call, int status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "%s%s%s: ", call->program, call->verb ? " " : "", call->verb ? ia_call_words(call) : "");
    (void)vfprintf(stderr, fmt, ap); // NOLINT(clang-analyzer-valist.Uninitialized): va_start is above
    fputc('\n', stderr);
    va_end(ap);
    return status;
}
