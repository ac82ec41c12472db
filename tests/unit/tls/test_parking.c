// SPDX-License-Identifier: ISC
/* Parking, with real TLS connections over loopback and a real epoll: a parked connection is silent and costs nothing,
 * and whatever ends the wait lets the server read what has been lying in the socket. */
#include "tls/parking.h"

#include "tests/unit/suite.h"
#include "tests/unit/tls/tls_pair.h"

#include <openssl/err.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define NEVER INT64_MAX

static const uint8_t key_a[IA_PARKING_KEY_LEN] = {1}, key_b[IA_PARKING_KEY_LEN] = {2};
static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
#define N_VERSIONS ((int)(sizeof versions / sizeof versions[0]))

static SSL_CTX *server_ctx, *client_ctx;
static int epoll = -1;

static void make_contexts(int version)
{
    server_ctx = tls_server_ctx(SSL_VERIFY_NONE);
    client_ctx = tls_client_ctx(version, NULL, NULL);
    SSL_CTX_set_options(server_ctx, SSL_OP_NO_TICKET);
    ck_assert_int_eq(SSL_CTX_set_num_tickets(server_ctx, 0), 1);
    epoll = epoll_create1(0);
}

static unsigned n_released;

static void note_released(void *ctx, int64_t held_us)
{
    ck_assert_ptr_null(ctx);
    ck_assert(held_us >= 0 && held_us < 60000000);
    n_released++;
}

static void open_parking(size_t max)
{
    struct ia_err err = {0};
    const struct ia_parking_settings settings = {.max = max, .released = note_released};
    n_released = 0;
    ck_assert_msg(ia_parking_open(&settings, &err) == IA_OK, "%s", err.msg);
}

static struct tls_pair connected(int receive_buffer)
{
    struct tls_pair p = tls_pair_connect(server_ctx, client_ctx, receive_buffer);
    ck_assert(tls_pair_handshake(&p));
    return p;
}

static void clear_contexts(void)
{
    ia_parking_close();
    SSL_CTX_free(server_ctx);
    SSL_CTX_free(client_ctx);
    close(epoll);
}

/* Does epoll, as the broker's loop asks it, report the server's socket as readable within that time? */
static bool readable_within(const struct tls_pair *p, int ms)
{
    struct epoll_event event = {.events = EPOLLIN};
    ck_assert_int_eq(epoll_ctl(epoll, EPOLL_CTL_ADD, p->server_fd, &event), 0);
    int n = epoll_wait(epoll, &event, 1, ms);
    ck_assert_int_eq(epoll_ctl(epoll, EPOLL_CTL_DEL, p->server_fd, NULL), 0);
    return n == 1;
}

START_TEST(parked_connection_is_silent_until_its_answer)
{
    make_contexts(versions[_i]);
    open_parking(10);
    struct tls_pair p = connected(0);
    ck_assert(ia_parking_hold(p.server, key_a, NEVER));
    tls_client_sends(&p, "CONNECT");
    ck_assert(!readable_within(&p, 50));
    ck_assert_str_eq(tls_server_reads(&p), "");
    ck_assert_uint_eq(ia_parking_count(), 1);
    ia_parking_release(key_b); /* another's answer */
    ck_assert(!readable_within(&p, 0));
    ia_parking_release(key_a);
    ck_assert(readable_within(&p, 1000));
    ck_assert_str_eq(tls_server_reads(&p), "CONNECT");
    ck_assert_uint_eq(ia_parking_count(), 0);
    ck_assert_uint_eq(n_released, 1);
    tls_pair_close(&p);
    clear_contexts();
}
END_TEST

START_TEST(connect_that_came_before_parking_waits_as_well)
{
    make_contexts(versions[_i]);
    open_parking(10);
    struct tls_pair p = connected(0);
    tls_client_sends(&p, "CONNECT");
    ck_assert(readable_within(&p, 1000));
    ck_assert(ia_parking_hold(p.server, key_a, NEVER));
    ck_assert_str_eq(tls_server_reads(&p), "");
    ck_assert(!readable_within(&p, 50));
    ia_parking_release(key_a);
    ck_assert(readable_within(&p, 1000));
    ck_assert_str_eq(tls_server_reads(&p), "CONNECT");
    tls_pair_close(&p);
    clear_contexts();
}
END_TEST

START_TEST(connection_goes_on_when_its_time_is_over)
{
    make_contexts(TLS1_3_VERSION);
    open_parking(10);
    struct tls_pair late = connected(0), early = connected(0);
    ck_assert(ia_parking_hold(late.server, key_a, 2000) && ia_parking_hold(early.server, key_b, 1000));
    tls_client_sends(&late, "late");
    tls_client_sends(&early, "early");
    ia_parking_expire(999);
    ck_assert_uint_eq(ia_parking_count(), 2);
    ia_parking_expire(1000);
    ck_assert(readable_within(&early, 1000));
    ck_assert_str_eq(tls_server_reads(&early), "early");
    ck_assert(!readable_within(&late, 50));
    ia_parking_expire(1999);
    ck_assert_uint_eq(ia_parking_count(), 1);
    ia_parking_expire(2000);
    ck_assert(readable_within(&late, 1000));
    ck_assert_str_eq(tls_server_reads(&late), "late");
    tls_pair_close(&late);
    tls_pair_close(&early);
    clear_contexts();
}
END_TEST

static unsigned n_signals;

static void note_signal(int signal)
{
    (void)signal;
    n_signals++;
}

/* The waker interrupts the broker thread at any moment, also within poll(). */
START_TEST(signals_release_no_connection)
{
    make_contexts(TLS1_3_VERSION);
    open_parking(10);
    const struct sigaction action = {.sa_handler = note_signal, .sa_flags = SA_RESTART};
    const struct itimerval often = {.it_interval = {.tv_usec = 50}, .it_value = {.tv_usec = 50}}, never = {0};
    struct tls_pair p = connected(0);
    ck_assert(ia_parking_hold(p.server, key_a, NEVER));
    ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
    ck_assert_int_eq(setitimer(ITIMER_REAL, &often, NULL), 0);
    while (n_signals < 5000 && ia_parking_count() == 1)
        ck_assert_str_eq(tls_server_reads(&p), "");
    ck_assert_int_eq(setitimer(ITIMER_REAL, &never, NULL), 0);
    ck_assert_uint_eq(ia_parking_count(), 1);
    tls_pair_close(&p);
    clear_contexts();
}
END_TEST

/* Two durations take turns, a third one comes between. */
START_TEST(connections_are_due_in_order_whatever_their_durations)
{
    make_contexts(TLS1_3_VERSION);
    open_parking(10);
    static const int64_t until[] = {5000, 4000, 5001, 4001, 3000, 5002, 4002, 4500};
    enum { N = sizeof until / sizeof until[0] };
    struct tls_pair pairs[N];
    for (size_t i = 0; i < N; i++) {
        pairs[i] = connected(0);
        const uint8_t key[IA_PARKING_KEY_LEN] = {(uint8_t)i};
        ck_assert(ia_parking_hold(pairs[i].server, key, until[i]));
    }
    static const int64_t order[] = {3000, 4000, 4001, 4002, 4500, 5000, 5001, 5002};
    for (size_t i = 0; i < N; i++) {
        ia_parking_expire(order[i] - 1);
        ck_assert_uint_eq(ia_parking_count(), N - i);
        ia_parking_expire(order[i]);
        ck_assert_uint_eq(ia_parking_count(), N - i - 1);
    }
    for (size_t i = 0; i < N; i++)
        tls_pair_close(&pairs[i]);
    clear_contexts();
}
END_TEST

START_TEST(two_connections_of_one_certificate_are_released_together)
{
    make_contexts(TLS1_3_VERSION);
    open_parking(10);
    struct tls_pair a = connected(0), b = connected(0);
    ck_assert(ia_parking_hold(a.server, key_a, NEVER) && ia_parking_hold(b.server, key_a, NEVER));
    tls_client_sends(&a, "a");
    tls_client_sends(&b, "b");
    ia_parking_release(key_a);
    ck_assert(readable_within(&a, 1000) && readable_within(&b, 1000));
    ck_assert_str_eq(tls_server_reads(&a), "a");
    ck_assert_str_eq(tls_server_reads(&b), "b");
    ck_assert_uint_eq(ia_parking_count(), 0);
    tls_pair_close(&a);
    tls_pair_close(&b);
    clear_contexts();
}
END_TEST

START_TEST(connection_is_parked_once_in_its_life)
{
    make_contexts(TLS1_3_VERSION);
    open_parking(10);
    struct tls_pair p = connected(0);
    ck_assert(ia_parking_hold(p.server, key_a, NEVER));
    ck_assert(ia_parking_hold(p.server, key_a, NEVER)); /* it is parked */
    ck_assert_uint_eq(ia_parking_count(), 1);
    ia_parking_release(key_a);
    ck_assert(!ia_parking_hold(p.server, key_a, NEVER));
    tls_pair_close(&p);
    clear_contexts();
}
END_TEST

START_TEST(no_more_connections_are_parked_than_the_limit)
{
    make_contexts(TLS1_3_VERSION);
    open_parking(1);
    struct tls_pair a = connected(0), b = connected(0);
    ck_assert(ia_parking_hold(a.server, key_a, NEVER));
    ck_assert(!ia_parking_hold(b.server, key_b, NEVER));
    tls_client_sends(&b, "b");
    ck_assert(readable_within(&b, 1000));
    ck_assert_str_eq(tls_server_reads(&b), "b");
    tls_pair_close(&a); /* its place is free */
    ck_assert(ia_parking_hold(b.server, key_b, NEVER));
    tls_pair_close(&b);
    clear_contexts();
}
END_TEST

/* Sends until the socket takes no more; returns how much that was. */
static size_t client_floods(const struct tls_pair *p, size_t most)
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
    struct tls_pair p = connected(0);
    ck_assert(ia_parking_hold(p.server, key_a, NEVER));
    ck_assert_uint_ge(client_floods(&p, 100000), 64 << 10);
    ck_assert(readable_within(&p, 1000));
    char text[64];
    ck_assert_int_gt(SSL_read(p.server, text, sizeof text), 0);
    ck_assert_uint_eq(ia_parking_count(), 0);
    tls_pair_close(&p);
    clear_contexts();
}
END_TEST

START_TEST(client_that_fills_a_small_window_is_released)
{
    make_contexts(TLS1_3_VERSION);
    open_parking(10);
    struct tls_pair p = connected(4096);
    ck_assert(ia_parking_hold(p.server, key_a, NEVER));
    (void)client_floods(&p, 32 << 20);
    ck_assert(readable_within(&p, 1000));
    char text[64];
    ck_assert_int_gt(SSL_read(p.server, text, sizeof text), 0);
    ck_assert_uint_eq(ia_parking_count(), 0);
    tls_pair_close(&p);
    clear_contexts();
}
END_TEST

START_TEST(client_that_closes_behind_its_connect_is_released)
{
    make_contexts(versions[_i]);
    open_parking(10);
    struct tls_pair p = connected(0);
    ck_assert(ia_parking_hold(p.server, key_a, NEVER));
    tls_client_sends(&p, "CONNECT");
    ck_assert_int_eq(shutdown(p.client_fd, SHUT_WR), 0);
    ck_assert(readable_within(&p, 1000));
    ck_assert_str_eq(tls_server_reads(&p), "CONNECT");
    ck_assert_uint_eq(ia_parking_count(), 0);
    tls_pair_close(&p);
    clear_contexts();
}
END_TEST

START_TEST(client_that_has_closed_is_not_parked)
{
    make_contexts(TLS1_3_VERSION);
    open_parking(10);
    struct tls_pair p = connected(0);
    ck_assert_int_eq(shutdown(p.client_fd, SHUT_RDWR), 0);
    ck_assert(readable_within(&p, 1000));
    ck_assert(!ia_parking_hold(p.server, key_a, NEVER));
    ck_assert_uint_eq(ia_parking_count(), 0);
    tls_pair_close(&p);
    clear_contexts();
}
END_TEST

START_TEST(freed_connection_leaves_nothing)
{
    make_contexts(versions[_i]);
    open_parking(10);
    struct tls_pair p = connected(0), q = connected(0);
    ck_assert(ia_parking_hold(p.server, key_a, NEVER) && ia_parking_hold(q.server, key_a, NEVER));
    BIO *bio = SSL_get_rbio(q.server);
    ck_assert_int_eq(BIO_up_ref(bio), 1); /* it outlives its SSL */
    tls_pair_close(&p);
    ck_assert_uint_eq(ia_parking_count(), 1);
    SSL_free(q.server);
    q.server = NULL;
    ck_assert_uint_eq(ia_parking_count(), 0);
    char byte;
    ck_assert_int_le(BIO_read(bio, &byte, 1), 0); /* nothing of ours answers */
    BIO_free(bio);
    ia_parking_release(key_a);
    ia_parking_expire(INT64_MAX);
    tls_pair_close(&q);
    clear_contexts();
}
END_TEST

START_TEST(closing_releases_all_and_takes_no_more)
{
    make_contexts(TLS1_3_VERSION);
    open_parking(10);
    struct tls_pair p = connected(0), q = connected(0);
    ck_assert(ia_parking_hold(p.server, key_a, NEVER));
    tls_client_sends(&p, "CONNECT");
    ia_parking_close();
    ck_assert(readable_within(&p, 1000));
    ck_assert_str_eq(tls_server_reads(&p), "CONNECT");
    ck_assert(!ia_parking_hold(q.server, key_b, NEVER));
    tls_pair_close(&p);
    tls_pair_close(&q);
    clear_contexts();
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_loop_test(c, parked_connection_is_silent_until_its_answer, 0, N_VERSIONS);
    tcase_add_loop_test(c, connect_that_came_before_parking_waits_as_well, 0, N_VERSIONS);
    tcase_add_test(c, connection_goes_on_when_its_time_is_over);
    tcase_add_test(c, signals_release_no_connection);
    tcase_add_test(c, connections_are_due_in_order_whatever_their_durations);
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
