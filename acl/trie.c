#include "acl/trie.h"

#include <stdlib.h>

#define SLOTS_MIN 64

/* Make room for one more (or `more`) items in *array. */
static bool grow(void **array, size_t *cap, size_t used, size_t more, size_t size)
{
    if (used + more <= *cap)
        return true;
    size_t want = *cap ? *cap : 64;
    while (want < used + more)
        want *= 2;
    if (want > UINT32_MAX)
        return false; /* indices are 32 bits wide */
    void *bigger = realloc(*array, want * size);
    if (!bigger)
        return false;
    *array = bigger;
    *cap = want;
    return true;
}

static uint32_t new_node(struct ia_trie *trie, uint32_t parent, enum ia_edge edge)
{
    void *nodes = trie->nodes;
    bool ok = grow(&nodes, &trie->nodes_cap, trie->n_nodes, 1, sizeof *trie->nodes);
    trie->nodes = nodes;
    if (!ok)
        return 0;
    struct ia_trie_node *node = &trie->nodes[trie->n_nodes];
    memset(node, 0, sizeof *node);
    node->parent = parent;
    node->edge = (uint8_t)edge;
    return (uint32_t)trie->n_nodes++;
}

bool ia_trie_init(struct ia_trie *trie)
{
    *trie = (struct ia_trie){.n_slots = SLOTS_MIN};
    trie->slots = calloc(SLOTS_MIN, sizeof *trie->slots);
    if (!trie->slots)
        return false;
    (void)new_node(trie, 0, IA_EDGE_ROOT); /* node 0, 'none' */
    trie->n_terms = 1;                     /* and term 0 */
    return trie->n_nodes == 1;
}

void ia_trie_clear(struct ia_trie *trie)
{
    free(trie->nodes);
    free(trie->terms);
    free(trie->texts);
    free(trie->slots);
    *trie = (struct ia_trie){0};
}

uint32_t ia_trie_root(struct ia_trie *trie)
{
    return new_node(trie, 0, IA_EDGE_ROOT);
}

static void place(struct ia_trie_slot *slots, size_t n_slots, struct ia_trie_slot slot)
{
    size_t i = slot.hash & (n_slots - 1);
    while (slots[i].node)
        i = (i + 1) & (n_slots - 1);
    slots[i] = slot;
}

/* Keep the table at most half full. */
static bool grow_slots(struct ia_trie *trie)
{
    if (2 * (trie->n_literals + 1) <= trie->n_slots)
        return true;
    size_t n_slots = 2 * trie->n_slots;
    struct ia_trie_slot *slots = calloc(n_slots, sizeof *slots);
    if (!slots)
        return false;
    for (size_t i = 0; i < trie->n_slots; i++)
        if (trie->slots[i].node)
            place(slots, n_slots, trie->slots[i]);
    free(trie->slots);
    trie->slots = slots;
    trie->n_slots = n_slots;
    return true;
}

static bool set_text(struct ia_trie *trie, uint32_t node, const struct ia_level *level)
{
    struct ia_trie_node *to = &trie->nodes[node];
    to->len = (uint16_t)level->len;
    if (level->len <= IA_TRIE_INLINE) {
        memcpy(to->text, level->text, level->len);
        return true;
    }
    void *texts = trie->texts;
    bool ok = grow(&texts, &trie->texts_cap, trie->n_texts, level->len, 1);
    trie->texts = texts;
    if (!ok)
        return false;
    to->text_at = (uint32_t)trie->n_texts;
    memcpy(trie->texts + trie->n_texts, level->text, level->len);
    trie->n_texts += level->len;
    return true;
}

static uint32_t literal_child(struct ia_trie *trie, uint32_t parent, const struct ia_level *level)
{
    uint32_t child = ia_trie_literal(trie, parent, level);
    if (child)
        return child;
    if (!grow_slots(trie))
        return 0;
    child = new_node(trie, parent, IA_EDGE_LITERAL);
    if (!child || !set_text(trie, child, level))
        return 0;
    place(trie->slots, trie->n_slots, (struct ia_trie_slot){ia_trie_hash(parent, level->hash), child});
    trie->nodes[parent].has_literals = true;
    trie->n_literals++;
    return child;
}

static uint32_t plus_child(struct ia_trie *trie, uint32_t parent)
{
    if (trie->nodes[parent].plus)
        return trie->nodes[parent].plus;
    uint32_t child = new_node(trie, parent, IA_EDGE_PLUS);
    if (child)
        trie->nodes[parent].plus = child;
    return child;
}

static uint32_t variable_child(struct ia_trie *trie, uint32_t parent, uint16_t variable)
{
    for (uint32_t i = trie->nodes[parent].variables; i; i = trie->nodes[i].sibling)
        if (trie->nodes[i].variable == variable)
            return i;
    uint32_t child = new_node(trie, parent, IA_EDGE_VARIABLE);
    if (!child)
        return 0;
    trie->nodes[child].variable = variable;
    trie->nodes[child].sibling = trie->nodes[parent].variables;
    trie->nodes[parent].variables = child;
    return child;
}

static uint32_t child_by(struct ia_trie *trie, uint32_t parent, const struct ia_level *level, uint16_t variable)
{
    if (level->kind == IA_LEVEL_PLUS)
        return plus_child(trie, parent);
    if (level->kind == IA_LEVEL_VARIABLE)
        return variable_child(trie, parent, variable);
    return literal_child(trie, parent, level);
}

/* Append to the node's list what no earlier rule, with a lower id, has decided already. */
static bool add_term(struct ia_trie *trie, uint32_t at, int64_t rule_id, ia_classes here, ia_classes tail)
{
    void *terms = trie->terms;
    bool ok = grow(&terms, &trie->terms_cap, trie->n_terms, 1, sizeof *trie->terms);
    trie->terms = terms;
    if (!ok)
        return false;
    struct ia_trie_node *node = &trie->nodes[at];
    here &= (ia_classes)~node->here;
    tail &= (ia_classes)~node->tail;
    if (!here && !tail)
        return true;
    uint32_t *link = &node->term;
    while (*link)
        link = &trie->terms[*link].next;
    *link = (uint32_t)trie->n_terms;
    trie->terms[trie->n_terms++] = (struct ia_term){.rule_id = rule_id, .here = here, .tail = tail};
    node->here |= here;
    node->tail |= tail;
    return true;
}

bool ia_trie_add(struct ia_trie *trie, uint32_t root, const struct ia_levels *filter, const uint16_t *variables,
                 int64_t rule_id, ia_classes classes)
{
    uint32_t at = root;
    for (size_t i = 0; i < filter->n; i++) {
        trie->nodes[at].below |= classes;
        at = child_by(trie, at, &filter->at[i], variables[i]);
        if (!at)
            return false;
    }
    trie->nodes[at].below |= classes;
    return add_term(trie, at, rule_id, filter->tail ? 0 : classes, filter->tail ? classes : 0);
}

bool ia_trie_pack(struct ia_trie *trie)
{
    size_t bytes = trie->n_nodes * sizeof *trie->nodes;
    struct ia_trie_node *nodes = aligned_alloc(sizeof *nodes, bytes);
    if (!nodes)
        return false;
    memcpy(nodes, trie->nodes, bytes);
    free(trie->nodes);
    trie->nodes = nodes;
    trie->nodes_cap = trie->n_nodes;
    return true;
}

static uint32_t add_saturated(uint32_t a, uint32_t b)
{
    return a > UINT32_MAX - b ? UINT32_MAX : a + b;
}

/* Children have higher indices than their parents, so one pass from the end sees them first.  Of the literal children
 * at most one is visited, of the others possibly all. */
void ia_trie_count_visits(const struct ia_trie *trie, uint32_t *visits, uint32_t *literal)
{
    memset(visits, 0, trie->n_nodes * sizeof *visits);
    memset(literal, 0, trie->n_nodes * sizeof *literal);
    for (size_t i = trie->n_nodes - 1; i > 0; i--) {
        const struct ia_trie_node *node = &trie->nodes[i];
        visits[i] = add_saturated(visits[i], add_saturated(literal[i], 1));
        if (node->edge == IA_EDGE_LITERAL && visits[i] > literal[node->parent])
            literal[node->parent] = visits[i];
        else if (node->edge == IA_EDGE_PLUS || node->edge == IA_EDGE_VARIABLE)
            visits[node->parent] = add_saturated(visits[node->parent], visits[i]);
    }
}
