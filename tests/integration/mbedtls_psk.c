// SPDX-License-Identifier: ISC
/* A device with mbedTLS, as on an ESP32: ECDHE-PSK in TLS 1.2, P-256 alone, records of 4 KiB.  Connects, sends an MQTT CONNECT, and prints the code of
 * CONNACK; "handshake" where the handshake fails.
 *
 *   mbedtls_psk PORT IDENTITY HEX CLIENT_ID */
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ciphersuites.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t read_key(const char *hex, unsigned char *out, size_t max)
{
    size_t n = 0;
    for (; n < max && hex[2 * n] && hex[2 * n + 1]; n++) {
        const char digits[3] = {hex[2 * n], hex[2 * n + 1], '\0'};
        out[n] = (unsigned char)strtoul(digits, NULL, 16);
    }
    return n;
}

static int send_connect(mbedtls_ssl_context *ssl, const char *client_id)
{
    unsigned char packet[160] = {0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0};
    size_t len = strlen(client_id);
    if (len > 100)
        return -1;
    packet[1] = (unsigned char)(12 + len);
    packet[13] = (unsigned char)len;
    memcpy(packet + 14, client_id, len);
    return mbedtls_ssl_write(ssl, packet, 14 + len);
}

static int connect_device(mbedtls_ssl_context *ssl, const char *client_id)
{
    unsigned char answer[4] = {0};
    if (mbedtls_ssl_handshake(ssl) != 0)
        return puts("handshake") < 0;
    if (send_connect(ssl, client_id) < 0 || mbedtls_ssl_read(ssl, answer, sizeof answer) != (int)sizeof answer)
        return puts("closed") < 0;
    printf("%d %s\n", answer[3], mbedtls_ssl_get_ciphersuite(ssl));
    return 0;
}

int main(int argc, char **argv)
{
    static const int suites[] = {MBEDTLS_TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA256,
                                 MBEDTLS_TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256, 0};
    static const mbedtls_ecp_group_id curves[] = {MBEDTLS_ECP_DP_SECP256R1, MBEDTLS_ECP_DP_NONE};
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context random;
    mbedtls_net_context net;
    mbedtls_ssl_config config;
    mbedtls_ssl_context ssl;
    unsigned char key[64];
    if (argc != 5)
        return 2;
    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&random);
    mbedtls_net_init(&net);
    mbedtls_ssl_config_init(&config);
    mbedtls_ssl_init(&ssl);
    size_t key_len = read_key(argv[3], key, sizeof key);
    if (mbedtls_ctr_drbg_seed(&random, mbedtls_entropy_func, &entropy, NULL, 0) != 0 ||
        mbedtls_net_connect(&net, "127.0.0.1", argv[1], MBEDTLS_NET_PROTO_TCP) != 0 ||
        mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM,
                                    MBEDTLS_SSL_PRESET_DEFAULT) != 0 ||
        mbedtls_ssl_conf_psk(&config, key, key_len, (const unsigned char *)argv[2], strlen(argv[2])) != 0)
        return 2;
    mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &random);
    mbedtls_ssl_conf_ciphersuites(&config, suites);
    mbedtls_ssl_conf_curves(&config, curves);
    (void)mbedtls_ssl_conf_max_frag_len(&config, MBEDTLS_SSL_MAX_FRAG_LEN_4096); /* its buffers are of 4 KiB */
    if (mbedtls_ssl_setup(&ssl, &config) != 0)
        return 2;
    mbedtls_ssl_set_bio(&ssl, &net, mbedtls_net_send, mbedtls_net_recv, NULL);
    return connect_device(&ssl, argv[4]);
}
