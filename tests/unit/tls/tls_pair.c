// SPDX-License-Identifier: ISC
#include "tests/unit/tls/tls_pair.h"

#include "tests/unit/x509/make_cert.h"
#include "tests/unit/x509/pki.h"

#include <arpa/inet.h>
#include <check.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

SSL_CTX *tls_server_ctx(int verify_mode)
{
    const struct mc_cert spec = {.subject = "/CN=localhost", .key = "p256:broker"};
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    X509 *cert = mc_cert(&spec);
    ck_assert(ctx && SSL_CTX_use_certificate(ctx, cert) == 1);
    ck_assert_int_eq(SSL_CTX_use_PrivateKey(ctx, mc_key("p256:broker")), 1);
    SSL_CTX_set_verify(ctx, verify_mode, NULL);
    X509_free(cert);
    return ctx;
}

SSL_CTX *tls_client_ctx(int version, const char *leaf, const char *key)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    ck_assert_ptr_nonnull(ctx);
    if (version)
        ck_assert(SSL_CTX_set_min_proto_version(ctx, version) && SSL_CTX_set_max_proto_version(ctx, version));
    if (leaf) {
        ck_assert_int_eq(SSL_CTX_use_certificate(ctx, pki_cert(leaf)), 1);
        ck_assert_int_eq(SSL_CTX_use_PrivateKey(ctx, mc_key(key)), 1);
    }
    return ctx;
}

struct tls_pair tls_pair_connect(SSL_CTX *server, SSL_CTX *client, int receive_buffer)
{
    struct tls_pair p = {.server = SSL_new(server), .client = SSL_new(client)};
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (receive_buffer)
        ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer), 0);
    ck_assert(fd >= 0 && bind(fd, (struct sockaddr *)&at, len) == 0 && listen(fd, 1) == 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    p.port = ntohs(at.sin_port);
    p.client_fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(p.client_fd, (struct sockaddr *)&at, sizeof at), 0);
    p.server_fd = accept(fd, NULL, NULL);
    ck_assert_int_ge(p.server_fd, 0);
    close(fd);
    ck_assert(fcntl(p.server_fd, F_SETFL, O_NONBLOCK) == 0 && fcntl(p.client_fd, F_SETFL, O_NONBLOCK) == 0);
    ck_assert(SSL_set_fd(p.server, p.server_fd) == 1 && SSL_set_fd(p.client, p.client_fd) == 1);
    return p;
}

#define TURNS_MAX 100000 /* an end that waits for what the other does not send */

static bool wants_more(const SSL *ssl, int rc)
{
    int error = SSL_get_error(ssl, rc);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

/* One turn of one end; true: its handshake has not ended. */
static bool handshake_goes_on(SSL *ssl, int (*turn)(SSL *ssl), int *rc)
{
    ERR_clear_error();
    *rc = turn(ssl);
    return *rc != 1 && wants_more(ssl, *rc);
}

bool tls_pair_handshake(struct tls_pair *pair)
{
    int server = 0, client = 0;
    bool server_goes_on = true, client_goes_on = true;
    for (int turns = 0; (server_goes_on || client_goes_on) && turns < TURNS_MAX; turns++) {
        client_goes_on = client_goes_on && handshake_goes_on(pair->client, SSL_connect, &client);
        server_goes_on = server_goes_on && handshake_goes_on(pair->server, SSL_accept, &server);
        if (client == 1 && !server_goes_on)
            break;
    }
    char byte; /* TLS 1.3: tickets and alerts come after the client has finished */
    (void)SSL_read(pair->client, &byte, 1);
    ERR_clear_error();
    return server == 1;
}

void tls_client_sends(const struct tls_pair *pair, const char *text)
{
    ck_assert_int_eq(SSL_write(pair->client, text, (int)strlen(text)), (int)strlen(text));
}

const char *tls_server_reads(const struct tls_pair *pair)
{
    static char text[64];
    memset(text, 0, sizeof text);
    ERR_clear_error();
    int n = SSL_read(pair->server, text, (int)sizeof text - 1);
    if (n <= 0)
        ck_assert_int_eq(SSL_get_error(pair->server, n), SSL_ERROR_WANT_READ);
    return text;
}

const char *tls_server_receives(const struct tls_pair *pair)
{
    struct pollfd readable = {.fd = pair->server_fd, .events = POLLIN};
    ck_assert_int_eq(poll(&readable, 1, 5000), 1);
    return tls_server_reads(pair);
}

void tls_pair_close(struct tls_pair *pair)
{
    SSL_free(pair->server);
    if (pair->client)
        SSL_set_shutdown(pair->client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* else OpenSSL spoils its session */
    SSL_free(pair->client);
    close(pair->server_fd);
    close(pair->client_fd);
    *pair = (struct tls_pair){.server_fd = -1, .client_fd = -1};
}
