// SPDX-License-Identifier: ISC
/* The key exchange groups of the gate's listeners (RFC 8446 section 4.2.7). */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>

/* Restrict the groups of this connection, before OpenSSL chooses one: from the ClientHello callback.  False: OpenSSL knows
 * none of them.  Broker thread. */
bool ia_tls_groups_restrict(SSL *ssl);
