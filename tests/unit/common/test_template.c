// SPDX-License-Identifier: ISC
#include "common/template.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static const char *lookup(void *ctx, const char *name, const char **why)
{
    (void)ctx;
    if (strcmp(name, "cn") == 0)
        return "dev-1";
    if (strcmp(name, "star") == 0)
        return "*";
    if (strcmp(name, "nested") == 0)
        return "${cn}";
    *why = "the certificate has more than one";
    return NULL;
}

static bool known(const char *name)
{
    return strcmp(name, "bogus") != 0;
}

static struct ia_template *parsed(const char *text, bool wildcard)
{
    struct ia_template *t = NULL;
    struct ia_err err = {0};
    ck_assert_msg(ia_template_parse(text, wildcard, known, &t, &err) == IA_OK, "%s: %s", text, err.msg);
    return t;
}

START_TEST(template_fills_in_literals_and_variables)
{
    struct ia_template *t = parsed("acme-${cn}.${cn}", false);
    char out[64];
    ck_assert(ia_template_fill(t, lookup, NULL, out, sizeof out, NULL) == IA_OK);
    ck_assert_str_eq(out, "acme-dev-1.dev-1");
    ck_assert(ia_template_fill(t, lookup, NULL, out, 16, NULL) == IA_FORMAT);
    ia_template_free(t);
}
END_TEST

START_TEST(template_never_expands_what_was_filled_in)
{
    struct ia_template *t = parsed("${nested}", false);
    char out[64];
    ck_assert(ia_template_fill(t, lookup, NULL, out, sizeof out, NULL) == IA_OK);
    ck_assert_str_eq(out, "${cn}");
    ia_template_free(t);
    t = parsed("a${star}", true);
    ck_assert(ia_template_match(t, lookup, NULL, "a*"));
    ck_assert(!ia_template_match(t, lookup, NULL, "anything"));
    ia_template_free(t);
}
END_TEST

START_TEST(template_with_unset_variable_says_why_and_never_matches)
{
    struct ia_template *t = parsed("x${two}*", true);
    struct ia_err err = {0};
    char out[64];
    ck_assert(ia_template_fill(t, lookup, NULL, out, sizeof out, &err) == IA_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "${two}: the certificate has more than one"));
    ck_assert(!ia_template_match(t, lookup, NULL, "x"));
    ia_template_free(t);
}
END_TEST

static const struct {
    const char *text;
    const char *id;
    bool match;
} matches[] = {
    {"${cn}", "dev-1", true},       {"${cn}", "dev-12", false},       {"${cn}", "dev-", false},
    {"${cn}/*", "dev-1/a", true},   {"${cn}/*", "dev-1/", true},      {"${cn}/*", "dev-1", false},
    {"*", "anything at all", true}, {"app:${cn}", "app:dev-1", true},
};

START_TEST(template_matches_as_listed)
{
    struct ia_template *t = parsed(matches[_i].text, true);
    ck_assert_msg(ia_template_match(t, lookup, NULL, matches[_i].id) == matches[_i].match, "%s against %s",
                  matches[_i].text, matches[_i].id);
    ia_template_free(t);
}
END_TEST

static const char *const bad[] = {"",         "${",   "${}", "${cn", "a*b", "**",   "$cn",      "a+b",  "a#",
                                  "${bogus}", "a\nb", "}",   "\xFF", "%u",  "x-%c", "%c-${cn}", "{cn}", "${cn}%m"};

START_TEST(template_refuses_bad_text)
{
    struct ia_template *t = NULL;
    ck_assert_msg(ia_template_parse(bad[_i], true, known, &t, NULL) == IA_FORMAT, "%s", bad[_i]);
    ck_assert_ptr_null(t);
}
END_TEST

START_TEST(template_without_wildcard_refuses_star_and_slash)
{
    struct ia_template *t = NULL;
    ck_assert(ia_template_parse("a*", false, known, &t, NULL) == IA_FORMAT);
    ck_assert(ia_template_parse("a/b", false, known, &t, NULL) == IA_FORMAT);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("template");
    TCase *c = tcase_create("template");
    tcase_add_test(c, template_fills_in_literals_and_variables);
    tcase_add_test(c, template_never_expands_what_was_filled_in);
    tcase_add_test(c, template_with_unset_variable_says_why_and_never_matches);
    tcase_add_loop_test(c, template_matches_as_listed, 0, (int)(sizeof matches / sizeof matches[0]));
    tcase_add_loop_test(c, template_refuses_bad_text, 0, (int)(sizeof bad / sizeof bad[0]));
    tcase_add_test(c, template_without_wildcard_refuses_star_and_slash);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
