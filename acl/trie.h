// SPDX-License-Identifier: ISC
/* Inside acl/ only: the topic tries of a policy, one root per role, all nodes in one array.
 *
 * A node stands for the levels that lead to it.  Its edges are one '+', a list of variables, and literals.  Literals
 * are in one hash table for all nodes, so that the cost of a level does not depend on the number of rules.  A trailing
 * '/#' is not an edge but a property of the node before it.  Node 0 means none.
 *
 * When all remaining levels of a rule are literals, with or without a '/#' after them, they form one leaf, which one
 * look-up by the hash of all of them finds: most rules of a large role are of this kind, and each look-up in a large
 * table is a cache miss.  A node records the lengths (in levels) of its leaves, so there is one look-up per length.
 *
 * The hash of an edge or a leaf depends on the path to it, not on the number of its node: the slots in the tables are
 * known before the result of the previous level has been read, so the cache misses overlap. */
#pragma once

#include "acl/levels.h"

#include <string.h>

/* What a rule decides, as a set of bits: DENY for an action, or ALLOW for an action.  ALLOW PUBLISH has one bit for
 * each QoS and retain flag, so that max_qos and allow_retain add no cost to a check. */
typedef uint16_t ia_classes;

#define IA_CLASS_DENY(action)               ((ia_classes)(action)) /* bits 0 to 2, as in enum ia_action */
#define IA_CLASS_DENY_ALL                   ((ia_classes)7)
#define IA_CLASS_ALLOW_SUBSCRIBE            ((ia_classes)(1 << 3))
#define IA_CLASS_ALLOW_RECEIVE              ((ia_classes)(1 << 4))
#define IA_CLASS_ALLOW_PUBLISH(qos, retain) ((ia_classes)(1 << (5 + 2 * (qos) + ((retain) ? 1 : 0))))

enum ia_edge { IA_EDGE_ROOT = 0, IA_EDGE_LITERAL, IA_EDGE_PLUS, IA_EDGE_VARIABLE };

/* The rules that end at one place. */
struct ia_ends {
    int64_t rule_id; /* the lowest id */
    uint32_t term;   /* the list of the rules if there are several, else 0 */
    ia_classes here; /* what they decide for exactly these levels */
    ia_classes tail; /* what they decide by a '/#' after these levels */
};

/* One of several rules that end at the same place.  The list is in order of rule_id, and no bit occurs twice, which
 * bounds its length. */
struct ia_term {
    int64_t rule_id;
    uint32_t next;
    ia_classes here;
    ia_classes tail;
};

#define IA_TRIE_INLINE     24 /* texts of levels up to this length are stored in the node */
#define IA_LEAF_LEVELS_MAX 16 /* levels of a leaf; a longer literal end of a rule starts with nodes */

struct ia_trie_node {
    struct ia_ends ends;
    uint64_t first; /* IA_EDGE_LITERAL: the first eight bytes of the level, as in struct ia_level */
    uint32_t parent;
    uint32_t plus;      /* the child by '+' */
    uint32_t variables; /* the first child by a variable; the others follow by `sibling` */
    ia_classes below;   /* decided in this subtree: a search skips subtrees without the bits it wants */
    union {
        uint16_t len;      /* IA_EDGE_LITERAL: bytes of the level */
        uint16_t variable; /* IA_EDGE_VARIABLE: index in the policy's variables */
    };
    uint8_t edge;      /* enum ia_edge: the edge from the parent to this node */
    bool has_literals; /* false: a look-up in the table of literals would be useless */
    uint16_t leaves;   /* bit n - 1: there are leaves of n levels */
    union {
        uint32_t sibling; /* IA_EDGE_VARIABLE */
        uint32_t text_at; /* IA_EDGE_LITERAL longer than IA_TRIE_INLINE: position of the whole level in ia_trie.texts */
    };
    char rest[IA_TRIE_INLINE - 8]; /* a shorter one: the bytes after the first eight */
};

_Static_assert(sizeof(struct ia_trie_node) == 64, "a node is one cache line");

struct ia_leaf {
    struct ia_ends ends;
    uint32_t parent;
    uint32_t len;
    char text[]; /* the levels, with their slashes */
};

#define IA_LEAF_UNIT 8 /* the number of a leaf is its offset in ia_trie.leaves, in these units */

/* An edge in a hash table.  The hash is compared first, which avoids reading most of the wrong nodes. */
struct ia_trie_slot {
    uint32_t hash;
    uint32_t to; /* node or leaf, 0: empty */
};

struct ia_trie_table {
    struct ia_trie_slot *slots;
    size_t n_slots; /* a power of two */
    size_t used;
};

struct ia_trie {
    struct ia_trie_node *nodes;
    struct ia_term *terms;
    char *texts;
    char *leaves;
    struct ia_trie_table literals; /* to nodes */
    struct ia_trie_table leaf_table;
    size_t n_nodes, n_terms, n_texts, n_leaves; /* n_leaves: bytes */
    size_t nodes_cap, terms_cap, texts_cap, leaves_cap;
};

/* The path of a root, and of a literal, '+' or variable one level further.  The upper bits depend on the whole path. */
static inline uint64_t ia_path_step(uint64_t path, uint64_t step)
{
    return (path + step) * UINT64_C(0xD6E8FEB86659FD93);
}

static inline uint32_t ia_path_hash(uint64_t path)
{
    return (uint32_t)(path >> 32);
}

#define IA_PATH_ROOT(root)  ia_path_step(UINT64_C(0x2545F4914F6CDD1D), (root))
#define IA_PATH_PLUS        UINT64_C(0x9FB21C651E98DF25)
#define IA_PATH_VARIABLE(i) (UINT64_C(0xA0761D6478BD642F) + (i))

static inline bool ia_trie_is_literal(const struct ia_trie *trie, const struct ia_trie_node *node, uint32_t parent,
                                      const struct ia_level *level)
{
    if (node->parent != parent || node->first != level->first || node->len != level->len)
        return false;
    if (node->len <= 8)
        return true;
    if (node->len <= IA_TRIE_INLINE)
        return memcmp(node->rest, level->text + 8, node->len - 8U) == 0;
    return memcmp(trie->texts + node->text_at, level->text, node->len) == 0;
}

/* The child of `parent` by this literal, or 0.  `path` is the path of the child. */
static inline uint32_t ia_trie_literal(const struct ia_trie *trie, uint32_t parent, const struct ia_level *level,
                                       uint64_t path)
{
    const struct ia_trie_table *table = &trie->literals;
    uint32_t hash = ia_path_hash(path);
    for (size_t i = hash & (table->n_slots - 1); table->slots[i].to; i = (i + 1) & (table->n_slots - 1)) {
        uint32_t node = table->slots[i].to;
        if (table->slots[i].hash == hash && ia_trie_is_literal(trie, &trie->nodes[node], parent, level))
            return node;
    }
    return 0;
}

/* The leaf below `parent` with the levels text[0..len), or NULL.  `path` is the path of the leaf. */
static inline struct ia_leaf *ia_trie_leaf(const struct ia_trie *trie, uint32_t parent, const char *text, size_t len,
                                           uint64_t path)
{
    const struct ia_trie_table *table = &trie->leaf_table;
    uint32_t hash = ia_path_hash(path);
    for (size_t i = hash & (table->n_slots - 1); table->slots[i].to; i = (i + 1) & (table->n_slots - 1)) {
        if (table->slots[i].hash != hash)
            continue;
        void *at = trie->leaves + (size_t)table->slots[i].to * IA_LEAF_UNIT;
        struct ia_leaf *leaf = at;
        if (leaf->parent == parent && leaf->len == len && memcmp(leaf->text, text, len) == 0)
            return leaf;
    }
    return NULL;
}

/* Building: false when out of memory.  ia_trie_init comes first; ia_trie_clear frees everything, also after a
 * failure. */
IA_MUST_USE bool ia_trie_init(struct ia_trie *trie);
void ia_trie_clear(struct ia_trie *trie);

/* A new root, 0 when out of memory. */
IA_MUST_USE uint32_t ia_trie_root(struct ia_trie *trie);

/* Add one rule below `root`.  variables[i] is the index of the variable when level i is an IA_LEVEL_VARIABLE.  Rules
 * must be added in order of rule_id. */
IA_MUST_USE bool ia_trie_add(struct ia_trie *trie, uint32_t root, const struct ia_levels *filter,
                             const uint16_t *variables, int64_t rule_id, ia_classes classes);

/* Free unused memory and align each node to a cache line. */
IA_MUST_USE bool ia_trie_pack(struct ia_trie *trie);

/* Set visits[node], for each node, to the highest number of nodes that one check can visit in its subtree, for any
 * topic.  `literal` is working memory of the same size. */
void ia_trie_count_visits(const struct ia_trie *trie, uint32_t *visits, uint32_t *literal);
