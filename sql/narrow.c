// SPDX-License-Identifier: ISC
/* The search for rows that the server cannot return.  A statement over many rows is refused as a whole where one of
 * them cannot be evaluated; halves of it are asked for until that row stands alone.  One bad row among n costs about
 * 2 log2(n) statements. */
#include "sql/private.h"

#include <string.h>

#define REFUSED_MAX 64 /* single rows refused with none read: then no row is the cause */

struct ia_kept_result {
    struct ia_kept_result *next;
    PGresult *result;
};

enum ia_rc ia_db_keep_result(struct ia_arena *arena, struct ia_kept_result **kept, PGresult *result, struct ia_err *err)
{
    struct ia_kept_result *k = ia_arena_alloc(arena, sizeof *k);
    if (!k) {
        PQclear(result);
        return ia_nomem(err);
    }
    *k = (struct ia_kept_result){.next = *kept, .result = result};
    *kept = k;
    return IA_OK;
}

void ia_db_kept_clear(struct ia_kept_result *kept)
{
    for (; kept; kept = kept->next)
        PQclear(kept->result);
}

/* The rows of keys [from, from + n). */
static enum ia_rc read_some(struct ia_narrow *s, size_t from, size_t n, struct ia_decoded *out, struct ia_err *err)
{
    struct ia_params p = {0};
    struct ia_pg_value *items = ia_arena_array(&p.arena, n, sizeof *items);
    for (size_t i = 0; items && i < n; i++)
        items[i] = ia_db_value_at(s->keys, (int)(from + i), 0);
    ia_params_value(&p, items ? ia_pg_value_array(&p.arena, PQftype(s->keys, 0), items, n) : (struct ia_pg_value){0});
    PGresult *result = NULL;
    enum ia_rc rc = ia_db_query(s->db, s->by_key, &p, &result, err);
    ia_params_clear(&p);
    if (rc == IA_OK)
        rc = ia_db_keep_result(s->arena, s->kept, result, err);
    return rc == IA_OK ? ia_db_decode(result, 0, s->columns, s->arena, out, err) : rc;
}

static enum ia_rc append_rows(struct ia_narrow *s, const struct ia_decoded *more, struct ia_err *err)
{
    size_t size = s->columns->row_size;
    if (s->rows.n + more->n > s->capacity) {
        size_t capacity = 2 * (s->rows.n + more->n);
        void *rows = ia_arena_array(s->arena, capacity, size);
        if (!rows)
            return ia_nomem(err);
        if (s->rows.n)
            memcpy(rows, s->rows.rows, s->rows.n * size);
        s->rows.rows = rows;
        s->capacity = capacity;
    }
    if (more->n)
        memcpy((unsigned char *)s->rows.rows + s->rows.n * size, more->rows, more->n * size);
    s->rows.n += more->n;
    return IA_OK;
}

/* The row of key `at` with nothing but what its key says, and why as its fault. */
static enum ia_rc append_fault(struct ia_narrow *s, size_t at, const char *why, struct ia_err *err)
{
    struct ia_pg_value values[IA_COLUMNS_MAX] = {0};
    size_t len = strlen(why);
    char *text = ia_arena_alloc(s->arena, len + 1);
    void *row = ia_arena_alloc(s->arena, s->columns->row_size);
    if (!text || !row)
        return ia_nomem(err);
    memcpy(text, why, len + 1);
    for (size_t i = 0; i < (size_t)PQnfields(s->keys) && i < s->columns->n; i++)
        values[i] = ia_db_value_at(s->keys, (int)at, (int)i);
    values[s->columns->n - 1] = (struct ia_pg_value){.bytes = (const uint8_t *)text, .len = len};
    enum ia_rc rc = ia_db_decode_row(s->columns, values, s->arena, row, err);
    struct ia_decoded one = {.rows = row, .n = 1};
    return rc == IA_OK ? append_rows(s, &one, err) : rc;
}

/* Is this row the cause?  Not so for what a later attempt may resolve (a lock), or a lost connection. */
static bool is_row_refused(const struct ia_narrow *s, enum ia_rc rc)
{
    return rc == IA_FORMAT && ia_db_connected(s->db);
}

enum ia_rc ia_db_narrow(struct ia_narrow *s, struct ia_err *err)
{
    size_t n = (size_t)PQntuples(s->keys), step = n, refused = 0;
    bool any_read = false;
    while (s->done < n && (s->done == 0 || ia_monotonic_ms() < s->deadline_ms)) {
        struct ia_err why = {0};
        struct ia_decoded some = {0};
        if (step > n - s->done)
            step = n - s->done;
        enum ia_rc rc = read_some(s, s->done, step, &some, &why);
        if (rc != IA_OK && (!is_row_refused(s, rc) || refused == REFUSED_MAX))
            return ia_fail(err, rc, "%s", why.msg);
        if (rc != IA_OK && step > 1) {
            step /= 2;
            continue;
        }
        any_read |= rc == IA_OK;
        refused = any_read ? 0 : refused + 1;
        rc = rc == IA_OK ? append_rows(s, &some, err) : append_fault(s, s->done, why.msg, err);
        if (rc != IA_OK)
            return rc;
        s->done += step;
        step *= 2;
    }
    return IA_OK;
}

enum ia_rc ia_db_narrow_give_up(struct ia_narrow *s, struct ia_err *err)
{
    enum ia_rc rc = IA_OK;
    for (; rc == IA_OK && s->done < (size_t)PQntuples(s->keys); s->done++)
        rc = append_fault(s, s->done, "PostgreSQL: not read: too many rows are refused", err);
    return rc;
}
