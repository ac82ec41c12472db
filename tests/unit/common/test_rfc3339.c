// SPDX-License-Identifier: ISC
#include "common/rfc3339.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* RFC 3339, always UTC and always milliseconds. */
static const struct {
    int64_t us;
    const char *text;
} rows[] = {
    {0, "1970-01-01T00:00:00.000Z"},
    {999, "1970-01-01T00:00:00.000Z"}, /* truncated, not rounded: never in the future */
    {1000, "1970-01-01T00:00:00.001Z"},
    {-1, "1969-12-31T23:59:59.999Z"},
    {-1000000, "1969-12-31T23:59:59.000Z"},
    {INT64_C(1709164799999999), "2024-02-28T23:59:59.999Z"},
    {INT64_C(1709164800000000), "2024-02-29T00:00:00.000Z"},
    {INT64_C(1800000000123456), "2027-01-15T08:00:00.123Z"},
    {INT64_C(2147483648000000), "2038-01-19T03:14:08.000Z"},
    {INT64_C(253402300799999000), "9999-12-31T23:59:59.999Z"},
};

static void move_to_kathmandu(void)
{
    ck_assert_int_eq(setenv("TZ", "Asia/Kathmandu", 1), 0);
    tzset();
}

START_TEST(rfc3339_rows_are_printed_as_listed_in_any_time_zone)
{
    char out[IA_RFC3339_SIZE];
    move_to_kathmandu();
    ck_assert_str_eq(ia_rfc3339(rows[_i].us, out), rows[_i].text);
}
END_TEST

START_TEST(rfc3339_seconds_have_no_fraction)
{
    char out[IA_RFC3339_SIZE];
    ck_assert_str_eq(ia_rfc3339_seconds(1709164800, out), "2024-02-29T00:00:00Z");
}
END_TEST

START_TEST(rfc3339_year_beyond_the_c_library_is_an_empty_text)
{
    char out[IA_RFC3339_SIZE] = "before";
    ck_assert_str_eq(ia_rfc3339_seconds(INT64_MAX, out), "");
    ck_assert_str_eq(ia_rfc3339_seconds(INT64_MIN, out), "");
}
END_TEST

static const struct {
    const char *text;
    int64_t s;
} accepted[] = {
    {"1970-01-01T00:00:00Z", 0},
    {"2026-01-31T12:00:00Z", 1769860800},
    {"2026-01-31T12:00:00.999999Z", 1769860800}, /* fraction dropped */
    {"2026-01-31t12:00:00z", 1769860800},
    {"2026-01-31 12:00:00Z", 1769860800},
    {"2026-01-31T17:45:00+05:45", 1769860800},
    {"2026-01-31T00:00:00-12:00", 1769860800},
    {"2024-02-29T00:00:00Z", 1709164800},
    {"2000-02-29T00:00:00Z", 951782400},
    {"2016-12-31T23:59:60Z", 1483228800}, /* leap second */
    {"9999-12-31T23:59:59Z", INT64_C(253402300799)},
    {"0001-01-01T00:00:00Z", INT64_C(-62135596800)},
};

START_TEST(rfc3339_text_is_parsed_as_listed_in_any_time_zone)
{
    int64_t out = 1;
    struct ia_err err;
    move_to_kathmandu();
    ck_assert_msg(ia_rfc3339_parse(accepted[_i].text, &out, &err) == IA_OK, "%s", accepted[_i].text);
    ck_assert_msg(out == accepted[_i].s, "%s is %lld", accepted[_i].text, (long long)out);
}
END_TEST

static const char *const refused[] = {
    "",
    "2026-01-31",
    "2026-01-31T12:00:00",       /* without an offset it could be any zone */
    "2026-01-31T12:00Z",         /* no seconds */
    "2026-1-31T12:00:00Z",       /* one digit */
    " 2026-01-31T12:00:00Z",     /* strptime would skip the space */
    "2026-01-31T12:00:00Zjunk",  /* something after it */
    "2026-01-31T12:00:00.Z",     /* no digit after the point */
    "2026-01-31T12:00:00+1:00",  /* one digit */
    "2026-01-31T12:00:00+24:00", /* no such offset */
    "2026-01-31T12:00:00+01:60", /* no such offset */
    "+026-01-31T12:00:00Z",      /* a sign is no digit */
    "12026-01-31T12:00:00Z",     /* five digits */
    "0000-01-01T00:00:00Z",      /* there is no year 0 */
    "2026-00-01T00:00:00Z",      /* month 0 */
    "2026-13-01T00:00:00Z",      /* month 13 */
    "2026-01-00T00:00:00Z",      /* day 0 */
    "2026-01-32T00:00:00Z",      /* day 32 */
    "2026-02-29T00:00:00Z",      /* no leap year */
    "1900-02-29T00:00:00Z",      /* no leap year */
    "2026-04-31T00:00:00Z",      /* April has 30 */
    "2026-01-31T24:00:00Z",      /* hour 24 */
    "2026-01-31T12:60:00Z",      /* minute 60 */
    "2026-01-31T12:00:61Z",      /* second 61 */
};

START_TEST(rfc3339_text_that_is_no_time_is_refused_and_out_stays)
{
    int64_t out = 42;
    struct ia_err err = {0};
    ck_assert_msg(ia_rfc3339_parse(refused[_i], &out, &err) == IA_FORMAT, "'%s'", refused[_i]);
    ck_assert_int_eq(out, 42);
    ck_assert_ptr_nonnull(strstr(err.msg, refused[_i]));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("rfc3339");
    TCase *c = tcase_create("rfc3339");
    tcase_add_loop_test(c, rfc3339_rows_are_printed_as_listed_in_any_time_zone, 0, (int)(sizeof rows / sizeof rows[0]));
    tcase_add_test(c, rfc3339_seconds_have_no_fraction);
    tcase_add_test(c, rfc3339_year_beyond_the_c_library_is_an_empty_text);
    tcase_add_loop_test(c, rfc3339_text_is_parsed_as_listed_in_any_time_zone, 0,
                        (int)(sizeof accepted / sizeof accepted[0]));
    tcase_add_loop_test(c, rfc3339_text_that_is_no_time_is_refused_and_out_stays, 0,
                        (int)(sizeof refused / sizeof refused[0]));
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
