// SPDX-License-Identifier: ISC
#include "config/snapshot_builder.h"

#include "common/str.h"
#include "config/dropped_roles.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RULE_PROBLEMS_MAX 1000 /* bad rules whose problem is written: beyond that they only deny */

struct ia_builder {
    struct ia_pem_cache *pems;
    struct ia_snapshot last; /* the parts built last; NULL before the first build */
    struct ia_dropped_roles dropped;
};

struct ia_builder *ia_builder_new(void)
{
    struct ia_builder *builder = calloc(1, sizeof *builder);
    if (!builder)
        return NULL;
    builder->pems = ia_pem_cache_new();
    if (builder->pems)
        return builder;
    free(builder);
    return NULL;
}

static void clear_parts(struct ia_snapshot *parts)
{
    ia_ca_set_free(parts->cas);
    ia_ca_settings_set_free(parts->ca_settings);
    ia_policy_free(parts->policy);
    ia_ip_set_free(parts->ips);
    ia_issuer_set_free(parts->issuers);
    ia_revocations_free(parts->revocations);
    ia_reserved_free(parts->reserved);
}

void ia_builder_free(struct ia_builder *builder)
{
    if (!builder)
        return;
    clear_parts(&builder->last);
    ia_pem_cache_free(builder->pems);
    ia_dropped_roles_clear(&builder->dropped);
    free(builder);
}

/* "" and NULL are both no problem. */
static bool is_same_problem(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

/* ---- CAs */

static enum ia_rc build_cas(struct ia_builder *b, const struct ia_build_input *input, struct ia_snapshot *fresh,
                            struct ia_err *err)
{
    struct ia_built_cas built = {0};
    const struct ia_cas_input cas = {
        .cache = b->pems, .rows = input->rows, .now = input->now, .report = &input->problems->ca};
    enum ia_rc rc = ia_cas_build(&cas, &built, err);
    fresh->cas = built.cas;
    fresh->ca_settings = built.settings;
    return rc;
}

/* ---- policy */

/* The problems of rules that this build has found. */
struct rule_problems {
    const struct ia_rows *rows;
    char **texts; /* beside rows->rules, NULL: none */
    unsigned n;
};

static void note_rule_problem(void *ctx, int64_t rule_id, const char *text)
{
    struct rule_problems *found = ctx;
    if (found->n++ >= RULE_PROBLEMS_MAX)
        return;
    for (size_t i = 0; i < found->rows->n_rules; i++)
        if (found->rows->rules[i].rule_id == rule_id && !found->texts[i])
            found->texts[i] = strdup(text);
}

/* The roles that exist and those that were dropped, for the caller to free; *n is their number.  NULL when out of
 * memory. */
static const char **collect_roles(struct ia_builder *b, const struct ia_rows *rows, size_t *n)
{
    const char **roles = malloc((rows->n_roles + IA_DROPPED_ROLES_MAX) * sizeof *roles);
    if (!roles)
        return NULL;
    *n = rows->n_roles;
    if (*n)
        memcpy(roles, rows->roles, *n * sizeof *roles);
    if (ia_dropped_roles_append(&b->dropped, b->last.policy, roles, n))
        return roles;
    free(roles);
    return NULL;
}

static enum ia_rc build_policy(struct ia_builder *b, const struct ia_rows *rows, const struct ia_row_problems *problems,
                               struct ia_snapshot *fresh, struct ia_err *err)
{
    size_t n_roles = 0;
    ia_autofree const char **roles = collect_roles(b, rows, &n_roles);
    struct rule_problems found = {.rows = rows, .texts = calloc(rows->n_rules + 1, sizeof(char *))};
    if (!roles || !found.texts) {
        free(found.texts);
        return ia_nomem(err);
    }
    const struct ia_policy_spec spec = {
        .roles = roles, .n_roles = n_roles, .rules = rows->rules, .n_rules = rows->n_rules};
    const struct ia_problem_callback note = {note_rule_problem, &found};
    enum ia_rc rc = ia_policy_build(&spec, &note, &fresh->policy, err);
    for (size_t i = 0; i < rows->n_rules; i++) {
        const char *fault = rows->rule_faults ? rows->rule_faults[i] : NULL;
        const char *problem = fault ? fault : found.texts[i];
        if (rc == IA_OK && !is_same_problem(problem, rows->rule_problems[i]))
            ia_problem_report(&problems->rule, rows->rules[i].rule_id, problem);
        free(found.texts[i]);
    }
    free(found.texts);
    return rc;
}

/* ---- issuers */

/* The input of ia_issuer_set_build, and the problems that it has found. */
struct issuer_input {
    const struct ia_rows *rows;
    struct ia_issuer_spec *specs;
    struct ia_scope_role *scopes;
    size_t n_scopes;
    char (*problems)[IA_ISSUER_TEXT_MAX]; /* beside rows->issuers, as notes */
    char (*notes)[IA_ISSUER_TEXT_MAX];
};

static void note_issuer_problem(void *ctx, int64_t index, const char *text)
{
    struct issuer_input *input = ctx;
    (void)snprintf(input->problems[index], sizeof input->problems[index], "%s", text);
}

static void keep_issuer_note(void *ctx, int64_t index, const char *text)
{
    struct issuer_input *input = ctx;
    (void)snprintf(input->notes[index], sizeof input->notes[index], "%s", text);
}

/* The scopes of one issuer are a run in input->scopes. */
static void add_scopes(struct issuer_input *input, struct ia_issuer_spec *spec)
{
    spec->scopes = input->scopes + input->n_scopes;
    for (size_t i = 0; i < input->rows->n_scopes; i++) {
        const struct ia_scope_row *row = &input->rows->scopes[i];
        if (strcmp(row->issuer, spec->name) != 0)
            continue;
        if (row->fault) { /* it may map to a role that denies, so without it the issuer admits nobody */
            spec->active = false;
            note_issuer_problem(input, spec - input->specs, row->fault);
            continue;
        }
        input->scopes[input->n_scopes++] = (struct ia_scope_role){.scope = row->scope, .role = row->role};
        spec->n_scopes++;
    }
}

static struct ia_issuer_spec issuer_spec(const struct ia_issuer_row *row, const struct ia_refresh *refresh)
{
    return (struct ia_issuer_spec){
        .name = row->name,
        .issuer = row->issuer,
        .audience = row->audience.items,
        .n_audience = row->audience.n,
        .algorithms = row->algorithms.items,
        .n_algorithms = row->algorithms.n,
        .jwks = row->jwks ? row->jwks : ia_refresh_jwks(refresh, row->name),
        .client_id_templates = row->client_id_templates.items,
        .n_client_id_templates = row->client_id_templates.n,
        .app_id_claim = row->app_id_claim,
        .token_types = row->token_types.items,
        .n_token_types = row->token_types.n,
        .leeway_s = row->leeway_s,
        .tenant = row->tenant,
        .active = row->active,
        .scope_claims = row->scope_claims.items,
        .n_scope_claims = row->scope_claims.n,
        .audience_claims = row->audience_claims.items,
        .n_audience_claims = row->audience_claims.n,
        .required_claims = row->required_claims,
        .max_lifetime_s = row->max_lifetime_s,
    };
}

/* Problems of the row come before those of fetching its keys. */
static void report_issuers(const struct issuer_input *input, const struct ia_refresh *refresh,
                           const struct ia_row_problems *to)
{
    for (size_t i = 0; i < input->rows->n_issuers; i++) {
        const struct ia_issuer_row *row = &input->rows->issuers[i];
        const char *fetching = row->jwks ? "" : ia_refresh_problem(refresh, row->name);
        const char *text = input->problems[i][0] ? input->problems[i] : fetching;
        if (row->fault)
            text = row->fault;
        if (!is_same_problem(text, row->problem))
            ia_problem_report(&to->issuer, (int64_t)i, text[0] ? text : NULL);
        if (!is_same_problem(input->notes[i], row->note))
            ia_problem_report(&to->issuer_note, (int64_t)i, input->notes[i][0] ? input->notes[i] : NULL);
    }
}

static enum ia_rc build_issuer_set(struct issuer_input *input, const struct ia_refresh *refresh,
                                   struct ia_issuer_set **out, struct ia_err *err)
{
    const struct ia_rows *rows = input->rows;
    if (!input->problems || !input->notes || !input->specs || !input->scopes)
        return ia_nomem(err);
    for (size_t i = 0; i < rows->n_issuers; i++) {
        input->specs[i] = issuer_spec(&rows->issuers[i], refresh);
        add_scopes(input, &input->specs[i]);
    }
    const struct ia_issuer_report report = {.problem = {note_issuer_problem, input}, .note = {keep_issuer_note, input}};
    return ia_issuer_set_build(input->specs, rows->n_issuers, &report, out, err);
}

static enum ia_rc build_issuers(const struct ia_rows *rows, const struct ia_refresh *refresh,
                                const struct ia_row_problems *problems, struct ia_snapshot *fresh, struct ia_err *err)
{
    struct issuer_input input = {.rows = rows,
                                 .specs = calloc(rows->n_issuers + 1, sizeof(struct ia_issuer_spec)),
                                 .scopes = calloc(rows->n_scopes + 1, sizeof(struct ia_scope_role)),
                                 .problems = calloc(rows->n_issuers + 1, IA_ISSUER_TEXT_MAX),
                                 .notes = calloc(rows->n_issuers + 1, IA_ISSUER_TEXT_MAX)};
    enum ia_rc rc = build_issuer_set(&input, refresh, &fresh->issuers, err);
    if (rc == IA_OK)
        report_issuers(&input, refresh, problems);
    free(input.problems);
    free(input.notes);
    free(input.specs);
    free(input.scopes);
    return rc;
}

/* ---- snapshots */

const struct ia_ca_set *ia_builder_cas(const struct ia_builder *builder)
{
    return builder->last.cas;
}

const struct ia_ca_settings_set *ia_builder_ca_settings(const struct ia_builder *builder)
{
    return builder->last.ca_settings;
}

bool ia_builder_has_role(const struct ia_builder *builder, const char *role)
{
    return builder->last.policy && ia_policy_role(builder->last.policy, role);
}

/* Take over the parts that were built now. */
static void keep_parts(struct ia_builder *b, const struct ia_snapshot *fresh)
{
#define KEEP(part, release)                                                                                            \
    if (fresh->part) {                                                                                                 \
        release(b->last.part);                                                                                         \
        b->last.part = fresh->part;                                                                                    \
    }
    KEEP(cas, ia_ca_set_free)
    KEEP(ca_settings, ia_ca_settings_set_free)
    KEEP(policy, ia_policy_free)
    KEEP(ips, ia_ip_set_free)
    KEEP(issuers, ia_issuer_set_free)
    KEEP(revocations, ia_revocations_free)
    KEEP(reserved, ia_reserved_free)
#undef KEEP
    b->last.generation++;
    if (fresh->cas)
        b->last.ca_generation = b->last.generation;
}

static enum ia_rc share_parts(const struct ia_builder *b, struct ia_snapshot **out, struct ia_err *err)
{
    const struct ia_snapshot *last = &b->last;
    *out = NULL;
    if (!last->cas || !last->ca_settings || !last->policy || !last->ips || !last->issuers || !last->revocations)
        return IA_OK;
    struct ia_snapshot *s = calloc(1, sizeof *s);
    if (!s)
        return ia_nomem(err);
    s->generation = last->generation;
    s->ca_generation = last->ca_generation;
    s->cas = ia_ca_set_ref(last->cas);
    s->ca_settings = ia_ca_settings_set_ref(last->ca_settings);
    s->policy = ia_policy_ref(last->policy);
    s->ips = ia_ip_set_ref(last->ips);
    s->issuers = ia_issuer_set_ref(last->issuers);
    s->revocations = ia_revocations_ref(last->revocations);
    s->reserved = ia_reserved_ref(last->reserved);
    *out = s;
    return IA_OK;
}

enum ia_rc ia_builder_build(struct ia_builder *builder, const struct ia_build_input *input, struct ia_snapshot **out,
                            struct ia_err *err)
{
    const struct ia_rows *rows = input->rows;
    const struct ia_row_problems *problems = input->problems;
    struct ia_snapshot fresh = {0};
    enum ia_rc rc = IA_OK;
    if (input->parts & (IA_LOAD_CAS | IA_LOAD_CRLS))
        rc = build_cas(builder, input, &fresh, err);
    if (rc == IA_OK && (input->parts & IA_LOAD_POLICY))
        rc = build_policy(builder, rows, problems, &fresh, err);
    if (rc == IA_OK && (input->parts & IA_LOAD_IPS))
        rc = ia_ip_set_build(rows->ips, rows->n_ips, &problems->ip_rule, &fresh.ips, err);
    if (rc == IA_OK && (input->parts & IA_LOAD_ISSUERS))
        rc = build_issuers(rows, input->refresh, problems, &fresh, err);
    if (rc == IA_OK && (input->parts & IA_LOAD_REVOCATIONS))
        rc = ia_revocations_build(rows->revocations, rows->n_revocations, &fresh.revocations, err);
    if (rc == IA_OK && (input->parts & IA_LOAD_RESERVED))
        rc = ia_reserved_build(rows->reserved, rows->n_reserved, &fresh.reserved, err);
    keep_parts(builder, &fresh);
    return rc == IA_OK ? share_parts(builder, out, err) : rc;
}
