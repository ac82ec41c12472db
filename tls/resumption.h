// SPDX-License-Identifier: ISC
/* When a device may resume its TLS session on a listener of the gate: after an accepted login, and for as long as its chain
 * would be accepted.  A resumed handshake decides nothing.  It brings the leaf back that was verified in the full one, with
 * what hangs on it (leaf.h), and every decision is made at BASIC_AUTH as for a full handshake.  sessions.h keeps the
 * sessions.  Broker thread only. */
#pragma once

#include "access/snapshot.h"
#include "common/error.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

struct ia_resumption_options {
    bool on;
    int64_t max_sessions; /* at least 1 */
    int64_t
        session_seconds; /* after the full handshake, at least 1; a session ends with the chain's notAfter at the latest */
};

/* The snapshot as it is, or NULL.  Must not call any function of this header. */
typedef const struct ia_snapshot *ia_resumption_snapshot(void *ctx);

/* Begin.  Where it is off nothing is offered or kept. */
IA_MUST_USE enum ia_rc ia_resumption_open(const struct ia_resumption_options *options, ia_resumption_snapshot *snapshot,
                                          void *ctx, struct ia_err *err);

/* Forget all sessions, and keep no more. */
void ia_resumption_close(void);

/* Offer resumption to this connection, on the listener with that port; 0: not known, nothing is offered.  From the
 * ClientHello callback. */
void ia_resumption_offer(SSL *ssl, uint16_t port);

/* The login of a client with this leaf has been accepted, whose connection gave Mosquitto the client's address. */
void ia_resumption_keep(X509 *leaf);

/* The address of this leaf's client is known from its handshake only, as on WebSocket listeners of Mosquitto 2.0.15 to
 * 2.0.22: nothing is resumed there, since the leaf would bring an earlier connection's address back. */
void ia_resumption_exclude(X509 *leaf);

/* A client with this certificate was refused, or its rights have ended. */
void ia_resumption_drop(const uint8_t fingerprint[IA_FINGERPRINT_LEN]);

/* From TICK: when the CAs or their lists have changed, drop the sessions whose chain would be refused now, a thousand at a
 * time.  True: there are more to look at. */
bool ia_resumption_sweep(void);
