// SPDX-License-Identifier: ISC
/* Every statement that the broker side runs, in one table; the views and functions stand in sql/migrations.  All names
 * are qualified, and search_path is pg_catalog (sql/connect.c), so that nobody can slip in an operator of his own. */
#include "sql/db.h"

#include "sql/private.h"

#include <stdlib.h>

#define DEVICE_COLUMNS                                                                                                 \
    "fingerprint, device_id, device_status, certificate_status, certificate_ca_id, device_ca_id, tenant, not_after, "  \
    "attrs, roles"

const struct ia_statement_text ia_statements[IA_STATEMENTS] = {
    [IA_S_CAS] = {"broker_ca",
                  "SELECT ca_id, name, pem, status, auto_registration, device_id_template, client_id_templates, "
                  "tenant, replaces, problem, roles FROM iot_auth.broker_ca",
                  0,
                  {0}},
    [IA_S_CRLS] = {"broker_crl", "SELECT crl_id, ca_id, pem FROM iot_auth.broker_crl", 0, {0}},
    [IA_S_ROLES] = {"broker_role", "SELECT role FROM iot_auth.broker_role", 0, {0}},
    [IA_S_RULES] = {"broker_rule",
                    "SELECT rule_id, role, effect, actions, topic_filter, max_qos, allow_retain, problem "
                    "FROM iot_auth.broker_rule",
                    0,
                    {0}},
    [IA_S_IPS] = {"broker_ip",
                  "SELECT rule_id, effect, network, scope, scope_key, expires_at FROM iot_auth.broker_ip",
                  0,
                  {0}},
    [IA_S_ISSUERS] = {"broker_issuer",
                      "SELECT name, issuer, audience, algorithms, jwks, jwks_url, client_id_templates, app_id_claim, "
                      "token_types, leeway_s, tenant, status, problem FROM iot_auth.broker_issuer",
                      0,
                      {0}},
    [IA_S_SCOPES] = {"broker_scope", "SELECT issuer, scope, role FROM iot_auth.broker_scope", 0, {0}},
    [IA_S_DEVICE_BY_FINGERPRINT] = {"device_by_fingerprint",
                                    "SELECT " DEVICE_COLUMNS " FROM iot_auth.broker_device WHERE fingerprint = $1",
                                    1,
                                    {IA_PG_BYTEA}},
    [IA_S_DEVICES_BY_ID] = {"devices_by_id",
                            "SELECT " DEVICE_COLUMNS " FROM iot_auth.broker_device WHERE device_id = ANY ($1)",
                            1,
                            {IA_PG_TEXT_ARRAY}},
    [IA_S_REGISTER] = {"broker_register",
                       "SELECT outcome, detail, " DEVICE_COLUMNS
                       " FROM iot_auth.broker_register($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                       9,
                       {IA_PG_BYTEA, IA_PG_TEXT, IA_PG_INT8, IA_PG_TEXT, IA_PG_TEXT, IA_PG_TIMESTAMPTZ,
                        IA_PG_TIMESTAMPTZ, IA_PG_TEXT, IA_PG_TEXT}},
    [IA_S_SET_CA_PARSED] = {"broker_set_ca_parsed",
                            "SELECT iot_auth.broker_set_ca_parsed($1, $2, $3, $4, $5)",
                            5,
                            {IA_PG_INT8, IA_PG_TEXT, IA_PG_TIMESTAMPTZ, IA_PG_TIMESTAMPTZ, IA_PG_TEXT}},
    [IA_S_SET_CERTIFICATE_PARSED] = {"broker_set_certificate_parsed",
                                     "SELECT iot_auth.broker_set_certificate_parsed($1, $2, $3, $4, $5)",
                                     5,
                                     {IA_PG_BYTEA, IA_PG_TEXT, IA_PG_TEXT, IA_PG_TIMESTAMPTZ, IA_PG_TIMESTAMPTZ}},
    [IA_S_SET_RULE_PROBLEM] = {"broker_set_rule_problem",
                               "SELECT iot_auth.broker_set_rule_problem($1, $2)",
                               2,
                               {IA_PG_INT8, IA_PG_TEXT}},
    [IA_S_SET_ISSUER_PROBLEM] = {"broker_set_issuer_problem",
                                 "SELECT iot_auth.broker_set_issuer_problem($1, $2)",
                                 2,
                                 {IA_PG_TEXT, IA_PG_TEXT}},
    [IA_S_WRITE_EVENTS] = {"broker_write_events",
                           "SELECT iot_auth.broker_write_events($1, $2, $3, $4, $5, $6, $7, $8)",
                           8,
                           {IA_PG_TEXT, IA_PG_TIMESTAMPTZ_ARRAY, IA_PG_TEXT_ARRAY, IA_PG_TEXT_ARRAY, IA_PG_INT8_ARRAY,
                            IA_PG_TEXT_ARRAY, IA_PG_TEXT_ARRAY, IA_PG_TEXT_ARRAY}},
    [IA_S_HEARTBEAT] = {"broker_heartbeat", "SELECT iot_auth.broker_heartbeat($1, $2)", 2, {IA_PG_TEXT, IA_PG_TEXT}},
    [IA_S_CONNECTED] = {"broker_connected",
                        "SELECT iot_auth.broker_connected($1, $2)",
                        2,
                        {IA_PG_TEXT_ARRAY, IA_PG_TIMESTAMPTZ_ARRAY}},
    [IA_S_PRUNE] = {"broker_prune", "SELECT iot_auth.broker_prune($1::float8 * '1 second'::interval)", 1, {IA_PG_INT8}},
    [IA_S_UNPARSED] = {"broker_unparsed",
                       "SELECT fingerprint, pem FROM iot_auth.broker_unparsed WHERE fingerprint > $1 "
                       "ORDER BY fingerprint LIMIT $2",
                       2,
                       {IA_PG_BYTEA, IA_PG_INT8}},
    [IA_S_EVENT_TAIL] = {"event_tail",
                         "SELECT event_id, kind, detail FROM iot_auth.broker_event "
                         "WHERE event_id > $1 ORDER BY event_id LIMIT 1000",
                         1,
                         {IA_PG_INT8}},
    [IA_S_LAST_EVENT] = {"last_event", "SELECT coalesce(max(event_id), 0)::bigint FROM iot_auth.broker_event", 0, {0}},
};

/* The registry as a stream, in parts by fingerprint: SHA-256, so that they are of one size.  COPY cannot be prepared
 * and checks no types, so the casts see to those.  It may take longer than a statement is given: the reader watches
 * that it goes on.  The statements of one text are one transaction, which ends by itself when one is refused.  Parallel
 * workers would take cores from others and spare little, since all rows pass one process anyway. */
#define DEVICE_PART(condition)                                                                                         \
    "SET LOCAL transaction_read_only = on; SET LOCAL statement_timeout = 0; "                                          \
    "SET LOCAL max_parallel_workers_per_gather = 0; "                                                                  \
    "COPY (SELECT fingerprint::bytea, device_id::text, device_status::text, certificate_status::text, "                \
    "certificate_ca_id::bigint, device_ca_id::bigint, tenant::text, not_after::timestamptz, attrs::text[], "           \
    "roles::text[] FROM iot_auth.broker_device WHERE " condition ") TO STDOUT (FORMAT binary)"

const char *const ia_device_parts[IA_DEVICE_PARTS] = {
    DEVICE_PART("fingerprint < decode('80', 'hex')"),
    DEVICE_PART("fingerprint >= decode('80', 'hex')"),
};

static int ms_or(int given, int fallback)
{
    return given > 0 ? given : fallback;
}

enum ia_rc ia_db_new(const struct ia_db_config *config, struct ia_db **out, struct ia_err *err)
{
    struct ia_db *db = calloc(1, sizeof *db);
    if (!db)
        return ia_nomem(err);
    enum ia_rc rc = ia_conninfo_parse(config->conninfo, config->node_name, &db->info, err);
    if (rc != IA_OK) {
        free(db);
        return rc;
    }
    int connect_ms = db->info.connect_timeout_s ? db->info.connect_timeout_s * 1000 : IA_DB_CONNECT_TIMEOUT_MS;
    db->connect_timeout_ms = ms_or(config->connect_timeout_ms, connect_ms);
    db->query_timeout_ms = ms_or(config->query_timeout_ms, IA_DB_QUERY_TIMEOUT_MS);
    db->wake_fd = config->wake_fd;
    db->stop = config->stop;
    *out = db;
    return IA_OK;
}

void ia_db_free(struct ia_db *db)
{
    if (!db)
        return;
    ia_db_disconnect(db);
    ia_conninfo_clear(&db->info);
    free(db);
}

bool ia_db_connected(const struct ia_db *db)
{
    return db->conn != NULL;
}
