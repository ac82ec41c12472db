// SPDX-License-Identifier: ISC
/* The line that says what runs here and where its database is. */
#pragma once

#include "sql/db.h"
#include "worker/sink.h"

/* Log the connection of `db`, which is there, with the versions at both ends.  `program`: those of this side, may be NULL.
 * A connection that others can read is a warning. */
void ia_connection_log(const struct ia_db *db, const char *program, const struct ia_sink *sink);
