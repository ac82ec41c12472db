// SPDX-License-Identifier: ISC
#include "config/dropped_roles.h"

#include <stdlib.h>
#include <string.h>

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_among(const char *const *sorted, size_t n, const char *name)
{
    return bsearch(&name, sorted, n, sizeof *sorted, compare_names) != NULL;
}

static void forget_oldest(struct ia_dropped_roles *dropped)
{
    free(dropped->names[0]);
    memmove(dropped->names, dropped->names + 1, --dropped->n * sizeof *dropped->names);
}

static bool remember_role(struct ia_dropped_roles *dropped, const char *name)
{
    for (size_t i = 0; i < dropped->n; i++)
        if (strcmp(dropped->names[i], name) == 0)
            return true;
    if (!dropped->names)
        dropped->names = calloc(IA_DROPPED_ROLES_MAX, sizeof *dropped->names);
    char *copy = strdup(name);
    if (!dropped->names || !copy) {
        free(copy);
        return false;
    }
    if (dropped->n == IA_DROPPED_ROLES_MAX)
        forget_oldest(dropped);
    dropped->names[dropped->n++] = copy;
    return true;
}

bool ia_dropped_roles_append(struct ia_dropped_roles *dropped, const struct ia_policy *before, const char **roles,
                             size_t *n)
{
    const char *name;
    size_t existing = *n;
    qsort(roles, existing, sizeof *roles, compare_names);
    for (size_t i = 0; before && (name = ia_policy_role_name(before, i)) != NULL; i++)
        if (!is_among(roles, existing, name) && !remember_role(dropped, name))
            return false;
    for (size_t i = 0; i < dropped->n; i++)
        if (!is_among(roles, existing, dropped->names[i])) /* it may have been created again */
            roles[(*n)++] = dropped->names[i];
    return true;
}

void ia_dropped_roles_clear(struct ia_dropped_roles *dropped)
{
    for (size_t i = 0; i < dropped->n; i++)
        free(dropped->names[i]);
    free(dropped->names);
    *dropped = (struct ia_dropped_roles){0};
}
