/* The topic tries of a policy: one root a role, all nodes in one array.  Internal to acl/.
 *
 * A node stands for the levels that lead to it.  Its edges: one '+', a list of variables, and literals, which are found
 * by a hash of (node, level text) in one table for all nodes, so that a level costs the same whatever the number of
 * rules.  A trailing '/#' is no edge but a property of the node before it.  Node 0 is 'none'. */
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

#define IA_TRIE_INLINE 32 /* level texts up to this length lie in the node itself */

struct ia_trie_node {
    uint32_t parent;
    uint32_t plus;      /* the child by '+' */
    uint32_t variables; /* the first child by a variable; the others follow by `sibling` */
    uint32_t sibling;
    uint32_t term;     /* the first rule that ends here */
    ia_classes below;  /* decided anywhere from here on: what lacks the wanted bits is not walked */
    ia_classes here;   /* decided for exactly these levels */
    ia_classes tail;   /* decided by a '/#' after these levels */
    uint16_t variable; /* IA_EDGE_VARIABLE: index in the policy's variables */
    uint16_t len;      /* IA_EDGE_LITERAL: bytes of its level */
    uint8_t edge;      /* enum ia_edge: how the parent leads here */
    bool has_literals; /* whether a look-up in the table is worth while */
    union {
        char text[IA_TRIE_INLINE];
        uint32_t text_at; /* longer ones, in ia_trie.texts */
    };
};

_Static_assert(sizeof(struct ia_trie_node) == 64, "a node is one cache line");

/* One rule at a node.  The list is in order of rule_id and no bit occurs twice, so its length is bounded. */
struct ia_term {
    int64_t rule_id;
    ia_classes here;
    ia_classes tail;
    uint32_t next;
};

/* A literal edge.  Comparing the hash spares most looks at nodes that are not meant. */
struct ia_trie_slot {
    uint32_t hash;
    uint32_t node;
};

struct ia_trie {
    struct ia_trie_node *nodes;
    struct ia_term *terms;
    char *texts;
    struct ia_trie_slot *slots;
    size_t n_nodes, n_terms, n_texts, n_slots; /* n_slots: a power of two */
    size_t nodes_cap, terms_cap, texts_cap;
    size_t n_literals;
};

static inline uint32_t ia_trie_hash(uint32_t parent, uint64_t level)
{
    uint64_t hash = (level + parent * UINT64_C(0xD6E8FEB86659FD93)) * UINT64_C(0x9E3779B97F4A7C15);
    return (uint32_t)(hash >> 32);
}

static inline bool ia_trie_is_literal(const struct ia_trie *trie, const struct ia_trie_node *node, uint32_t parent,
                                      const struct ia_level *level)
{
    if (node->parent != parent || node->len != level->len)
        return false;
    const char *text = node->len <= IA_TRIE_INLINE ? node->text : trie->texts + node->text_at;
    return memcmp(text, level->text, level->len) == 0;
}

/* The child of `parent` by that literal, or 0. */
static inline uint32_t ia_trie_literal(const struct ia_trie *trie, uint32_t parent, const struct ia_level *level)
{
    uint32_t hash = ia_trie_hash(parent, level->hash);
    for (size_t i = hash & (trie->n_slots - 1);; i = (i + 1) & (trie->n_slots - 1)) {
        const struct ia_trie_slot *slot = &trie->slots[i];
        if (slot->node == 0)
            return 0;
        if (slot->hash == hash && ia_trie_is_literal(trie, &trie->nodes[slot->node], parent, level))
            return slot->node;
    }
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
