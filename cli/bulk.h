// SPDX-License-Identifier: ISC
/* Many devices at once: all are copied into a temporary table, checked there, and only then written, in one transaction.
 * Nothing is written where one is bad, unless the others are wanted. */
#pragma once

#include "cli/call.h"
#include "cli/registry.h"

#include <stdint.h>

enum ia_bulk_column {
    IA_BULK_DEVICE_ID,
    IA_BULK_CA_NAME,
    IA_BULK_STATUS,
    IA_BULK_TENANT,
    IA_BULK_ATTRIBUTES,
    IA_BULK_ROLES,
    IA_BULK_FINGERPRINT,
    IA_BULK_COLUMNS
};

/* The names of the columns in a file. */
extern const char *const ia_bulk_names[IA_BULK_COLUMNS];

struct ia_bulk_line {
    int64_t number;
    const char *source;                  /* for reports: NULL: "line N", else a file */
    const char *values[IA_BULK_COLUMNS]; /* NULL: not given */
    const char *pem;                     /* the certificate, or NULL */
    const char *problem;                 /* why it cannot be used, as far as known; or NULL */
};

struct ia_bulk;

/* Begin: a transaction with the temporary table, ready for lines.  NULL: the error has been printed, and
 * ia_registry_status has its exit status. */
struct ia_bulk *ia_bulk_begin(struct ia_registry *registry, const struct ia_call *call);

/* Add one line; false: the connection is lost, or there is no memory. */
bool ia_bulk_add(struct ia_bulk *bulk, const struct ia_bulk_line *line);

/* Check all lines, report bad and existing ones, and write what is to be written (--skip-bad, --dry-run).  Frees `bulk`.
 * Returns an ia_exit. */
int ia_bulk_finish(struct ia_bulk *bulk);
void ia_bulk_abort(struct ia_bulk *bulk);
