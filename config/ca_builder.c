// SPDX-License-Identifier: ISC
#include "config/ca_builder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One CA under construction. */
struct draft {
    const struct ia_ca_row *row;
    const struct ia_parsed_pem *parsed;
    char problem[192];        /* the first one */
    bool closed;              /* a CRL of it cannot be read: nobody knows whom it revokes */
    size_t first_crl, n_crls; /* in drafts.crls */
};

struct drafts {
    struct draft *list; /* ascending by ca_id once all CAs are in it */
    size_t n;
    struct ia_crl_spec *crls; /* by CA */
    size_t n_crls;
};

static int compare_drafts(const void *a, const void *b)
{
    int64_t x = ((const struct draft *)a)->row->ca_id, y = ((const struct draft *)b)->row->ca_id;
    return (x > y) - (x < y);
}

static struct draft *find_draft(struct drafts *drafts, int64_t ca_id)
{
    struct ia_ca_row row = {.ca_id = ca_id};
    struct draft key = {.row = &row};
    return drafts->n ? bsearch(&key, drafts->list, drafts->n, sizeof key, compare_drafts) : NULL;
}

static void set_problem(void *ctx, int64_t ca_id, const char *text)
{
    struct draft *d = find_draft(ctx, ca_id);
    if (d && !d->problem[0])
        (void)snprintf(d->problem, sizeof d->problem, "%s", text);
}

/* ---- certificates */

static enum ia_rc draft_cas(struct ia_pem_cache *cache, const struct ia_rows *rows, struct drafts *drafts,
                            struct ia_err *err)
{
    for (size_t i = 0; i < rows->n_cas; i++) {
        struct draft *d = &drafts->list[drafts->n];
        d->row = &rows->cas[i];
        d->parsed = ia_pem_cache_ca(cache, d->row->ca_id, d->row->pem);
        if (!d->parsed)
            return ia_nomem(err);
        drafts->n++;
        if (d->row->fault)
            (void)snprintf(d->problem, sizeof d->problem, "%s", d->row->fault);
        else if (!d->parsed->cert)
            (void)snprintf(d->problem, sizeof d->problem, "%s", d->parsed->error.msg);
    }
    qsort(drafts->list, drafts->n, sizeof *drafts->list, compare_drafts);
    return IA_OK;
}

/* ---- CRLs */

static int compare_crls(const void *a, const void *b)
{
    int64_t x = (*(const struct ia_crl_row *const *)a)->ca_id, y = (*(const struct ia_crl_row *const *)b)->ca_id;
    return (x > y) - (x < y);
}

/* The rows of CRLs, those of one CA side by side.  NULL when out of memory. */
static const struct ia_crl_row **sort_crls(const struct ia_rows *rows)
{
    const struct ia_crl_row **sorted = calloc(rows->n_crls + 1, sizeof *sorted);
    if (!sorted)
        return NULL;
    for (size_t i = 0; i < rows->n_crls; i++)
        sorted[i] = &rows->crls[i];
    qsort(sorted, rows->n_crls, sizeof *sorted, compare_crls);
    return sorted;
}

static void add_crl(struct drafts *drafts, const struct ia_crl_row *row, const struct ia_parsed_pem *parsed)
{
    struct draft *d = find_draft(drafts, row->ca_id);
    if (!d)
        return;
    if (row->fault) {
        set_problem(drafts, row->ca_id, row->fault);
        d->closed = true;
        return;
    }
    if (!parsed->crl) {
        set_problem(drafts, row->ca_id, parsed->error.msg);
        return;
    }
    if (d->n_crls++ == 0)
        d->first_crl = drafts->n_crls;
    drafts->crls[drafts->n_crls++] = (struct ia_crl_spec){.crl = parsed->crl, .pem = row->pem};
}

static enum ia_rc collect_crls(struct ia_pem_cache *cache, const struct ia_rows *rows, struct drafts *drafts,
                               struct ia_err *err)
{
    const struct ia_crl_row **sorted = sort_crls(rows);
    size_t i = 0;
    for (; sorted && i < rows->n_crls; i++) {
        const struct ia_parsed_pem *parsed = ia_pem_cache_crl(cache, sorted[i]->crl_id, sorted[i]->pem);
        if (!parsed)
            break;
        add_crl(drafts, sorted[i], parsed);
    }
    bool complete = sorted && i == rows->n_crls;
    free(sorted);
    return complete ? IA_OK : ia_nomem(err);
}

/* ---- the sets */

static enum ia_rc build_ca_set(struct drafts *drafts, int64_t now, struct ia_ca_set **out, struct ia_err *err)
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
                                         .active = d->row->status == IA_CA_ACTIVE && !d->closed,
                                         .cert = d->parsed->cert,
                                         .revoked = d->row->status == IA_CA_REVOKED,
                                         .crls = drafts->crls + d->first_crl,
                                         .n_crls = d->n_crls};
    }
    const struct ia_problem_callback problems = {.report = set_problem, .ctx = drafts};
    const struct ia_ca_set_input input = {.cas = specs, .n = n, .now = now, .problems = &problems};
    enum ia_rc rc = ia_ca_set_build(&input, out, err);
    free(specs);
    return rc;
}

static enum ia_rc build_settings(struct drafts *drafts, const struct ia_rows *rows, struct ia_ca_settings_set **out,
                                 struct ia_err *err)
{
    const struct ia_problem_callback problems = {.report = set_problem, .ctx = drafts};
    return ia_ca_settings_set_build(rows->cas, rows->n_cas, &problems, out, err);
}

static void report_cas(const struct drafts *drafts, const struct ia_ca_report *to)
{
    for (size_t i = 0; i < drafts->n; i++) {
        const struct draft *d = &drafts->list[i];
        bool changed = strcmp(d->problem, d->row->problem ? d->row->problem : "") != 0;
        if (d->parsed->is_new || changed)
            to->report(to->ctx, d->row, d->parsed->cert ? ia_cert_info(d->parsed->cert) : NULL,
                       d->problem[0] ? d->problem : NULL);
    }
}

static enum ia_rc build_sets(const struct ia_cas_input *in, struct drafts *drafts, struct ia_built_cas *out,
                             struct ia_err *err)
{
    enum ia_rc rc = draft_cas(in->cache, in->rows, drafts, err);
    if (rc == IA_OK)
        rc = collect_crls(in->cache, in->rows, drafts, err);
    if (rc == IA_OK)
        rc = build_ca_set(drafts, in->now, &out->cas, err);
    if (rc == IA_OK)
        rc = build_settings(drafts, in->rows, &out->settings, err);
    return rc;
}

enum ia_rc ia_cas_build(const struct ia_cas_input *in, struct ia_built_cas *out, struct ia_err *err)
{
    struct drafts drafts = {.list = calloc(in->rows->n_cas + 1, sizeof(struct draft)),
                            .crls = calloc(in->rows->n_crls + 1, sizeof(struct ia_crl_spec))};
    struct ia_built_cas built = {0};
    ia_pem_cache_begin(in->cache);
    enum ia_rc rc = drafts.list && drafts.crls ? build_sets(in, &drafts, &built, err) : ia_nomem(err);
    if (rc == IA_OK)
        *out = built;
    else
        ia_ca_set_free(built.cas);
    if (rc == IA_OK && in->report && in->report->report)
        report_cas(&drafts, in->report);
    ia_pem_cache_end(in->cache);
    free(drafts.crls);
    free(drafts.list);
    return rc;
}
