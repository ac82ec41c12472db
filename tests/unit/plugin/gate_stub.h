// SPDX-License-Identifier: ISC
/* The gate's results without TLS: the test says what was made of a leaf. */
#pragma once

#include "tls/gate.h"

#define GATE_STUB_PORT 8883 /* where clients come that are not said to come elsewhere */

extern struct gate_stub {
    bool open;
    bool has_listeners;
    struct ia_gate_hooks hooks;
    struct {
        X509 *leaf;
        struct ia_chain chain;
        uint64_t generation;
        const char *address;
        uint16_t port;
    } results[16];
    size_t n_results;
    const char *peer;     /* of the handshake that is complete */
    const X509 *kept[16]; /* leaves whose TLS session may be resumed, in order */
    size_t n_kept;
    unsigned n_dropped, n_excluded;
    uint8_t dropped[IA_FINGERPRINT_LEN]; /* the last one */
} gate_stub;

/* The gate has seen this leaf (with `inter` beside it, may be NULL) under the snapshot of now, and calls its hooks, as
 * in a handshake.  False: it refused. */
bool gate_handshake(X509 *leaf, X509 *inter, const char *address);
bool gate_handshake_at(uint16_t port, X509 *leaf, X509 *inter, const char *address);
