// SPDX-License-Identifier: ISC
/* Timing for the benchmarks. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Stop a benchmark whose preparation failed: a figure for something else is worse than none. */
static inline void bench_need(int ok, const char *what)
{
    if (ok)
        return;
    (void)fprintf(stderr, "bench: %s failed\n", what);
    exit(EXIT_FAILURE);
}

/* Of this thread's CPU, so that what else runs on the machine counts less. */
static inline double bench_now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Nanoseconds for one call of run(ctx, i), i = 0 … calls-1: the best of `rounds`, since everything that disturbs a
 * measurement makes it longer. */
static inline double bench_ns(void (*run)(void *ctx, size_t calls), void *ctx, size_t calls, int rounds)
{
    double best = 0;
    for (int i = 0; i < rounds; i++) {
        double start = bench_now_ns();
        run(ctx, calls);
        double ns = (bench_now_ns() - start) / (double)calls;
        if (i == 0 || ns < best)
            best = ns;
    }
    return best;
}
