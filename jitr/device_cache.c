// SPDX-License-Identifier: ISC
/* Two open-addressing tables of pointers over the same records: one hashed by fingerprint (which is a SHA-256 already,
 * so its first bytes serve), one by device id.  Linear probing with backward-shift deletion: no tombstones, so look-ups
 * stay short however many devices came and went.  16 bytes a record at the default load. */
#include "jitr/device_cache.h"
#include "common/hash.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_SLOTS 1024

struct table {
    struct ia_device **slots;
    size_t mask; /* slots - 1; a power of two less one */
};

struct ia_device_cache {
    struct table by_fingerprint, by_id;
    size_t count, capacity;
    size_t hand;  /* of the second-chance clock, a slot of by_fingerprint */
    size_t swept; /* slots of by_fingerprint that the present sweep has behind it */
    uint64_t seed;
};

static uint64_t hash_fingerprint(const struct ia_device_cache *c, const uint8_t *fingerprint)
{
    uint64_t h;
    memcpy(&h, fingerprint, sizeof h);
    return h ^ c->seed;
}

/* With the cache's seed: device ids come from administrators' own CAs. */
static uint64_t hash_id(const struct ia_device_cache *c, const char *id)
{
    return ia_hash_text(c->seed, id);
}

static uint64_t hash_in(const struct ia_device_cache *c, const struct table *t, const struct ia_device *d)
{
    return t == &c->by_id ? hash_id(c, ia_device_id(d)) : hash_fingerprint(c, d->fingerprint);
}

static void table_insert(const struct ia_device_cache *c, struct table *t, struct ia_device *d)
{
    size_t i = hash_in(c, t, d) & t->mask;
    while (t->slots[i])
        i = (i + 1) & t->mask;
    t->slots[i] = d;
}

/* Close the gap at slot i: move back each follower that is not at home before it. */
static void table_delete_at(const struct ia_device_cache *c, struct table *t, size_t i)
{
    size_t j = i;
    for (;;) {
        j = (j + 1) & t->mask;
        struct ia_device *d = t->slots[j];
        if (!d)
            break;
        size_t home = hash_in(c, t, d) & t->mask;
        if (((j - home) & t->mask) >= ((j - i) & t->mask)) {
            t->slots[i] = d;
            i = j;
        }
    }
    t->slots[i] = NULL;
}

static void table_delete(const struct ia_device_cache *c, struct table *t, const struct ia_device *d)
{
    size_t i = hash_in(c, t, d) & t->mask;
    while (t->slots[i] != d)
        i = (i + 1) & t->mask;
    table_delete_at(c, t, i);
}

static bool table_grow(const struct ia_device_cache *c, struct table *t)
{
    struct table old = *t;
    size_t slots = (old.mask + 1) * 2;
    struct ia_device **fresh = calloc(slots, sizeof *fresh);
    if (!fresh)
        return false;
    t->slots = fresh;
    t->mask = slots - 1;
    for (size_t i = 0; i <= old.mask; i++)
        if (old.slots[i])
            table_insert(c, t, old.slots[i]);
    free(old.slots);
    return true;
}

static bool table_init(struct table *t)
{
    t->slots = calloc(FIRST_SLOTS, sizeof *t->slots);
    t->mask = FIRST_SLOTS - 1;
    return t->slots != NULL;
}

struct ia_device_cache *ia_device_cache_new(size_t capacity)
{
    struct ia_device_cache *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->capacity = capacity ? capacity : 1;
    c->seed = (uint64_t)(uintptr_t)c * 0x9E3779B97F4A7C15u;
    if (!table_init(&c->by_fingerprint) || !table_init(&c->by_id)) {
        ia_device_cache_free(c);
        return NULL;
    }
    return c;
}

void ia_device_cache_free(struct ia_device_cache *cache)
{
    if (!cache)
        return;
    if (cache->by_fingerprint.slots)
        for (size_t i = 0; i <= cache->by_fingerprint.mask; i++)
            ia_device_free(cache->by_fingerprint.slots[i]);
    free(cache->by_fingerprint.slots);
    free(cache->by_id.slots);
    free(cache);
}

size_t ia_device_cache_count(const struct ia_device_cache *cache)
{
    return cache->count;
}

bool ia_device_cache_is_full(const struct ia_device_cache *cache)
{
    return cache->count >= cache->capacity;
}

static struct ia_device *find_record(const struct ia_device_cache *c, const uint8_t *fingerprint)
{
    const struct table *t = &c->by_fingerprint;
    for (size_t i = hash_fingerprint(c, fingerprint) & t->mask; t->slots[i]; i = (i + 1) & t->mask)
        if (memcmp(t->slots[i]->fingerprint, fingerprint, 32) == 0)
            return t->slots[i];
    return NULL;
}

struct ia_device *ia_device_cache_find(struct ia_device_cache *cache, const uint8_t fingerprint[32])
{
    struct ia_device *d = find_record(cache, fingerprint);
    if (d)
        d->used = true;
    return d;
}

static void drop_record(struct ia_device_cache *c, struct ia_device *d)
{
    table_delete(c, &c->by_fingerprint, d);
    table_delete(c, &c->by_id, d);
    c->count--;
    ia_device_free(d);
}

/* Second chance: the hand clears marks until it finds a record that was not looked at for a whole round. */
static void evict_record(struct ia_device_cache *c)
{
    const struct table *t = &c->by_fingerprint;
    for (;;) {
        c->hand = (c->hand + 1) & t->mask;
        struct ia_device *d = t->slots[c->hand];
        if (!d)
            continue;
        if (!d->used) {
            drop_record(c, d);
            return;
        }
        d->used = false;
    }
}

/* Keep a table at most three quarters full. */
static bool table_make_room(struct ia_device_cache *c, struct table *t)
{
    if ((c->count + 1) * 4 <= (t->mask + 1) * 3)
        return true;
    c->swept = 0; /* growing moves every record: a sweep begins again */
    return table_grow(c, t);
}

static bool make_room(struct ia_device_cache *c)
{
    if (c->count >= c->capacity)
        evict_record(c);
    return table_make_room(c, &c->by_fingerprint) && table_make_room(c, &c->by_id);
}

bool ia_device_cache_put(struct ia_device_cache *cache, struct ia_device *device)
{
    ia_device_cache_remove(cache, device->fingerprint);
    if (!make_room(cache)) {
        ia_device_free(device);
        return false;
    }
    table_insert(cache, &cache->by_fingerprint, device);
    table_insert(cache, &cache->by_id, device);
    cache->count++;
    return true;
}

void ia_device_cache_remove(struct ia_device_cache *cache, const uint8_t fingerprint[32])
{
    struct ia_device *d = find_record(cache, fingerprint);
    if (d)
        drop_record(cache, d);
}

void ia_device_cache_each(struct ia_device_cache *cache, const char *device_id, ia_device_fn *fn, void *ctx)
{
    const struct table *t = &cache->by_id;
    for (size_t i = hash_id(cache, device_id) & t->mask; t->slots[i]; i = (i + 1) & t->mask)
        if (strcmp(ia_device_id(t->slots[i]), device_id) == 0 && !fn(ctx, t->slots[i]))
            return;
}

void ia_device_cache_sweep_begin(struct ia_device_cache *cache)
{
    cache->swept = 0;
}

bool ia_device_cache_sweep(struct ia_device_cache *cache, uint8_t resync_epoch, size_t budget)
{
    const struct table *t = &cache->by_fingerprint;
    for (; budget > 0 && cache->swept <= t->mask; budget--) {
        struct ia_device *d = t->slots[cache->swept];
        if (!d || d->resync_epoch == resync_epoch) {
            cache->swept++;
            continue;
        }
        drop_record(cache, d); /* a follower may have moved into this slot: it is looked at next */
    }
    return cache->swept > t->mask;
}
