// SPDX-License-Identifier: ISC
/* Inside acl/ only: the prefixes of one snapshot's IP lists, and the level-compressed tries over them.
 *
 * All addresses are 128 bits, IPv4 as ::ffff:0:0/96, but IPv4 and IPv6 have a trie each: `::/0` is about IPv6 only.  An
 * inner entry reads `bits` bits of the address from `pos` on and selects one of 2^bits entries; bits that all prefixes
 * below have in common are skipped without comparing them.  With about as many entries as prefixes, a search takes two
 * or three steps for any number of prefixes.  A leaf names a prefix.  Because bits were skipped, the prefix may not
 * match; the match is then among its parents, the shorter prefixes that contain it.  The search follows the same chain
 * when a prefix has expired. */
#pragma once

#include "acl/ip.h"

#include <endian.h>
#include <string.h>

struct ia_ip_key {
    uint64_t hi, lo;
};

/* A network, parsed. */
struct ia_prefix_range {
    struct ia_ip_key key;
    unsigned bits; /* of 128: an IPv4 /8 has 104 */
    bool v4;
};

#define IA_IP_NEVER INT64_MIN /* as deny_until or allow_until: there is no such rule */

/* One network of one list, with the result of all its rules. */
struct ia_prefix {
    struct ia_ip_key key;
    int64_t deny_until, allow_until; /* seconds since 1970, exclusive */
    int64_t deny_rule, allow_rule;
    uint32_t parent; /* the longest shorter prefix that contains this one, 0: none */
    uint32_t bits;
    uint64_t spare; /* fills the cache line */
};

_Static_assert(sizeof(struct ia_prefix) == 64, "a prefix is one cache line");

struct ia_ip_entry {
    uint32_t base; /* bits == 0: a prefix, 0 for none; else the index of the first of its 2^bits entries */
    uint16_t pos;
    uint16_t bits;
};

struct ia_ip_entries {
    struct ia_ip_entry *at;
    size_t n, cap;
};

static inline struct ia_ip_key ia_ip_key_of(const uint8_t *addr)
{
    struct ia_ip_key key;
    memcpy(&key.hi, addr, 8);
    memcpy(&key.lo, addr + 8, 8);
    return (struct ia_ip_key){.hi = be64toh(key.hi), .lo = be64toh(key.lo)};
}

static inline bool ia_ip_key_equal(struct ia_ip_key a, struct ia_ip_key b)
{
    return a.hi == b.hi && a.lo == b.lo;
}

/* The first `bits` bits, zeros after. */
static inline struct ia_ip_key ia_ip_key_head(struct ia_ip_key key, unsigned bits)
{
    uint64_t hi = bits >= 64 ? ~UINT64_C(0) : bits == 0 ? 0 : ~UINT64_C(0) << (64 - bits);
    uint64_t lo = bits >= 128 ? ~UINT64_C(0) : bits <= 64 ? 0 : ~UINT64_C(0) << (128 - bits);
    return (struct ia_ip_key){.hi = key.hi & hi, .lo = key.lo & lo};
}

/* `bits` bits (at least one) from `pos` on, which do not cross bit 64. */
static inline uint32_t ia_ip_key_bits(struct ia_ip_key key, unsigned pos, unsigned bits)
{
    uint64_t word = pos < 64 ? key.hi : key.lo;
    return (uint32_t)(word << (pos & 63) >> (64 - bits));
}

static inline bool ia_prefix_holds(const struct ia_prefix *prefix, struct ia_ip_key key)
{
    return ia_ip_key_equal(ia_ip_key_head(key, prefix->bits), prefix->key);
}

/* The prefix at which the search for `key` ends, 0 for none.  The longest match is this prefix or one of its
 * parents. */
static inline uint32_t ia_ip_trie_find(const struct ia_ip_entry *entries, struct ia_ip_entry root, struct ia_ip_key key)
{
    while (root.bits)
        root = entries[root.base + ia_ip_key_bits(key, root.pos, root.bits)];
    return root.base;
}

/* Parse "10.0.0.0/8", "2001:db8::/32", or an address without a length.  NULL, or the error as a static text. */
IA_MUST_USE const char *ia_prefix_parse(const char *text, struct ia_prefix_range *out);

/* Build a trie over prefixes[first..end), which must be in order of key and then of bits, without duplicates.  Sets
 * their `parent` and appends to *entries.  False when out of memory. */
IA_MUST_USE bool ia_ip_trie_build(struct ia_prefix *prefixes, uint32_t first, uint32_t end,
                                  struct ia_ip_entries *entries, struct ia_ip_entry *root);
