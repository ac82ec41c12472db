// SPDX-License-Identifier: ISC
/* Reserved names (iot_auth.reserved_name, with `admin` in it): no device may be called so, and no device or app may use
 * such a client id, so that a tenant's certificate cannot take the name of a legacy user under other_clients defer.
 * Part of a snapshot: built once, then read-only, so safe from any thread. */
#pragma once

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>

struct ia_reserved_names;

/* Copies the names.  The caller owns one reference of *out. */
IA_MUST_USE enum ia_rc ia_reserved_build(const char *const *names, size_t n, struct ia_reserved_names **out,
                                         struct ia_err *err);
struct ia_reserved_names *ia_reserved_ref(struct ia_reserved_names *names);
void ia_reserved_free(struct ia_reserved_names *names); /* gives one reference back; NULL is fine */

/* Is it one of them, exactly?  NULL: no names are reserved. */
bool ia_reserved_has(const struct ia_reserved_names *names, const char *name);
