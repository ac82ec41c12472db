// SPDX-License-Identifier: ISC
/* Roles that were dropped.  A device's record names its roles until it is read again, and the snapshot without the role
 * does not wait for that.  If the role were unknown until then, the device would lose its other rights, and with them
 * messages: a role that was never known denies everything.  So a dropped role stays in the policy without rules, which
 * neither allows nor denies.  Worker thread. */
#pragma once

#include "acl/policy.h"

#define IA_DROPPED_ROLES_MAX 4096 /* beyond it the oldest are forgotten */

/* Zeroed memory is an empty list. */
struct ia_dropped_roles {
    char **names; /* the oldest first */
    size_t n;
};

/* roles[0..*n) are the roles that exist now.  Sorts them, and appends the roles that are missing among them but were in
 * the policy `before` (NULL: none) or were dropped earlier.  `roles` has room for IA_DROPPED_ROLES_MAX more; the
 * appended names are borrowed until the next call.  False when out of memory. */
bool ia_dropped_roles_append(struct ia_dropped_roles *dropped, const struct ia_policy *before, const char **roles,
                             size_t *n);
void ia_dropped_roles_clear(struct ia_dropped_roles *dropped);
