// SPDX-License-Identifier: ISC
#include "sql/backoff.h"

#include <check.h>
#include <limits.h>
#include <stdlib.h>

START_TEST(first_wait_is_100_to_200_ms)
{
    ck_assert_int_eq(ia_backoff_ms(0, 0), 100);
    ck_assert_int_eq(ia_backoff_ms(0, 100), 200);
    ck_assert_int_eq(ia_backoff_ms(0, 101), 100);
}
END_TEST

START_TEST(waits_double_until_five_seconds)
{
    static const int least[] = {100, 200, 400, 800, 1600, 2500, 2500};
    for (unsigned i = 0; i < sizeof least / sizeof least[0]; i++)
        ck_assert_int_eq(ia_backoff_ms(i, 0), least[i]);
    ck_assert_int_eq(ia_backoff_ms(6, 2500), 5000);
}
END_TEST

START_TEST(any_attempt_and_any_random_stay_within_bounds)
{
    static const unsigned attempts[] = {0, 1, 5, 6, 7, 31, 32, 33, 1000, UINT_MAX};
    for (unsigned i = 0; i < sizeof attempts / sizeof attempts[0]; i++)
        for (uint64_t r = 0; r <= UINT32_MAX; r += 0x1234567) {
            int ms = ia_backoff_ms(attempts[i], (uint32_t)r);
            ck_assert_int_ge(ms, IA_BACKOFF_MIN_MS);
            ck_assert_int_le(ms, IA_BACKOFF_MAX_MS);
        }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("backoff");
    TCase *c = tcase_create("backoff");
    tcase_add_test(c, first_wait_is_100_to_200_ms);
    tcase_add_test(c, waits_double_until_five_seconds);
    tcase_add_test(c, any_attempt_and_any_random_stay_within_bounds);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
