// SPDX-License-Identifier: ISC
#include "tls/psk_probe.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <stdio.h>

#define SUITES "kPSK:kECDHEPSK:@SECLEVEL=0" /* nothing is sent under them */
#define TURNS  4                            /* the client needs two: ClientHello, and what the server has answered */

/* Static, because OpenSSL's callbacks take no context. */
static struct {
    bool under_way, takes_keys;
    char *hint;
} probe;

bool ia_psk_probe_is_under_way(void)
{
    return probe.under_way;
}

/* The server has chosen a suite with pre-shared keys. */
static unsigned on_client_key(SSL *ssl, const char *hint, char *identity, unsigned max_identity, unsigned char *key,
                              unsigned max_key)
{
    (void)ssl, (void)identity, (void)max_identity, (void)key, (void)max_key;
    probe.takes_keys = true;
    (void)snprintf(probe.hint, IA_PSK_HINT_SIZE, "%s", hint ? hint : "");
    return 0; /* no key: the handshake ends here */
}

static void ignore_info(const SSL *ssl, int where, int value)
{
    (void)ssl, (void)where, (void)value;
}

static bool prepare_end(SSL *ssl)
{
    SSL_set_security_level(ssl, 0);
    SSL_clear_options(ssl, SSL_OP_NO_TLSv1_2);
    SSL_set_info_callback(ssl, ignore_info);
    return SSL_set_min_proto_version(ssl, TLS1_2_VERSION) == 1 && SSL_set_max_proto_version(ssl, TLS1_2_VERSION) == 1 &&
           SSL_set_cipher_list(ssl, SUITES) == 1;
}

/* Both ends, joined in memory.  The ends own what joins them. */
static bool join_ends(SSL *server, SSL *client)
{
    BIO *of_server = NULL, *of_client = NULL;
    if (!server || !client || BIO_new_bio_pair(&of_server, 0, &of_client, 0) != 1)
        return false;
    SSL_set_bio(server, of_server, of_server);
    SSL_set_bio(client, of_client, of_client);
    return true;
}

static void shake_hands(SSL *server, SSL *client)
{
    SSL_set_psk_client_callback(client, on_client_key);
    probe.under_way = true;
    for (int i = 0; i < TURNS && !probe.takes_keys; i++) {
        (void)SSL_connect(client);
        if (!probe.takes_keys)
            (void)SSL_accept(server);
    }
    probe.under_way = false;
}

static void remove_control_characters(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7F)
            *text = '?';
}

bool ia_psk_probe(SSL_CTX *listener, char hint[IA_PSK_HINT_SIZE])
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *server = SSL_new(listener), *client = ctx ? SSL_new(ctx) : NULL;
    probe.takes_keys = false;
    probe.hint = hint;
    hint[0] = '\0';
    /* An entry left in the error queue makes Mosquitto 2.0.11 drop the next client. */
    ERR_set_mark();
    if (join_ends(server, client) && prepare_end(server) && prepare_end(client))
        shake_hands(server, client);
    ERR_pop_to_mark();
    probe.hint = NULL;
    remove_control_characters(hint);
    SSL_free(server);
    SSL_free(client);
    SSL_CTX_free(ctx);
    return probe.takes_keys;
}
