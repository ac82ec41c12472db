// SPDX-License-Identifier: ISC
/* The parts of the configuration: their columns, and how a row that cannot be used closes its own scope. */
#include "sql/rows.h"

#include "acl/rule_text.h"
#include "sql/load.h"
#include "sql/private.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define WORD(kind, word) {#word, IA_##kind##_##word},
static const struct ia_word ca_statuses[] = {IA_CA_STATUSES(WORD){NULL, 0}};
#undef WORD

enum effect { EFFECT_UNKNOWN = 0, EFFECT_ALLOW, EFFECT_DENY };
static const struct ia_word effects[] = {{"ALLOW", EFFECT_ALLOW}, {"DENY", EFFECT_DENY}, {NULL, 0}};

enum ip_scope { SCOPE_UNKNOWN = 0, SCOPE_GLOBAL, SCOPE_CA, SCOPE_DEVICE, SCOPE_ISSUER };
static const struct ia_word ip_scopes[] = {
    {"GLOBAL", SCOPE_GLOBAL}, {"CA", SCOPE_CA}, {"DEVICE", SCOPE_DEVICE}, {"ISSUER", SCOPE_ISSUER}, {NULL, 0}};

/* Rows as they are read, where the caller gets them in another form. */
struct raw_name {
    const char *name;
    const char *fault;
};

struct raw_role {
    const char *role;
    const char *fault;
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
    const char *fault;
};

struct raw_ip {
    int64_t rule_id;
    enum effect effect;
    const char *network;
    enum ip_scope scope;
    const char *scope_key;
    int64_t expires_at;
    const char *fault;
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
    IA_COLUMN(struct ia_ca_row, terms, NULLABLE),
    IA_COLUMN(struct ia_ca_row, has_template, NOT_NULL),
    IA_COLUMN(struct ia_ca_row, template_attributes, NULLABLE),
    IA_COLUMN(struct ia_ca_row, template_tenant, NULLABLE),
    IA_COLUMN(struct ia_ca_row, fault, NULLABLE),
};

static const struct ia_column crl_list[] = {
    IA_COLUMN(struct ia_crl_row, crl_id, NOT_NULL),
    IA_COLUMN(struct ia_crl_row, ca_id, NOT_NULL),
    IA_COLUMN(struct ia_crl_row, pem, NOT_NULL),
    IA_COLUMN(struct ia_crl_row, fault, NULLABLE),
};

static const struct ia_column role_list[] = {
    IA_COLUMN(struct raw_role, role, NOT_NULL),
    IA_COLUMN(struct raw_role, fault, NULLABLE),
};

static const struct ia_column reserved_list[] = {
    IA_COLUMN(struct raw_name, name, NOT_NULL),
    IA_COLUMN(struct raw_name, fault, NULLABLE),
};

struct raw_revocation {
    int64_t id;
    const char *issuer;
    const char *claim;
    const char *value;
    int64_t issued_before;
    int64_t until;
    const char *fault;
};

static const struct ia_column revocation_list[] = {
    IA_COLUMN(struct raw_revocation, id, NOT_NULL),
    IA_COLUMN(struct raw_revocation, issuer, NOT_NULL),
    IA_COLUMN(struct raw_revocation, claim, NOT_NULL),
    IA_COLUMN(struct raw_revocation, value, NOT_NULL),
    IA_COLUMN_TIME(struct raw_revocation, issued_before, NOT_NULL),
    IA_COLUMN_TIME(struct raw_revocation, until, NULLABLE),
    IA_COLUMN(struct raw_revocation, fault, NULLABLE),
};

static const struct ia_column rule_list[] = {
    IA_COLUMN(struct raw_rule, rule_id, NOT_NULL),      IA_COLUMN(struct raw_rule, role, NOT_NULL),
    IA_COLUMN_WORD(struct raw_rule, effect, effects),   IA_COLUMN(struct raw_rule, actions, NOT_NULL),
    IA_COLUMN(struct raw_rule, topic_filter, NOT_NULL), IA_COLUMN(struct raw_rule, max_qos, NOT_NULL),
    IA_COLUMN(struct raw_rule, allow_retain, NOT_NULL), IA_COLUMN(struct raw_rule, problem, NULLABLE),
    IA_COLUMN(struct raw_rule, fault, NULLABLE),
};

static const struct ia_column ip_list[] = {
    IA_COLUMN(struct raw_ip, rule_id, NOT_NULL),   IA_COLUMN_WORD(struct raw_ip, scope, ip_scopes),
    IA_COLUMN(struct raw_ip, scope_key, NULLABLE), IA_COLUMN_WORD(struct raw_ip, effect, effects),
    IA_COLUMN(struct raw_ip, network, NOT_NULL),   IA_COLUMN_TIME(struct raw_ip, expires_at, NULLABLE),
    IA_COLUMN(struct raw_ip, fault, NULLABLE),
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
    IA_COLUMN(struct ia_issuer_row, note, NULLABLE),
    IA_COLUMN(struct ia_issuer_row, scope_claims, NOT_NULL),
    IA_COLUMN(struct ia_issuer_row, audience_claims, NOT_NULL),
    IA_COLUMN(struct ia_issuer_row, required_claims, NOT_NULL),
    IA_COLUMN(struct ia_issuer_row, max_lifetime_s, NULLABLE),
    IA_COLUMN(struct ia_issuer_row, fault, NULLABLE),
};

static const struct ia_column scope_list[] = {
    IA_COLUMN(struct ia_scope_row, issuer, NOT_NULL),
    IA_COLUMN(struct ia_scope_row, scope, NOT_NULL),
    IA_COLUMN(struct ia_scope_row, role, NOT_NULL),
    IA_COLUMN(struct ia_scope_row, fault, NULLABLE),
};

/* ---- decoded rows to struct ia_rows: each function returns false when out of memory ---- */

/* For the log: what is wrong with a row that has no column for it. */
static bool add_note(struct ia_loaded *l, const char *what, const char *key, const char *fault)
{
    char line[320];
    const char **notes = l->notes;
    if (!fault || l->rows.n_notes == IA_ROWS_NOTES_MAX)
        return true;
    if (!notes)
        l->notes = notes = ia_arena_array(&l->arena, IA_ROWS_NOTES_MAX, sizeof *notes);
    int n = snprintf(line, sizeof line, "%s %s: %s", what, key, fault);
    char *copy = notes && n >= 0 ? ia_arena_alloc(&l->arena, sizeof line) : NULL;
    if (!copy)
        return false;
    memcpy(copy, line, sizeof line);
    notes[l->rows.n_notes++] = copy;
    l->rows.notes = notes;
    return true;
}

/* A CA with a fault admits nobody.  One that is REVOKED stays so. */
static bool take_cas(struct ia_loaded *l, const struct ia_decoded *d)
{
    struct ia_ca_row *cas = d->rows;
    for (size_t i = 0; i < d->n; i++)
        if (cas[i].fault && cas[i].status == IA_CA_ACTIVE)
            cas[i].status = IA_CA_INACTIVE;
    l->rows.cas = cas;
    l->rows.n_cas = d->n;
    return true;
}

static bool take_crls(struct ia_loaded *l, const struct ia_decoded *d)
{
    l->rows.crls = d->rows;
    l->rows.n_crls = d->n;
    return true;
}

/* A role with a fault is left out: who has it has a role that is not known, which denies everything. */
static bool take_roles(struct ia_loaded *l, const struct ia_decoded *d)
{
    const struct raw_role *raw = d->rows;
    const char **roles = ia_arena_array(&l->arena, d->n, sizeof *roles);
    size_t n = 0;
    if (!roles)
        return false;
    for (size_t i = 0; i < d->n; i++) {
        if (!raw[i].fault)
            roles[n++] = raw[i].role;
        else if (!add_note(l, "role", raw[i].role, raw[i].fault))
            return false;
    }
    l->rows.roles = roles;
    l->rows.n_roles = n;
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
    bool understood = !raw->fault && raw->effect != EFFECT_UNKNOWN && raw->actions.n > 0;
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

static bool take_rules(struct ia_loaded *l, const struct ia_decoded *d)
{
    const struct raw_rule *raw = d->rows;
    struct ia_rule *rules = ia_arena_array(&l->arena, d->n, sizeof *rules);
    const char **problems = ia_arena_array(&l->arena, d->n, sizeof *problems);
    const char **faults = ia_arena_array(&l->arena, d->n, sizeof *faults);
    if (!rules || !problems || !faults)
        return false;
    for (size_t i = 0; i < d->n; i++) {
        rules[i] = rule_of(&raw[i]);
        problems[i] = raw[i].problem;
        faults[i] = raw[i].fault;
    }
    l->rows.rules = rules;
    l->rows.rule_problems = problems;
    l->rows.rule_faults = faults;
    l->rows.n_rules = d->n;
    return true;
}

static struct ia_ip_rule ip_of(const struct raw_ip *raw)
{
    static const enum ia_ip_scope scopes[] = {[SCOPE_UNKNOWN] = IA_IP_GLOBAL,
                                              [SCOPE_GLOBAL] = IA_IP_GLOBAL,
                                              [SCOPE_CA] = IA_IP_CA,
                                              [SCOPE_DEVICE] = IA_IP_DEVICE,
                                              [SCOPE_ISSUER] = IA_IP_ISSUER};
    struct ia_ip_rule rule = {.rule_id = raw->rule_id,
                              .allow = raw->effect == EFFECT_ALLOW,
                              .network = raw->network,
                              .scope = scopes[raw->scope],
                              .scope_key = raw->scope == SCOPE_UNKNOWN ? NULL : raw->scope_key,
                              .expires_at = raw->expires_at};
    if (raw->fault || raw->scope == SCOPE_UNKNOWN || raw->effect == EFFECT_UNKNOWN) {
        rule.network = ""; /* it may have been meant to deny */
        rule.expires_at = 0;
    }
    return rule;
}

static bool take_ips(struct ia_loaded *l, const struct ia_decoded *d)
{
    const struct raw_ip *raw = d->rows;
    struct ia_ip_rule *ips = ia_arena_array(&l->arena, d->n, sizeof *ips);
    if (!ips)
        return false;
    for (size_t i = 0; i < d->n; i++) {
        char key[24];
        (void)snprintf(key, sizeof key, "%" PRId64, raw[i].rule_id);
        ips[i] = ip_of(&raw[i]);
        if (!add_note(l, "ip_rule", key, raw[i].fault))
            return false;
    }
    l->rows.ips = ips;
    l->rows.n_ips = d->n;
    return true;
}

static bool take_issuers(struct ia_loaded *l, const struct ia_decoded *d)
{
    struct ia_issuer_row *issuers = d->rows;
    for (size_t i = 0; i < d->n; i++)
        issuers[i].active &= !issuers[i].fault;
    l->rows.issuers = issuers;
    l->rows.n_issuers = d->n;
    return true;
}

static bool take_scopes(struct ia_loaded *l, const struct ia_decoded *d)
{
    const struct ia_scope_row *scopes = d->rows;
    for (size_t i = 0; i < d->n; i++)
        if (!add_note(l, "a scope of issuer", scopes[i].issuer, scopes[i].fault))
            return false;
    l->rows.scopes = scopes;
    l->rows.n_scopes = d->n;
    return true;
}

/* Also a name with a fault stays reserved: its row is there, and its key could be read. */
static bool take_reserved(struct ia_loaded *l, const struct ia_decoded *d)
{
    const struct raw_name *raw = d->rows;
    const char **names = ia_arena_array(&l->arena, d->n, sizeof *names);
    if (!names)
        return false;
    for (size_t i = 0; i < d->n; i++) {
        names[i] = raw[i].name;
        if (!add_note(l, "reserved name", raw[i].name, raw[i].fault))
            return false;
    }
    l->rows.reserved = names;
    l->rows.n_reserved = d->n;
    return true;
}

/* What cannot be read closes its issuer: the revocation must not be lost. */
static bool take_revocations(struct ia_loaded *l, const struct ia_decoded *d)
{
    const struct raw_revocation *raw = d->rows;
    struct ia_revocation *rows = ia_arena_array(&l->arena, d->n, sizeof *rows);
    if (!rows)
        return false;
    for (size_t i = 0; i < d->n; i++) {
        rows[i] = (struct ia_revocation){.id = raw[i].id,
                                         .issuer = raw[i].issuer,
                                         .claim = raw[i].claim,
                                         .value = raw[i].value,
                                         .issued_before = raw[i].issued_before,
                                         .until = raw[i].until,
                                         .unreadable = raw[i].fault != NULL};
        if (!add_note(l, "a revocation of tokens of issuer", raw[i].issuer, raw[i].fault))
            return false;
    }
    l->rows.revocations = rows;
    l->rows.n_revocations = d->n;
    return true;
}

const struct ia_part ia_parts[IA_PARTS] = {
    {IA_LOAD_CAS, "CAs", IA_S_CAS, IA_S_CA_KEYS, IA_S_CAS_BY_KEY, IA_COLUMNS_WITH_FAULT(ca_list, struct ia_ca_row),
     take_cas},
    {IA_LOAD_CRLS, "CRLs", IA_S_CRLS, IA_S_CRL_KEYS, IA_S_CRLS_BY_KEY,
     IA_COLUMNS_WITH_FAULT(crl_list, struct ia_crl_row), take_crls},
    {IA_LOAD_ROLES, "roles", IA_S_ROLES, IA_S_ROLE_KEYS, IA_S_ROLES_BY_KEY,
     IA_COLUMNS_WITH_FAULT(role_list, struct raw_role), take_roles},
    {IA_LOAD_RULES, "rules", IA_S_RULES, IA_S_RULE_KEYS, IA_S_RULES_BY_KEY,
     IA_COLUMNS_WITH_FAULT(rule_list, struct raw_rule), take_rules},
    {IA_LOAD_IPS, "address rules", IA_S_IPS, IA_S_IP_KEYS, IA_S_IPS_BY_KEY,
     IA_COLUMNS_WITH_FAULT(ip_list, struct raw_ip), take_ips},
    {IA_LOAD_ISSUER_ROWS, "issuers", IA_S_ISSUERS, IA_S_ISSUER_KEYS, IA_S_ISSUERS_BY_KEY,
     IA_COLUMNS_WITH_FAULT(issuer_list, struct ia_issuer_row), take_issuers},
    {IA_LOAD_SCOPES, "scopes", IA_S_SCOPES, IA_S_SCOPE_KEYS, IA_S_SCOPES_BY_KEY,
     IA_COLUMNS_WITH_FAULT(scope_list, struct ia_scope_row), take_scopes},
    {IA_LOAD_RESERVED, "reserved names", IA_S_RESERVED, IA_S_RESERVED_KEYS, IA_S_RESERVED_BY_KEY,
     IA_COLUMNS_WITH_FAULT(reserved_list, struct raw_name), take_reserved},
    {IA_LOAD_REVOCATIONS, "revoked tokens", IA_S_REVOCATIONS, IA_S_REVOCATION_KEYS, IA_S_REVOCATIONS_BY_KEY,
     IA_COLUMNS_WITH_FAULT(revocation_list, struct raw_revocation), take_revocations},
};
