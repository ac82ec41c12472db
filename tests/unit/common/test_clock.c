// SPDX-License-Identifier: ISC
#include "common/clock.h"

#include <check.h>
#include <stdlib.h>
#include <time.h>

/* RFC 3339, always UTC and always milliseconds. */
static const struct {
    int64_t us;
    const char *text;
} rows[] = {
    {0, "1970-01-01T00:00:00.000Z"},
    {999, "1970-01-01T00:00:00.000Z"}, /* cut, not rounded: never in the future */
    {1000, "1970-01-01T00:00:00.001Z"},
    {INT64_C(1709164799999999), "2024-02-28T23:59:59.999Z"},
    {INT64_C(1709164800000000), "2024-02-29T00:00:00.000Z"},
    {INT64_C(1800000000123456), "2027-01-15T08:00:00.123Z"},
    {INT64_C(2147483648000000), "2038-01-19T03:14:08.000Z"},
    {INT64_C(253402300799999000), "9999-12-31T23:59:59.999Z"},
};

START_TEST(rfc3339_rows_read_as_listed_in_any_time_zone)
{
    char out[IA_RFC3339_SIZE];
    ck_assert_int_eq(setenv("TZ", "Asia/Kathmandu", 1), 0);
    tzset();
    ck_assert_str_eq(ia_rfc3339(rows[_i].us, out), rows[_i].text);
}
END_TEST

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

int main(void)
{
    Suite *s = suite_create("clock");
    TCase *c = tcase_create("clock");
    tcase_add_loop_test(c, rfc3339_rows_read_as_listed_in_any_time_zone, 0, (int)(sizeof rows / sizeof rows[0]));
    tcase_add_test(c, clocks_agree_with_the_systems);
    tcase_add_test(c, monotonic_clock_never_goes_back);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
