// SPDX-License-Identifier: ISC
#include "sql/copy.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define HEADER "PGCOPY\n\377\r\n\0"

/* A header, or not, a row a case. */
static const struct {
    const char *label;
    const char *bytes;
    size_t len;
    size_t used; /* 0: refused */
} headers[] = {
    {"plain", HEADER "\0\0\0\0\0\0\0\0", 19, 19},
    {"with a row behind", HEADER "\0\0\0\0\0\0\0\0\xFF\xFF", 21, 19},
    {"with an extension", HEADER "\0\0\0\0\0\0\0\3abc", 22, 22},
    {"low flags are not critical", HEADER "\0\0\xFF\xFF\0\0\0\0", 19, 19},
    {"cut", HEADER "\0\0\0\0\0\0\0", 18, 0},
    {"nothing", "", 0, 0},
    {"another signature", "PGCOPX\n\377\r\n\0\0\0\0\0\0\0\0\0", 19, 0},
    {"line end changed in transit", "PGCOPY\n\377\n\n\0\0\0\0\0\0\0\0\0", 19, 0},
    {"critical flag", HEADER "\0\1\0\0\0\0\0\0", 19, 0},
    {"extension longer than the rest", HEADER "\0\0\0\0\0\0\0\4abc", 22, 0},
    {"negative extension", HEADER "\0\0\0\0\xFF\xFF\xFF\xFF", 19, 0},
};

START_TEST(headers_are_read_as_listed)
{
    uint8_t *exact = malloc(headers[_i].len ? headers[_i].len : 1);
    size_t used = 0;
    memcpy(exact, headers[_i].bytes, headers[_i].len);
    bool read = ia_copy_header(exact, headers[_i].len, &used);
    ck_assert_msg(read == (headers[_i].used != 0), "%s", headers[_i].label);
    ck_assert_msg(used == headers[_i].used, "%s: %zu", headers[_i].label, used);
    free(exact);
}
END_TEST

/* Rows of two fields, or not. */
static const struct {
    const char *label;
    const char *bytes;
    size_t len;
    bool good;
} rows[] = {
    {"two texts", "\0\2\0\0\0\2ab\0\0\0\1c", 13, true},
    {"NULL and empty", "\0\2\xFF\xFF\xFF\xFF\0\0\0\0", 10, true},
    {"nothing", "", 0, false},
    {"one byte", "\0", 1, false},
    {"one field", "\0\1\0\0\0\2ab", 8, false},
    {"three fields", "\0\3\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 14, false},
    {"second field missing", "\0\2\0\0\0\2ab", 8, false},
    {"length cut", "\0\2\0\0\0\2ab\0\0\0", 11, false},
    {"longer than the rest", "\0\2\0\0\0\2ab\0\0\0\2c", 13, false},
    {"length -2", "\0\2\xFF\xFF\xFF\xFE\0\0\0\0", 10, false},
    {"huge length",
     "\0\2\x7F\xFF\xFF\xFF"
     "ab\0\0\0\1c",
     13, false},
    {"bytes behind", "\0\2\0\0\0\2ab\0\0\0\1cd", 14, false},
    {"bytes behind the trailer", "\xFF\xFF\0", 3, false},
};

START_TEST(rows_are_read_as_listed)
{
    uint8_t *exact = malloc(rows[_i].len ? rows[_i].len : 1);
    struct ia_pg_value values[2];
    bool end;
    memcpy(exact, rows[_i].bytes, rows[_i].len);
    ck_assert_msg(ia_copy_row(exact, rows[_i].len, values, 2, &end) == rows[_i].good, "%s", rows[_i].label);
    ck_assert(!end);
    free(exact);
}
END_TEST

START_TEST(fields_are_ended_by_a_nul)
{
    uint8_t bytes[] = "\0\2\0\0\0\2ab\xFF\xFF\xFF\xFF";
    struct ia_pg_value values[2];
    bool end;
    ck_assert(ia_copy_row(bytes, 12, values, 2, &end));
    ck_assert(values[0].len == 2 && values[1].bytes == NULL);
    ck_assert_str_eq((const char *)values[0].bytes, "ab");
}
END_TEST

START_TEST(trailer_ends_the_rows)
{
    uint8_t bytes[] = "\xFF\xFF";
    struct ia_pg_value values[2];
    bool end = false;
    ck_assert(ia_copy_row(bytes, 2, values, 2, &end));
    ck_assert(end);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("copy");
    TCase *c = tcase_create("copy");
    tcase_add_loop_test(c, headers_are_read_as_listed, 0, (int)(sizeof headers / sizeof headers[0]));
    tcase_add_loop_test(c, rows_are_read_as_listed, 0, (int)(sizeof rows / sizeof rows[0]));
    tcase_add_test(c, fields_are_ended_by_a_nul);
    tcase_add_test(c, trailer_ends_the_rows);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
