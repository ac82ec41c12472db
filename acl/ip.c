// SPDX-License-Identifier: ISC
#include "acl/private.h"

#include <stdlib.h>

struct ia_ip_set *ia_ip_set_ref(struct ia_ip_set *set)
{
    ia_ref_take(&set->refs);
    return set;
}

void ia_ip_set_free(struct ia_ip_set *set)
{
    if (!set || !ia_ref_drop(&set->refs))
        return;
    free(set->lists);
    free(set->slots);
    free(set->keys);
    free(set->prefixes);
    free(set->entries.at);
    free(set->expiries);
    free(set);
}

static const struct ia_ip_list *find_list(const struct ia_ip_set *set, enum ia_ip_scope scope, const char *key)
{
    for (size_t i = ia_ip_list_hash(scope, key) & (set->n_slots - 1); set->slots[i]; i = (i + 1) & (set->n_slots - 1)) {
        const struct ia_ip_list *list = &set->lists[set->slots[i] - 1];
        if (list->scope == scope && strcmp(list->key, key) == 0)
            return list;
    }
    return NULL;
}

static enum ia_verdict address_verdict(enum ia_verdict verdict, int64_t rule, int64_t *rule_id)
{
    if (rule_id)
        *rule_id = rule;
    return verdict;
}

static enum ia_verdict check_without_ip(const struct ia_ip_list *list, int64_t now, int64_t *rule_id)
{
    if (now < list->deny_until)
        return address_verdict(IA_DENY, list->deny_rule, rule_id);
    return address_verdict(list->has_allow ? IA_DENY : IA_ALLOW, 0, rule_id);
}

static bool is_v4(struct ia_ip_key key)
{
    return key.hi == 0 && key.lo >> 32 == 0xFFFF;
}

enum ia_verdict ia_ip_check(const struct ia_ip_set *set, enum ia_ip_scope scope, const char *key,
                            const struct ia_ip *addr, int64_t now, int64_t *rule_id)
{
    if ((unsigned)scope >= IA_IP_SCOPES || (scope != IA_IP_GLOBAL && !key))
        return address_verdict(IA_DENY, 0, rule_id);
    if (set->scope_invalid[scope])
        return address_verdict(IA_DENY, set->scope_invalid_rule[scope], rule_id);
    const struct ia_ip_list *list = find_list(set, scope, scope == IA_IP_GLOBAL ? "" : key);
    if (!list)
        return address_verdict(IA_ALLOW, 0, rule_id);
    if (list->invalid)
        return address_verdict(IA_DENY, list->invalid_rule, rule_id);
    if (!addr || !addr->valid)
        return check_without_ip(list, now, rule_id);
    struct ia_ip_key at = ia_ip_key_of(addr->addr);
    uint32_t i = ia_ip_trie_find(set->entries.at, is_v4(at) ? list->v4 : list->v6, at);
    for (; i; i = set->prefixes[i].parent) {
        const struct ia_prefix *prefix = &set->prefixes[i];
        if (!ia_prefix_holds(prefix, at))
            continue;
        if (now < prefix->deny_until)
            return address_verdict(IA_DENY, prefix->deny_rule, rule_id);
        if (now < prefix->allow_until)
            return address_verdict(IA_ALLOW, prefix->allow_rule, rule_id);
    }
    return address_verdict(list->has_allow ? IA_DENY : IA_ALLOW, 0, rule_id);
}

int64_t ia_ip_next_expiry(const struct ia_ip_set *set, int64_t now)
{
    size_t low = 0, high = set->n_expiries;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (set->expiries[middle] > now)
            high = middle;
        else
            low = middle + 1;
    }
    return low < set->n_expiries ? set->expiries[low] : INT64_MAX;
}
