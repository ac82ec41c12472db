// SPDX-License-Identifier: ISC
/* Pre-shared keys in the database, sealed. */
#pragma once

#include "common/error.h"
#include "psk/table.h"
#include "sql/db.h"

#include <stddef.h>

#define IA_PSK_PAGE 2000 /* rows at most of one page */

/* Immutable; texts and octets live as long as this. */
struct ia_psk_rows {
    const struct ia_psk_row *rows;
    size_t n;
};

/* The rows behind the identity `after` ("": from the beginning), in order: up to IA_PSK_PAGE.  The caller owns *out. */
IA_MUST_USE enum ia_rc ia_db_psk_page(struct ia_db *db, const char *after, struct ia_psk_rows **out,
                                      struct ia_err *err);

/* The rows of identities[0..n), in no order; identities that do not exist give no row. */
IA_MUST_USE enum ia_rc ia_db_psks_by_identity(struct ia_db *db, const char *const *identities, size_t n,
                                              struct ia_psk_rows **out, struct ia_err *err);
void ia_psk_rows_free(struct ia_psk_rows *rows);
