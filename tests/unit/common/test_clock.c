// SPDX-License-Identifier: ISC
#include "common/clock.h"

#include <check.h>
#include <stdlib.h>
#include <time.h>

START_TEST(clocks_agree_with_the_systems)
{
    int64_t before = (int64_t)time(NULL), us = ia_wall_us(), s = ia_wall_s();
    ck_assert_int_ge(us / 1000000 + 1, before);
    ck_assert_int_ge(s, us / 1000000);
    ck_assert_int_le(s, (int64_t)time(NULL) + 1);
}
END_TEST

START_TEST(monotonic_clock_never_goes_back)
{
    int64_t last = ia_monotonic_us();
    for (int i = 0; i < 100000; i++) {
        int64_t now = ia_monotonic_us();
        ck_assert_int_ge(now, last);
        last = now;
    }
}
END_TEST

START_TEST(monotonic_milliseconds_are_those_of_the_same_clock)
{
    int64_t before = ia_monotonic_us() / 1000, now = ia_monotonic_ms();
    ck_assert_int_ge(now, before);
    ck_assert_int_le(now, ia_monotonic_us() / 1000);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("clock");
    TCase *c = tcase_create("clock");
    tcase_add_test(c, clocks_agree_with_the_systems);
    tcase_add_test(c, monotonic_clock_never_goes_back);
    tcase_add_test(c, monotonic_milliseconds_are_those_of_the_same_clock);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
