// SPDX-License-Identifier: ISC
#include "oauth/issuer_set.h"

#include "common/principal.h"

#include <stdlib.h>
#include <string.h>

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(struct ia_issuer *const *)a)->name, (*(struct ia_issuer *const *)b)->name);
}

static int compare_issuers(const void *a, const void *b)
{
    const struct ia_issuer *const *x = a, *const *y = b;
    int order = strcmp((*x)->issuer, (*y)->issuer);
    return order ? order : (*x > *y) - (*x < *y); /* the order of the rows */
}

/* The one of kept[0..n) whose `issuer` and one of whose audiences `issuer` has too; NULL: none. */
static const struct ia_issuer *find_overlap(struct ia_issuer *const *kept, size_t n, const struct ia_issuer *issuer)
{
    while (n-- > 0 && strcmp(kept[n]->issuer, issuer->issuer) == 0)
        for (size_t i = 0; i < issuer->audience.n; i++)
            if (ia_text_list_has(&kept[n]->audience, issuer->audience.items[i]))
                return kept[n];
    return NULL;
}

/* Sort the two indexes.  Of two rows with one `issuer` that share an audience, which the database excludes, the later is
 * left out of by_issuer and marked. */
static void build_indexes(struct ia_issuer_set *set, struct ia_issuer_findings *findings)
{
    for (size_t i = 0; i < set->n; i++)
        set->by_issuer[i] = set->by_name[i] = &set->issuers[i];
    qsort(set->by_name, set->n, sizeof *set->by_name, compare_names);
    qsort(set->by_issuer, set->n, sizeof *set->by_issuer, compare_issuers);
    size_t kept = 0;
    for (size_t i = 0; i < set->n; i++) {
        struct ia_issuer *issuer = set->by_issuer[i];
        const struct ia_issuer *overlap = find_overlap(set->by_issuer, kept, issuer);
        if (overlap) {
            issuer->invalid = true;
            ia_remarks_add(&findings[issuer - set->issuers].problems,
                           "issuer: already registered as '%s' with the same audience", overlap->name);
        } else {
            set->by_issuer[kept++] = issuer;
        }
    }
    set->n_by_issuer = kept;
}

static bool load_issuers(struct ia_issuer_set *set, const struct ia_issuer_spec *specs, size_t n,
                         struct ia_issuer_findings *findings)
{
    set->by_issuer = calloc(n + 1, sizeof(struct ia_issuer *));
    set->by_name = calloc(n + 1, sizeof(struct ia_issuer *));
    if (!set->by_issuer || !set->by_name)
        return false;
    while (set->n < n) {
        size_t i = set->n++; /* counted first, so that an issuer loaded in part is cleared too */
        if (!ia_issuer_load(&set->issuers[i], &specs[i], &findings[i]))
            return false;
    }
    build_indexes(set, findings);
    return true;
}

static void report_findings(const struct ia_issuer_report *report, size_t index,
                            const struct ia_issuer_findings *findings)
{
    if (findings->problems.used)
        ia_problem_report(&report->problem, (int64_t)index, findings->problems.text);
    if (findings->notes.used)
        ia_problem_report(&report->note, (int64_t)index, findings->notes.text);
}

enum ia_rc ia_issuer_set_build(const struct ia_issuer_spec *specs, size_t n, const struct ia_issuer_report *report,
                               struct ia_issuer_set **out, struct ia_err *err)
{
    struct ia_issuer_set *set = calloc(1, sizeof *set + n * sizeof set->issuers[0]);
    ia_autofree struct ia_issuer_findings *findings = calloc(n + 1, sizeof *findings);
    if (set)
        ia_ref_init(&set->refs);
    if (!set || !findings || !load_issuers(set, specs, n, findings)) {
        ia_issuer_set_free(set);
        return ia_nomem(err);
    }
    for (size_t i = 0; i < n && report; i++)
        report_findings(report, i, &findings[i]);
    *out = set;
    return IA_OK;
}

struct ia_issuer_set *ia_issuer_set_ref(struct ia_issuer_set *set)
{
    ia_ref_take(&set->refs);
    return set;
}

void ia_issuer_set_free(struct ia_issuer_set *set)
{
    if (!set || !ia_ref_drop(&set->refs))
        return;
    for (size_t i = 0; i < set->n; i++)
        ia_issuer_clear(&set->issuers[i]);
    free(set->by_issuer);
    free(set->by_name);
    free(set);
}

static int compare_name_key(const void *name, const void *issuer)
{
    return strcmp(name, (*(struct ia_issuer *const *)issuer)->name);
}

static int compare_iss_key(const void *iss, const void *issuer)
{
    return strcmp(iss, (*(struct ia_issuer *const *)issuer)->issuer);
}

size_t ia_issuers_by_iss(const struct ia_issuer_set *set, const char *iss, struct ia_issuer *const **first)
{
    struct ia_issuer **end = set->by_issuer + set->n_by_issuer;
    struct ia_issuer **at = bsearch(iss, set->by_issuer, set->n_by_issuer, sizeof *set->by_issuer, compare_iss_key);
    size_t n = 0;
    if (!at)
        return 0;
    while (at > set->by_issuer && strcmp(at[-1]->issuer, iss) == 0)
        at--;
    while (at + n < end && strcmp(at[n]->issuer, iss) == 0)
        n++;
    *first = at;
    return n;
}

const struct ia_issuer *ia_issuer_by_iss_without_slash(const struct ia_issuer_set *set, const char *iss)
{
    for (size_t i = 0; i < set->n_by_issuer; i++)
        if (ia_texts_differ_by_slash(set->by_issuer[i]->issuer, iss))
            return set->by_issuer[i];
    return NULL;
}

const struct ia_issuer *ia_issuer_by_name(const struct ia_issuer_set *set, const char *name)
{
    struct ia_issuer **at = bsearch(name, set->by_name, set->n, sizeof *set->by_name, compare_name_key);
    return at ? *at : NULL;
}

size_t ia_issuer_set_roles(const struct ia_issuer_set *set, const char *name, const char *const **roles)
{
    const struct ia_issuer *issuer = ia_issuer_by_name(set, name);
    if (!issuer)
        return 0;
    *roles = (const char *const *)issuer->roles.items;
    return issuer->roles.n;
}

bool ia_issuer_set_admits_devices(const struct ia_issuer_set *set, const char *name)
{
    const struct ia_issuer *issuer = ia_issuer_by_name(set, name);
    return issuer && issuer->devices && !ia_issuer_problem(issuer);
}

bool ia_issuer_set_admits(const struct ia_issuer_set *set, const char *principal)
{
    char name[IA_VALUE_MAX + 1];
    const struct ia_issuer *issuer = ia_principal_issuer(principal, name) ? ia_issuer_by_name(set, name) : NULL;
    return issuer && !ia_issuer_problem(issuer);
}
