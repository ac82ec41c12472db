// SPDX-License-Identifier: ISC
/* Status events: rows that the triggers of iot_auth write into iot_auth.event when an administrator changes a status.
 * Every broker publishes each of them once.  Worker thread. */
#pragma once

#include "common/error.h"
#include "sql/db.h"
#include "worker/sink.h"

struct ia_status_events;

struct ia_status_events *ia_status_events_new(struct ia_db *db, const struct ia_sink *sink); /* NULL: out of memory */
void ia_status_events_free(struct ia_status_events *events);

/* Connected.  The first time, the events that exist are skipped; from the second time on, the events that were written
 * while there was no connection are due. */
IA_MUST_USE enum ia_rc ia_status_events_begin(struct ia_status_events *events, struct ia_err *err);

/* A notification names new events. */
void ia_status_events_notified(struct ia_status_events *events, const struct ia_notification *notification);

bool ia_status_events_due(const struct ia_status_events *events);

/* Publish a bounded number of the events that are due. */
IA_MUST_USE enum ia_rc ia_status_events_publish(struct ia_status_events *events, struct ia_err *err);
