// SPDX-License-Identifier: ISC
#include "common/histogram.h"

#include <check.h>
#include <stdlib.h>

START_TEST(each_bound_is_twice_the_one_before)
{
    for (size_t i = 1; i < IA_HISTOGRAM_BOUNDS; i++)
        ck_assert_uint_eq(ia_histogram_bound_us(i), 2 * ia_histogram_bound_us(i - 1));
    ck_assert_uint_eq(ia_histogram_bound_us(IA_HISTOGRAM_BOUNDS - 1), 4194304); /* above auth_wait_ms's default */
}
END_TEST

/* A duration that equals a bound is within it, as in Prometheus ("le": less than or equal). */
START_TEST(duration_counts_in_its_bucket_and_in_all_above)
{
    for (size_t i = 0; i < IA_HISTOGRAM_BOUNDS; i++) {
        struct ia_histogram h = {0};
        ia_histogram_note(&h, (int64_t)ia_histogram_bound_us(i));
        ia_histogram_note(&h, (int64_t)ia_histogram_bound_us(i) + 1);
        for (size_t k = 0; k < IA_HISTOGRAM_BOUNDS; k++)
            ck_assert_uint_eq(ia_histogram_at_most(&h, k), k < i ? 0u : k == i ? 1u : 2u);
        ck_assert_uint_eq(h.count, 2);
        ck_assert_uint_eq(h.sum_us, 2 * ia_histogram_bound_us(i) + 1);
    }
}
END_TEST

START_TEST(extreme_durations_are_counted)
{
    struct ia_histogram h = {0};
    ia_histogram_note(&h, -5);
    ia_histogram_note(&h, INT64_MIN);
    ia_histogram_note(&h, 0);
    ck_assert_uint_eq(ia_histogram_at_most(&h, 0), 3);
    ck_assert_uint_eq(h.sum_us, 0);
    ia_histogram_note(&h, INT64_MAX);
    ck_assert_uint_eq(ia_histogram_at_most(&h, IA_HISTOGRAM_BOUNDS - 1), 3);
    ck_assert_uint_eq(h.count, 4);
    ck_assert_uint_eq(h.sum_us, INT64_MAX);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("histogram");
    TCase *c = tcase_create("histogram");
    tcase_add_test(c, each_bound_is_twice_the_one_before);
    tcase_add_test(c, duration_counts_in_its_bucket_and_in_all_above);
    tcase_add_test(c, extreme_durations_are_counted);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
