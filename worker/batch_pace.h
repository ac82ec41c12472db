// SPDX-License-Identifier: ISC
/* How many registrations may be under way at a time.  The server processes them in sequence, and a change that is
 * notified meanwhile is read only after them. Their number is therefore limited to what the server processes in
 * IA_PACE_BUDGET_US, estimated from the batches before. The round trip, which is the shortest time that any batch has
 * taken, does not count as processing. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define IA_PACE_BUDGET_US   40000
#define IA_PACE_SPACING_US  8000 /* between batches of few items */
#define IA_PACE_BATCHES_MAX 16   /* under way at a time, however far the server is */
#define IA_PACE_BATCHES_MIN 3   /* however near: a batch waits 100 ms for a lock, and a revocation behind all of them */
#define IA_PACE_START       32  /* items, until the first result is there */
#define IA_PACE_MIN         16  /* items, however slow the server is */
#define IA_PACE_MAX         512 /* items, however fast it is: two whole batches */

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

/* The number of batches that may be under way: one for each IA_PACE_SPACING_US of the round trip, so that the network's delay
 * does not limit the rate, and few beyond that. */
size_t ia_batch_pace_batches(const struct ia_batch_pace *pace);
