// SPDX-License-Identifier: ISC
/* Roles and variables of a session, looked up once per snapshot. */
#include "plugin/core.h"

#include <stdlib.h>
#include <string.h>

/* Distinct role names while a binding is made.  More than fit: the binding is broken, since a role may deny. */
struct names {
    const char *list[IA_SUBJECT_ROLES_MAX];
    size_t n;
    bool overflow;
};

static void add_name(struct names *names, const char *name)
{
    for (size_t i = 0; i < names->n; i++)
        if (strcmp(names->list[i], name) == 0)
            return;
    if (names->n == IA_SUBJECT_ROLES_MAX)
        names->overflow = true;
    else
        names->list[names->n++] = name;
}

/* An app has the roles of its scopes alone; a device those of its CA and its own. */
static void collect_names(const struct ia_core *core, const struct ia_who *who, struct names *names)
{
    if (who->token) {
        const char *roles[IA_SUBJECT_ROLES_MAX];
        size_t n = ia_token_roles(core->snapshot->issuers, who->token, roles, IA_SUBJECT_ROLES_MAX);
        names->overflow = n > IA_SUBJECT_ROLES_MAX;
        for (size_t i = 0; i < n && i < IA_SUBJECT_ROLES_MAX; i++)
            add_name(names, roles[i]);
        return;
    }
    for (size_t i = 0; who->profile && i < who->profile->n_roles; i++)
        add_name(names, who->profile->roles[i]);
    for (const char *r = NULL; who->device && !names->overflow && (r = ia_device_role(who->device, r)) != NULL;)
        add_name(names, r);
}

/* The value of a variable: topics never hold what is not a valid value, however it got here. */
static const char *usable(const char *value)
{
    return value && ia_value_valid(value, strlen(value), NULL) ? value : NULL;
}

static const char *device_variable(const struct ia_who *who, const char *name)
{
    if (!who->device)
        return NULL;
    if (strcmp(name, "device_id") == 0)
        return ia_device_id(who->device);
    if (strcmp(name, "tenant") == 0)
        return ia_device_tenant(who->device);
    if (strcmp(name, "ca") == 0)
        return who->profile ? who->profile->name : NULL;
    if (strncmp(name, "attr.", 5) == 0)
        return ia_device_attr(who->device, name + 5);
    return NULL;
}

static const char *variable(const struct ia_core *core, const struct ia_who *who, const char *name)
{
    if (strcmp(name, "client_id") == 0)
        return usable(who->client_id);
    if (who->token)
        return usable(ia_token_variable(core->snapshot->issuers, who->token, name));
    return usable(device_variable(who, name));
}

static bool make_room(struct ia_binding *b, size_t slots)
{
    if (slots <= b->room)
        return true;
    const void **bigger = realloc(b->slots, slots * sizeof *bigger);
    if (!bigger)
        return false;
    b->slots = bigger;
    b->room = slots;
    return true;
}

void ia_bind(const struct ia_core *core, const struct ia_who *who, bool again, struct ia_binding *binding)
{
    const struct ia_policy *policy = core->snapshot->policy;
    if (binding->generation == core->snapshot->generation && !again)
        return;
    struct names names = {0};
    collect_names(core, who, &names);
    const char *const *variables = NULL;
    size_t n = ia_policy_variables(policy, &variables);
    binding->generation = core->snapshot->generation;
    binding->broken = names.overflow || (who->device && who->device->too_large) || !make_room(binding, names.n + n + 1);
    if (binding->broken)
        return;
    binding->n_roles = names.n;
    for (size_t i = 0; i < names.n; i++) {
        binding->slots[i] = ia_policy_role(policy, names.list[i]);
        if (!binding->slots[i])
            binding->broken = true; /* dropped a moment ago: it may have denied */
    }
    for (size_t i = 0; i < n; i++)
        binding->slots[names.n + i] = variable(core, who, variables[i]);
}

enum ia_verdict ia_bound_check(const struct ia_core *core, const struct ia_binding *binding,
                               const struct ia_access *access, int64_t *rule_id)
{
    if (rule_id)
        *rule_id = 0;
    if (binding->broken)
        return IA_DENY;
    struct ia_subject subject = {
        .roles = (const struct ia_role *const *)binding->slots,
        .n_roles = binding->n_roles,
        .values = (const char *const *)(binding->slots + binding->n_roles),
    };
    return ia_policy_check(core->snapshot->policy, &subject, access, rule_id);
}
