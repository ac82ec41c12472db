// SPDX-License-Identifier: ISC
/* What a listener with pre-shared keys may negotiate: ECDHE-PSK (RFC 5489) in TLS 1.2, plain PSK (RFC 4279) only where an
 * administrator has asked for it, TLS 1.3 with psk_dhe_ke (RFC 8446 section 4.2.9).  No tickets, no session cache, no
 * renegotiation.  Broker thread only. */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>

struct ia_psk_suites {
    bool allow_plain;                               /* also plain PSK, without forward secrecy, in TLS 1.2 */
    int ctx_index;                                  /* ex_data: marks the contexts that are restricted */
    void (*warn)(void *warn_ctx, const char *text); /* something is wrong with a listener */
    void *warn_ctx;
};

/* Restrict the listener's context, once.  `rules` must live as long as the context.  False: its connections must be
 * refused, which the log explains once for each listener. */
bool ia_psk_suites_restrict_listener(struct ia_psk_suites *rules, SSL_CTX *ctx);

/* The same for the connection's context and the connection. */
bool ia_psk_suites_restrict(struct ia_psk_suites *rules, SSL *ssl);
