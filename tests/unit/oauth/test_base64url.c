// SPDX-License-Identifier: ISC
#include "oauth/base64url.h"

#include "suite.h"

#include <string.h>

/* RFC 4648 section 10 in the URL alphabet without padding, and everything that is a second spelling. */
static const struct {
    const char *label, *text;
    bool valid;
    const char *bytes;
    size_t len;
} rows[] = {
    {"nothing", "", true, "", 0},
    {"one byte", "Zg", true, "f", 1},
    {"two bytes", "Zm8", true, "fo", 2},
    {"three bytes", "Zm9v", true, "foo", 3},
    {"four bytes", "Zm9vYg", true, "foob", 4},
    {"both odd characters", "-_-_", true, "\xFB\xFF\xBF", 3},
    {"padding", "Zg==", false, NULL, 0},
    {"padding of one", "Zm8=", false, NULL, 0},
    {"plus and slash: the other alphabet", "+/+/", false, NULL, 0},
    {"one character: six bits are no byte", "Z", false, NULL, 0},
    {"five characters", "Zm9vY", false, NULL, 0},
    {"bits beyond the byte: second spelling of f", "Zh", false, NULL, 0},
    {"bits beyond two bytes: second spelling of fo", "Zm9", false, NULL, 0},
    {"space", "Zm 9v", false, NULL, 0},
    {"newline at the end", "Zm9v\n", false, NULL, 0},
    {"not ASCII", "Zm\xC3\xA9", false, NULL, 0},
};

START_TEST(base64url_rows_decide_as_listed)
{
    uint8_t out[64];
    size_t len = 0;
    bool valid = ia_base64url_decode(rows[_i].text, strlen(rows[_i].text), out, &len);
    ck_assert_msg(valid == rows[_i].valid, "%s", rows[_i].label);
    if (valid)
        ck_assert_msg(len == rows[_i].len && memcmp(out, rows[_i].bytes, len) == 0, "%s: bytes", rows[_i].label);
}
END_TEST

/* Each byte string of up to two bytes has exactly one spelling among all strings of digits. */
START_TEST(base64url_has_one_spelling_for_each_value)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t out[8], seen[65536] = {0};
    char text[3];
    size_t len = 0;
    unsigned found = 0;
    for (unsigned i = 0; i < 64u * 64 * 64; i++) {
        text[0] = digits[i >> 12];
        text[1] = digits[i >> 6 & 63];
        text[2] = digits[i & 63];
        if (!ia_base64url_decode(text, 3, out, &len))
            continue;
        ck_assert_uint_eq(len, 2);
        ck_assert_uint_eq(seen[out[0] << 8 | out[1]]++, 0);
        found++;
    }
    ck_assert_uint_eq(found, 65536);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("base64url");
    TCase *c = tcase_create("base64url");
    tcase_add_loop_test(c, base64url_rows_decide_as_listed, 0, ROWS(rows));
    tcase_add_test(c, base64url_has_one_spelling_for_each_value);
    suite_add_tcase(s, c);
    return run_suite(s);
}
