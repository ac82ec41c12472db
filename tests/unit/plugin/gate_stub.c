// SPDX-License-Identifier: ISC
#include "tests/unit/plugin/gate_stub.h"

#include "common/clock.h"

#include <check.h>
#include <string.h>

struct gate_stub gate_stub;

enum ia_rc ia_gate_open(const struct ia_gate_options *options, const struct ia_gate_hooks *hooks, struct ia_err *err)
{
    (void)options, (void)err;
    gate_stub.open = true;
    gate_stub.hooks = *hooks;
    return IA_OK;
}

void ia_gate_close(void)
{
    gate_stub.open = false;
}

bool ia_gate_has_listeners(void)
{
    return gate_stub.has_listeners;
}

enum ia_gate_leaf ia_gate_result(X509 *leaf, struct ia_chain *chain, uint64_t *generation)
{
    for (size_t i = gate_stub.n_results; i > 0; i--) {
        if (gate_stub.results[i - 1].leaf != leaf)
            continue;
        *chain = gate_stub.results[i - 1].chain;
        *generation = gate_stub.results[i - 1].generation;
        return IA_LEAF_VERIFIED;
    }
    return IA_LEAF_FOREIGN;
}

const char *ia_gate_address(X509 *leaf)
{
    for (size_t i = gate_stub.n_results; i > 0; i--)
        if (gate_stub.results[i - 1].leaf == leaf)
            return gate_stub.results[i - 1].address;
    return NULL;
}

uint16_t ia_gate_port(X509 *leaf)
{
    for (size_t i = gate_stub.n_results; i > 0; i--)
        if (gate_stub.results[i - 1].leaf == leaf)
            return gate_stub.results[i - 1].port;
    return 0;
}

void ia_gate_peer_address(const SSL *ssl, char out[INET6_ADDRSTRLEN])
{
    (void)ssl;
    (void)snprintf(out, INET6_ADDRSTRLEN, "%s", gate_stub.peer ? gate_stub.peer : "");
}

/* ---- resumption */

void ia_resumption_keep(X509 *leaf)
{
    if (gate_stub.n_kept < 16)
        gate_stub.kept[gate_stub.n_kept++] = leaf;
}

void ia_resumption_exclude(X509 *leaf)
{
    (void)leaf;
    gate_stub.n_excluded++;
}

void ia_resumption_drop(const uint8_t fingerprint[IA_FINGERPRINT_LEN])
{
    gate_stub.n_dropped++;
    memcpy(gate_stub.dropped, fingerprint, IA_FINGERPRINT_LEN);
}

bool ia_resumption_sweep(void)
{
    return false;
}

bool gate_handshake(X509 *leaf, X509 *inter, const char *address)
{
    return gate_handshake_at(GATE_STUB_PORT, leaf, inter, address);
}

bool gate_handshake_at(uint16_t port, X509 *leaf, X509 *inter, const char *address)
{
    const struct ia_snapshot *snapshot = gate_stub.hooks.snapshot(gate_stub.hooks.ctx);
    STACK_OF(X509) *sent = sk_X509_new_null();
    struct ia_chain chain;
    ck_assert(snapshot && sent && (!inter || sk_X509_push(sent, inter) > 0));
    ia_chain_verify(snapshot->cas, leaf, sent, ia_wall_s(), &chain);
    sk_X509_free(sent);
    if (chain.reason != IA_R_NONE) {
        gate_stub.hooks.refused(gate_stub.hooks.ctx, address, &chain, leaf);
        return false;
    }
    size_t at = gate_stub.n_results < 16 ? gate_stub.n_results++ : 15;
    gate_stub.results[at].leaf = leaf;
    gate_stub.results[at].chain = chain;
    gate_stub.results[at].generation = snapshot->ca_generation;
    gate_stub.results[at].address = address;
    gate_stub.results[at].port = port;
    gate_stub.peer = address;
    gate_stub.hooks.proven(gate_stub.hooks.ctx, NULL, leaf, &chain);
    return true;
}
