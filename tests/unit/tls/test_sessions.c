// SPDX-License-Identifier: ISC
/* Resumption in real handshakes, TLS 1.2 and 1.3: whose session is kept, for how long, and who may use it. */
#include "tls/sessions.h"

#include "tests/unit/suite.h"
#include "tests/unit/tls/tls_pair.h"
#include "tests/unit/x509/make_cert.h"
#include "tests/unit/x509/pki.h"

#include <openssl/err.h>
#include <string.h>
#include <sys/socket.h>

#define A_YEAR 31536000

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
#define N_VERSIONS ((int)(sizeof versions / sizeof versions[0]))

static SSL_CTX *server_ctx;
static uint16_t port;
static bool acceptable;
static unsigned n_asked;

/* ---- what the gate knows of leafs: an id made of their serial number */

static void id_of(X509 *leaf, uint8_t out[IA_TLS_LEAF_ID_LEN])
{
    memset(out, 0, IA_TLS_LEAF_ID_LEN);
    out[0] = (uint8_t)ASN1_INTEGER_get(X509_get0_serialNumber(leaf));
}

static const uint8_t *leaf_id(void *ctx, X509 *leaf)
{
    static uint8_t id[IA_TLS_LEAF_ID_LEN];
    (void)ctx;
    id_of(leaf, id);
    return id;
}

static bool is_acceptable(void *ctx, X509 *leaf)
{
    (void)ctx;
    ck_assert_ptr_nonnull(leaf);
    n_asked++;
    return acceptable;
}

static int accept_chain(X509_STORE_CTX *ctx, void *arg)
{
    (void)arg;
    X509_STORE_CTX_set_error(ctx, X509_V_OK);
    return 1;
}

static int on_client_hello(SSL *ssl, int *alert, void *arg)
{
    (void)alert, (void)arg;
    SSL_set_options(ssl, SSL_OP_NO_TICKET);
    (void)SSL_set_num_tickets(ssl, 0);
    (void)ia_tls_sessions_offer(ssl, port);
    return SSL_CLIENT_HELLO_SUCCESS;
}

static void start(size_t max, int64_t seconds)
{
    struct ia_err err = {0};
    const struct ia_tls_session_settings settings = {
        .max = max, .seconds = seconds, .leaf_id = leaf_id, .is_acceptable = is_acceptable};
    ck_assert_msg(ia_tls_sessions_open(&settings, &err) == IA_OK, "%s", err.msg);
    acceptable = true;
    port = 8883;
    server_ctx = tls_server_ctx(SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT);
    SSL_CTX_set_cert_verify_callback(server_ctx, accept_chain, NULL);
    SSL_CTX_set_client_hello_cb(server_ctx, on_client_hello, NULL);
}

static void stop(void)
{
    ia_tls_sessions_close();
    SSL_CTX_free(server_ctx);
}

/* ---- a device, which keeps the session that it was given last */

struct device {
    SSL_CTX *ctx;
    const char *leaf;
    SSL_SESSION *session;
};

static int take_session(SSL *ssl, SSL_SESSION *session)
{
    struct device *d = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    SSL_SESSION_free(d->session);
    d->session = session;
    return 1;
}

static void device_init(struct device *d, int version, const char *leaf)
{
    *d = (struct device){.ctx = tls_client_ctx(version, leaf, "p256:leaf"), .leaf = leaf};
    SSL_CTX_set_app_data(d->ctx, d);
    SSL_CTX_set_session_cache_mode(d->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(d->ctx, take_session);
}

static void device_clear(struct device *d)
{
    SSL_SESSION_free(d->session);
    SSL_CTX_free(d->ctx);
}

static void accept_login(const struct tls_pair *p, int64_t valid_s)
{
    X509 *leaf = SSL_get1_peer_certificate(p->server); /* as mosquitto_client_certificate */
    ia_tls_sessions_keep(leaf, MC_NOW, MC_NOW + valid_s);
    X509_free(leaf);
}

static void refuse_login(const struct device *d)
{
    uint8_t id[IA_TLS_LEAF_ID_LEN];
    id_of(pki_cert(d->leaf), id);
    ia_tls_sessions_drop(id);
}

static struct tls_pair device_handshake(struct device *d)
{
    struct tls_pair p = tls_pair_connect(server_ctx, d->ctx, 0);
    if (d->session)
        ck_assert_int_eq(SSL_set_session(p.client, d->session), 1);
    ck_assert(tls_pair_handshake(&p));
    X509 *leaf = SSL_get1_peer_certificate(p.server);
    ck_assert_msg(leaf && X509_cmp(leaf, pki_cert(d->leaf)) == 0, "resumed or not, the certificate is known");
    X509_free(leaf);
    return p;
}

/* Connect and be let in; true: by a resumed handshake. */
static bool device_resumes(struct device *d)
{
    struct tls_pair p = device_handshake(d);
    bool reused = SSL_session_reused(p.server);
    accept_login(&p, A_YEAR);
    SSL_shutdown(p.server);
    tls_pair_close(&p);
    return reused;
}

/* ---- cases */

START_TEST(accepted_device_resumes_again_and_again)
{
    struct device d;
    start(10, 1000);
    device_init(&d, versions[_i], "leaf");
    ck_assert(!device_resumes(&d));
    for (int i = 0; i < 3; i++)
        ck_assert_msg(device_resumes(&d), "at reconnect %d", i + 1);
    ck_assert_uint_eq(ia_tls_sessions_count(), 1);
    device_clear(&d);
    stop();
}
END_TEST

START_TEST(resumed_connection_has_the_very_certificate_that_was_verified)
{
    struct device d;
    start(10, 1000);
    device_init(&d, versions[_i], "leaf");
    struct tls_pair p = device_handshake(&d);
    X509 *verified = SSL_get1_peer_certificate(p.server);
    accept_login(&p, A_YEAR);
    SSL_shutdown(p.server);
    tls_pair_close(&p);
    p = device_handshake(&d);
    ck_assert(SSL_session_reused(p.server));
    ck_assert_ptr_eq(SSL_get0_peer_certificate(p.server), verified);
    tls_pair_close(&p);
    X509_free(verified);
    device_clear(&d);
    stop();
}
END_TEST

START_TEST(refused_device_has_no_session)
{
    struct device d;
    start(10, 1000);
    device_init(&d, versions[_i], "leaf");
    for (int i = 0; i < 2; i++) {
        struct tls_pair p = device_handshake(&d);
        ck_assert(!SSL_session_reused(p.server));
        refuse_login(&d);
        SSL_shutdown(p.server);
        tls_pair_close(&p);
        ck_assert_uint_eq(ia_tls_sessions_count(), 0);
    }
    device_clear(&d);
    stop();
}
END_TEST

START_TEST(connection_that_ends_before_its_login_leaves_no_session)
{
    struct device d;
    start(10, 1000);
    device_init(&d, versions[_i], "leaf");
    struct tls_pair p = device_handshake(&d);
    X509 *leaf = SSL_get1_peer_certificate(p.server);
    SSL_shutdown(p.server);
    tls_pair_close(&p);
    ia_tls_sessions_keep(leaf, MC_NOW, MC_NOW + A_YEAR);
    X509_free(leaf);
    ck_assert_uint_eq(ia_tls_sessions_count(), 0);
    ck_assert(!device_resumes(&d));
    device_clear(&d);
    stop();
}
END_TEST

START_TEST(session_is_dropped_when_its_device_is_refused_later)
{
    struct device d;
    start(10, 1000);
    device_init(&d, versions[_i], "leaf");
    ck_assert(!device_resumes(&d));
    refuse_login(&d);
    ck_assert_uint_eq(ia_tls_sessions_count(), 0);
    ck_assert(!device_resumes(&d));
    ck_assert(device_resumes(&d));
    device_clear(&d);
    stop();
}
END_TEST

START_TEST(chain_that_is_no_longer_accepted_gets_a_full_handshake)
{
    struct device d;
    start(10, 1000);
    device_init(&d, versions[_i], "leaf");
    ck_assert(!device_resumes(&d));
    acceptable = false;
    n_asked = 0;
    ck_assert(!device_resumes(&d));
    ck_assert_uint_eq(n_asked, 1);
    device_clear(&d);
    stop();
}
END_TEST

START_TEST(session_of_another_port_or_run_is_not_resumed)
{
    struct device d;
    start(10, 1000);
    device_init(&d, versions[_i], "leaf");
    ck_assert(!device_resumes(&d));
    port = 8884;
    ck_assert(!device_resumes(&d));
    ck_assert(device_resumes(&d));
    stop(); /* the broker restarts */
    start(10, 1000);
    port = 8884;
    ck_assert(!device_resumes(&d));
    device_clear(&d);
    stop();
}
END_TEST

START_TEST(end_of_tcp_without_close_notify_keeps_the_session)
{
    struct device d;
    start(10, 1000);
    device_init(&d, versions[_i], "leaf");
    struct tls_pair p = device_handshake(&d);
    accept_login(&p, A_YEAR);
    ck_assert_int_eq(shutdown(p.client_fd, SHUT_RDWR), 0);
    char byte;
    ck_assert_int_le(SSL_read(p.server, &byte, 1), 0);
    SSL_shutdown(p.server); /* as Mosquitto closes */
    tls_pair_close(&p);
    ck_assert(device_resumes(&d));
    device_clear(&d);
    stop();
}
END_TEST

START_TEST(least_recently_used_session_makes_room)
{
    struct device a, b, c;
    start(2, 1000);
    device_init(&a, versions[_i], "leaf");
    device_init(&b, versions[_i], "leaf_of_root");
    device_init(&c, versions[_i], "expired_leaf");
    ck_assert(!device_resumes(&a) && !device_resumes(&b));
    ck_assert(device_resumes(&a));
    ck_assert(!device_resumes(&c)); /* in place of b's */
    ck_assert_uint_eq(ia_tls_sessions_count(), 2);
    ck_assert(device_resumes(&a) && device_resumes(&c));
    ck_assert(!device_resumes(&b));
    device_clear(&a);
    device_clear(&b);
    device_clear(&c);
    stop();
}
END_TEST

START_TEST(device_in_a_loop_pushes_no_other_out)
{
    struct device a, loop;
    start(2, 1000);
    device_init(&a, versions[_i], "leaf");
    device_init(&loop, versions[_i], "leaf_of_root");
    ck_assert(!device_resumes(&a));
    for (int i = 0; i < 5; i++) {
        SSL_SESSION_free(loop.session);
        loop.session = NULL;
        ck_assert(!device_resumes(&loop));
    }
    ck_assert_uint_eq(ia_tls_sessions_count(), 2);
    ck_assert(device_resumes(&a));
    device_clear(&a);
    device_clear(&loop);
    stop();
}
END_TEST

START_TEST(session_ends_with_its_time_and_with_its_certificate)
{
    struct device d;
    start(10, 1000);
    device_init(&d, versions[_i], "leaf");
    struct tls_pair p = device_handshake(&d);
    SSL_SESSION *made = SSL_get1_session(p.server);
    ck_assert_int_eq(SSL_SESSION_get_timeout(made), 1000);
    accept_login(&p, 60);
    ck_assert_int_eq(SSL_SESSION_get_timeout(made), 60); /* the chain's notAfter is nearer */
    SSL_SESSION_set_time(made, SSL_SESSION_get_time(made) - 61);
    SSL_shutdown(p.server);
    tls_pair_close(&p);
    SSL_SESSION_free(made);
    ck_assert(!device_resumes(&d));
    p = device_handshake(&d);
    accept_login(&p, 0); /* in its last second */
    ck_assert_uint_eq(ia_tls_sessions_count(), versions[_i] == TLS1_2_VERSION ? 1 : 0);
    tls_pair_close(&p);
    device_clear(&d);
    stop();
}
END_TEST

START_TEST(two_connections_of_one_leaf_at_a_time_are_safe)
{
    struct device a, b;
    start(10, 1000);
    device_init(&a, versions[_i], "leaf");
    device_init(&b, versions[_i], "leaf");
    struct tls_pair first = device_handshake(&a), second = device_handshake(&b);
    tls_pair_close(&first);
    accept_login(&second, A_YEAR);
    ck_assert_uint_eq(ia_tls_sessions_count(), 1);
    SSL_shutdown(second.server);
    tls_pair_close(&second);
    ck_assert(device_resumes(&b));
    device_clear(&a);
    device_clear(&b);
    stop();
}
END_TEST

/* Both show the same certificate, but the first one's login says nothing of the second one's connection. */
START_TEST(session_of_another_handshake_is_not_kept)
{
    struct device a, b;
    start(10, 1000);
    device_init(&a, versions[_i], "leaf");
    device_init(&b, versions[_i], "leaf");
    struct tls_pair first = device_handshake(&a), second = device_handshake(&b);
    accept_login(&first, A_YEAR);
    ck_assert_uint_eq(ia_tls_sessions_count(), 0);
    tls_pair_close(&first);
    tls_pair_close(&second);
    device_clear(&a);
    device_clear(&b);
    stop();
}
END_TEST

START_TEST(sweep_drops_what_is_not_acceptable)
{
    struct device a, b;
    start(10, 1000);
    device_init(&a, versions[_i], "leaf");
    device_init(&b, versions[_i], "leaf_of_root");
    ck_assert(!device_resumes(&a) && !device_resumes(&b));
    ck_assert(!ia_tls_sessions_sweep(10)); /* none has begun */
    ia_tls_sessions_sweep_begin();
    n_asked = 0;
    ck_assert(ia_tls_sessions_sweep(1));
    acceptable = false;
    ck_assert(!ia_tls_sessions_sweep(10));
    ck_assert_uint_eq(n_asked, 2);
    ck_assert_uint_eq(ia_tls_sessions_count(), 1);
    ia_tls_sessions_sweep_begin();
    refuse_login(&a); /* the next one of the sweep */
    ck_assert(!ia_tls_sessions_sweep(10));
    ck_assert_uint_eq(n_asked, 2);
    acceptable = true;
    ck_assert(!device_resumes(&a) && !device_resumes(&b));
    ia_tls_sessions_sweep_begin();
    ck_assert(device_resumes(&a)); /* moves to the end, behind the sweep */
    ck_assert(!ia_tls_sessions_sweep(10));
    ck_assert_uint_eq(ia_tls_sessions_count(), 2);
    device_clear(&a);
    device_clear(&b);
    stop();
}
END_TEST

START_TEST(excluded_port_offers_nothing)
{
    struct device d;
    start(10, 1000);
    for (unsigned p = 0; p < 3; p++)
        ia_tls_sessions_exclude(8883);
    device_init(&d, versions[_i], "leaf");
    ck_assert(!device_resumes(&d) && !device_resumes(&d));
    ck_assert_uint_eq(ia_tls_sessions_count(), 0);
    port = 8884;
    ck_assert(!device_resumes(&d));
    ck_assert(device_resumes(&d));
    device_clear(&d);
    stop();
}
END_TEST

START_TEST(sessions_of_a_closed_gate_are_not_resumed)
{
    struct device d;
    start(10, 1000);
    device_init(&d, versions[_i], "leaf");
    struct tls_pair p = device_handshake(&d);
    ia_tls_sessions_close(); /* OpenSSL keeps the callbacks */
    tls_pair_close(&p);
    ck_assert(!device_resumes(&d));
    ck_assert(!device_resumes(&d));
    ck_assert_uint_eq(ia_tls_sessions_count(), 0);
    device_clear(&d);
    stop();
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_loop_test(c, accepted_device_resumes_again_and_again, 0, N_VERSIONS);
    tcase_add_loop_test(c, resumed_connection_has_the_very_certificate_that_was_verified, 0, N_VERSIONS);
    tcase_add_loop_test(c, refused_device_has_no_session, 0, N_VERSIONS);
    tcase_add_loop_test(c, connection_that_ends_before_its_login_leaves_no_session, 0, N_VERSIONS);
    tcase_add_loop_test(c, session_is_dropped_when_its_device_is_refused_later, 0, N_VERSIONS);
    tcase_add_loop_test(c, chain_that_is_no_longer_accepted_gets_a_full_handshake, 0, N_VERSIONS);
    tcase_add_loop_test(c, session_of_another_port_or_run_is_not_resumed, 0, N_VERSIONS);
    tcase_add_loop_test(c, end_of_tcp_without_close_notify_keeps_the_session, 0, N_VERSIONS);
    tcase_add_loop_test(c, least_recently_used_session_makes_room, 0, N_VERSIONS);
    tcase_add_loop_test(c, device_in_a_loop_pushes_no_other_out, 0, N_VERSIONS);
    tcase_add_loop_test(c, session_ends_with_its_time_and_with_its_certificate, 0, N_VERSIONS);
    tcase_add_loop_test(c, two_connections_of_one_leaf_at_a_time_are_safe, 0, N_VERSIONS);
    tcase_add_loop_test(c, session_of_another_handshake_is_not_kept, 0, N_VERSIONS);
    tcase_add_loop_test(c, sweep_drops_what_is_not_acceptable, 0, N_VERSIONS);
    tcase_add_loop_test(c, excluded_port_offers_nothing, 0, N_VERSIONS);
    tcase_add_loop_test(c, sessions_of_a_closed_gate_are_not_resumed, 0, N_VERSIONS);
}

int main(void)
{
    return run_suite("tls_sessions", cases);
}
