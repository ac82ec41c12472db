// SPDX-License-Identifier: ISC
/* Every statement that the broker side runs, in one table; the views and functions stand in sql/migrations.  All names
 * are qualified, and search_path is pg_catalog (sql/connect.c), so that no role can substitute an operator of its
 * own. */
#include "sql/db.h"

#include "sql/private.h"
#include "sql/versions.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define DEVICE_COLUMNS                                                                                                 \
    "fingerprint, device_id, device_status, certificate_status, certificate_ca_id, device_ca_id, tenant, not_after, "  \
    "attrs, roles"
#define NO_FAULT                     "NULL::text AS fault" /* of a view that returns whole rows only */
#define DEVICES_WHERE(condition)     "SELECT " DEVICE_COLUMNS ", " NO_FAULT " FROM iot_auth.broker_device WHERE " condition
#define DEVICE_KEYS_WHERE(condition) "SELECT fingerprint, device_id FROM iot_auth.broker_device WHERE " condition

/* A page of broker_device.  Its fingerprints come from its parts, each of which is read by an index: the order of the
 * union would be made by sorting all rows for each page. */
#define PART_OF_PAGE(view)                                                                                             \
    "(SELECT fingerprint FROM iot_auth." view " WHERE fingerprint > $1 ORDER BY fingerprint LIMIT $2)"
#define IN_PAGE                                                                                                                  \
    "fingerprint = ANY (ARRAY(SELECT k.fingerprint FROM (" PART_OF_PAGE("broker_certificate_device") " UNION ALL " PART_OF_PAGE( \
        "broker_psk_device") ") k ORDER BY k.fingerprint LIMIT $2)) ORDER BY fingerprint"

#define PSK_COLUMNS "SELECT identity, device_id, key_id, sealed, status, expires_at, problem FROM iot_auth.broker_psk "

/* A part of the configuration: all rows, the keys of all rows (whose columns the rows begin with), the rows of an array
 * of keys. */
#define PART(ALL, KEYS, BY_KEY, view, key, keys, columns, key_array)                                                   \
    [ALL] = {view, "SELECT " columns " FROM iot_auth." view, 0, {0}},                                                  \
    [KEYS] = {view "_keys", "SELECT " keys " FROM iot_auth." view, 0, {0}},                                            \
    [BY_KEY] = {view "_by_key", "SELECT " columns " FROM iot_auth." view " WHERE " key " = ANY ($1)", 1, {key_array}}

const struct ia_statement_text ia_statements[IA_STATEMENTS] = {
    PART(IA_S_CAS, IA_S_CA_KEYS, IA_S_CAS_BY_KEY, "broker_ca", "ca_id", "ca_id, name",
         "ca_id, name, pem, status, auto_registration, device_id_template, client_id_templates, tenant, replaces, "
         "problem, roles, terms, has_template, template_attributes, template_tenant, fault",
         IA_PG_INT8_ARRAY),
    PART(IA_S_CRLS, IA_S_CRL_KEYS, IA_S_CRLS_BY_KEY, "broker_crl", "crl_id", "crl_id, ca_id",
         "crl_id, ca_id, pem, fault", IA_PG_INT8_ARRAY),
    PART(IA_S_ROLES, IA_S_ROLE_KEYS, IA_S_ROLES_BY_KEY, "broker_role", "role", "role", "role, " NO_FAULT,
         IA_PG_TEXT_ARRAY),
    PART(IA_S_RULES, IA_S_RULE_KEYS, IA_S_RULES_BY_KEY, "broker_rule", "rule_id", "rule_id, role",
         "rule_id, role, effect, actions, topic_filter, max_qos, allow_retain, problem, fault", IA_PG_INT8_ARRAY),
    PART(IA_S_IPS, IA_S_IP_KEYS, IA_S_IPS_BY_KEY, "broker_ip", "rule_id", "rule_id, scope, scope_key",
         "rule_id, scope, scope_key, effect, network, expires_at, fault", IA_PG_INT8_ARRAY),
    PART(IA_S_ISSUERS, IA_S_ISSUER_KEYS, IA_S_ISSUERS_BY_KEY, "broker_issuer", "name", "name",
         "name, issuer, audience, algorithms, jwks, jwks_url, client_id_templates, app_id_claim, token_types, "
         "leeway_s, tenant, status, problem, note, scope_claims, audience_claims, required_claims, max_lifetime_s, "
         "fault",
         IA_PG_TEXT_ARRAY),
    PART(IA_S_SCOPES, IA_S_SCOPE_KEYS, IA_S_SCOPES_BY_KEY, "broker_scope", "issuer", "DISTINCT issuer",
         "issuer, scope, role, " NO_FAULT, IA_PG_TEXT_ARRAY),
    PART(IA_S_REVOCATIONS, IA_S_REVOCATION_KEYS, IA_S_REVOCATIONS_BY_KEY, "broker_token_revocation", "id", "id, issuer",
         "id, issuer, claim, value, issued_before, until, fault", IA_PG_INT8_ARRAY),
    PART(IA_S_RESERVED, IA_S_RESERVED_KEYS, IA_S_RESERVED_BY_KEY, "broker_reserved_name", "name", "name",
         "name, " NO_FAULT, IA_PG_TEXT_ARRAY),
    [IA_S_DEVICES_BY_ID] = {"devices_by_id", DEVICES_WHERE("device_id = ANY ($1)"), 1, {IA_PG_TEXT_ARRAY}},
    [IA_S_DEVICE_STATES] = {"device_states",
                            "SELECT fingerprint, device_id, device_status, certificate_status, 0::bigint, 0::bigint, "
                            "NULL::text, NULL::timestamptz, NULL::text[], NULL::text[], " NO_FAULT
                            " FROM iot_auth.broker_device_state WHERE device_id = ANY ($1)"
                            " ORDER BY device_id COLLATE \"C\", fingerprint",
                            1,
                            {IA_PG_TEXT_ARRAY}},
    [IA_S_DEVICES_BY_FINGERPRINT] = {"devices_by_fingerprint",
                                     DEVICES_WHERE("fingerprint = ANY ($1)"),
                                     1,
                                     {IA_PG_BYTEA_ARRAY}},
    [IA_S_DEVICE_PAGE] = {"device_page", DEVICES_WHERE(IN_PAGE), 2, {IA_PG_BYTEA, IA_PG_INT8}},
    [IA_S_DEVICE_PAGE_KEYS] = {"device_page_keys", DEVICE_KEYS_WHERE(IN_PAGE), 2, {IA_PG_BYTEA, IA_PG_INT8}},
    [IA_S_DEVICE_KEYS_BY_ID] = {"device_keys_by_id", DEVICE_KEYS_WHERE("device_id = ANY ($1)"), 1, {IA_PG_TEXT_ARRAY}},
    [IA_S_DEVICE_KEYS_BY_FINGERPRINT] = {"device_keys_by_fingerprint",
                                         DEVICE_KEYS_WHERE("fingerprint = ANY ($1)"),
                                         1,
                                         {IA_PG_BYTEA_ARRAY}},
    [IA_S_REGISTER_MANY] = {"broker_register_many",
                            "SELECT item, outcome, detail, " DEVICE_COLUMNS
                            " FROM iot_auth.broker_register_many($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
                            11,
                            {IA_PG_BYTEA_ARRAY, IA_PG_TEXT_ARRAY, IA_PG_INT8_ARRAY, IA_PG_TEXT_ARRAY, IA_PG_TEXT_ARRAY,
                             IA_PG_TIMESTAMPTZ_ARRAY, IA_PG_TIMESTAMPTZ_ARRAY, IA_PG_TEXT, IA_PG_TEXT_ARRAY,
                             IA_PG_TEXT_ARRAY, IA_PG_TEXT_ARRAY}},
    [IA_S_REGISTER_ASKING] =
        {"broker_register",
         "SELECT outcome, detail FROM iot_auth.broker_register($1, $2, $3, $4, $5, $6, $7, $8, $9, "
         "$10, $11, 'ask')",
         11,
         {IA_PG_BYTEA, IA_PG_TEXT, IA_PG_INT8, IA_PG_TEXT, IA_PG_TEXT, IA_PG_TIMESTAMPTZ, IA_PG_TIMESTAMPTZ, IA_PG_TEXT,
          IA_PG_TEXT, IA_PG_TEXT, IA_PG_TEXT}},
    [IA_S_REHEARSE] = {"broker_rehearse",
                       "SELECT iot_auth.broker_rehearse($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
                       11,
                       {IA_PG_BYTEA, IA_PG_TEXT, IA_PG_INT8, IA_PG_TEXT, IA_PG_TEXT, IA_PG_TIMESTAMPTZ,
                        IA_PG_TIMESTAMPTZ, IA_PG_TEXT, IA_PG_TEXT, IA_PG_TEXT, IA_PG_TEXT}},
    [IA_S_NOTE_HOOK] = {"broker_note_hook", "SELECT iot_auth.broker_note_hook($1, $2)", 2, {IA_PG_INT8, IA_PG_TEXT}},
    [IA_S_SET_CA_PARSED] = {"broker_set_ca_parsed",
                            "SELECT iot_auth.broker_set_ca_parsed($1, $2, $3, $4, $5)",
                            5,
                            {IA_PG_INT8, IA_PG_TEXT, IA_PG_TIMESTAMPTZ, IA_PG_TIMESTAMPTZ, IA_PG_TEXT}},
    [IA_S_SET_CERTIFICATE_PARSED] = {"broker_set_certificate_parsed",
                                     "SELECT iot_auth.broker_set_certificate_parsed($1, $2, $3, $4, $5, $6)",
                                     6,
                                     {IA_PG_BYTEA, IA_PG_TEXT, IA_PG_TEXT, IA_PG_TIMESTAMPTZ, IA_PG_TIMESTAMPTZ,
                                      IA_PG_TEXT}},
    [IA_S_SET_RULE_PROBLEM] = {"broker_set_rule_problem",
                               "SELECT iot_auth.broker_set_rule_problem($1, $2)",
                               2,
                               {IA_PG_INT8, IA_PG_TEXT}},
    [IA_S_SET_ISSUER_PROBLEM] = {"broker_set_issuer_problem",
                                 "SELECT iot_auth.broker_set_issuer_problem($1, $2)",
                                 2,
                                 {IA_PG_TEXT, IA_PG_TEXT}},
    [IA_S_SET_ISSUER_NOTE] = {"broker_set_issuer_note",
                              "SELECT iot_auth.broker_set_issuer_note($1, $2)",
                              2,
                              {IA_PG_TEXT, IA_PG_TEXT}},
    [IA_S_SET_PSK_PROBLEM] = {"broker_set_psk_problem",
                              "SELECT iot_auth.broker_set_psk_problem($1, $2, $3)",
                              3,
                              {IA_PG_TEXT, IA_PG_BYTEA, IA_PG_TEXT}},
    [IA_S_WRITE_EVENTS] = {"broker_write_events",
                           "SELECT iot_auth.broker_write_events($1, $2, $3, $4, $5, $6, $7, $8)",
                           8,
                           {IA_PG_TEXT, IA_PG_TIMESTAMPTZ_ARRAY, IA_PG_TEXT_ARRAY, IA_PG_TEXT_ARRAY, IA_PG_INT8_ARRAY,
                            IA_PG_TEXT_ARRAY, IA_PG_TEXT_ARRAY, IA_PG_TEXT_ARRAY}},
    [IA_S_WRITE_REFUSALS] = {"broker_write_refusals",
                             "SELECT iot_auth.broker_write_refusals($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
                             12,
                             {IA_PG_TEXT, IA_PG_TEXT_ARRAY, IA_PG_TEXT_ARRAY, IA_PG_TIMESTAMPTZ_ARRAY,
                              IA_PG_TIMESTAMPTZ_ARRAY, IA_PG_INT8_ARRAY, IA_PG_TEXT_ARRAY, IA_PG_TEXT_ARRAY,
                              IA_PG_INT8_ARRAY, IA_PG_TEXT_ARRAY, IA_PG_TEXT_ARRAY, IA_PG_TEXT_ARRAY}},
    [IA_S_HEARTBEAT] = {"broker_heartbeat",
                        "SELECT iot_auth.broker_heartbeat($1, $2, NULL, $3, $4)",
                        4,
                        {IA_PG_TEXT, IA_PG_TEXT, IA_PG_TEXT, IA_PG_TEXT}},
    [IA_S_STOPPED] = {"broker_stopped", "SELECT iot_auth.broker_stopped($1)", 1, {IA_PG_TEXT}},
    [IA_S_NOTIFY] = {"notify", "SELECT pg_catalog.pg_notify('iot_auth', $1)", 1, {IA_PG_TEXT}},
    [IA_S_CONNECTED] = {"broker_connected",
                        "SELECT iot_auth.broker_connected($1, $2), iot_auth.broker_psk_used($3, $2)",
                        3,
                        {IA_PG_TEXT_ARRAY, IA_PG_TIMESTAMPTZ_ARRAY, IA_PG_TEXT_ARRAY}},
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
    [IA_S_CLIENT_ID_RELEASES] = {"client_id_releases",
                                 "SELECT release_id, client_id FROM iot_auth.broker_client_id_release "
                                 "WHERE release_id > $1 ORDER BY release_id LIMIT 1000",
                                 1,
                                 {IA_PG_INT8}},
    [IA_S_CLIENT_ID_OWNERS] = {"client_id_owners",
                               "SELECT client_id_key, principal_key FROM iot_auth.broker_client_id_owner "
                               "WHERE node_name = $1 AND client_id_key > $2 ORDER BY client_id_key LIMIT $3",
                               3,
                               {IA_PG_TEXT, IA_PG_INT8, IA_PG_INT8}},
    [IA_S_WRITE_OWNERS] = {"broker_write_owners",
                           "SELECT iot_auth.broker_write_owners($1, $2, $3, $4, $5)",
                           5,
                           {IA_PG_TEXT, IA_PG_INT8_ARRAY, IA_PG_INT8_ARRAY, IA_PG_TEXT_ARRAY, IA_PG_TEXT_ARRAY}},
    [IA_S_PSK_PAGE] = {"psk_page",
                       PSK_COLUMNS "WHERE identity > $1 ORDER BY identity LIMIT $2",
                       2,
                       {IA_PG_TEXT, IA_PG_INT8}},
    [IA_S_PSKS_BY_IDENTITY] = {"psks_by_identity", PSK_COLUMNS "WHERE identity = ANY ($1)", 1, {IA_PG_TEXT_ARRAY}},
};

/* The registry as a stream, in parts by fingerprint: SHA-256, so that they are of one size.  COPY cannot be prepared
 * and checks no types, so the casts see to those.  It may exceed the statement timeout: the reader checks instead that
 * it makes progress.  The statements of one text are one transaction, which ends by itself when one is refused.
 * Parallel workers would take cores from others and save little, because all rows pass through one process. */
#define STREAM(columns_from_where)                                                                                         \
    "SET LOCAL transaction_read_only = on; SET LOCAL statement_timeout = 0; "                                              \
    "SET LOCAL max_parallel_workers_per_gather = 0; "                                                                      \
    "COPY (SELECT fingerprint::bytea, device_id::text, device_status::text, certificate_status::text, " columns_from_where \
    ") TO STDOUT (FORMAT binary)"
#define DEVICE_PART(condition)                                                                                         \
    STREAM("certificate_ca_id::bigint, device_ca_id::bigint, tenant::text, not_after::timestamptz, attrs::text[], "    \
           "roles::text[], NULL::text FROM iot_auth.broker_device WHERE " condition)

const char *const ia_device_parts[IA_DEVICE_PARTS] = {
    DEVICE_PART("fingerprint < decode('80', 'hex')"),
    DEVICE_PART("fingerprint >= decode('80', 'hex')"),
};
const char *const ia_closed_devices =
    STREAM("0::bigint, 0::bigint, NULL::text, NULL::timestamptz, NULL::text[], NULL::text[], NULL::text "
           "FROM iot_auth.broker_device_state WHERE device_status <> 'ACTIVE' OR certificate_status <> 'ACTIVE'");

static int ms_or(int given, int fallback)
{
    return given > 0 ? given : fallback;
}

enum ia_rc ia_db_new(const struct ia_db_config *config, struct ia_db **out, struct ia_err *err)
{
    struct ia_db *db = calloc(1, sizeof *db);
    if (!db)
        return ia_nomem(err);
    enum ia_rc rc = ia_conninfo_parse(config->conninfo, config->node_name, config->insecure, &db->info, err);
    if (rc != IA_OK) {
        free(db);
        return rc;
    }
    int connect_ms = db->info.connect_timeout_s ? db->info.connect_timeout_s * 1000 : IA_DB_CONNECT_TIMEOUT_MS;
    db->connect_timeout_ms = ms_or(config->connect_timeout_ms, connect_ms);
    db->query_timeout_ms = ms_or(config->query_timeout_ms, IA_DB_QUERY_TIMEOUT_MS);
    db->versions = config->versions;
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

bool ia_db_is_pooled(const struct ia_db *db)
{
    return db->pooled;
}

void ia_db_describe(const struct ia_db *db, char *out, size_t size)
{
    char libpq[IA_DB_VERSION_SIZE], server[IA_DB_VERSION_SIZE];
    (void)snprintf(out, size, "libpq %s, PostgreSQL %s (%s), schema %" PRId64, ia_db_libpq_version(libpq),
                   ia_db_print_version(PQserverVersion(db->conn), server), ia_db_tls_text(ia_db_tls(db)),
                   db->schema_version);
}

const char *ia_db_peer(const struct ia_db *db)
{
    return db->peer;
}

enum ia_db_tls ia_db_tls(const struct ia_db *db)
{
    const struct ia_conn_host *host = &db->info.hosts[db->host];
    if (!db->conn)
        return IA_DB_CLEAR;
    if (host->local)
        return IA_DB_LOCAL;
    if (!PQsslInUse(db->conn))
        return PQgssEncInUse(db->conn) ? IA_DB_TLS_UNVERIFIED : IA_DB_CLEAR;
    return host->verify || db->info.verify_given ? IA_DB_TLS_VERIFIED : IA_DB_TLS_UNVERIFIED;
}
