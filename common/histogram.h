// SPDX-License-Identifier: ISC
/* How long something took, as counts of durations: each bound is twice the one before, so that a few counters
 * distinguish a microsecond from a second.  No lock: a histogram belongs to one thread.  Zeroed memory: nothing noted yet. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define IA_HISTOGRAM_LEAST_US 64 /* the first bound; the last one is 4.2 s */
#define IA_HISTOGRAM_BOUNDS   17

struct ia_histogram {
    uint64_t n[IA_HISTOGRAM_BOUNDS]; /* durations of at most that bound, and more than the one before */
    uint64_t count;                  /* of all durations, also those beyond the last bound */
    uint64_t sum_us;
};

/* One more duration.  A negative one counts as 0. */
void ia_histogram_note(struct ia_histogram *histogram, int64_t us);

/* The bound at index i in microseconds, and how many durations were at most that long. */
uint64_t ia_histogram_bound_us(size_t i);
uint64_t ia_histogram_at_most(const struct ia_histogram *histogram, size_t i);
