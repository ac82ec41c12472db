// SPDX-License-Identifier: ISC
/* The split topic that is kept from check to check: a decision is always about the topic of its own check. */
#include "acl/policy.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct ia_policy *policy;
static struct ia_topic_split *split;

static void set_up(void)
{
    static const char *const roles[] = {"r"};
    static const struct ia_rule rules[] = {
        {.rule_id = 1, .role = "r", .allow = true, .actions = IA_PUBLISH | IA_RECEIVE, .topic_filter = "a/+"},
        {.rule_id = 2, .role = "r", .allow = true, .actions = IA_SUBSCRIBE, .topic_filter = "s/#"},
        {.rule_id = 3, .role = "r", .allow = true, .actions = IA_PUBLISH | IA_RECEIVE, .topic_filter = "long/#"},
    };
    const struct ia_policy_spec spec = {
        .roles = roles, .n_roles = 1, .rules = rules, .n_rules = sizeof rules / sizeof rules[0]};
    ck_assert(ia_policy_build(&spec, NULL, &policy, NULL) == IA_OK);
    split = ia_topic_split_new();
    ck_assert_ptr_nonnull(split);
}

static void tear_down(void)
{
    ia_topic_split_free(split);
    ia_policy_free(policy);
}

static enum ia_verdict ask(enum ia_action action, const char *topic)
{
    const struct ia_role *role = ia_policy_role(policy, "r");
    struct ia_subject who = {.roles = &role, .n_roles = 1};
    struct ia_access access = {.action = action, .topic = topic, .split = split};
    return ia_policy_check(policy, &who, &access, NULL);
}

static const struct {
    enum ia_action action;
    const char *topic;
    enum ia_verdict verdict;
} turns[] = {
    {IA_PUBLISH, "a/b", IA_ALLOW},      {IA_RECEIVE, "a/b", IA_ALLOW},      {IA_PUBLISH, "a/", IA_ALLOW},
    {IA_PUBLISH, "a", IA_NO_MATCH},     {IA_PUBLISH, "a/b/c", IA_NO_MATCH}, {IA_PUBLISH, "a/+", IA_DENY},
    {IA_RECEIVE, "a/+", IA_DENY},       {IA_RECEIVE, "a/b", IA_ALLOW},      {IA_PUBLISH, "", IA_DENY},
    {IA_PUBLISH, "s/x", IA_NO_MATCH},   {IA_SUBSCRIBE, "s/x", IA_ALLOW},    {IA_RECEIVE, "s/x", IA_NO_MATCH},
    {IA_SUBSCRIBE, "a/b", IA_NO_MATCH}, {IA_PUBLISH, "a/b", IA_ALLOW},      {IA_PUBLISH, "a/\xff", IA_DENY},
    {IA_PUBLISH, NULL, IA_DENY},        {IA_PUBLISH, "a/b", IA_ALLOW},
};
#define TURNS (sizeof turns / sizeof turns[0])

/* Every topic after every other: the previous topic must not change the decision. */
START_TEST(previous_topic_does_not_change_the_decision)
{
    for (size_t i = 0; i < TURNS; i++)
        for (size_t k = 0; k < TURNS; k++) {
            (void)ask(turns[k].action, turns[k].topic);
            ck_assert_msg(ask(turns[i].action, turns[i].topic) == turns[i].verdict, "%s after %s", turns[i].topic,
                          turns[k].topic);
        }
}
END_TEST

/* Mosquitto frees a topic, and the next topic may have the same address. */
START_TEST(topic_is_recognised_by_its_text_not_its_address)
{
    char topic[] = "a/b";
    ck_assert(ask(IA_PUBLISH, topic) == IA_ALLOW);
    topic[0] = 'x';
    ck_assert(ask(IA_PUBLISH, topic) == IA_NO_MATCH);
    ck_assert(ask(IA_RECEIVE, "a/b") == IA_ALLOW);
}
END_TEST

/* Lengths around the limit up to which a topic is kept. */
START_TEST(long_topic_is_split_each_time)
{
    char topic[400];
    for (size_t len = 250; len < 260; len++) {
        memset(topic, 'x', len);
        memcpy(topic, "long/", 5);
        topic[len] = '\0';
        ck_assert(ask(IA_PUBLISH, topic) == IA_ALLOW && ask(IA_RECEIVE, topic) == IA_ALLOW);
        topic[len - 1] = '#';
        ck_assert(ask(IA_PUBLISH, topic) == IA_DENY && ask(IA_RECEIVE, topic) == IA_DENY);
        topic[0] = 'L';
        topic[len - 1] = 'x';
        ck_assert(ask(IA_PUBLISH, topic) == IA_NO_MATCH);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("split");
    TCase *c = tcase_create("split");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, previous_topic_does_not_change_the_decision);
    tcase_add_test(c, topic_is_recognised_by_its_text_not_its_address);
    tcase_add_test(c, long_topic_is_split_each_time);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
