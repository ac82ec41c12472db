// SPDX-License-Identifier: ISC
#include "worker/batch_pace.h"

void ia_batch_pace_note(struct ia_batch_pace *pace, size_t n, int64_t since_sent_us, int64_t since_last_us)
{
    if (pace->round_trip_us == 0 || since_sent_us < pace->round_trip_us)
        pace->round_trip_us = since_sent_us > 0 ? since_sent_us : 1;
    int64_t work_us = since_sent_us - pace->round_trip_us;
    if (since_last_us >= 0 && since_last_us < work_us)
        work_us = since_last_us; /* the rest of the time it waited behind the batch before it */
    int64_t item_us = work_us / (int64_t)n;
    pace->item_us = pace->item_us == 0 ? item_us : (pace->item_us * 3 + item_us) / 4;
}

size_t ia_batch_pace_limit(const struct ia_batch_pace *pace)
{
    if (pace->round_trip_us == 0)
        return IA_PACE_START;
    int64_t limit = pace->item_us > 0 ? IA_PACE_BUDGET_US / pace->item_us : IA_PACE_MAX;
    if (limit < IA_PACE_MIN)
        return IA_PACE_MIN;
    return limit < IA_PACE_MAX ? (size_t)limit : IA_PACE_MAX;
}

size_t ia_batch_pace_batches(const struct ia_batch_pace *pace)
{
    int64_t limit = IA_PACE_BATCHES_MIN + pace->round_trip_us / IA_PACE_SPACING_US;
    return limit < IA_PACE_BATCHES_MAX ? (size_t)limit : IA_PACE_BATCHES_MAX;
}
