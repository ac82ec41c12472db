// SPDX-License-Identifier: ISC
#include "cli/bulk.h"

#include "cli/cell.h"
#include "cli/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_LINES  100000 /* written by one statement */
#define COPY_BUFFER  65536
#define ROLES_OF_ONE "string_to_array(l.roles, ',')"

const char *const ia_bulk_names[IA_BULK_COLUMNS] = {
    [IA_BULK_DEVICE_ID] = "device_id",     [IA_BULK_CA_NAME] = "ca_name",       [IA_BULK_STATUS] = "status",
    [IA_BULK_TENANT] = "tenant",           [IA_BULK_ATTRIBUTES] = "attributes", [IA_BULK_ROLES] = "roles",
    [IA_BULK_FINGERPRINT] = "fingerprint",
};

struct ia_bulk {
    struct ia_registry *registry;
    const struct ia_call *call;
    int64_t n; /* lines so far, bad ones included */
    struct ia_progress progress;
    size_t used;
    char buffer[COPY_BUFFER];
};

static const char table_sql[] =
    "CREATE TEMPORARY TABLE import_line (number bigint PRIMARY KEY, source text, device_id text COLLATE \"C\", "
    "ca_name text COLLATE \"C\", status text, tenant text, attributes text, roles text, fingerprint text, pem text, "
    "problem text, existing boolean NOT NULL DEFAULT false) ON COMMIT DROP";

static const char copy_sql[] =
    "COPY pg_temp.import_line (number, source, device_id, ca_name, status, tenant, attributes, "
    "roles, fingerprint, pem, problem) FROM STDIN";

/* The first thing that is wrong with each line.  A device that exists is none: it is reported, and stays as it is. */
static const char check_sql[] =
    "UPDATE pg_temp.import_line t SET existing = c.existing, problem = c.problem FROM (SELECT l.number, "
    "d.device_id IS NOT NULL AND l.problem IS NULL AS existing, "
    "coalesce(l.problem, "
    "CASE WHEN l.again THEN format('device_id ''%s'' is in the file twice', l.device_id) END, "
    "CASE WHEN d.device_id IS NULL THEN coalesce("
    "'device_id ' || coalesce(quote_literal(l.device_id) || ' ', '') || iot_auth.device_id_problem(l.device_id), "
    "'device_id ' || iot_auth.reserved_problem(l.device_id), "
    "CASE WHEN a.ca_id IS NULL THEN format('CA %s is not registered', coalesce(quote_literal(l.ca_name), 'NULL')) END, "
    "CASE WHEN l.status NOT IN ('PENDING', 'ACTIVE', 'INACTIVE', 'REVOKED') THEN format('status %L is unknown (it must "
    "be one of PENDING, ACTIVE, INACTIVE, REVOKED)', l.status) END, "
    "CASE WHEN l.tenant IS NOT NULL THEN 'tenant ' || quote_literal(l.tenant) || ' ' || iot_auth.value_problem(l.tenant) "
    "END, 'attributes ' || iot_auth.json_problem(l.attributes::jsonb, 65536), "
    "(SELECT format('role %L does not exist', r.role) FROM unnest(" ROLES_OF_ONE ") r(role) "
    "WHERE NOT EXISTS (SELECT FROM iot_auth.role k WHERE k.role = r.role) LIMIT 1), "
    "CASE WHEN cardinality(" ROLES_OF_ONE ") > 256 THEN 'more than 256 roles' END, "
    "CASE WHEN l.fingerprint !~ '^[0-9a-f]{64}$' THEN 'fingerprint must be 64 hexadecimal digits (SHA-256)' END, "
    "CASE WHEN l.print_again THEN 'the fingerprint is in the file twice' END, "
    "(SELECT format('the certificate is registered for device %L', k.device_id) FROM iot_auth.device_certificate k "
    "WHERE l.fingerprint ~ '^[0-9a-f]{64}$' AND k.fingerprint = decode(l.fingerprint, 'hex'))) END) AS problem "
    "FROM (SELECT i.*, row_number() OVER (PARTITION BY i.device_id ORDER BY i.number) > 1 AND i.device_id IS NOT NULL "
    "AS again, row_number() OVER (PARTITION BY i.fingerprint ORDER BY i.number) > 1 AND i.fingerprint IS NOT NULL "
    "AS print_again FROM pg_temp.import_line i) l LEFT JOIN iot_auth.device d ON d.device_id = l.device_id "
    "LEFT JOIN iot_auth.ca a ON a.name = l.ca_name) c WHERE t.number = c.number "
    "AND (c.existing OR c.problem IS NOT NULL)";

/* $1, $2: first number, and first number of the next batch. */
#define WRITTEN                                                                                                        \
    "FROM pg_temp.import_line l JOIN iot_auth.ca a ON a.name = l.ca_name WHERE l.problem IS NULL AND NOT l.existing "  \
    "AND l.number >= $1::bigint AND l.number < $2::bigint "
static const char *const write_sql[] = {
    "INSERT INTO iot_auth.device (device_id, ca_id, tenant, status, attributes) SELECT l.device_id, a.ca_id, l.tenant, "
    "coalesce(l.status, 'ACTIVE'), coalesce(l.attributes, '{}')::jsonb " WRITTEN,
    "INSERT INTO iot_auth.device_certificate (fingerprint, device_id, ca_id, pem) SELECT decode(l.fingerprint, 'hex'), "
    "l.device_id, a.ca_id, l.pem " WRITTEN "AND l.fingerprint IS NOT NULL",
    "INSERT INTO iot_auth.device_role (device_id, role) SELECT DISTINCT l.device_id, r.role "
    "FROM (SELECT l.device_id, l.roles " WRITTEN "AND l.roles IS NOT NULL) l "
    "CROSS JOIN LATERAL unnest(" ROLES_OF_ONE ") r(role)",
};

static const char report_sql[] =
    "SELECT coalesce(l.source, 'line ' || l.number) AS source, "
    "coalesce(l.problem, format('device %L exists and stays as it is', l.device_id)) AS report "
    "FROM pg_temp.import_line l WHERE l.problem IS NOT NULL OR l.existing ORDER BY l.number";
static const char count_sql[] = "SELECT count(*) FILTER (WHERE l.problem IS NULL AND NOT l.existing), "
                                "count(*) FILTER (WHERE l.existing AND l.problem IS NULL), "
                                "count(*) FILTER (WHERE l.problem IS NOT NULL) FROM pg_temp.import_line l";

/* ---- lines into the temporary table */

struct ia_bulk *ia_bulk_begin(struct ia_registry *registry, const struct ia_call *call)
{
    if (!ia_registry_take_time(registry) || !ia_registry_do(registry, "BEGIN") || !ia_registry_do(registry, table_sql))
        return NULL;
    PGresult *result = PQexecParams(ia_registry_conn(registry), copy_sql, 0, NULL, NULL, NULL, NULL, 0);
    if (PQresultStatus(result) != PGRES_COPY_IN) {
        (void)ia_registry_fail(registry, result);
        return NULL;
    }
    PQclear(result);
    struct ia_bulk *bulk = calloc(1, sizeof *bulk);
    if (!bulk)
        return NULL;
    bulk->registry = registry;
    bulk->call = call;
    ia_progress_begin(&bulk->progress, "lines read", 0, call->quiet);
    return bulk;
}

static bool flush_copy(struct ia_bulk *bulk)
{
    bool sent = bulk->used == 0 || PQputCopyData(ia_registry_conn(bulk->registry), bulk->buffer, (int)bulk->used) == 1;
    bulk->used = 0;
    return sent;
}

static bool put_octet(struct ia_bulk *bulk, char c)
{
    if (bulk->used == sizeof bulk->buffer && !flush_copy(bulk))
        return false;
    bulk->buffer[bulk->used++] = c;
    return true;
}

/* One column in COPY's text format: \N for NULL, and an escape for what has a meaning there. */
static bool put_value(struct ia_bulk *bulk, const char *value, char end)
{
    if (!value)
        return put_octet(bulk, '\\') && put_octet(bulk, 'N') && put_octet(bulk, end);
    for (; *value; value++) {
        const char *special = strchr("\\\n\r\t", *value);
        bool sent =
            special ? put_octet(bulk, '\\') && put_octet(bulk, "\\nrt"[special - "\\\n\r\t"]) : put_octet(bulk, *value);
        if (!sent)
            return false;
    }
    return put_octet(bulk, end);
}

bool ia_bulk_add(struct ia_bulk *bulk, const struct ia_bulk_line *line)
{
    char number[24];
    (void)snprintf(number, sizeof number, "%" PRId64, line->number);
    bool sent = put_value(bulk, number, '\t') && put_value(bulk, line->source, '\t');
    for (size_t i = 0; sent && i < IA_BULK_COLUMNS; i++)
        sent = put_value(bulk, line->values[i], '\t');
    sent = sent && put_value(bulk, line->pem, '\t') && put_value(bulk, line->problem, '\n');
    ia_progress_show(&bulk->progress, ++bulk->n);
    return sent;
}

static int end_copy(struct ia_bulk *bulk)
{
    PGconn *conn = ia_registry_conn(bulk->registry);
    ia_progress_end(&bulk->progress);
    if (!flush_copy(bulk) || PQputCopyEnd(conn, NULL) != 1)
        return ia_registry_fail(bulk->registry, NULL);
    PGresult *result = PQgetResult(conn), *more;
    while ((more = PQgetResult(conn)) != NULL)
        PQclear(more);
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        return ia_registry_fail(bulk->registry, result);
    PQclear(result);
    return IA_EXIT_DONE;
}

void ia_bulk_abort(struct ia_bulk *bulk)
{
    ia_progress_end(&bulk->progress);
    free(bulk); /* the transaction ends with the connection */
}

/* ---- what becomes of them */

static bool report_lines(struct ia_bulk *bulk)
{
    PGresult *result =
        ia_registry_run(bulk->registry,
                        bulk->call->json ? "SELECT ''::text, to_json(q)::text FROM (SELECT l.number, l.source, "
                                           "l.device_id, l.problem, l.existing FROM pg_temp.import_line l "
                                           "WHERE l.problem IS NOT NULL OR l.existing ORDER BY l.number) q"
                                         : report_sql,
                        NULL, 0);
    for (int i = 0; result && i < PQntuples(result); i++) {
        char *source = ia_cell_text(result, i, 0, true), *text = ia_cell_text(result, i, 1, true);
        if (bulk->call->json && !bulk->call->quiet)
            puts(PQgetvalue(result, i, 1));
        else if (!bulk->call->json)
            fprintf(stderr, "%s: %s\n", source ? source : "", text ? text : "");
        free(source);
        free(text);
    }
    PQclear(result);
    return result != NULL;
}

static int write_batches(struct ia_bulk *bulk)
{
    struct ia_progress progress;
    char first[24], next[24];
    const char *const values[] = {first, next};
    char *last = ia_registry_value(bulk->registry, "SELECT coalesce(max(number), 0) FROM pg_temp.import_line", NULL, 0);
    int64_t end = last ? strtoll(last, NULL, 10) : 0;
    free(last);
    ia_progress_begin(&progress, "lines written", end, bulk->call->quiet);
    for (int64_t at = 0; at <= end; at += BATCH_LINES) {
        (void)snprintf(first, sizeof first, "%" PRId64, at);
        (void)snprintf(next, sizeof next, "%" PRId64, at + BATCH_LINES);
        for (size_t i = 0; i < sizeof write_sql / sizeof write_sql[0]; i++) {
            PGresult *result = ia_registry_run(bulk->registry, write_sql[i], values, 2);
            if (!result)
                return ia_registry_status(bulk->registry);
            PQclear(result);
        }
        ia_progress_show(&progress, at);
    }
    ia_progress_end(&progress);
    return ia_registry_do(bulk->registry, "COMMIT") ? IA_EXIT_DONE : ia_registry_status(bulk->registry);
}

static void print_summary(const struct ia_bulk *bulk, const PGresult *counts, bool written)
{
    const char *good = PQgetvalue(counts, 0, 0), *existing = PQgetvalue(counts, 0, 1), *bad = PQgetvalue(counts, 0, 2);
    if (bulk->call->quiet)
        return;
    if (bulk->call->json)
        printf("{\"good\": %s, \"existing\": %s, \"bad\": %s, \"written\": %s}\n", good, existing, bad,
               written ? good : "0");
    else
        printf("%s good, %s existing, %s bad; %s written\n", good, existing, bad, written ? good : "0");
}

static int decide_write(struct ia_bulk *bulk, const PGresult *counts)
{
    bool has_bad = strcmp(PQgetvalue(counts, 0, 2), "0") != 0;
    bool is_refused = has_bad && !ia_call_has(bulk->call, "skip-bad");
    bool is_dry = ia_call_has(bulk->call, "dry-run");
    int status = is_refused || is_dry ? IA_EXIT_DONE : write_batches(bulk);
    if (status != IA_EXIT_DONE)
        return status;
    print_summary(bulk, counts, !is_refused && !is_dry);
    return is_refused ? IA_EXIT_REFUSED : IA_EXIT_DONE;
}

int ia_bulk_finish(struct ia_bulk *bulk)
{
    int status = end_copy(bulk);
    if (status == IA_EXIT_DONE && (!ia_registry_do(bulk->registry, "ANALYZE pg_temp.import_line") ||
                                   !ia_registry_do(bulk->registry, check_sql) || !report_lines(bulk)))
        status = ia_registry_status(bulk->registry);
    PGresult *counts = status == IA_EXIT_DONE ? ia_registry_run(bulk->registry, count_sql, NULL, 0) : NULL;
    if (counts)
        status = decide_write(bulk, counts);
    else if (status == IA_EXIT_DONE)
        status = ia_registry_status(bulk->registry);
    PQclear(counts);
    free(bulk);
    return status;
}
