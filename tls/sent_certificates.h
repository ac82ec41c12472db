// SPDX-License-Identifier: ISC
/* What a client sends as its certificates is looked at before OpenSSL parses it (x509/sent_list.h).  Broker thread only. */
#pragma once

#include <openssl/ssl.h>

/* `problem` is static; nothing of the client's certificates has been read. */
typedef void ia_sent_refused(const SSL *ssl, const char *problem);

/* From the ClientHello callback: watch this connection's handshake.  A Certificate message that would cost too much ends
 * it with the alert decode_error, after `refused` was called.  Compressed certificates (RFC 8879) are not asked for. */
void ia_sent_certificates_watch(SSL *ssl, ia_sent_refused *refused);
