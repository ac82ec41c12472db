// SPDX-License-Identifier: ISC
#include "common/histogram.h"

uint64_t ia_histogram_bound_us(size_t i)
{
    return (uint64_t)IA_HISTOGRAM_LEAST_US << i;
}

void ia_histogram_note(struct ia_histogram *histogram, int64_t us)
{
    uint64_t duration = us > 0 ? (uint64_t)us : 0;
    size_t i = 0;
    while (i < IA_HISTOGRAM_BOUNDS && duration > ia_histogram_bound_us(i))
        i++;
    if (i < IA_HISTOGRAM_BOUNDS)
        histogram->n[i]++;
    histogram->count++;
    histogram->sum_us += duration;
}

uint64_t ia_histogram_at_most(const struct ia_histogram *histogram, size_t i)
{
    uint64_t n = 0;
    for (size_t k = 0; k <= i && k < IA_HISTOGRAM_BOUNDS; k++)
        n += histogram->n[k];
    return n;
}
