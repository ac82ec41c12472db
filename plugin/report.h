// SPDX-License-Identifier: ISC
/* What is reported of a decision: one log line, a counter, an event row.  Broker thread. */
#pragma once

#include "plugin/audit_entry.h"
#include "plugin/core.h"

void ia_report_accepted(struct ia_core *core, const struct ia_audit_entry *entry);

/* A refusal: counted and logged each time; an event once per transition for a registered device,
 * limited for unregistered ones. */
void ia_report_refused(struct ia_core *core, struct ia_audit_entry *entry, enum ia_reason reason);

/* A live session was ended by us: an event each time, limited where the client can bring that about by itself.
 * `client_id` as it was: Mosquitto may have freed its own copy. */
void ia_report_ended(struct ia_core *core, const struct ia_client *client, const char *client_id,
                     enum ia_reason reason);

/* A device was registered just now; `event` is the text of the row that the registration has written. */
void ia_report_registered(struct ia_core *core, const struct ia_device *device, const char *event);

/* Publish `json` under <event_prefix>/<kind>. */
void ia_report_publish(const struct ia_core *core, const char *kind, const char *json);

/* Publish the counters under $SYS/broker/iot-auth/, and hand them to the worker for iot_auth.node. */
void ia_report_counters(struct ia_core *core);

/* A live session was denied a topic: entry->detail says which, and by which rule. */
void ia_report_denied(struct ia_core *core, const struct ia_audit_entry *entry);
