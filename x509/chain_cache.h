// SPDX-License-Identifier: ISC
/* Leaves verified before, under the same CA set, by fingerprint: a hash costs 5 µs where a verification costs 200.
 * For one thread; bounded, and it allocates nothing after it was made. */
#pragma once

#include "x509/chain.h"

#include <stddef.h>
#include <stdint.h>

struct ia_chain_cache;

/* Room for at least `capacity` chains, about 1 KB each; 0 makes one that never keeps anything.  NULL: out of memory. */
struct ia_chain_cache *ia_chain_cache_new(size_t capacity);
void ia_chain_cache_free(struct ia_chain_cache *cache);

/* The chain that was kept for this leaf, if it has not passed its not_after at `now`; else NULL.  Borrowed: good until
 * the next put or flush. */
const struct ia_chain *ia_chain_cache_get(struct ia_chain_cache *cache, const uint8_t fingerprint[IA_FINGERPRINT_LEN],
                                          int64_t now);

/* Keep a copy of a good chain under its leaf's fingerprint (links[0]); one that is not good is ignored.  Puts out the
 * one that was not asked for longest among four. */
void ia_chain_cache_put(struct ia_chain_cache *cache, const struct ia_chain *chain);

/* Forget all: whenever the CA set changes. */
void ia_chain_cache_flush(struct ia_chain_cache *cache);
