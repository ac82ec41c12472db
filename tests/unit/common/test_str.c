// SPDX-License-Identifier: ISC
#include "common/str.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* The rule for values that come from outside, a row a case. */
static const struct {
    const char *label;
    const char *text;
    size_t len;
    bool valid;
} rows[] = {
    {"plain", "sensor-7", 8, true},
    {"space and punctuation", "a b.c:d@e", 9, true},
    {"two-byte letter", "\xC3\xA9", 2, true},
    {"emoji", "\xF0\x9F\x98\x80", 4, true},
    {"dollar inside", "a$b", 3, true},
    {"empty", "", 0, false},
    {"leading dollar: would name a broker topic", "$SYS", 4, false},
    {"plus: a wildcard level", "a+b", 3, false},
    {"hash: a wildcard tail", "a#", 2, false},
    {"slash: two levels", "a/b", 3, false},
    {"star: a template wildcard", "a*", 2, false},
    {"NUL: not the name that it prints as", "a\0b", 3, false},
    {"newline: forges a log line", "a\nb", 3, false},
    {"DEL", "a\x7F", 2, false},
    {"C1 control", "\xC2\x85", 2, false},
    {"overlong slash", "\xC0\xAF", 2, false},
    {"surrogate", "\xED\xA0\x80", 3, false},
    {"above U+10FFFF", "\xF4\x90\x80\x80", 4, false},
    {"cut sequence", "a\xE2\x82", 3, false},
    {"lone continuation", "\x80", 1, false},
};

START_TEST(value_rows_decide_as_listed)
{
    const char *why = "unset";
    ck_assert_msg(ia_value_valid(rows[_i].text, rows[_i].len, &why) == rows[_i].valid, "%s", rows[_i].label);
    ck_assert_msg((why == NULL) == rows[_i].valid, "%s: reason", rows[_i].label);
}
END_TEST

START_TEST(value_of_128_bytes_is_the_longest)
{
    char text[130];
    memset(text, 'x', sizeof text);
    ck_assert(ia_value_valid(text, 128, NULL));
    ck_assert(!ia_value_valid(text, 129, NULL));
}
END_TEST

START_TEST(same_text_knows_null)
{
    char a[] = "a";
    ck_assert(ia_same_text(a, "a") && ia_same_text("", "") && ia_same_text(NULL, NULL));
    ck_assert(!ia_same_text(a, "b") && !ia_same_text("", NULL) && !ia_same_text(NULL, ""));
}
END_TEST

START_TEST(hex_is_lower_case_and_terminated)
{
    char out[7];
    ia_hex((const uint8_t *)"\x00\xAB\xFF", 3, out);
    ck_assert_str_eq(out, "00abff");
}
END_TEST

START_TEST(hex_is_read_in_either_case_and_nothing_else_is)
{
    static const char *const bad[] = {"0g", "g0", " 0", "0x", "-1", "0"};
    uint8_t out[3];
    ck_assert(ia_hex_read("00aBFf", 3, out));
    ck_assert_mem_eq(out, "\x00\xAB\xFF", 3);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!ia_hex_read(bad[i], 1, out), "%s", bad[i]);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("str");
    TCase *c = tcase_create("str");
    tcase_add_loop_test(c, value_rows_decide_as_listed, 0, (int)(sizeof rows / sizeof rows[0]));
    tcase_add_test(c, value_of_128_bytes_is_the_longest);
    tcase_add_test(c, same_text_knows_null);
    tcase_add_test(c, hex_is_lower_case_and_terminated);
    tcase_add_test(c, hex_is_read_in_either_case_and_nothing_else_is);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
