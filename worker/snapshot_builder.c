// SPDX-License-Identifier: ISC
/* Builds snapshots.  Parsing a certificate costs as much as verifying one, so parsed CAs and CRLs are kept from build
 * to build, by row id and text: adding one CA to ten thousand parses one. */
#include "worker/snapshot_builder.h"

#include "common/str.h"
#include "worker/dropped_roles.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

/* A PEM text and what it parsed to. */
struct parsed {
    int64_t id;
    char *pem;
    struct ia_cert *cert; /* a CA's, or */
    struct ia_crl *crl;   /* a CRL's; neither where it did not parse */
    struct ia_err wrong;
    uint64_t round; /* last build that used it */
    UT_hash_handle hh;
};

struct ia_builder {
    struct parsed *certs, *crls;
    struct ia_snapshot last; /* the parts built last; NULL before the first build */
    uint64_t round;
    struct ia_gone_roles gone;
};

struct ia_builder *ia_builder_new(void)
{
    return calloc(1, sizeof(struct ia_builder));
}

static void parsed_free(struct parsed *p)
{
    ia_cert_free(p->cert);
    ia_crl_free(p->crl);
    free(p->pem);
    free(p);
}

/* Remove what the last build did not use. */
static void prune(struct parsed **table, uint64_t round)
{
    struct parsed *p, *next;
    HASH_ITER(hh, *table, p, next) {
        if (p->round == round)
            continue;
        HASH_DEL(*table, p);
        parsed_free(p);
    }
}

void ia_builder_free(struct ia_builder *builder)
{
    if (!builder)
        return;
    prune(&builder->certs, UINT64_MAX);
    prune(&builder->crls, UINT64_MAX);
    ia_ca_set_free(builder->last.cas);
    ia_ca_settings_set_free(builder->last.ca_settings);
    ia_policy_free(builder->last.policy);
    ia_ip_set_free(builder->last.ips);
    ia_issuer_set_free(builder->last.issuers);
    ia_gone_roles_clear(&builder->gone);
    free(builder);
}

/* The entry of that row, with pem as its text; *fresh tells that it has yet to be parsed.  NULL when out of memory. */
static struct parsed *entry(struct parsed **table, int64_t id, const char *pem, uint64_t round, bool *fresh)
{
    struct parsed *p = NULL;
    HASH_FIND(hh, *table, &id, sizeof id, p);
    *fresh = !p || strcmp(p->pem, pem) != 0;
    if (p && *fresh) {
        HASH_DEL(*table, p);
        parsed_free(p);
    }
    if (*fresh) {
        p = calloc(1, sizeof *p);
        char *copy = strdup(pem);
        if (!p || !copy) {
            free(p);
            free(copy);
            return NULL;
        }
        p->id = id;
        p->pem = copy;
        HASH_ADD(hh, *table, id, sizeof id, p);
        if (!p->hh.tbl) {
            parsed_free(p);
            return NULL;
        }
    }
    p->round = round;
    return p;
}

/* What was not parsed for lack of memory is no bad row: it is forgotten, and the build fails. */
static struct parsed *keep_parsed(struct parsed **table, struct parsed *p, enum ia_rc rc)
{
    if (rc != IA_NOMEM)
        return p;
    HASH_DEL(*table, p);
    parsed_free(p);
    return NULL;
}

static struct parsed *parse_ca(struct ia_builder *b, const struct ia_ca_row *row)
{
    bool fresh;
    struct parsed *p = entry(&b->certs, row->ca_id, row->pem, b->round, &fresh);
    return p && fresh ? keep_parsed(&b->certs, p, ia_cert_parse_pem(row->pem, &p->cert, &p->wrong)) : p;
}

static struct parsed *parse_crl(struct ia_builder *b, const struct ia_crl_row *row)
{
    bool fresh;
    struct parsed *p = entry(&b->crls, row->crl_id, row->pem, b->round, &fresh);
    return p && fresh ? keep_parsed(&b->crls, p, ia_crl_parse_pem(row->pem, &p->crl, &p->wrong)) : p;
}

/* One CA under construction: its row, what its certificate parsed to and the first thing that is wrong with it. */
struct draft {
    const struct ia_ca_row *row;
    struct parsed *parsed;
    bool fresh; /* its parsed columns have not been written by this worker */
    char problem[192];
    size_t first_crl, n_crls; /* in the list of CRLs, ordered by CA */
};

struct drafts {
    struct draft *list; /* ascending by ca_id once all are there */
    size_t n;
};

static int by_row_id(const void *a, const void *b)
{
    int64_t x = ((const struct draft *)a)->row->ca_id, y = ((const struct draft *)b)->row->ca_id;
    return (x > y) - (x < y);
}

static struct draft *draft_of(struct drafts *drafts, int64_t ca_id)
{
    struct ia_ca_row row = {.ca_id = ca_id};
    struct draft key = {.row = &row};
    return bsearch(&key, drafts->list, drafts->n, sizeof key, by_row_id);
}

static void note_problem(void *ctx, int64_t ca_id, const char *text)
{
    struct draft *d = draft_of(ctx, ca_id);
    if (d && !d->problem[0])
        (void)snprintf(d->problem, sizeof d->problem, "%s", text);
}

static int by_ca(const void *a, const void *b)
{
    int64_t x = (*(const struct ia_crl_row *const *)a)->ca_id, y = (*(const struct ia_crl_row *const *)b)->ca_id;
    return (x > y) - (x < y);
}

/* Parse the CRLs into list[], those of one CA side by side.  Returns how many, or -1 when out of memory. */
static int collect_crls(struct ia_builder *b, const struct ia_rows *rows, struct drafts *drafts, struct ia_crl **list)
{
    const struct ia_crl_row **sorted = calloc(rows->n_crls + 1, sizeof *sorted);
    if (!sorted)
        return -1;
    for (size_t i = 0; i < rows->n_crls; i++)
        sorted[i] = &rows->crls[i];
    qsort(sorted, rows->n_crls, sizeof *sorted, by_ca);
    int n = 0;
    for (size_t i = 0; i < rows->n_crls && n >= 0; i++) {
        struct draft *d = draft_of(drafts, sorted[i]->ca_id);
        struct parsed *p = parse_crl(b, sorted[i]);
        if (!p) {
            n = -1;
        } else if (d && !p->crl) {
            note_problem(drafts, sorted[i]->ca_id, p->wrong.msg);
        } else if (d) {
            if (d->n_crls++ == 0)
                d->first_crl = (size_t)n;
            list[n++] = p->crl;
        }
    }
    free(sorted);
    return n;
}

static enum ia_rc build_ca_set(struct drafts *drafts, struct ia_crl **crls, int64_t now, struct ia_ca_set **out,
                               struct ia_err *err)
{
    struct ia_ca_spec *specs = calloc(drafts->n + 1, sizeof *specs);
    if (!specs)
        return ia_nomem(err);
    size_t n = 0;
    for (size_t i = 0; i < drafts->n; i++) {
        const struct draft *d = &drafts->list[i];
        if (!d->parsed->cert)
            continue;
        specs[n++] = (struct ia_ca_spec){.ca_id = d->row->ca_id,
                                         .active = d->row->status == IA_CA_ACTIVE,
                                         .cert = d->parsed->cert,
                                         .crls = crls + d->first_crl,
                                         .n_crls = d->n_crls};
    }
    const struct ia_problem_callback problems = {.report = note_problem, .ctx = drafts};
    const struct ia_ca_set_input input = {.cas = specs, .n = n, .now = now, .problems = &problems};
    enum ia_rc rc = ia_ca_set_build(&input, out, err);
    free(specs);
    return rc;
}

static bool same_text(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

static void tell_problems(const struct drafts *drafts, const struct ia_row_problem_sink *sink)
{
    for (size_t i = 0; i < drafts->n; i++) {
        const struct draft *d = &drafts->list[i];
        if (!d->fresh && same_text(d->problem, d->row->problem))
            continue;
        sink->ca(sink->ctx, d->row, d->parsed->cert ? ia_cert_info(d->parsed->cert) : NULL,
                 d->problem[0] ? d->problem : NULL);
    }
}

/* Parse every CA row into drafts->list. */
static enum ia_rc draft_cas(struct ia_builder *b, const struct ia_rows *rows, struct drafts *drafts, struct ia_err *err)
{
    for (size_t i = 0; i < rows->n_cas; i++) {
        struct draft *d = &drafts->list[drafts->n];
        struct parsed *known = NULL;
        HASH_FIND(hh, b->certs, &rows->cas[i].ca_id, sizeof rows->cas[i].ca_id, known);
        d->fresh = known == NULL;
        d->row = &rows->cas[i];
        d->parsed = parse_ca(b, d->row);
        if (!d->parsed)
            return ia_nomem(err);
        drafts->n++;
        if (!d->parsed->cert)
            (void)snprintf(d->problem, sizeof d->problem, "%s", d->parsed->wrong.msg);
    }
    qsort(drafts->list, drafts->n, sizeof *drafts->list, by_row_id);
    return IA_OK;
}

/* CAs, their CRLs and ca_settings into fresh->cas and fresh->ca_settings. */
static enum ia_rc build_cas(struct ia_builder *b, const struct ia_rows *rows, int64_t now,
                            const struct ia_row_problem_sink *sink, struct ia_snapshot *fresh, struct ia_err *err)
{
    struct drafts drafts = {.list = calloc(rows->n_cas + 1, sizeof(struct draft))};
    struct ia_crl **crls = calloc(rows->n_crls + 1, sizeof *crls);
    enum ia_rc rc = drafts.list && crls ? draft_cas(b, rows, &drafts, err) : ia_nomem(err);
    if (rc == IA_OK && collect_crls(b, rows, &drafts, crls) < 0)
        rc = ia_nomem(err);
    if (rc == IA_OK)
        rc = build_ca_set(&drafts, crls, now, &fresh->cas, err);
    if (rc == IA_OK)
        rc = ia_ca_settings_set_build(rows->cas, rows->n_cas, note_problem, &drafts, &fresh->ca_settings, err);
    for (size_t i = 0; rc == IA_OK && i < drafts.n; i++)
        if (drafts.list[i].parsed->cert)
            ia_ca_settings_set_fingerprint(fresh->ca_settings, drafts.list[i].row->ca_id,
                                           ia_cert_info(drafts.list[i].parsed->cert)->fingerprint);
    if (rc == IA_OK)
        tell_problems(&drafts, sink);
    free(crls);
    free(drafts.list);
    prune(&b->certs, b->round);
    prune(&b->crls, b->round);
    return rc;
}

#define RULE_NOTES_MAX 1000 /* bad rules whose problem is written: beyond that they only deny */

/* Problems of rules, beside what their rows say now. */
struct rule_notes {
    const struct ia_rows *rows;
    char **texts; /* beside rows->rules, NULL: none */
    unsigned n;
};

static void note_rule(void *ctx, int64_t rule_id, const char *text)
{
    struct rule_notes *notes = ctx;
    if (notes->n++ >= RULE_NOTES_MAX)
        return;
    for (size_t i = 0; i < notes->rows->n_rules; i++)
        if (notes->rows->rules[i].rule_id == rule_id && !notes->texts[i])
            notes->texts[i] = strdup(text);
}

static enum ia_rc build_policy(struct ia_builder *b, const struct ia_rows *rows, const struct ia_row_problem_sink *sink,
                               struct ia_snapshot *fresh, struct ia_err *err)
{
    struct rule_notes notes = {.rows = rows, .texts = calloc(rows->n_rules + 1, sizeof(char *))};
    ia_autofree const char **roles = malloc((rows->n_roles + IA_GONE_ROLES_MAX) * sizeof *roles);
    size_t n_roles = rows->n_roles;
    if (roles && n_roles)
        memcpy(roles, rows->roles, n_roles * sizeof *roles);
    if (!notes.texts || !roles || !ia_gone_roles_add(&b->gone, b->last.policy, roles, &n_roles)) {
        free(notes.texts);
        return ia_nomem(err);
    }
    const struct ia_policy_spec spec = {
        .roles = roles, .n_roles = n_roles, .rules = rows->rules, .n_rules = rows->n_rules};
    const struct ia_problem_callback problems = {note_rule, &notes};
    enum ia_rc rc = ia_policy_build(&spec, &problems, &fresh->policy, err);
    for (size_t i = 0; i < rows->n_rules; i++) {
        if (rc == IA_OK && !same_text(notes.texts[i], rows->rule_problems[i]))
            sink->rule(sink->ctx, rows->rules[i].rule_id, notes.texts[i]);
        free(notes.texts[i]);
    }
    free(notes.texts);
    return rc;
}

struct ip_notes {
    const struct ia_row_problem_sink *sink;
};

static void note_ip(void *ctx, int64_t rule_id, const char *text)
{
    const struct ia_row_problem_sink *sink = ((struct ip_notes *)ctx)->sink;
    char line[256];
    (void)snprintf(line, sizeof line, "ip_rule %lld: %s", (long long)rule_id, text);
    sink->note(sink->ctx, line);
}

struct issuer_notes {
    const struct ia_rows *rows;
    char (*texts)[IA_ISSUER_TEXT_MAX]; /* beside rows->issuers */
};

static void note_issuer(void *ctx, const char *name, const char *text)
{
    struct issuer_notes *notes = ctx;
    for (size_t i = 0; i < notes->rows->n_issuers; i++)
        if (strcmp(notes->rows->issuers[i].name, name) == 0 && !notes->texts[i][0])
            (void)snprintf(notes->texts[i], sizeof notes->texts[i], "%s", text);
}

/* The scopes of the issuers: for each, a run in list[]. */
static void collect_scopes(const struct ia_rows *rows, const char *issuer, struct ia_scope_role *list, size_t *used,
                           struct ia_issuer_spec *spec)
{
    spec->scopes = list + *used;
    for (size_t i = 0; i < rows->n_scopes; i++) {
        if (strcmp(rows->scopes[i].issuer, issuer) != 0)
            continue;
        list[(*used)++] = (struct ia_scope_role){.scope = rows->scopes[i].scope, .role = rows->scopes[i].role};
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
    };
}

static enum ia_rc build_issuers(const struct ia_rows *rows, const struct ia_refresh *refresh,
                                const struct ia_row_problem_sink *sink, struct ia_snapshot *fresh, struct ia_err *err)
{
    struct issuer_notes notes = {.rows = rows, .texts = calloc(rows->n_issuers + 1, sizeof *notes.texts)};
    struct ia_issuer_spec *specs = calloc(rows->n_issuers + 1, sizeof *specs);
    struct ia_scope_role *scopes = calloc(rows->n_scopes + 1, sizeof *scopes);
    enum ia_rc rc = IA_NOMEM;
    size_t used = 0;
    if (notes.texts && specs && scopes) {
        for (size_t i = 0; i < rows->n_issuers; i++) {
            specs[i] = issuer_spec(&rows->issuers[i], refresh);
            collect_scopes(rows, rows->issuers[i].name, scopes, &used, &specs[i]);
        }
        const struct ia_issuer_report report = {.problem = note_issuer, .ctx = &notes};
        rc = ia_issuer_set_build(specs, rows->n_issuers, &report, &fresh->issuers, err);
    } else {
        (void)ia_nomem(err);
    }
    for (size_t i = 0; rc == IA_OK && i < rows->n_issuers; i++) {
        const char *fetching = rows->issuers[i].jwks ? "" : ia_refresh_problem(refresh, rows->issuers[i].name);
        const char *text = notes.texts[i][0] ? notes.texts[i] : fetching;
        if (!same_text(text, rows->issuers[i].problem))
            sink->issuer(sink->ctx, rows->issuers[i].name, text[0] ? text : NULL);
    }
    free(notes.texts);
    free(specs);
    free(scopes);
    return rc;
}

bool ia_builder_knows_role(const struct ia_builder *builder, const char *role)
{
    return builder->last.policy && ia_policy_role(builder->last.policy, role);
}

/* Take over the parts that were built anew. */
static void keep(struct ia_builder *b, const struct ia_snapshot *fresh)
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
#undef KEEP
    b->last.generation++;
    if (fresh->cas)
        b->last.ca_generation = b->last.generation;
}

static enum ia_rc share(const struct ia_builder *b, struct ia_snapshot **out, struct ia_err *err)
{
    const struct ia_snapshot *last = &b->last;
    bool whole = last->cas && last->ca_settings && last->policy && last->ips && last->issuers;
    struct ia_snapshot *s = whole ? calloc(1, sizeof *s) : NULL;
    if (!s)
        return ia_nomem(err);
    s->generation = last->generation;
    s->ca_generation = last->ca_generation;
    s->cas = ia_ca_set_ref(last->cas);
    s->ca_settings = ia_ca_settings_set_ref(last->ca_settings);
    s->policy = ia_policy_ref(last->policy);
    s->ips = ia_ip_set_ref(last->ips);
    s->issuers = ia_issuer_set_ref(last->issuers);
    *out = s;
    return IA_OK;
}

enum ia_rc ia_builder_build(struct ia_builder *builder, unsigned what, const struct ia_rows *rows,
                            const struct ia_refresh *refresh, int64_t now, const struct ia_row_problem_sink *sink,
                            struct ia_snapshot **out, struct ia_err *err)
{
    struct ia_snapshot fresh = {0};
    struct ip_notes notes = {.sink = sink};
    enum ia_rc rc = IA_OK;
    builder->round++;
    if (what & (IA_LOAD_CAS | IA_LOAD_CRLS))
        rc = build_cas(builder, rows, now, sink, &fresh, err);
    if (rc == IA_OK && (what & IA_LOAD_POLICY))
        rc = build_policy(builder, rows, sink, &fresh, err);
    if (rc == IA_OK && (what & IA_LOAD_IPS))
        rc = ia_ip_set_build(rows->ips, rows->n_ips, &(struct ia_problem_callback){note_ip, &notes}, &fresh.ips, err);
    if (rc == IA_OK && (what & IA_LOAD_ISSUERS))
        rc = build_issuers(rows, refresh, sink, &fresh, err);
    keep(builder, &fresh);
    return rc == IA_OK ? share(builder, out, err) : rc;
}
