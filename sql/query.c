// SPDX-License-Identifier: ISC
/* Running prepared statements.  Parameters and answers are binary. */
#include "sql/pg_error.h"
#include "sql/private.h"

#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define GRACE_MS 500 /* for the server to report its statement_timeout, which keeps the connection */

static const int all_binary[IA_PARAMS_MAX] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

static void put_param(struct ia_params *p, const void *value, size_t len)
{
    if (len > INT_MAX || p->n == IA_PARAMS_MAX) {
        p->nomem = true;
        return;
    }
    p->values[p->n] = value;
    p->lengths[p->n++] = (int)len;
}

void ia_params_text(struct ia_params *p, const char *text)
{
    put_param(p, text, text ? strlen(text) : 0);
}

void ia_params_bytes(struct ia_params *p, const uint8_t *bytes, size_t len)
{
    put_param(p, bytes, len);
}

void ia_params_int8(struct ia_params *p, int64_t value)
{
    ia_pg_put_int8(p->fixed[p->n], value);
    put_param(p, p->fixed[p->n], 8);
}

void ia_params_time_s(struct ia_params *p, int64_t seconds)
{
    ia_pg_put_time_us(p->fixed[p->n], ia_pg_time_us_of(seconds));
    put_param(p, p->fixed[p->n], 8);
}

void ia_params_value(struct ia_params *p, struct ia_pg_value value)
{
    p->nomem |= !value.bytes;
    put_param(p, value.bytes, value.len);
}

void ia_params_clear(struct ia_params *p)
{
    ia_arena_clear(&p->arena);
    p->n = 0;
}

/* The server, or a statement, took too long: its outcome is unknown, so the connection is dropped. */
static enum ia_rc statement_timed_out(struct ia_db *db, const char *name, struct ia_err *err)
{
    enum ia_rc rc = ia_fail(err, IA_UNAVAILABLE, "PostgreSQL at %s: timeout: no answer to %s", db->peer, name);
    ia_db_disconnect(db);
    return rc;
}

/* Wait once for the socket; reads what came.  The connection is dropped on any failure. */
static enum ia_rc wait_socket(struct ia_db *db, short events, int64_t deadline_ms, const char *name, struct ia_err *err)
{
    bool ready = false;
    enum ia_rc rc = ia_db_poll(db, PQsocket(db->conn), events, deadline_ms, &ready, err);
    if (rc != IA_OK) {
        ia_db_disconnect(db);
        return rc;
    }
    if (!ready)
        return statement_timed_out(db, name, err);
    return PQconsumeInput(db->conn) ? IA_OK : ia_db_lost(db, err);
}

static enum ia_rc flush_output(struct ia_db *db, int64_t deadline_ms, const char *name, struct ia_err *err)
{
    for (;;) {
        int more = PQflush(db->conn);
        if (more < 0)
            return ia_db_lost(db, err);
        if (more == 0)
            return IA_OK;
        enum ia_rc rc = wait_socket(db, POLLIN | POLLOUT, deadline_ms, name, err);
        if (rc != IA_OK)
            return rc;
    }
}

/* The next result, NULL where libpq has one after each statement. */
static enum ia_rc get_result(struct ia_db *db, int64_t deadline_ms, const char *name, PGresult **out,
                             struct ia_err *err)
{
    enum ia_rc rc = flush_output(db, deadline_ms, name, err);
    while (rc == IA_OK && PQisBusy(db->conn))
        rc = wait_socket(db, POLLIN, deadline_ms, name, err);
    if (rc == IA_OK)
        *out = PQgetResult(db->conn);
    return rc;
}

enum ia_rc ia_db_read_more(struct ia_db *db, int64_t deadline_ms, const char *name, struct ia_err *err)
{
    enum ia_rc rc = flush_output(db, deadline_ms, name, err);
    return rc == IA_OK ? wait_socket(db, POLLIN, deadline_ms, name, err) : rc;
}

/* The server closes the connection after such an error, whatever its SQLSTATE. */
static bool is_fatal(const PGresult *result)
{
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    return severity && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0);
}

/* Turn the server's refusal into an error.  The connection is dropped where another one may succeed. */
static enum ia_rc statement_refused(struct ia_db *db, const char *name, const PGresult *result, struct ia_err *err)
{
    if (PQstatus(db->conn) == CONNECTION_BAD)
        return ia_db_lost(db, err);
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    struct ia_pg_error error = ia_pg_error_of_state(state);
    (void)snprintf(db->sqlstate, sizeof db->sqlstate, "%s", state ? state : "");
    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    char text[96];
    ia_pg_error_text(primary ? primary : "", PQpass(db->conn), text, sizeof text);
    enum ia_rc rc = ia_fail(err, error.rc, "PostgreSQL at %s: %s: %s: %s", db->peer, error.what, name, text);
    db->prepare_again = ia_pg_error_unprepared(state);
    if (error.lost || is_fatal(result))
        ia_db_disconnect(db);
    return rc;
}

static bool result_succeeded(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    return status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
}

/* Collect what follows the first result: nothing but NULL is expected. */
static enum ia_rc drain_results(struct ia_db *db, int64_t deadline_ms, const char *name, struct ia_err *err)
{
    for (;;) {
        PGresult *more = NULL;
        enum ia_rc rc = get_result(db, deadline_ms, name, &more, err);
        if (rc != IA_OK || !more)
            return rc;
        PQclear(more);
    }
}

enum ia_rc ia_db_next_result(struct ia_db *db, int64_t deadline_ms, const char *name, PGresult **out,
                             struct ia_err *err)
{
    PGresult *result = NULL;
    enum ia_rc rc = get_result(db, deadline_ms, name, &result, err);
    if (rc != IA_OK)
        return rc;
    if (!result)
        return ia_db_lost(db, err);
    rc = drain_results(db, deadline_ms, name, err);
    if (rc == IA_OK && !result_succeeded(result))
        rc = statement_refused(db, name, result, err);
    if (rc == IA_OK)
        *out = result;
    else
        PQclear(result);
    return rc;
}

enum ia_rc ia_db_skip_result(struct ia_db *db, int64_t deadline_ms, const char *name, struct ia_err *err)
{
    PGresult *result = NULL;
    enum ia_rc rc = ia_db_next_result(db, deadline_ms, name, &result, err);
    PQclear(result);
    return rc;
}

enum ia_rc ia_db_expect(struct ia_db *db, const char *name, ExecStatusType status, struct ia_err *err)
{
    PGresult *result = NULL;
    enum ia_rc rc = get_result(db, ia_monotonic_ms() + db->query_timeout_ms, name, &result, err);
    if (rc == IA_OK && (!result || PQresultStatus(result) != status))
        rc = result ? statement_refused(db, name, result, err) : ia_db_lost(db, err);
    PQclear(result);
    return rc;
}

enum ia_rc ia_db_expect_end(struct ia_db *db, const char *name, struct ia_err *err)
{
    return drain_results(db, ia_monotonic_ms() + db->query_timeout_ms, name, err);
}

static enum ia_rc check_ready(struct ia_db *db, const struct ia_params *params, struct ia_err *err)
{
    if (params && params->nomem)
        return ia_nomem(err);
    if (!db->conn)
        return ia_fail(err, IA_UNAVAILABLE, "PostgreSQL: not connected");
    return IA_OK;
}

static enum ia_rc run_prepared(struct ia_db *db, enum ia_statement which, const struct ia_params *p, PGresult **out,
                               struct ia_err *err)
{
    const char *name = ia_statements[which].name;
    int64_t deadline = ia_monotonic_ms() + db->query_timeout_ms + GRACE_MS;
    db->prepare_again = false;
    if (!PQsendQueryPrepared(db->conn, name, p->n, p->values, p->lengths, all_binary, 1))
        return ia_db_lost(db, err);
    return ia_db_next_result(db, deadline, name, out, err);
}

/* The server no longer has the statement (a pooler has given us another session of its own), or cannot use its plan (a
 * view was replaced).  What DEALLOCATE answers does not matter: there may be nothing to remove. */
static enum ia_rc prepare_statement(struct ia_db *db, enum ia_statement which, struct ia_err *err)
{
    const struct ia_statement_text *s = &ia_statements[which];
    int64_t deadline = ia_monotonic_ms() + db->query_timeout_ms;
    char sql[96];
    (void)snprintf(sql, sizeof sql, "DEALLOCATE %s", s->name);
    if (!PQsendQueryParams(db->conn, sql, 0, NULL, NULL, NULL, NULL, 1))
        return ia_db_lost(db, err);
    enum ia_rc rc = ia_db_skip_result(db, deadline, "DEALLOCATE", err);
    if (rc != IA_OK && !db->conn)
        return rc;
    if (!PQsendPrepare(db->conn, s->name, s->sql, s->n_params, s->types))
        return ia_db_lost(db, err);
    return ia_db_skip_result(db, deadline, s->name, err);
}

enum ia_rc ia_db_query(struct ia_db *db, enum ia_statement which, struct ia_params *params, PGresult **out,
                       struct ia_err *err)
{
    static struct ia_params none;
    const struct ia_params *p = params ? params : &none;
    enum ia_rc rc = check_ready(db, params, err);
    if (rc != IA_OK)
        return rc;
    rc = run_prepared(db, which, p, out, err);
    if (rc == IA_OK || !db->conn || !db->prepare_again)
        return rc;
    rc = prepare_statement(db, which, err);
    return rc == IA_OK ? run_prepared(db, which, p, out, err) : rc;
}

enum ia_rc ia_db_exec(struct ia_db *db, enum ia_statement which, struct ia_params *params, struct ia_err *err)
{
    PGresult *result = NULL;
    enum ia_rc rc = ia_db_query(db, which, params, &result, err);
    ia_params_clear(params);
    PQclear(result);
    return rc;
}

enum ia_rc ia_db_pipeline_begin(struct ia_db *db, struct ia_err *err)
{
    enum ia_rc rc = check_ready(db, NULL, err);
    if (rc != IA_OK)
        return rc;
    return PQenterPipelineMode(db->conn) ? IA_OK : ia_db_lost(db, err);
}

/* Collect what is left of the statements before the next sync, and the sync. */
static enum ia_rc receive_sync(struct ia_db *db, int64_t deadline_ms, struct ia_err *err)
{
    ExecStatusType status;
    do {
        PGresult *result = NULL;
        enum ia_rc rc = get_result(db, deadline_ms, "sync", &result, err);
        status = PQresultStatus(result);
        PQclear(result);
        if (rc == IA_OK && status == PGRES_PIPELINE_ABORTED)
            rc = drain_results(db, deadline_ms, "sync", err);
        if (rc != IA_OK)
            return rc;
    } while (status == PGRES_PIPELINE_ABORTED);
    return status == PGRES_PIPELINE_SYNC ? IA_OK : ia_db_lost(db, err);
}

enum ia_rc ia_db_pipeline_end(struct ia_db *db, int64_t deadline_ms, struct ia_err *err)
{
    enum ia_rc rc = receive_sync(db, deadline_ms, err);
    return rc == IA_OK && !PQexitPipelineMode(db->conn) ? ia_db_lost(db, err) : rc;
}

/* ---- batches: a sync after each statement */

static void restart_batch_timeout(struct ia_db *db)
{
    db->batch_deadline_ms = ia_monotonic_ms() + db->query_timeout_ms + GRACE_MS;
}

enum ia_rc ia_db_batch_open(struct ia_db *db, struct ia_err *err)
{
    db->n_batches = 0;
    db->batch_unprepared = false;
    return ia_db_pipeline_begin(db, err);
}

enum ia_rc ia_db_batch_send(struct ia_db *db, enum ia_statement which, const struct ia_params *params,
                            struct ia_err *err)
{
    enum ia_rc rc = check_ready(db, params, err);
    if (rc != IA_OK)
        return rc;
    bool sent = PQsendQueryPrepared(db->conn, ia_statements[which].name, params->n, params->values, params->lengths,
                                    all_binary, 1) &&
                PQpipelineSync(db->conn) && PQflush(db->conn) >= 0;
    if (!sent)
        return ia_db_lost(db, err);
    if (db->n_batches++ == 0)
        restart_batch_timeout(db);
    return IA_OK;
}

enum ia_rc ia_db_batch_receive(struct ia_db *db, enum ia_statement which, PGresult **out, struct ia_err *err)
{
    PGresult *result = NULL;
    enum ia_rc rc = check_ready(db, NULL, err);
    if (rc != IA_OK)
        return rc;
    rc = ia_db_next_result(db, db->batch_deadline_ms, ia_statements[which].name, &result, err);
    db->batch_unprepared |= rc != IA_OK && db->prepare_again;
    if (db->conn) {
        enum ia_rc sync = receive_sync(db, db->batch_deadline_ms, rc == IA_OK ? err : NULL);
        rc = rc == IA_OK ? sync : rc;
    }
    db->n_batches--;
    restart_batch_timeout(db);
    if (rc == IA_OK)
        *out = result;
    else
        PQclear(result);
    return rc;
}

enum ia_rc ia_db_batch_close(struct ia_db *db, const enum ia_statement *used, size_t n_used, struct ia_err *err)
{
    enum ia_rc rc = check_ready(db, NULL, err);
    if (rc == IA_OK && !PQexitPipelineMode(db->conn))
        rc = ia_db_lost(db, err);
    for (size_t i = 0; rc == IA_OK && db->batch_unprepared && i < n_used; i++)
        rc = prepare_statement(db, used[i], err);
    db->batch_unprepared = false;
    return rc;
}
