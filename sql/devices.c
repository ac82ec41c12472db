// SPDX-License-Identifier: ISC
#include "sql/devices.h"

#include "sql/private.h"

#include <stdlib.h>

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
};
static const struct ia_columns device_columns = IA_COLUMNS(device_list, struct ia_device_row);

struct loaded_devices {
    struct ia_device_rows rows;
    struct ia_arena arena;
    PGresult *result;
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
    for (size_t i = 0; i < IA_DEVICE_COLUMNS; i++) {
        enum ia_rc rc = ia_db_decode_value(&device_list[i], values[i], arena, row, err);
        if (rc != IA_OK)
            return rc;
    }
    drop_odd_attribute(row);
    return IA_OK;
}

static enum ia_rc decode_devices(const PGresult *result, int first, struct ia_arena *arena, struct ia_decoded *out,
                                 struct ia_err *err)
{
    enum ia_rc rc = ia_db_decode(result, first, &device_columns, arena, out, err);
    if (rc != IA_OK)
        return rc;
    struct ia_device_row *rows = out->rows;
    for (size_t i = 0; i < out->n; i++)
        drop_odd_attribute(&rows[i]);
    return IA_OK;
}

static enum ia_rc load_devices(struct ia_db *db, enum ia_statement which, struct ia_params *params,
                               struct ia_device_rows **out, struct ia_err *err)
{
    struct loaded_devices *l = calloc(1, sizeof *l);
    if (!l) {
        ia_params_clear(params);
        return ia_nomem(err);
    }
    struct ia_decoded decoded = {0};
    enum ia_rc rc = ia_db_query(db, which, params, &l->result, err);
    ia_params_clear(params);
    if (rc == IA_OK)
        rc = decode_devices(l->result, 0, &l->arena, &decoded, err);
    l->rows = (struct ia_device_rows){.rows = decoded.rows, .n = decoded.n};
    if (rc == IA_OK)
        *out = &l->rows;
    else
        ia_device_rows_free(&l->rows);
    return rc;
}

void ia_device_rows_free(struct ia_device_rows *rows)
{
    if (!rows)
        return;
    struct loaded_devices *l = (struct loaded_devices *)rows; /* rows is its first member */
    PQclear(l->result);
    ia_arena_clear(&l->arena);
    free(l);
}

enum ia_rc ia_db_device_by_fingerprint(struct ia_db *db, const uint8_t fingerprint[IA_FINGERPRINT_LEN],
                                       struct ia_device_rows **out, struct ia_err *err)
{
    struct ia_params p = {0};
    ia_params_bytes(&p, fingerprint, IA_FINGERPRINT_LEN);
    return load_devices(db, IA_S_DEVICE_BY_FINGERPRINT, &p, out, err);
}

enum ia_rc ia_db_devices_by_id(struct ia_db *db, const char *const *ids, size_t n, struct ia_device_rows **out,
                               struct ia_err *err)
{
    struct ia_params p = {0};
    ia_params_value(&p, ia_pg_text_array(&p.arena, ids, n));
    return load_devices(db, IA_S_DEVICES_BY_ID, &p, out, err);
}

/* ---- registration ---- */

struct answer {
    const char *outcome, *detail;
};

struct registered {
    struct ia_registered pub;
    struct ia_arena arena;
    PGresult *result;
};

/* outcome and detail go to a struct answer; the device's columns follow, all NULL where there is no record. */
static const struct ia_column answer_list[] = {
    IA_COLUMN(struct answer, outcome, NOT_NULL),
    IA_COLUMN(struct answer, detail, NULLABLE),
};
static const struct ia_columns answer_columns = IA_COLUMNS(answer_list, struct answer);

static enum ia_rc decode_registered(struct registered *r, struct ia_err *err)
{
    struct ia_decoded answers, devices = {0};
    enum ia_rc rc = ia_db_decode(r->result, 0, &answer_columns, &r->arena, &answers, err);
    if (rc != IA_OK)
        return rc;
    if (answers.n != 1)
        return ia_fail(err, IA_FORMAT, "PostgreSQL: broker_register gave %zu rows", answers.n);
    const struct answer *answer = answers.rows;
    r->pub.outcome = answer->outcome;
    r->pub.detail = answer->detail;
    if (PQnfields(r->result) > 2 && PQgetisnull(r->result, 0, 2))
        return IA_OK;
    rc = decode_devices(r->result, 2, &r->arena, &devices, err);
    r->pub.device = devices.rows;
    return rc;
}

static void add_registration(struct ia_params *p, const struct ia_registration *what)
{
    ia_params_bytes(p, what->info->fingerprint, IA_FINGERPRINT_LEN);
    ia_params_text(p, what->device_id);
    ia_params_int8(p, what->ca_id);
    ia_params_text(p, what->info->serial);
    ia_params_text(p, what->info->subject);
    ia_params_time_s(p, what->info->not_before);
    ia_params_time_s(p, what->info->not_after);
    ia_params_text(p, what->node);
    ia_params_text(p, what->address);
}

enum ia_rc ia_db_register(struct ia_db *db, const struct ia_registration *what, struct ia_registered **out,
                          struct ia_err *err)
{
    struct registered *r = calloc(1, sizeof *r);
    if (!r)
        return ia_nomem(err);
    struct ia_params p = {0};
    add_registration(&p, what);
    enum ia_rc rc = ia_db_query(db, IA_S_REGISTER, &p, &r->result, err);
    ia_params_clear(&p);
    if (rc == IA_OK)
        rc = decode_registered(r, err);
    if (rc == IA_OK)
        *out = &r->pub;
    else
        ia_registered_free(&r->pub);
    return rc;
}

void ia_registered_free(struct ia_registered *registered)
{
    if (!registered)
        return;
    struct registered *r = (struct registered *)registered; /* pub is its first member */
    PQclear(r->result);
    ia_arena_clear(&r->arena);
    free(r);
}
