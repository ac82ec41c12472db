// SPDX-License-Identifier: ISC
/* Roles that were dropped.  A device's record names its roles until it is read again, for which the snapshot without
 * the role does not wait: to be without its other rights until then, only because one role was dropped, would cost it
 * messages.  So a dropped role stays in the policy, without rules: it has nothing to deny either.  One that was never
 * known denies all.  The worker's. */
#pragma once

#include "acl/policy.h"

#define IA_GONE_ROLES_MAX 4096 /* the oldest are forgotten */

/* All zero at first. */
struct ia_gone_roles {
    char **names; /* the oldest first */
    size_t n;
};

/* roles[0..*n) are all that there are now: sorts them and puts those behind them that were in the policy `before`
 * (NULL: none), or earlier, and are gone.  `roles` has room for IA_GONE_ROLES_MAX more; what is added is borrowed until
 * the next call.  False when out of memory. */
bool ia_gone_roles_add(struct ia_gone_roles *gone, const struct ia_policy *before, const char **roles, size_t *n);
void ia_gone_roles_clear(struct ia_gone_roles *gone);
