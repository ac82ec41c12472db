// SPDX-License-Identifier: ISC
/* The topic tries of a policy: one root a role, all nodes in one array.  Internal to acl/.
 *
 * A node stands for the levels that lead to it.  Its edges: one '+', a list of variables, and literals, which are found
 * in one hash table for all nodes, so that a level costs the same whatever the number of rules.  A trailing '/#' is no
 * edge but a property of the node before it.  Node 0 is 'none'.
 *
 * Where all that is left of a rule are literals, with or without a '/#' behind them, they make one leaf, found in one
 * look by the hash of all of them: most rules of a large role are such, and each look in a large table is a cache miss.
 * A node knows of how many levels its leaves are, so there is one look for each such number.
 *
 * The hash of an edge or leaf is made of the path to it, not of the number of its node: so the places in the tables are
 * known before what was found at earlier levels has been read, and the cache misses overlap. */
#pragma once

#include "acl/levels.h"

#include <string.h>

/* What a rule decides, as a set of bits: `DENY this action`, or `ALLOW this action`; ALLOW PUBLISH has one bit for each
 * QoS and retain flag, so that max_qos and allow_retain cost nothing extra in a check. */
typedef uint16_t ia_classes;

#define IA_CLASS_DENY(action)               ((ia_classes)(action)) /* bits 0 to 2, as in enum ia_action */
#define IA_CLASS_DENY_ALL                   ((ia_classes)7)
#define IA_CLASS_ALLOW_SUBSCRIBE            ((ia_classes)(1 << 3))
#define IA_CLASS_ALLOW_RECEIVE              ((ia_classes)(1 << 4))
#define IA_CLASS_ALLOW_PUBLISH(qos, retain) ((ia_classes)(1 << (5 + 2 * (qos) + ((retain) ? 1 : 0))))

enum ia_edge { IA_EDGE_ROOT = 0, IA_EDGE_LITERAL, IA_EDGE_PLUS, IA_EDGE_VARIABLE };

/* The rules that end at one place. */
struct ia_ends {
    int64_t rule_id; /* the lowest of them */
    uint32_t term;   /* where they are listed if there are several, else 0 */
    ia_classes here; /* decided for exactly these levels */
    ia_classes tail; /* decided by a '/#' after these levels */
};

/* One of several rules that end at one place.  The list is in order of rule_id and no bit occurs twice, so its length
 * is bounded. */
struct ia_term {
    int64_t rule_id;
    uint32_t next;
    ia_classes here;
    ia_classes tail;
};

#define IA_TRIE_INLINE     24 /* level texts up to this length lie in the node itself */
#define IA_LEAF_LEVELS_MAX 16 /* longer ends of rules begin with nodes */

struct ia_trie_node {
    struct ia_ends ends;
    uint64_t first; /* IA_EDGE_LITERAL: the first eight bytes of its level, as in struct ia_level */
    uint32_t parent;
    uint32_t plus;      /* the child by '+' */
    uint32_t variables; /* the first child by a variable; the others follow by `sibling` */
    ia_classes below;   /* decided anywhere from here on: what lacks the wanted bits is not walked */
    union {
        uint16_t len;      /* IA_EDGE_LITERAL: bytes of its level */
        uint16_t variable; /* IA_EDGE_VARIABLE: index in the policy's variables */
    };
    uint8_t edge;      /* enum ia_edge: how the parent leads here */
    bool has_literals; /* whether a look into that table is worth while */
    uint16_t leaves;   /* bit n - 1: there are leaves of n levels */
    union {
        uint32_t sibling; /* IA_EDGE_VARIABLE */
        uint32_t text_at; /* IA_EDGE_LITERAL: the whole level in ia_trie.texts, if it is longer than IA_TRIE_INLINE */
    };
    char rest[IA_TRIE_INLINE - 8]; /* else what follows the first eight bytes */
};

_Static_assert(sizeof(struct ia_trie_node) == 64, "a node is one cache line");

struct ia_leaf {
    struct ia_ends ends;
    uint32_t parent;
    uint32_t len;
    char text[]; /* the levels, with their slashes */
};

#define IA_LEAF_UNIT 8 /* leaves are numbered by their place in ia_trie.leaves, in these units */

/* An edge in a hash table: comparing the hash spares most looks at what is not meant. */
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

/* Paths: a root's, and one level further by a literal, '+' or a variable.  The upper bits depend on all of it. */
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

/* The child of `parent` by that literal, or 0; `path` leads to the child. */
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

/* The leaf under `parent` by the levels text[0..len), or NULL; `path` leads to the leaf. */
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

/* Building: false when out of memory.  ia_trie_init first; ia_trie_clear frees whatever there is. */
IA_MUST_USE bool ia_trie_init(struct ia_trie *trie);
void ia_trie_clear(struct ia_trie *trie);

/* A new root, 0 when out of memory. */
IA_MUST_USE uint32_t ia_trie_root(struct ia_trie *trie);

/* Add one rule under `root`.  A level of kind IA_LEVEL_VARIABLE carries its index in variables[level].  Rules come in
 * order of their rule_id. */
IA_MUST_USE bool ia_trie_add(struct ia_trie *trie, uint32_t root, const struct ia_levels *filter,
                             const uint16_t *variables, int64_t rule_id, ia_classes classes);

/* Give back spare memory and put each node on a cache line of its own. */
IA_MUST_USE bool ia_trie_pack(struct ia_trie *trie);

/* For each node, visits[node] = the most nodes that one check can visit in its subtree, whatever the topic.
 * `literal` is scratch of the same size. */
void ia_trie_count_visits(const struct ia_trie *trie, uint32_t *visits, uint32_t *literal);
