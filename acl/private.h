// SPDX-License-Identifier: ISC
/* Inside acl/ only: what policies and IP sets are made of.  policy.c and ip_build.c build them, check.c and ip.c decide
 * by them.  The parts have headers of their own, which are private too: levels.h (a topic and its levels), trie.h
 * (topic filters), ip_trie.h (networks). */
#pragma once

#include "acl/ip_trie.h"
#include "acl/trie.h"
#include "common/hash.h"
#include "common/ref.h"

struct ia_role {
    const char *name; /* in ia_policy.names */
    uint32_t root;
    bool invalid;         /* one of its rules could not be compiled: the role denies everything */
    int64_t invalid_rule; /* the lowest id of such a rule */
    int64_t last_rule;
};

struct ia_policy {
    struct ia_ref refs;
    struct ia_role *roles; /* in order of name */
    size_t n_roles;
    char *names;
    char *variables[IA_POLICY_VARIABLES_MAX];
    size_t n_variables;
    struct ia_trie trie;
};

/* The rules of one scope and key. */
struct ia_ip_list {
    const char *key; /* in ia_ip_set.keys, "" for GLOBAL */
    enum ia_ip_scope scope;
    bool invalid;                  /* one of its networks could not be parsed: the list denies everything */
    bool has_allow;                /* it has an ALLOW rule, expired or not: only allowed addresses pass */
    int64_t invalid_rule;          /* the lowest id of such a rule */
    int64_t deny_until, deny_rule; /* the DENY rule that expires last, for clients without an IP address */
    struct ia_ip_entry v4, v6;
};

struct ia_ip_set {
    struct ia_ref refs;
    struct ia_ip_list *lists;
    size_t n_lists;
    uint32_t *slots; /* by hash of scope and key: index in lists plus one; 0: empty */
    size_t n_slots;  /* a power of two */
    char *keys;
    struct ia_prefix *prefixes; /* from 1 on */
    size_t n_prefixes;
    struct ia_ip_entries entries;
    int64_t *expiries; /* the times at which rules expire, in ascending order */
    size_t n_expiries;
    bool
        scope_invalid[IA_IP_SCOPES]; /* a rule has no key and could belong to any list of the scope: all of them deny */
    int64_t scope_invalid_rule[IA_IP_SCOPES];
};

static inline uint64_t ia_ip_list_hash(enum ia_ip_scope scope, const char *key)
{
    return ia_hash_text(scope, key);
}
