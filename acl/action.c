// SPDX-License-Identifier: ISC
#include "acl/action.h"

#include <stddef.h>
#include <strings.h>

static const struct {
    const char *name;
    enum ia_action action;
} actions[] = {
#define X(id, name, bit) {name, IA_##id},
    IA_ACTIONS(X)
#undef X
};

#define N_ACTIONS (sizeof actions / sizeof actions[0])

const char *ia_action_name(enum ia_action action)
{
    for (size_t i = 0; i < N_ACTIONS; i++)
        if (actions[i].action == action)
            return actions[i].name;
    return "unknown";
}

unsigned ia_action_from_name(const char *name)
{
    for (size_t i = 0; i < N_ACTIONS; i++)
        if (strcasecmp(name, actions[i].name) == 0)
            return actions[i].action;
    return 0;
}
