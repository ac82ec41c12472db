// SPDX-License-Identifier: ISC
/* Device records in the database: look-up, preload, registration. */
#pragma once

#include "common/error.h"
#include "sql/db.h"
#include "sql/records_types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void ia_device_rows_free(struct ia_device_rows *rows);

/* The calls below that read records never fail because of one row: a row that the server refuses to return, or that
 * does not decode, comes with a `fault` (sql/records_types.h).  The caller owns *out.
 *
 * The record of one certificate: no row, or one. */
IA_MUST_USE enum ia_rc ia_db_device_by_fingerprint(struct ia_db *db, const uint8_t fingerprint[IA_FINGERPRINT_LEN],
                                                   struct ia_device_rows **out, struct ia_err *err);

/* All certificates of the devices ids[0..n), in no order; ids that do not exist give no row. */
IA_MUST_USE enum ia_rc ia_db_devices_by_id(struct ia_db *db, const char *const *ids, size_t n,
                                           struct ia_device_rows **out, struct ia_err *err);

/* Only the statuses of the devices ids[0..n), ordered by device id (bytes) and fingerprint; other members are empty.
 * Works also while another table, which whole records are joined from, is locked.  A device without a certificate has
 * one row, whose fingerprint is zero.  All rows or an error: a device without a row is deleted. */
IA_MUST_USE enum ia_rc ia_db_device_states(struct ia_db *db, const char *const *ids, size_t n,
                                           struct ia_device_rows **out, struct ia_err *err);

#define IA_DEVICE_PAGE 2000 /* records at most of one page */

/* Where reading all records page by page has come to; zeroed at the beginning. */
struct ia_device_cursor {
    uint8_t after[IA_FINGERPRINT_LEN];
    bool begun, end;
};

/* Read the next page of all records, by fingerprint, and move the cursor.  At the end the page is empty and cursor->end
 * set.  A page costs the server some 40 ms of CPU, and other calls have their turn in between. */
IA_MUST_USE enum ia_rc ia_db_device_page(struct ia_db *db, struct ia_device_cursor *cursor, struct ia_device_rows **out,
                                         struct ia_err *err);

#define IA_DEVICE_PARTS 2

/* Called with IA_DEVICE_BATCH rows or (at the end) fewer, valid during the call only.  Anything but IA_OK ends the
 * reading; say why in err. */
#define IA_DEVICE_BATCH 4096
typedef enum ia_rc ia_device_batch_fn(void *ctx, const struct ia_device_rows *batch, struct ia_err *err);

/* Read part number `part` (0 to IA_DEVICE_PARTS - 1) of all records, in no order, as a stream.  A million rows cost the
 * server 3 s of CPU in all parts, against 20 s by pages, because it joins whole tables instead of looking up each row.
 * In between the parts the connection is free for other calls; each part shows what was committed when it began.  The
 * time limit is for the server to send something, not for the whole.  When `fn` ends the reading, the connection is
 * dropped; it is kept when the server refuses the statement, also in the middle: for now (IA_UNAVAILABLE: a table is
 * locked), or because of a row (IA_FORMAT), which ia_db_device_page would find.  After any failure, what was handed
 * over is not all. */
IA_MUST_USE enum ia_rc ia_db_device_part(struct ia_db *db, int part, ia_device_batch_fn *fn, void *ctx,
                                         struct ia_err *err);

/* A stream as above of the statuses alone (as ia_db_device_states), in no order, of all certificates and keys of which the
 * device or they themselves are not ACTIVE: what closes. */
IA_MUST_USE enum ia_rc ia_db_closed_devices(struct ia_db *db, ia_device_batch_fn *fn, void *ctx, struct ia_err *err);

/* The registration of certificate `info` of `device_id` under CA `ca_id`, just in time (ia_db_batch_register).  The
 * database checks everything again in its own transaction; repeating it finds the existing record.  Texts are borrowed. */
struct ia_registration {
    const struct ia_cert_info *info;
    const char *device_id;
    int64_t ca_id;
    const char *node;
    const char *address;   /* the client's, or NULL */
    const char *terms;     /* of the CA, that device_id and provision were made with (struct ia_ca_row), or NULL */
    const char *provision; /* JSON (jitr/provisioning.h), or NULL */
};

struct ia_registered {
    const char *outcome;                /* "known", "registered", or a reason (common/reason.h) */
    const char *detail;                 /* registered: JSON of the event to publish; a reason: for people; or NULL */
    const struct ia_device_row *device; /* the record as it is now; NULL: there is none */
};
