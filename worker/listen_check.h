// SPDX-License-Identifier: ISC
/* Do notifications arrive?  With each heartbeat the worker notifies itself of a nonce.  A session that has lost its LISTEN
 * (a pooler in transaction mode gives its place to others) looks healthy and sees no revocation: two nonces that do not
 * come back say so.  Worker thread. */
#pragma once

#include "common/error.h"
#include "sql/db.h"
#include "worker/sink.h"

#include <stdbool.h>
#include <stdint.h>

#define IA_NONCE_SIZE 33 /* 128 bits in hex: another role that notifies junk must not answer for the server */

struct ia_listen_check {
    char nonce[IA_NONCE_SIZE]; /* the last one sent, "" before the first */
    unsigned unanswered;       /* nonces in a row that have not come back */
    bool heard;                /* the last one has */
    bool logged;               /* that none comes back */
};

/* A new connection: nothing is known. */
void ia_listen_check_begin(struct ia_listen_check *check);

/* A nonce has arrived, ours or another broker's. */
void ia_listen_check_heard(struct ia_listen_check *check, const char *nonce);

/* Did two nonces in a row not come back? */
bool ia_listen_check_is_deaf(const struct ia_listen_check *check);

/* With each heartbeat: log whether notifications arrive, where that has changed, and send the next nonce.  Only a lost
 * connection is a failure: a nonce that cannot be sent counts as one that did not come back.  `resync_s`: for the log, when
 * changes are seen instead. */
IA_MUST_USE enum ia_rc ia_listen_check_run(struct ia_listen_check *check, struct ia_db *db, const struct ia_sink *sink,
                                           int64_t resync_s, struct ia_err *err);

/* ---- for the tests: a step of ia_listen_check_run */

/* A heartbeat is due: the nonce to send with it.  NULL: no random numbers, none is sent and none is missed. */
const char *ia_listen_check_next(struct ia_listen_check *check);
