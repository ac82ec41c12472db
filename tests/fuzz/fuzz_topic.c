/* Rules and a topic, both hostile: lines of text, the first is the topic, the others are rules as iot-auth-check reads
 * them.  Whatever they say, building and deciding must end, and the decisions must agree with one another:
 * - a topic without wildcards gets the same answer for SUBSCRIBE as for RECEIVE under rules that are about both,
 * - a valid filter, as the only ALLOW, covers itself,
 * - one more DENY never opens anything. */
#include "acl/policy.h"
#include "acl/rule_text.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RULES_MAX 64
#define ALL       (IA_PUBLISH | IA_SUBSCRIBE | IA_RECEIVE)

static const char *const role_name = "r";

static void must(bool ok)
{
    if (!ok)
        abort();
}

static enum ia_verdict decide(const struct ia_rule *rules, size_t n, enum ia_action action, const char *topic)
{
    struct ia_policy *policy = NULL;
    must(ia_policy_build(&role_name, 1, rules, n, NULL, NULL, &policy, NULL) == IA_OK);
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
    must(verdict != IA_ALLOW || (rule > 0 && rules[rule - 1].allow));
    must(rule >= 0 && rule <= (int64_t)n);
    ia_policy_free(policy);
    return verdict;
}

static void check_topic(struct ia_rule *rules, size_t n, const char *topic)
{
    (void)decide(rules, n, IA_PUBLISH, topic);
    for (size_t i = 0; i < n; i++)
        rules[i].actions = ALL;
    enum ia_verdict subscribe = decide(rules, n, IA_SUBSCRIBE, topic);
    if (!strpbrk(topic, "+#") && strncmp(topic, "$share", 6) != 0)
        must(subscribe == decide(rules, n, IA_RECEIVE, topic));
    if (n > 0 && !rules[n - 1].allow)
        must(decide(rules, n - 1, IA_SUBSCRIBE, topic) >= subscribe);
}

static void check_own_filter(struct ia_rule rule)
{
    if (!rule.allow || strstr(rule.topic_filter, "${") || strncmp(rule.topic_filter, "$share", 6) == 0)
        return;
    rule.rule_id = 1;
    rule.actions = ALL;
    enum ia_verdict verdict = decide(&rule, 1, IA_SUBSCRIBE, rule.topic_filter);
    must(verdict == IA_ALLOW || decide(&rule, 1, IA_PUBLISH, "x") == IA_DENY); /* it is valid, or its role is closed */
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
            check_own_filter(rules[n++]);
    }
    check_topic(rules, n, topic);
    free(text);
    return 0;
}
