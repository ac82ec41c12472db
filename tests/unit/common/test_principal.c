// SPDX-License-Identifier: ISC
#include "common/principal.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

START_TEST(principal_app_is_built_and_taken_apart_again)
{
    char name[IA_PRINCIPAL_MAX + 1], issuer[IA_VALUE_MAX + 1];
    ck_assert_uint_eq(ia_principal_app("keycloak", "billing:7", name, sizeof name), strlen("app:keycloak:billing:7"));
    ck_assert_str_eq(name, "app:keycloak:billing:7");
    ck_assert(ia_principal_is_app(name));
    ck_assert(ia_principal_issuer(name, issuer));
    ck_assert_str_eq(issuer, "keycloak");
}
END_TEST

START_TEST(principal_app_of_the_longest_values_fits)
{
    char value[IA_VALUE_MAX + 1], name[IA_PRINCIPAL_MAX + 1], issuer[IA_VALUE_MAX + 1];
    memset(value, 'a', IA_VALUE_MAX);
    value[IA_VALUE_MAX] = '\0';
    ck_assert_uint_eq(ia_principal_app(value, value, NULL, 0), IA_PRINCIPAL_MAX);
    ck_assert_uint_eq(ia_principal_app(value, value, name, sizeof name), IA_PRINCIPAL_MAX);
    ck_assert(ia_principal_issuer(name, issuer));
    ck_assert_str_eq(issuer, value);
}
END_TEST

static const char *const without_issuer[] = {"",         "app",     "app:",    "app::x", "app:keycloak",
                                             "device-1", "App:a:b", "xapp:a:b"};

START_TEST(principal_without_an_issuer_gives_none)
{
    char issuer[IA_VALUE_MAX + 1] = "before";
    ck_assert_msg(!ia_principal_issuer(without_issuer[_i], issuer), "%s", without_issuer[_i]);
    ck_assert_str_eq(issuer, "before");
}
END_TEST

START_TEST(principal_issuer_too_long_to_be_one_gives_none)
{
    char name[IA_VALUE_MAX + 16], issuer[IA_VALUE_MAX + 1];
    memset(name, 'a', sizeof name);
    memcpy(name, "app:", 4);
    name[4 + IA_VALUE_MAX + 1] = ':';
    name[4 + IA_VALUE_MAX + 2] = '\0';
    ck_assert(!ia_principal_issuer(name, issuer));
}
END_TEST

START_TEST(principal_in_the_apps_name_space_is_an_apps_even_when_incomplete)
{
    ck_assert(ia_principal_is_app("app:"));
    ck_assert(ia_principal_is_app("app:x"));
    ck_assert(!ia_principal_is_app("app"));
    ck_assert(!ia_principal_is_app("APP:a:b"));
    ck_assert(!ia_principal_is_app(""));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("principal");
    TCase *c = tcase_create("principal");
    tcase_add_test(c, principal_app_is_built_and_taken_apart_again);
    tcase_add_test(c, principal_app_of_the_longest_values_fits);
    tcase_add_loop_test(c, principal_without_an_issuer_gives_none, 0,
                        (int)(sizeof without_issuer / sizeof without_issuer[0]));
    tcase_add_test(c, principal_issuer_too_long_to_be_one_gives_none);
    tcase_add_test(c, principal_in_the_apps_name_space_is_an_apps_even_when_incomplete);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
