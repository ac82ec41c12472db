// SPDX-License-Identifier: ISC
#include "common/siphash.h"

#include <endian.h>
#include <string.h>

struct sip_state {
    uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotate_left(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static inline void sip_round(struct sip_state *s)
{
    s->v0 += s->v1;
    s->v1 = rotate_left(s->v1, 13) ^ s->v0;
    s->v0 = rotate_left(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotate_left(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotate_left(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotate_left(s->v1, 17) ^ s->v2;
    s->v2 = rotate_left(s->v2, 32);
}

static inline void sip_block(struct sip_state *s, uint64_t block)
{
    s->v3 ^= block;
    sip_round(s);
    sip_round(s);
    s->v0 ^= block;
}

uint64_t ia_siphash(const struct ia_siphash_key *key, const void *bytes, size_t len)
{
    struct sip_state s = {key->k0 ^ UINT64_C(0x736F6D6570736575), key->k1 ^ UINT64_C(0x646F72616E646F6D),
                          key->k0 ^ UINT64_C(0x6C7967656E657261), key->k1 ^ UINT64_C(0x7465646279746573)};
    const unsigned char *p = bytes, *end = p + len - len % 8;
    uint64_t block, last = 0;
    for (; p < end; p += 8) {
        memcpy(&block, p, sizeof block);
        sip_block(&s, le64toh(block));
    }
    memcpy(&last, p, len % 8);
    sip_block(&s, le64toh(last) | (uint64_t)len << 56);
    s.v2 ^= 0xFF;
    for (int i = 0; i < 4; i++)
        sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
