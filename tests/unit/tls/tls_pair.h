// SPDX-License-Identifier: ISC
/* A TLS connection over loopback with both of its ends in the test, for suites of what happens in and after handshakes. */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

struct tls_pair {
    SSL *server, *client;
    int server_fd, client_fd;
    uint16_t port; /* the server's */
};

/* A listener's context with a certificate of its own; verify_mode as SSL_CTX_set_verify takes it. */
SSL_CTX *tls_server_ctx(int verify_mode);

/* A client's context, of one TLS version (TLS1_2_VERSION …; 0: any).  `leaf` (pki.h) and `key` (make_cert.h): its
 * certificate, NULL: none. */
SSL_CTX *tls_client_ctx(int version, const char *leaf, const char *key);

/* Connected sockets, non-blocking; receive_buffer: of the server, 0: the system's. */
struct tls_pair tls_pair_connect(SSL_CTX *server, SSL_CTX *client, int receive_buffer);

/* Run the handshake to its end at both sides.  True: the server accepts. */
bool tls_pair_handshake(struct tls_pair *pair);

/* Send to the other end, and read there what has come: "" where nothing has. */
void tls_client_sends(const struct tls_pair *pair, const char *text);
const char *tls_server_reads(const struct tls_pair *pair);

/* The same; waits until something has come. */
const char *tls_server_receives(const struct tls_pair *pair);

/* SSLs and sockets; without close_notify. */
void tls_pair_close(struct tls_pair *pair);
