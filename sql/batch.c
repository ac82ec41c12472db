// SPDX-License-Identifier: ISC
#include "sql/batch.h"

#include "sql/private.h"

#include <stdlib.h>

enum ia_rc ia_db_batch_begin(struct ia_db *db, struct ia_err *err)
{
    return ia_db_batch_open(db, err);
}

bool ia_db_batch_must_end(const struct ia_db *db)
{
    return db->batch_unprepared;
}

/* Wake-ups during the batches were for the caller's other work as well: the next ia_db_wait returns at once. */
enum ia_rc ia_db_batch_end(struct ia_db *db, struct ia_err *err)
{
    static const enum ia_statement used[] = {IA_S_REGISTER_MANY};
    db->woken = true;
    return ia_db_batch_close(db, used, sizeof used / sizeof used[0], err);
}

/* The arrays that broker_register_many takes, one column of all items each. */
static void add_items(struct ia_params *p, const struct ia_registration *items, size_t n, const char *node)
{
    struct ia_arena *arena = &p->arena;
    struct ia_pg_value *fingerprints = ia_arena_array(arena, n, sizeof *fingerprints);
    const char **device_ids = ia_arena_array(arena, n, sizeof *device_ids);
    const char **serials = ia_arena_array(arena, n, sizeof *serials);
    const char **subjects = ia_arena_array(arena, n, sizeof *subjects);
    const char **addresses = ia_arena_array(arena, n, sizeof *addresses);
    const char **terms = ia_arena_array(arena, n, sizeof *terms);
    const char **provisions = ia_arena_array(arena, n, sizeof *provisions);
    int64_t *ca_ids = ia_arena_array(arena, n, sizeof *ca_ids);
    int64_t *not_before = ia_arena_array(arena, n, sizeof *not_before);
    int64_t *not_after = ia_arena_array(arena, n, sizeof *not_after);
    p->nomem |= !fingerprints || !device_ids || !serials || !subjects || !addresses || !terms || !provisions ||
                !ca_ids || !not_before || !not_after;
    for (size_t i = 0; !p->nomem && i < n; i++) {
        const struct ia_cert_info *info = items[i].info;
        fingerprints[i] = (struct ia_pg_value){.bytes = info->fingerprint, .len = IA_FINGERPRINT_LEN};
        device_ids[i] = items[i].device_id;
        ca_ids[i] = items[i].ca_id;
        serials[i] = info->serial;
        subjects[i] = info->subject;
        not_before[i] = ia_pg_time_us_of(info->not_before);
        not_after[i] = ia_pg_time_us_of(info->not_after);
        addresses[i] = items[i].address;
        terms[i] = items[i].terms;
        provisions[i] = items[i].provision;
    }
    if (p->nomem)
        return;
    ia_params_value(p, ia_pg_value_array(arena, IA_PG_BYTEA, fingerprints, n));
    ia_params_value(p, ia_pg_text_array(arena, device_ids, n));
    ia_params_value(p, ia_pg_int8_array(arena, ca_ids, n, false));
    ia_params_value(p, ia_pg_text_array(arena, serials, n));
    ia_params_value(p, ia_pg_text_array(arena, subjects, n));
    ia_params_value(p, ia_pg_time_us_array(arena, not_before, n, false));
    ia_params_value(p, ia_pg_time_us_array(arena, not_after, n, false));
    ia_params_text(p, node);
    ia_params_value(p, ia_pg_text_array(arena, addresses, n));
    ia_params_value(p, ia_pg_text_array(arena, terms, n));
    ia_params_value(p, ia_pg_text_array(arena, provisions, n));
}

enum ia_rc ia_db_batch_register(struct ia_db *db, const struct ia_registration *items, size_t n, const char *node,
                                struct ia_err *err)
{
    struct ia_params p = {0};
    add_items(&p, items, n, node);
    enum ia_rc rc = ia_db_batch_send(db, IA_S_REGISTER_MANY, &p, err);
    ia_params_clear(&p);
    return rc;
}

struct outcome {
    int item; /* from 1 */
    const char *outcome, *detail;
};

/* The device's columns follow, all NULL where there is no record. */
static const struct ia_column outcome_list[] = {
    IA_COLUMN(struct outcome, item, NOT_NULL),
    IA_COLUMN(struct outcome, outcome, NOT_NULL),
    IA_COLUMN(struct outcome, detail, NULLABLE),
};
#define OUTCOME_COLUMNS (sizeof outcome_list / sizeof outcome_list[0])
static const struct ia_columns outcome_columns = {
    .n = OUTCOME_COLUMNS, .row_size = sizeof(struct outcome), .list = outcome_list, .others_follow = true};

struct registered_items {
    struct ia_registered_items pub; /* first: it is what the caller gets */
    struct ia_registered *items;
    struct ia_arena arena;
    PGresult *result;
};

static enum ia_rc decode_item(struct registered_items *r, int row, const struct outcome *outcome, struct ia_err *err)
{
    // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): the caller stops before the last of the decoded rows
    if (outcome->item < 1 || (size_t)outcome->item > r->pub.n || r->items[outcome->item - 1].outcome)
        return ia_fail(err, IA_FORMAT, "PostgreSQL: broker_register_many returned item %d", outcome->item);
    struct ia_registered *item = &r->items[outcome->item - 1];
    item->outcome = outcome->outcome;
    item->detail = outcome->detail;
    return ia_device_row_of_result(r->result, row, (int)OUTCOME_COLUMNS, &r->arena, &item->device, err);
}

static enum ia_rc decode_items(struct registered_items *r, size_t n, struct ia_err *err)
{
    struct ia_decoded rows = {0};
    r->items = ia_arena_array(&r->arena, n, sizeof *r->items);
    r->pub = (struct ia_registered_items){.items = r->items, .n = n};
    enum ia_rc rc = r->items ? ia_db_decode(r->result, 0, &outcome_columns, &r->arena, &rows, err) : ia_nomem(err);
    if (rc == IA_OK && rows.n != n)
        rc = ia_fail(err, IA_FORMAT, "PostgreSQL: broker_register_many returned %zu rows for %zu items", rows.n, n);
    const struct outcome *outcomes = rows.rows;
    for (size_t i = 0; rc == IA_OK && i < n; i++)
        rc = decode_item(r, (int)i, &outcomes[i], err);
    return rc;
}

enum ia_rc ia_db_batch_registered(struct ia_db *db, size_t n, struct ia_registered_items **out, struct ia_err *err)
{
    PGresult *result = NULL;
    enum ia_rc rc = ia_db_batch_receive(db, IA_S_REGISTER_MANY, &result, err);
    if (rc != IA_OK)
        return rc;
    struct registered_items *r = calloc(1, sizeof *r);
    if (!r) {
        PQclear(result);
        return ia_nomem(err);
    }
    r->result = result;
    rc = decode_items(r, n, err);
    if (rc == IA_OK)
        *out = &r->pub;
    else
        ia_registered_items_free(&r->pub);
    return rc;
}

void ia_registered_items_free(struct ia_registered_items *items)
{
    if (!items)
        return;
    struct registered_items *r = (struct registered_items *)items; /* pub is its first member */
    PQclear(r->result);
    ia_arena_clear(&r->arena);
    free(r);
}
