// SPDX-License-Identifier: ISC
/* Answers to rows, by tables of columns. */
#include "sql/private.h"
#include "x509/cert.h"

#include <limits.h>
#include <string.h>

/* One value of an answer and the field that it goes to. */
struct cell {
    struct ia_pg_value value;
    const struct ia_column *column;
    struct ia_arena *arena;
    void *field;
    bool nomem;
};

static bool decode_int64(struct cell *c)
{
    int64_t value;
    if (!ia_pg_int(c->value, &value))
        return false;
    memcpy(c->field, &value, sizeof value);
    return true;
}

static bool decode_int(struct cell *c)
{
    int64_t wide;
    if (!ia_pg_int(c->value, &wide) || wide < INT_MIN || wide > INT_MAX)
        return false;
    int value = (int)wide;
    memcpy(c->field, &value, sizeof value);
    return true;
}

static bool decode_bool(struct cell *c)
{
    return ia_pg_bool(c->value, c->field);
}

/* libpq ends every value with a NUL; one inside would make the text another than it is. */
static bool decode_text(struct cell *c)
{
    if (memchr(c->value.bytes, 0, c->value.len))
        return false;
    const char *text = (const char *)c->value.bytes;
    memcpy(c->field, &text, sizeof text);
    return true;
}

static bool decode_texts(struct cell *c)
{
    struct ia_texts texts;
    if (!ia_pg_texts(c->value, c->arena, &texts, &c->nomem))
        return false;
    memcpy(c->field, &texts, sizeof texts);
    return true;
}

static bool decode_sha256(struct cell *c)
{
    if (c->value.len != IA_FINGERPRINT_LEN)
        return false;
    memcpy(c->field, c->value.bytes, IA_FINGERPRINT_LEN);
    return true;
}

static bool decode_octets(struct cell *c)
{
    const struct ia_octets octets = {.at = c->value.bytes, .len = c->value.len};
    memcpy(c->field, &octets, sizeof octets);
    return true;
}

static bool decode_time_s(struct cell *c)
{
    int64_t value;
    if (!ia_pg_time_s(c->value, &value))
        return false;
    memcpy(c->field, &value, sizeof value);
    return true;
}

static bool decode_word(struct cell *c)
{
    unsigned value = 0;
    for (const struct ia_word *w = c->column->words; w->text; w++)
        if (strlen(w->text) == c->value.len && memcmp(w->text, c->value.bytes, c->value.len) == 0)
            value = w->value;
    memcpy(c->field, &value, sizeof value);
    return true;
}

static bool decode_active(struct cell *c)
{
    bool active = c->value.len == strlen("ACTIVE") && memcmp(c->value.bytes, "ACTIVE", c->value.len) == 0;
    memcpy(c->field, &active, sizeof active);
    return true;
}

/* The types on the wire that each kind takes; 0 fills up. */
static const struct {
    bool (*decode)(struct cell *c);
    Oid types[3];
} kinds[] = {
    [IA_COL_INT64] = {decode_int64, {IA_PG_INT8, IA_PG_INT4, IA_PG_INT2}},
    [IA_COL_INT] = {decode_int, {IA_PG_INT4, IA_PG_INT2, IA_PG_INT8}},
    [IA_COL_BOOL] = {decode_bool, {IA_PG_BOOL}},
    [IA_COL_TEXT] = {decode_text, {IA_PG_TEXT}},
    [IA_COL_TEXTS] = {decode_texts, {IA_PG_TEXT_ARRAY}},
    [IA_COL_SHA256] = {decode_sha256, {IA_PG_BYTEA}},
    [IA_COL_OCTETS] = {decode_octets, {IA_PG_BYTEA}},
    [IA_COL_TIME_S] = {decode_time_s, {IA_PG_TIMESTAMPTZ}},
    [IA_COL_ACTIVE] = {decode_active, {IA_PG_TEXT}},
    [IA_COL_WORD] = {decode_word, {IA_PG_TEXT}},
};

static bool type_fits(const struct ia_column *column, Oid type)
{
    const Oid *types = kinds[column->kind].types;
    return type != 0 && (type == types[0] || type == types[1] || type == types[2]);
}

/* Are there all columns, and format and types those of the table? */
static enum ia_rc check_columns(const PGresult *result, int first, const struct ia_columns *columns, struct ia_err *err)
{
    int surplus = PQnfields(result) - first - (int)columns->n;
    if (columns->n > IA_COLUMNS_MAX || surplus < 0 || (surplus > 0 && !columns->others_follow))
        return ia_fail(err, IA_FORMAT, "PostgreSQL: answer has %d columns instead of %d", PQnfields(result),
                       first + (int)columns->n);
    for (size_t i = 0; i < columns->n; i++) {
        int field = first + (int)i;
        if (PQfformat(result, field) != 1 || !type_fits(&columns->list[i], PQftype(result, field)))
            return ia_fail(err, IA_FORMAT, "PostgreSQL: column %s is of type %u", columns->list[i].name,
                           PQftype(result, field));
    }
    return IA_OK;
}

static enum ia_rc decode_value(const struct ia_column *column, struct ia_pg_value value, struct ia_arena *arena,
                               void *row, struct ia_err *err)
{
    struct cell c = {.value = value, .column = column, .arena = arena, .field = (unsigned char *)row + column->offset};
    if (!value.bytes) {
        if (column->null_ok)
            return IA_OK; /* the field is zero already */
        return ia_fail(err, IA_FORMAT, "PostgreSQL: column %s is NULL", column->name);
    }
    if (kinds[column->kind].decode(&c))
        return IA_OK;
    if (c.nomem)
        return ia_nomem(err);
    return ia_fail(err, IA_FORMAT, "PostgreSQL: column %s is malformed", column->name);
}

static const char **text_field(const struct ia_column *column, void *row)
{
    return (const char **)(void *)((unsigned char *)row + column->offset);
}

/* The row keeps what can be read of it, and says in `fault` what cannot. */
static enum ia_rc note_fault(const struct ia_columns *columns, const struct ia_column *column, struct ia_arena *arena,
                             void *row, const struct ia_err *wrong)
{
    const char **fault = text_field(columns->fault, row);
    if (column->kind == IA_COL_TEXT && !column->null_ok)
        *text_field(column, row) = "";
    if (*fault)
        return IA_OK;
    size_t size = strlen(wrong->msg) + 1;
    char *text = ia_arena_alloc(arena, size);
    if (!text)
        return IA_NOMEM;
    memcpy(text, wrong->msg, size);
    *fault = text;
    return IA_OK;
}

/* The fault that SQL found comes first: SQL knows the value that it did not return. */
enum ia_rc ia_db_decode_row(const struct ia_columns *columns, const struct ia_pg_value *values, struct ia_arena *arena,
                            void *row, struct ia_err *err)
{
    for (size_t i = columns->n; i-- > 0;) {
        struct ia_err wrong = {0};
        const struct ia_column *column = &columns->list[i];
        enum ia_rc rc = decode_value(column, values[i], arena, row, &wrong);
        if (rc == IA_FORMAT && columns->fault)
            rc = note_fault(columns, column, arena, row, &wrong);
        if (rc == IA_NOMEM)
            return ia_nomem(err);
        if (rc != IA_OK)
            return ia_fail(err, rc, "%s", wrong.msg);
    }
    return IA_OK;
}

struct ia_pg_value ia_db_value_at(const PGresult *result, int row, int field)
{
    if (PQgetisnull(result, row, field))
        return (struct ia_pg_value){0};
    return (struct ia_pg_value){.bytes = (const uint8_t *)PQgetvalue(result, row, field),
                                .len = (size_t)PQgetlength(result, row, field)};
}

enum ia_rc ia_db_decode(const PGresult *result, int first, const struct ia_columns *columns, struct ia_arena *arena,
                        struct ia_decoded *out, struct ia_err *err)
{
    enum ia_rc rc = check_columns(result, first, columns, err);
    if (rc != IA_OK)
        return rc;
    int n = PQntuples(result);
    unsigned char *rows = ia_arena_array(arena, (size_t)n, columns->row_size);
    if (!rows)
        return ia_nomem(err);
    for (int row = 0; row < n; row++) {
        struct ia_pg_value values[IA_COLUMNS_MAX];
        for (size_t i = 0; i < columns->n; i++)
            values[i] = ia_db_value_at(result, row, first + (int)i);
        rc = ia_db_decode_row(columns, values, arena, rows + (size_t)row * columns->row_size, err);
        if (rc != IA_OK)
            return rc;
    }
    *out = (struct ia_decoded){.rows = rows, .n = (size_t)n};
    return IA_OK;
}
