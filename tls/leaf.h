// SPDX-License-Identifier: ISC
/* What the gate hangs on a certificate that it has verified (X509 ex_data): plain data, no pointers into a snapshot.  Only
 * the very object that was verified has it, never a copy.  A resumed TLS session brings the object of its full handshake
 * back, so nothing here may belong to one connection alone, with the exception that is named below.
 * Broker thread only. */
#pragma once

#include "x509/chain.h"

#include <arpa/inet.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdint.h>

struct ia_leaf {
    uint64_t generation;            /* of the CAs under which `chain` was judged last */
    int64_t verified_at;            /* the full handshake, seconds since 1970 */
    uint16_t port;                  /* the listener's; its sessions are resumed on no other */
    char address[INET6_ADDRSTRLEN]; /* of the client; "" once more than one connection may show this object */
    struct ia_chain *chain;         /* owned; cut behind its last link (ia_chain_copy) */
};

/* Once a process: false where OpenSSL gives no ex_data index. */
bool ia_leaf_init(void);

/* Attach the chain to the leaf, in place of an earlier one.  NULL: out of memory, and the leaf has none. */
struct ia_leaf *ia_leaf_attach(X509 *leaf, const struct ia_chain *chain);

/* The certificate's SHA-256, which the gate has computed where it has verified this object.  False: out of memory. */
bool ia_leaf_fingerprint(X509 *leaf, uint8_t out[IA_FINGERPRINT_LEN]);
bool ia_leaf_has_fingerprint(X509 *leaf, const uint8_t fingerprint[IA_FINGERPRINT_LEN]);

/* What hangs on this object, which lives as long; NULL: the gate has not verified it. */
struct ia_leaf *ia_leaf_get(X509 *leaf);
