// SPDX-License-Identifier: ISC
/* How many registrations may be under way at a time.  The server processes them in sequence, and a change that is
 * notified meanwhile is read only after them. Their number is therefore limited to what the server processes in
 * IA_PACE_BUDGET_US, estimated from the batches before. The round trip, which is the shortest time that any batch has
 * taken, does not count as processing. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define IA_PACE_BUDGET_US 40000
#define IA_PACE_START     32  /* items, until the first result is there */
#define IA_PACE_MIN       16  /* items, however slow the server is */
#define IA_PACE_MAX       512 /* items, however fast it is: two whole batches */

/* Zeroed memory: nothing is known. */
struct ia_batch_pace {
    int64_t round_trip_us; /* 0: not known */
    int64_t item_us;       /* smoothed; 0: not known */
};

/* The result of a batch of n registrations is there: `since_sent_us` after it was sent, and `since_last_us` after the
 * result of the batch that was under way before it (-1: there was none). */
void ia_batch_pace_note(struct ia_batch_pace *pace, size_t n, int64_t since_sent_us, int64_t since_last_us);

/* The number of registrations that may be under way. */
size_t ia_batch_pace_limit(const struct ia_batch_pace *pace);
