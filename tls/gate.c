// SPDX-License-Identifier: ISC
#include "tls/gate.h"

#include "common/clock.h"
#include "tls/groups.h"
#include "tls/leaf.h"
#include "tls/listener.h"
#include "tls/proxy.h"
#include "tls/psk.h"
#include "tls/psk_listeners.h"
#include "tls/psk_probe.h"
#include "tls/sent_certificates.h"
#include "tls/socket_port.h"
#include "x509/chain_cache.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <sys/socket.h>

#define CHAINS_REMEMBERED 8192

/* Static, because OpenSSL's callbacks outlive the plugin. */
static struct {
    bool open;
    bool has_listeners;
    const struct ia_gate_options *options;
    struct ia_gate_hooks hooks;
    struct ia_chain_cache *remembered;
    uint64_t remembered_generation;
    int ctx_index; /* ex_data; made once a process */
    bool indexed;
} gate;

static void address_text(int fd, char out[INET6_ADDRSTRLEN])
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer;
    out[0] = '\0';
    if (ia_proxy_address_of(fd, out))
        return;
    if (getpeername(fd, (struct sockaddr *)&peer, &len) != 0)
        return;
    // NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): getpeername has set it
    const void *at = peer.ss_family == AF_INET6 ? (const void *)&((struct sockaddr_in6 *)&peer)->sin6_addr
                                                : (const void *)&((struct sockaddr_in *)&peer)->sin_addr;
    if (peer.ss_family != AF_INET && peer.ss_family != AF_INET6)
        return;
    if (!inet_ntop(peer.ss_family, at, out, INET6_ADDRSTRLEN))
        out[0] = '\0';
}

static bool is_gate_port(int fd)
{
    if (gate.options->mode != IA_GATE_PORTS)
        return gate.options->mode == IA_GATE_ALL;
    uint16_t port = ia_socket_port(fd);
    for (unsigned i = 0; i < gate.options->n_ports; i++)
        if (gate.options->ports[i] == port)
            return true;
    return false;
}

/* ---- ClientHello */

static bool address_admitted(int fd)
{
    const struct ia_snapshot *snapshot = gate.hooks.snapshot(gate.hooks.ctx);
    if (!snapshot)
        return true; /* BASIC_AUTH refuses, with its reason */
    char text[INET6_ADDRSTRLEN];
    address_text(fd, text);
    struct ia_ip ip = ia_ip_parse(text);
    if (ia_ip_check(snapshot->ips, IA_IP_GLOBAL, NULL, &ip, ia_wall_s(), NULL) == IA_ALLOW)
        return true;
    gate.hooks.refused(gate.hooks.ctx, text, NULL, NULL);
    return false;
}

static void report_proven(const SSL *ssl)
{
    X509 *leaf = SSL_get0_peer_certificate(ssl);
    const struct ia_leaf *l = leaf ? ia_leaf_get(leaf) : NULL;
    if (!l)
        return;
    /* An entry left in the error queue makes Mosquitto 2.0.11 drop the next client. */
    ERR_set_mark();
    gate.hooks.proven(gate.hooks.ctx, (SSL *)(uintptr_t)ssl, leaf, l->chain); /* OpenSSL gave the const */
    ERR_pop_to_mark();
}

/* A client that shows no certificate where one is required reaches no other callback: OpenSSL ends the handshake with
 * certificate_required (TLS 1.3) or handshake_failure (TLS 1.2, where it has other causes, too). */
static void report_missing_certificate(const SSL *ssl, int what)
{
    bool missing = what == SSL_AD_CERTIFICATE_REQUIRED ||
                   (what == SSL_AD_HANDSHAKE_FAILURE && SSL_version(ssl) < TLS1_3_VERSION &&
                    ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE);
    if (!missing)
        return;
    char text[INET6_ADDRSTRLEN];
    const struct ia_chain none = {.reason = IA_R_NO_CREDENTIAL, .detail = "the client shows no certificate"};
    address_text(SSL_get_fd(ssl), text);
    gate.hooks.refused(gate.hooks.ctx, text, &none, NULL);
}

static void on_info(const SSL *ssl, int where, int value)
{
    if (!gate.open)
        return;
    if (where & SSL_CB_HANDSHAKE_DONE)
        report_proven(ssl);
    else if ((where & SSL_CB_WRITE_ALERT) == SSL_CB_WRITE_ALERT)
        report_missing_certificate(ssl, value & 0xFF);
}

static void report_sent_certificates(const SSL *ssl, const char *problem)
{
    char text[INET6_ADDRSTRLEN];
    struct ia_chain chain = {.reason = IA_R_CHAIN_INVALID};
    if (!gate.open)
        return;
    (void)snprintf(chain.detail, sizeof chain.detail, "%s", problem);
    address_text(SSL_get_fd(ssl), text);
    gate.hooks.refused(gate.hooks.ctx, text, &chain, NULL);
}

/* By what the listener requires: a pre-shared key, a certificate, or nothing (apps present a token later). */
static bool prepare_connection(SSL *ssl, int fd)
{
    if (ia_tls_psk_concerns(ssl))
        return ia_tls_psk_prepare(ssl);
    ia_tls_psk_refuse_beside_certificate(ssl);
    if (!(SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER))
        return true;
    SSL_set_info_callback(ssl, on_info);
    ia_sent_certificates_watch(ssl, report_sent_certificates);
    if (!ia_tls_listener_prepare(ssl, (int)gate.options->max_chain_bytes))
        return false;
    ia_resumption_offer(ssl, ia_socket_port(fd));
    return true;
}

static int on_client_hello(SSL *ssl, int *alert, void *arg)
{
    (void)arg;
    if (!gate.open || ia_psk_probe_is_under_way())
        return SSL_CLIENT_HELLO_SUCCESS;
    int fd = SSL_get_fd(ssl);
    if (!address_admitted(fd)) {
        *alert = SSL_AD_ACCESS_DENIED;
        return SSL_CLIENT_HELLO_ERROR;
    }
    if (!is_gate_port(fd))
        return SSL_CLIENT_HELLO_SUCCESS;
    if (!ia_tls_groups_restrict(ssl)) {
        *alert = SSL_AD_INTERNAL_ERROR;
        return SSL_CLIENT_HELLO_ERROR;
    }
    ERR_set_mark();
    bool prepared = prepare_connection(ssl, fd);
    ERR_pop_to_mark();
    if (!prepared) {
        *alert = SSL_AD_INTERNAL_ERROR;
        return SSL_CLIENT_HELLO_ERROR;
    }
    return SSL_CLIENT_HELLO_SUCCESS;
}

/* ---- verify */

static void verify_chain(const struct ia_snapshot *snapshot, X509 *leaf, STACK_OF(X509) * sent, struct ia_chain *out)
{
    if (gate.remembered_generation != snapshot->ca_generation) {
        ia_chain_cache_flush(gate.remembered); /* the registered CAs are other than before */
        gate.remembered_generation = snapshot->ca_generation;
    }
    uint8_t fingerprint[IA_FINGERPRINT_LEN];
    bool hashed = ia_cert_fingerprint(leaf, fingerprint);
    int64_t now = ia_wall_s();
    const struct ia_chain *known = hashed ? ia_chain_cache_get(gate.remembered, fingerprint, now) : NULL;
    if (known) {
        *out = *known;
        return;
    }
    ia_chain_verify(snapshot->cas, leaf, sent, now, out);
    if (out->reason == IA_R_NONE)
        ia_chain_cache_put(gate.remembered, out);
}

/* Without memory the leaf has nothing, and BASIC_AUTH refuses it. */
static void attach_result(X509 *leaf, const struct ia_chain *chain, uint64_t generation, int fd)
{
    struct ia_leaf *l = ia_leaf_attach(leaf, chain);
    if (!l)
        return;
    l->generation = generation;
    l->verified_at = ia_wall_s();
    l->port = ia_socket_port(fd);
    address_text(fd, l->address);
}

static int refuse(X509_STORE_CTX *ctx, int fd, const struct ia_chain *chain)
{
    char text[INET6_ADDRSTRLEN];
    address_text(fd, text);
    gate.hooks.refused(gate.hooks.ctx, text, chain, X509_STORE_CTX_get0_cert(ctx));
    X509_STORE_CTX_set_error(ctx, chain->x509_error != X509_V_OK ? chain->x509_error : X509_V_ERR_UNSPECIFIED);
    return 0;
}

static int verify_here(X509_STORE_CTX *ctx, int fd)
{
    const struct ia_snapshot *snapshot = gate.hooks.snapshot(gate.hooks.ctx);
    X509 *leaf = X509_STORE_CTX_get0_cert(ctx);
    struct ia_chain chain = {.reason = IA_R_REGISTRY_UNAVAILABLE, .x509_error = X509_V_ERR_UNSPECIFIED};
    if (!snapshot || !leaf)
        return refuse(ctx, fd, &chain);
    verify_chain(snapshot, leaf, X509_STORE_CTX_get0_untrusted(ctx), &chain);
    if (chain.reason != IA_R_NONE)
        return refuse(ctx, fd, &chain);
    attach_result(leaf, &chain, snapshot->ca_generation, fd);
    X509_STORE_CTX_set_error(ctx, X509_V_OK);
    return 1;
}

static int on_verify(X509_STORE_CTX *ctx, void *arg)
{
    (void)arg;
    SSL *ssl = X509_STORE_CTX_get_ex_data(ctx, SSL_get_ex_data_X509_STORE_CTX_idx());
    int fd = ssl ? SSL_get_fd(ssl) : -1;
    if (!gate.open) {
        X509_STORE_CTX_set_error(ctx, X509_V_ERR_APPLICATION_VERIFICATION);
        return 0;
    }
    if (!is_gate_port(fd))
        return X509_verify_cert(ctx);
    /* An entry left in the error queue makes Mosquitto 2.0.11 drop the next client. */
    ERR_set_mark();
    int ok = verify_here(ctx, fd);
    ERR_pop_to_mark();
    return ok;
}

/* ---- listeners */

static void on_handshake(const SSL *ssl, int where, int value)
{
    (void)value;
    if (gate.open && (where & SSL_CB_HANDSHAKE_START))
        ia_proxy_handshake_started((SSL *)(uintptr_t)ssl); /* OpenSSL gave the const */
}

/* libpq's and libcurl's are client contexts, made and freed on the worker thread: not ours. */
static bool is_listener(const SSL_CTX *ctx)
{
    return SSL_CTX_get_ssl_method(ctx) == TLS_server_method();
}

static void on_ctx_new(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
    (void)ptr, (void)ad, (void)idx, (void)argl, (void)argp;
    SSL_CTX *ctx = parent;
    if (!gate.open)
        return;
    /* One identity provider whose certificates take a minute to parse would hold up everybody's revocations for as long. */
    if (!is_listener(ctx)) {
        ia_sent_certificates_watch_servers(ctx);
        return;
    }
    gate.has_listeners = true;
    SSL_CTX_set_cert_verify_callback(ctx, on_verify, NULL);
    SSL_CTX_set_client_hello_cb(ctx, on_client_hello, NULL);
    SSL_CTX_set_info_callback(ctx, on_handshake);
    ia_psk_listeners_add(ctx);
}

static void on_ctx_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
    (void)ptr, (void)ad, (void)idx, (void)argl, (void)argp;
    if (is_listener(parent))
        ia_psk_listeners_remove(parent);
}

/* The indexes are made once and stay: the library is never unmapped. */
static bool make_indexes(void)
{
    if (gate.indexed)
        return true;
    gate.ctx_index = SSL_CTX_get_ex_new_index(0, NULL, on_ctx_new, NULL, on_ctx_free);
    gate.indexed = gate.ctx_index >= 0 && ia_leaf_init() && ia_tls_listener_init();
    return gate.indexed;
}

enum ia_rc ia_gate_open(const struct ia_gate_options *options, const struct ia_gate_hooks *hooks, struct ia_err *err)
{
    if (gate.open)
        return ia_fail(err, IA_USAGE, "the TLS gate is open already");
    gate.remembered = ia_chain_cache_new(CHAINS_REMEMBERED);
    if (!gate.remembered)
        return ia_nomem(err);
    enum ia_rc rc = make_indexes() ? ia_resumption_open(&options->resumption, hooks->peek_snapshot, hooks->ctx, err)
                                   : ia_fail(err, IA_CRYPTO, "OpenSSL gives no ex_data index");
    if (rc == IA_OK && options->proxy_from)
        rc = ia_proxy_open(options->proxy_from, err);
    if (rc != IA_OK) {
        ia_chain_cache_free(gate.remembered);
        gate.remembered = NULL;
        return rc;
    }
    gate.options = options;
    gate.hooks = *hooks;
    gate.has_listeners = false;
    gate.open = true;
    return IA_OK;
}

void ia_gate_close(void)
{
    gate.open = false;
    ia_resumption_close();
    ia_proxy_close();
    ia_chain_cache_free(gate.remembered);
    gate.remembered = NULL;
}

bool ia_gate_has_listeners(void)
{
    return gate.has_listeners;
}

const char *ia_gate_address(X509 *leaf)
{
    const struct ia_leaf *l = ia_leaf_get(leaf);
    return l && l->address[0] ? l->address : NULL;
}

uint16_t ia_gate_port(X509 *leaf)
{
    const struct ia_leaf *l = ia_leaf_get(leaf);
    return l ? l->port : 0;
}

void ia_gate_peer_address(const SSL *ssl, char out[INET6_ADDRSTRLEN])
{
    address_text(SSL_get_fd(ssl), out);
}

enum ia_gate_leaf ia_gate_result(X509 *leaf, struct ia_chain *chain, uint64_t *generation)
{
    const struct ia_leaf *l = ia_leaf_get(leaf);
    if (!l)
        return IA_LEAF_FOREIGN;
    ia_chain_restore(chain, l->chain);
    *generation = l->generation;
    return IA_LEAF_VERIFIED;
}
