// SPDX-License-Identifier: ISC
#include "worker/dropped_roles.h"

#include <stdlib.h>
#include <string.h>

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_among(const char *const *sorted, size_t n, const char *name)
{
    return bsearch(&name, sorted, n, sizeof *sorted, by_text) != NULL;
}

static void forget_oldest(struct ia_gone_roles *gone)
{
    free(gone->names[0]);
    memmove(gone->names, gone->names + 1, --gone->n * sizeof *gone->names);
}

static bool note(struct ia_gone_roles *gone, const char *name)
{
    for (size_t i = 0; i < gone->n; i++)
        if (strcmp(gone->names[i], name) == 0)
            return true;
    if (!gone->names)
        gone->names = calloc(IA_GONE_ROLES_MAX, sizeof *gone->names);
    char *copy = strdup(name);
    if (!gone->names || !copy) {
        free(copy);
        return false;
    }
    if (gone->n == IA_GONE_ROLES_MAX)
        forget_oldest(gone);
    gone->names[gone->n++] = copy;
    return true;
}

bool ia_gone_roles_add(struct ia_gone_roles *gone, const struct ia_policy *before, const char **roles, size_t *n)
{
    const char *name;
    size_t there = *n;
    qsort(roles, there, sizeof *roles, by_text);
    for (size_t i = 0; before && (name = ia_policy_role_name(before, i)) != NULL; i++)
        if (!is_among(roles, there, name) && !note(gone, name))
            return false;
    for (size_t i = 0; i < gone->n; i++)
        if (!is_among(roles, there, gone->names[i])) /* it may be there again */
            roles[(*n)++] = gone->names[i];
    return true;
}

void ia_gone_roles_clear(struct ia_gone_roles *gone)
{
    for (size_t i = 0; i < gone->n; i++)
        free(gone->names[i]);
    free(gone->names);
    *gone = (struct ia_gone_roles){0};
}
