// SPDX-License-Identifier: ISC
/* Hostile rules and a hostile topic: lines of text, the first is the topic, the others are rules as iot-auth-check
 * reads them.  For any input, building and deciding must end, and the decisions must be consistent: - a topic without
 * wildcards gets the same decision for SUBSCRIBE and for RECEIVE under rules about both, - a valid filter, as the only
 * ALLOW, covers itself, and matches the topic exactly when a slow and simple matcher does, - an additional DENY never
 * allows anything. */
#include "acl/policy.h"
#include "acl/rule_text.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RULES_MAX 64

static const char *const role_name = "r";

static void must(bool ok)
{
    if (!ok)
        abort();
}

static enum ia_verdict decide(const struct ia_rule *rules, size_t n, enum ia_action action, const char *topic)
{
    struct ia_policy *policy = NULL;
    const struct ia_policy_spec spec = {.roles = &role_name, .n_roles = 1, .rules = rules, .n_rules = n};
    must(ia_policy_build(&spec, NULL, &policy, NULL) == IA_OK);
    const char *const *names;
    const char *values[IA_POLICY_VARIABLES_MAX];
    static const char *const some[] = {"a", NULL, "+", "b/c", "$x"};
    size_t variables = ia_policy_variables(policy, &names);
    for (size_t i = 0; i < variables; i++)
        values[i] = some[strlen(names[i]) % 5];
    const struct ia_role *role = ia_policy_role(policy, role_name);
    struct ia_subject who = {.roles = &role, .n_roles = 1, .values = values};
    struct ia_access access = {.action = action, .topic = topic, .qos = 1, .retain = topic[0] & 1};
    int64_t rule = -1;
    enum ia_verdict verdict = ia_policy_check(policy, &who, &access, &rule);
    must(ia_policy_check(policy, &who, &access, NULL) == verdict);
    must(verdict != IA_ALLOW || (rule > 0 && rules[rule - 1].allow));
    must(rule >= 0 && rule <= (int64_t)n);
    ia_policy_free(policy);
    return verdict;
}

static void check_topic(struct ia_rule *rules, size_t n, const char *topic)
{
    (void)decide(rules, n, IA_PUBLISH, topic);
    for (size_t i = 0; i < n; i++)
        rules[i].actions = IA_ACTIONS_ALL;
    enum ia_verdict subscribe = decide(rules, n, IA_SUBSCRIBE, topic);
    if (!strpbrk(topic, "+#") && strncmp(topic, "$share", 6) != 0)
        must(subscribe == decide(rules, n, IA_RECEIVE, topic));
    if (n > 0 && !rules[n - 1].allow)
        must(decide(rules, n - 1, IA_SUBSCRIBE, topic) >= subscribe);
}

/* MQTT 5 section 4.7, level by level. */
static bool matches(const char *filter, const char *topic, bool first)
{
    if (strcmp(filter, "#") == 0)
        return !(first && topic[0] == '$');
    size_t len = strcspn(filter, "/"), topic_len = strcspn(topic, "/");
    bool plus = len == 1 && filter[0] == '+' && !(first && topic[0] == '$');
    if (!plus && (len != topic_len || memcmp(filter, topic, len) != 0))
        return false;
    if (topic[topic_len] == '\0')
        return filter[len] == '\0' || strcmp(filter + len, "/#") == 0;
    return filter[len] == '/' && matches(filter + len + 1, topic + topic_len + 1, false);
}

static void check_own_filter(struct ia_rule rule, const char *topic)
{
    if (!rule.allow || strstr(rule.topic_filter, "${") || strncmp(rule.topic_filter, "$share", 6) == 0)
        return;
    rule.rule_id = 1;
    rule.actions = IA_ACTIONS_ALL;
    if (decide(&rule, 1, IA_PUBLISH, "x") == IA_DENY)
        return; /* an invalid filter: the role denies everything */
    must(decide(&rule, 1, IA_SUBSCRIBE, rule.topic_filter) == IA_ALLOW);
    enum ia_verdict verdict = decide(&rule, 1, IA_RECEIVE, topic);
    must(verdict == IA_DENY || (verdict == IA_ALLOW) == matches(rule.topic_filter, topic, true));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    must(text != NULL);
    if (size)
        memcpy(text, data, size);
    text[size] = '\0';
    struct ia_rule rules[RULES_MAX];
    size_t n = 0;
    char *rest = text;
    const char *topic = strsep(&rest, "\n");
    for (char *line; n < RULES_MAX && (line = strsep(&rest, "\n")) != NULL;) {
        rules[n] = (struct ia_rule){.rule_id = (int64_t)n + 1, .role = role_name};
        if (ia_rule_parse(line, &rules[n], NULL) == IA_OK)
            check_own_filter(rules[n++], topic);
    }
    check_topic(rules, n, topic);
    free(text);
    return 0;
}
