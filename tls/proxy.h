// SPDX-License-Identifier: ISC
/* The client's address behind a balancer, under TLS.  Mosquitto takes the PROXY protocol on no listener that verifies
 * certificates, so the plugin takes its header: when a handshake starts, the first stage of read_bio.h reads exactly the
 * header from the socket, notes the address, and releases the reads; TLS begins behind it.
 *
 * A connection from a network of `proxy_from` must begin with a header of version 2.  From any other address a header is
 * what it is to TLS: garbage.  So nobody but the balancer can say what a client's address is.
 *
 * In BASIC_AUTH the connection is found by the client's pointer.  Mosquitto says nowhere which SSL a client has, so the
 * first time it is the connection whose application data was read last, of the same certificate (or none).  A packet is
 * processed as soon as its last record is read, on this thread, so that is the client's own.  Two kinds of clients cannot be
 * found that way: WebSockets, because libwebsockets may keep bytes back, and TLS 1.2, which reports a record before it is
 * there as a whole.  Of theirs a device has the address of its full handshake, so its session is not kept, and an app's
 * counts as unknown.  Broker thread only. */
#pragma once

#include "common/error.h"

#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>

/* Begin, for the networks of `from` (CIDRs separated by commas).  IA_USAGE says which of them is none. */
IA_MUST_USE enum ia_rc ia_proxy_open(const char *from, struct ia_err *err);
void ia_proxy_close(void);

/* A listener's handshake starts.  Does nothing where the socket's peer is in no network of proxy_from. */
void ia_proxy_handshake_started(SSL *ssl);

/* OpenSSL has one message callback for each connection, and connections with a header have theirs from here.  True: it will
 * call `also` for each message.  False: not such a connection. */
typedef void ia_message_callback(int written, int version, int content, const void *bytes, size_t len, SSL *ssl,
                                 void *arg);
bool ia_proxy_passes_messages_on(const SSL *ssl, ia_message_callback *also);

/* The address that a header named for the connection with that socket.  False: none did. */
bool ia_proxy_address_of(int fd, char out[INET6_ADDRSTRLEN]);

/* What BASIC_AUTH is to take for the address of `client`, which shows `leaf` (NULL: no certificate) and whose socket's
 * address is `socket`: that of its header; `socket` itself where no header is involved; NULL where it cannot be known.  The
 * text lives as long as the connection. */
const char *ia_proxy_client_address(const void *client, X509 *leaf, bool websocket, const char *socket);

struct ia_proxy_counts {
    uint64_t connections; /* with a header */
    uint64_t refused;     /* from proxy_from, without a header that is accepted */
};
struct ia_proxy_counts ia_proxy_counts(void);
