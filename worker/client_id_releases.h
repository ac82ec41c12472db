// SPDX-License-Identifier: ISC
/* Who owned which client id when this broker ended, because Mosquitto 2.0 reports no session that it restores;
 * and client ids that administrators have released (iot_auth.release_client_id): every broker forgets their owners.  A
 * release is kept for an hour, for brokers that have no connection.  Worker thread. */
#pragma once

#include "common/error.h"
#include "sql/db.h"
#include "worker/sink.h"

struct ia_releases;

/* Borrows everything.  NULL: out of memory. */
struct ia_releases *ia_releases_new(struct ia_db *db, const char *node, const struct ia_sink *sink);
void ia_releases_free(struct ia_releases *releases);

/* Connected.  The first time, the owners of client ids are read and sent to the broker thread, before anything is
 * admitted; the releases that exist then are skipped, because their owners are not among those. */
IA_MUST_USE enum ia_rc ia_releases_begin(struct ia_releases *releases, struct ia_err *err);

/* A notification says that there are new releases. */
void ia_releases_notified(struct ia_releases *releases);

bool ia_releases_due(const struct ia_releases *releases);

/* Read a bounded number of them, and report them to the broker thread. */
IA_MUST_USE enum ia_rc ia_releases_read(struct ia_releases *releases, struct ia_err *err);
