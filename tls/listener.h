// SPDX-License-Identifier: ISC
/* What a listener of the TLS gate offers and accepts before a client has proved anything: key exchange groups, bytes of
 * certificates, no CA names, no tickets, no pre-shared keys, and a server chain that is built once.  Broker thread only. */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

/* Once, before the first listener: false where OpenSSL gives no ex_data index. */
bool ia_tls_listener_init(void);

/* Prepare this connection, and its listener's context where that was not done since the server's certificate was loaded.
 * From the ClientHello callback.  False: memory is exhausted, the connection must be refused. */
bool ia_tls_listener_prepare(SSL *ssl, int max_chain_bytes);

/* Mosquitto loads the servers' certificates again (SIGHUP). */
void ia_tls_listener_reload(void);
