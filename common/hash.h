// SPDX-License-Identifier: ISC
/* The hash function of the project's own tables: FNV-1a (64 bits) with a final mix, so that the low bits can be used
 * alone.
 *
 * The hash has no secret key: a peer that chooses the hashed text can choose collisions.  A table with keys from the
 * network is therefore bounded, or uses a SHA-256 digest as its key (which is uniformly distributed already). */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define IA_HASH_OFFSET UINT64_C(0xCBF29CE484222325)
#define IA_HASH_PRIME  UINT64_C(0x100000001B3)

/* The hash of bytes[0..len).  `seed`: 0, a number of the table, or the hash of a preceding part. */
uint64_t ia_hash_bytes(uint64_t seed, const void *bytes, size_t len);

/* The same for a C string, without its NUL.  Inline: address lists are looked up by it for each connection. */
static inline uint64_t ia_hash_text(uint64_t seed, const char *text)
{
    uint64_t hash = IA_HASH_OFFSET ^ seed;
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * IA_HASH_PRIME;
    return hash ^ hash >> 32;
}
