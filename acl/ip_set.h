// SPDX-License-Identifier: ISC
/* What an IP set is made of.  Internal to acl/: ip_build.c builds it, ip.c decides by it. */
#pragma once

#include "acl/ip_trie.h"

#include <stdatomic.h>

/* The rules of one scope and key. */
struct ia_ip_list {
    const char *key; /* in ia_ip_set.keys, "" for GLOBAL */
    enum ia_ip_scope scope;
    bool bad;                      /* a network in it could not be parsed: it denies everything */
    bool allows;                   /* it holds an ALLOW, expired or not: only what is allowed passes */
    int64_t bad_rule;              /* the lowest such */
    int64_t deny_until, deny_rule; /* the DENY that lives longest, for addresses that are no IP address */
    struct ia_ip_entry v4, v6;
};

struct ia_ip_set {
    atomic_uint refs;
    struct ia_ip_list *lists;
    size_t n_lists;
    uint32_t *slots; /* by hash of scope and key: index in lists plus one; 0: empty */
    size_t n_slots;  /* a power of two */
    char *keys;
    struct ia_prefix *prefixes; /* from 1 on */
    size_t n_prefixes;
    struct ia_ip_entries entries;
    int64_t *ends; /* when rules expire, in ascending order */
    size_t n_ends;
    bool scope_bad[IA_IP_SCOPES]; /* a rule without its key: it could have been anybody's */
    int64_t scope_bad_rule[IA_IP_SCOPES];
};

static inline uint64_t ia_ip_list_hash(enum ia_ip_scope scope, const char *key)
{
    uint64_t hash = UINT64_C(0xCBF29CE484222325) ^ (unsigned)scope; /* FNV-1a */
    for (const char *p = key; *p; p++)
        hash = (hash ^ (unsigned char)*p) * UINT64_C(0x100000001B3);
    return hash ^ hash >> 32;
}
