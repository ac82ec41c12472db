// SPDX-License-Identifier: ISC
/* Setting up a connection: the hosts in turn; on each, session settings, 'is it a primary', LISTEN, schema
 * version, prepared statements, in three round trips behind the log-in. */
#include "sql/pg_error.h"
#include "sql/private.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* The outcome of one attempt at one host. */
struct ia_host_attempt {
    enum ia_pg_error_rank rank;
    struct ia_err err;
};

static void ignore_notice(void *ctx, const PGresult *result)
{
    (void)ctx;
    (void)result;
}

static void set_peer(struct ia_db *db)
{
    const char *host = PQhost(db->conn);
    const char *port = PQport(db->conn);
    snprintf(db->peer, sizeof db->peer, "%.100s:%.8s", host ? host : "", port ? port : "");
}

static enum ia_rc attempt_failed(struct ia_host_attempt *a, enum ia_pg_error_rank rank, enum ia_rc rc)
{
    a->rank = rank;
    return rc;
}

/* Say why the log-in failed, and drop the connection. */
static enum ia_rc login_failed(struct ia_db *db, struct ia_host_attempt *a)
{
    const char *message = PQerrorMessage(db->conn);
    struct ia_pg_error error = ia_pg_error_of_message(message);
    char text[112];
    ia_pg_error_text(message, PQpass(db->conn), text, sizeof text);
    enum ia_rc rc = ia_fail(&a->err, error.rc, "PostgreSQL at %s: %s: %s", db->peer, error.what, text);
    ia_db_disconnect(db);
    return attempt_failed(a, error.rank, rc);
}

static enum ia_rc login_timed_out(struct ia_db *db, struct ia_host_attempt *a)
{
    enum ia_rc rc = ia_fail(&a->err, IA_UNAVAILABLE, "PostgreSQL at %s: timeout: no answer to connect", db->peer);
    ia_db_disconnect(db);
    return attempt_failed(a, IA_RANK_TIMEOUT, rc);
}

/* One step of the log-in: wait for what libpq asked for, let it go on.  Each step may take connect_timeout_ms, so that
 * a silent host is left soon while one that answers slowly gets its time.  A name may have several addresses: where the
 * first does not answer the SYN, libpq tries the next once its socket fails, so let it fail. */
static enum ia_rc login_step(struct ia_db *db, PostgresPollingStatusType *state, int64_t deadline_ms,
                             struct ia_host_attempt *a)
{
    int64_t step = ia_monotonic_ms() + db->connect_timeout_ms;
    short events = *state == PGRES_POLLING_READING ? POLLIN : POLLOUT;
    bool ready = false;
    enum ia_rc rc =
        ia_db_poll(db, PQsocket(db->conn), events, step < deadline_ms ? step : deadline_ms, &ready, &a->err);
    if (rc != IA_OK) {
        ia_db_disconnect(db);
        return attempt_failed(a, IA_RANK_NONE, rc);
    }
    bool unanswered = !ready && PQstatus(db->conn) == CONNECTION_STARTED && ia_monotonic_ms() < deadline_ms;
    if (!ready && !unanswered)
        return login_timed_out(db, a);
    if (unanswered)
        (void)shutdown(PQsocket(db->conn), SHUT_RDWR);
    *state = PQconnectPoll(db->conn);
    set_peer(db);
    if (*state != PGRES_POLLING_FAILED)
        return IA_OK;
    return unanswered ? login_timed_out(db, a) : login_failed(db, a);
}

static enum ia_rc login_host(struct ia_db *db, size_t host, int64_t deadline_ms, struct ia_host_attempt *a)
{
    const char *keywords[IA_CONN_PARAMS], *values[IA_CONN_PARAMS];
    ia_conninfo_params(&db->info, host, keywords, values);
    db->conn = PQconnectStartParams(keywords, values, 0);
    if (!db->conn)
        return ia_nomem(&a->err);
    set_peer(db);
    PQsetNoticeReceiver(db->conn, ignore_notice, NULL);
    PQsetErrorVerbosity(db->conn, PQERRORS_VERBOSE); /* for the SQLSTATE: words may be translated */
    if (PQstatus(db->conn) == CONNECTION_BAD)
        return login_failed(db, a);
    PostgresPollingStatusType state = PGRES_POLLING_WRITING;
    while (state != PGRES_POLLING_OK) {
        enum ia_rc rc = login_step(db, &state, deadline_ms, a);
        if (rc != IA_OK)
            return rc;
    }
    return PQsetnonblocking(db->conn, 1) == 0 ? IA_OK : login_failed(db, a);
}

static bool send_sql(struct ia_db *db, const char *sql, int n_params, const char *const *params)
{
    return PQsendQueryParams(db->conn, sql, n_params, NULL, params, NULL, NULL, 1);
}

static bool read_bool(const PGresult *result, int column)
{
    struct ia_pg_value v = {(const uint8_t *)PQgetvalue(result, 0, column), (size_t)PQgetlength(result, 0, column)};
    bool value;
    return PQntuples(result) == 1 && ia_pg_bool(v, &value) && value;
}

/* Do our statements run in another server session than the one that accepted the connection? */
static bool is_pooled(const struct ia_db *db, const PGresult *result)
{
    struct ia_pg_value v = {(const uint8_t *)PQgetvalue(result, 0, 1), (size_t)PQgetlength(result, 0, 1)};
    int64_t pid;
    return ia_pg_int(v, &pid) && pid != PQbackendPID(db->conn);
}

/* The settings of the session; time-outs only where neither the user nor the role has some.  jit: compiling a statement
 * takes longer than running ours.  The time-outs against forgotten sessions (transaction_timeout: PostgreSQL 17) would end
 * the session that waits for notifications, or the one that reads a million devices, again and again.  Registration is
 * written for READ COMMITTED, whatever the database's default is, and the functions of the schema for standard strings. */
static enum ia_rc send_settings(struct ia_db *db, struct ia_err *err)
{
    char statement_ms[16], lock_ms[16];
    snprintf(statement_ms, sizeof statement_ms, "%d", db->query_timeout_ms);
    int half = db->query_timeout_ms / 2;
    snprintf(lock_ms, sizeof lock_ms, "%d", half < IA_DB_LOCK_TIMEOUT_MS ? half : IA_DB_LOCK_TIMEOUT_MS);
    const char *params[] = {statement_ms, lock_ms};
    bool sent =
        send_sql(db, "SELECT pg_catalog.set_config('search_path', 'pg_catalog', false)", 0, NULL) &&
        send_sql(db,
                 "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on', pg_backend_pid(), "
                 "set_config('standard_conforming_strings', 'on', false), "
                 "set_config('jit', 'off', false), "
                 "set_config('default_transaction_isolation', 'read committed', false), "
                 "set_config('statement_timeout', CASE current_setting('statement_timeout') WHEN '0' THEN $1::text "
                 "ELSE current_setting('statement_timeout') END, false), "
                 "set_config('lock_timeout', CASE current_setting('lock_timeout') WHEN '0' THEN $2::text "
                 "ELSE current_setting('lock_timeout') END, false), "
                 "(SELECT count(set_config(name, '0', false)) FROM pg_settings WHERE name IN "
                 "('idle_session_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout'))",
                 2, params) &&
        PQpipelineSync(db->conn);
    return sent ? IA_OK : ia_db_lost(db, err);
}

static enum ia_rc set_up_session(struct ia_db *db, int64_t deadline_ms, bool *read_only, struct ia_err *err)
{
    PGresult *result = NULL;
    enum ia_rc rc = ia_db_pipeline_begin(db, err);
    if (rc == IA_OK)
        rc = send_settings(db, err);
    if (rc == IA_OK)
        rc = ia_db_skip_result(db, deadline_ms, "set search_path", err);
    if (rc == IA_OK)
        rc = ia_db_next_result(db, deadline_ms, "session settings", &result, err);
    if (rc == IA_OK) {
        *read_only = read_bool(result, 0);
        db->pooled = is_pooled(db, result);
        rc = ia_db_pipeline_end(db, deadline_ms, err);
    }
    PQclear(result);
    return rc;
}

#define SCHEMA_VERSION_SQL "SELECT coalesce(max(version), 0)::bigint FROM iot_auth.schema_version"

static enum ia_rc check_version(struct ia_db *db, int64_t deadline_ms, struct ia_err *err)
{
    PGresult *result = NULL;
    enum ia_rc rc = ia_db_next_result(db, deadline_ms, "schema version", &result, err);
    if (rc != IA_OK)
        return rc;
    struct ia_pg_value v = {(const uint8_t *)PQgetvalue(result, 0, 0), (size_t)PQgetlength(result, 0, 0)};
    int64_t version = 0;
    bool read = PQntuples(result) == 1 && ia_pg_int(v, &version);
    PQclear(result);
    db->schema_version = version;
    if (read && version >= IA_DB_SCHEMA_VERSION)
        return IA_OK;
    return ia_fail(
        err, IA_USAGE,
        "PostgreSQL at %s: schema iot_auth is at version %d, but version %d or newer is required: apply sql/migrations",
        db->peer, (int)version, IA_DB_SCHEMA_VERSION);
}

/* LISTEN is committed by the sync, before anything is read.  A pooler may give us a session that another broker has
 * prepared the statements in. */
static bool send_listen(struct ia_db *db)
{
    return (!db->pooled || send_sql(db, "DEALLOCATE ALL", 0, NULL)) && send_sql(db, "LISTEN iot_auth", 0, NULL) &&
           send_sql(db, SCHEMA_VERSION_SQL, 0, NULL) && PQpipelineSync(db->conn);
}

static enum ia_rc listen_to_changes(struct ia_db *db, int64_t deadline_ms, struct ia_err *err)
{
    enum ia_rc rc = ia_db_pipeline_begin(db, err);
    if (rc == IA_OK)
        rc = send_listen(db) ? IA_OK : ia_db_lost(db, err);
    if (rc == IA_OK && db->pooled)
        rc = ia_db_skip_result(db, deadline_ms, "DEALLOCATE", err);
    if (rc == IA_OK)
        rc = ia_db_skip_result(db, deadline_ms, "LISTEN", err);
    if (rc == IA_OK)
        rc = check_version(db, deadline_ms, err);
    return rc == IA_OK ? ia_db_pipeline_end(db, deadline_ms, err) : rc;
}

enum ia_rc ia_db_check_schema(struct ia_db *db, struct ia_err *err)
{
    int64_t deadline = ia_monotonic_ms() + db->query_timeout_ms;
    enum ia_rc rc = ia_db_pipeline_begin(db, err);
    if (rc == IA_OK)
        rc = send_sql(db, SCHEMA_VERSION_SQL, 0, NULL) && PQpipelineSync(db->conn) ? IA_OK : ia_db_lost(db, err);
    if (rc == IA_OK)
        rc = check_version(db, deadline, err);
    if (rc == IA_OK)
        rc = ia_db_pipeline_end(db, deadline, err);
    if (rc != IA_OK)
        ia_db_disconnect(db);
    return rc;
}

static bool send_preparations(struct ia_db *db)
{
    bool sent = true;
    for (size_t i = 0; sent && i < IA_STATEMENTS; i++) {
        const struct ia_statement_text *s = &ia_statements[i];
        sent = PQsendPrepare(db->conn, s->name, s->sql, s->n_params, s->types);
    }
    return sent && PQpipelineSync(db->conn);
}

/* A statement that cannot be prepared now (a table is locked), and those behind it, are prepared when they are first
 * used.  A schema that is not ours is an error at once. */
static enum ia_rc prepare_statements(struct ia_db *db, int64_t deadline_ms, struct ia_err *err)
{
    enum ia_rc rc = ia_db_pipeline_begin(db, err);
    if (rc == IA_OK)
        rc = send_preparations(db) ? IA_OK : ia_db_lost(db, err);
    for (size_t i = 0; rc == IA_OK && i < IA_STATEMENTS; i++)
        rc = ia_db_skip_result(db, deadline_ms, ia_statements[i].name, err);
    if (rc == IA_USAGE || !ia_db_connected(db))
        return rc;
    return ia_db_pipeline_end(db, deadline_ms, err);
}

static enum ia_rc set_up_host(struct ia_db *db, struct ia_host_attempt *a)
{
    int64_t deadline = ia_monotonic_ms() + db->query_timeout_ms;
    bool read_only = false;
    enum ia_rc rc = set_up_session(db, deadline, &read_only, &a->err);
    if (rc == IA_OK && read_only) {
        a->rank = IA_RANK_READ_ONLY;
        rc = ia_fail(&a->err, IA_UNAVAILABLE, "PostgreSQL at %s: server is read-only; the primary is required",
                     db->peer);
    } else {
        if (rc == IA_OK)
            rc = listen_to_changes(db, deadline, &a->err);
        if (rc == IA_OK)
            rc = prepare_statements(db, deadline, &a->err);
        a->rank = rc == IA_USAGE ? IA_RANK_NEEDS_ADMIN : IA_RANK_TIMEOUT;
    }
    if (rc != IA_OK)
        ia_db_disconnect(db);
    return rc;
}

static enum ia_rc try_host(struct ia_db *db, size_t host, struct ia_host_attempt *a)
{
    enum ia_rc rc = login_host(db, host, ia_monotonic_ms() + db->query_timeout_ms, a);
    db->host = host;
    return rc == IA_OK ? set_up_host(db, a) : rc;
}

/* On a connection of its own, which shares nothing with `db` but what it borrows. */
static enum ia_rc notify_apart(struct ia_db *db, const char *payload, struct ia_err *err)
{
    struct ia_db apart = *db;
    struct ia_host_attempt a = {0};
    apart.conn = NULL;
    apart.notification = NULL;
    int64_t deadline = ia_monotonic_ms() + db->connect_timeout_ms;
    enum ia_rc rc = login_host(&apart, db->host, deadline, &a);
    db->woken |= apart.woken;
    if (rc != IA_OK)
        return ia_fail(err, rc, "%s", a.err.msg);
    rc = send_sql(&apart, "SELECT pg_catalog.pg_notify('iot_auth', $1)", 1, &payload)
             ? ia_db_skip_result(&apart, ia_monotonic_ms() + db->query_timeout_ms, "notify", err)
             : ia_db_lost(&apart, err);
    ia_db_disconnect(&apart);
    db->woken |= apart.woken;
    return rc;
}

enum ia_rc ia_db_send_nonce(struct ia_db *db, const char *nonce, struct ia_err *err)
{
    char payload[96];
    (void)snprintf(payload, sizeof payload, "nonce\n%.64s", nonce);
    if (db->conn && db->pooled)
        return notify_apart(db, payload, err);
    struct ia_params p = {0};
    ia_params_text(&p, payload);
    return ia_db_exec(db, IA_S_NOTIFY, &p, err);
}

enum ia_rc ia_db_connect(struct ia_db *db, struct ia_err *err)
{
    struct ia_host_attempt worst = {0};
    ia_db_disconnect(db);
    for (size_t i = 0; i < db->info.n_hosts; i++) {
        struct ia_host_attempt a = {0};
        if (try_host(db, i, &a) == IA_OK)
            return IA_OK;
        if (i == 0 || a.rank > worst.rank)
            worst = a;
        if (ia_db_stopped(db) || a.err.rc == IA_NOMEM)
            break;
    }
    return ia_fail(err, worst.err.rc, "%s", worst.err.msg);
}
