// SPDX-License-Identifier: ISC
/* New devices: clients whose certificate is not in memory when their TLS handshake is complete.  The registry is asked
 * for the device then, and registers it where its CA allows that.  The connection is parked until the answer has been
 * applied, so that BASIC_AUTH decides from memory, as for any other client.  What is not parked (auth_wait_ms 0,
 * parked_max reached) is refused by BASIC_AUTH with an answer that invites a retry; the registration goes on.
 *
 * The client has proven that it has the certificate's key, so nobody can register a certificate that he has only seen.
 * Broker thread. */
#pragma once

#include "plugin/core.h"

#include <openssl/ssl.h>

struct ia_new_devices;

struct ia_new_devices *ia_new_devices_new(void); /* NULL when out of memory */
void ia_new_devices_free(struct ia_new_devices *devices);

/* A handshake is complete with this leaf, which the gate has verified. */
void ia_new_devices_arrive(struct ia_core *core, SSL *ssl, X509 *leaf, const uint8_t fingerprint[IA_FINGERPRINT_LEN]);

/* A handshake is complete with the pre-shared key of that identity. */
void ia_new_devices_arrive_with_psk(struct ia_core *core, SSL *ssl, const char *identity);

/* The registry's answer for that certificate or key has been applied. */
void ia_new_devices_answered(const uint8_t fingerprint[IA_FINGERPRINT_LEN]);

/* The database cannot be reached: no answer will come. */
void ia_new_devices_release_all(void);

/* From TICK: release the connections that have been parked for auth_wait_ms. */
void ia_new_devices_expire(struct ia_core *core);

/* A connection was released after that long: for the histogram.  Called by parking.c. */
void ia_new_devices_note_parked(void *core, int64_t held_us);

/* CONNECT has been read: a client with this leaf (NULL: none) speaks MQTT over TCP, or by WebSocket. */
void ia_new_devices_note_protocol(struct ia_core *core, const struct mosquitto *client, X509 *leaf);
