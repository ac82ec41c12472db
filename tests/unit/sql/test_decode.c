// SPDX-License-Identifier: ISC
/* Answers as a hostile or broken server could give them, made with libpq's own calls. */
#include "sql/private.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

struct row {
    int64_t id;
    int small;
    bool flag;
    const char *text;
    struct ia_texts list;
    uint8_t hash[32];
    int64_t at;
    enum word { WORD_UNKNOWN, WORD_ON, WORD_OFF } word;
    bool active;
};

static const struct ia_word words[] = {{"ON", WORD_ON}, {"OFF", WORD_OFF}, {NULL, 0}};

static const struct ia_column list[] = {
    IA_COLUMN(struct row, id, NOT_NULL),      IA_COLUMN(struct row, small, NULLABLE),
    IA_COLUMN(struct row, flag, NOT_NULL),    IA_COLUMN(struct row, text, NULLABLE),
    IA_COLUMN(struct row, list, NULLABLE),    IA_COLUMN(struct row, hash, NOT_NULL),
    IA_COLUMN_TIME(struct row, at, NULLABLE), IA_COLUMN_WORD(struct row, word, words),
    IA_COLUMN_ACTIVE(struct row, active),
};
#define N (sizeof list / sizeof list[0])
static const struct ia_columns columns = IA_COLUMNS(list, struct row);

static const Oid types[N] = {IA_PG_INT8,  IA_PG_INT2,        IA_PG_BOOL, IA_PG_TEXT, IA_PG_TEXT_ARRAY,
                             IA_PG_BYTEA, IA_PG_TIMESTAMPTZ, IA_PG_TEXT, IA_PG_TEXT};

struct value {
    const char *bytes;
    int len; /* -1: NULL */
};

#define HASH "0123456789abcdef0123456789abcdef"
static const struct value good[N] = {
    {"\0\0\0\0\0\0\0\7", 8}, {"\0\2", 2}, {"\1", 1},     {"hello", 5}, {"\0\0\0\0\0\0\0\0\0\0\0\x19", 12}, {HASH, 32},
    {"\0\0\0\0\0\0\0\0", 8}, {"OFF", 3},  {"ACTIVE", 6},
};

static PGresult *make(size_t n_columns, const Oid *oids, int format)
{
    PGresult *result = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    PGresAttDesc attributes[N + 1] = {0};
    char name[] = "c";
    for (size_t i = 0; i < n_columns; i++) {
        attributes[i].name = name;
        attributes[i].typid = oids[i];
        attributes[i].format = format;
    }
    ck_assert(PQsetResultAttrs(result, (int)n_columns, attributes));
    return result;
}

static void add(PGresult *result, int row, const struct value *values)
{
    for (int i = 0; i < (int)N; i++) {
        char bytes[128];
        memcpy(bytes, values[i].bytes, values[i].len > 0 ? (size_t)values[i].len : 0);
        ck_assert(PQsetvalue(result, row, i, values[i].len < 0 ? NULL : bytes, values[i].len));
    }
}

static enum ia_rc decode(PGresult *result, struct ia_arena *arena, struct ia_decoded *out, struct ia_err *err)
{
    enum ia_rc rc = ia_db_decode(result, 0, &columns, arena, out, err);
    return rc;
}

START_TEST(good_rows_fill_their_fields)
{
    PGresult *result = make(N, types, 1);
    struct ia_arena arena = {0};
    struct ia_decoded d = {0};
    add(result, 0, good);
    add(result, 1, good);
    ck_assert(decode(result, &arena, &d, NULL) == IA_OK);
    ck_assert_uint_eq(d.n, 2);
    const struct row *r = (const struct row *)d.rows + 1;
    ck_assert(r->id == 7 && r->small == 2 && r->flag && r->at == 946684800 && r->word == WORD_OFF && r->list.n == 0);
    ck_assert(r->active);
    ck_assert_str_eq(r->text, "hello");
    ck_assert(memcmp(r->hash, HASH, 32) == 0);
    ia_arena_clear(&arena);
    PQclear(result);
}
END_TEST

START_TEST(no_rows_are_no_error)
{
    PGresult *result = make(N, types, 1);
    struct ia_arena arena = {0};
    struct ia_decoded d = {0};
    ck_assert(decode(result, &arena, &d, NULL) == IA_OK);
    ck_assert_uint_eq(d.n, 0);
    ia_arena_clear(&arena);
    PQclear(result);
}
END_TEST

/* One value of a good row replaced: what comes of it. */
static const struct {
    const char *label;
    int column;
    struct value value;
    enum ia_rc rc;
} replaced[] = {
    {"id of no bytes", 0, {"", 0}, IA_FORMAT},
    {"id of 7 bytes", 0, {"1234567", 7}, IA_FORMAT},
    {"id NULL", 0, {"", -1}, IA_FORMAT},
    {"int NULL where that is allowed", 1, {"", -1}, IA_OK},
    {"int out of range", 1, {"\0\0\1\0\0\0\0\0", 8}, IA_FORMAT},
    {"bool of 4 bytes", 2, {"\0\0\0\1", 4}, IA_FORMAT},
    {"bool 2", 2, {"\2", 1}, IA_FORMAT},
    {"text with a NUL inside", 3, {"he\0lo", 5}, IA_FORMAT},
    {"text NULL where that is allowed", 3, {"", -1}, IA_OK},
    {"text empty", 3, {"", 0}, IA_OK},
    {"list cut", 4, {"\0\0\0\0\0\0\0\0\0\0\0", 11}, IA_FORMAT},
    {"list of integers", 4, {"\0\0\0\0\0\0\0\0\0\0\0\x17", 12}, IA_FORMAT},
    {"list NULL where that is allowed", 4, {"", -1}, IA_OK},
    {"hash of 31 bytes", 5, {HASH, 31}, IA_FORMAT},
    {"hash of 33 bytes", 5, {HASH "x", 33}, IA_FORMAT},
    {"hash NULL", 5, {"", -1}, IA_FORMAT},
    {"time of 4 bytes", 6, {"\0\0\0\0", 4}, IA_FORMAT},
    {"time NULL where that is allowed", 6, {"", -1}, IA_OK},
    {"word NULL", 7, {"", -1}, IA_FORMAT},
    {"word that is not known", 7, {"MAYBE", 5}, IA_OK},
    {"status NULL", 8, {"", -1}, IA_FORMAT},
};

START_TEST(replaced_values_decode_as_listed)
{
    struct value values[N];
    struct ia_arena arena = {0};
    struct ia_decoded d = {0};
    struct ia_err err = {0};
    PGresult *result = make(N, types, 1);
    memcpy(values, good, sizeof values);
    values[replaced[_i].column] = replaced[_i].value;
    add(result, 0, good);
    add(result, 1, values);
    ck_assert_msg(decode(result, &arena, &d, &err) == replaced[_i].rc, "%s: %s", replaced[_i].label, err.msg);
    if (replaced[_i].rc == IA_FORMAT)
        ck_assert_ptr_nonnull(strstr(err.msg, list[replaced[_i].column].name));
    ia_arena_clear(&arena);
    PQclear(result);
}
END_TEST

START_TEST(unknown_word_reads_as_zero)
{
    static const char *const others[] = {"", "O", "on", "ONN", "OFF ", "ON\0"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct value values[N];
        struct ia_arena arena = {0};
        struct ia_decoded d = {0};
        PGresult *result = make(N, types, 1);
        memcpy(values, good, sizeof values);
        values[7] = (struct value){others[i], (int)strlen(others[i]) + (i == 5)};
        add(result, 0, values);
        ck_assert(decode(result, &arena, &d, NULL) == IA_OK);
        ck_assert(((const struct row *)d.rows)->word == WORD_UNKNOWN);
        ia_arena_clear(&arena);
        PQclear(result);
    }
}
END_TEST

/* A status reads as active for that one word alone. */
START_TEST(only_the_word_active_is_active)
{
    static const char *const others[] = {"", "ACTIV", "active", "ACTIVE ", "INACTIVE", "REVOKED"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct value values[N];
        struct ia_arena arena = {0};
        struct ia_decoded d = {0};
        PGresult *result = make(N, types, 1);
        memcpy(values, good, sizeof values);
        values[8] = (struct value){others[i], (int)strlen(others[i])};
        add(result, 0, values);
        ck_assert(decode(result, &arena, &d, NULL) == IA_OK);
        ck_assert_msg(!((const struct row *)d.rows)->active, "'%s'", others[i]);
        ia_arena_clear(&arena);
        PQclear(result);
    }
}
END_TEST

START_TEST(columns_of_other_number_type_or_format_are_refused)
{
    struct ia_arena arena = {0};
    struct ia_decoded d = {0};
    PGresult *result = make(N - 1, types, 1);
    ck_assert(decode(result, &arena, &d, NULL) == IA_FORMAT);
    PQclear(result);
    result = make(N, types, 0);
    ck_assert(decode(result, &arena, &d, NULL) == IA_FORMAT);
    PQclear(result);
    for (size_t i = 0; i < N; i++) {
        Oid other[N];
        memcpy(other, types, sizeof other);
        other[i] = i == 2 ? IA_PG_INT4 : IA_PG_BOOL;
        result = make(N, other, 1);
        ck_assert_msg(decode(result, &arena, &d, NULL) == IA_FORMAT, "column %zu", i);
        PQclear(result);
    }
    ia_arena_clear(&arena);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("decode");
    TCase *c = tcase_create("decode");
    tcase_add_test(c, good_rows_fill_their_fields);
    tcase_add_test(c, no_rows_are_no_error);
    tcase_add_loop_test(c, replaced_values_decode_as_listed, 0, (int)(sizeof replaced / sizeof replaced[0]));
    tcase_add_test(c, unknown_word_reads_as_zero);
    tcase_add_test(c, only_the_word_active_is_active);
    tcase_add_test(c, columns_of_other_number_type_or_format_are_refused);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
