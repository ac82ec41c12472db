// SPDX-License-Identifier: ISC
#include "common/hash.h"

#include <string.h>

#define FNV_OFFSET UINT64_C(0xCBF29CE484222325)
#define FNV_PRIME  UINT64_C(0x100000001B3)

uint64_t ia_hash_bytes(uint64_t seed, const void *bytes, size_t len)
{
    const unsigned char *at = bytes;
    uint64_t hash = FNV_OFFSET ^ seed;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ at[i]) * FNV_PRIME;
    return hash ^ hash >> 32;
}

uint64_t ia_hash_text(uint64_t seed, const char *text)
{
    return ia_hash_bytes(seed, text, strlen(text));
}
