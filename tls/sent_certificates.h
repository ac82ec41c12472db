// SPDX-License-Identifier: ISC
/* What a peer sends as its certificates is looked at before OpenSSL parses it (x509/sent_list.h). */
#pragma once

#include <openssl/ssl.h>

/* `problem` is static; nothing of the client's certificates has been read. */
typedef void ia_sent_refused(const SSL *ssl, const char *problem);

/* From the ClientHello callback: watch this connection's handshake.  A Certificate message that would cost too much ends
 * it with the alert decode_error, after `refused` was called.  Compressed certificates (RFC 8879) are not asked for. */
void ia_sent_certificates_watch(SSL *ssl, ia_sent_refused *refused);

/* From the `new` callback of a client's context (libcurl's, libpq's, a bridge's), on any thread: the same for what servers
 * send there.  Nobody is called: the library that made the context reports the failure. */
void ia_sent_certificates_watch_servers(SSL_CTX *ctx);
