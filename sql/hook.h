// SPDX-License-Identifier: ISC
/* The registration of one certificate under a CA with a hook, on a connection of its own: a hook may take its time, and
 * what else the broker reads and writes must not wait for it. */
#pragma once

#include "common/error.h"
#include "sql/db.h"
#include "sql/devices.h"

/* End the connection's part in notifications: nobody would read them here. */
IA_MUST_USE enum ia_rc ia_db_unlisten(struct ia_db *db, struct ia_err *err);

/* What became of it: both owned by the caller. */
struct ia_hook_outcome {
    char *outcome; /* of struct ia_registered, "stale_template", or "busy": a row is locked by another transaction */
    char *detail;  /* or NULL */
};

/* Register `item`, asking the CA's hook, in a transaction of its own.  The limit is set by a statement of its own, because
 * inside of the statement it would do nothing.  A failure says in err why nobody was registered; where the connection was
 * dropped because the hook did not end, the server ends it as soon as it notices. */
IA_MUST_USE enum ia_rc ia_db_register_asking(struct ia_db *db, const struct ia_registration *item, int timeout_ms,
                                             struct ia_hook_outcome *out, struct ia_err *err);

/* Put the failure of a CA's hook into its problem. */
IA_MUST_USE enum ia_rc ia_db_note_hook(struct ia_db *db, int64_t ca_id, const char *problem, struct ia_err *err);
