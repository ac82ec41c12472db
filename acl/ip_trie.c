// SPDX-License-Identifier: ISC
#include "acl/ip_trie.h"

#include <stdlib.h>

#define STEP_BITS_MAX 16

/* Neighbouring prefixes of one list, and the longest prefix that contains all of them. */
struct range {
    uint32_t first, end;
    uint32_t cover;
};

struct trie_build {
    const struct ia_prefix *prefixes;
    struct ia_ip_entries *entries;
};

/* In this order a containing prefix comes before the contained one, so the parent of a prefix is its predecessor or one
 * of the predecessor's parents. */
static void link_parents(struct ia_prefix *prefixes, uint32_t first, uint32_t end)
{
    for (uint32_t i = first; i < end; i++) {
        uint32_t parent = i == first ? 0 : i - 1;
        while (parent && !ia_prefix_holds(&prefixes[parent], prefixes[i].key))
            parent = prefixes[parent].parent;
        prefixes[i].parent = parent;
    }
}

static bool reserve_entries(struct ia_ip_entries *entries, size_t more)
{
    if (entries->n + more <= entries->cap)
        return true;
    size_t cap = entries->cap ? entries->cap : 64;
    while (cap < entries->n + more)
        cap *= 2;
    if (cap > UINT32_MAX)
        return false;
    struct ia_ip_entry *bigger = realloc(entries->at, cap * sizeof *bigger);
    if (!bigger)
        return false;
    entries->at = bigger;
    entries->cap = cap;
    return true;
}

static unsigned bits_in_common(struct ia_ip_key a, struct ia_ip_key b)
{
    if (a.hi != b.hi)
        return (unsigned)__builtin_clzll(a.hi ^ b.hi);
    return a.lo == b.lo ? 128 : 64 + (unsigned)__builtin_clzll(a.lo ^ b.lo);
}

/* Enough bits for about one entry per prefix, within one half of the address. */
static unsigned step_bits(uint32_t prefixes, unsigned pos)
{
    unsigned bits = 31 - (unsigned)__builtin_clz(prefixes);
    unsigned left = 64 - (pos & 63);
    if (bits > STEP_BITS_MAX)
        bits = STEP_BITS_MAX;
    return bits < left ? bits : left;
}

static struct ia_ip_key with_bits(struct ia_ip_key key, unsigned pos, unsigned bits, uint32_t value)
{
    uint64_t placed = (uint64_t)value << (64 - (pos & 63) - bits);
    key = ia_ip_key_head(key, pos);
    if (pos < 64)
        key.hi |= placed;
    else
        key.lo |= placed;
    return key;
}

static bool build_range(const struct trie_build *b, struct range r, struct ia_ip_entry *out);

/* Fill in the 2^bits entries at out->base, taking prefixes from the front of `r`.  A prefix that ends within the step
 * contains several entries and is their cover. */
static bool build_step(const struct trie_build *b, struct range r, struct ia_ip_entry *out)
{
    const struct ia_prefix *prefixes = b->prefixes;
    struct ia_ip_key start = prefixes[r.first].key;
    uint32_t cover = r.cover;
    for (uint32_t value = 0; value < UINT32_C(1) << out->bits; value++) {
        struct ia_ip_key key = with_bits(start, out->pos, out->bits, value);
        while (cover != r.cover && !ia_prefix_holds(&prefixes[cover], key))
            cover = prefixes[cover].parent;
        struct range sub = {.first = r.first};
        while (r.first < r.end && ia_ip_key_bits(prefixes[r.first].key, out->pos, out->bits) == value) {
            if (prefixes[r.first].bits < (unsigned)out->pos + out->bits) {
                cover = r.first;
                sub.first = r.first + 1;
            }
            r.first++;
        }
        sub.end = r.first;
        sub.cover = cover;
        struct ia_ip_entry entry;
        if (!build_range(b, sub, &entry))
            return false;
        b->entries->at[out->base + value] = entry;
    }
    return true;
}

/* The recursion is at most 128 deep: each step consumes at least one bit. */
static bool build_range(const struct trie_build *b, struct range r, struct ia_ip_entry *out)
{
    while (r.end - r.first > 1) {
        const struct ia_prefix *first = &b->prefixes[r.first];
        unsigned common = bits_in_common(first->key, b->prefixes[r.end - 1].key);
        if (first->bits > common) {
            unsigned bits = step_bits(r.end - r.first, common);
            if (!reserve_entries(b->entries, (size_t)1 << bits))
                return false;
            *out =
                (struct ia_ip_entry){.base = (uint32_t)b->entries->n, .pos = (uint16_t)common, .bits = (uint16_t)bits};
            b->entries->n += (size_t)1 << bits;
            return build_step(b, r, out);
        }
        r.cover = r.first++; /* contains all the others */
    }
    *out = (struct ia_ip_entry){.base = r.first < r.end ? r.first : r.cover};
    return true;
}

bool ia_ip_trie_build(struct ia_prefix *prefixes, uint32_t first, uint32_t end, struct ia_ip_entries *entries,
                      struct ia_ip_entry *root)
{
    link_parents(prefixes, first, end);
    struct trie_build b = {.prefixes = prefixes, .entries = entries};
    return build_range(&b, (struct range){.first = first, .end = end}, root);
}
