// SPDX-License-Identifier: ISC
#include "access/rights.h"

#include "common/str.h"

#include <stdlib.h>
#include <string.h>

bool ia_rights_is_event_topic(const char *event_prefix, const char *topic)
{
    if (topic[0] != event_prefix[0])
        return false; /* nearly always */
    size_t n = strlen(event_prefix);
    return strncmp(topic, event_prefix, n) == 0 && (topic[n] == '/' || topic[n] == '\0');
}

/* Distinct role names while rights are resolved.  More than fit: the rights are broken, because any role may deny. */
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

static void add_scope_roles(const struct ia_snapshot *snapshot, const struct ia_token *token, struct names *names)
{
    const char *roles[IA_SUBJECT_ROLES_MAX];
    size_t n = ia_token_roles(snapshot->issuers, token, roles, IA_SUBJECT_ROLES_MAX);
    names->overflow = n > IA_SUBJECT_ROLES_MAX;
    for (size_t i = 0; i < n && i < IA_SUBJECT_ROLES_MAX; i++)
        add_name(names, roles[i]);
}

/* The roles of the issuer that the device has come by a token of, or, where that is not known, belongs to. */
static void add_issuer_roles(const struct ia_snapshot *snapshot, const struct ia_rights_holder *who,
                             struct names *names)
{
    const char *issuer = who->token ? who->token->issuer : who->device ? ia_device_issuer(who->device) : NULL;
    const char *const *roles = NULL;
    size_t n = issuer ? ia_issuer_set_roles(snapshot->issuers, issuer, &roles) : 0;
    for (size_t i = 0; i < n; i++)
        add_name(names, roles[i]);
}

/* An app has the roles of its scopes alone; a device those of its scopes, its CA or issuer, and its own. */
static void collect_names(const struct ia_snapshot *snapshot, const struct ia_rights_holder *who, struct names *names)
{
    if (who->token)
        add_scope_roles(snapshot, who->token, names);
    if (who->token && !who->token->device)
        return;
    add_issuer_roles(snapshot, who, names);
    for (size_t i = 0; who->ca && i < who->ca->n_roles; i++)
        add_name(names, who->ca->roles[i]);
    for (const char *r = NULL; who->device && !names->overflow && (r = ia_device_role(who->device, r)) != NULL;)
        add_name(names, r);
}

/* The value of a variable; one that is not valid counts as unset, wherever it came from. */
static const char *usable_value(const char *value)
{
    return value && ia_value_valid(value, strlen(value), NULL) ? value : NULL;
}

static const char *device_value(const struct ia_rights_holder *who, const char *name)
{
    if (!who->device)
        return NULL;
    if (strcmp(name, "device_id") == 0)
        return ia_device_id(who->device);
    if (strcmp(name, "tenant") == 0)
        return ia_device_tenant(who->device);
    if (strcmp(name, "ca") == 0)
        return who->ca ? who->ca->name : NULL;
    if (strncmp(name, "attr.", 5) == 0)
        return ia_device_attr(who->device, name + 5);
    return NULL;
}

static const char *variable_value(const struct ia_snapshot *snapshot, const struct ia_rights_holder *who,
                                  const char *name)
{
    if (strcmp(name, "client_id") == 0)
        return usable_value(who->client_id);
    if (who->token && !who->token->device)
        return usable_value(ia_token_variable(snapshot->issuers, who->token, name));
    const char *value = device_value(who, name);
    if (!value && who->token && strcmp(name, "tenant") != 0)
        value = ia_token_variable(snapshot->issuers, who->token, name);
    return usable_value(value);
}

static bool make_room(struct ia_rights *rights, size_t n_roles, size_t n_values)
{
    if (n_roles > rights->roles_room) {
        const struct ia_role **bigger = realloc(rights->roles, n_roles * sizeof *bigger);
        if (!bigger)
            return false;
        rights->roles = bigger;
        rights->roles_room = n_roles;
    }
    if (n_values > rights->values_room) {
        const char **bigger = realloc(rights->values, n_values * sizeof *bigger);
        if (!bigger)
            return false;
        rights->values = bigger;
        rights->values_room = n_values;
    }
    return true;
}

/* A role that is missing was dropped a moment ago: it may have held a DENY. */
static bool find_roles(const struct ia_policy *policy, const struct names *names, struct ia_rights *rights)
{
    rights->n_roles = names->n;
    for (size_t i = 0; i < names->n; i++) {
        rights->roles[i] = ia_policy_role(policy, names->list[i]);
        if (!rights->roles[i])
            return false;
    }
    return true;
}

void ia_rights_resolve(struct ia_rights *rights, const struct ia_snapshot *snapshot, const struct ia_rights_holder *who)
{
    struct names names = {0};
    collect_names(snapshot, who, &names);
    const char *const *variables = NULL;
    size_t n = ia_policy_variables(snapshot->policy, &variables);
    rights->generation = snapshot->generation;
    rights->broken = names.overflow || (who->device && who->device->faulty) || !make_room(rights, names.n, n) ||
                     !find_roles(snapshot->policy, &names, rights);
    for (size_t i = 0; !rights->broken && i < n; i++)
        rights->values[i] = variable_value(snapshot, who, variables[i]);
}

enum ia_verdict ia_rights_check(const struct ia_rights *rights, const struct ia_snapshot *snapshot,
                                const struct ia_access *access, int64_t *rule_id)
{
    if (rule_id)
        *rule_id = 0;
    if (rights->broken || rights->generation != snapshot->generation)
        return IA_DENY;
    struct ia_subject subject = {.roles = rights->roles, .n_roles = rights->n_roles, .values = rights->values};
    return ia_policy_check(snapshot->policy, &subject, access, rule_id);
}

void ia_rights_clear(struct ia_rights *rights)
{
    free(rights->roles);
    free(rights->values);
    *rights = (struct ia_rights){0};
}
