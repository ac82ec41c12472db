// SPDX-License-Identifier: ISC
/* Reference count of an object that is shared between threads: built by one, read by several, freed by the last.
 *
 * Taking a reference needs no ordering: the taker holds one already.  Dropping releases what the thread did with the
 * object, and the last drop acquires what all others did, so that the object is freed after its last use everywhere.
 *
 * An object that one thread owns counts with a plain integer instead: records of the device cache (jitr/device.h) stay
 * on the broker thread, and there are millions of them. */
#pragma once

#include "common/error.h"

#include <stdatomic.h>
#include <stdbool.h>

struct ia_ref {
    atomic_uint count;
};

/* The object's first reference, which belongs to the caller.  Before any other thread can see the object. */
static inline void ia_ref_init(struct ia_ref *ref)
{
    atomic_init(&ref->count, 1);
}

static inline void ia_ref_take(struct ia_ref *ref)
{
    atomic_fetch_add_explicit(&ref->count, 1, memory_order_relaxed);
}

/* True when this was the last reference: the caller must free the object. */
IA_MUST_USE static inline bool ia_ref_drop(struct ia_ref *ref)
{
    return atomic_fetch_sub_explicit(&ref->count, 1, memory_order_acq_rel) == 1;
}
