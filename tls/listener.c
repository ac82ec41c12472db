// SPDX-License-Identifier: ISC
#include "tls/listener.h"

#include "tls/groups.h"

/* Static, because the contexts outlive the plugin. */
static struct {
    uintptr_t load_round; /* counts loads of the servers' certificates, from 1 */
    int ctx_index;        /* ex_data of a context: the round for which it was prepared; made once a process */
    bool indexed;
} listeners = {.load_round = 1};

static int count_intermediates(const STACK_OF(X509) * chain)
{
    int n = 0;
    for (int i = 0; chain && i < sk_X509_num(chain); i++)
        n += X509_self_signed(sk_X509_value(chain, i), 0) != 1;
    return n;
}

/* Build the server's own chain now, so that OpenSSL does not verify it at each handshake (a tenth of a connect's
 * instructions), and leave its root out: clients have it, and with it the Certificate message does not fit into the
 * records of small devices (RFC 8446 4.4.2 allows to omit it).  Where no root is found, the certificates that certfile
 * lists are still sent: a chain that became shorter is undone. */
static void build_server_chain(SSL_CTX *ctx)
{
    const int flags = SSL_BUILD_CHAIN_FLAG_UNTRUSTED | SSL_BUILD_CHAIN_FLAG_NO_ROOT |
                      SSL_BUILD_CHAIN_FLAG_IGNORE_ERROR | SSL_BUILD_CHAIN_FLAG_CLEAR_ERROR;
    STACK_OF(X509) *listed = NULL, *built = NULL, *before = NULL;
    if (SSL_CTX_get0_chain_certs(ctx, &listed) != 1)
        return;
    before = listed ? X509_chain_up_ref(listed) : NULL;
    (void)SSL_CTX_build_cert_chain(ctx, flags); /* does not say whether it found the root */
    (void)SSL_CTX_get0_chain_certs(ctx, &built);
    if (count_intermediates(before) > count_intermediates(built))
        (void)SSL_CTX_set1_chain(ctx, before);
    sk_X509_pop_free(before, X509_free);
}

/* The SSL was made before its context was prepared: give it the same chain. */
static void copy_server_chain(SSL *ssl)
{
    STACK_OF(X509) *chain = NULL;
    if (SSL_CTX_get0_chain_certs(SSL_get_SSL_CTX(ssl), &chain) == 1 && chain)
        (void)SSL_set1_chain(ssl, chain);
}

/* Prepare the context of a gate's listener, at its first ClientHello and at the first one after each SIGHUP, which loads
 * the server's certificate again.  Earlier is too early: SSL_CTX_new sets defaults after its `new` callbacks, and
 * Mosquitto loads the certificate later still. */
static bool prepare_listener(SSL *ssl)
{
    SSL_CTX *ctx = SSL_get_SSL_CTX(ssl);
    void *round = (void *)(uintptr_t)listeners.load_round;
    if (SSL_CTX_get_ex_data(ctx, listeners.ctx_index) == round)
        return true;
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    build_server_chain(ctx);
    copy_server_chain(ssl);
    return SSL_CTX_set_ex_data(ctx, listeners.ctx_index, round) == 1;
}

/* CertificateRequest names no CAs: clients in Java, Go and .NET would choose their certificate by them, and the registered
 * CAs change without a restart.  OpenSSL prefers a list that is not empty, so both lists are replaced. */
static bool send_no_ca_names(SSL *ssl)
{
    if (sk_X509_NAME_num(SSL_get_client_CA_list(ssl)) <= 0 && sk_X509_NAME_num(SSL_get0_CA_list(ssl)) <= 0)
        return true;
    STACK_OF(X509_NAME) *requested = sk_X509_NAME_new_null(), *both = sk_X509_NAME_new_null();
    if (!requested || !both) {
        sk_X509_NAME_free(requested);
        sk_X509_NAME_free(both);
        return false;
    }
    SSL_set_client_CA_list(ssl, requested);
    SSL_set0_CA_list(ssl, both);
    return true;
}

/* A handshake with a pre-shared key would pass by the certificate that the listener requires.  And OpenSSL would ask
 * Mosquitto's callback for the key of each TLS 1.3 session identifier. */
static void take_no_shared_keys(SSL *ssl)
{
    SSL_set_psk_server_callback(ssl, NULL);
    SSL_set_psk_find_session_callback(ssl, NULL);
}

bool ia_tls_listener_prepare(SSL *ssl, int max_chain_bytes)
{
    take_no_shared_keys(ssl);
    SSL_set_options(ssl, SSL_OP_NO_TICKET);
    (void)SSL_set_num_tickets(ssl, 0);
    SSL_set_max_cert_list(ssl, max_chain_bytes); /* OpenSSL parses them before any callback */
    return prepare_listener(ssl) && send_no_ca_names(ssl);
}

bool ia_tls_listener_init(void)
{
    if (!listeners.indexed)
        listeners.ctx_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    listeners.indexed = listeners.ctx_index >= 0;
    return listeners.indexed;
}

void ia_tls_listener_reload(void)
{
    listeners.load_round++;
}
