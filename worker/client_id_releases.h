// SPDX-License-Identifier: ISC
/* Client ids that administrators have released (iot_auth.release_client_id): every broker forgets their owners.  A
 * release is kept for an hour, for brokers that have no connection.  Worker thread. */
#pragma once

#include "common/error.h"
#include "sql/db.h"
#include "worker/sink.h"

struct ia_releases;

struct ia_releases *ia_releases_new(struct ia_db *db, const struct ia_sink *sink); /* NULL: out of memory */
void ia_releases_free(struct ia_releases *releases);

/* Connected, or a notification says that there are new ones.  At start-up those that exist are skipped: a broker that
 * has just started knows of no owner. */
void ia_releases_notified(struct ia_releases *releases);

bool ia_releases_due(const struct ia_releases *releases);

/* Read a bounded number of them, and report them to the broker thread. */
IA_MUST_USE enum ia_rc ia_releases_read(struct ia_releases *releases, struct ia_err *err);
