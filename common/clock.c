// SPDX-License-Identifier: ISC
#include "common/clock.h"

#include <stdio.h>
#include <time.h>

static int64_t clock_us(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t ia_monotonic_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

int64_t ia_wall_us(void)
{
    return clock_us(CLOCK_REALTIME);
}

int64_t ia_wall_s(void)
{
    return ia_wall_us() / 1000000;
}

const char *ia_rfc3339(int64_t wall_us, char out[IA_RFC3339_SIZE])
{
    time_t s = (time_t)(wall_us / 1000000);
    struct tm tm;
    gmtime_r(&s, &tm);
    size_t n = strftime(out, IA_RFC3339_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(out + n, IA_RFC3339_SIZE - n, ".%03dZ", (int)(wall_us / 1000 % 1000));
    return out;
}
