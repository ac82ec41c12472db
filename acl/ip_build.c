// SPDX-License-Identifier: ISC
#include "acl/private.h"
#include "common/str.h"

#include <stdlib.h>

/* All rules are sorted once by list, address family and network; one pass over that order then makes lists, prefixes
 * and tries. */

/* A parsed rule. */
struct row {
    const struct ia_ip_rule *rule;
    const char *key;   /* never NULL */
    const char *error; /* NULL, or why the network does not parse; `net` is then zero */
    struct ia_prefix_range net;
};

struct ip_build {
    const struct ia_problem_callback *problems;
    struct ia_ip_set *set;
    struct row *rows;
    size_t n;
};

static int compare_words(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static int list_order(const struct row *a, const struct row *b)
{
    int order = compare_words(a->rule->scope, b->rule->scope);
    return order || a->key == b->key ? order : strcmp(a->key, b->key);
}

static int network_order(const struct row *a, const struct row *b)
{
    int order = compare_words(a->net.v4, b->net.v4);
    if (order == 0)
        order = compare_words(a->net.key.hi, b->net.key.hi);
    if (order == 0)
        order = compare_words(a->net.key.lo, b->net.key.lo);
    return order ? order : compare_words(a->net.bits, b->net.bits);
}

static int row_order(const void *left, const void *right)
{
    const struct row *a = left;
    const struct row *b = right;
    int order = list_order(a, b);
    if (order == 0)
        order = network_order(a, b);
    if (order == 0)
        order = (a->rule->rule_id > b->rule->rule_id) - (a->rule->rule_id < b->rule->rule_id);
    return order;
}

/* A rule without a list makes its whole scope deny; a rule of an unknown scope makes the global scope deny. */
static void refuse_rule_without_list(struct ip_build *b, const struct ia_ip_rule *rule, bool scope_known)
{
    enum ia_ip_scope scope = scope_known ? rule->scope : IA_IP_GLOBAL;
    if (!b->set->scope_invalid[scope])
        b->set->scope_invalid_rule[scope] = rule->rule_id;
    b->set->scope_invalid[scope] = true;
    ia_problem_report(b->problems, rule->rule_id, scope_known ? "scope_key: it is missing" : "scope: it is unknown");
}

static void read_rows(struct ip_build *b, const struct ia_ip_rule *rules, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct ia_ip_rule *rule = &rules[i];
        bool scope_known = (unsigned)rule->scope < IA_IP_SCOPES;
        if (!scope_known || (rule->scope != IA_IP_GLOBAL && !rule->scope_key)) {
            refuse_rule_without_list(b, rule, scope_known);
            continue;
        }
        struct row *row = &b->rows[b->n++];
        *row = (struct row){.rule = rule, .key = rule->scope == IA_IP_GLOBAL ? "" : rule->scope_key};
        row->error = ia_prefix_parse(rule->network, &row->net);
        if (row->error) {
            row->net = (struct ia_prefix_range){0};
            ia_problem_report(b->problems, rule->rule_id, row->error);
        }
    }
    qsort(b->rows, b->n, sizeof *b->rows, row_order);
}

static int64_t rule_until(const struct ia_ip_rule *rule)
{
    return rule->expires_at ? rule->expires_at : INT64_MAX;
}

/* Add one rule to its prefix.  Of several ALLOW (or several DENY) rules, the rule that expires last counts. */
static void merge_rule(struct ia_prefix *prefix, const struct ia_ip_rule *rule)
{
    int64_t *until = rule->allow ? &prefix->allow_until : &prefix->deny_until;
    int64_t *id = rule->allow ? &prefix->allow_rule : &prefix->deny_rule;
    if (rule_until(rule) <= *until)
        return;
    *until = rule_until(rule);
    *id = rule->rule_id;
}

static void add_to_list(struct ia_ip_list *list, const struct row *row)
{
    const struct ia_ip_rule *rule = row->rule;
    if (row->error && (!list->invalid || rule->rule_id < list->invalid_rule)) {
        list->invalid = true;
        list->invalid_rule = rule->rule_id;
    }
    if (rule->allow)
        list->has_allow = true;
    else if (rule_until(rule) > list->deny_until ||
             (rule_until(rule) == list->deny_until && rule->rule_id < list->deny_rule)) {
        list->deny_until = rule_until(rule);
        list->deny_rule = rule->rule_id;
    }
}

/* Add the prefixes of rows[first..end), all of one list and address family.  Equal networks share one prefix. */
static bool add_family(struct ip_build *b, size_t first, size_t end, struct ia_ip_entry *root)
{
    struct ia_ip_set *set = b->set;
    size_t from = set->n_prefixes;
    for (size_t i = first; i < end; i++) {
        const struct row *row = &b->rows[i];
        if (set->n_prefixes == from || network_order(row, &b->rows[i - 1]) != 0)
            set->prefixes[set->n_prefixes++] = (struct ia_prefix){
                .key = row->net.key, .bits = row->net.bits, .deny_until = IA_IP_NEVER, .allow_until = IA_IP_NEVER};
        merge_rule(&set->prefixes[set->n_prefixes - 1], row->rule);
    }
    return ia_ip_trie_build(set->prefixes, (uint32_t)from, (uint32_t)set->n_prefixes, &set->entries, root);
}

/* Add the list that starts at rows[first]; *end gets the index after its last row. */
static bool add_list(struct ip_build *b, size_t first, size_t *end)
{
    struct ia_ip_list *list = &b->set->lists[b->set->n_lists++];
    *list = (struct ia_ip_list){.scope = b->rows[first].rule->scope, .deny_until = IA_IP_NEVER};
    size_t v4 = first;
    size_t i = first;
    list->key = b->rows[first].key; /* borrowed until store_keys() */
    for (; i < b->n && list_order(&b->rows[first], &b->rows[i]) == 0; i++) {
        add_to_list(list, &b->rows[i]);
        if (!b->rows[i].net.v4)
            v4 = i + 1;
    }
    *end = i;
    if (list->invalid)
        return true; /* never searched */
    return add_family(b, first, v4, &list->v6) && add_family(b, v4, i, &list->v4);
}

static bool add_lists(struct ip_build *b)
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
        // NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): each list has its key
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

static int time_order(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static void store_expiry(struct ia_ip_set *set, int64_t at)
{
    if (at != IA_IP_NEVER && at != INT64_MAX)
        set->expiries[set->n_expiries++] = at;
}

static bool store_expiries(struct ia_ip_set *set)
{
    set->expiries = malloc(2 * set->n_prefixes * sizeof *set->expiries);
    if (!set->expiries)
        return false;
    for (size_t i = 1; i < set->n_prefixes; i++) {
        store_expiry(set, set->prefixes[i].allow_until);
        store_expiry(set, set->prefixes[i].deny_until);
    }
    qsort(set->expiries, set->n_expiries, sizeof *set->expiries, time_order);
    return true;
}

static bool build_ip_set(struct ip_build *b, const struct ia_ip_rule *rules, size_t n)
{
    struct ia_ip_set *set = b->set;
    set->lists = calloc(n + 1, sizeof *set->lists);
    set->prefixes = aligned_alloc(sizeof *set->prefixes, (n + 1) * sizeof *set->prefixes);
    if (!set->lists || !set->prefixes)
        return false;
    set->n_prefixes = 1; /* prefix 0 means none */
    read_rows(b, rules, n);
    return add_lists(b) && store_keys(set) && hash_lists(set) && store_expiries(set);
}

enum ia_rc ia_ip_set_build(const struct ia_ip_rule *rules, size_t n, const struct ia_problem_callback *problems,
                           struct ia_ip_set **out, struct ia_err *err)
{
    struct ia_ip_set *set = calloc(1, sizeof *set);
    ia_autofree struct row *rows = calloc(n + 1, sizeof *rows);
    struct ip_build b = {.problems = problems, .set = set, .rows = rows};
    if (set)
        ia_ref_init(&set->refs);
    if (!set || !rows || !build_ip_set(&b, rules, n)) {
        ia_ip_set_free(set);
        return ia_nomem(err);
    }
    *out = set;
    return IA_OK;
}
