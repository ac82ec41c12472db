// SPDX-License-Identifier: ISC
/* Parking, with real TLS connections over loopback and a real epoll: a parked connection is silent and costs nothing,
 * and whatever ends the wait lets the server read what has been lying in the socket. */
#include "plugin/parking.h"

#include "tests/unit/plugin/suite.h"
#include "tests/unit/x509/make_cert.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define NEVER INT64_MAX

static const uint8_t key_a[IA_PARKING_KEY_LEN] = {1}, key_b[IA_PARKING_KEY_LEN] = {2};
static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
#define N_VERSIONS ((int)(sizeof versions / sizeof versions[0]))

struct pair {
    SSL *server, *client;
    int server_fd, client_fd, epoll;
};

static SSL_CTX *server_ctx, *client_ctx;

static void make_contexts(int version)
{
    const struct mc_cert spec = {.subject = "/CN=localhost", .key = "p256:broker"};
    X509 *cert = mc_cert(&spec);
    server_ctx = SSL_CTX_new(TLS_server_method());
    client_ctx = SSL_CTX_new(TLS_client_method());
    ck_assert(server_ctx && client_ctx);
    ck_assert_int_eq(SSL_CTX_use_certificate(server_ctx, cert), 1);
    ck_assert_int_eq(SSL_CTX_use_PrivateKey(server_ctx, mc_key("p256:broker")), 1);
    SSL_CTX_set_options(server_ctx, SSL_OP_NO_TICKET);
    ck_assert_int_eq(SSL_CTX_set_num_tickets(server_ctx, 0), 1);
    ck_assert(SSL_CTX_set_min_proto_version(server_ctx, version) && SSL_CTX_set_max_proto_version(server_ctx, version));
    X509_free(cert);
}

static void open_parking(size_t max)
{
    struct ia_err err = {0};
    ck_assert_msg(ia_parking_open(max, &err) == IA_OK, "%s", err.msg);
}

static void connect_sockets(struct pair *p, int receive_buffer)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (receive_buffer)
        ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer), 0);
    ck_assert(fd >= 0 && bind(fd, (struct sockaddr *)&at, len) == 0 && listen(fd, 1) == 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    p->client_fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(p->client_fd, (struct sockaddr *)&at, sizeof at), 0);
    p->server_fd = accept(fd, NULL, NULL);
    ck_assert_int_ge(p->server_fd, 0);
    close(fd);
    ck_assert(fcntl(p->server_fd, F_SETFL, O_NONBLOCK) == 0 && fcntl(p->client_fd, F_SETFL, O_NONBLOCK) == 0);
}

static struct pair connected(int receive_buffer)
{
    struct pair p = {.server = SSL_new(server_ctx), .client = SSL_new(client_ctx), .epoll = epoll_create1(0)};
    connect_sockets(&p, receive_buffer);
    ck_assert(SSL_set_fd(p.server, p.server_fd) == 1 && SSL_set_fd(p.client, p.client_fd) == 1);
    for (int server = 0, client = 0; server != 1 || client != 1;) {
        client = client == 1 ? 1 : SSL_connect(p.client);
        server = server == 1 ? 1 : SSL_accept(p.server);
        ERR_clear_error();
    }
    struct epoll_event watch = {.events = EPOLLIN, .data.fd = p.server_fd};
    ck_assert_int_eq(epoll_ctl(p.epoll, EPOLL_CTL_ADD, p.server_fd, &watch), 0);
    return p;
}

static void disconnect(struct pair *p)
{
    SSL_free(p->server);
    SSL_free(p->client);
    close(p->server_fd);
    close(p->client_fd);
    close(p->epoll);
}

static void clear_contexts(void)
{
    ia_parking_close();
    SSL_CTX_free(server_ctx);
    SSL_CTX_free(client_ctx);
}

static int readable_within(const struct pair *p, int ms)
{
    struct epoll_event event;
    return epoll_wait(p->epoll, &event, 1, ms);
}

/* What the server reads now; "" where it would have to wait. */
static const char *server_reads(const struct pair *p)
{
    static char text[64];
    memset(text, 0, sizeof text);
    ERR_clear_error();
    int n = SSL_read(p->server, text, (int)sizeof text - 1);
    if (n <= 0)
        ck_assert_int_eq(SSL_get_error(p->server, n), SSL_ERROR_WANT_READ);
    return text;
}

static void client_sends(const struct pair *p, const char *text)
{
    ck_assert_int_eq(SSL_write(p->client, text, (int)strlen(text)), (int)strlen(text));
}

START_TEST(parked_connection_is_silent_until_its_answer)
{
    make_contexts(versions[_i]);
    open_parking(10);
    struct pair p = connected(0);
    ck_assert(ia_parking_hold(p.server, key_a, NEVER));
    client_sends(&p, "CONNECT");
    ck_assert_int_eq(readable_within(&p, 50), 0);
    ck_assert_str_eq(server_reads(&p), "");
    ck_assert_uint_eq(ia_parking_count(), 1);
    ia_parking_release(key_b); /* another's answer */
    ck_assert_int_eq(readable_within(&p, 0), 0);
    ia_parking_release(key_a);
    ck_assert_int_eq(readable_within(&p, 1000), 1);
    ck_assert_str_eq(server_reads(&p), "CONNECT");
    ck_assert_uint_eq(ia_parking_count(), 0);
    disconnect(&p);
    clear_contexts();
}
END_TEST

START_TEST(connect_that_came_before_parking_waits_as_well)
{
    make_contexts(versions[_i]);
    open_parking(10);
    struct pair p = connected(0);
    client_sends(&p, "CONNECT");
    ck_assert_int_eq(readable_within(&p, 1000), 1);
    ck_assert(ia_parking_hold(p.server, key_a, NEVER));
    ck_assert_str_eq(server_reads(&p), "");
    ck_assert_int_eq(readable_within(&p, 50), 0);
    ia_parking_release(key_a);
    ck_assert_int_eq(readable_within(&p, 1000), 1);
    ck_assert_str_eq(server_reads(&p), "CONNECT");
    disconnect(&p);
    clear_contexts();
}
END_TEST

START_TEST(connection_goes_on_when_its_time_is_over)
{
    make_contexts(TLS1_3_VERSION);
    open_parking(10);
    struct pair late = connected(0), early = connected(0);
    ck_assert_int_eq(ia_parking_next_us(), INT64_MAX);
    ck_assert(ia_parking_hold(late.server, key_a, 2000) && ia_parking_hold(early.server, key_b, 1000));
    client_sends(&late, "late");
    client_sends(&early, "early");
    ck_assert_int_eq(ia_parking_next_us(), 1000);
    ia_parking_expire(999);
    ck_assert_uint_eq(ia_parking_count(), 2);
    ia_parking_expire(1000);
    ck_assert_int_eq(readable_within(&early, 1000), 1);
    ck_assert_str_eq(server_reads(&early), "early");
    ck_assert_int_eq(readable_within(&late, 50), 0);
    ck_assert_int_eq(ia_parking_next_us(), 2000);
    ia_parking_expire(2000);
    ck_assert_int_eq(readable_within(&late, 1000), 1);
    ck_assert_str_eq(server_reads(&late), "late");
    disconnect(&late);
    disconnect(&early);
    clear_contexts();
}
END_TEST

START_TEST(two_connections_of_one_certificate_are_released_together)
{
    make_contexts(TLS1_3_VERSION);
    open_parking(10);
    struct pair a = connected(0), b = connected(0);
    ck_assert(ia_parking_hold(a.server, key_a, NEVER) && ia_parking_hold(b.server, key_a, NEVER));
    client_sends(&a, "a");
    client_sends(&b, "b");
    ia_parking_release(key_a);
    ck_assert(readable_within(&a, 1000) == 1 && readable_within(&b, 1000) == 1);
    ck_assert_str_eq(server_reads(&a), "a");
    ck_assert_str_eq(server_reads(&b), "b");
    ck_assert_uint_eq(ia_parking_count(), 0);
    disconnect(&a);
    disconnect(&b);
    clear_contexts();
}
END_TEST

START_TEST(connection_is_parked_once_in_its_life)
{
    make_contexts(TLS1_3_VERSION);
    open_parking(10);
    struct pair p = connected(0);
    ck_assert(ia_parking_hold(p.server, key_a, NEVER));
    ck_assert(ia_parking_hold(p.server, key_a, NEVER)); /* it is parked */
    ck_assert_uint_eq(ia_parking_count(), 1);
    ia_parking_release(key_a);
    ck_assert(!ia_parking_hold(p.server, key_a, NEVER));
    disconnect(&p);
    clear_contexts();
}
END_TEST

START_TEST(no_more_connections_are_parked_than_the_limit)
{
    make_contexts(TLS1_3_VERSION);
    open_parking(1);
    struct pair a = connected(0), b = connected(0);
    ck_assert(ia_parking_hold(a.server, key_a, NEVER));
    ck_assert(!ia_parking_hold(b.server, key_b, NEVER));
    client_sends(&b, "b");
    ck_assert_int_eq(readable_within(&b, 1000), 1);
    ck_assert_str_eq(server_reads(&b), "b");
    disconnect(&a); /* its place is free */
    ck_assert(ia_parking_hold(b.server, key_b, NEVER));
    disconnect(&b);
    clear_contexts();
}
END_TEST

/* Sends until the socket takes no more; returns how much that was. */
static size_t client_floods(const struct pair *p, size_t most)
{
    static const char block[4096];
    size_t sent = 0;
    while (sent < most) {
        ERR_clear_error();
        int n = SSL_write(p->client, block, sizeof block);
        if (n <= 0)
            break;
        sent += (size_t)n;
    }
    return sent;
}

START_TEST(client_that_sends_too_much_is_released)
{
    make_contexts(versions[_i]);
    open_parking(10);
    struct pair p = connected(0);
    ck_assert(ia_parking_hold(p.server, key_a, NEVER));
    ck_assert_uint_ge(client_floods(&p, 100000), 64 << 10);
    ck_assert_int_eq(readable_within(&p, 1000), 1);
    char text[64];
    ck_assert_int_gt(SSL_read(p.server, text, sizeof text), 0);
    ck_assert_uint_eq(ia_parking_count(), 0);
    disconnect(&p);
    clear_contexts();
}
END_TEST

START_TEST(client_that_fills_a_small_window_is_released)
{
    make_contexts(TLS1_3_VERSION);
    open_parking(10);
    struct pair p = connected(4096);
    ck_assert(ia_parking_hold(p.server, key_a, NEVER));
    (void)client_floods(&p, 32 << 20);
    ck_assert_int_eq(readable_within(&p, 1000), 1);
    char text[64];
    ck_assert_int_gt(SSL_read(p.server, text, sizeof text), 0);
    ck_assert_uint_eq(ia_parking_count(), 0);
    disconnect(&p);
    clear_contexts();
}
END_TEST

START_TEST(client_that_closes_behind_its_connect_is_released)
{
    make_contexts(versions[_i]);
    open_parking(10);
    struct pair p = connected(0);
    ck_assert(ia_parking_hold(p.server, key_a, NEVER));
    client_sends(&p, "CONNECT");
    ck_assert_int_eq(shutdown(p.client_fd, SHUT_WR), 0);
    ck_assert_int_eq(readable_within(&p, 1000), 1);
    ck_assert_str_eq(server_reads(&p), "CONNECT");
    ck_assert_uint_eq(ia_parking_count(), 0);
    disconnect(&p);
    clear_contexts();
}
END_TEST

START_TEST(client_that_has_closed_is_not_parked)
{
    make_contexts(TLS1_3_VERSION);
    open_parking(10);
    struct pair p = connected(0);
    ck_assert_int_eq(shutdown(p.client_fd, SHUT_RDWR), 0);
    ck_assert_int_eq(readable_within(&p, 1000), 1);
    ck_assert(!ia_parking_hold(p.server, key_a, NEVER));
    ck_assert_uint_eq(ia_parking_count(), 0);
    disconnect(&p);
    clear_contexts();
}
END_TEST

START_TEST(freed_connection_leaves_nothing)
{
    make_contexts(versions[_i]);
    open_parking(10);
    struct pair p = connected(0), q = connected(0);
    ck_assert(ia_parking_hold(p.server, key_a, NEVER) && ia_parking_hold(q.server, key_a, NEVER));
    BIO *bio = SSL_get_rbio(q.server);
    ck_assert_int_eq(BIO_up_ref(bio), 1); /* it outlives its SSL */
    disconnect(&p);
    ck_assert_uint_eq(ia_parking_count(), 1);
    SSL_free(q.server);
    q.server = NULL;
    ck_assert_uint_eq(ia_parking_count(), 0);
    char byte;
    ck_assert_int_le(BIO_read(bio, &byte, 1), 0); /* nothing of ours answers */
    BIO_free(bio);
    ia_parking_release(key_a);
    ia_parking_expire(INT64_MAX);
    disconnect(&q);
    clear_contexts();
}
END_TEST

START_TEST(closing_releases_all_and_takes_no_more)
{
    make_contexts(TLS1_3_VERSION);
    open_parking(10);
    struct pair p = connected(0), q = connected(0);
    ck_assert(ia_parking_hold(p.server, key_a, NEVER));
    client_sends(&p, "CONNECT");
    ia_parking_close();
    ck_assert_int_eq(readable_within(&p, 1000), 1);
    ck_assert_str_eq(server_reads(&p), "CONNECT");
    ck_assert(!ia_parking_hold(q.server, key_b, NEVER));
    disconnect(&p);
    disconnect(&q);
    clear_contexts();
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_loop_test(c, parked_connection_is_silent_until_its_answer, 0, N_VERSIONS);
    tcase_add_loop_test(c, connect_that_came_before_parking_waits_as_well, 0, N_VERSIONS);
    tcase_add_test(c, connection_goes_on_when_its_time_is_over);
    tcase_add_test(c, two_connections_of_one_certificate_are_released_together);
    tcase_add_test(c, connection_is_parked_once_in_its_life);
    tcase_add_test(c, no_more_connections_are_parked_than_the_limit);
    tcase_add_loop_test(c, client_that_sends_too_much_is_released, 0, N_VERSIONS);
    tcase_add_test(c, client_that_fills_a_small_window_is_released);
    tcase_add_loop_test(c, client_that_closes_behind_its_connect_is_released, 0, N_VERSIONS);
    tcase_add_test(c, client_that_has_closed_is_not_parked);
    tcase_add_loop_test(c, freed_connection_leaves_nothing, 0, N_VERSIONS);
    tcase_add_test(c, closing_releases_all_and_takes_no_more);
}

int main(void)
{
    return run_suite("parking", cases);
}
