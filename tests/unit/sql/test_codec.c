// SPDX-License-Identifier: ISC
#include "sql/codec.h"

#include <check.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define V(literal) ((struct ia_pg_value){(const uint8_t *)(literal), sizeof(literal) - 1})

START_TEST(integers_of_all_widths_are_read)
{
    int64_t n = 7;
    ck_assert(ia_pg_int(V("\xFF\xFE"), &n) && n == -2);
    ck_assert(ia_pg_int(V("\x00\x01\x00\x00"), &n) && n == 65536);
    ck_assert(ia_pg_int(V("\x80\x00\x00\x00\x00\x00\x00\x00"), &n) && n == INT64_MIN);
    ck_assert(ia_pg_int(V("\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF"), &n) && n == INT64_MAX);
}
END_TEST

START_TEST(integers_of_another_length_are_refused)
{
    int64_t n;
    const uint8_t bytes[16] = {0};
    for (size_t len = 0; len <= sizeof bytes; len++)
        ck_assert_int_eq(ia_pg_int((struct ia_pg_value){bytes, len}, &n), len == 2 || len == 4 || len == 8);
}
END_TEST

START_TEST(booleans_are_one_byte_of_0_or_1)
{
    bool b = false;
    ck_assert(ia_pg_bool(V("\x01"), &b) && b);
    ck_assert(ia_pg_bool(V("\x00"), &b) && !b);
    ck_assert(!ia_pg_bool(V("\x02"), &b));
    ck_assert(!ia_pg_bool(V(""), &b));
    ck_assert(!ia_pg_bool(V("\x01\x00"), &b));
}
END_TEST

/* Times, microseconds since 2000 on the wire, a row a case. */
static const struct {
    const char *label;
    int64_t wire;
    int64_t seconds;
} times[] = {
    {"2000-01-01", 0, 946684800},
    {"half a second later, rounded down", 500000, 946684800},
    {"half a second earlier, rounded down", -500000, 946684799},
    {"2025-12-31", INT64_C(820454400000000), 1767139200},
    {"1970-01-01 must not read as 'no end'", INT64_C(-946684800000000), 1},
    {"1960 neither", INT64_C(-1262304000000000), 1},
    {"-infinity is long ago", INT64_MIN, 1},
    {"infinity is no end", INT64_MAX, 0},
    {"beyond what can be added is no end", INT64_MAX - 1, 0},
};

START_TEST(time_rows_read_as_listed)
{
    uint8_t wire[8];
    int64_t seconds = -1;
    ia_pg_put_int8(wire, times[_i].wire);
    ck_assert(ia_pg_time_s((struct ia_pg_value){wire, 8}, &seconds));
    ck_assert_msg(seconds == times[_i].seconds, "%s: %lld", times[_i].label, (long long)seconds);
}
END_TEST

START_TEST(time_of_another_length_is_refused)
{
    int64_t t;
    ck_assert(!ia_pg_time_s(V("\x00\x00\x00\x00"), &t));
    ck_assert(!ia_pg_time_s(V(""), &t));
}
END_TEST

START_TEST(microseconds_are_read_as_whole_seconds)
{
    static const int64_t values[] = {1000000, 946684800000000, 1767225600123456, 4102444800000000};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        uint8_t wire[8];
        int64_t back;
        ia_pg_put_time_us(wire, values[i]);
        ck_assert(ia_pg_time_s((struct ia_pg_value){wire, 8}, &back));
        ck_assert(back == values[i] / 1000000);
    }
}
END_TEST

START_TEST(text_array_round_trips)
{
    static const char *const items[] = {"", "a", NULL, "\xC3\xA9t\xC3\xA9", "a longer one, with \" and { in it"};
    struct ia_arena arena = {0};
    struct ia_texts back;
    bool nomem;
    struct ia_pg_value v = ia_pg_text_array(&arena, items, 5);
    ck_assert(ia_pg_texts(v, &arena, &back, &nomem));
    ck_assert_uint_eq(back.n, 5);
    for (size_t i = 0; i < 5; i++)
        ck_assert_str_eq(back.items[i], items[i] ? items[i] : "");
    ia_arena_clear(&arena);
}
END_TEST

START_TEST(empty_array_round_trips)
{
    struct ia_arena arena = {0};
    struct ia_texts back = {.n = 1};
    bool nomem;
    ck_assert(ia_pg_texts(ia_pg_text_array(&arena, NULL, 0), &arena, &back, &nomem));
    ck_assert_uint_eq(back.n, 0);
    ia_arena_clear(&arena);
}
END_TEST

START_TEST(zero_becomes_null_only_where_asked)
{
    static const int64_t items[] = {5, 0};
    struct ia_arena arena = {0};
    struct ia_pg_value kept = ia_pg_int8_array(&arena, items, 2, false);
    struct ia_pg_value null = ia_pg_int8_array(&arena, items, 2, true);
    ck_assert_uint_eq(kept.len, 20 + 12 + 12);
    ck_assert_uint_eq(null.len, 20 + 12 + 4);
    ck_assert(memcmp(null.bytes + 32, "\xFF\xFF\xFF\xFF", 4) == 0);
    ia_arena_clear(&arena);
}
END_TEST

/* Arrays that no honest server sends, a row a case.  Header: dimensions, null flag, element type 25, size, bound. */
#define ONE_DIM "\0\0\0\1\0\0\0\0\0\0\0\x19"
static const struct {
    const char *label;
    struct ia_pg_value value;
} hostile[] = {
    {"nothing at all", {(const uint8_t *)"", 0}},
    {"half a header", {(const uint8_t *)ONE_DIM, 11}},
    {"another element type", {(const uint8_t *)"\0\0\0\0\0\0\0\0\0\0\0\x17", 12}},
    {"empty, with bytes behind", {(const uint8_t *)"\0\0\0\0\0\0\0\0\0\0\0\x19\0", 13}},
    {"two dimensions", {(const uint8_t *)"\0\0\0\2\0\0\0\0\0\0\0\x19\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1", 28}},
    {"negative dimensions", {(const uint8_t *)"\xFF\xFF\xFF\xFF\0\0\0\0\0\0\0\x19\0\0\0\1\0\0\0\1", 20}},
    {"more elements than bytes", {(const uint8_t *)ONE_DIM "\x7F\xFF\xFF\xFF\0\0\0\1", 20}},
    {"negative number of elements", {(const uint8_t *)ONE_DIM "\xFF\xFF\xFF\xFF\0\0\0\1", 20}},
    {"element longer than the rest", {(const uint8_t *)ONE_DIM "\0\0\0\1\0\0\0\1\0\0\0\2a", 25}},
    {"element of huge length",
     {(const uint8_t *)ONE_DIM "\0\0\0\1\0\0\0\1\x7F\xFF\xFF\xFF"
                               "a",
      25}},
    {"element of length -2", {(const uint8_t *)ONE_DIM "\0\0\0\1\0\0\0\1\xFF\xFF\xFF\xFE", 24}},
    {"NUL inside an element", {(const uint8_t *)ONE_DIM "\0\0\0\1\0\0\0\1\0\0\0\3a\0b", 27}},
    {"bytes behind the last element", {(const uint8_t *)ONE_DIM "\0\0\0\1\0\0\0\1\0\0\0\1ab", 26}},
    {"one element missing", {(const uint8_t *)ONE_DIM "\0\0\0\2\0\0\0\1\0\0\0\4abcd", 28}},
};

START_TEST(hostile_arrays_are_refused)
{
    /* On the heap to the byte, so that a sanitizer sees a read past the end. */
    size_t len = hostile[_i].value.len;
    uint8_t *exact = malloc(len ? len : 1);
    struct ia_arena arena = {0};
    struct ia_texts out;
    bool nomem;
    memcpy(exact, hostile[_i].value.bytes, len);
    ck_assert_msg(!ia_pg_texts((struct ia_pg_value){exact, len}, &arena, &out, &nomem), "%s", hostile[_i].label);
    ck_assert(!nomem);
    ia_arena_clear(&arena);
    free(exact);
}
END_TEST

/* Every one-byte change of a good array, and every cut of it, is refused or read within bounds. */
START_TEST(damaged_arrays_never_read_past_the_end)
{
    static const char *const items[] = {"one", NULL, "three"};
    struct ia_arena arena = {0};
    struct ia_pg_value good = ia_pg_text_array(&arena, items, 3);
    struct ia_texts out;
    bool nomem;
    for (size_t len = 0; len < good.len; len++) {
        uint8_t *cut = malloc(len ? len : 1);
        memcpy(cut, good.bytes, len);
        ck_assert(!ia_pg_texts((struct ia_pg_value){cut, len}, &arena, &out, &nomem));
        free(cut);
    }
    uint8_t *changed = malloc(good.len);
    for (size_t at = 0; at < good.len; at++)
        for (int byte = 0; byte < 256; byte += 5) {
            memcpy(changed, good.bytes, good.len);
            changed[at] = (uint8_t)byte;
            if (ia_pg_texts((struct ia_pg_value){changed, good.len}, &arena, &out, &nomem))
                ck_assert_uint_le(out.n, 3);
        }
    free(changed);
    ia_arena_clear(&arena);
}
END_TEST

START_TEST(arena_gives_aligned_zeroed_memory_of_any_size)
{
    struct ia_arena arena = {0};
    for (size_t size = 0; size < 40000; size = size * 2 + 1) {
        unsigned char *p = ia_arena_alloc(&arena, size);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % _Alignof(max_align_t), 0);
        for (size_t i = 0; i < size; i++)
            ck_assert_uint_eq(p[i], 0);
        memset(p, 0xFF, size);
    }
    ck_assert_ptr_null(ia_arena_array(&arena, SIZE_MAX / 2, 16));
    ck_assert_ptr_nonnull(ia_arena_array(&arena, 0, 16));
    ia_arena_clear(&arena);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("codec");
    TCase *c = tcase_create("codec");
    tcase_add_test(c, integers_of_all_widths_are_read);
    tcase_add_test(c, integers_of_another_length_are_refused);
    tcase_add_test(c, booleans_are_one_byte_of_0_or_1);
    tcase_add_loop_test(c, time_rows_read_as_listed, 0, (int)(sizeof times / sizeof times[0]));
    tcase_add_test(c, time_of_another_length_is_refused);
    tcase_add_test(c, microseconds_are_read_as_whole_seconds);
    tcase_add_test(c, text_array_round_trips);
    tcase_add_test(c, empty_array_round_trips);
    tcase_add_test(c, zero_becomes_null_only_where_asked);
    tcase_add_loop_test(c, hostile_arrays_are_refused, 0, (int)(sizeof hostile / sizeof hostile[0]));
    tcase_add_test(c, damaged_arrays_never_read_past_the_end);
    tcase_add_test(c, arena_gives_aligned_zeroed_memory_of_any_size);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
