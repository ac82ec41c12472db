// SPDX-License-Identifier: ISC
/* Which sealed keys of the registry this broker cannot open: device_psk.problem, and the log.  Each row is opened when it
 * is read, so that a damaged row is known before its device comes.  Another broker may have another key file: each writes
 * only where what it finds is other than what the row says.  Worker thread. */
#pragma once

#include "psk/keyring.h"
#include "psk/table.h"
#include "worker/outbox.h"
#include "worker/sink.h"

struct ia_psk_problems;

/* Borrows both.  NULL: out of memory. */
struct ia_psk_problems *ia_psk_problems_new(struct ia_outbox *outbox, const struct ia_sink *sink);
void ia_psk_problems_free(struct ia_psk_problems *problems);

/* Open with these keys from now on: a copy.  True: they are other than before, so all rows must be read again.  Without
 * memory no row is checked. */
bool ia_psk_problems_use(struct ia_psk_problems *problems, const struct ia_keyring *keyring);

/* A row that was read just now. */
void ia_psk_problems_check(struct ia_psk_problems *problems, const struct ia_psk_row *row);

/* All rows follow: rows that do not open may be logged again. */
void ia_psk_problems_begin(struct ia_psk_problems *problems);
