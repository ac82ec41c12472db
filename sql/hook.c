// SPDX-License-Identifier: ISC
#include "sql/hook.h"

#include "sql/pg_error.h"
#include "sql/private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum ia_rc run_text(struct ia_db *db, const char *sql, struct ia_err *err)
{
    if (!db->conn)
        return ia_fail(err, IA_UNAVAILABLE, "PostgreSQL: not connected");
    if (!PQsendQuery(db->conn, sql))
        return ia_db_lost(db, err);
    return ia_db_skip_result(db, ia_monotonic_ms() + db->query_timeout_ms, "hook", err);
}

static void add_item(struct ia_params *p, const struct ia_registration *item)
{
    ia_params_bytes(p, item->info->fingerprint, IA_FINGERPRINT_LEN);
    ia_params_text(p, item->device_id);
    ia_params_int8(p, item->ca_id);
    ia_params_text(p, item->info->serial);
    ia_params_text(p, item->info->subject);
    ia_params_time_s(p, item->info->not_before);
    ia_params_time_s(p, item->info->not_after);
    ia_params_text(p, item->node);
    ia_params_text(p, item->address);
    ia_params_text(p, item->terms);
    ia_params_text(p, item->provision);
}

static enum ia_rc rehearse(struct ia_db *db, const struct ia_registration *item, struct ia_err *err)
{
    struct ia_params p = {0};
    add_item(&p, item);
    return ia_db_exec(db, IA_S_REHEARSE, &p, err);
}

/* client_connection_check_interval: where the system has no such check the statement is refused, which does not matter. */
enum ia_rc ia_db_connect_for_hooks(struct ia_db *db, const struct ia_registration *item, struct ia_err *err)
{
    struct ia_err ignored = {0};
    enum ia_rc rc = ia_db_connect(db, err);
    if (rc != IA_OK)
        return rc;
    rc = run_text(db, "SET client_connection_check_interval = '500ms'", &ignored);
    if (rc != IA_OK && !ia_db_connected(db))
        return ia_fail(err, rc, "%s", ignored.msg);
    rc = run_text(db, "UNLISTEN *", err);
    return rc == IA_OK ? rehearse(db, item, err) : rc;
}

/* NULL for NULL. */
static bool copy_field(const PGresult *result, int field, char **out)
{
    *out = NULL;
    if (PQgetisnull(result, 0, field))
        return true;
    *out = strdup(PQgetvalue(result, 0, field));
    return *out != NULL;
}

static void clear_outcome(struct ia_hook_outcome *out)
{
    free(out->outcome);
    free(out->detail);
    *out = (struct ia_hook_outcome){0};
}

static enum ia_rc take_outcome(const PGresult *result, struct ia_hook_outcome *out, struct ia_err *err)
{
    if (PQntuples(result) != 1 || PQnfields(result) != 2 || PQgetisnull(result, 0, 0))
        return ia_fail(err, IA_FORMAT, "PostgreSQL: a registration did not return one row");
    if (copy_field(result, 0, &out->outcome) && copy_field(result, 1, &out->detail))
        return IA_OK;
    clear_outcome(out);
    return ia_nomem(err);
}

static enum ia_rc ask_in_transaction(struct ia_db *db, const struct ia_registration *item, int timeout_ms,
                                     struct ia_hook_outcome *out, struct ia_err *err)
{
    struct ia_params p = {0};
    PGresult *result = NULL;
    int64_t until = ia_monotonic_ms() + timeout_ms + IA_HOOK_GRACE_MS;
    int whole = db->query_timeout_ms;
    add_item(&p, item);
    db->query_timeout_ms = timeout_ms + IA_HOOK_GRACE_MS;
    enum ia_rc rc = ia_db_query(db, IA_S_REGISTER_ASKING, &p, &result, err);
    db->query_timeout_ms = whole;
    ia_params_clear(&p);
    if (rc == IA_OK)
        rc = take_outcome(result, out, err);
    else
        out->unended = !ia_db_connected(db) && !ia_db_stopped(db) && ia_monotonic_ms() >= until;
    PQclear(result);
    return rc;
}

static enum ia_rc commit(struct ia_db *db, struct ia_hook_outcome *out, struct ia_err *err)
{
    enum ia_rc rc = run_text(db, "COMMIT", err);
    if (rc == IA_OK)
        return rc;
    out->in_doubt = !ia_db_connected(db) && out->outcome && strcmp(out->outcome, "registered") == 0;
    return out->in_doubt ? IA_OK : rc;
}

/* A lock that the registration itself needs; of a hook that waits for one the server says so itself. */
static enum ia_rc take_refusal(struct ia_db *db, enum ia_rc rc, struct ia_hook_outcome *out, struct ia_err *err)
{
    struct ia_err ignored = {0};
    bool unended = out->unended, is_locked = ia_pg_error_is_lock(db->sqlstate), unprepared = db->prepare_again;
    clear_outcome(out);
    out->unended = unended;
    if (!ia_db_connected(db))
        return rc;
    /* A statement cannot be prepared again in a transaction that has failed: the next connection prepares it. */
    if (run_text(db, "ROLLBACK", &ignored) != IA_OK || unprepared)
        ia_db_disconnect(db);
    if (!is_locked)
        return rc;
    out->outcome = strdup("busy");
    return out->outcome ? IA_OK : ia_nomem(err);
}

enum ia_rc ia_db_register_asking(struct ia_db *db, const struct ia_registration *item, int timeout_ms,
                                 struct ia_hook_outcome *out, struct ia_err *err)
{
    char begin[192];
    (void)snprintf(begin, sizeof begin,
                   "BEGIN; SET LOCAL lock_timeout = 100; SET LOCAL idle_in_transaction_session_timeout = 2000; "
                   "SET LOCAL statement_timeout = %d",
                   timeout_ms);
    *out = (struct ia_hook_outcome){0};
    db->sqlstate[0] = '\0';
    enum ia_rc rc = run_text(db, begin, err);
    if (rc == IA_OK)
        rc = ask_in_transaction(db, item, timeout_ms, out, err);
    if (rc == IA_OK)
        rc = commit(db, out, err);
    return rc == IA_OK ? IA_OK : take_refusal(db, rc, out, err);
}

enum ia_rc ia_db_note_hook(struct ia_db *db, int64_t ca_id, const char *problem, struct ia_err *err)
{
    struct ia_params p = {0};
    ia_params_int8(&p, ca_id);
    ia_params_text(&p, problem);
    return ia_db_exec(db, IA_S_NOTE_HOOK, &p, err);
}
