// SPDX-License-Identifier: ISC
#include "sql/psks.h"

#include "sql/private.h"

#include <stdlib.h>

static const struct ia_word psk_statuses[] = {
    {"INACTIVE", IA_PSK_INACTIVE}, {"ACTIVE", IA_PSK_ACTIVE}, {"REVOKED", IA_PSK_REVOKED}, {NULL, 0}};

static const struct ia_column psk_list[] = {
    IA_COLUMN(struct ia_psk_row, identity, NOT_NULL),        IA_COLUMN(struct ia_psk_row, device_id, NOT_NULL),
    IA_COLUMN(struct ia_psk_row, key_id, NOT_NULL),          IA_COLUMN(struct ia_psk_row, sealed, NOT_NULL),
    IA_COLUMN_WORD(struct ia_psk_row, status, psk_statuses), IA_COLUMN_TIME(struct ia_psk_row, expires_at, NULLABLE),
    IA_COLUMN(struct ia_psk_row, problem, NULLABLE),
};
static const struct ia_columns psk_columns = IA_COLUMNS(psk_list, struct ia_psk_row);

/* The caller gets the first member; the rest is the memory that it refers to. */
struct loaded_psks {
    struct ia_psk_rows rows;
    struct ia_arena arena;
    PGresult *result;
};

void ia_psk_rows_free(struct ia_psk_rows *rows)
{
    struct loaded_psks *l = (struct loaded_psks *)rows; /* rows is its first member */
    if (!l)
        return;
    PQclear(l->result);
    ia_arena_clear(&l->arena);
    free(l);
}

/* Takes the parameters away. */
static enum ia_rc load_psks(struct ia_db *db, enum ia_statement which, struct ia_params *params,
                            struct ia_psk_rows **out, struct ia_err *err)
{
    struct ia_decoded decoded = {0};
    struct loaded_psks *l = calloc(1, sizeof *l);
    if (!l) {
        ia_params_clear(params);
        return ia_nomem(err);
    }
    enum ia_rc rc = ia_db_query(db, which, params, &l->result, err);
    ia_params_clear(params);
    if (rc == IA_OK)
        rc = ia_db_decode(l->result, 0, &psk_columns, &l->arena, &decoded, err);
    if (rc != IA_OK) {
        ia_psk_rows_free(&l->rows);
        return rc;
    }
    l->rows = (struct ia_psk_rows){.rows = decoded.rows, .n = decoded.n};
    *out = &l->rows;
    return IA_OK;
}

enum ia_rc ia_db_psk_page(struct ia_db *db, const char *after, struct ia_psk_rows **out, struct ia_err *err)
{
    struct ia_params p = {0};
    ia_params_text(&p, after);
    ia_params_int8(&p, IA_PSK_PAGE);
    return load_psks(db, IA_S_PSK_PAGE, &p, out, err);
}

enum ia_rc ia_db_psks_by_identity(struct ia_db *db, const char *const *identities, size_t n, struct ia_psk_rows **out,
                                  struct ia_err *err)
{
    struct ia_params p = {0};
    ia_params_value(&p, ia_pg_text_array(&p.arena, identities, n));
    return load_psks(db, IA_S_PSKS_BY_IDENTITY, &p, out, err);
}
