// SPDX-License-Identifier: ISC
/* A bounded first-in-first-out queue between two threads.  Intrusive: an item holds a `struct ia_link`, so that pushing
 * never allocates.  The mutex is held for a few instructions only and never while a thread works on an item. */
#pragma once

#include "common/fifo.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ia_queue;

/* A queue of at most `capacity` items, or NULL when out of memory. */
struct ia_queue *ia_queue_new(size_t capacity);

/* The queue must be empty: only the caller knows the type of its items and can free them. */
void ia_queue_free(struct ia_queue *q);

/* Append, and wake the waiter.  False when the queue is full or closed: the item stays the caller's. */
bool ia_queue_push(struct ia_queue *q, struct ia_link *item);

/* Append; wait for room while the queue is full.  False when the queue is closed: the item stays the caller's. */
bool ia_queue_push_wait(struct ia_queue *q, struct ia_link *item);

/* Take the oldest item.  NULL when there is none: at once, or after `wait_us` microseconds, or once it is closed. */
struct ia_link *ia_queue_pop(struct ia_queue *q);
struct ia_link *ia_queue_pop_wait(struct ia_queue *q, int64_t wait_us);

/* Read without the lock: the answer may be out of date when it arrives, which is good enough for polling. */
bool ia_queue_is_empty(const struct ia_queue *q);

/* From now on, pushing fails and no call waits.  Items in the queue can still be popped. */
void ia_queue_close(struct ia_queue *q);
