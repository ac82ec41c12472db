// SPDX-License-Identifier: ISC
/* Four-way set-associative: a fingerprint has four places, and the least recently used one is replaced.  Fingerprints are
 * SHA-256 of certificates that registered CAs signed, so they spread evenly without a hash of our own. */
#include "x509/chain_cache.h"

#include "x509/validity.h"

#include <stdlib.h>
#include <string.h>

#define WAYS 4

struct slot {
    uint64_t used; /* value of the clock at the last use */
    struct ia_chain chain;
};

struct ia_chain_cache {
    uint64_t clock;
    uint64_t flushed; /* slots last used at or before this value are empty */
    size_t n_sets;    /* a power of two, or 0 */
    struct slot slots[];
};

struct ia_chain_cache *ia_chain_cache_new(size_t capacity)
{
    if (capacity > SIZE_MAX / 4 / sizeof(struct slot))
        return NULL;
    size_t n_sets = capacity > 0 ? 1 : 0;
    while (n_sets * WAYS < capacity)
        n_sets *= 2;
    struct ia_chain_cache *cache = calloc(1, sizeof *cache + n_sets * WAYS * sizeof(struct slot));
    if (cache)
        cache->n_sets = n_sets;
    return cache;
}

void ia_chain_cache_free(struct ia_chain_cache *cache)
{
    free(cache);
}

static struct slot *slots_of_fingerprint(struct ia_chain_cache *cache, const uint8_t fingerprint[IA_FINGERPRINT_LEN])
{
    uint64_t hash;
    memcpy(&hash, fingerprint, sizeof hash);
    return &cache->slots[(hash & (cache->n_sets - 1)) * WAYS];
}

static struct slot *find_slot(const struct ia_chain_cache *cache, struct slot *place,
                              const uint8_t fingerprint[IA_FINGERPRINT_LEN])
{
    for (size_t i = 0; i < WAYS; i++)
        if (place[i].used > cache->flushed &&
            memcmp(place[i].chain.links[0].fingerprint, fingerprint, IA_FINGERPRINT_LEN) == 0)
            return &place[i];
    return NULL;
}

const struct ia_chain *ia_chain_cache_get(struct ia_chain_cache *cache, const uint8_t fingerprint[IA_FINGERPRINT_LEN],
                                          int64_t now)
{
    if (cache->n_sets == 0)
        return NULL;
    struct slot *slot = find_slot(cache, slots_of_fingerprint(cache, fingerprint), fingerprint);
    if (!slot)
        return NULL;
    if (ia_x509_expired(slot->chain.not_after, now)) {
        slot->used = 0;
        return NULL;
    }
    slot->used = ++cache->clock;
    return &slot->chain;
}

static struct slot *least_recently_used(struct slot *place)
{
    struct slot *least = place;
    for (size_t i = 1; i < WAYS; i++)
        if (place[i].used < least->used)
            least = &place[i];
    return least;
}

void ia_chain_cache_put(struct ia_chain_cache *cache, const struct ia_chain *chain)
{
    if (cache->n_sets == 0 || chain->reason != IA_R_NONE || chain->n_links < 2)
        return;
    struct slot *place = slots_of_fingerprint(cache, chain->links[0].fingerprint);
    struct slot *slot = find_slot(cache, place, chain->links[0].fingerprint);
    if (!slot)
        slot = least_recently_used(place);
    slot->chain = *chain;
    slot->used = ++cache->clock;
}

void ia_chain_cache_flush(struct ia_chain_cache *cache)
{
    cache->flushed = cache->clock;
}
