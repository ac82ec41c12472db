// SPDX-License-Identifier: ISC
/* Topic filters of rules that are valid MQTT but could never match, or not what was meant.  They are refused: as a DENY
 * they would leave open what the administrator believes to be closed. */
#include "acl/levels.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *filter;
    const char *error; /* its beginning */
} refused[] = {
    /* placeholders of Mosquitto's acl_file, EMQX and VerneMQ */
    {"devices/%u/#", "it contains %u, %c or %m"},
    {"devices/%c", "it contains %u, %c or %m"},
    {"%m/%u/%c/#", "it contains %u, %c or %m"},
    {"a/dev-%u", "it contains %u, %c or %m"},
    {"a/%c-x/b", "it contains %u, %c or %m"},
    {"a/%u%c", "it contains %u, %c or %m"},
    /* placeholders in braces without '$' */
    {"{app_id}", "it contains {name}"},
    {"a/{device_id}/b", "it contains {name}"},
    {"a/x-{device_id}", "it contains {name}"},
    {"a/{{client_id}}", "it contains {name}"},
    {"a/#{tenant}", "'+' and '#' must be whole levels"},
    {"a/{claim.sub}", "it contains {name}"},
    {"a/{username}/b", "it contains {name}"},
    {"a/{clientId}", "it contains {name}"},
    {"a/%{device_id}", "it contains {name}"},
    /* variables without braces, or in other brackets */
    {"a/$device_id/b", "it contains a variable that is not written ${name}"},
    {"$tenant/#", "it contains a variable that is not written ${name}"},
    {"a/$(device_id)", "it contains a variable that is not written ${name}"},
    {"a/<client_id>/#", "it contains a variable that is not written ${name}"},
    {"a/%app_id%", "it contains a variable that is not written ${name}"},
    {"a/:device_id", "it contains a variable that is not written ${name}"},
    {"a/[issuer]", "it contains a variable that is not written ${name}"},
    {"a/$claim.sub", "it contains a variable that is not written ${name}"},
    /* prefixes that other brokers give a meaning, or that a rule never sees */
    {"$queue/jobs/#", "it begins with $queue, which Mosquitto does not have"},
    {"$queue", "it begins with $queue"},
    {"$exclusive/a", "it begins with $exclusive"},
    {"$delayed/10/a", "it begins with $delayed"},
    {"$oshare/g/a", "it begins with $oshare"},
    {"$local/a", "it begins with $local"},
    {"$share/g/a", "it begins with $share"},
    {"$share", "it begins with $share"},
    /* characters that Mosquitto refuses in topics */
    {"a\nb", "it contains a control character"},
    {"a/\t", "it contains a control character"},
    {"a\x7F", "it contains a control character"},
    {"a/\xC2\x85", "it contains a control character"},
    {"a/\xEF\xBF\xBF", "it contains a Unicode non-character"},
    {"a/\xEF\xB7\x90", "it contains a Unicode non-character"},
    {"\xF0\x9F\xBF\xBE/b", "it contains a Unicode non-character"},
    /* the space of a copied line */
    {" a/b", "it begins or ends with a space"},
    {"a/b ", "it begins or ends with a space"},
    {"# ", "'+' and '#' must be whole levels"},
};

START_TEST(filter_that_cannot_match_what_was_meant_is_refused)
{
    struct ia_levels levels;
    const char *error = ia_filter_parse(&levels, refused[_i].filter);
    ck_assert_msg(error != NULL, "'%s' is accepted", refused[_i].filter);
    ck_assert_msg(strncmp(error, refused[_i].error, strlen(refused[_i].error)) == 0, "'%s': %s", refused[_i].filter,
                  error);
}
END_TEST

/* Ordinary text that looks a little like the above. */
static const char *const accepted[] = {
    "50%capacity",
    "a/100%/b",
    "a/%c3%a9",
    "a/%user",
    "%",
    "a{b}",
    "{",
    "a/{}/b",
    "a/{6F9619FF-8B86-D011-B42D-00CF4FC964FF}",
    "a/{1}",
    "device_id/ca/tenant",
    "a/$x/b",
    "a$b",
    "$SYS/broker/#",
    "$plant/x",
    "$share2/x",
    "x/$share/y",
    "x/$queue/y",
    "$queues/a",
    "$CONTROL/dynamic-security/v1",
    "a b/c d",
    "a/ /b",
    "/a/b",
    "a//b",
    "(a)/<b>/[c]/:d",
    "a/\xEF\xBF\xBD", /* U+FFFD */
    "b\xC3\xA2timent/\xE7\x8A\xB6",
    "${device_id}/#",
    "a/${claim.%u}", /* the claim's name may contain it */
    "a/${attr.{x}",  /* an attribute named '{x' */
};

START_TEST(filter_of_ordinary_text_is_accepted)
{
    struct ia_levels levels;
    const char *error = ia_filter_parse(&levels, accepted[_i]);
    ck_assert_msg(error == NULL, "'%s': %s", accepted[_i], error);
}
END_TEST

/* The bounds are those of topics: what a client may publish, a rule may name. */
START_TEST(filter_of_201_levels_is_accepted_and_of_202_refused)
{
    char text[2 * 202 + 1];
    struct ia_levels levels;
    for (size_t n = 201; n <= 202; n++) {
        for (size_t i = 0; i < n; i++)
            memcpy(text + 2 * i, "a/", 2);
        text[2 * n - 1] = '\0';
        const char *error = ia_filter_parse(&levels, text);
        ck_assert_msg((error == NULL) == (n == 201), "%zu levels: %s", n, error ? error : "accepted");
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("filter");
    TCase *c = tcase_create("filter");
    tcase_add_loop_test(c, filter_that_cannot_match_what_was_meant_is_refused, 0,
                        (int)(sizeof refused / sizeof refused[0]));
    tcase_add_loop_test(c, filter_of_ordinary_text_is_accepted, 0, (int)(sizeof accepted / sizeof accepted[0]));
    tcase_add_test(c, filter_of_201_levels_is_accepted_and_of_202_refused);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
