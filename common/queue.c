// SPDX-License-Identifier: ISC
#include "common/queue.h"

#include "common/clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

struct ia_queue {
    pthread_mutex_t lock;
    pthread_cond_t filled, drained;
    struct ia_fifo items;
    size_t capacity;
    _Atomic size_t count; /* of items, for readers without the lock */
    bool closed;
};

struct ia_queue *ia_queue_new(size_t capacity)
{
    struct ia_queue *q = calloc(1, sizeof *q);
    if (!q)
        return NULL;
    q->capacity = capacity;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->filled, &attr);
    pthread_cond_init(&q->drained, &attr);
    pthread_condattr_destroy(&attr);
    return q;
}

void ia_queue_free(struct ia_queue *q)
{
    if (!q)
        return;
    pthread_cond_destroy(&q->filled);
    pthread_cond_destroy(&q->drained);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

static bool append_locked(struct ia_queue *q, struct ia_link *item)
{
    if (q->closed || q->items.n >= q->capacity)
        return false;
    ia_fifo_append(&q->items, item);
    atomic_store_explicit(&q->count, q->items.n, memory_order_release);
    pthread_cond_signal(&q->filled);
    return true;
}

static struct ia_link *take_locked(struct ia_queue *q)
{
    struct ia_link *item = ia_fifo_take(&q->items);
    if (!item)
        return NULL;
    atomic_store_explicit(&q->count, q->items.n, memory_order_release);
    pthread_cond_signal(&q->drained);
    return item;
}

bool ia_queue_push(struct ia_queue *q, struct ia_link *item)
{
    pthread_mutex_lock(&q->lock);
    bool done = append_locked(q, item);
    pthread_mutex_unlock(&q->lock);
    return done;
}

bool ia_queue_push_wait(struct ia_queue *q, struct ia_link *item)
{
    pthread_mutex_lock(&q->lock);
    while (!q->closed && q->items.n >= q->capacity)
        pthread_cond_wait(&q->drained, &q->lock);
    bool done = append_locked(q, item);
    pthread_mutex_unlock(&q->lock);
    return done;
}

struct ia_link *ia_queue_pop(struct ia_queue *q)
{
    if (ia_queue_is_empty(q))
        return NULL;
    pthread_mutex_lock(&q->lock);
    struct ia_link *item = take_locked(q);
    pthread_mutex_unlock(&q->lock);
    return item;
}

struct ia_link *ia_queue_pop_wait(struct ia_queue *q, int64_t wait_us)
{
    int64_t until = ia_monotonic_us() + wait_us;
    struct timespec ts = {.tv_sec = until / 1000000, .tv_nsec = until % 1000000 * 1000};
    pthread_mutex_lock(&q->lock);
    while (!q->items.head && !q->closed && pthread_cond_timedwait(&q->filled, &q->lock, &ts) == 0)
        ;
    struct ia_link *item = take_locked(q);
    pthread_mutex_unlock(&q->lock);
    return item;
}

bool ia_queue_is_empty(const struct ia_queue *q)
{
    return atomic_load_explicit(&q->count, memory_order_acquire) == 0;
}

void ia_queue_close(struct ia_queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_cond_broadcast(&q->filled);
    pthread_cond_broadcast(&q->drained);
    pthread_mutex_unlock(&q->lock);
}
