// SPDX-License-Identifier: ISC
#include "psk/table.h"

#include "tests/unit/suite.h"

#include <malloc.h>
#include <stdio.h>
#include <string.h>

static struct ia_psk_table *table;
static uint8_t sealed[IA_PSK_SEALED_MAX + 1];

static void setup(void)
{
    table = ia_psk_table_new();
    ck_assert_ptr_nonnull(table);
}

static void teardown(void)
{
    ia_psk_table_free(table);
}

static bool put_row(const char *identity, const char *device_id, uint8_t first, uint8_t seen)
{
    sealed[0] = first;
    const struct ia_psk_row row = {.identity = identity,
                                   .device_id = device_id,
                                   .sealed = {sealed, 60},
                                   .key_id = 5,
                                   .status = IA_PSK_ACTIVE,
                                   .expires_at = 1234};
    return ia_psk_table_put(table, &row, seen);
}

static bool find_row(const char *identity, struct ia_psk_row *row)
{
    return ia_psk_table_find(table, identity, strlen(identity), row);
}

START_TEST(a_row_is_found_as_it_was_put)
{
    struct ia_psk_row row;
    ck_assert(put_row("meter-1", "device-1", 9, 0));
    ck_assert(find_row("meter-1", &row));
    ck_assert_str_eq(row.identity, "meter-1");
    ck_assert_str_eq(row.device_id, "device-1");
    ck_assert_uint_eq(row.sealed.len, 60);
    ck_assert_int_eq(row.sealed.at[0], 9);
    ck_assert_int_eq(row.key_id, 5);
    ck_assert_int_eq(row.expires_at, 1234);
    ck_assert_int_eq(row.status, IA_PSK_ACTIVE);
}
END_TEST

START_TEST(a_row_replaces_the_one_of_its_identity)
{
    struct ia_psk_row row;
    ck_assert(put_row("meter-1", "device-1", 1, 0) && put_row("meter-1", "device-2", 2, 0));
    ck_assert_uint_eq(ia_psk_table_count(table), 1);
    ck_assert(find_row("meter-1", &row));
    ck_assert_str_eq(row.device_id, "device-2");
}
END_TEST

START_TEST(bytes_that_are_no_identity_are_not_found)
{
    struct ia_psk_row row;
    char text[300];
    memset(text, 'x', sizeof text);
    ck_assert(put_row("meter", "device-1", 1, 0));
    ck_assert(!ia_psk_table_find(table, "meter\0", 6, &row));
    ck_assert(!ia_psk_table_find(table, "mete", 4, &row));
    ck_assert(!ia_psk_table_find(table, "", 0, &row));
    ck_assert(!ia_psk_table_find(table, text, sizeof text, &row));
}
END_TEST

START_TEST(a_row_beyond_a_bound_closes_its_identity)
{
    struct ia_psk_row row;
    ck_assert(put_row("meter-1", "device-1", 1, 0));
    const struct ia_psk_row large = {
        .identity = "meter-1", .device_id = "device-1", .sealed = {sealed, sizeof sealed}, .status = IA_PSK_ACTIVE};
    ck_assert(!ia_psk_table_put(table, &large, 0));
    ck_assert(!find_row("meter-1", &row));
    ck_assert_uint_eq(ia_psk_table_count(table), 0);
}
END_TEST

START_TEST(what_was_not_seen_is_swept_and_the_rest_is_found)
{
    char name[32];
    struct ia_psk_row row;
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "meter-%d", i);
        ck_assert(put_row(name, name, 1, i % 3 == 0));
    }
    ia_psk_table_sweep_begin(table);
    while (!ia_psk_table_sweep(table, 1, 1, 64))
        ;
    ck_assert_uint_eq(ia_psk_table_count(table), 1667);
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "meter-%d", i);
        ck_assert_int_eq(find_row(name, &row), i % 3 == 0);
    }
}
END_TEST

/* A removal moves rows into its gap, also from slots that the sweep has not visited into slots that it has. */
START_TEST(a_row_that_moves_during_a_sweep_is_visited)
{
    char name[32];
    for (int round = 0; round < 200; round++) { /* few removals move such a row */
        for (int i = 0; i < 1500; i++) {
            snprintf(name, sizeof name, "meter-%d-%d", round, i);
            ck_assert(put_row(name, name, 1, i % 2 == 1));
        }
        ia_psk_table_sweep_begin(table);
        for (int i = 1; !ia_psk_table_sweep(table, 1, 1, 1); i += 2) {
            snprintf(name, sizeof name, "meter-%d-%d", round, i % 1500); /* a row that the sweep keeps */
            ia_psk_table_remove(table, name);
        }
        for (int i = 0; i < 1500; i++) {
            snprintf(name, sizeof name, "meter-%d-%d", round, i);
            ck_assert(i % 2 == 1 || !find_row(name, &(struct ia_psk_row){0}));
            ia_psk_table_remove(table, name);
        }
    }
}
END_TEST

START_TEST(an_unchanged_row_that_is_put_again_is_not_swept)
{
    struct ia_psk_row row;
    ck_assert(put_row("meter-1", "device-1", 1, 0) && put_row("meter-2", "device-2", 1, 0));
    ck_assert(put_row("meter-1", "device-1", 1, 1));
    ia_psk_table_sweep_begin(table);
    while (!ia_psk_table_sweep(table, 1, 1, 64))
        ;
    ck_assert(find_row("meter-1", &row) && !find_row("meter-2", &row));
    ck_assert_uint_eq(ia_psk_table_count(table), 1);
}
END_TEST

START_TEST(a_sweep_keeps_the_rows_of_either_mark)
{
    struct ia_psk_row row;
    ck_assert(put_row("meter-1", "device-1", 1, 1) && put_row("meter-2", "device-2", 1, 2) &&
              put_row("meter-3", "device-3", 1, 3));
    ia_psk_table_sweep_begin(table);
    while (!ia_psk_table_sweep(table, 1, 2, 64))
        ;
    ck_assert(find_row("meter-1", &row) && find_row("meter-2", &row) && !find_row("meter-3", &row));
}
END_TEST

START_TEST(rows_are_counted_by_the_key_that_seals_them)
{
    ck_assert(put_row("meter-1", "device-1", 1, 0) && put_row("meter-2", "device-2", 1, 0));
    struct ia_psk_row row = {
        .identity = "meter-1", .device_id = "device-1", .sealed = {sealed, 60}, .key_id = IA_KEYRING_ID_MAX};
    ck_assert(ia_psk_table_put(table, &row, 0));
    ck_assert_uint_eq(ia_psk_table_count_under(table, 5), 1);
    ck_assert_uint_eq(ia_psk_table_count_under(table, IA_KEYRING_ID_MAX), 1);
    ia_psk_table_remove(table, "meter-1");
    ck_assert_uint_eq(ia_psk_table_count_under(table, IA_KEYRING_ID_MAX), 0);
}
END_TEST

START_TEST(rows_that_are_removed_leave_the_others)
{
    char name[32];
    struct ia_psk_row row;
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "%d", i);
        ck_assert(put_row(name, name, 1, 0));
    }
    for (int i = 0; i < 3000; i += 2) {
        snprintf(name, sizeof name, "%d", i);
        ia_psk_table_remove(table, name);
    }
    ia_psk_table_remove(table, "never there");
    ck_assert_uint_eq(ia_psk_table_count(table), 1500);
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "%d", i);
        ck_assert_int_eq(find_row(name, &row), i % 2 == 1);
    }
}
END_TEST

/* Its rows move to the larger array a few at a time: at each step all are found, and only they. */
START_TEST(every_row_is_found_while_the_table_grows)
{
    enum { ROWS = 20000 };
    static bool there[ROWS];
    char name[32];
    struct ia_psk_row row;
    for (unsigned i = 0; i < ROWS; i++) {
        const unsigned some[] = {i, i / 2, i * 7919U % (i + 1), i * 104729U % (i + 1)};
        snprintf(name, sizeof name, "meter-%u", i);
        ck_assert(put_row(name, name, 1, 0));
        there[i] = true;
        if (i % 3 == 0) {
            snprintf(name, sizeof name, "meter-%u", some[2]);
            ia_psk_table_remove(table, name);
            there[some[2]] = false;
        }
        for (size_t k = 0; k < 4; k++) {
            snprintf(name, sizeof name, "meter-%u", some[k]);
            ck_assert_msg(find_row(name, &row) == there[some[k]], "%s after %u", name, i);
        }
    }
    size_t count = 0;
    for (unsigned i = 0; i < ROWS; i++) {
        snprintf(name, sizeof name, "meter-%u", i);
        ck_assert_int_eq(find_row(name, &row), there[i]);
        count += there[i];
    }
    ck_assert_uint_eq(ia_psk_table_count(table), count);
    ck_assert_uint_eq(ia_psk_table_count_under(table, 5), count);
}
END_TEST

/* The sweep begins when the table has just grown: most rows are in the smaller array, and changed ones in the larger. */
START_TEST(a_sweep_of_a_table_that_is_growing_removes_what_was_not_seen)
{
    char name[32];
    struct ia_psk_row row;
    enum { ROWS = 1024 * 3 / 4 + 1 };
    for (int i = 0; i < ROWS; i++) {
        snprintf(name, sizeof name, "meter-%d", i);
        ck_assert(put_row(name, name, 1, 0));
    }
    for (int i = 0; i < ROWS; i += 2) {
        snprintf(name, sizeof name, "meter-%d", i);
        ck_assert(put_row(name, name, i % 4 ? 1 : 2, 1)); /* unchanged, or changed */
    }
    ia_psk_table_sweep_begin(table);
    while (!ia_psk_table_sweep(table, 1, 1, 5))
        ;
    for (int i = 0; i < ROWS; i++) {
        snprintf(name, sizeof name, "meter-%d", i);
        ck_assert_int_eq(find_row(name, &row), i % 2 == 0);
    }
    ck_assert_uint_eq(ia_psk_table_count(table), (ROWS + 1) / 2);
}
END_TEST

START_TEST(a_row_costs_at_most_200_bytes)
{
    enum { ROWS = 100000 };
    char name[33];
    size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
    for (int i = 0; i < ROWS; i++) {
        snprintf(name, sizeof name, "%032d", i);
        ck_assert(put_row(name, name, 1, 0));
    }
    size_t after = mallinfo2().uordblks + mallinfo2().hblkhd;
    ck_assert_uint_le(ia_psk_table_size(table) / ROWS, 200);
    if (after == before) /* AddressSanitizer's allocator, which reports nothing here */
        return;
    ck_assert_uint_le((after - before) / ROWS, 200);
    ck_assert_uint_le(ia_psk_table_size(table), after - before + 65536);
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, a_row_is_found_as_it_was_put);
    tcase_add_test(c, a_row_replaces_the_one_of_its_identity);
    tcase_add_test(c, bytes_that_are_no_identity_are_not_found);
    tcase_add_test(c, a_row_beyond_a_bound_closes_its_identity);
    tcase_add_test(c, what_was_not_seen_is_swept_and_the_rest_is_found);
    tcase_add_test(c, a_row_that_moves_during_a_sweep_is_visited);
    tcase_add_test(c, an_unchanged_row_that_is_put_again_is_not_swept);
    tcase_add_test(c, a_sweep_keeps_the_rows_of_either_mark);
    tcase_add_test(c, rows_are_counted_by_the_key_that_seals_them);
    tcase_add_test(c, rows_that_are_removed_leave_the_others);
    tcase_add_test(c, every_row_is_found_while_the_table_grows);
    tcase_add_test(c, a_sweep_of_a_table_that_is_growing_removes_what_was_not_seen);
    tcase_add_test(c, a_row_costs_at_most_200_bytes);
}

int main(void)
{
    return run_suite("psk table", cases);
}
