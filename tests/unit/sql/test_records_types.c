// SPDX-License-Identifier: ISC
/* The words of the device statuses: the contract's, and never a status that admits more than the value did. */
#include "sql/records_types.h"

#include <check.h>
#include <stdlib.h>

START_TEST(statuses_have_the_words_of_the_contract)
{
    ck_assert_str_eq(ia_device_status_name(IA_DEVICE_PENDING), "PENDING");
    ck_assert_str_eq(ia_device_status_name(IA_DEVICE_ACTIVE), "ACTIVE");
    ck_assert_str_eq(ia_device_status_name(IA_DEVICE_INACTIVE), "INACTIVE");
    ck_assert_str_eq(ia_device_status_name(IA_DEVICE_REVOKED), "REVOKED");
}
END_TEST

START_TEST(value_out_of_range_is_inactive)
{
    ck_assert_str_eq(ia_device_status_name((enum ia_device_status)99), "INACTIVE");
}
END_TEST

START_TEST(zeroed_status_admits_nobody)
{
    struct ia_device_row row = {0};
    ck_assert(row.device_status == IA_DEVICE_INACTIVE && row.certificate_status == IA_CERT_INACTIVE);
    ck_assert((enum ia_ca_status)0 == IA_CA_INACTIVE);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("records_types");
    TCase *c = tcase_create("records_types");
    tcase_add_test(c, statuses_have_the_words_of_the_contract);
    tcase_add_test(c, value_out_of_range_is_inactive);
    tcase_add_test(c, zeroed_status_admits_nobody);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
