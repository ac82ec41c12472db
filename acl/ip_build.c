// SPDX-License-Identifier: ISC
#include "acl/ip_set.h"

#include "common/str.h"

#include <stdlib.h>

/* All rules are sorted once by list, family and network; lists, prefixes and tries are then made in one pass over that
 * order. */

/* A rule, read. */
struct row {
    const struct ia_ip_rule *rule;
    const char *key;   /* never NULL */
    const char *wrong; /* NULL, or why the network does not parse; the network is then zero */
    struct ia_prefix_range net;
};

struct build {
    struct ia_ip_set *set;
    struct row *rows;
    size_t n;
    ia_ip_problem *problem;
    void *ctx;
};

static int compare(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static int by_list(const struct row *a, const struct row *b)
{
    int order = compare(a->rule->scope, b->rule->scope);
    return order || a->key == b->key ? order : strcmp(a->key, b->key);
}

static int by_network(const struct row *a, const struct row *b)
{
    int order = compare(a->net.v4, b->net.v4);
    if (order == 0)
        order = compare(a->net.key.hi, b->net.key.hi);
    if (order == 0)
        order = compare(a->net.key.lo, b->net.key.lo);
    return order ? order : compare(a->net.bits, b->net.bits);
}

static int by_place(const void *left, const void *right)
{
    const struct row *a = left;
    const struct row *b = right;
    int order = by_list(a, b);
    if (order == 0)
        order = by_network(a, b);
    if (order == 0)
        order = (a->rule->rule_id > b->rule->rule_id) - (a->rule->rule_id < b->rule->rule_id);
    return order;
}

static void tell(const struct build *b, int64_t rule_id, const char *text)
{
    if (b->problem)
        b->problem(b->ctx, rule_id, text);
}

/* A rule whose list is not known closes its whole scope; one of an unknown scope closes the global one. */
static void refuse_unplaced(struct build *b, const struct ia_ip_rule *rule, bool scope_known)
{
    enum ia_ip_scope scope = scope_known ? rule->scope : IA_IP_GLOBAL;
    if (!b->set->scope_bad[scope])
        b->set->scope_bad_rule[scope] = rule->rule_id;
    b->set->scope_bad[scope] = true;
    tell(b, rule->rule_id, scope_known ? "scope_key: it is missing" : "scope: it is unknown");
}

static void read_rows(struct build *b, const struct ia_ip_rule *rules, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct ia_ip_rule *rule = &rules[i];
        bool scope_known = (unsigned)rule->scope < IA_IP_SCOPES;
        if (!scope_known || (rule->scope != IA_IP_GLOBAL && !rule->scope_key)) {
            refuse_unplaced(b, rule, scope_known);
            continue;
        }
        struct row *row = &b->rows[b->n++];
        *row = (struct row){.rule = rule, .key = rule->scope == IA_IP_GLOBAL ? "" : rule->scope_key};
        row->wrong = ia_prefix_parse(rule->network, &row->net);
        if (row->wrong) {
            row->net = (struct ia_prefix_range){0};
            tell(b, rule->rule_id, row->wrong);
        }
    }
    qsort(b->rows, b->n, sizeof *b->rows, by_place);
}

static int64_t rule_until(const struct ia_ip_rule *rule)
{
    return rule->expires_at ? rule->expires_at : INT64_MAX;
}

/* Take one rule into its prefix.  Of several of one kind the one that lives longest speaks for all. */
static void merge_rule(struct ia_prefix *prefix, const struct ia_ip_rule *rule)
{
    int64_t *until = rule->allow ? &prefix->allow_until : &prefix->deny_until;
    int64_t *id = rule->allow ? &prefix->allow_rule : &prefix->deny_rule;
    if (rule_until(rule) <= *until)
        return;
    *until = rule_until(rule);
    *id = rule->rule_id;
}

static void note_in_list(struct ia_ip_list *list, const struct row *row)
{
    const struct ia_ip_rule *rule = row->rule;
    if (row->wrong && (!list->bad || rule->rule_id < list->bad_rule)) {
        list->bad = true;
        list->bad_rule = rule->rule_id;
    }
    if (rule->allow)
        list->allows = true;
    else if (rule_until(rule) > list->deny_until ||
             (rule_until(rule) == list->deny_until && rule->rule_id < list->deny_rule)) {
        list->deny_until = rule_until(rule);
        list->deny_rule = rule->rule_id;
    }
}

/* Prefixes of rows[first..end), all of one list and family; equal networks share one. */
static bool add_family(struct build *b, size_t first, size_t end, struct ia_ip_entry *root)
{
    struct ia_ip_set *set = b->set;
    size_t from = set->n_prefixes;
    for (size_t i = first; i < end; i++) {
        const struct row *row = &b->rows[i];
        if (set->n_prefixes == from || by_network(row, &b->rows[i - 1]) != 0)
            set->prefixes[set->n_prefixes++] = (struct ia_prefix){
                .key = row->net.key, .bits = row->net.bits, .deny_until = IA_IP_NEVER, .allow_until = IA_IP_NEVER};
        merge_rule(&set->prefixes[set->n_prefixes - 1], row->rule);
    }
    return ia_ip_trie_build(set->prefixes, (uint32_t)from, (uint32_t)set->n_prefixes, &set->entries, root);
}

/* The list that begins at rows[first]; *end gets where it ends. */
static bool add_list(struct build *b, size_t first, size_t *end)
{
    struct ia_ip_list *list = &b->set->lists[b->set->n_lists++];
    *list = (struct ia_ip_list){.scope = b->rows[first].rule->scope, .deny_until = IA_IP_NEVER};
    size_t v4 = first;
    size_t i = first;
    list->key = b->rows[first].key; /* until store_keys() */
    for (; i < b->n && by_list(&b->rows[first], &b->rows[i]) == 0; i++) {
        note_in_list(list, &b->rows[i]);
        if (!b->rows[i].net.v4)
            v4 = i + 1;
    }
    *end = i;
    if (list->bad)
        return true; /* it is never searched */
    return add_family(b, first, v4, &list->v6) && add_family(b, v4, i, &list->v4);
}

static bool add_lists(struct build *b)
{
    for (size_t i = 0; i < b->n;)
        if (!add_list(b, i, &i))
            return false;
    return true;
}

/* Replace the borrowed keys by copies. */
static bool store_keys(struct ia_ip_set *set)
{
    size_t bytes = 1;
    for (size_t i = 0; i < set->n_lists; i++)
        bytes += strlen(set->lists[i].key) + 1;
    char *to = set->keys = malloc(bytes);
    if (!to)
        return false;
    for (size_t i = 0; i < set->n_lists; i++) {
        char *key = to;
        to = stpcpy(to, set->lists[i].key) + 1;
        set->lists[i].key = key;
    }
    return true;
}

static bool hash_lists(struct ia_ip_set *set)
{
    set->n_slots = 4;
    while (set->n_slots < 2 * set->n_lists)
        set->n_slots *= 2;
    set->slots = calloc(set->n_slots, sizeof *set->slots);
    if (!set->slots)
        return false;
    for (size_t i = 0; i < set->n_lists; i++) {
        size_t at = ia_ip_list_hash(set->lists[i].scope, set->lists[i].key) & (set->n_slots - 1);
        while (set->slots[at])
            at = (at + 1) & (set->n_slots - 1);
        set->slots[at] = (uint32_t)(i + 1);
    }
    return true;
}

static int by_value(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static void take_end(struct ia_ip_set *set, int64_t end)
{
    if (end != IA_IP_NEVER && end != INT64_MAX)
        set->ends[set->n_ends++] = end;
}

static bool store_ends(struct ia_ip_set *set)
{
    set->ends = malloc(2 * set->n_prefixes * sizeof *set->ends);
    if (!set->ends)
        return false;
    for (size_t i = 1; i < set->n_prefixes; i++) {
        take_end(set, set->prefixes[i].allow_until);
        take_end(set, set->prefixes[i].deny_until);
    }
    qsort(set->ends, set->n_ends, sizeof *set->ends, by_value);
    return true;
}

static bool build(struct build *b, const struct ia_ip_rule *rules, size_t n)
{
    struct ia_ip_set *set = b->set;
    set->lists = calloc(n + 1, sizeof *set->lists);
    set->prefixes = aligned_alloc(sizeof *set->prefixes, (n + 1) * sizeof *set->prefixes);
    if (!set->lists || !set->prefixes)
        return false;
    set->n_prefixes = 1; /* prefix 0 is 'none' */
    read_rows(b, rules, n);
    return add_lists(b) && store_keys(set) && hash_lists(set) && store_ends(set);
}

enum ia_rc ia_ip_set_build(const struct ia_ip_rule *rules, size_t n, ia_ip_problem *problem, void *ctx,
                           struct ia_ip_set **out, struct ia_err *err)
{
    struct ia_ip_set *set = calloc(1, sizeof *set);
    ia_autofree struct row *rows = calloc(n + 1, sizeof *rows);
    struct build b = {.set = set, .rows = rows, .problem = problem, .ctx = ctx};
    if (set)
        atomic_init(&set->refs, 1);
    if (!set || !rows || !build(&b, rules, n)) {
        ia_ip_set_free(set);
        return ia_fail(err, IA_NOMEM, "IP lists: out of memory");
    }
    *out = set;
    return IA_OK;
}
