// SPDX-License-Identifier: ISC
/* The device cache: fingerprint → record, and device id → its records.  Owned by the broker thread alone, so no locks.
 * Bounded: the record that was not looked up for the longest time is evicted (second-chance clock). */
#pragma once

#include "jitr/device.h"

struct ia_device_cache;

/* A cache of at most `capacity` records (at least 1).  Grows as it fills.  NULL when out of memory. */
struct ia_device_cache *ia_device_cache_new(size_t capacity);
void ia_device_cache_free(struct ia_device_cache *cache);

size_t ia_device_cache_count(const struct ia_device_cache *cache);
bool ia_device_cache_is_full(const struct ia_device_cache *cache);

/* The record of that certificate, or NULL: borrowed until the next put or remove. */
struct ia_device *ia_device_cache_find(struct ia_device_cache *cache, const uint8_t fingerprint[32]);

/* Take over one reference of `device`, which replaces the record of its fingerprint.  False when out of memory: the
 * reference is dropped, and nothing (also nothing older) is kept for that fingerprint. */
bool ia_device_cache_put(struct ia_device_cache *cache, struct ia_device *device);

void ia_device_cache_remove(struct ia_device_cache *cache, const uint8_t fingerprint[32]);

/* Call fn for each record of that device (a device under rotation has two).  fn must not change the cache; it returns
 * false to stop. */
typedef bool ia_device_fn(void *ctx, struct ia_device *device);
void ia_device_cache_each(struct ia_device_cache *cache, const char *device_id, ia_device_fn *fn, void *ctx);

/* Remove every record whose `resync_epoch` mark differs, at most `budget` slots of the table a call; true once the whole table
 * has been visited since sweep_begin. */
void ia_device_cache_sweep_begin(struct ia_device_cache *cache);
bool ia_device_cache_sweep(struct ia_device_cache *cache, uint8_t resync_epoch, size_t budget);
