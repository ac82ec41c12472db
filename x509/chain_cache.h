// SPDX-License-Identifier: ISC
/* Chains that were verified under the current CA set, by the leaf's fingerprint: a hash costs 5 µs, a verification 200.
 * For one thread.  Bounded; allocates nothing after ia_chain_cache_new. */
#pragma once

#include "x509/chain.h"

#include <stddef.h>
#include <stdint.h>

struct ia_chain_cache;

/* Room for at least `capacity` chains, about 1.3 KB each; 0 makes a cache that keeps nothing.  NULL: out of memory. */
struct ia_chain_cache *ia_chain_cache_new(size_t capacity);
void ia_chain_cache_free(struct ia_chain_cache *cache);

/* The chain that was kept for this leaf, if it has not expired at `now`; else NULL.  Borrowed: valid until the next put
 * or flush. */
const struct ia_chain *ia_chain_cache_get(struct ia_chain_cache *cache, const uint8_t fingerprint[IA_FINGERPRINT_LEN],
                                          int64_t now);

/* Keep a copy of a good chain under its leaf's fingerprint (links[0]); a refused chain is ignored.  Replaces
 * the least recently used of four. */
void ia_chain_cache_put(struct ia_chain_cache *cache, const struct ia_chain *chain);

/* Remove all chains: whenever the CA set changes. */
void ia_chain_cache_flush(struct ia_chain_cache *cache);
