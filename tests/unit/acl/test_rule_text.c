// SPDX-License-Identifier: ISC
#include "acl/rule_text.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *line;
    bool allow;
    unsigned actions;
    const char *filter;
    int max_qos;
    bool allow_retain;
} good[] = {
    {"ALLOW PUBLISH a/b", true, IA_PUBLISH, "a/b", 2, true},
    {"deny subscribe,receive #\n", false, IA_SUBSCRIBE | IA_RECEIVE, "#", 2, true},
    {"  ALLOW\tPUBLISH,PUBLISH \t a/${device_id}/#  \r\n", true, IA_PUBLISH, "a/${device_id}/#", 2, true},
    {"ALLOW PUBLISH a max_qos=1", true, IA_PUBLISH, "a", 1, true},
    {"ALLOW PUBLISH a retain=no max_qos=0", true, IA_PUBLISH, "a", 0, false},
    {"ALLOW PUBLISH a retain=yes max_qos=2 ", true, IA_PUBLISH, "a", 2, true},
    {"ALLOW PUBLISH my house/living room", true, IA_PUBLISH, "my house/living room", 2, true},
    {"ALLOW PUBLISH a max_qos=1/b", true, IA_PUBLISH, NULL, 0, false},
};

START_TEST(rule_line_is_read_as_listed)
{
    char line[128];
    struct ia_rule rule = {.rule_id = 7, .role = "r"};
    struct ia_err err = {0};
    (void)snprintf(line, sizeof line, "%s", good[_i].line);
    enum ia_rc rc = ia_rule_parse(line, &rule, &err);
    ck_assert_msg((rc == IA_OK) == (good[_i].filter != NULL), "%s: %s", good[_i].line, err.msg);
    if (rc != IA_OK)
        return;
    ck_assert_msg(rule.allow == good[_i].allow && rule.actions == good[_i].actions, "%s", good[_i].line);
    ck_assert_str_eq(rule.topic_filter, good[_i].filter);
    ck_assert_msg(rule.max_qos == good[_i].max_qos && rule.allow_retain == good[_i].allow_retain, "%s", good[_i].line);
    ck_assert(rule.rule_id == 7 && strcmp(rule.role, "r") == 0);
}
END_TEST

static const struct {
    const char *line;
    const char *message; /* part of the error */
} invalid[] = {
    {"", "neither ALLOW nor DENY"},
    {"GRANT PUBLISH a", "'GRANT' is neither"},
    {"ALLOW", "no action"},
    {"ALLOW , a", "no action"},
    {"ALLOW PUBLISH", "no topic filter"},
    {"ALLOW PUBLISH   ", "no topic filter"},
    {"ALLOW PUBLISH max_qos=1", "no topic filter"},
    {"ALLOW PUBLISH,WRITE a", "'WRITE' is not an action"},
    {"ALLOW PUBLISH a max_qos=3", "'max_qos=3' is not valid"},
    {"ALLOW PUBLISH a retain=maybe", "'retain=maybe' is not valid"},
};

START_TEST(invalid_rule_line_is_refused_with_its_reason)
{
    char line[128];
    struct ia_rule rule = {0};
    struct ia_err err = {0};
    (void)snprintf(line, sizeof line, "%s", invalid[_i].line);
    ck_assert_msg(ia_rule_parse(line, &rule, &err) == IA_FORMAT, "%s", invalid[_i].line);
    ck_assert_msg(strstr(err.msg, invalid[_i].message) != NULL, "%s: %s", invalid[_i].line, err.msg);
    ck_assert(rule.topic_filter == NULL);
}
END_TEST

START_TEST(action_has_a_name_in_either_case_and_no_other_text_is_one)
{
    ck_assert_str_eq(ia_action_name(IA_PUBLISH), "publish");
    ck_assert_str_eq(ia_action_name(IA_SUBSCRIBE), "subscribe");
    ck_assert_str_eq(ia_action_name(IA_RECEIVE), "receive");
    ck_assert_str_eq(ia_action_name((enum ia_action)3), "unknown");
    ck_assert_uint_eq(ia_action_from_name("publish"), IA_PUBLISH);
    ck_assert_uint_eq(ia_action_from_name("SUBSCRIBE"), IA_SUBSCRIBE);
    ck_assert_uint_eq(ia_action_from_name("Receive"), IA_RECEIVE);
    ck_assert_uint_eq(ia_action_from_name(""), 0);
    ck_assert_uint_eq(ia_action_from_name("publish "), 0);
    ck_assert_uint_eq(ia_action_from_name("unknown"), 0);
    ck_assert_uint_eq(IA_ACTIONS_ALL, IA_PUBLISH | IA_SUBSCRIBE | IA_RECEIVE);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("rule_text");
    TCase *c = tcase_create("rule_text");
    tcase_add_loop_test(c, rule_line_is_read_as_listed, 0, (int)(sizeof good / sizeof good[0]));
    tcase_add_loop_test(c, invalid_rule_line_is_refused_with_its_reason, 0, (int)(sizeof invalid / sizeof invalid[0]));
    tcase_add_test(c, action_has_a_name_in_either_case_and_no_other_text_is_one);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
