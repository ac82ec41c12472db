// SPDX-License-Identifier: ISC
#include "sql/devices.h"

#include "sql/private.h"

#include <stdlib.h>
#include <string.h>

#define NARROW_PAGE_MS 100 /* for the search of bad rows in one page, so that look-ups have their turn */

#define WORD(kind, word) {#word, IA_##kind##_##word},
static const struct ia_word device_statuses[] = {IA_DEVICE_STATUSES(WORD){NULL, 0}};
static const struct ia_word cert_statuses[] = {IA_CERT_STATUSES(WORD){NULL, 0}};
#undef WORD

static const struct ia_column device_list[] = {
    IA_COLUMN(struct ia_device_row, fingerprint, NOT_NULL),
    IA_COLUMN(struct ia_device_row, device_id, NOT_NULL),
    IA_COLUMN_WORD(struct ia_device_row, device_status, device_statuses),
    IA_COLUMN_WORD(struct ia_device_row, certificate_status, cert_statuses),
    IA_COLUMN(struct ia_device_row, certificate_ca_id, NOT_NULL),
    IA_COLUMN(struct ia_device_row, device_ca_id, NOT_NULL),
    IA_COLUMN(struct ia_device_row, tenant, NULLABLE),
    IA_COLUMN_TIME(struct ia_device_row, not_after, NULLABLE),
    IA_COLUMN(struct ia_device_row, attrs, NULLABLE),
    IA_COLUMN(struct ia_device_row, roles, NULLABLE),
    IA_COLUMN(struct ia_device_row, fault, NULLABLE),
};
static const struct ia_columns device_columns = IA_COLUMNS_WITH_FAULT(device_list, struct ia_device_row);

/* What a registration returns has no fault. */
static const struct ia_columns registered_columns = {
    .n = IA_DEVICE_COLUMNS - 1, .row_size = sizeof(struct ia_device_row), .list = device_list};

struct loaded_devices {
    struct ia_device_rows rows; /* first: it is what the caller gets */
    struct ia_arena arena;
    struct ia_kept_result *kept;
    bool narrowed; /* read by keys[0..n_done), of which … */
    size_t n_done;
    const PGresult *keys; /* … these are all */
};

/* An attribute's name without a value at the end of the list is dropped. */
static void drop_odd_attribute(struct ia_device_row *row)
{
    row->attrs.n &= ~(size_t)1;
}

enum ia_rc ia_device_row_decode(const struct ia_pg_value values[IA_DEVICE_COLUMNS], struct ia_arena *arena,
                                struct ia_device_row *row, struct ia_err *err)
{
    _Static_assert(sizeof device_list / sizeof device_list[0] == IA_DEVICE_COLUMNS, "columns");
    enum ia_rc rc = ia_db_decode_row(&device_columns, values, arena, row, err);
    if (rc == IA_OK)
        drop_odd_attribute(row);
    return rc;
}

static enum ia_rc decode_devices(const PGresult *result, int first, const struct ia_columns *columns,
                                 struct ia_arena *arena, struct ia_decoded *out, struct ia_err *err)
{
    enum ia_rc rc = ia_db_decode(result, first, columns, arena, out, err);
    if (rc != IA_OK)
        return rc;
    struct ia_device_row *rows = out->rows;
    for (size_t i = 0; i < out->n; i++)
        drop_odd_attribute(&rows[i]);
    return IA_OK;
}

static enum ia_rc load_devices(struct ia_db *db, enum ia_statement which, struct ia_params *params,
                               struct loaded_devices *l, struct ia_err *err)
{
    PGresult *result = NULL;
    struct ia_decoded decoded = {0};
    enum ia_rc rc = ia_db_query(db, which, params, &result, err);
    if (rc == IA_OK)
        rc = ia_db_keep_result(&l->arena, &l->kept, result, err);
    if (rc == IA_OK)
        rc = decode_devices(result, 0, &device_columns, &l->arena, &decoded, err);
    l->rows = (struct ia_device_rows){.rows = decoded.rows, .n = decoded.n};
    return rc;
}

/* The server has refused the statement, perhaps because of a few rows: read those that can be read. */
static enum ia_rc narrow_devices(struct ia_db *db, enum ia_statement keys_statement, struct ia_params *params,
                                 int64_t deadline_ms, struct loaded_devices *l, struct ia_err *err)
{
    PGresult *keys = NULL;
    enum ia_rc rc = ia_db_query(db, keys_statement, params, &keys, err);
    if (rc == IA_OK)
        rc = ia_db_keep_result(&l->arena, &l->kept, keys, err);
    if (rc != IA_OK)
        return rc;
    struct ia_narrow n = {.db = db,
                          .by_key = IA_S_DEVICES_BY_FINGERPRINT,
                          .columns = &device_columns,
                          .keys = keys,
                          .arena = &l->arena,
                          .kept = &l->kept,
                          .deadline_ms = deadline_ms};
    rc = ia_db_narrow(&n, err);
    if (rc != IA_OK)
        return rc;
    struct ia_device_row *rows = n.rows.rows;
    for (size_t i = 0; i < n.rows.n; i++)
        drop_odd_attribute(&rows[i]);
    // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): the caller has allocated it
    l->rows = (struct ia_device_rows){.rows = rows, .n = n.rows.n};
    l->narrowed = true;
    l->n_done = n.done;
    l->keys = keys;
    return IA_OK;
}

/* Rows by a statement or, where that is refused because of a row, by the keys that another one finds; deadline_ms 0: not by
 * keys, all rows or none. */
static enum ia_rc read_devices(struct ia_db *db, const enum ia_statement which[2], struct ia_params *params,
                               int64_t deadline_ms, struct ia_device_rows **out, struct ia_err *err)
{
    struct loaded_devices *l = calloc(1, sizeof *l);
    enum ia_rc rc = l ? load_devices(db, which[0], params, l, err) : ia_nomem(err);
    if (rc == IA_FORMAT && deadline_ms > 0 && ia_db_connected(db))
        rc = narrow_devices(db, which[1], params, deadline_ms, l, err);
    ia_params_clear(params);
    if (rc == IA_OK)
        *out = &l->rows;
    else
        ia_device_rows_free(l ? &l->rows : NULL);
    return rc;
}

void ia_device_rows_free(struct ia_device_rows *rows)
{
    if (!rows)
        return;
    struct loaded_devices *l = (struct loaded_devices *)rows; /* rows is its first member */
    ia_db_kept_clear(l->kept);
    ia_arena_clear(&l->arena);
    free(l);
}

enum ia_rc ia_db_device_by_fingerprint(struct ia_db *db, const uint8_t fingerprint[IA_FINGERPRINT_LEN],
                                       struct ia_device_rows **out, struct ia_err *err)
{
    static const enum ia_statement which[2] = {IA_S_DEVICES_BY_FINGERPRINT, IA_S_DEVICE_KEYS_BY_FINGERPRINT};
    const struct ia_pg_value item = {.bytes = fingerprint, .len = IA_FINGERPRINT_LEN};
    struct ia_params p = {0};
    ia_params_value(&p, ia_pg_value_array(&p.arena, IA_PG_BYTEA, &item, 1));
    return read_devices(db, which, &p, INT64_MAX, out, err);
}

enum ia_rc ia_db_devices_by_id(struct ia_db *db, const char *const *ids, size_t n, struct ia_device_rows **out,
                               struct ia_err *err)
{
    static const enum ia_statement which[2] = {IA_S_DEVICES_BY_ID, IA_S_DEVICE_KEYS_BY_ID};
    struct ia_params p = {0};
    ia_params_value(&p, ia_pg_text_array(&p.arena, ids, n));
    return read_devices(db, which, &p, INT64_MAX, out, err);
}

enum ia_rc ia_db_device_states(struct ia_db *db, const char *const *ids, size_t n, struct ia_device_rows **out,
                               struct ia_err *err)
{
    static const enum ia_statement which[2] = {IA_S_DEVICE_STATES, IA_S_DEVICE_STATES};
    struct ia_params p = {0};
    ia_params_value(&p, ia_pg_text_array(&p.arena, ids, n));
    return read_devices(db, which, &p, 0, out, err);
}

/* To the last row of a page, or to the last key that a search came to: its row may have been deleted since. */
static void move_cursor(struct ia_device_cursor *cursor, const struct loaded_devices *l)
{
    size_t n = l->narrowed ? l->n_done : l->rows.n;
    cursor->end = n == 0;
    if (n == 0)
        return;
    const void *last = l->narrowed ? PQgetvalue(l->keys, (int)n - 1, 0) : (const char *)l->rows.rows[n - 1].fingerprint;
    memcpy(cursor->after, last, IA_FINGERPRINT_LEN);
    cursor->begun = true;
}

enum ia_rc ia_db_device_page(struct ia_db *db, struct ia_device_cursor *cursor, struct ia_device_rows **out,
                             struct ia_err *err)
{
    static const enum ia_statement which[2] = {IA_S_DEVICE_PAGE, IA_S_DEVICE_PAGE_KEYS};
    struct ia_params p = {0};
    struct ia_device_rows *rows = NULL;
    ia_params_bytes(&p, cursor->after, cursor->begun ? IA_FINGERPRINT_LEN : 0);
    ia_params_int8(&p, IA_DEVICE_PAGE);
    enum ia_rc rc = read_devices(db, which, &p, ia_monotonic_ms() + NARROW_PAGE_MS, &rows, err);
    if (rc != IA_OK)
        return rc;
    move_cursor(cursor, (const struct loaded_devices *)rows);
    *out = rows;
    return IA_OK;
}

/* ---- registration ---- */

enum ia_rc ia_device_row_of_result(const PGresult *result, int row, int first, struct ia_arena *arena,
                                   const struct ia_device_row **out, struct ia_err *err)
{
    struct ia_pg_value values[IA_DEVICE_COLUMNS - 1];
    if (PQnfields(result) != first + IA_DEVICE_COLUMNS - 1)
        return ia_fail(err, IA_FORMAT, "PostgreSQL: a registration has %d columns", PQnfields(result));
    if (PQgetisnull(result, row, first))
        return IA_OK;
    for (int i = 0; i < IA_DEVICE_COLUMNS - 1; i++)
        values[i] = ia_db_value_at(result, row, first + i);
    struct ia_device_row *device = ia_arena_alloc(arena, sizeof *device);
    enum ia_rc rc = device ? ia_db_decode_row(&registered_columns, values, arena, device, err) : ia_nomem(err);
    if (rc != IA_OK)
        return rc;
    drop_odd_attribute(device);
    *out = device;
    return IA_OK;
}
