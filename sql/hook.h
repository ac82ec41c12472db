// SPDX-License-Identifier: ISC
/* The registration of one certificate under a CA with a hook, on a connection of its own: a hook may take its time, and
 * what else the broker reads and writes must not wait for it. */
#pragma once

#include "common/error.h"
#include "sql/db.h"
#include "sql/devices.h"

#define IA_HOOK_GRACE_MS 1000 /* beyond the hook's limit, until the connection of a hook that does not end is dropped */

/* Connect for hooks; see ia_db_connect.  Nobody would read notifications here, so there are none; and the server notices
 * while a hook runs that the connection was dropped.  The registration `item` is made and undone, without the hook: the
 * first one on a connection takes longer than a hook may. */
IA_MUST_USE enum ia_rc ia_db_connect_for_hooks(struct ia_db *db, const struct ia_registration *item,
                                               struct ia_err *err);

/* What became of it: texts owned by the caller. */
struct ia_hook_outcome {
    char *outcome; /* of struct ia_registered, "stale_template", or "busy": a row is locked by another transaction */
    char *detail;  /* or NULL */
    bool in_doubt; /* the server did not answer the commit: the registry says whether it was made */
    bool unended;  /* beside an error: the hook did not end when it was cancelled */
};

/* Register `item`, asking the CA's hook, in a transaction of its own.  The limit is set by a statement of its own, because
 * inside of the statement it would do nothing.  A failure says in err why nobody was registered; where the connection was
 * dropped because the hook did not end, the server ends it as soon as it notices. */
IA_MUST_USE enum ia_rc ia_db_register_asking(struct ia_db *db, const struct ia_registration *item, int timeout_ms,
                                             struct ia_hook_outcome *out, struct ia_err *err);

/* Put what the CA's hook did last into its problem; NULL: it works. */
IA_MUST_USE enum ia_rc ia_db_note_hook(struct ia_db *db, int64_t ca_id, const char *problem, struct ia_err *err);
