// SPDX-License-Identifier: ISC
#include "acl/private.h"
#include "common/str.h"

#include <stdio.h>
#include <stdlib.h>

struct ia_policy *ia_policy_ref(struct ia_policy *policy)
{
    ia_ref_take(&policy->refs);
    return policy;
}

void ia_policy_free(struct ia_policy *policy)
{
    if (!policy || !ia_ref_drop(&policy->refs))
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

static int role_order(const void *a, const void *b)
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
    qsort(policy->roles, n, sizeof *policy->roles, role_order);
    return true;
}

/* One build.  `levels` and `variables` belong to the rule that is being added. */
struct policy_build {
    const struct ia_policy_spec *spec;
    const struct ia_problem_callback *problems;
    struct ia_policy *policy;
    struct ia_levels levels;
    uint16_t variables[IA_TOPIC_LEVELS_MAX];
};

/* A lost DENY opens access, so a rule that cannot be compiled makes its whole role deny. */
static void refuse_rule(struct policy_build *b, struct ia_role *role, int64_t rule_id, const char *text)
{
    if (role && !role->invalid) {
        role->invalid = true;
        role->invalid_rule = rule_id;
    }
    ia_problem_report(b->problems, rule_id, text);
}

/* Check everything but the filter's levels.  NULL, or the error as a static text. */
static const char *check_rule(const struct ia_rule *rule)
{
    if (rule->actions == 0 || rule->actions & ~(unsigned)IA_ACTIONS_ALL)
        return "actions: must be one or more of PUBLISH, SUBSCRIBE and RECEIVE";
    if (rule->max_qos < 0 || rule->max_qos > 2)
        return "max_qos: must be 0, 1 or 2";
    if (!rule->topic_filter)
        return "topic filter: it is missing";
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

enum intern { INTERN_DONE, INTERN_FULL, INTERN_NOMEM };

/* The index of the variable in the policy's table; a new variable is added. */
static enum intern intern_variable(struct ia_policy *policy, const struct ia_level *level, uint16_t *index)
{
    for (size_t i = 0; i < policy->n_variables; i++)
        if (strncmp(policy->variables[i], level->text, level->len) == 0 && policy->variables[i][level->len] == '\0') {
            *index = (uint16_t)i;
            return INTERN_DONE;
        }
    if (policy->n_variables == IA_POLICY_VARIABLES_MAX)
        return INTERN_FULL;
    char *name = malloc(level->len + 1);
    if (!name)
        return INTERN_NOMEM;
    memcpy(name, level->text, level->len);
    name[level->len] = '\0';
    *index = (uint16_t)policy->n_variables;
    policy->variables[policy->n_variables++] = name;
    return INTERN_DONE;
}

static enum intern intern_variables(struct policy_build *b)
{
    for (size_t i = 0; i < b->levels.n; i++) {
        if (b->levels.at[i].kind != IA_LEVEL_VARIABLE)
            continue;
        enum intern result = intern_variable(b->policy, &b->levels.at[i], &b->variables[i]);
        if (result != INTERN_DONE)
            return result;
    }
    return INTERN_DONE;
}

/* False when out of memory.  An invalid rule is reported and makes its role deny. */
static bool add_rule(struct policy_build *b, const struct ia_rule *rule)
{
    struct ia_role *role = rule->role ? find_role(b->policy, rule->role) : NULL;
    const char *error = role ? check_rule(rule) : "role: does not exist";
    if (error) {
        refuse_rule(b, role, rule->rule_id, error);
        return true;
    }
    role->last_rule = rule->rule_id;
    error = ia_filter_parse(&b->levels, rule->topic_filter);
    if (error) {
        char text[128];
        (void)snprintf(text, sizeof text, "topic filter: %s", error);
        refuse_rule(b, role, rule->rule_id, text);
        return true;
    }
    enum intern result = intern_variables(b);
    if (result == INTERN_FULL)
        refuse_rule(b, role, rule->rule_id, "topic filter: more than 256 different variables in all rules");
    if (result != INTERN_DONE)
        return result == INTERN_FULL;
    return ia_trie_add(&b->policy->trie, role->root, &b->levels, b->variables, rule->rule_id, rule_classes(rule));
}

static int rule_order(const void *a, const void *b)
{
    const struct ia_rule *left = *(const struct ia_rule *const *)a;
    const struct ia_rule *right = *(const struct ia_rule *const *)b;
    return (left->rule_id > right->rule_id) - (left->rule_id < right->rule_id);
}

static bool add_rules(struct policy_build *b)
{
    size_t n = b->spec->n_rules;
    ia_autofree const struct ia_rule **order = malloc((n + 1) * sizeof *order);
    if (!order)
        return false;
    for (size_t i = 0; i < n; i++)
        order[i] = &b->spec->rules[i];
    qsort(order, n, sizeof *order, rule_order);
    for (size_t i = 0; i < n; i++)
        if (!add_rule(b, order[i]))
            return false;
    return true;
}

/* A role that could make one check visit too many nodes is refused here, so that no check has to stop half-way. */
static bool bound_visits(struct policy_build *b)
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
                        "topic filter: too many filters of this role with wildcards or variables overlap");
    return true;
}

static bool build_policy(struct policy_build *b)
{
    return ia_trie_init(&b->policy->trie) && add_roles(b->policy, b->spec->roles, b->spec->n_roles) && add_rules(b) &&
           bound_visits(b) && ia_trie_pack(&b->policy->trie);
}

enum ia_rc ia_policy_build(const struct ia_policy_spec *spec, const struct ia_problem_callback *problems,
                           struct ia_policy **out, struct ia_err *err)
{
    struct ia_policy *policy = calloc(1, sizeof *policy);
    if (!policy)
        return ia_nomem(err);
    ia_ref_init(&policy->refs);
    struct policy_build b = {.spec = spec, .problems = problems, .policy = policy};
    if (!build_policy(&b)) {
        ia_policy_free(policy);
        return ia_nomem(err);
    }
    *out = policy;
    return IA_OK;
}
