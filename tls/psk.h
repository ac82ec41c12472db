// SPDX-License-Identifier: ISC
/* The handshake of listeners with pre-shared keys (RFC 4279, RFC 5489, RFC 8446 section 4.2.11).
 *
 * Mosquitto's own way is an event (MOSQ_EVT_PSK_KEY) that comes before the client has proved anything and names a client
 * object that a later client may inherit.  Here the identity belongs to the SSL, and counts only where that very
 * handshake used the key.
 *
 * - Each connection gets its own callbacks in its ClientHello, so that Mosquitto's never run.
 * - Forward secrecy: ECDHE-PSK in TLS 1.2, psk_dhe_ke in TLS 1.3.  Plain PSK only where an administrator has asked for it.
 *   No DHE-PSK: it costs milliseconds of the broker thread before any proof.
 * - No tickets and no session cache: OpenSSL would ask the callback for a ticket's octets, and TLS 1.2 would resume
 *   without asking at all.
 * - No oracle: an identity without a usable key gets a key that nobody knows (derived from a secret of this process), and
 *   the handshake fails exactly as with a wrong key.
 *
 * The callbacks outlive the plugin; ia_tls_psk_close makes them refuse.  Broker thread only. */
#pragma once

#include "common/error.h"
#include "psk/identity.h"
#include "psk/seal.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ia_tls_psk_hooks {
    void *ctx;

    /* The key of identity[0..len), which may be any bytes.  NULL, with key[] and *key_len filled; or why there is no
     * usable key, a static text that is never sent to the client. */
    const char *(*find_key)(void *ctx, const char *identity, size_t len, uint8_t key[IA_PSK_KEY_MAX], size_t *key_len);

    /* The client has proved that it has the key of `identity`. */
    void (*proven)(void *ctx, SSL *ssl, const char *identity);

    /* The handshake failed.  `identity` as it was claimed, NULL where it cannot be an identity of the registry. */
    void (*refused)(void *ctx, SSL *ssl, const char *identity, const char *why);

    /* A client that had proved its key has disconnected, and nobody has asked for its identity, nor for that of any other
     * client of the listener's port before. */
    void (*unused)(void *ctx, const char *identity, uint16_t port);

    /* Something is wrong with a listener. */
    void (*warn)(void *ctx, const char *text);
};

/* From now on.  `allow_plain`: also plain PSK, without forward secrecy, in TLS 1.2.  IA_CRYPTO: OpenSSL gives no random
 * octets or no ex_data index. */
IA_MUST_USE enum ia_rc ia_tls_psk_open(const struct ia_tls_psk_hooks *hooks, bool allow_plain, struct ia_err *err);
void ia_tls_psk_close(void);

/* From TICK: examine the listeners that are new, and say what is wrong with them (hooks.warn).  `all_ports`: all listeners are
 * the gate's. */
void ia_tls_psk_examine_listeners(bool all_ports);

/* This connection's listener has a certificate: where it takes pre-shared keys, refuse them, and report each client that
 * shows one.  Mosquitto 2.1.2 goes on with the certificate after a wrong key, so a key proves nothing there. */
void ia_tls_psk_refuse_beside_certificate(SSL *ssl);

/* Is this a connection to a listener with pre-shared keys, that is without a certificate?  False while nothing is open. */
bool ia_tls_psk_concerns(const SSL *ssl);

/* Prepare this connection, and its context where that was not done.  From the ClientHello callback, also twice (RFC 8446
 * section 4.1.4).  False: the connection must be refused. */
bool ia_tls_psk_prepare(SSL *ssl);

/* The identity whose key the client `owner` has proved, and its connection: once, because CONNECT comes once a
 * connection.  `owner` is what Mosquitto keeps in an ex_data slot of the SSL, its `struct mosquitto`.  NULL: none.  Both live
 * as long as the connection.  *replaced: find_key no longer returns the key that the handshake proved, or
 * finds that it cannot be used any more.  The client is refused then, because it has proved nothing about the
 * present row and its device. */
const char *ia_tls_psk_take(const void *owner, SSL **ssl, bool *replaced);

/* The identity that was taken for this client, while the same connection lasts; NULL: none. */
const char *ia_tls_psk_taken(const void *owner);

/* Is the present key of the identity that was taken for this client still the key that its handshake proved?  The
 * opposite of `replaced`, at any later time.  False also without such a connection. */
bool ia_tls_psk_is_current(const void *owner);
