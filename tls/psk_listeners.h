// SPDX-License-Identifier: ISC
/* The broker's TLS listeners, as OpenSSL shows them: contexts.  A plugin sees no listener's configuration, so what is wrong
 * with one for pre-shared keys is found in its context, once it is complete.  Broker thread only. */
#pragma once

#include "tls/psk_suites.h"

#include <openssl/ssl.h>
#include <stdbool.h>

/* A context of a listener was made just now, and is not complete; or it is being freed. */
void ia_psk_listeners_add(SSL_CTX *ctx);
void ia_psk_listeners_remove(const SSL_CTX *ctx);

/* Examine the listeners that are new, when Mosquitto has completed them: from TICK.  One with a certificate and psk_hint is
 * named, because it admits nobody by a key.  With `restrict_them` one with psk_hint alone is restricted to the suites
 * that `rules` allow, which says what is missing there. */
void ia_psk_listeners_examine(struct ia_psk_suites *rules, bool restrict_them);

/* Is this a listener with a certificate that takes pre-shared keys?  Known once it has been examined. */
bool ia_psk_listener_is_mixed(const SSL_CTX *ctx);
