// SPDX-License-Identifier: ISC
#include "common/reason.h"

#include <check.h>
#include <stdlib.h>

START_TEST(reason_names_round_trip)
{
    ck_assert_int_eq(ia_reason_from_name(ia_reason_name((enum ia_reason)_i)), _i);
}
END_TEST

START_TEST(reason_out_of_range_is_internal)
{
    ck_assert_str_eq(ia_reason_name(IA_REASON_COUNT), "internal");
    ck_assert_int_eq(ia_reason_from_name("no such"), IA_R_INTERNAL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("reason");
    TCase *c = tcase_create("reason");
    tcase_add_loop_test(c, reason_names_round_trip, 0, IA_REASON_COUNT);
    tcase_add_test(c, reason_out_of_range_is_internal);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
