// SPDX-License-Identifier: ISC
/* Registrations of certificates in batches, of which several may be under way: the next batch is sent while
 * the server still commits the last one.  Each batch is a transaction of its own, and their results come in the order in
 * which they were sent.
 *
 * Begin, then send and receive; when everything was received, end.  In between no other call may use the connection.
 * A batch that the server refuses with the connection sound leaves the others alone. */
#pragma once

#include "common/error.h"
#include "sql/db.h"
#include "sql/devices.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IA_DB_BATCH_MAX 256 /* items of one batch */

IA_MUST_USE enum ia_rc ia_db_batch_begin(struct ia_db *db, struct ia_err *err);

/* Send the registration of items[0..n), all of this node. */
IA_MUST_USE enum ia_rc ia_db_batch_register(struct ia_db *db, const struct ia_registration *items, size_t n,
                                            const char *node, struct ia_err *err);

/* Wait for the result of the oldest batch (*ready: it is there), a wake-up, a notification or the end of wait_ms, whichever
 * is first; 0: only look.  The connection is dropped when the result does not come within the query timeout. */
IA_MUST_USE enum ia_rc ia_db_batch_wait(struct ia_db *db, int64_t wait_ms, bool *ready, struct ia_err *err);

/* Receive the result of the oldest batch, of n items: items[i] is the outcome of item i.
 * Beyond the outcomes of struct ia_registered there is "busy": a row that the item needs is locked by another transaction, and
 * nothing was done for this item.  The caller owns *out. */
struct ia_registered_items {
    const struct ia_registered *items;
    size_t n;
};
IA_MUST_USE enum ia_rc ia_db_batch_registered(struct ia_db *db, size_t n, struct ia_registered_items **out,
                                              struct ia_err *err);
void ia_registered_items_free(struct ia_registered_items *items);

/* Was a batch refused because its statement is no longer prepared (a pooler has given the session another server
 * process)?  Then end before more batches are sent: that prepares them again. */
bool ia_db_batch_must_end(const struct ia_db *db);

/* Nothing is under way any more. */
IA_MUST_USE enum ia_rc ia_db_batch_end(struct ia_db *db, struct ia_err *err);

/* Has a notification arrived that was not taken with ia_db_notification? */
bool ia_db_has_notification(struct ia_db *db);
