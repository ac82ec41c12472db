// SPDX-License-Identifier: ISC
/* Newcomers: clients whose certificate is not in memory when their TLS handshake is complete.  The registry is asked for
 * the device then, and registers it where its CA allows that.  The connection is parked until the answer has been
 * applied, so that BASIC_AUTH decides from memory, as for any other client.  What is not parked (auth_wait_ms 0,
 * parked_max reached) is refused by BASIC_AUTH with an answer that invites a retry; the registration goes on.
 *
 * The client has proven that it has the certificate's key, so a stranger who has seen a certificate cannot register
 * it.  Broker thread. */
#pragma once

#include "plugin/core.h"

#include <openssl/ssl.h>

struct ia_newcomers;

struct ia_newcomers *ia_newcomers_new(void); /* NULL when out of memory */
void ia_newcomers_free(struct ia_newcomers *newcomers);

/* A handshake is complete with this leaf, which the gate has verified. */
void ia_newcomers_arrive(struct ia_core *core, SSL *ssl, X509 *leaf, const uint8_t fingerprint[IA_FINGERPRINT_LEN]);

/* The registry's answer for that certificate has been applied. */
void ia_newcomers_answered(const uint8_t fingerprint[IA_FINGERPRINT_LEN]);

/* The database cannot be reached: no answer will come. */
void ia_newcomers_release_all(void);

/* TICK: whoever has been parked for auth_wait_ms goes on. */
void ia_newcomers_expire(struct ia_core *core);

/* CONNECT has been read: a client with this leaf (NULL: none) speaks MQTT over TCP, or by WebSocket. */
void ia_newcomers_note_protocol(struct ia_core *core, const struct mosquitto *client, X509 *leaf);
