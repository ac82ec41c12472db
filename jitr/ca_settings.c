// SPDX-License-Identifier: ISC
#include "jitr/ca_settings.h"

#include "common/ref.h"
#include "jitr/certificate_variables.h"
#include "jitr/provisioning.h"

#include <stdlib.h>
#include <string.h>

/* Texts and lists are allocated one by one; a set is built a few times a day and freed as a whole. */
struct ia_ca_settings_set {
    struct ia_ref refs;
    size_t n;
    struct ia_ca_settings *list; /* ascending by ca_id */
};

static bool client_id_variable_known(const char *name)
{
    return strcmp(name, "device_id") == 0 || strcmp(name, "ca") == 0 || strcmp(name, "tenant") == 0;
}

static void settings_clear(struct ia_ca_settings *p)
{
    free((void *)p->name);
    free((void *)p->tenant);
    free((void *)p->terms);
    ia_template_free((struct ia_template *)p->device_id);
    for (size_t i = 0; i < p->n_client_ids; i++)
        ia_template_free((struct ia_template *)p->client_ids[i]);
    free((void *)p->client_ids);
    for (size_t i = 0; i < p->n_roles; i++)
        free((void *)p->roles[i]);
    free((void *)p->roles);
    ia_provisioning_free((struct ia_provisioning *)p->provisioning);
}

static enum ia_rc copy_text(const char *text, const char **out, struct ia_err *err)
{
    *out = text ? strdup(text) : NULL;
    return text && !*out ? ia_nomem(err) : IA_OK;
}

static enum ia_rc copy_roles(struct ia_ca_settings *p, const struct ia_ca_row *row, struct ia_err *err)
{
    const char **roles = calloc(row->roles.n + 1, sizeof *roles);
    if (!roles)
        return ia_nomem(err);
    p->roles = roles;
    for (; p->n_roles < row->roles.n; p->n_roles++)
        if (copy_text(row->roles.items[p->n_roles], &roles[p->n_roles], err) != IA_OK)
            return IA_NOMEM;
    return IA_OK;
}

static enum ia_rc parse_client_ids(struct ia_ca_settings *p, const struct ia_ca_row *row, struct ia_err *err)
{
    struct ia_template **list = calloc(row->client_id_templates.n + 1, sizeof(*list));
    if (!list)
        return ia_nomem(err);
    p->client_ids = (const struct ia_template *const *)list;
    for (; p->n_client_ids < row->client_id_templates.n; p->n_client_ids++) {
        enum ia_rc rc = ia_template_parse(row->client_id_templates.items[p->n_client_ids], true,
                                          client_id_variable_known, &list[p->n_client_ids], err);
        if (rc != IA_OK)
            return rc;
    }
    return IA_OK;
}

static enum ia_rc settings_fill(struct ia_ca_settings *p, const struct ia_ca_row *row, struct ia_err *err)
{
    p->ca_id = row->ca_id;
    p->replaces = row->replaces;
    p->active = row->status == IA_CA_ACTIVE;
    p->auto_registration = row->auto_registration;
    enum ia_rc rc = copy_text(row->name, &p->name, err);
    if (rc == IA_OK)
        rc = copy_text(row->tenant, &p->tenant, err);
    if (rc == IA_OK)
        rc = copy_text(row->terms, &p->terms, err);
    if (rc == IA_OK)
        rc = copy_roles(p, row, err);
    struct ia_template *device_id = NULL;
    if (rc == IA_OK)
        rc = ia_template_parse(row->device_id_template, false, ia_certificate_variable_known, &device_id, err);
    p->device_id = device_id;
    if (rc == IA_OK)
        rc = parse_client_ids(p, row, err);
    struct ia_provisioning *provisioning = NULL;
    if (rc == IA_OK && row->has_template)
        rc = ia_provisioning_parse(row, &provisioning, err);
    p->provisioning = provisioning;
    return rc;
}

static int by_ca_id(const void *a, const void *b)
{
    int64_t x = ((const struct ia_ca_settings *)a)->ca_id, y = ((const struct ia_ca_settings *)b)->ca_id;
    return (x > y) - (x < y);
}

enum ia_rc ia_ca_settings_set_build(const struct ia_ca_row *rows, size_t n, const struct ia_problem_callback *problems,
                                    struct ia_ca_settings_set **out, struct ia_err *err)
{
    struct ia_ca_settings_set *set = calloc(1, sizeof *set);
    if (set)
        set->list = calloc(n + 1, sizeof *set->list);
    if (!set || !set->list) {
        free(set);
        return ia_nomem(err);
    }
    ia_ref_init(&set->refs);
    for (size_t i = 0; i < n; i++) {
        struct ia_err wrong = {0};
        struct ia_ca_settings *p = &set->list[set->n];
        enum ia_rc rc = settings_fill(p, &rows[i], &wrong);
        if (rc == IA_OK) {
            set->n++;
            continue;
        }
        settings_clear(p);
        memset(p, 0, sizeof *p);
        if (rc == IA_NOMEM) {
            ia_ca_settings_set_free(set);
            return ia_nomem(err);
        }
        ia_problem_report(problems, rows[i].ca_id, wrong.msg);
    }
    qsort(set->list, set->n, sizeof *set->list, by_ca_id);
    *out = set;
    return IA_OK;
}

struct ia_ca_settings_set *ia_ca_settings_set_ref(struct ia_ca_settings_set *set)
{
    ia_ref_take(&set->refs);
    return set;
}

void ia_ca_settings_set_free(struct ia_ca_settings_set *set)
{
    if (!set || !ia_ref_drop(&set->refs))
        return;
    for (size_t i = 0; i < set->n; i++)
        settings_clear(&set->list[i]);
    free(set->list);
    free(set);
}

const struct ia_ca_settings *ia_ca_settings_find(const struct ia_ca_settings_set *set, int64_t ca_id)
{
    struct ia_ca_settings key = {.ca_id = ca_id};
    return bsearch(&key, set->list, set->n, sizeof key, by_ca_id);
}

/* The registry refuses a circle of CAs; if there is one nevertheless, it must not hold up the broker. */
static bool ca_succeeds(const struct ia_ca_settings_set *set, int64_t successor, int64_t predecessor)
{
    const struct ia_ca_settings *p = ia_ca_settings_find(set, successor);
    for (size_t steps = 0; p && p->replaces && steps < set->n; steps++) {
        if (p->replaces == predecessor)
            return true;
        p = ia_ca_settings_find(set, p->replaces);
    }
    return false;
}

bool ia_ca_settings_in_line(const struct ia_ca_settings_set *set, int64_t a, int64_t b)
{
    return a == b || ca_succeeds(set, a, b) || ca_succeeds(set, b, a);
}

size_t ia_ca_settings_count(const struct ia_ca_settings_set *set)
{
    return set->n;
}
