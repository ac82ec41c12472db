// SPDX-License-Identifier: ISC
/* The clocks.  Code that decides takes `now` as an argument; only plugin/, worker/ and the waiting in sql/ read
 * them. */
#pragma once

#include <stdint.h>

/* Microseconds, and milliseconds, of a clock that never jumps (CLOCK_MONOTONIC). */
int64_t ia_monotonic_us(void);
static inline int64_t ia_monotonic_ms(void)
{
    return ia_monotonic_us() / 1000;
}

/* Seconds, and microseconds, since 1970 UTC. */
int64_t ia_wall_s(void);
int64_t ia_wall_us(void);

/* The shorter of two waits; a negative one stands for no limit. */
static inline int64_t ia_sooner_ms(int64_t a_ms, int64_t b_ms)
{
    return a_ms < 0 || (b_ms >= 0 && b_ms < a_ms) ? b_ms : a_ms;
}
