// SPDX-License-Identifier: ISC
#include "cli/status.h"

#include "cli/cell.h"
#include "cli/migrations.h"
#include "cli/registry.h"
#include "cli/run.h"
#include "cli/try_out.h"

#include <stdio.h>
#include <stdlib.h>

/* What stands in the tables. */
#define TABLES                                                                                                         \
    {.title = "brokers",                                                                                               \
     .sql = "SELECT n.node_name, n.alive, n.last_seen, n.stopped_at, n.database_tls "                                  \
            "FROM iot_auth.monitor_node n ORDER BY n.node_name"},                                                      \
        {.title = "cas",                                                                                               \
         .sql = "SELECT c.name, c.status, coalesce(sum(d.devices), 0)::bigint AS devices, "                            \
                "coalesce(sum(d.devices) FILTER (WHERE d.status = 'ACTIVE'), 0)::bigint AS active, "                   \
                "coalesce(sum(d.devices) FILTER (WHERE d.status = 'PENDING'), 0)::bigint AS pending, "                 \
                "coalesce(sum(d.devices) FILTER (WHERE d.status = 'INACTIVE'), 0)::bigint AS inactive, "               \
                "coalesce(sum(d.devices) FILTER (WHERE d.status = 'REVOKED'), 0)::bigint AS revoked "                  \
                "FROM iot_auth.monitor_ca c LEFT JOIN iot_auth.monitor_device d ON d.ca = c.name "                     \
                "GROUP BY c.name, c.status ORDER BY c.name"},                                                          \
        {.title = "problems",                                                                                          \
         .sql = "SELECT p.* FROM (SELECT m.problem_of, m.name, m.problem FROM iot_auth.monitor_problem m "             \
                "UNION ALL SELECT 'issuer (note)', i.name, i.note FROM iot_auth.oauth_issuer i "                       \
                "WHERE i.note IS NOT NULL UNION ALL (SELECT 'device', d.device_id, d.problem FROM iot_auth.device d "  \
                "WHERE d.problem IS NOT NULL LIMIT 100) UNION ALL (SELECT 'certificate', "                             \
                "c.device_id || ', ' || encode(c.fingerprint, 'hex'), c.problem FROM iot_auth.device_certificate c "   \
                "WHERE c.problem IS NOT NULL LIMIT 100) UNION ALL (SELECT 'pre-shared key', k.identity, k.problem "    \
                "FROM iot_auth.device_psk k WHERE k.problem IS NOT NULL LIMIT 100)) p ORDER BY 1, 2"},                 \
    {                                                                                                                  \
        .title = "last_hour",                                                                                          \
        .sql = "SELECT e.kind, e.reason, count(*) AS events, max(e.at) AS latest FROM iot_auth.event e "               \
               "WHERE e.at > now() - interval '1 hour' GROUP BY e.kind, e.reason "                                     \
               "ORDER BY count(*) DESC, e.kind, e.reason"                                                              \
    }

/* One sentence a row.  $1: the schema's version that this program knows. */
#define WARNINGS                                                                                                       \
    "SELECT w.warning FROM (SELECT 1, 'no broker has connected to this registry yet' AS warning "                      \
    "WHERE NOT EXISTS (SELECT FROM iot_auth.node) "                                                                    \
    "UNION ALL SELECT 2, format('broker %s has not been seen since %s', n.node_name, n.last_seen::timestamptz(0)) "    \
    "FROM iot_auth.monitor_node n WHERE NOT n.alive AND n.stopped_at IS NULL "                                         \
    "UNION ALL SELECT 3, format('broker %s reaches the database in clear text', n.node_name) FROM iot_auth.node n "    \
    "WHERE n.database_tls = 'clear' AND n.stopped_at IS NULL "                                                         \
    "UNION ALL SELECT 4, format('the schema has version %s, this program knows version %s: iot-auth migrate', "        \
    "s.version, $1) FROM iot_auth.monitor_schema s WHERE s.version < $1::int "                                         \
    "UNION ALL SELECT 5, format('CA %s %s %s', c.name, CASE WHEN c.not_after > now() THEN 'expires' ELSE 'expired' "   \
    "END, c.not_after::timestamptz(0)) FROM iot_auth.ca c WHERE c.status = 'ACTIVE' "                                  \
    "AND c.not_after < now() + interval '30 days' "                                                                    \
    "UNION ALL SELECT 6, format('%s certificates of CA %s expire within 30 days: iot-auth cert expiring', "            \
    "m.expiring_in_30_days, m.ca) FROM iot_auth.monitor_certificate m WHERE m.expiring_in_30_days > 0 "                \
    "UNION ALL SELECT 7, format('%s rows of kind %s have a problem', count(*), p.problem_of) "                         \
    "FROM iot_auth.monitor_problem p GROUP BY p.problem_of "                                                           \
    "UNION ALL SELECT 9, format('issuer %s is for trying out: whoever has its key is each of its apps', i.name) "      \
    "FROM iot_auth.oauth_issuer i WHERE i.status = 'ACTIVE' AND i.issuer LIKE '" IA_TRY_OUT_PREFIX "%' "               \
    "UNION ALL SELECT 10, format('%s pre-shared keys have a problem: iot-auth-psk check', sum(k.with_problem)) "       \
    "FROM iot_auth.monitor_psk k HAVING sum(k.with_problem) > 0 "                                                      \
    "UNION ALL SELECT 8, format('%s devices have a problem', sum(d.with_problem)) FROM iot_auth.monitor_device d "     \
    "HAVING sum(d.with_problem) > 0) w(rank, warning) ORDER BY w.rank, w.warning"

#define NEXT_STEP                                                                                                      \
    "SELECT CASE WHEN NOT EXISTS (SELECT FROM iot_auth.ca) AND NOT EXISTS (SELECT FROM iot_auth.oauth_issuer) THEN "   \
    "'no CA registered: iot-auth ca add NAME --pem FILE --auto-registration' "                                         \
    "WHEN NOT EXISTS (SELECT FROM iot_auth.node) THEN "                                                                \
    "'no broker seen: set plugin_opt_db_conninfo of the broker to this database, and start it' "                       \
    "WHEN EXISTS (SELECT FROM iot_auth.device d WHERE d.status = 'PENDING') THEN "                                     \
    "'devices wait for approval: iot-auth device list --status PENDING, then iot-auth device approve' "                \
    "WHEN NOT EXISTS (SELECT FROM iot_auth.device) AND NOT EXISTS (SELECT FROM iot_auth.ca c "                         \
    "WHERE c.auto_registration) AND EXISTS (SELECT FROM iot_auth.ca) THEN "                                            \
    "'no device registered: iot-auth device add DEVICE_ID --pem FILE --ca NAME, or iot-auth ca set NAME "              \
    "--auto-registration true' END AS next_step"

static const struct ia_query queries[] = {
    TABLES, {.title = "warnings", .sql = WARNINGS}, {.title = "next_step", .sql = NEXT_STEP}};

#define N_TABLES (IA_COUNT(queries) - 2)

/* The lists at the end, as sentences. */
static int print_sentences(struct ia_registry *registry, const char *title, const char *sql, const char *const *values)
{
    PGresult *result = ia_registry_run(registry, sql, values, 1);
    bool is_first = true;
    for (int i = 0; result && i < PQntuples(result); i++) {
        char *text = PQgetisnull(result, i, 0) ? NULL : ia_cell_text(result, i, 0, true);
        if (text)
            printf("%s%s: %s\n", is_first ? "\n" : "", title, text);
        is_first = is_first && !text;
        free(text);
    }
    PQclear(result);
    return ia_registry_status(registry);
}

int ia_status_run(const struct ia_call *call)
{
    char version[16];
    const char *const values[] = {version};
    int status = IA_EXIT_DONE;
    (void)snprintf(version, sizeof version, "%zu", ia_n_migrations);
    struct ia_registry *registry = ia_registry_open(call, &status);
    if (!registry)
        return status;
    status = ia_run_queries(registry, call, queries, call->json ? IA_COUNT(queries) : N_TABLES, values, 1);
    if (status == IA_EXIT_DONE && !call->json && !call->quiet)
        status = print_sentences(registry, "warning", WARNINGS, values);
    if (status == IA_EXIT_DONE && !call->json && !call->quiet)
        status = print_sentences(registry, "next", NEXT_STEP, values);
    ia_registry_close(registry);
    return status;
}
