// SPDX-License-Identifier: ISC
/* The rows that the worker has yet to write to the database: parsed columns, problems, events, refusals, last connects,
 * counters.
 * It survives a lost connection.  It is bounded: where there is no room, the oldest row is dropped.  Worker thread. */
#pragma once

#include "sql/records.h"
#include "worker/channel.h"

struct ia_outbox;

struct ia_outbox *ia_outbox_new(const char *node_name); /* borrows the name; NULL: out of memory */
void ia_outbox_free(struct ia_outbox *outbox);

/* Queue one row.  Without memory or room it is dropped: no decision depends on these rows. */
void ia_outbox_ca(struct ia_outbox *outbox, int64_t ca_id, const struct ia_cert_info *info, const char *problem);
void ia_outbox_rule(struct ia_outbox *outbox, int64_t rule_id, const char *problem);
void ia_outbox_issuer(struct ia_outbox *outbox, const char *name, const char *problem);
void ia_outbox_issuer_note(struct ia_outbox *outbox, const char *name, const char *note);
void ia_outbox_psk(struct ia_outbox *outbox, const struct ia_psk_row *row, const char *problem);

/* These take the request over. */
void ia_outbox_event(struct ia_outbox *outbox, struct ia_request *request);
void ia_outbox_refusal(struct ia_outbox *outbox, struct ia_request *request);
void ia_outbox_owner(struct ia_outbox *outbox, struct ia_request *request);
void ia_outbox_connected(struct ia_outbox *outbox, struct ia_request *request);
void ia_outbox_counters(struct ia_outbox *outbox, struct ia_request *request);

/* Is there anything to write now?  Milliseconds until there is, -1: no row is queued. */
bool ia_outbox_due(const struct ia_outbox *outbox);
int64_t ia_outbox_wait_ms(const struct ia_outbox *outbox);

/* Write some of the rows: a bounded piece of work, so that requests get their turn in between.  Rows that could not be
 * written stay. */
IA_MUST_USE enum ia_rc ia_outbox_write(struct ia_outbox *outbox, struct ia_db *db, struct ia_err *err);

/* Refresh this node's row, prune old events now and then, and fill the columns of certificates registered by
 * hand; `cas` (NULL: not known yet) says whether one of them can be admitted. */
IA_MUST_USE enum ia_rc ia_outbox_heartbeat(struct ia_outbox *outbox, struct ia_db *db, const struct ia_ca_set *cas,
                                           struct ia_err *err);

/* The broker ends in good order: say so in its row.  Where that fails, the broker counts as lost. */
void ia_outbox_stopped(struct ia_outbox *outbox, struct ia_db *db);
