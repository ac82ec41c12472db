// SPDX-License-Identifier: ISC
#include "sql/rows.h"

#include "sql/private.h"

#include <stdlib.h>
#include <string.h>

#define COLUMNS(table, row)                                                                                            \
    {                                                                                                                  \
        sizeof(table) / sizeof((table)[0]), sizeof(row), table                                                         \
    }

static const struct ia_word ca_statuses[] = {{"ACTIVE", IA_CA_ACTIVE}, {"REVOKED", IA_CA_REVOKED}, {NULL, 0}};

enum { EFFECT_UNKNOWN = 0, EFFECT_ALLOW, EFFECT_DENY };
static const struct ia_word effects[] = {{"ALLOW", EFFECT_ALLOW}, {"DENY", EFFECT_DENY}, {NULL, 0}};

static const struct ia_word yes_if_active[] = {{"ACTIVE", 1}, {NULL, 0}};

enum { SCOPE_UNKNOWN = 0, SCOPE_BASE }; /* scope + SCOPE_BASE, so that 0 stays free */
static const struct ia_word ip_scopes[] = {{"GLOBAL", SCOPE_BASE + IA_IP_GLOBAL},
                                           {"CA", SCOPE_BASE + IA_IP_CA},
                                           {"DEVICE", SCOPE_BASE + IA_IP_DEVICE},
                                           {"ISSUER", SCOPE_BASE + IA_IP_ISSUER},
                                           {NULL, 0}};

/* Rows as they are read, where they are not handed out like that. */
struct raw_rule {
    int64_t rule_id;
    const char *role;
    int effect;
    struct ia_texts actions;
    const char *topic_filter;
    int max_qos;
    bool allow_retain;
    const char *problem;
};

struct raw_ip {
    int64_t rule_id;
    int effect;
    const char *network;
    int scope;
    const char *scope_key;
    int64_t expires_at;
};

struct raw_issuer {
    struct ia_issuer_row row;
    int active;
};

#define C(type, member) offsetof(struct type, member)

static const struct ia_column ca_list[] = {
    {"ca_id", IA_COL_INT64, C(ia_ca_row, ca_id), false, NULL},
    {"name", IA_COL_TEXT, C(ia_ca_row, name), false, NULL},
    {"pem", IA_COL_TEXT, C(ia_ca_row, pem), false, NULL},
    {"status", IA_COL_WORD, C(ia_ca_row, status), false, ca_statuses},
    {"auto_registration", IA_COL_BOOL, C(ia_ca_row, auto_registration), false, NULL},
    {"device_id_template", IA_COL_TEXT, C(ia_ca_row, device_id_template), false, NULL},
    {"client_id_templates", IA_COL_TEXTS, C(ia_ca_row, client_id_templates), false, NULL},
    {"tenant", IA_COL_TEXT, C(ia_ca_row, tenant), true, NULL},
    {"replaces", IA_COL_INT64, C(ia_ca_row, replaces), true, NULL},
    {"problem", IA_COL_TEXT, C(ia_ca_row, problem), true, NULL},
    {"roles", IA_COL_TEXTS, C(ia_ca_row, roles), true, NULL},
};

static const struct ia_column crl_list[] = {
    {"crl_id", IA_COL_INT64, C(ia_crl_row, crl_id), false, NULL},
    {"ca_id", IA_COL_INT64, C(ia_crl_row, ca_id), false, NULL},
    {"pem", IA_COL_TEXT, C(ia_crl_row, pem), false, NULL},
};

static const struct ia_column role_list[] = {{"role", IA_COL_TEXT, 0, false, NULL}};

static const struct ia_column rule_list[] = {
    {"rule_id", IA_COL_INT64, C(raw_rule, rule_id), false, NULL},
    {"role", IA_COL_TEXT, C(raw_rule, role), false, NULL},
    {"effect", IA_COL_WORD, C(raw_rule, effect), false, effects},
    {"actions", IA_COL_TEXTS, C(raw_rule, actions), false, NULL},
    {"topic_filter", IA_COL_TEXT, C(raw_rule, topic_filter), false, NULL},
    {"max_qos", IA_COL_INT, C(raw_rule, max_qos), false, NULL},
    {"allow_retain", IA_COL_BOOL, C(raw_rule, allow_retain), false, NULL},
    {"problem", IA_COL_TEXT, C(raw_rule, problem), true, NULL},
};

static const struct ia_column ip_list[] = {
    {"rule_id", IA_COL_INT64, C(raw_ip, rule_id), false, NULL},
    {"effect", IA_COL_WORD, C(raw_ip, effect), false, effects},
    {"network", IA_COL_TEXT, C(raw_ip, network), false, NULL},
    {"scope", IA_COL_WORD, C(raw_ip, scope), false, ip_scopes},
    {"scope_key", IA_COL_TEXT, C(raw_ip, scope_key), true, NULL},
    {"expires_at", IA_COL_TIME_S, C(raw_ip, expires_at), true, NULL},
};

static const struct ia_column issuer_list[] = {
    {"name", IA_COL_TEXT, C(raw_issuer, row.name), false, NULL},
    {"issuer", IA_COL_TEXT, C(raw_issuer, row.issuer), false, NULL},
    {"audience", IA_COL_TEXTS, C(raw_issuer, row.audience), false, NULL},
    {"algorithms", IA_COL_TEXTS, C(raw_issuer, row.algorithms), false, NULL},
    {"jwks", IA_COL_TEXT, C(raw_issuer, row.jwks), true, NULL},
    {"jwks_url", IA_COL_TEXT, C(raw_issuer, row.jwks_url), true, NULL},
    {"client_id_templates", IA_COL_TEXTS, C(raw_issuer, row.client_id_templates), false, NULL},
    {"app_id_claim", IA_COL_TEXT, C(raw_issuer, row.app_id_claim), true, NULL},
    {"token_types", IA_COL_TEXTS, C(raw_issuer, row.token_types), false, NULL},
    {"leeway_s", IA_COL_INT, C(raw_issuer, row.leeway_s), false, NULL},
    {"tenant", IA_COL_TEXT, C(raw_issuer, row.tenant), true, NULL},
    {"status", IA_COL_WORD, C(raw_issuer, active), false, yes_if_active},
    {"problem", IA_COL_TEXT, C(raw_issuer, row.problem), true, NULL},
};

static const struct ia_column scope_list[] = {
    {"issuer", IA_COL_TEXT, C(ia_scope_row, issuer), false, NULL},
    {"scope", IA_COL_TEXT, C(ia_scope_row, scope), false, NULL},
    {"role", IA_COL_TEXT, C(ia_scope_row, role), false, NULL},
};

/* The answers of one load and the rows that point into them. */
#define PARTS 7
struct loaded {
    struct ia_rows rows;
    struct ia_arena arena;
    PGresult *results[PARTS];
};

/* Put the decoded rows where they belong. */
static bool take_cas(struct loaded *l, const struct ia_decoded *d)
{
    l->rows.cas = d->rows;
    l->rows.n_cas = d->n;
    return true;
}

static bool take_crls(struct loaded *l, const struct ia_decoded *d)
{
    l->rows.crls = d->rows;
    l->rows.n_crls = d->n;
    return true;
}

static bool take_roles(struct loaded *l, const struct ia_decoded *d)
{
    l->rows.roles = d->rows;
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
        rule.actions = IA_ACTIONS_ALL;
        rule.topic_filter = "";
    }
    return rule;
}

static bool take_rules(struct loaded *l, const struct ia_decoded *d)
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
    rule.scope = raw->scope == SCOPE_UNKNOWN ? IA_IP_GLOBAL : (enum ia_ip_scope)(raw->scope - SCOPE_BASE);
    if (raw->scope == SCOPE_UNKNOWN)
        rule.scope_key = NULL;
    if (raw->scope == SCOPE_UNKNOWN || raw->effect == EFFECT_UNKNOWN) {
        rule.network = ""; /* it may have been meant to deny */
        rule.expires_at = 0;
    }
    return rule;
}

static bool take_ips(struct loaded *l, const struct ia_decoded *d)
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

static bool take_issuers(struct loaded *l, const struct ia_decoded *d)
{
    const struct raw_issuer *raw = d->rows;
    struct ia_issuer_row *issuers = ia_arena_array(&l->arena, d->n, sizeof *issuers);
    if (!issuers)
        return false;
    for (size_t i = 0; i < d->n; i++) {
        issuers[i] = raw[i].row;
        issuers[i].active = raw[i].active == 1;
    }
    l->rows.issuers = issuers;
    l->rows.n_issuers = d->n;
    return true;
}

static bool take_scopes(struct loaded *l, const struct ia_decoded *d)
{
    l->rows.scopes = d->rows;
    l->rows.n_scopes = d->n;
    return true;
}

static const struct {
    enum ia_load part;
    enum ia_statement statement;
    struct ia_columns columns;
    bool (*take)(struct loaded *l, const struct ia_decoded *d);
} parts[PARTS] = {
    {IA_LOAD_CAS, IA_S_CAS, COLUMNS(ca_list, struct ia_ca_row), take_cas},
    {IA_LOAD_CRLS, IA_S_CRLS, COLUMNS(crl_list, struct ia_crl_row), take_crls},
    {IA_LOAD_POLICY, IA_S_ROLES, COLUMNS(role_list, const char *), take_roles},
    {IA_LOAD_POLICY, IA_S_RULES, COLUMNS(rule_list, struct raw_rule), take_rules},
    {IA_LOAD_IPS, IA_S_IPS, COLUMNS(ip_list, struct raw_ip), take_ips},
    {IA_LOAD_ISSUERS, IA_S_ISSUERS, COLUMNS(issuer_list, struct raw_issuer), take_issuers},
    {IA_LOAD_ISSUERS, IA_S_SCOPES, COLUMNS(scope_list, struct ia_scope_row), take_scopes},
};

static enum ia_rc decode(struct loaded *l, size_t part, struct ia_err *err)
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

static enum ia_rc skip(struct ia_db *db, int64_t deadline, const char *name, struct ia_err *err)
{
    PGresult *result = NULL;
    enum ia_rc rc = ia_db_next(db, deadline, name, &result, err);
    PQclear(result);
    return rc;
}

static enum ia_rc receive_all(struct ia_db *db, unsigned what, struct loaded *l, struct ia_err *err)
{
    int64_t deadline = ia_db_now_ms() + db->query_timeout_ms;
    enum ia_rc rc = skip(db, deadline, "BEGIN", err);
    for (size_t i = 0; rc == IA_OK && i < PARTS; i++)
        if (what & parts[i].part)
            rc = ia_db_next(db, deadline, ia_statements[parts[i].statement].name, &l->results[i], err);
    if (rc == IA_OK)
        rc = skip(db, deadline, "COMMIT", err);
    return rc == IA_OK ? ia_db_pipeline_end(db, deadline, err) : rc;
}

/* A statement was refused (a table is locked, say): end the pipeline and the transaction, and the connection goes
 * on. */
static void give_up(struct ia_db *db)
{
    int64_t deadline = ia_db_now_ms() + db->query_timeout_ms;
    if (ia_db_pipeline_end(db, deadline, NULL) != IA_OK ||
        PQsendQueryParams(db->conn, "ROLLBACK", 0, NULL, NULL, NULL, NULL, 1) != 1 ||
        skip(db, deadline, "ROLLBACK", NULL) != IA_OK)
        ia_db_disconnect(db);
}

static enum ia_rc fetch(struct ia_db *db, unsigned what, struct loaded *l, struct ia_err *err)
{
    enum ia_rc rc = ia_db_pipeline_begin(db, err);
    if (rc != IA_OK)
        return rc;
    rc = send_all(db, what) ? receive_all(db, what, l, err) : ia_db_lost(db, err);
    if (rc != IA_OK && ia_db_connected(db))
        give_up(db);
    return rc;
}

enum ia_rc ia_db_load(struct ia_db *db, unsigned what, struct ia_rows **out, struct ia_err *err)
{
    struct loaded *l = calloc(1, sizeof *l);
    if (!l)
        return ia_nomem(err);
    enum ia_rc rc = fetch(db, what, l, err);
    for (size_t i = 0; rc == IA_OK && i < PARTS; i++)
        if (l->results[i])
            rc = decode(l, i, err);
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
    struct loaded *l = (struct loaded *)rows; /* rows is its first member */
    for (size_t i = 0; i < PARTS; i++)
        PQclear(l->results[i]);
    ia_arena_clear(&l->arena);
    free(l);
}
