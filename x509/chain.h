// SPDX-License-Identifier: ISC
/* Chain verification against the registered CAs (RFC 5280 section 6, with partial chains). */
#pragma once

#include "common/reason.h"
#include "x509/ca_set.h"

#include <openssl/x509.h>
#include <stdbool.h>
#include <stdint.h>

#define IA_CHAIN_MAX     8  /* certificates of a chain, leaf and anchor included */
#define IA_CHAIN_CAS_MAX 64 /* registered CAs on and above a chain whose address rules apply */

/* What all signature checks of one connection may cost, in the unit of key_cost.c (about a microsecond): the one of the
 * handshake itself and, for instance, 36 with P-256 or 3 with P-384.  So the most expensive connection costs the broker
 * about five times as much as the usual one (bench/chain.c). */
#define IA_CHAIN_COST_MAX 3800

/* What is kept of one certificate of a verified chain, so that the chain can be revalidated without certificates. */
struct ia_chain_link {
    uint8_t fingerprint[IA_FINGERPRINT_LEN];
    uint8_t name_key_hash[32]; /* SHA-256 over subject name and public key: finds same-key CAs */
    uint8_t serial[IA_SERIAL_MAX];
    uint8_t serial_len;
};

/* The result of one verification: plain data, no pointers, safe to keep and to copy. */
struct ia_chain {
    enum ia_reason reason; /* IA_R_NONE: the chain is good */
    int x509_error;        /* X509_V_ERR_*: gives the client the right TLS alert; X509_V_OK when good */
    char detail[96];       /* for the log: which certificate and what; "" when good */
    int64_t ca_id;         /* the registered CA that the chain ended in; 0 if it did not get there */
    int64_t not_after;     /* the earliest of the chain, seconds since 1970 */
    uint8_t n_cas;
    int64_t cas[IA_CHAIN_CAS_MAX]; /* every registered CA on and above the chain, nearest to the leaf first */
    uint8_t n_links;
    struct ia_chain_link links[IA_CHAIN_MAX]; /* leaf first, anchor last */
};

/* A copy that ends behind its last link, a quarter of the whole for most: read and revalidate it, but do not copy it as a
 * struct.  The caller frees it; NULL: out of memory. */
struct ia_chain *ia_chain_copy(const struct ia_chain *chain);

/* Copy `from`, which may be cut behind its last link, over the whole of `to`. */
void ia_chain_restore(struct ia_chain *to, const struct ia_chain *from);

/* The errors of a chain and their reasons:
 *   certificate_unfit    the leaf itself: usage, a CA or self-signed, weak key or signature, unknown critical extension
 *   chain_invalid        all else: signature that does not verify, path length, name constraints, an unusable CA
 *   certificate_expired  a certificate up to the anchor has expired or is not valid yet
 *   certificate_revoked  a certificate up to the anchor, or a registered CA above it, is listed by a CRL
 *   ca_unknown           no registered CA could have issued it
 *   ca_inactive          a registered CA on or above the chain, or a same-key CA of it, is not ACTIVE
 * ca_id is set from the moment the signatures are known to be good.  Hostile chains: at most 16 of the certificates
 * sent are looked at and 32 signatures checked besides those of one path, all with keys that a registered CA vouched
 * for. */

/* Verify `leaf` with what the peer sent beside it (`sent` may be NULL, may hold the leaf, anything, in any order)
 * against the set at time `now` (seconds since 1970).  Purpose sslclient, security level 2.  Always fills *out; never
 * fails open: out of memory is reason `internal`.  Leaves OpenSSL's error queue as it was.  Any thread. */
void ia_chain_verify(const struct ia_ca_set *set, X509 *leaf, STACK_OF(X509) * sent, int64_t now, struct ia_chain *out);

struct ia_chain_strict_input {
    X509 *leaf;
    STACK_OF(X509) * sent;
    const struct ia_crl_spec *crls; /* borrowed; the CRLs of the set count for the set's own check only */
    size_t n_crls;
    int64_t now;
};

/* The same, and strict about revocation: each CA on the chain, and each registered CA above it, needs a CRL among
 * in->crls that is valid at in->now.  For iot-auth-check; a broker is lenient, because a CRL past its nextUpdate must
 * not lock a fleet out. */
void ia_chain_verify_strict(const struct ia_ca_set *set, const struct ia_chain_strict_input *in, struct ia_chain *out);

/* Revalidate `chain`, which was good under an older set, under `set`: CA statuses (also of CAs registered since, above
 * it or with the key of a link), CRLs, validity.  Returns IA_R_NONE or the reason.  Changes cas and n_cas only. */
enum ia_reason ia_chain_revalidate(const struct ia_ca_set *set, struct ia_chain *chain, int64_t now);
