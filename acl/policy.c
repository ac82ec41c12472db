// SPDX-License-Identifier: ISC
#include "acl/policy_impl.h"

#include "common/str.h"

#include <stdio.h>
#include <stdlib.h>

struct ia_policy *ia_policy_ref(struct ia_policy *policy)
{
    atomic_fetch_add_explicit(&policy->refs, 1, memory_order_relaxed);
    return policy;
}

void ia_policy_free(struct ia_policy *policy)
{
    if (!policy || atomic_fetch_sub_explicit(&policy->refs, 1, memory_order_acq_rel) != 1)
        return;
    ia_trie_clear(&policy->trie);
    for (size_t i = 0; i < policy->n_variables; i++)
        free(policy->variables[i]);
    free(policy->roles);
    free(policy->names);
    free(policy);
}

static struct ia_role *find_role(const struct ia_policy *policy, const char *name)
{
    size_t low = 0;
    size_t high = policy->n_roles;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, policy->roles[middle].name);
        if (order == 0)
            return &policy->roles[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const struct ia_role *ia_policy_role(const struct ia_policy *policy, const char *name)
{
    return name ? find_role(policy, name) : NULL;
}

const char *ia_policy_role_name(const struct ia_policy *policy, size_t i)
{
    return i < policy->n_roles ? policy->roles[i].name : NULL;
}

size_t ia_policy_variables(const struct ia_policy *policy, const char *const **names)
{
    *names = (const char *const *)policy->variables;
    return policy->n_variables;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct ia_role *)a)->name, ((const struct ia_role *)b)->name);
}

static bool add_roles(struct ia_policy *policy, const char *const *roles, size_t n)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += strlen(roles[i]) + 1;
    policy->names = malloc(bytes + 1);
    policy->roles = calloc(n + 1, sizeof *policy->roles);
    if (!policy->names || !policy->roles)
        return false;
    char *to = policy->names;
    for (size_t i = 0; i < n; i++) {
        policy->roles[i].name = to;
        to = stpcpy(to, roles[i]) + 1;
        policy->roles[i].root = ia_trie_root(&policy->trie);
        if (!policy->roles[i].root)
            return false;
    }
    policy->n_roles = n;
    qsort(policy->roles, n, sizeof *policy->roles, by_name);
    return true;
}

/* One build: the policy so far, and whom to tell about bad rules. */
struct build {
    struct ia_policy *policy;
    ia_policy_problem *problem;
    void *ctx;
    struct ia_levels levels;
    uint16_t variables[IA_TOPIC_LEVELS_MAX];
};

/* A lost DENY opens access, so a rule that cannot be compiled closes its whole role. */
static void refuse_rule(struct build *b, struct ia_role *role, int64_t rule_id, const char *text)
{
    if (role && !role->bad) {
        role->bad = true;
        role->bad_rule = rule_id;
    }
    if (b->problem)
        b->problem(b->ctx, rule_id, text);
}

/* NULL, or what is wrong apart from the filter. */
static const char *check_rule(const struct ia_rule *rule)
{
    if (rule->actions == 0 || rule->actions & ~(unsigned)(IA_PUBLISH | IA_SUBSCRIBE | IA_RECEIVE))
        return "actions: PUBLISH, SUBSCRIBE and RECEIVE are the ones there are, and at least one is needed";
    if (rule->max_qos < 0 || rule->max_qos > 2)
        return "max_qos: must be 0, 1 or 2";
    if (!rule->topic_filter)
        return "topic filter: it is missing";
    if (rule->actions & IA_SUBSCRIBE && ia_topic_is_shared(rule->topic_filter))
        return "topic filter: name it without '$share/<group>/', which is taken off before rules are looked at";
    return NULL;
}

static ia_classes rule_classes(const struct ia_rule *rule)
{
    if (!rule->allow)
        return IA_CLASS_DENY(rule->actions);
    ia_classes classes = 0;
    if (rule->actions & IA_SUBSCRIBE)
        classes |= IA_CLASS_ALLOW_SUBSCRIBE;
    if (rule->actions & IA_RECEIVE)
        classes |= IA_CLASS_ALLOW_RECEIVE;
    for (int qos = 0; rule->actions & IA_PUBLISH && qos <= rule->max_qos; qos++) {
        classes |= IA_CLASS_ALLOW_PUBLISH(qos, false);
        if (rule->allow_retain)
            classes |= IA_CLASS_ALLOW_PUBLISH(qos, true);
    }
    return classes;
}

enum intern { INTERNED, TABLE_FULL, NO_MEMORY };

/* The index of that variable in the policy's table, added when it is new. */
static enum intern intern_variable(struct ia_policy *policy, const struct ia_level *level, uint16_t *index)
{
    for (size_t i = 0; i < policy->n_variables; i++)
        if (strncmp(policy->variables[i], level->text, level->len) == 0 && policy->variables[i][level->len] == '\0') {
            *index = (uint16_t)i;
            return INTERNED;
        }
    if (policy->n_variables == IA_POLICY_VARIABLES_MAX)
        return TABLE_FULL;
    char *name = malloc(level->len + 1);
    if (!name)
        return NO_MEMORY;
    memcpy(name, level->text, level->len);
    name[level->len] = '\0';
    *index = (uint16_t)policy->n_variables;
    policy->variables[policy->n_variables++] = name;
    return INTERNED;
}

static enum intern intern_variables(struct build *b)
{
    for (size_t i = 0; i < b->levels.n; i++) {
        if (b->levels.at[i].kind != IA_LEVEL_VARIABLE)
            continue;
        enum intern result = intern_variable(b->policy, &b->levels.at[i], &b->variables[i]);
        if (result != INTERNED)
            return result;
    }
    return INTERNED;
}

/* False when out of memory; a rule that is wrong is told and closes its role. */
static bool add_rule(struct build *b, const struct ia_rule *rule)
{
    struct ia_role *role = rule->role ? find_role(b->policy, rule->role) : NULL;
    const char *wrong = role ? check_rule(rule) : "role: there is none of that name";
    if (wrong) {
        refuse_rule(b, role, rule->rule_id, wrong);
        return true;
    }
    role->last_rule = rule->rule_id;
    wrong = ia_filter_parse(&b->levels, rule->topic_filter);
    if (wrong) {
        char text[128];
        (void)snprintf(text, sizeof text, "topic filter: %s", wrong);
        refuse_rule(b, role, rule->rule_id, text);
        return true;
    }
    enum intern result = intern_variables(b);
    if (result == TABLE_FULL)
        refuse_rule(b, role, rule->rule_id, "topic filter: the rules use too many different variables");
    if (result != INTERNED)
        return result == TABLE_FULL;
    return ia_trie_add(&b->policy->trie, role->root, &b->levels, b->variables, rule->rule_id, rule_classes(rule));
}

static int by_rule_id(const void *a, const void *b)
{
    const struct ia_rule *left = *(const struct ia_rule *const *)a;
    const struct ia_rule *right = *(const struct ia_rule *const *)b;
    return (left->rule_id > right->rule_id) - (left->rule_id < right->rule_id);
}

static bool add_rules(struct build *b, const struct ia_rule *rules, size_t n)
{
    ia_autofree const struct ia_rule **order = malloc((n + 1) * sizeof *order);
    if (!order)
        return false;
    for (size_t i = 0; i < n; i++)
        order[i] = &rules[i];
    qsort(order, n, sizeof *order, by_rule_id);
    for (size_t i = 0; i < n; i++)
        if (!add_rule(b, order[i]))
            return false;
    return true;
}

/* A role that could make one check visit too many nodes is refused here, so that no check has to be cut short. */
static bool bound_visits(struct build *b)
{
    struct ia_policy *policy = b->policy;
    size_t n = policy->trie.n_nodes;
    ia_autofree uint32_t *visits = malloc(n * sizeof *visits);
    ia_autofree uint32_t *scratch = malloc(n * sizeof *scratch);
    if (!visits || !scratch)
        return false;
    ia_trie_count_visits(&policy->trie, visits, scratch);
    for (size_t i = 0; i < policy->n_roles; i++)
        if (visits[policy->roles[i].root] > IA_POLICY_VISITS_MAX)
            refuse_rule(b, &policy->roles[i], policy->roles[i].last_rule,
                        "topic filter: too many of this role's filters with wildcards and variables overlap");
    return true;
}

static bool build(struct build *b, const char *const *roles, size_t n_roles, const struct ia_rule *rules, size_t n)
{
    return ia_trie_init(&b->policy->trie) && add_roles(b->policy, roles, n_roles) && add_rules(b, rules, n) &&
           bound_visits(b) && ia_trie_pack(&b->policy->trie);
}

enum ia_rc ia_policy_build(const char *const *roles, size_t n_roles, const struct ia_rule *rules, size_t n,
                           ia_policy_problem *problem, void *ctx, struct ia_policy **out, struct ia_err *err)
{
    struct ia_policy *policy = calloc(1, sizeof *policy);
    if (!policy)
        return ia_fail(err, IA_NOMEM, "policy: out of memory");
    atomic_init(&policy->refs, 1);
    struct build b = {.policy = policy, .problem = problem, .ctx = ctx};
    if (!build(&b, roles, n_roles, rules, n)) {
        ia_policy_free(policy);
        return ia_fail(err, IA_NOMEM, "policy: out of memory");
    }
    *out = policy;
    return IA_OK;
}
