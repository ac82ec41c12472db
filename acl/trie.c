// SPDX-License-Identifier: ISC
#include "acl/trie.h"

#include <stdlib.h>

#define SLOTS_MIN 64

/* Make room for `more` items in *array. */
static bool grow_array(void **array, size_t *cap, size_t used, size_t more, size_t size)
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
    bool ok = grow_array(&nodes, &trie->nodes_cap, trie->n_nodes, 1, sizeof *trie->nodes);
    trie->nodes = nodes;
    if (!ok)
        return 0;
    struct ia_trie_node *node = &trie->nodes[trie->n_nodes];
    memset(node, 0, sizeof *node);
    node->parent = parent;
    node->edge = (uint8_t)edge;
    return (uint32_t)trie->n_nodes++;
}

static bool init_table(struct ia_trie_table *table)
{
    *table = (struct ia_trie_table){.n_slots = SLOTS_MIN};
    table->slots = calloc(SLOTS_MIN, sizeof *table->slots);
    return table->slots != NULL;
}

bool ia_trie_init(struct ia_trie *trie)
{
    *trie = (struct ia_trie){.n_terms = 1, .n_leaves = IA_LEAF_UNIT}; /* number 0 means none */
    if (!init_table(&trie->literals) || !init_table(&trie->leaf_table))
        return false;
    (void)new_node(trie, 0, IA_EDGE_ROOT); /* node 0 means none */
    return trie->n_nodes == 1;
}

void ia_trie_clear(struct ia_trie *trie)
{
    free(trie->nodes);
    free(trie->terms);
    free(trie->texts);
    free(trie->leaves);
    free(trie->literals.slots);
    free(trie->leaf_table.slots);
    *trie = (struct ia_trie){0};
}

uint32_t ia_trie_root(struct ia_trie *trie)
{
    return new_node(trie, 0, IA_EDGE_ROOT);
}

static void place_slot(struct ia_trie_table *table, struct ia_trie_slot slot)
{
    size_t i = slot.hash & (table->n_slots - 1);
    while (table->slots[i].to)
        i = (i + 1) & (table->n_slots - 1);
    table->slots[i] = slot;
    table->used++;
}

/* Make room for one more slot: the table stays at most half full. */
static bool grow_table(struct ia_trie_table *table)
{
    if (2 * (table->used + 1) <= table->n_slots)
        return true;
    struct ia_trie_table bigger = {.n_slots = 2 * table->n_slots};
    bigger.slots = calloc(bigger.n_slots, sizeof *bigger.slots);
    if (!bigger.slots)
        return false;
    for (size_t i = 0; i < table->n_slots; i++)
        if (table->slots[i].to)
            place_slot(&bigger, table->slots[i]);
    free(table->slots);
    *table = bigger;
    return true;
}

static bool set_text(struct ia_trie *trie, uint32_t node, const struct ia_level *level)
{
    struct ia_trie_node *to = &trie->nodes[node];
    to->first = level->first;
    to->len = (uint16_t)level->len;
    if (level->len <= 8)
        return true;
    if (level->len <= IA_TRIE_INLINE) {
        memcpy(to->rest, level->text + 8, level->len - 8);
        return true;
    }
    void *texts = trie->texts;
    bool ok = grow_array(&texts, &trie->texts_cap, trie->n_texts, level->len, 1);
    trie->texts = texts;
    if (!ok)
        return false;
    to->text_at = (uint32_t)trie->n_texts;
    memcpy(trie->texts + trie->n_texts, level->text, level->len);
    trie->n_texts += level->len;
    return true;
}

static uint32_t literal_child(struct ia_trie *trie, uint32_t parent, const struct ia_level *level, uint64_t path)
{
    uint32_t child = ia_trie_literal(trie, parent, level, path);
    if (child)
        return child;
    if (!grow_table(&trie->literals))
        return 0;
    child = new_node(trie, parent, IA_EDGE_LITERAL);
    if (!child || !set_text(trie, child, level))
        return 0;
    place_slot(&trie->literals, (struct ia_trie_slot){ia_path_hash(path), child});
    trie->nodes[parent].has_literals = true;
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

/* The child by this level; *path is the path of `parent` and becomes that of the child. */
static uint32_t child_by_level(struct ia_trie *trie, uint32_t parent, const struct ia_level *level, uint16_t variable,
                               uint64_t *path)
{
    if (level->kind == IA_LEVEL_PLUS) {
        *path = ia_path_step(*path, IA_PATH_PLUS);
        return plus_child(trie, parent);
    }
    if (level->kind == IA_LEVEL_VARIABLE) {
        *path = ia_path_step(*path, IA_PATH_VARIABLE(variable));
        return variable_child(trie, parent, variable);
    }
    *path = ia_path_step(*path, level->hash);
    return literal_child(trie, parent, level, *path);
}

static uint32_t new_term(struct ia_trie *trie, int64_t rule_id, ia_classes here, ia_classes tail)
{
    void *terms = trie->terms;
    bool ok = grow_array(&terms, &trie->terms_cap, trie->n_terms, 1, sizeof *trie->terms);
    trie->terms = terms;
    if (!ok)
        return 0;
    trie->terms[trie->n_terms] = (struct ia_term){.rule_id = rule_id, .here = here, .tail = tail};
    return (uint32_t)trie->n_terms++;
}

/* Append to the list of rules.  The first rule is moved to the list when the second arrives. */
static bool append_term(struct ia_trie *trie, struct ia_ends *ends, uint32_t term)
{
    if (!term)
        return false;
    if (!ends->term)
        ends->term = new_term(trie, ends->rule_id, ends->here, ends->tail);
    if (!ends->term)
        return false;
    uint32_t last = ends->term;
    while (trie->terms[last].next)
        last = trie->terms[last].next;
    trie->terms[last].next = term;
    return true;
}

/* Add the classes that no earlier rule, with a lower id, has decided. */
static bool add_end(struct ia_trie *trie, struct ia_ends *ends, int64_t rule_id, ia_classes here, ia_classes tail)
{
    here &= (ia_classes)~ends->here;
    tail &= (ia_classes)~ends->tail;
    if (!here && !tail)
        return true;
    if (!ends->here && !ends->tail)
        ends->rule_id = rule_id;
    else if (!append_term(trie, ends, new_term(trie, rule_id, here, tail)))
        return false;
    ends->here |= here;
    ends->tail |= tail;
    return true;
}

static struct ia_leaf *new_leaf(struct ia_trie *trie, uint32_t parent, const char *text, size_t len, uint64_t path)
{
    size_t bytes = (sizeof(struct ia_leaf) + len + IA_LEAF_UNIT - 1) / IA_LEAF_UNIT * IA_LEAF_UNIT;
    void *leaves = trie->leaves;
    bool ok = grow_array(&leaves, &trie->leaves_cap, trie->n_leaves, bytes, 1);
    trie->leaves = leaves;
    if (!ok || !grow_table(&trie->leaf_table))
        return NULL;
    void *at = trie->leaves + trie->n_leaves;
    struct ia_leaf *leaf = at;
    *leaf = (struct ia_leaf){.parent = parent, .len = (uint32_t)len};
    memcpy(leaf->text, text, len);
    place_slot(&trie->leaf_table, (struct ia_trie_slot){ia_path_hash(path), (uint32_t)(trie->n_leaves / IA_LEAF_UNIT)});
    trie->n_leaves += bytes;
    return leaf;
}

/* The leaf for the levels from `first` to the end, below `parent`, whose path is `path`. */
static struct ia_leaf *leaf_child(struct ia_trie *trie, uint32_t parent, const struct ia_levels *filter, size_t first,
                                  uint64_t path)
{
    const struct ia_level *levels = filter->at;
    size_t len = ia_levels_bytes(&levels[first], &levels[filter->n - 1]);
    for (size_t i = first; i < filter->n; i++)
        path = ia_path_step(path, levels[i].hash);
    trie->nodes[parent].leaves |= (uint16_t)(1 << (filter->n - first - 1));
    struct ia_leaf *leaf = ia_trie_leaf(trie, parent, levels[first].text, len, path);
    return leaf ? leaf : new_leaf(trie, parent, levels[first].text, len, path);
}

/* The index of the first level of the leaf; filter->n when there is no leaf. */
static size_t leaf_begin(const struct ia_levels *filter)
{
    size_t i = filter->n;
    while (i > 0 && filter->at[i - 1].kind == IA_LEVEL_LITERAL && filter->n - i < IA_LEAF_LEVELS_MAX)
        i--;
    return i;
}

bool ia_trie_add(struct ia_trie *trie, uint32_t root, const struct ia_levels *filter, const uint16_t *variables,
                 int64_t rule_id, ia_classes classes)
{
    uint32_t at = root;
    uint64_t path = IA_PATH_ROOT(root);
    size_t leaf = leaf_begin(filter);
    for (size_t i = 0; i < leaf; i++) {
        trie->nodes[at].below |= classes;
        at = child_by_level(trie, at, &filter->at[i], variables[i], &path);
        if (!at)
            return false;
    }
    trie->nodes[at].below |= classes;
    struct ia_ends *ends = &trie->nodes[at].ends;
    if (leaf < filter->n) {
        struct ia_leaf *to = leaf_child(trie, at, filter, leaf, path);
        if (!to)
            return false;
        ends = &to->ends;
    }
    return add_end(trie, ends, rule_id, filter->tail ? 0 : classes, filter->tail ? classes : 0);
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

/* Children have higher indices than their parents, so one pass from the end handles children first.  A check visits at
 * most one of the literal children, but possibly all of the others. */
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
