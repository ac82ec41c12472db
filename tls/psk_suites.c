// SPDX-License-Identifier: ISC
#include "tls/psk_suites.h"

#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <string.h>

#define CIPHERS_MAX 2048 /* bytes of a list of cipher suites */

static bool suite_allowed(const struct ia_psk_suites *rules, const SSL_CIPHER *cipher)
{
    int exchange = SSL_CIPHER_get_kx_nid(cipher);
    if (SSL_CIPHER_get_cipher_nid(cipher) == NID_undef)
        return false; /* no encryption */
    return exchange == NID_kx_ecdhe_psk || (rules->allow_plain && exchange == NID_kx_psk);
}

static bool is_tls13(const SSL_CIPHER *cipher)
{
    return SSL_CIPHER_get_kx_nid(cipher) == NID_kx_any;
}

/* The names of the listener's suites for TLS 1.2 that are allowed, with ':' in between; false: they do not fit. */
static bool list_suites(const struct ia_psk_suites *rules, const SSL_CTX *ctx, char *out, size_t size)
{
    const STACK_OF(SSL_CIPHER) *suites = SSL_CTX_get_ciphers(ctx);
    size_t used = 0;
    out[0] = '\0';
    for (int i = 0; i < sk_SSL_CIPHER_num(suites); i++) {
        const SSL_CIPHER *cipher = sk_SSL_CIPHER_value(suites, i);
        if (is_tls13(cipher) || !suite_allowed(rules, cipher))
            continue;
        const char *name = SSL_CIPHER_get_name(cipher);
        size_t len = strlen(name);
        if (used + len + 2 > size)
            return false;
        if (used > 0)
            out[used++] = ':';
        memcpy(out + used, name, len + 1);
        used += len;
    }
    return true;
}

/* TLS 1.3 keys need a suite with SHA-256. */
static bool has_sha256_suite(const SSL_CTX *ctx)
{
    const STACK_OF(SSL_CIPHER) *suites = SSL_CTX_get_ciphers(ctx);
    for (int i = 0; i < sk_SSL_CIPHER_num(suites); i++) {
        const SSL_CIPHER *cipher = sk_SSL_CIPHER_value(suites, i);
        if (is_tls13(cipher) && EVP_MD_get_type(SSL_CIPHER_get_handshake_digest(cipher)) == NID_sha256)
            return true;
    }
    return false;
}

/* The suites of the listener's context, once; its later connections inherit them. */
static bool restrict_context(struct ia_psk_suites *rules, SSL_CTX *ctx)
{
    char suites[CIPHERS_MAX];
    if (SSL_CTX_get_ex_data(ctx, rules->ctx_index) == rules)
        return true;
    if (!list_suites(rules, ctx, suites, sizeof suites))
        return false;
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    if (suites[0] && SSL_CTX_set_cipher_list(ctx, suites) != 1)
        return false;
    if (!suites[0]) {
        rules->warn(rules->warn_ctx,
                    "a listener with psk_hint allows no cipher suite with ECDHE-PSK: TLS 1.2 is refused "
                    "there; set ciphers, for instance ECDHE-PSK-CHACHA20-POLY1305");
        if (SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1)
            return false;
    }
    if (!has_sha256_suite(ctx))
        rules->warn(rules->warn_ctx, "a listener with psk_hint allows no TLS 1.3 cipher suite with SHA-256, to which "
                                     "pre-shared keys are bound: clients with TLS 1.3 are refused there; add "
                                     "TLS_AES_128_GCM_SHA256 to ciphers_tls1.3");
    return SSL_CTX_set_ex_data(ctx, rules->ctx_index, rules) == 1;
}

/* Does the connection have suites for TLS 1.2, and are all of them allowed?  An SSL without a list of its own uses the
 * context's, so the list, which takes OpenSSL 20 us to parse, need not be set again. */
static bool has_allowed_suites(const struct ia_psk_suites *rules, const SSL *ssl)
{
    const STACK_OF(SSL_CIPHER) *suites = SSL_get_ciphers(ssl);
    bool any = false;
    for (int i = 0; i < sk_SSL_CIPHER_num(suites); i++) {
        const SSL_CIPHER *cipher = sk_SSL_CIPHER_value(suites, i);
        if (is_tls13(cipher))
            continue;
        if (!suite_allowed(rules, cipher))
            return false;
        any = true;
    }
    return any;
}

/* The SSL was made before its context was restricted: give it the same. */
static bool restrict_connection(const struct ia_psk_suites *rules, SSL *ssl)
{
    char suites[CIPHERS_MAX];
    SSL_CTX *ctx = SSL_get_SSL_CTX(ssl);
    SSL_set_options(ssl, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
    SSL_clear_options(ssl, SSL_OP_ALLOW_NO_DHE_KEX);
    if (SSL_set_num_tickets(ssl, 0) != 1)
        return false;
    if (has_allowed_suites(rules, ssl))
        return true;
    if (!list_suites(rules, ctx, suites, sizeof suites))
        return false;
    if (suites[0])
        return SSL_set_cipher_list(ssl, suites) == 1;
    return SSL_set_min_proto_version(ssl, TLS1_3_VERSION) == 1;
}

/* False, with one line in the log for each listener. */
static bool report_unrestricted(const struct ia_psk_suites *rules, SSL_CTX *ctx)
{
    static char is_reported;
    if (SSL_CTX_get_ex_data(ctx, rules->ctx_index) == &is_reported)
        return false;
    (void)SSL_CTX_set_ex_data(ctx, rules->ctx_index, &is_reported);
    rules->warn(rules->warn_ctx, "a listener with psk_hint cannot be restricted to the cipher suites that are "
                                 "allowed for pre-shared keys: its clients are refused; shorten ciphers");
    return false;
}

bool ia_psk_suites_restrict_listener(struct ia_psk_suites *rules, SSL_CTX *ctx)
{
    return restrict_context(rules, ctx) || report_unrestricted(rules, ctx);
}

bool ia_psk_suites_restrict(struct ia_psk_suites *rules, SSL *ssl)
{
    SSL_CTX *ctx = SSL_get_SSL_CTX(ssl);
    return (restrict_context(rules, ctx) && restrict_connection(rules, ssl)) || report_unrestricted(rules, ctx);
}
