// SPDX-License-Identifier: ISC
/* A bounded first-in-first-out queue between two threads.  Intrusive: what travels begins with a `struct ia_link`, so
 * that pushing never allocates.  The mutex is held for a few instructions only; nobody waits for a peer's work under
 * it. */
#pragma once

#include "common/fifo.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ia_queue;

/* A queue of at most `capacity` items, or NULL when out of memory. */
struct ia_queue *ia_queue_new(size_t capacity);

/* The queue must be empty: its items belong to whoever knows their type. */
void ia_queue_free(struct ia_queue *q);

/* Append, and wake the waiter.  False when the queue is full or closed: the item stays the caller's. */
bool ia_queue_push(struct ia_queue *q, struct ia_link *item);

/* Append, waiting for room as long as the queue is not closed.  False: closed, the item stays the caller's. */
bool ia_queue_push_wait(struct ia_queue *q, struct ia_link *item);

/* Take the oldest item, or NULL: at once, or after at most `wait_us` microseconds. */
struct ia_link *ia_queue_pop(struct ia_queue *q);
struct ia_link *ia_queue_pop_wait(struct ia_queue *q, int64_t wait_us);

/* Without a lock: may be out of date by the time it returns, which is all that a poll needs. */
bool ia_queue_is_empty(const struct ia_queue *q);

/* From now on nothing is accepted and nobody waits; what is queued can still be popped. */
void ia_queue_close(struct ia_queue *q);
