// SPDX-License-Identifier: ISC
/* A first-in-first-out list of one thread.  Intrusive: an item holds a `struct ia_link`, so that appending never
 * allocates.  Zeroed memory is an empty list.  The list has no bound of its own: who appends checks `n`.
 * (Between two threads: common/queue.h.) */
#pragma once

#include <stddef.h>

struct ia_link {
    struct ia_link *next;
};

/* The object of `type` whose `member` is at `ptr`, which must not be NULL. */
#define ia_container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

struct ia_fifo {
    struct ia_link *head, *tail;
    size_t n;
};

static inline void ia_fifo_append(struct ia_fifo *list, struct ia_link *item)
{
    item->next = NULL;
    if (list->tail)
        list->tail->next = item;
    else
        list->head = item;
    list->tail = item;
    list->n++;
}

/* Remove and return the oldest item, NULL when there is none. */
static inline struct ia_link *ia_fifo_take(struct ia_fifo *list)
{
    struct ia_link *item = list->head;
    if (!item)
        return NULL;
    list->head = item->next;
    if (!list->head)
        list->tail = NULL;
    list->n--;
    return item;
}
