// SPDX-License-Identifier: ISC
/* Memory that is freed together: the decoded rows of one answer. */
#pragma once

#include <stddef.h>

struct ia_arena {
    struct ia_arena_chunk *chunks;
};

/* `size` bytes, zeroed, aligned for any type; NULL: out of memory.  Live until ia_arena_clear. */
void *ia_arena_alloc(struct ia_arena *arena, size_t size);

/* An array of n zeroed elements; a valid pointer also for n = 0. */
void *ia_arena_array(struct ia_arena *arena, size_t n, size_t size);
void ia_arena_clear(struct ia_arena *arena);
