// SPDX-License-Identifier: ISC
/* TLS sessions of devices, for resumption (RFC 5246 section 7.3, RFC 8446 section 2.2).  Stateful: what the client holds
 * is a random identifier, and the session with the verified certificate stays here.  A resumed handshake saves both
 * sides the certificates and the signatures; it decides nothing: BASIC_AUTH makes every decision again, from the data of
 * the verified leaf, which the session keeps.
 *
 * - One session for each leaf.  A new one replaces it, so a device that connects in a loop pushes no other out.
 * - OpenSSL makes a TLS 1.3 session before BASIC_AUTH has decided.  It waits with its connection, and is kept only when
 *   the login is accepted.
 * - A session is not used where its leaf would be refused now: then the handshake is a full one, which refuses with the
 *   right alert.
 *
 * OpenSSL's own cache is off: it would keep the sessions of refused clients.  Broker thread only. */
#pragma once

#include "common/error.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IA_TLS_LEAF_ID_LEN 32 /* SHA-256 of the certificate */

struct ia_tls_session_settings {
    size_t max;      /* sessions kept, at least 1; the least recently used one makes room */
    int64_t seconds; /* that a session can be resumed after its handshake, at least 1 */
    void *ctx;

    /* The id of a leaf that the gate has verified, or NULL: its sessions are not kept. */
    const uint8_t *(*leaf_id)(void *ctx, X509 *leaf);

    /* Would the chain of this leaf be accepted as things are now?  Must not call any function of this header. */
    bool (*is_acceptable)(void *ctx, X509 *leaf);
};

/* Begin.  IA_CRYPTO where OpenSSL gives no ex_data index. */
IA_MUST_USE enum ia_rc ia_tls_sessions_open(const struct ia_tls_session_settings *settings, struct ia_err *err);

/* Forget all sessions, and keep no more. */
void ia_tls_sessions_close(void);

/* Offer resumption to this connection, on the listener with that port: a session is valid on the port that it was made
 * on.  From the ClientHello callback.  False where it was not begun, or memory is exhausted: then there is no
 * resumption, as SSL_OP_NO_TICKET and SSL_SESS_CACHE_OFF have it. */
bool ia_tls_sessions_offer(SSL *ssl, uint16_t port);

/* Offer no resumption on that port from now on. */
void ia_tls_sessions_exclude(uint16_t port);

/* The login of a connection with this leaf has been accepted at `now`; its session can be resumed up to `until` (both in
 * seconds since 1970).  A session that was made with another object of the same certificate is of another connection,
 * which may not be decided yet: that one is not kept. */
void ia_tls_sessions_keep(X509 *leaf, int64_t now, int64_t until);

/* A client with this leaf was refused, or its rights have ended. */
void ia_tls_sessions_drop(const uint8_t leaf_id[IA_TLS_LEAF_ID_LEN]);

/* Ask of all kept sessions whether they are acceptable, and drop those that are not: up to `n` of them a call.  True: there
 * are more to ask of. */
void ia_tls_sessions_sweep_begin(void);
bool ia_tls_sessions_sweep(size_t n);

/* ---- for the tests */

size_t ia_tls_sessions_count(void);
