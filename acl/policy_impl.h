// SPDX-License-Identifier: ISC
/* What a policy is made of.  Internal to acl/: policy.c builds it, check.c decides by it. */
#pragma once

#include "acl/trie.h"

#include <stdatomic.h>

struct ia_role {
    const char *name; /* in ia_policy.names */
    uint32_t root;
    bool bad;         /* a rule of it could not be compiled: it denies everything */
    int64_t bad_rule; /* the lowest such */
    int64_t last_rule;
};

struct ia_policy {
    atomic_uint refs;
    struct ia_role *roles; /* in order of name */
    size_t n_roles;
    char *names;
    char *variables[IA_POLICY_VARIABLES_MAX];
    size_t n_variables;
    struct ia_trie trie;
};
