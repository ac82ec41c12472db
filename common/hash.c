// SPDX-License-Identifier: ISC
#include "common/hash.h"

uint64_t ia_hash_bytes(uint64_t seed, const void *bytes, size_t len)
{
    const unsigned char *at = bytes;
    uint64_t hash = IA_HASH_OFFSET ^ seed;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ at[i]) * IA_HASH_PRIME;
    return hash ^ hash >> 32;
}
