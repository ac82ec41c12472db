// SPDX-License-Identifier: ISC
#include "access/reserved.h"

#include "common/ref.h"

#include <stdlib.h>
#include <string.h>

struct ia_reserved_names {
    struct ia_ref refs;
    size_t n;
    char *names[]; /* owned, ascending */
};

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

enum ia_rc ia_reserved_build(const char *const *names, size_t n, struct ia_reserved_names **out, struct ia_err *err)
{
    struct ia_reserved_names *set = calloc(1, sizeof *set + n * sizeof set->names[0]);
    if (!set)
        return ia_nomem(err);
    ia_ref_init(&set->refs);
    for (; set->n < n; set->n++) {
        set->names[set->n] = strdup(names[set->n]);
        if (!set->names[set->n]) {
            ia_reserved_free(set);
            return ia_nomem(err);
        }
    }
    qsort(set->names, n, sizeof set->names[0], compare_names);
    *out = set;
    return IA_OK;
}

struct ia_reserved_names *ia_reserved_ref(struct ia_reserved_names *names)
{
    ia_ref_take(&names->refs);
    return names;
}

void ia_reserved_free(struct ia_reserved_names *names)
{
    if (!names || !ia_ref_drop(&names->refs))
        return;
    for (size_t i = 0; i < names->n; i++)
        free(names->names[i]);
    free(names);
}

bool ia_reserved_has(const struct ia_reserved_names *names, const char *name)
{
    return names && name && bsearch(&name, names->names, names->n, sizeof names->names[0], compare_names) != NULL;
}
