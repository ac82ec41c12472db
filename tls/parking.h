// SPDX-License-Identifier: ISC
/* Parking: hold a connection back in its socket after the TLS handshake, until the registry has answered for its
 * certificate.  Mosquitto goes on serving the others; it reads the CONNECT, which lies in the socket meanwhile, when the
 * connection is released, and BASIC_AUTH then finds the device's record in memory.
 *
 * Two means, both public interfaces:
 * - a stage of read_bio.h answers each read with "retry", so that SSL_read reports WANT_READ, as between two packets of any
 *   client;
 * - SO_RCVLOWAT keeps epoll silent for as long as the client has sent less than that, so that the broker does not spin.
 *   Setting it back to 1 makes Linux evaluate the socket's readiness again, which wakes epoll (tcp_set_rcvlowat).
 *
 * A parked socket becomes readable all the same when the client has sent PARKED_BYTES_MAX bytes, has filled its window,
 * or has closed.  The connection is then released at once, since epoll would not be silent any more: five clients
 * without this rule took 82 % of a core.  BASIC_AUTH finds no record and refuses; the registration goes on.
 *
 * Everything is bounded: the number of parked connections, and the time of each.  No pointer outlives its object: an SSL
 * that is freed takes its place in the table along.  Broker thread only. */
#pragma once

#include "common/error.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IA_PARKING_KEY_LEN 32

struct ia_parking_settings {
    size_t max; /* connections at a time, at least 1 */
    void *ctx;
    void (*released)(void *ctx, int64_t held_us); /* a connection goes on after that long; may be NULL */
};

/* Begin.  IA_CRYPTO where OpenSSL gives no ex_data index. */
IA_MUST_USE enum ia_rc ia_parking_open(const struct ia_parking_settings *settings, struct ia_err *err);

/* Release all connections, and take no more. */
void ia_parking_close(void);

/* Hold this connection back until the answer for `key` (a certificate's SHA-256) or until `until_us` of the monotonic
 * clock, whichever comes first.  The handshake must be complete.  False: it goes on at once, because `max` is reached,
 * memory is exhausted, the socket is not a TCP socket of Linux, or the client has sent too much already.  A connection is
 * parked once in its life: true while it is parked, false ever after. */
bool ia_parking_hold(SSL *ssl, const uint8_t key[IA_PARKING_KEY_LEN], int64_t until_us);

/* The answer for `key` has been applied: release all connections that wait for it. */
void ia_parking_release(const uint8_t key[IA_PARKING_KEY_LEN]);

/* Release the connections whose time has come.  Call it at least every 100 ms while ia_parking_count is not 0. */
void ia_parking_expire(int64_t now_us);

size_t ia_parking_count(void);
