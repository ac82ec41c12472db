// SPDX-License-Identifier: ISC
#include "common/json_out.h"

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a text becomes between its quotes, a row a case. */
static const struct {
    const char *label, *text, *json;
} rows[] = {
    {"plain", "sensor-7", "sensor-7"},
    {"empty", "", ""},
    {"quote: would end the string", "a\"b", "a\\\"b"},
    {"backslash: would escape what follows", "a\\", "a\\\\"},
    {"slash needs no escape", "devices/d-1", "devices/d-1"},
    {"newline", "a\nb", "a\\u000ab"},
    {"first and last control character", "\x01\x1F", "\\u0001\\u001f"},
    {"DEL", "\x7F", "\\u007f"},
    {"two bytes", "caf\xC3\xA9", "caf\xC3\xA9"},
    {"three bytes", "\xE2\x82\xAC", "\xE2\x82\xAC"},
    {"four bytes", "\xF0\x9F\x98\x80!", "\xF0\x9F\x98\x80!"},
    {"lone continuation", "a\x80z", "a\xEF\xBF\xBDz"},
    {"overlong slash: two bytes, neither of them text", "\xC0\xAF", "\xEF\xBF\xBD\xEF\xBF\xBD"},
    {"surrogate", "\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
    {"above U+10FFFF", "\xF4\x90\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
    {"cut at the end: nothing behind the NUL is read", "a\xE2\x82", "a\xEF\xBF\xBD\xEF\xBF\xBD"},
    {"cut before a quote: the quote stays escaped", "\xE2\"", "\xEF\xBF\xBD\\\""},
    {"C1", "\xC2\x9B", "\\u009b"},
    {"direction of the text",
     "a\xE2\x80\xAE"
     "b\xE2\x81\xA6",
     "a\\u202eb\\u2066"},
    {"line separator", "\xE2\x80\xA8", "\\u2028"},
    {"tag character, above U+FFFF", "\xF3\xA0\x81\x81", "\\udb40\\udc41"},
    {"good beside bad", "\xFF\xC3\xA9", "\xEF\xBF\xBD\xC3\xA9"},
};

START_TEST(json_text_rows_become_as_listed)
{
    char out[256], expected[256];
    struct ia_json_out j;
    ia_json_out_begin(&j, out, sizeof out);
    ia_json_out_text(&j, "v", rows[_i].text);
    (void)snprintf(expected, sizeof expected, "{\"v\":\"%s\"}", rows[_i].json);
    const char *got = ia_json_out_end(&j);
    ck_assert_msg(got && strcmp(got, expected) == 0, "%s: %s", rows[_i].label, got ? got : "(full)");
}
END_TEST

static const struct {
    const char *text;
    size_t max;
    const char *json;
} cuts[] = {
    {"sensor-7", 0, "sensor-7"},         {"sensor-7", 8, "sensor-7"},       {"sensor-7", 7, "sensor-\xE2\x80\xA6"},
    {"\n\n", 11, "\\u000a\xE2\x80\xA6"}, {"a\xC3\xA9", 2, "a\xE2\x80\xA6"}, {"\"\"", 3, "\\\"\xE2\x80\xA6"},
};

/* In whole characters, and never within an escape: the object stays one. */
START_TEST(json_text_is_cut_as_listed)
{
    char out[64], expected[64];
    struct ia_json_out j;
    ia_json_out_begin(&j, out, sizeof out);
    ia_json_out_cut(&j, "v", cuts[_i].text, cuts[_i].max);
    (void)snprintf(expected, sizeof expected, "{\"v\":\"%s\"}", cuts[_i].json);
    ck_assert_str_eq(ia_json_out_end(&j), expected);
}
END_TEST

START_TEST(json_members_are_separated_and_null_is_null)
{
    char out[128];
    struct ia_json_out j;
    ia_json_out_begin(&j, out, sizeof out);
    ia_json_out_text(&j, "a", NULL);
    ia_json_out_int(&j, "b", INT64_MIN);
    ia_json_out_int(&j, "c", INT64_MAX);
    ia_json_out_text(&j, "d\"", "x");
    ck_assert_str_eq(ia_json_out_end(&j),
                     "{\"a\":null,\"b\":-9223372036854775808,\"c\":9223372036854775807,\"d\\\"\":\"x\"}");
}
END_TEST

START_TEST(json_empty_object_is_one)
{
    char out[3];
    struct ia_json_out j;
    ia_json_out_begin(&j, out, sizeof out);
    ck_assert_str_eq(ia_json_out_end(&j), "{}");
}
END_TEST

static const char *write_object(char *out, size_t size)
{
    struct ia_json_out j;
    ia_json_out_begin(&j, out, size);
    ia_json_out_text(&j, "text", "\xC3\xA9\n\xFF");
    ia_json_out_int(&j, "n", 42);
    ia_json_out_text(&j, "none", NULL);
    return ia_json_out_end(&j);
}

/* Each size below the needed one, in a block of just that size, so that ASan sees one byte too many. */
START_TEST(json_that_does_not_fit_is_null_at_every_size)
{
    char whole[256];
    size_t needed = strlen(write_object(whole, sizeof whole)) + 1;
    for (size_t size = 0; size <= needed; size++) {
        char *out = malloc(size ? size : 1);
        const char *got = write_object(out, size);
        ck_assert_msg((got != NULL) == (size == needed), "size %zu of %zu", size, needed);
        if (got)
            ck_assert_str_eq(got, whole);
        free(out);
    }
}
END_TEST

/* Later members may be shorter: they must not make a text whole that has lost one. */
START_TEST(json_full_stays_full)
{
    char out[16];
    struct ia_json_out j;
    ia_json_out_begin(&j, out, sizeof out);
    ia_json_out_text(&j, "long", "a text that is too long");
    ia_json_out_int(&j, "n", 1);
    ck_assert_ptr_null(ia_json_out_end(&j));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("json_out");
    TCase *c = tcase_create("json_out");
    tcase_add_loop_test(c, json_text_rows_become_as_listed, 0, (int)(sizeof rows / sizeof rows[0]));
    tcase_add_loop_test(c, json_text_is_cut_as_listed, 0, (int)(sizeof cuts / sizeof cuts[0]));
    tcase_add_test(c, json_members_are_separated_and_null_is_null);
    tcase_add_test(c, json_empty_object_is_one);
    tcase_add_test(c, json_that_does_not_fit_is_null_at_every_size);
    tcase_add_test(c, json_full_stays_full);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
