// SPDX-License-Identifier: ISC
#include "worker/listen_check.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct ia_listen_check check;

static void setup(void)
{
    ia_listen_check_begin(&check);
}

START_TEST(nonces_that_come_back_are_healthy)
{
    for (int i = 0; i < 10; i++) {
        char nonce[IA_NONCE_SIZE];
        snprintf(nonce, sizeof nonce, "%s", ia_listen_check_next(&check));
        ia_listen_check_heard(&check, nonce);
        ck_assert(!ia_listen_check_is_deaf(&check));
    }
}
END_TEST

START_TEST(two_nonces_that_do_not_come_back_are_deaf)
{
    ck_assert(!ia_listen_check_is_deaf(&check));
    ck_assert_ptr_nonnull(ia_listen_check_next(&check));
    ck_assert_ptr_nonnull(ia_listen_check_next(&check));
    ck_assert(!ia_listen_check_is_deaf(&check));
    ck_assert_ptr_nonnull(ia_listen_check_next(&check));
    ck_assert(ia_listen_check_is_deaf(&check));
}
END_TEST

START_TEST(one_nonce_that_comes_back_ends_deafness)
{
    for (int i = 0; i < 5; i++)
        ck_assert_ptr_nonnull(ia_listen_check_next(&check));
    ck_assert(ia_listen_check_is_deaf(&check));
    ia_listen_check_heard(&check, check.nonce);
    ck_assert(!ia_listen_check_is_deaf(&check));
}
END_TEST

/* Any role may notify: a guessed, old or empty nonce is not ours. */
START_TEST(nonces_of_others_do_not_count)
{
    char first[IA_NONCE_SIZE];
    ia_listen_check_heard(&check, "");
    snprintf(first, sizeof first, "%s", ia_listen_check_next(&check));
    for (int i = 0; i < 3; i++) {
        ck_assert_str_ne(ia_listen_check_next(&check), first);
        ia_listen_check_heard(&check, first);
        ia_listen_check_heard(&check, "0123456789abcdef0123456789abcdef");
        ia_listen_check_heard(&check, "");
    }
    ck_assert(ia_listen_check_is_deaf(&check));
}
END_TEST

START_TEST(new_connection_knows_nothing)
{
    for (int i = 0; i < 5; i++)
        ck_assert_ptr_nonnull(ia_listen_check_next(&check));
    ia_listen_check_begin(&check);
    ck_assert(!ia_listen_check_is_deaf(&check));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("listen_check");
    TCase *c = tcase_create("listen_check");
    tcase_add_checked_fixture(c, setup, NULL);
    tcase_add_test(c, nonces_that_come_back_are_healthy);
    tcase_add_test(c, two_nonces_that_do_not_come_back_are_deaf);
    tcase_add_test(c, one_nonce_that_comes_back_ends_deafness);
    tcase_add_test(c, nonces_of_others_do_not_count);
    tcase_add_test(c, new_connection_knows_nothing);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
