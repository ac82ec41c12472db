// SPDX-License-Identifier: ISC
/* OpenSSL parses a client's certificates, keys included, before it calls anybody who could refuse them; only the message
 * callback sees them earlier.  It cannot refuse, and its buffer is const by declaration only: it is OpenSSL's own, and
 * is parsed after the callback has returned.  A message that must not be parsed gets lengths that do not fit, so that
 * OpenSSL ends the handshake at its first octets.  (Where a later OpenSSL passed a copy, the message would be parsed:
 * as without this file.) */
#include "tls/sent_certificates.h"

#include "tls/proxy.h"
#include "x509/sent_list.h"

#include <string.h>

#define HEADER_LEN    4 /* type and length of a handshake message */
#define LENGTH_OCTETS 4 /* context and list in TLS 1.3; the list, and an octet more, in TLS 1.2 */

/* RFC 8879 would let 16 KiB stand for 16 MiB of certificates: OpenSSL bounds what is sent, not what it inflates
 * (CVE-2025-66199).  OpenSSL 3.2 and newer; older headers do not have the name. */
#define NO_COMPRESSED_CERTIFICATES ((uint64_t)1 << 33) /* SSL_OP_NO_RX_CERTIFICATE_COMPRESSION */

/* Static, because the callbacks outlive the plugin. */
static ia_sent_refused *report_refused;

static void spoil_message(const uint8_t *message)
{
    memset((uint8_t *)(uintptr_t)message + HEADER_LEN, 0xFF, LENGTH_OCTETS);
}

static void on_message(int written, int version, int content, const void *buffer, size_t len, SSL *ssl, void *arg)
{
    const uint8_t *message = buffer;
    (void)arg;
    if (written || content != SSL3_RT_HANDSHAKE || len < HEADER_LEN + LENGTH_OCTETS ||
        message[0] != SSL3_MT_CERTIFICATE)
        return;
    const char *problem = ia_sent_list_problem(message + HEADER_LEN, len - HEADER_LEN, version >= TLS1_3_VERSION);
    if (!problem)
        return;
    spoil_message(message);
    if (SSL_is_server(ssl) && report_refused)
        report_refused(ssl, problem);
}

void ia_sent_certificates_watch(SSL *ssl, ia_sent_refused *refused)
{
    report_refused = refused;
    (void)SSL_set_options(ssl, NO_COMPRESSED_CERTIFICATES);
    if (!ia_proxy_passes_messages_on(ssl, on_message))
        SSL_set_msg_callback(ssl, on_message);
}

void ia_sent_certificates_watch_servers(SSL_CTX *ctx)
{
    (void)SSL_CTX_set_options(ctx, NO_COMPRESSED_CERTIFICATES);
    SSL_CTX_set_msg_callback(ctx, on_message);
}
