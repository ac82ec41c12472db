// SPDX-License-Identifier: ISC
#include "sql/rows.h"

#include "acl/rule_text.h"
#include "sql/private.h"

#include <stdlib.h>
#include <string.h>

#define WORD(kind, word) {#word, IA_##kind##_##word},
static const struct ia_word ca_statuses[] = {IA_CA_STATUSES(WORD){NULL, 0}};
#undef WORD

enum effect { EFFECT_UNKNOWN = 0, EFFECT_ALLOW, EFFECT_DENY };
static const struct ia_word effects[] = {{"ALLOW", EFFECT_ALLOW}, {"DENY", EFFECT_DENY}, {NULL, 0}};

enum ip_scope { SCOPE_UNKNOWN = 0, SCOPE_GLOBAL, SCOPE_CA, SCOPE_DEVICE, SCOPE_ISSUER };
static const struct ia_word ip_scopes[] = {
    {"GLOBAL", SCOPE_GLOBAL}, {"CA", SCOPE_CA}, {"DEVICE", SCOPE_DEVICE}, {"ISSUER", SCOPE_ISSUER}, {NULL, 0}};

/* Rows as they are read, where they are not handed out like that. */
struct raw_role {
    const char *role;
};

struct raw_rule {
    int64_t rule_id;
    const char *role;
    enum effect effect;
    struct ia_texts actions;
    const char *topic_filter;
    int max_qos;
    bool allow_retain;
    const char *problem;
};

struct raw_ip {
    int64_t rule_id;
    enum effect effect;
    const char *network;
    enum ip_scope scope;
    const char *scope_key;
    int64_t expires_at;
};

static const struct ia_column ca_list[] = {
    IA_COLUMN(struct ia_ca_row, ca_id, NOT_NULL),
    IA_COLUMN(struct ia_ca_row, name, NOT_NULL),
    IA_COLUMN(struct ia_ca_row, pem, NOT_NULL),
    IA_COLUMN_WORD(struct ia_ca_row, status, ca_statuses),
    IA_COLUMN(struct ia_ca_row, auto_registration, NOT_NULL),
    IA_COLUMN(struct ia_ca_row, device_id_template, NOT_NULL),
    IA_COLUMN(struct ia_ca_row, client_id_templates, NOT_NULL),
    IA_COLUMN(struct ia_ca_row, tenant, NULLABLE),
    IA_COLUMN(struct ia_ca_row, replaces, NULLABLE),
    IA_COLUMN(struct ia_ca_row, problem, NULLABLE),
    IA_COLUMN(struct ia_ca_row, roles, NULLABLE),
};

static const struct ia_column crl_list[] = {
    IA_COLUMN(struct ia_crl_row, crl_id, NOT_NULL),
    IA_COLUMN(struct ia_crl_row, ca_id, NOT_NULL),
    IA_COLUMN(struct ia_crl_row, pem, NOT_NULL),
};

static const struct ia_column role_list[] = {IA_COLUMN(struct raw_role, role, NOT_NULL)};

static const struct ia_column rule_list[] = {
    IA_COLUMN(struct raw_rule, rule_id, NOT_NULL),      IA_COLUMN(struct raw_rule, role, NOT_NULL),
    IA_COLUMN_WORD(struct raw_rule, effect, effects),   IA_COLUMN(struct raw_rule, actions, NOT_NULL),
    IA_COLUMN(struct raw_rule, topic_filter, NOT_NULL), IA_COLUMN(struct raw_rule, max_qos, NOT_NULL),
    IA_COLUMN(struct raw_rule, allow_retain, NOT_NULL), IA_COLUMN(struct raw_rule, problem, NULLABLE),
};

static const struct ia_column ip_list[] = {
    IA_COLUMN(struct raw_ip, rule_id, NOT_NULL),   IA_COLUMN_WORD(struct raw_ip, effect, effects),
    IA_COLUMN(struct raw_ip, network, NOT_NULL),   IA_COLUMN_WORD(struct raw_ip, scope, ip_scopes),
    IA_COLUMN(struct raw_ip, scope_key, NULLABLE), IA_COLUMN_TIME(struct raw_ip, expires_at, NULLABLE),
};

static const struct ia_column issuer_list[] = {
    IA_COLUMN(struct ia_issuer_row, name, NOT_NULL),
    IA_COLUMN(struct ia_issuer_row, issuer, NOT_NULL),
    IA_COLUMN(struct ia_issuer_row, audience, NOT_NULL),
    IA_COLUMN(struct ia_issuer_row, algorithms, NOT_NULL),
    IA_COLUMN(struct ia_issuer_row, jwks, NULLABLE),
    IA_COLUMN(struct ia_issuer_row, jwks_url, NULLABLE),
    IA_COLUMN(struct ia_issuer_row, client_id_templates, NOT_NULL),
    IA_COLUMN(struct ia_issuer_row, app_id_claim, NULLABLE),
    IA_COLUMN(struct ia_issuer_row, token_types, NOT_NULL),
    IA_COLUMN(struct ia_issuer_row, leeway_s, NOT_NULL),
    IA_COLUMN(struct ia_issuer_row, tenant, NULLABLE),
    IA_COLUMN_ACTIVE(struct ia_issuer_row, active),
    IA_COLUMN(struct ia_issuer_row, problem, NULLABLE),
};

static const struct ia_column scope_list[] = {
    IA_COLUMN(struct ia_scope_row, issuer, NOT_NULL),
    IA_COLUMN(struct ia_scope_row, scope, NOT_NULL),
    IA_COLUMN(struct ia_scope_row, role, NOT_NULL),
};

/* The answers of one load and the rows that point into them. */
#define PARTS 7
struct loaded_rows {
    struct ia_rows rows;
    struct ia_arena arena;
    PGresult *results[PARTS];
};

/* Put the decoded rows where they belong. */
static bool take_cas(struct loaded_rows *l, const struct ia_decoded *d)
{
    l->rows.cas = d->rows;
    l->rows.n_cas = d->n;
    return true;
}

static bool take_crls(struct loaded_rows *l, const struct ia_decoded *d)
{
    l->rows.crls = d->rows;
    l->rows.n_crls = d->n;
    return true;
}

static bool take_roles(struct loaded_rows *l, const struct ia_decoded *d)
{
    const struct raw_role *raw = d->rows;
    const char **roles = ia_arena_array(&l->arena, d->n, sizeof *roles);
    if (!roles)
        return false;
    for (size_t i = 0; i < d->n; i++)
        roles[i] = raw[i].role;
    l->rows.roles = roles;
    l->rows.n_roles = d->n;
    return true;
}

static struct ia_rule rule_of(const struct raw_rule *raw)
{
    struct ia_rule rule = {.rule_id = raw->rule_id,
                           .role = raw->role,
                           .allow = raw->effect == EFFECT_ALLOW,
                           .topic_filter = raw->topic_filter,
                           .max_qos = raw->max_qos,
                           .allow_retain = raw->allow_retain};
    bool understood = raw->effect != EFFECT_UNKNOWN && raw->actions.n > 0;
    for (size_t i = 0; i < raw->actions.n; i++) {
        unsigned action = ia_action_from_name(raw->actions.items[i]);
        rule.actions |= action;
        understood &= action != 0;
    }
    if (!understood) { /* it may have been meant to deny: its role must not do without it */
        rule.allow = false;
        rule.actions = IA_PUBLISH | IA_SUBSCRIBE | IA_RECEIVE;
        rule.topic_filter = "";
    }
    return rule;
}

static bool take_rules(struct loaded_rows *l, const struct ia_decoded *d)
{
    const struct raw_rule *raw = d->rows;
    struct ia_rule *rules = ia_arena_array(&l->arena, d->n, sizeof *rules);
    const char **problems = ia_arena_array(&l->arena, d->n, sizeof *problems);
    if (!rules || !problems)
        return false;
    for (size_t i = 0; i < d->n; i++) {
        rules[i] = rule_of(&raw[i]);
        problems[i] = raw[i].problem;
    }
    l->rows.rules = rules;
    l->rows.rule_problems = problems;
    l->rows.n_rules = d->n;
    return true;
}

static struct ia_ip_rule ip_of(const struct raw_ip *raw)
{
    struct ia_ip_rule rule = {.rule_id = raw->rule_id,
                              .allow = raw->effect == EFFECT_ALLOW,
                              .network = raw->network,
                              .scope_key = raw->scope_key,
                              .expires_at = raw->expires_at};
    static const enum ia_ip_scope scopes[] = {[SCOPE_UNKNOWN] = IA_IP_GLOBAL,
                                              [SCOPE_GLOBAL] = IA_IP_GLOBAL,
                                              [SCOPE_CA] = IA_IP_CA,
                                              [SCOPE_DEVICE] = IA_IP_DEVICE,
                                              [SCOPE_ISSUER] = IA_IP_ISSUER};
    rule.scope = scopes[raw->scope];
    if (raw->scope == SCOPE_UNKNOWN)
        rule.scope_key = NULL;
    if (raw->scope == SCOPE_UNKNOWN || raw->effect == EFFECT_UNKNOWN) {
        rule.network = ""; /* it may have been meant to deny */
        rule.expires_at = 0;
    }
    return rule;
}

static bool take_ips(struct loaded_rows *l, const struct ia_decoded *d)
{
    const struct raw_ip *raw = d->rows;
    struct ia_ip_rule *ips = ia_arena_array(&l->arena, d->n, sizeof *ips);
    if (!ips)
        return false;
    for (size_t i = 0; i < d->n; i++)
        ips[i] = ip_of(&raw[i]);
    l->rows.ips = ips;
    l->rows.n_ips = d->n;
    return true;
}

static bool take_issuers(struct loaded_rows *l, const struct ia_decoded *d)
{
    l->rows.issuers = d->rows;
    l->rows.n_issuers = d->n;
    return true;
}

static bool take_scopes(struct loaded_rows *l, const struct ia_decoded *d)
{
    l->rows.scopes = d->rows;
    l->rows.n_scopes = d->n;
    return true;
}

static const struct {
    enum ia_load part;
    enum ia_statement statement;
    struct ia_columns columns;
    bool (*take)(struct loaded_rows *l, const struct ia_decoded *d);
} parts[PARTS] = {
    {IA_LOAD_CAS, IA_S_CAS, IA_COLUMNS(ca_list, struct ia_ca_row), take_cas},
    {IA_LOAD_CRLS, IA_S_CRLS, IA_COLUMNS(crl_list, struct ia_crl_row), take_crls},
    {IA_LOAD_POLICY, IA_S_ROLES, IA_COLUMNS(role_list, struct raw_role), take_roles},
    {IA_LOAD_POLICY, IA_S_RULES, IA_COLUMNS(rule_list, struct raw_rule), take_rules},
    {IA_LOAD_IPS, IA_S_IPS, IA_COLUMNS(ip_list, struct raw_ip), take_ips},
    {IA_LOAD_ISSUERS, IA_S_ISSUERS, IA_COLUMNS(issuer_list, struct ia_issuer_row), take_issuers},
    {IA_LOAD_ISSUERS, IA_S_SCOPES, IA_COLUMNS(scope_list, struct ia_scope_row), take_scopes},
};

static enum ia_rc decode_part(struct loaded_rows *l, size_t part, struct ia_err *err)
{
    struct ia_decoded decoded;
    enum ia_rc rc = ia_db_decode(l->results[part], 0, &parts[part].columns, &l->arena, &decoded, err);
    if (rc != IA_OK)
        return rc;
    return parts[part].take(l, &decoded) ? IA_OK : ia_nomem(err);
}

/* One transaction that sees one moment, in one round trip. */
static bool send_all(struct ia_db *db, unsigned what)
{
    bool sent = PQsendQueryParams(db->conn, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", 0, NULL, NULL, NULL,
                                  NULL, 1) == 1;
    for (size_t i = 0; sent && i < PARTS; i++)
        if (what & parts[i].part)
            sent = PQsendQueryPrepared(db->conn, ia_statements[parts[i].statement].name, 0, NULL, NULL, NULL, 1) == 1;
    return sent && PQsendQueryParams(db->conn, "COMMIT", 0, NULL, NULL, NULL, NULL, 1) == 1 &&
           PQpipelineSync(db->conn) == 1;
}

static enum ia_rc receive_all(struct ia_db *db, unsigned what, struct loaded_rows *l, struct ia_err *err)
{
    int64_t deadline = ia_monotonic_ms() + db->query_timeout_ms;
    enum ia_rc rc = ia_db_skip_result(db, deadline, "BEGIN", err);
    for (size_t i = 0; rc == IA_OK && i < PARTS; i++)
        if (what & parts[i].part)
            rc = ia_db_next_result(db, deadline, ia_statements[parts[i].statement].name, &l->results[i], err);
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

static enum ia_rc fetch_parts(struct ia_db *db, unsigned what, struct loaded_rows *l, struct ia_err *err)
{
    enum ia_rc rc = ia_db_pipeline_begin(db, err);
    if (rc != IA_OK)
        return rc;
    rc = send_all(db, what) ? receive_all(db, what, l, err) : ia_db_lost(db, err);
    if (rc != IA_OK && ia_db_connected(db))
        end_refused_load(db);
    return rc;
}

enum ia_rc ia_db_load(struct ia_db *db, unsigned what, struct ia_rows **out, struct ia_err *err)
{
    struct loaded_rows *l = calloc(1, sizeof *l);
    if (!l)
        return ia_nomem(err);
    enum ia_rc rc = fetch_parts(db, what, l, err);
    for (size_t i = 0; rc == IA_OK && i < PARTS; i++)
        if (l->results[i])
            rc = decode_part(l, i, err);
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
    struct loaded_rows *l = (struct loaded_rows *)rows; /* rows is its first member */
    for (size_t i = 0; i < PARTS; i++)
        PQclear(l->results[i]);
    ia_arena_clear(&l->arena);
    free(l);
}
