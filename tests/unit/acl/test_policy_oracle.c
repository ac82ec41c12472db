// SPDX-License-Identifier: ISC
/* Topic matching and containment against slow oracles, over all filters and topics of a few levels.
 *
 * An oracle that follows the text of MQTT 5 section 4.7 turns a filter into the set of all topics that it matches.  One
 * filter covers another exactly when its set contains the other's.  The topics have one level more than the filters, and
 * levels ("z", "$z") that occur in no filter, so that any two filters that differ at all have different sets. */
#include "acl/policy.h"

#include <check.h>
#include <mosquitto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILTER_LEVELS 3
#define TOPIC_LEVELS  4
#define FILTERS_MAX   900
#define TOPICS_MAX    1600
#define TEXT_MAX      64

/* In rules: device_id is set to "a", tenant is unset. */
#define SET   "${device_id}"
#define UNSET "${tenant}"

static const char *const rule_levels[] = {"", "a", "b", "$s", "+", SET, UNSET};
static const char *const request_levels[] = {"", "a", "b", "$s", "+"};
static const char *const topic_levels[] = {"", "a", "b", "$s", "z", "$z"};

struct texts {
    size_t n;
    char at[TOPICS_MAX][TEXT_MAX];
};

struct topic_set {
    uint64_t bits[TOPICS_MAX / 64];
};

static struct texts rules, requests, topics;
static struct topic_set allow_sets[FILTERS_MAX], deny_sets[FILTERS_MAX], request_sets[FILTERS_MAX];

/* --- all texts --- */

static void add_text(struct texts *to, const char *text)
{
    if (text[0] == '\0')
        return;
    ck_assert(to->n < TOPICS_MAX);
    ck_assert(strlen(text) < TEXT_MAX);
    strcpy(to->at[to->n++], text);
}

static void add_all(struct texts *to, const char *start, const char *const *levels, size_t n, int depth, bool filters)
{
    for (size_t i = 0; i < n; i++) {
        char text[TEXT_MAX];
        (void)snprintf(text, sizeof text, "%s%s", start, levels[i]);
        add_text(to, text);
        strcat(text, "/");
        if (filters) {
            char tail[TEXT_MAX + 1];
            (void)snprintf(tail, sizeof tail, "%s#", text);
            add_text(to, tail);
        }
        if (depth > 1)
            add_all(to, text, levels, n, depth - 1, filters);
    }
}

/* --- the oracle --- */

/* Does one level of a rule match one level of a topic?  `unset`: the result for a variable that is not set. */
static bool level_matches(const char *level, size_t len, const char *topic, size_t topic_len, bool first, bool unset)
{
    bool dollar = first && topic[0] == '$' && topic_len > 0;
    if (len == 1 && level[0] == '+')
        return !dollar;
    if (len == strlen(UNSET) && strncmp(level, UNSET, len) == 0)
        return unset;
    if (len == strlen(SET) && strncmp(level, SET, len) == 0)
        return topic_len == 1 && topic[0] == 'a';
    return len == topic_len && strncmp(level, topic, len) == 0;
}

static bool matches(const char *filter, const char *topic, bool first, bool unset)
{
    if (strcmp(filter, "#") == 0)
        return !(first && topic[0] == '$');
    size_t len = strcspn(filter, "/");
    size_t topic_len = strcspn(topic, "/");
    if (!level_matches(filter, len, topic, topic_len, first, unset))
        return false;
    if (topic[topic_len] == '\0')
        return filter[len] == '\0' || strcmp(filter + len, "/#") == 0;
    return filter[len] == '/' && matches(filter + len + 1, topic + topic_len + 1, false, unset);
}

static void fill_sets(struct topic_set *sets, const struct texts *filters, bool unset)
{
    for (size_t i = 0; i < filters->n; i++)
        for (size_t t = 0; t < topics.n; t++)
            if (matches(filters->at[i], topics.at[t], true, unset))
                sets[i].bits[t / 64] |= UINT64_C(1) << t % 64;
}

static bool covers(const struct topic_set *rule, const struct topic_set *request)
{
    for (size_t i = 0; i < sizeof rule->bits / sizeof rule->bits[0]; i++)
        if (request->bits[i] & ~rule->bits[i])
            return false;
    return true;
}

static bool holds(const struct topic_set *set, size_t topic)
{
    return set->bits[topic / 64] >> topic % 64 & 1;
}

static void make_all(void)
{
    add_text(&rules, "#");
    add_text(&requests, "#");
    add_all(&rules, "", rule_levels, sizeof rule_levels / sizeof rule_levels[0], FILTER_LEVELS, true);
    add_all(&requests, "", request_levels, sizeof request_levels / sizeof request_levels[0], FILTER_LEVELS, true);
    add_all(&topics, "", topic_levels, sizeof topic_levels / sizeof topic_levels[0], TOPIC_LEVELS, false);
    ck_assert(rules.n <= FILTERS_MAX && requests.n <= FILTERS_MAX);
    fill_sets(allow_sets, &rules, false);
    fill_sets(deny_sets, &rules, true);
    fill_sets(request_sets, &requests, false);
}

/* --- the policy --- (no ck_assert in the inner loops: each one is a system call) */

static const char *const role_names[] = {"one", "two"};

static struct ia_policy *built(const struct ia_rule *list, size_t n)
{
    struct ia_policy *policy = NULL;
    const struct ia_policy_spec spec = {.roles = role_names, .n_roles = 2, .rules = list, .n_rules = n};
    ck_assert(ia_policy_build(&spec, NULL, &policy, NULL) == IA_OK);
    return policy;
}

/* The same check as the broker makes it: without the deciding rule, and with the split topic of the previous check. */
static struct ia_topic_split *split;
static size_t quick_differs;

static void make_split(void)
{
    split = ia_topic_split_new();
    ck_assert_ptr_nonnull(split);
}

static void quick_checks_agreed(void)
{
    ia_topic_split_free(split);
    ck_assert_uint_eq(quick_differs, 0);
}

static enum ia_verdict check(const struct ia_policy *policy, enum ia_action action, const char *topic, int64_t *rule)
{
    const char *const *names;
    const char *values[2] = {NULL, NULL};
    size_t n = ia_policy_variables(policy, &names);
    for (size_t i = 0; i < n; i++)
        values[i] = strcmp(names[i], "device_id") == 0 ? "a" : NULL;
    const struct ia_role *roles[] = {ia_policy_role(policy, "one"), ia_policy_role(policy, "two")};
    struct ia_subject who = {.roles = roles, .n_roles = 2, .values = values};
    struct ia_access access = {.action = action, .topic = topic};
    int64_t ignored;
    enum ia_verdict verdict = ia_policy_check(policy, &who, &access, rule ? rule : &ignored);
    access.split = split;
    if (ia_policy_check(policy, &who, &access, NULL) != verdict)
        quick_differs++;
    return verdict;
}

static struct ia_rule rule_of(size_t i, bool allow)
{
    return (struct ia_rule){.rule_id = 1,
                            .role = "one",
                            .allow = allow,
                            .actions = IA_PUBLISH | IA_SUBSCRIBE | IA_RECEIVE,
                            .topic_filter = rules.at[i],
                            .max_qos = 2,
                            .allow_retain = true};
}

/* One rule against every topic and every requested filter. */
static void compare_rule(size_t i, bool allow)
{
    struct ia_rule rule = rule_of(i, allow);
    struct ia_policy *policy = built(&rule, 1);
    const struct topic_set *set = allow ? &allow_sets[i] : &deny_sets[i];
    enum ia_verdict hit = allow ? IA_ALLOW : IA_DENY;
    for (size_t t = 0; t < topics.n; t++) {
        enum ia_verdict want = holds(set, t) ? hit : IA_NO_MATCH;
        if (check(policy, IA_RECEIVE, topics.at[t], NULL) != want)
            ck_abort_msg("%s '%s', topic '%s'", allow ? "ALLOW" : "DENY", rule.topic_filter, topics.at[t]);
    }
    for (size_t r = 0; r < requests.n; r++) {
        enum ia_verdict want = covers(set, &request_sets[r]) ? hit : IA_NO_MATCH;
        if (check(policy, IA_SUBSCRIBE, requests.at[r], NULL) != want)
            ck_abort_msg("%s '%s', requested '%s'", allow ? "ALLOW" : "DENY", rule.topic_filter, requests.at[r]);
    }
    ia_policy_free(policy);
}

START_TEST(every_allow_filter_matches_and_covers_as_the_oracle)
{
    for (size_t i = 0; i < rules.n; i++)
        compare_rule(i, true);
}
END_TEST

START_TEST(every_deny_filter_matches_and_covers_as_the_oracle)
{
    for (size_t i = 0; i < rules.n; i++)
        compare_rule(i, false);
}
END_TEST

/* Mosquitto's own function is another independent oracle, for filters without variables. */
START_TEST(every_filter_matches_as_in_mosquitto)
{
    for (size_t i = 0; i < rules.n; i++) {
        if (strchr(rules.at[i], '{'))
            continue;
        struct ia_rule rule = rule_of(i, true);
        struct ia_policy *policy = built(&rule, 1);
        for (size_t t = 0; t < topics.n; t++) {
            bool match = false;
            if (mosquitto_topic_matches_sub(rules.at[i], topics.at[t], &match) != MOSQ_ERR_SUCCESS ||
                (check(policy, IA_PUBLISH, topics.at[t], NULL) == IA_ALLOW) != match)
                ck_abort_msg("'%s', topic '%s'", rules.at[i], topics.at[t]);
        }
        ia_policy_free(policy);
    }
}
END_TEST

/* --- several rules at once --- */

#define RANDOM_RULES 12

struct expected {
    enum ia_verdict verdict;
    int64_t rule;
};

/* The decision of all rules together, as policy.h states it: the lowest matching DENY, else the lowest matching
 * ALLOW. */
static struct expected decide(const struct ia_rule *list, const size_t *which, size_t n, enum ia_action action,
                              size_t at)
{
    struct expected e = {IA_NO_MATCH, 0};
    for (size_t i = 0; i < n; i++) {
        const struct topic_set *set = list[i].allow ? &allow_sets[which[i]] : &deny_sets[which[i]];
        bool hit = action == IA_SUBSCRIBE ? covers(set, &request_sets[at]) : holds(set, at);
        enum ia_verdict verdict = list[i].allow ? IA_ALLOW : IA_DENY;
        if (!hit || !(list[i].actions & action) || verdict > e.verdict + (e.verdict == IA_NO_MATCH))
            continue;
        if (verdict != e.verdict || list[i].rule_id < e.rule)
            e = (struct expected){verdict, list[i].rule_id};
    }
    return e;
}

static size_t random_rules(struct ia_rule *list, size_t *which)
{
    size_t n = 1 + (size_t)rand() % RANDOM_RULES;
    for (size_t i = 0; i < n; i++) {
        which[i] = (size_t)rand() % rules.n;
        list[i] = rule_of(which[i], rand() % 3 != 0);
        list[i].rule_id = rand() % 1000;
        list[i].role = role_names[rand() % 2];
        list[i].actions = 1U + (unsigned)rand() % 7;
    }
    return n;
}

static void compare_random(const struct ia_policy *policy, const struct ia_rule *list, const size_t *which, size_t n)
{
    static const enum ia_action actions[] = {IA_PUBLISH, IA_SUBSCRIBE, IA_RECEIVE};
    for (int i = 0; i < 40; i++) {
        enum ia_action action = actions[rand() % 3];
        const struct texts *from = action == IA_SUBSCRIBE ? &requests : &topics;
        size_t at = (size_t)rand() % from->n;
        int64_t rule = -1;
        struct expected want = decide(list, which, n, action, at);
        enum ia_verdict got = check(policy, action, from->at[at], &rule);
        if (got != want.verdict)
            ck_abort_msg("'%s': %d instead of %d", from->at[at], got, want.verdict);
        if (rule != want.rule)
            ck_abort_msg("'%s': rule %ld instead of %ld", from->at[at], rule, want.rule);
    }
}

START_TEST(random_policies_decide_as_the_oracle)
{
    srand(7);
    for (int round = 0; round < 20000; round++) {
        struct ia_rule list[RANDOM_RULES];
        size_t which[RANDOM_RULES];
        size_t n = random_rules(list, which);
        struct ia_policy *policy = built(list, n);
        compare_random(policy, list, which, n);
        ia_policy_free(policy);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("policy_oracle");
    TCase *c = tcase_create("policy_oracle");
    tcase_set_timeout(c, 120);
    tcase_add_unchecked_fixture(c, make_all, NULL);
    tcase_add_checked_fixture(c, make_split, quick_checks_agreed);
    tcase_add_test(c, every_allow_filter_matches_and_covers_as_the_oracle);
    tcase_add_test(c, every_deny_filter_matches_and_covers_as_the_oracle);
    tcase_add_test(c, every_filter_matches_as_in_mosquitto);
    tcase_add_test(c, random_policies_decide_as_the_oracle);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
