// SPDX-License-Identifier: ISC
#include "common/reason.h"

#include <string.h>

static const char *const names[IA_REASON_COUNT] = {
#define X(id, name) name,
    IA_REASONS(X)
#undef X
};

const char *ia_reason_name(enum ia_reason reason)
{
    return (unsigned)reason < IA_REASON_COUNT ? names[reason] : "internal";
}

enum ia_reason ia_reason_from_name(const char *name)
{
    for (unsigned i = 0; i < IA_REASON_COUNT; i++)
        if (strcmp(names[i], name) == 0)
            return (enum ia_reason)i;
    return IA_R_INTERNAL;
}
