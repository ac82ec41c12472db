// SPDX-License-Identifier: ISC
/* Does a listener take pre-shared keys?  OpenSSL does not say whether a context has a callback for keys.  But it chooses a
 * cipher suite with pre-shared keys only where there is one, so the answer is in the handshake of a client in this
 * process, which ends before any key is asked for.  Broker thread only. */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>

#define IA_PSK_HINT_SIZE 129 /* RFC 4279 section 5.3: up to 128 octets, and a NUL */

/* True: the context takes pre-shared keys, and `hint` is what it sends to clients ("": nothing), without control
 * characters.  It shows no trace of the question later.  Asks with TLS 1.2 and all suites, whatever the context allows. */
bool ia_psk_probe(SSL_CTX *listener, char hint[IA_PSK_HINT_SIZE]);

/* Is ia_psk_probe at work?  The listener's own callbacks let its handshake pass, because there is no connection. */
bool ia_psk_probe_is_under_way(void);
