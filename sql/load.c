// SPDX-License-Identifier: ISC
/* Loading the configuration: all parts in one transaction, and where the server refuses one of them, the others without
 * it.  A refused part, or one bad row of it, must not hold back what the others say: a revoked CA is in one of them. */
#include "sql/load.h"

#include <stdlib.h>

#define NARROW_MS 5000 /* for the search of the bad rows of one part; what is left then has a fault */

/* One transaction that sees one moment, in one round trip. */
static bool send_parts(struct ia_db *db, unsigned what)
{
    bool sent = PQsendQueryParams(db->conn, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", 0, NULL, NULL, NULL,
                                  NULL, 1) == 1;
    for (size_t i = 0; sent && i < IA_PARTS; i++)
        if (what & ia_parts[i].load)
            sent = PQsendQueryPrepared(db->conn, ia_statements[ia_parts[i].all].name, 0, NULL, NULL, NULL, 1) == 1;
    return sent && PQsendQueryParams(db->conn, "COMMIT", 0, NULL, NULL, NULL, NULL, 1) == 1 &&
           PQpipelineSync(db->conn) == 1;
}

/* *refused is the index of the part that the server refused, IA_PARTS where it was none of them. */
static enum ia_rc receive_parts(struct ia_db *db, unsigned what, struct ia_loaded *l, size_t *refused,
                                struct ia_err *err)
{
    int64_t deadline = ia_monotonic_ms() + db->query_timeout_ms;
    enum ia_rc rc = ia_db_skip_result(db, deadline, "BEGIN", err);
    for (size_t i = 0; rc == IA_OK && i < IA_PARTS; i++) {
        if (!(what & ia_parts[i].load))
            continue;
        rc = ia_db_next_result(db, deadline, ia_statements[ia_parts[i].all].name, &l->results[i], err);
        if (rc != IA_OK)
            *refused = i;
    }
    if (rc == IA_OK)
        rc = ia_db_skip_result(db, deadline, "COMMIT", err);
    return rc == IA_OK ? ia_db_pipeline_end(db, deadline, err) : rc;
}

/* A statement was refused (a table is locked, say): end the pipeline and the transaction, and the connection goes
 * on. */
static void end_refused_load(struct ia_db *db)
{
    int64_t deadline = ia_monotonic_ms() + db->query_timeout_ms;
    if (ia_db_pipeline_end(db, deadline, NULL) != IA_OK ||
        PQsendQueryParams(db->conn, "ROLLBACK", 0, NULL, NULL, NULL, NULL, 1) != 1 ||
        ia_db_skip_result(db, deadline, "ROLLBACK", NULL) != IA_OK)
        ia_db_disconnect(db);
}

static enum ia_rc fetch_parts(struct ia_db *db, unsigned what, struct ia_loaded *l, size_t *refused, struct ia_err *err)
{
    *refused = IA_PARTS;
    enum ia_rc rc = ia_db_pipeline_begin(db, err);
    if (rc != IA_OK)
        return rc;
    rc = send_parts(db, what) ? receive_parts(db, what, l, refused, err) : ia_db_lost(db, err);
    bool again = db->prepare_again;
    if (rc != IA_OK && ia_db_connected(db))
        end_refused_load(db);
    db->prepare_again = again;
    return rc;
}

/* ---- one part by itself ---- */

static enum ia_rc take_rows(struct ia_loaded *l, const struct ia_part *part, const struct ia_decoded *decoded,
                            struct ia_err *err)
{
    return part->take(l, decoded) ? IA_OK : ia_nomem(err);
}

static enum ia_rc decode_part(struct ia_loaded *l, size_t i, struct ia_err *err)
{
    struct ia_decoded decoded;
    enum ia_rc rc = ia_db_decode(l->results[i], 0, &ia_parts[i].columns, &l->arena, &decoded, err);
    return rc == IA_OK ? take_rows(l, &ia_parts[i], &decoded, err) : rc;
}

/* Search for the rows that the server cannot return. */
static enum ia_rc narrow_part(struct ia_db *db, struct ia_loaded *l, const struct ia_part *part, struct ia_err *err)
{
    PGresult *keys = NULL;
    enum ia_rc rc = ia_db_query(db, part->keys, NULL, &keys, err);
    if (rc != IA_OK)
        return rc;
    rc = ia_db_keep_result(&l->arena, &l->kept, keys, err);
    if (rc != IA_OK)
        return rc;
    struct ia_narrow n = {.db = db,
                          .by_key = part->by_key,
                          .columns = &part->columns,
                          .keys = keys,
                          .arena = &l->arena,
                          .kept = &l->kept,
                          .deadline_ms = ia_monotonic_ms() + NARROW_MS};
    rc = ia_db_narrow(&n, err);
    if (rc == IA_OK)
        rc = ia_db_narrow_give_up(&n, err);
    return rc == IA_OK ? take_rows(l, part, &n.rows, err) : rc;
}

static void note_missing(struct ia_loaded *l, const struct ia_part *part, enum ia_rc rc, const struct ia_err *why)
{
    if (!l->rows.missing)
        (void)ia_fail(&l->rows.refusal, rc, "%s: %s", part->name, why->msg);
    l->rows.missing |= (unsigned)part->load;
}

/* The server has refused this part in the transaction of all: once more by itself, where that may help. */
static enum ia_rc load_refused(struct ia_db *db, struct ia_loaded *l, size_t i, enum ia_rc rc, struct ia_err *err)
{
    const struct ia_part *part = &ia_parts[i];
    if (rc == IA_UNAVAILABLE && db->prepare_again)
        rc = ia_db_query(db, part->all, NULL, &l->results[i], err);
    if (rc == IA_FORMAT)
        rc = narrow_part(db, l, part, err);
    if (rc == IA_NOMEM || !ia_db_connected(db))
        return rc;
    if (rc != IA_OK)
        note_missing(l, part, rc, err);
    return IA_OK;
}

/* ---- all ---- */

static unsigned received_parts(const struct ia_loaded *l)
{
    unsigned received = 0;
    for (size_t i = 0; i < IA_PARTS; i++)
        if (l->results[i])
            received |= (unsigned)ia_parts[i].load;
    return received;
}

/* Each round is done with at least one part: with those before the refused one, and with that. */
static enum ia_rc fetch_all(struct ia_db *db, unsigned what, struct ia_loaded *l, struct ia_err *err)
{
    while (what) {
        size_t refused;
        struct ia_err why = {0};
        enum ia_rc rc = fetch_parts(db, what, l, &refused, &why);
        if (rc != IA_OK && (refused == IA_PARTS || rc == IA_NOMEM || !ia_db_connected(db)))
            return ia_fail(err, rc, "%s", why.msg);
        if (rc == IA_OK)
            return IA_OK;
        what &= ~(received_parts(l) | (unsigned)ia_parts[refused].load);
        rc = load_refused(db, l, refused, rc, &why);
        if (rc != IA_OK)
            return ia_fail(err, rc, "%s", why.msg);
    }
    return IA_OK;
}

static enum ia_rc decode_all(struct ia_loaded *l, struct ia_err *err)
{
    for (size_t i = 0; i < IA_PARTS; i++) {
        struct ia_err why = {0};
        enum ia_rc rc = l->results[i] ? decode_part(l, i, &why) : IA_OK;
        if (rc == IA_NOMEM)
            return ia_nomem(err);
        if (rc != IA_OK)
            note_missing(l, &ia_parts[i], rc, &why);
    }
    return IA_OK;
}

enum ia_rc ia_db_load(struct ia_db *db, unsigned what, struct ia_rows **out, struct ia_err *err)
{
    struct ia_loaded *l = calloc(1, sizeof *l);
    if (!l)
        return ia_nomem(err);
    enum ia_rc rc = fetch_all(db, what, l, err);
    if (rc == IA_OK)
        rc = decode_all(l, err);
    if (rc == IA_OK)
        *out = &l->rows;
    else
        ia_rows_free(&l->rows);
    return rc;
}

void ia_rows_free(struct ia_rows *rows)
{
    if (!rows)
        return;
    struct ia_loaded *l = (struct ia_loaded *)rows; /* rows is its first member */
    for (size_t i = 0; i < IA_PARTS; i++)
        PQclear(l->results[i]);
    ia_db_kept_clear(l->kept);
    ia_arena_clear(&l->arena);
    free(l);
}
