// SPDX-License-Identifier: ISC
#include "sql/hook.h"

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

/* client_connection_check_interval: the server notices that the connection was dropped while a hook runs, and ends it.  Where
 * the system has no such check the statement is refused, which does not matter. */
enum ia_rc ia_db_unlisten(struct ia_db *db, struct ia_err *err)
{
    struct ia_err ignored = {0};
    enum ia_rc rc = run_text(db, "SET client_connection_check_interval = '500ms'", &ignored);
    if (rc != IA_OK && !ia_db_connected(db))
        return ia_fail(err, rc, "%s", ignored.msg);
    return run_text(db, "UNLISTEN *", err);
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
    ia_params_text(p, item->provision);
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

static enum ia_rc take_outcome(const PGresult *result, struct ia_hook_outcome *out, struct ia_err *err)
{
    if (PQntuples(result) != 1 || PQnfields(result) != 2 || PQgetisnull(result, 0, 0))
        return ia_fail(err, IA_FORMAT, "PostgreSQL: a registration did not return one row");
    if (copy_field(result, 0, &out->outcome) && copy_field(result, 1, &out->detail))
        return IA_OK;
    free(out->outcome);
    *out = (struct ia_hook_outcome){0};
    return ia_nomem(err);
}

/* A lock that the registration itself needs; of a hook that waits for one the server says so itself. */
static bool is_lock_refusal(const struct ia_err *err)
{
    return strstr(err->msg, "lock timeout") || strstr(err->msg, "deadlock");
}

static enum ia_rc ask_in_transaction(struct ia_db *db, const struct ia_registration *item, struct ia_hook_outcome *out,
                                     struct ia_err *err)
{
    struct ia_params p = {0};
    PGresult *result = NULL;
    add_item(&p, item);
    enum ia_rc rc = ia_db_query(db, IA_S_REGISTER_ASKING, &p, &result, err);
    ia_params_clear(&p);
    if (rc == IA_OK)
        rc = take_outcome(result, out, err);
    PQclear(result);
    return rc;
}

enum ia_rc ia_db_register_asking(struct ia_db *db, const struct ia_registration *item, int timeout_ms,
                                 struct ia_hook_outcome *out, struct ia_err *err)
{
    char begin[128];
    struct ia_err ignored = {0};
    (void)snprintf(begin, sizeof begin, "BEGIN; SET LOCAL lock_timeout = 100; SET LOCAL statement_timeout = %d",
                   timeout_ms);
    *out = (struct ia_hook_outcome){0};
    enum ia_rc rc = run_text(db, begin, err);
    if (rc != IA_OK)
        return rc;
    rc = ask_in_transaction(db, item, out, err);
    if (rc == IA_OK && (rc = run_text(db, "COMMIT", err)) == IA_OK)
        return IA_OK;
    free(out->outcome);
    free(out->detail);
    *out = (struct ia_hook_outcome){0};
    if (ia_db_connected(db) && run_text(db, "ROLLBACK", &ignored) != IA_OK)
        ia_db_disconnect(db);
    if (!ia_db_connected(db) || !is_lock_refusal(err))
        return rc;
    out->outcome = strdup("busy");
    return out->outcome ? IA_OK : ia_nomem(err);
}

enum ia_rc ia_db_note_hook(struct ia_db *db, int64_t ca_id, const char *problem, struct ia_err *err)
{
    struct ia_params p = {0};
    ia_params_int8(&p, ca_id);
    ia_params_text(&p, problem);
    return ia_db_exec(db, IA_S_NOTE_HOOK, &p, err);
}
