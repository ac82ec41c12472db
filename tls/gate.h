// SPDX-License-Identifier: ISC
/* The TLS gate: takes the check of client certificate chains over from Mosquitto, which knows files only.
 *
 * OpenSSL reports each SSL_CTX made after ia_gate_open (ex_data `new` callback); on those of listeners hooks are
 * set:
 * - ClientHello: an address that the GLOBAL lists deny is refused before any key operation.  What a client may ask
 *   for before it has proved anything is bounded: key exchange groups, and the bytes of its certificates.  Tickets are
 *   off, with which a client would bring its own verification along; resumption is stateful (resumption.h).
 * - verify: leaf and whatever the client sent → chain to a registered CA; the result is hung on the leaf as plain data,
 *   where BASIC_AUTH finds it.
 * - the end of the handshake: the client has proven that it has the leaf's key, so its connection may be parked.
 *
 * The gate changes nothing on other ports, and a certificate that was shown there is not a credential.
 *
 * The callbacks outlive the plugin (OpenSSL keeps the pointers; the library is linked -z nodelete): ia_gate_close makes
 * them deny.  Broker thread only. */
#pragma once

#include "access/snapshot.h"
#include "acl/ip.h"
#include "tls/resumption.h"
#include "x509/chain.h"

#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#define IA_GATE_PORTS_MAX 32

enum ia_gate_mode { IA_GATE_OFF, IA_GATE_ALL, IA_GATE_PORTS };

/* Which listeners are the gate's, and what their clients may send. */
struct ia_gate_options {
    enum ia_gate_mode mode;
    uint16_t ports[IA_GATE_PORTS_MAX];
    unsigned n_ports;
    int64_t max_chain_bytes; /* of the certificates that a client sends */
    char *proxy_from;        /* networks whose connections begin with a PROXY header; NULL: none */
    struct ia_resumption_options resumption;
};

struct ia_gate_hooks {
    void *ctx;
    const struct ia_snapshot *(*snapshot)(void *ctx); /* the newest one, which may be adopted now, or NULL */
    ia_resumption_snapshot *peek_snapshot;            /* the one that was adopted last, or NULL */

    /* The handshake is complete: the client has the key of `leaf`, whose chain was accepted.  Nothing of what it has sent
     * since has been read, and the connection may be parked. */
    void (*proven)(void *ctx, SSL *ssl, X509 *leaf, const struct ia_chain *chain);

    /* The handshake was refused.  `chain` NULL: by its address; `leaf` NULL: without a certificate. */
    void (*refused)(void *ctx, const char *address, const struct ia_chain *chain, X509 *leaf);
};

/* Begin to watch for listeners.  Once a process: IA_USAGE the second time. */
IA_MUST_USE enum ia_rc ia_gate_open(const struct ia_gate_options *options, const struct ia_gate_hooks *hooks,
                                    struct ia_err *err);
void ia_gate_close(void);

/* Has any listener context been seen?  If there are TLS listeners and this is false, Mosquitto uses another OpenSSL. */
bool ia_gate_has_listeners(void);

enum ia_gate_leaf {
    IA_LEAF_FOREIGN,  /* not verified by the gate: no credential */
    IA_LEAF_VERIFIED, /* *chain is what was decided, under CA generation *generation */
};

/* What the gate made of this leaf. */
enum ia_gate_leaf ia_gate_result(X509 *leaf, struct ia_chain *chain, uint64_t *generation);

/* The address that a leaf verified here came from, which lives as long as the leaf; NULL for a foreign one, and where
 * the leaf may be of more than one connection. */
const char *ia_gate_address(X509 *leaf);

/* The listener's port that it came to; 0 for a foreign one. */
uint16_t ia_gate_port(X509 *leaf);

/* The address of this connection's client; "": not known. */
void ia_gate_peer_address(const SSL *ssl, char out[INET6_ADDRSTRLEN]);
