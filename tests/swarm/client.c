// SPDX-License-Identifier: ISC
#include "tests/swarm/client.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PINGS_MAX 1000000

static SSL_CTX *context;
static int epoll_fd;

int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

struct client *client_add(struct group *g, const char *id)
{
    struct client *c = calloc(1, sizeof *c);
    struct client **all = realloc(g->clients, (g->n + 1) * sizeof(struct client *));
    if (!c || !all)
        abort();
    g->clients = all;
    g->clients[g->n++] = c;
    c->fd = -1;
    c->group = g;
    (void)snprintf(c->id, sizeof c->id, "%s", id);
    return c;
}

/* ---- the end of a connection */

static void note_end(struct group *g)
{
    g->open--;
    g->last_end_us = now_us();
    if (!g->first_end_us)
        g->first_end_us = g->last_end_us;
}

void client_end(struct client *c)
{
    if (c->state == CLIENT_OPEN)
        note_end(c->group);
    else if (c->state != CLIENT_CLOSED)
        c->group->attempting--;
    c->state = CLIENT_CLOSED;
    if (c->ssl) {
        SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* else OpenSSL spoils its session */
        SSL_free(c->ssl);
    }
    c->ssl = NULL;
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

void client_fail(struct client *c)
{
    if (c->state != CLIENT_OPEN)
        c->group->failed++;
    client_end(c);
}

/* ---- its begin */

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct client *c = SSL_get_app_data(ssl);
    if (!c->group->resume)
        return 0;
    SSL_SESSION_free(c->session);
    c->session = session;
    return 1;
}

void client_connect(struct client *c)
{
    struct group *g = c->group;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)g->port)};
    struct epoll_event e = {.events = EPOLLOUT, .data.ptr = c};
    int one = 1;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    c->state = CLIENT_CONNECTING;
    c->begun_us = now_us();
    c->pinged_us = 0;
    c->n_in = 0;
    g->attempting++;
    if (c->fd < 0 || (connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS)) {
        client_fail(c);
        return;
    }
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e);
}

/* In TLS 1.3, OpenSSL makes a key that is bound to SHA-256 of it. */
static unsigned use_psk(SSL *ssl, const char *hint, char *identity, unsigned identity_size, unsigned char *key,
                        unsigned key_size)
{
    const struct client *c = SSL_get_app_data(ssl);
    (void)hint;
    if (c->psk_len > key_size || (unsigned)snprintf(identity, identity_size, "%s", c->id) >= identity_size)
        return 0;
    memcpy(key, c->psk, c->psk_len);
    return (unsigned)c->psk_len;
}

static bool start_tls(struct client *c)
{
    const struct group *g = c->group;
    int problem = 0;
    socklen_t len = sizeof problem;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &problem, &len);
    if (problem)
        return false;
    c->ssl = SSL_new(context);
    SSL_set_app_data(c->ssl, c);
    SSL_set_fd(c->ssl, c->fd);
    SSL_set_min_proto_version(c->ssl, g->tls);
    SSL_set_max_proto_version(c->ssl, g->tls);
    if (c->cert)
        SSL_use_cert_and_key(c->ssl, c->cert, c->key, c->chain, 1);
    if (c->psk_len) {
        SSL_set_psk_client_callback(c->ssl, use_psk);
        SSL_set_cipher_list(c->ssl, "ECDHE-PSK-CHACHA20-POLY1305"); /* of TLS 1.2 */
    }
    if (g->resume && c->session)
        SSL_set_session(c->ssl, c->session);
    SSL_set_connect_state(c->ssl);
    c->state = CLIENT_HANDSHAKING;
    return true;
}

bool client_send(const struct client *c, const void *bytes, size_t len)
{
    return SSL_write(c->ssl, bytes, (int)len) == (int)len; /* small, into an empty socket buffer */
}

/* ---- what it receives */

static void take_connack(struct client *c, uint8_t code)
{
    struct group *g = c->group;
    g->resumed += (size_t)SSL_session_reused(c->ssl);
    if (code != 0) {
        g->refused++;
        client_end(c);
        return;
    }
    g->accepted++;
    g->attempting--;
    g->open++;
    g->opened_us = now_us();
    c->state = CLIENT_OPEN;
    c->admitted = true;
    if (!g->stay)
        client_end(c);
}

static void take_pingresp(struct client *c)
{
    struct group *g = c->group;
    int64_t now = now_us();
    if (!g->pings)
        g->pings = malloc(PINGS_MAX * sizeof *g->pings);
    if (c->pinged_us && g->pings && g->n_pings < PINGS_MAX)
        g->pings[g->n_pings++] = (struct ping){c->pinged_us, now - c->pinged_us};
    c->pinged_us = 0;
    c->next_ping_us = now + g->ping_us;
}

static void take_packet(struct client *c, const uint8_t *packet, size_t body)
{
    switch (packet[0] >> 4) {
    case MQTT_CONNACK:
        if (c->state == CLIENT_ASKING)
            take_connack(c, packet[body + 1]);
        break;
    case MQTT_PUBLISH:
        c->group->received++;
        break;
    case MQTT_SUBACK:
        c->group->subscribed++;
        break;
    case MQTT_PINGRESP:
        take_pingresp(c);
        break;
    default:
        break;
    }
}

/* The whole packets of c->in; the rest of it moves to the front. */
static void take_packets(struct client *c)
{
    size_t at = 0, len = 0, body = 0;
    while (c->state != CLIENT_CLOSED && mqtt_whole(c->in + at, c->n_in - at, &len, &body)) {
        take_packet(c, c->in + at, body);
        at += len;
    }
    c->n_in -= at;
    memmove(c->in, c->in + at, c->n_in);
}

static bool is_waiting(struct client *c, int rc)
{
    int why = SSL_get_error(c->ssl, rc);
    struct epoll_event e = {.events = EPOLLIN | (why == SSL_ERROR_WANT_WRITE ? (unsigned)EPOLLOUT : 0U), .data.ptr = c};
    ERR_clear_error();
    if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
        return false;
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
    return true;
}

static void shake_hands(struct client *c)
{
    int rc = SSL_do_handshake(c->ssl);
    if (rc != 1) {
        if (!is_waiting(c, rc))
            client_fail(c);
        return;
    }
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    struct packet p;
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
    mqtt_connect(&p, c->group->mqtt, c->id, c->user, c->password);
    c->state = CLIENT_ASKING;
    if (!client_send(c, p.bytes, p.len))
        client_fail(c);
}

static void receive_packets(struct client *c)
{
    while (c->state != CLIENT_CLOSED) {
        int n = SSL_read(c->ssl, c->in + c->n_in, (int)(sizeof c->in - c->n_in));
        if (n <= 0) {
            if (!is_waiting(c, n))
                client_fail(c);
            return;
        }
        c->n_in += (size_t)n;
        take_packets(c);
    }
}

static void serve_client(struct client *c)
{
    if (c->state == CLIENT_CONNECTING && !start_tls(c)) {
        client_fail(c);
        return;
    }
    if (c->state == CLIENT_HANDSHAKING)
        shake_hands(c);
    if (c->state == CLIENT_ASKING || c->state == CLIENT_OPEN)
        receive_packets(c);
}

/* ---- all of them */

bool clients_begin(void)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    context = SSL_CTX_new(TLS_client_method());
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!context || epoll_fd < 0)
        return false;
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, keep_session);
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &e) == 0;
}

bool clients_serve(void)
{
    struct epoll_event events[512];
    bool readable = false;
    int n = epoll_wait(epoll_fd, events, 512, 1);
    for (int i = 0; i < n; i++) {
        struct client *c = events[i].data.ptr;
        if (!c)
            readable = true;
        else if (c->state != CLIENT_CLOSED)
            serve_client(c);
    }
    return readable;
}
