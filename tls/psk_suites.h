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
    void (*warn)(void *warn_ctx, const char *text); /* something is wrong with a listener; a static text */
    void *warn_ctx;
    bool warned; /* of a listener that cannot be restricted: once */
};

/* Restrict the connection's context, once, and the connection.  `rules` must live as long as the context.  False: the
 * connection must be refused, which the log explains once. */
bool ia_psk_suites_restrict(struct ia_psk_suites *rules, SSL *ssl);
