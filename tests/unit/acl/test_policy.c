// SPDX-License-Identifier: ISC
/* What the text tables (*.cases) cannot express: invalid rules and what they close, bounds, roles, references. */
#include "acl/policy.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALL IA_ACTIONS_ALL

/* The last problem that was reported, and the number of problems. */
struct problems {
    int times;
    int64_t rule_id;
    char text[200];
};

static void note_problem(void *ctx, int64_t rule_id, const char *text)
{
    struct problems *problems = ctx;
    problems->times++;
    problems->rule_id = rule_id;
    (void)snprintf(problems->text, sizeof problems->text, "%s", text);
}

static struct ia_rule allow(int64_t id, const char *role, const char *filter)
{
    return (struct ia_rule){.rule_id = id,
                            .role = role,
                            .allow = true,
                            .actions = ALL,
                            .topic_filter = filter,
                            .max_qos = 2,
                            .allow_retain = true};
}

static struct ia_policy *built(const char *const *roles, size_t n_roles, const struct ia_rule *rules, size_t n,
                               struct problems *problems)
{
    struct ia_policy *policy = NULL;
    const struct ia_policy_spec spec = {.roles = roles, .n_roles = n_roles, .rules = rules, .n_rules = n};
    const struct ia_problem_callback callback = {note_problem, problems};
    ck_assert(ia_policy_build(&spec, problems ? &callback : NULL, &policy, NULL) == IA_OK);
    return policy;
}

static enum ia_verdict check_as(const struct ia_policy *policy, const char *role, enum ia_action action,
                                const char *topic, int64_t *rule)
{
    const struct ia_role *roles[] = {ia_policy_role(policy, role)};
    struct ia_subject who = {.roles = roles, .n_roles = 1};
    struct ia_access access = {.action = action, .topic = topic};
    return ia_policy_check(policy, &who, &access, rule);
}

/* --- invalid rules --- */

static const struct {
    const char *label;
    struct ia_rule rule;
    const char *problem; /* its beginning */
} invalid[] = {
    {"empty filter", {.actions = ALL, .topic_filter = ""}, "topic filter: it is empty"},
    {"no filter", {.actions = ALL}, "topic filter: it is missing"},
    {"# inside", {.actions = ALL, .topic_filter = "a/#/b"}, "topic filter: '#' must be the last"},
    {"# with text", {.actions = ALL, .topic_filter = "a#"}, "topic filter: '+' and '#' must be whole levels"},
    {"+ with text", {.actions = ALL, .topic_filter = "a/+b/c"}, "topic filter: '+' and '#' must be whole levels"},
    {"not UTF-8", {.actions = ALL, .topic_filter = "a/\xC3\x28"}, "topic filter: it is not valid UTF-8"},
    {"unknown variable",
     {.actions = ALL, .topic_filter = "a/${devise_id}"},
     "topic filter: it contains a ${variable} that does not exist"},
    {"variable without name",
     {.actions = ALL, .topic_filter = "${}"},
     "topic filter: it contains a ${variable} that does not exist"},
    {"claim without name",
     {.actions = ALL, .topic_filter = "${claim.}"},
     "topic filter: it contains a ${variable} that does not exist"},
    {"longer than a known one",
     {.actions = ALL, .topic_filter = "${cat}"},
     "topic filter: it contains a ${variable} that does not exist"},
    {"part of a level",
     {.actions = ALL, .topic_filter = "a/x${device_id}"},
     "topic filter: a ${variable} must be a whole level"},
    {"text after",
     {.actions = ALL, .topic_filter = "a/${device_id}x"},
     "topic filter: a ${variable} must be a whole level"},
    {"two in one level",
     {.actions = ALL, .topic_filter = "${ca}${ca}"},
     "topic filter: a ${variable} must be a whole level"},
    {"not closed",
     {.actions = ALL, .topic_filter = "a/${device_id"},
     "topic filter: a ${variable} must be a whole level"},
    {"slash inside",
     {.actions = ALL, .topic_filter = "${claim.a/b}"},
     "topic filter: a ${variable} must be a whole level"},
    {"wildcard inside",
     {.actions = ALL, .topic_filter = "${claim.+}"},
     "topic filter: '+' and '#' must be whole levels"},
    {"shared", {.actions = IA_SUBSCRIBE, .topic_filter = "$share/g/a"}, "topic filter: it begins with $share"},
    {"shared, to publish",
     {.actions = IA_PUBLISH, .topic_filter = "$share/g/a"},
     "topic filter: it begins with $share"},
    {"another broker's placeholder",
     {.actions = ALL, .topic_filter = "devices/%u/#"},
     "topic filter: it contains %u, %c or %m"},
    {"no action", {.actions = 0, .topic_filter = "a"}, "actions:"},
    {"unknown action", {.actions = 8 | IA_PUBLISH, .topic_filter = "a"}, "actions:"},
    {"QoS 3", {.actions = ALL, .topic_filter = "a", .max_qos = 3}, "max_qos:"},
    {"QoS -1", {.actions = ALL, .topic_filter = "a", .max_qos = -1}, "max_qos:"},
};

START_TEST(invalid_rule_is_reported_and_closes_its_role_only)
{
    const char *const roles[] = {"invalid", "valid"};
    struct problems problems = {0};
    struct ia_rule rules[] = {allow(5, "invalid", "#"), invalid[_i].rule, allow(9, "valid", "#")};
    rules[1].rule_id = 7;
    rules[1].role = "invalid";
    struct ia_policy *policy = built(roles, 2, rules, 3, &problems);
    ck_assert_msg(problems.times == 1 && problems.rule_id == 7, "%s", invalid[_i].label);
    ck_assert_msg(strncmp(problems.text, invalid[_i].problem, strlen(invalid[_i].problem)) == 0, "%s: '%s'",
                  invalid[_i].label, problems.text);
    int64_t rule = 0;
    ck_assert(check_as(policy, "invalid", IA_PUBLISH, "a", &rule) == IA_DENY);
    ck_assert_int_eq(rule, 7);
    ck_assert(check_as(policy, "valid", IA_PUBLISH, "a", &rule) == IA_ALLOW);
    ck_assert_int_eq(rule, 9);
    ia_policy_free(policy);
}
END_TEST

START_TEST(rule_of_an_unknown_role_is_reported_and_closes_no_role)
{
    const char *const roles[] = {"valid"};
    struct problems problems = {0};
    struct ia_rule rules[] = {allow(1, "unknown", "#"), allow(2, NULL, "#"), allow(3, "valid", "a")};
    struct ia_policy *policy = built(roles, 1, rules, 3, &problems);
    ck_assert_int_eq(problems.times, 2);
    ck_assert(ia_policy_role(policy, "unknown") == NULL);
    ck_assert(check_as(policy, "valid", IA_PUBLISH, "a", NULL) == IA_ALLOW);
    ia_policy_free(policy);
}
END_TEST

/* --- subjects --- */

START_TEST(subject_without_roles_matches_no_rule_and_a_null_role_denies)
{
    const char *const roles[] = {"r"};
    struct ia_rule rule = allow(1, "r", "#");
    struct ia_policy *policy = built(roles, 1, &rule, 1, NULL);
    const struct ia_role *list[] = {ia_policy_role(policy, "r"), NULL};
    struct ia_subject who = {.roles = list, .n_roles = 0};
    struct ia_access access = {.action = IA_PUBLISH, .topic = "a"};
    int64_t id = -1;
    ck_assert(ia_policy_check(policy, &who, &access, &id) == IA_NO_MATCH && id == 0);
    who.n_roles = 1;
    ck_assert(ia_policy_check(policy, &who, &access, &id) == IA_ALLOW && id == 1);
    who.n_roles = 2;
    ck_assert(ia_policy_check(policy, &who, &access, &id) == IA_DENY && id == 0);
    ia_policy_free(policy);
}
END_TEST

START_TEST(role_without_rules_or_named_twice_is_found)
{
    static char names[500][16];
    const char *roles[501];
    struct ia_rule rules[500];
    for (int i = 0; i < 500; i++) {
        (void)snprintf(names[i], sizeof names[i], "role-%d", i * 7919 % 1000);
        roles[i] = names[i];
        rules[i] = allow(i + 1, names[i], names[i]);
    }
    roles[500] = names[3];
    struct ia_policy *policy = built(roles, 501, rules, 499, NULL);
    for (int i = 0; i < 500; i++) {
        enum ia_verdict want = i < 499 ? IA_ALLOW : IA_NO_MATCH;
        ck_assert_msg(check_as(policy, names[i], IA_PUBLISH, names[i], NULL) == want, "%s", names[i]);
        ck_assert(check_as(policy, names[i], IA_PUBLISH, names[(i + 1) % 500], NULL) == IA_NO_MATCH);
    }
    ck_assert(ia_policy_role(policy, "role-") == NULL && ia_policy_role(policy, NULL) == NULL);
    ia_policy_free(policy);
}
END_TEST

START_TEST(variables_are_listed_once_in_order_of_their_rules)
{
    const char *const roles[] = {"a", "b"};
    struct ia_rule rules[] = {allow(3, "a", "${tenant}/${device_id}"), allow(1, "b", "${attr.x}"),
                              allow(2, "a", "x/${device_id}/${attr.x}")};
    struct ia_policy *policy = built(roles, 2, rules, 3, NULL);
    const char *const *names;
    ck_assert_uint_eq(ia_policy_variables(policy, &names), 3);
    ck_assert_str_eq(names[0], "attr.x");
    ck_assert_str_eq(names[1], "device_id");
    ck_assert_str_eq(names[2], "tenant");
    ia_policy_free(policy);
}
END_TEST

/* --- bounds --- */

static char *levels(size_t n)
{
    char *text = calloc(2, n);
    ck_assert(text != NULL && n > 0);
    for (size_t i = 0; i < n; i++)
        memcpy(text + 2 * i, i + 1 < n ? "a/" : "a", i + 1 < n ? 2 : 1);
    return text;
}

START_TEST(topic_of_too_many_levels_is_refused)
{
    const char *const roles[] = {"r"};
    struct ia_rule rule = allow(1, "r", "#");
    struct ia_policy *policy = built(roles, 1, &rule, 1, NULL);
    static const struct {
        size_t levels;
        enum ia_verdict verdict;
    } rows[] = {
        {IA_TOPIC_LEVELS_MAX, IA_ALLOW}, {IA_TOPIC_LEVELS_MAX + 1, IA_DENY}, {32768, IA_DENY}, {65000, IA_DENY}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *topic = levels(rows[i].levels);
        ck_assert(check_as(policy, "r", IA_PUBLISH, topic, NULL) == rows[i].verdict);
        ck_assert(check_as(policy, "r", IA_SUBSCRIBE, topic, NULL) == rows[i].verdict);
        free(topic);
    }
    char slashes[65001];
    memset(slashes, '/', sizeof slashes - 1);
    slashes[sizeof slashes - 1] = '\0';
    ck_assert(check_as(policy, "r", IA_PUBLISH, slashes, NULL) == IA_DENY);
    ia_policy_free(policy);
}
END_TEST

START_TEST(topic_longer_than_mqtt_allows_is_refused)
{
    const char *const roles[] = {"r"};
    struct ia_rule rule = allow(1, "r", "#");
    struct ia_policy *policy = built(roles, 1, &rule, 1, NULL);
    char *topic = calloc(1, 65537);
    memset(topic, 'x', 65536);
    ck_assert(check_as(policy, "r", IA_PUBLISH, topic, NULL) == IA_DENY);
    topic[65535] = '\0';
    ck_assert(check_as(policy, "r", IA_PUBLISH, topic, NULL) == IA_ALLOW);
    free(topic);
    ia_policy_free(policy);
}
END_TEST

static const char *const invalid_topics[] = {"", "\xC0\xAF", "a/\xFF", "a/b\xE2\x82", "\xED\xA0\x80", NULL};

START_TEST(invalid_topic_is_refused)
{
    const char *const roles[] = {"r"};
    struct ia_rule rule = allow(1, "r", "#");
    struct ia_policy *policy = built(roles, 1, &rule, 1, NULL);
    int64_t id = -1;
    for (size_t i = 0; i < sizeof invalid_topics / sizeof invalid_topics[0]; i++) {
        ck_assert(check_as(policy, "r", IA_PUBLISH, invalid_topics[i], &id) == IA_DENY && id == 0);
        ck_assert(check_as(policy, "r", IA_SUBSCRIBE, invalid_topics[i], &id) == IA_DENY && id == 0);
    }
    ck_assert(check_as(policy, "r", IA_SUBSCRIBE, "$share/g\xFF/a", NULL) == IA_DENY);
    ck_assert(check_as(policy, "r", (enum ia_action)8, "a", NULL) == IA_DENY);
    ck_assert(check_as(policy, "r", (enum ia_action)0, "a", NULL) == IA_DENY);
    ck_assert(check_as(policy, "r", (enum ia_action)(IA_PUBLISH | IA_RECEIVE), "a", NULL) == IA_DENY);
    ia_policy_free(policy);
}
END_TEST

/* All filters of `depth` levels out of 'a' and '+', the last one out of ${device_id} and '+': where that is 'a' too, a
 * topic 'a/a/…' visits 2^(depth+1) - 1 nodes, the root among them.  (A last level 'a' would be a leaf, not a node.) */
static size_t add_overlapping(struct ia_rule *rules, char (*filters)[40], int depth)
{
    size_t n = (size_t)1 << depth;
    for (size_t i = 0; i < n; i++) {
        filters[i][0] = '\0';
        for (int level = 0; level < depth; level++)
            (void)strcat(filters[i], i >> level & 1 ? "+/" : level + 1 < depth ? "a/" : "${device_id}/");
        (void)strcat(filters[i], "#");
        rules[i] = allow((int64_t)i + 1, "r", filters[i]);
    }
    return n;
}

static enum ia_verdict check_overlapping(const struct ia_policy *policy, const char *topic, int64_t *rule)
{
    const struct ia_role *roles[] = {ia_policy_role(policy, "r")};
    const char *const values[] = {"a", "c", "t"}; /* device_id, client_id, tenant, as they come in the rules */
    struct ia_subject who = {.roles = roles, .n_roles = 1, .values = values};
    struct ia_access access = {.action = IA_PUBLISH, .topic = topic};
    return ia_policy_check(policy, &who, &access, rule);
}

START_TEST(role_at_the_limit_of_visited_nodes_decides_correctly)
{
    static const struct {
        const char *topic;
        enum ia_verdict verdict;
        int64_t rule;
    } rows[] = {
        {"a/a/a/a/a/a/a/a/a", IA_ALLOW, 1},   /* all overlapping filters match: the lowest id */
        {"a/a/a/z/a/a/a/a/a", IA_ALLOW, 9},   /* '+' in the fourth level */
        {"a/a/a/a/a/a/a/a/z", IA_ALLOW, 257}, /* not the variable's value */
        {"z/z/z/z/z/z/z/z/z", IA_ALLOW, 512}, /* '+' in all */
        {"a/a/a/a/a/a/a/a", IA_NO_MATCH, 0},  /* a level short */
        {"b/z", IA_ALLOW, 513},
        {"c/a/a/a/a/a/a/a/a", IA_DENY, 514},
    };
    const char *const roles[] = {"r"};
    static struct ia_rule rules[514];
    static char filters[512][40];
    struct problems problems = {0};
    ck_assert_int_eq(IA_POLICY_VISITS_MAX, 1024);
    ck_assert_uint_eq(add_overlapping(rules, filters, 9), 512); /* 1023 nodes */
    rules[512] = allow(513, "r", "b/+/#");          /* adds no node to the maximum: no topic matches both a and b */
    rules[513] = allow(514, "r", "${client_id}/#"); /* adds one node */
    rules[513].allow = false;
    struct ia_policy *policy = built(roles, 1, rules, 514, &problems);
    ck_assert_msg(problems.times == 0, "%s", problems.text);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t rule = -1;
        ck_assert_msg(check_overlapping(policy, rows[i].topic, &rule) == rows[i].verdict, "%s", rows[i].topic);
        ck_assert_msg(rule == rows[i].rule, "%s: rule %ld", rows[i].topic, rule);
    }
    ia_policy_free(policy);
}
END_TEST

START_TEST(role_that_could_visit_too_many_nodes_is_refused)
{
    const char *const roles[] = {"r"};
    static struct ia_rule rules[514];
    static char filters[512][40];
    struct problems problems = {0};
    int64_t rule = 0;
    (void)add_overlapping(rules, filters, 9);
    rules[512] = allow(513, "r", "${client_id}/#");
    rules[513] = allow(514, "r", "${tenant}/#"); /* the 1025th node */
    struct ia_policy *policy = built(roles, 1, rules, 514, &problems);
    ck_assert(problems.times == 1 && problems.rule_id == 514);
    ck_assert_str_eq(problems.text, "topic filter: too many filters of this role with wildcards or variables overlap");
    ck_assert(check_overlapping(policy, "a/a/a/a/a/a/a/a/a", &rule) == IA_DENY && rule == 514);
    ia_policy_free(policy);
}
END_TEST

START_TEST(rule_with_a_variable_over_the_limit_is_refused)
{
    const char *const roles[] = {"r", "s"};
    static struct ia_rule rules[IA_POLICY_VARIABLES_MAX + 1];
    static char filters[IA_POLICY_VARIABLES_MAX + 1][32];
    struct problems problems = {0};
    for (int i = 0; i <= IA_POLICY_VARIABLES_MAX; i++) {
        (void)snprintf(filters[i], sizeof filters[i], "x/${attr.n%d}", i);
        rules[i] = allow(i + 1, i % 2 ? "r" : "s", filters[i]);
    }
    struct ia_policy *policy = built(roles, 2, rules, IA_POLICY_VARIABLES_MAX, &problems);
    ck_assert_int_eq(problems.times, 0);
    ia_policy_free(policy);
    policy = built(roles, 2, rules, IA_POLICY_VARIABLES_MAX + 1, &problems);
    ck_assert(problems.times == 1 && problems.rule_id == IA_POLICY_VARIABLES_MAX + 1);
    ck_assert(check_as(policy, "s", IA_PUBLISH, "x", NULL) == IA_DENY);
    ck_assert(check_as(policy, "r", IA_PUBLISH, "x", NULL) == IA_NO_MATCH);
    ia_policy_free(policy);
}
END_TEST

/* The i-th of many filters, or a topic for it (with `wild` in place of '+'), of a plant or line. */
static void name_one(char *out, size_t size, int i, int plant, const char *wild)
{
    if (i % 4 == 0)
        (void)snprintf(out, size, "plants/%d/a-level-of-more-than-24-bytes-%d", plant, i);
    else if (i % 4 == 1)
        (void)snprintf(out, size, "plants/%d/%s/%d", plant, wild, i);
    else if (i % 4 == 2)
        (void)snprintf(out, size, "lines/%d/%d/%s", plant, i, wild[0] == '+' ? "#" : wild);
    else
        (void)snprintf(out, size, "a-level-of-more-than-24-bytes-%d/x/%d/%s", plant, i, wild);
}

/* Enough rules to make every table grow, each checked separately. */
START_TEST(each_of_many_rules_decides)
{
    enum { MANY = 20000 };
    const char *const roles[] = {"r"};
    struct ia_rule *rules = calloc(MANY, sizeof *rules);
    char(*filters)[96] = calloc(MANY, sizeof *filters);
    for (int i = 0; i < MANY; i++) {
        name_one(filters[i], sizeof filters[i], i, i % 97, "+");
        rules[MANY - 1 - i] = allow(i + 1, "r", filters[i]);
    }
    struct ia_policy *policy = built(roles, 1, rules, MANY, NULL);
    for (int i = 0; i < MANY; i++) {
        char topic[96];
        int64_t id = 0;
        name_one(topic, sizeof topic, i, i % 97, "z");
        if (check_as(policy, "r", IA_RECEIVE, topic, &id) != IA_ALLOW || id != i + 1)
            ck_abort_msg("%s: rule %ld", topic, id);
        name_one(topic, sizeof topic, i, i % 97 + 1, "z");
        if (check_as(policy, "r", IA_RECEIVE, topic, &id) != IA_NO_MATCH)
            ck_abort_msg("%s: rule %ld", topic, id);
    }
    ia_policy_free(policy);
    free(filters);
    free(rules);
}
END_TEST

/* `form` with a level of `len` bytes for L, and one that differs in its last byte for M. */
static void spell(char *out, const char *form, int len)
{
    for (; *form; form++) {
        if (*form != 'L' && *form != 'M') {
            *out++ = *form;
            continue;
        }
        for (int i = 0; i < len; i++)
            *out++ = (char)('a' + i % 26);
        if (*form == 'M')
            out[-1] = '!';
    }
    *out = '\0';
}

/* A level of _i bytes, first, in the middle and last.  One whose length is a multiple of eight once hashed differently
 * before a slash than at the end, so that 'abcdefgh/#' did not match 'abcdefgh'. */
START_TEST(level_of_any_length_is_found_first_in_the_middle_and_last)
{
    static const char *const forms[][3] = {
        /* filter, a topic that matches, a topic that does not */
        {"L", "L", "M"},         {"L/#", "L", "M"},       {"L/#", "L/x", "M/x"},       {"L/+", "L/L", "M/L"},
        {"+/L", "x/L", "x/M"},   {"+/L/#", "x/L", "x/M"}, {"+/L/#", "x/L/y", "x/M/y"}, {"x/L/+", "x/L/y", "x/M/y"},
        {"L/L/#", "L/L", "L/M"}, {"x/L", "x/L", "x/M"}};
    const char *const roles[] = {"r"};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        char rule[256], hit[256], miss[256];
        spell(rule, forms[i][0], _i);
        spell(hit, forms[i][1], _i);
        spell(miss, forms[i][2], _i);
        struct ia_rule row = allow(1, "r", rule);
        struct ia_policy *policy = built(roles, 1, &row, 1, NULL);
        ck_assert_msg(check_as(policy, "r", IA_PUBLISH, hit, NULL) == IA_ALLOW, "'%s', topic '%s'", rule, hit);
        ck_assert_msg(check_as(policy, "r", IA_SUBSCRIBE, hit, NULL) == IA_ALLOW, "'%s', topic '%s'", rule, hit);
        ck_assert_msg(check_as(policy, "r", IA_PUBLISH, miss, NULL) == IA_NO_MATCH, "'%s', topic '%s'", rule, miss);
        ia_policy_free(policy);
    }
}
END_TEST

START_TEST(policy_outlives_its_rows_and_lives_until_the_last_reference)
{
    char role[] = "r";
    char filter[] = "a/${device_id}/#";
    const char *const roles[] = {role};
    struct ia_rule rule = allow(1, role, filter);
    struct ia_policy *policy = built(roles, 1, &rule, 1, NULL);
    memset(role, 'x', sizeof role - 1);
    memset(filter, 'x', sizeof filter - 1);
    ck_assert(ia_policy_ref(policy) == policy);
    ia_policy_free(policy);
    const struct ia_role *list[] = {ia_policy_role(policy, "r")};
    const char *values[] = {"d"};
    struct ia_subject who = {.roles = list, .n_roles = 1, .values = values};
    struct ia_access access = {.action = IA_PUBLISH, .topic = "a/d/x"};
    ck_assert(ia_policy_check(policy, &who, &access, NULL) == IA_ALLOW);
    ia_policy_free(policy);
    ia_policy_free(NULL);
}
END_TEST

START_TEST(empty_policy_has_no_role)
{
    struct ia_policy *policy = built(NULL, 0, NULL, 0, NULL);
    const char *const *names;
    ck_assert(ia_policy_role(policy, "") == NULL);
    ck_assert_uint_eq(ia_policy_variables(policy, &names), 0);
    ia_policy_free(policy);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("policy");
    TCase *c = tcase_create("policy");
    tcase_add_loop_test(c, invalid_rule_is_reported_and_closes_its_role_only, 0,
                        (int)(sizeof invalid / sizeof invalid[0]));
    tcase_add_test(c, rule_of_an_unknown_role_is_reported_and_closes_no_role);
    tcase_add_test(c, subject_without_roles_matches_no_rule_and_a_null_role_denies);
    tcase_add_test(c, role_without_rules_or_named_twice_is_found);
    tcase_add_test(c, variables_are_listed_once_in_order_of_their_rules);
    tcase_add_test(c, topic_of_too_many_levels_is_refused);
    tcase_add_test(c, topic_longer_than_mqtt_allows_is_refused);
    tcase_add_test(c, invalid_topic_is_refused);
    tcase_add_test(c, role_at_the_limit_of_visited_nodes_decides_correctly);
    tcase_add_test(c, role_that_could_visit_too_many_nodes_is_refused);
    tcase_add_test(c, rule_with_a_variable_over_the_limit_is_refused);
    tcase_add_test(c, each_of_many_rules_decides);
    tcase_add_loop_test(c, level_of_any_length_is_found_first_in_the_middle_and_last, 1, 70);
    tcase_add_test(c, policy_outlives_its_rows_and_lives_until_the_last_reference);
    tcase_add_test(c, empty_policy_has_no_role);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
