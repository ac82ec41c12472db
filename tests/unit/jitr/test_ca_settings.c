// SPDX-License-Identifier: ISC
#include "jitr/ca_settings.h"

#include "tests/unit/failing_alloc.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char problems[512]; /* "ca_id:text\n" … */

static void note(void *ctx, int64_t ca_id, const char *text)
{
    (void)ctx;
    size_t n = strlen(problems);
    (void)snprintf(problems + n, sizeof problems - n, "%lld:%s\n", (long long)ca_id, text);
}

static const struct ia_problem_callback noting = {.report = note};

static struct ia_ca_settings_set *build(const struct ia_ca_row *rows, size_t n)
{
    struct ia_ca_settings_set *set = NULL;
    problems[0] = '\0';
    ck_assert_int_eq(ia_ca_settings_set_build(rows, n, &noting, &set, NULL), IA_OK);
    return set;
}

static const char *const client_ids[] = {"${device_id}", "${tenant}/${device_id}/*"};
static const char *const roles[] = {"device", "meter"};

static struct ia_ca_row row(int64_t ca_id, const char *name)
{
    return (struct ia_ca_row){.ca_id = ca_id,
                              .name = name,
                              .status = IA_CA_ACTIVE,
                              .device_id_template = "${cert.cn}",
                              .client_id_templates = {.items = client_ids, .n = 2},
                              .roles = {.items = roles, .n = 2}};
}

START_TEST(ca_settings_holds_what_the_row_says)
{
    struct ia_ca_row rows[] = {row(7, "acme")};
    rows[0].tenant = "north";
    rows[0].replaces = 3;
    rows[0].auto_registration = true;
    struct ia_ca_settings_set *set = build(rows, 1);
    const struct ia_ca_settings *p = ia_ca_settings_find(set, 7);
    ck_assert_ptr_nonnull(p);
    ck_assert_int_eq(p->ca_id, 7);
    ck_assert_int_eq(p->replaces, 3);
    ck_assert_str_eq(p->name, "acme");
    ck_assert_str_eq(p->tenant, "north");
    ck_assert(p->active && p->auto_registration);
    ck_assert_uint_eq(p->n_client_ids, 2);
    ck_assert_uint_eq(p->n_roles, 2);
    ck_assert_str_eq(p->roles[1], "meter");
    ck_assert_str_eq(problems, "");
    ia_ca_settings_set_free(set);
}
END_TEST

/* The rows are freed once the snapshot is built. */
START_TEST(ca_settings_outlives_its_rows)
{
    char name[] = "acme", template[] = "${cert.cn}", role[] = "device";
    const char *const own_roles[] = {role};
    struct ia_ca_row rows[] = {row(1, name)};
    rows[0].device_id_template = template;
    rows[0].roles = (struct ia_texts){.items = own_roles, .n = 1};
    struct ia_ca_settings_set *set = build(rows, 1);
    memset(name, 'x', sizeof name - 1);
    memset(role, 'x', sizeof role - 1);
    memset(template, 'x', sizeof template - 1);
    memset(rows, 0, sizeof rows);
    const struct ia_ca_settings *p = ia_ca_settings_find(set, 1);
    ck_assert_str_eq(p->name, "acme");
    ck_assert_str_eq(p->roles[0], "device");
    ck_assert_ptr_null(p->tenant);
    ia_ca_settings_set_free(set);
}
END_TEST

static const struct {
    int64_t a, b;
    bool in_line;
} lines[] = {
    {1, 1, true},   {5, 5, true},   /* itself, also where it is not there */
    {2, 1, true},   {1, 2, true},   /* directly, either way */
    {3, 1, true},   {1, 3, true},   /* through 2 */
    {4, 2, false},  {2, 4, false},  /* both replace 1 */
    {1, 0, false},  {0, 1, false},  /* 'none' is no CA */
    {6, 5, true},   {5, 6, true},   /* the predecessor admits nobody */
    {10, 11, true}, {11, 10, true}, /* a circle … */
    {10, 1, false}, {1, 10, false}, /* … which ends */
    {12, 11, true}, {12, 1, false}, /* into a circle */
};

START_TEST(successors_are_as_listed)
{
    static const int64_t replaced[][2] = {{1, 0}, {2, 1}, {3, 2}, {4, 1}, {6, 5}, {10, 11}, {11, 10}, {12, 10}};
    struct ia_ca_row rows[8];
    for (size_t i = 0; i < 8; i++) {
        rows[i] = row(replaced[i][0], "acme");
        rows[i].replaces = replaced[i][1];
    }
    struct ia_ca_settings_set *set = build(rows, 8);
    ck_assert_msg(ia_ca_settings_in_line(set, lines[_i].a, lines[_i].b) == lines[_i].in_line, "%lld, %lld",
                  (long long)lines[_i].a, (long long)lines[_i].b);
    ia_ca_settings_set_free(set);
}
END_TEST

START_TEST(ca_settings_are_found_whatever_the_order_of_rows)
{
    struct ia_ca_row rows[] = {row(30, "c"), row(10, "a"), row(20, "b")};
    rows[2].status = IA_CA_REVOKED;
    struct ia_ca_settings_set *set = build(rows, 3);
    ck_assert_uint_eq(ia_ca_settings_count(set), 3);
    ck_assert_str_eq(ia_ca_settings_find(set, 10)->name, "a");
    ck_assert_str_eq(ia_ca_settings_find(set, 20)->name, "b");
    ck_assert_str_eq(ia_ca_settings_find(set, 30)->name, "c");
    ck_assert(!ia_ca_settings_find(set, 20)->active);
    ck_assert_ptr_null(ia_ca_settings_find(set, 15));
    ck_assert_ptr_null(ia_ca_settings_find(set, 0));
    ia_ca_settings_set_free(set);
}
END_TEST

/* A row whose templates do not parse admits nobody; the others are adopted. */
static const struct {
    const char *label, *device_id, *client_id, *named;
} bad[] = {
    {"unknown variable", "${cert.email}", "${device_id}", "cert.email"},
    {"a token's variable in a CA's template", "${app_id}", "${device_id}", "app_id"},
    {"unclosed variable", "${cert.cn", "${device_id}", ""},
    {"wildcard in a device id", "${cert.cn}*", "${device_id}", ""},
    {"slash in a device id", "a/${cert.cn}", "${device_id}", ""},
    {"empty device id", "", "${device_id}", ""},
    {"a certificate's variable in a client id", "${cert.cn}", "${cert.cn}", "cert.cn"},
    {"wildcard in the middle of a client id", "${cert.cn}", "*${device_id}", ""},
};

START_TEST(ca_settings_with_bad_template_is_left_out_and_reported_once)
{
    const char *const templates[] = {"${device_id}", bad[_i].client_id};
    struct ia_ca_row rows[] = {row(1, "good"), row(2, "bad"), row(3, "also good")};
    rows[1].device_id_template = bad[_i].device_id;
    rows[1].client_id_templates.items = templates;
    struct ia_ca_settings_set *set = build(rows, 3);
    ck_assert_msg(ia_ca_settings_count(set) == 2, "%s", bad[_i].label);
    ck_assert_ptr_null(ia_ca_settings_find(set, 2));
    ck_assert(ia_ca_settings_find(set, 1) && ia_ca_settings_find(set, 3));
    ck_assert_msg(strncmp(problems, "2:", 2) == 0 && strchr(problems, '\n')[1] == '\0', "%s: %s", bad[_i].label,
                  problems);
    ck_assert_msg(strstr(problems, bad[_i].named) != NULL, "%s: %s", bad[_i].label, problems);
    ia_ca_settings_set_free(set);
}
END_TEST

START_TEST(ca_settings_have_a_template_where_the_row_has_one)
{
    static const char *const texts[] = {"site", "${cert.subject.OU}", "line", "7"};
    struct ia_ca_row rows[] = {row(1, "acme"), row(2, "other")};
    rows[0].has_template = true;
    rows[0].template_attributes = (struct ia_texts){.items = texts, .n = 4};
    struct ia_ca_settings_set *set = build(rows, 2);
    ck_assert_ptr_nonnull(ia_ca_settings_find(set, 1)->provisioning);
    ck_assert_ptr_null(ia_ca_settings_find(set, 2)->provisioning);
    ck_assert_str_eq(problems, "");
    ia_ca_settings_set_free(set);
}
END_TEST

START_TEST(ca_settings_with_a_template_that_does_not_parse_admit_nobody)
{
    static const char *const texts[] = {"site", "${cert.nope}"};
    struct ia_ca_row rows[] = {row(1, "acme"), row(2, "other")};
    rows[0].has_template = rows[1].has_template = true;
    rows[0].template_attributes = (struct ia_texts){.items = texts, .n = 2};
    rows[1].template_tenant = "a/b";
    struct ia_ca_settings_set *set = build(rows, 2);
    ck_assert_uint_eq(ia_ca_settings_count(set), 0);
    ck_assert_ptr_nonnull(strstr(problems, "1:provisioning, site: template '${cert.nope}'"));
    ck_assert_ptr_nonnull(strstr(problems, "2:provisioning, tenant: template 'a/b'"));
    ia_ca_settings_set_free(set);
}
END_TEST

START_TEST(ca_settings_of_no_rows_are_an_empty_set)
{
    struct ia_ca_settings_set *set = build(NULL, 0);
    ck_assert_uint_eq(ia_ca_settings_count(set), 0);
    ck_assert_ptr_null(ia_ca_settings_find(set, 1));
    ia_ca_settings_set_free(set);
    ia_ca_settings_set_free(NULL);
}
END_TEST

START_TEST(ca_settings_live_until_the_last_reference)
{
    struct ia_ca_row rows[] = {row(1, "acme")};
    struct ia_ca_settings_set *set = build(rows, 1);
    ck_assert_ptr_eq(ia_ca_settings_set_ref(set), set);
    ia_ca_settings_set_free(set);
    ck_assert_str_eq(ia_ca_settings_find(set, 1)->name, "acme");
    ia_ca_settings_set_free(set);
}
END_TEST

/* A CA must never be left out for want of memory: the set is built whole or not at all. */
START_TEST(ca_settings_without_memory_are_not_built)
{
    struct ia_ca_row rows[] = {row(1, "acme"), row(2, "other")};
    rows[1].tenant = "north";
    struct ia_ca_settings_set *set = NULL;
    enum ia_rc rc = IA_NOMEM;
    long n = 0;
    problems[0] = '\0';
    for (; n < 200 && rc != IA_OK; n++) {
        struct ia_err err = {0};
        countdown = n;
        rc = ia_ca_settings_set_build(rows, 2, &noting, &set, &err);
        countdown = -1;
        ck_assert_msg(rc == IA_OK || (rc == IA_NOMEM && err.rc == IA_NOMEM && !set), "after %ld allocations", n);
    }
    ck_assert_int_gt(n, 10);
    ck_assert_int_lt(n, 200);
    ck_assert_str_eq(problems, "");
    ck_assert_uint_eq(ia_ca_settings_count(set), 2);
    ia_ca_settings_set_free(set);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("settings");
    TCase *c = tcase_create("settings");
    tcase_add_test(c, ca_settings_holds_what_the_row_says);
    tcase_add_test(c, ca_settings_outlives_its_rows);
    tcase_add_loop_test(c, successors_are_as_listed, 0, sizeof lines / sizeof lines[0]);
    tcase_add_test(c, ca_settings_are_found_whatever_the_order_of_rows);
    tcase_add_loop_test(c, ca_settings_with_bad_template_is_left_out_and_reported_once, 0,
                        (int)(sizeof bad / sizeof bad[0]));
    tcase_add_test(c, ca_settings_have_a_template_where_the_row_has_one);
    tcase_add_test(c, ca_settings_with_a_template_that_does_not_parse_admit_nobody);
    tcase_add_test(c, ca_settings_of_no_rows_are_an_empty_set);
    tcase_add_test(c, ca_settings_live_until_the_last_reference);
    tcase_add_test(c, ca_settings_without_memory_are_not_built);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
