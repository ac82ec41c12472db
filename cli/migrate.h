// SPDX-License-Identifier: ISC
/* iot-auth migrate. */
#pragma once

#include "cli/call.h"
#include "cli/registry.h"

int ia_migrate_run(const struct ia_call *call);

/* Apply what the database has not yet, and count it in *applied.  Returns an ia_exit. */
int ia_migrate_apply(struct ia_registry *registry, const struct ia_call *call, size_t *applied);

/* The schema's version, 0: there is none; -1: it cannot be read, ia_registry_status says why. */
int ia_migrate_version(struct ia_registry *registry);
