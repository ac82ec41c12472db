// SPDX-License-Identifier: ISC
/* A device with mbedTLS and a certificate, as on an ESP32: TLS 1.2.  Connects, sends an MQTT CONNECT, and prints the code
 * of CONNACK; where mbedTLS fails, its error code as the examples of ESP-IDF print it: -0x7780.
 *
 *   mbedtls_cert PORT CAFILE CERT KEY CLIENT_ID */
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>
#include <stdio.h>
#include <string.h>

struct client {
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context random;
    mbedtls_net_context net;
    mbedtls_ssl_config config;
    mbedtls_ssl_context ssl;
    mbedtls_x509_crt authorities, chain;
    mbedtls_pk_context key;
};

static int read_credential(struct client *c, char **argv)
{
    mbedtls_x509_crt_init(&c->authorities);
    mbedtls_x509_crt_init(&c->chain);
    mbedtls_pk_init(&c->key);
    int failed = mbedtls_x509_crt_parse_file(&c->authorities, argv[2]);
    if (!failed)
        failed = mbedtls_x509_crt_parse_file(&c->chain, argv[3]);
    return failed ? failed : mbedtls_pk_parse_keyfile(&c->key, argv[4], NULL);
}

static int set_up(struct client *c, const char *port)
{
    mbedtls_entropy_init(&c->entropy);
    mbedtls_ctr_drbg_init(&c->random);
    mbedtls_net_init(&c->net);
    mbedtls_ssl_config_init(&c->config);
    mbedtls_ssl_init(&c->ssl);
    if (mbedtls_ctr_drbg_seed(&c->random, mbedtls_entropy_func, &c->entropy, NULL, 0) != 0 ||
        mbedtls_net_connect(&c->net, "127.0.0.1", port, MBEDTLS_NET_PROTO_TCP) != 0 ||
        mbedtls_ssl_config_defaults(&c->config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM,
                                    MBEDTLS_SSL_PRESET_DEFAULT) != 0 ||
        mbedtls_ssl_conf_own_cert(&c->config, &c->chain, &c->key) != 0)
        return -1;
    mbedtls_ssl_conf_ca_chain(&c->config, &c->authorities, NULL);
    mbedtls_ssl_conf_rng(&c->config, mbedtls_ctr_drbg_random, &c->random);
    mbedtls_ssl_set_bio(&c->ssl, &c->net, mbedtls_net_send, mbedtls_net_recv, NULL);
    return mbedtls_ssl_setup(&c->ssl, &c->config) != 0 || mbedtls_ssl_set_hostname(&c->ssl, "localhost") != 0;
}

static int connect_device(mbedtls_ssl_context *ssl, const char *client_id)
{
    unsigned char packet[160] = {0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0}, answer[4] = {0};
    size_t len = strlen(client_id);
    int done = mbedtls_ssl_handshake(ssl);
    if (done != 0 || len > 100)
        return printf("handshake -0x%04X\n", (unsigned)-done) < 0;
    packet[1] = (unsigned char)(12 + len);
    packet[13] = (unsigned char)len;
    memcpy(packet + 14, client_id, len);
    done = mbedtls_ssl_write(ssl, packet, 14 + len);
    if (done > 0)
        done = mbedtls_ssl_read(ssl, answer, sizeof answer);
    return done == (int)sizeof answer ? printf("connack %d\n", answer[3]) < 0
                                      : printf("closed -0x%04X\n", (unsigned)-done) < 0;
}

int main(int argc, char **argv)
{
    static struct client client;
    if (argc != 6 || read_credential(&client, argv) != 0 || set_up(&client, argv[1]) != 0)
        return 2;
    return connect_device(&client.ssl, argv[5]);
}
