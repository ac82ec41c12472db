// SPDX-License-Identifier: ISC
/* Allocations that fail after a countdown: the linker puts these functions in the place of calloc and strdup (--wrap) of
 * the one suite that includes this header. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Allocations that still succeed; below 0: all do. */
static long countdown = -1;

void *__real_calloc(size_t n, size_t size);
char *__real_strdup(const char *text);
void *__wrap_calloc(size_t n, size_t size);
char *__wrap_strdup(const char *text);

static bool runs_out(void)
{
    if (countdown <= 0)
        return countdown == 0;
    countdown--;
    return false;
}

void *__wrap_calloc(size_t n, size_t size)
{
    return runs_out() ? NULL : __real_calloc(n, size);
}

char *__wrap_strdup(const char *text)
{
    return runs_out() ? NULL : __real_strdup(text);
}
