// SPDX-License-Identifier: ISC
/* Handshakes with pre-shared keys over loopback: what proves an identity, what fails and how, and to which client
 * object an identity belongs. */
#include "tls/psk.h"

#include "tests/unit/suite.h"
#include "tests/unit/tls/tls_pair.h"
#include "tls/psk_listeners.h"

#include <openssl/err.h>
#include <stdio.h>
#include <string.h>

#define KEY_LEN 32

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
#define VERSIONS ((int)(sizeof versions / sizeof versions[0]))

/* --- the registry: "meter-1" has a key, "meter-2" a withdrawn one */

static const uint8_t right_key[KEY_LEN] = {1, 2, 3}, wrong_key[KEY_LEN] = {4, 5, 6};
static const uint8_t *registered_key = right_key; /* of "meter-1"; NULL: none any more */
static bool replaced;                             /* as ia_tls_psk_take says */
static char proven[IA_PSK_IDENTITY_MAX + 1], refused[IA_PSK_IDENTITY_MAX + 1], why_refused[64];
static unsigned n_asked, n_proven, n_refused, n_warned, n_unused;
static char warning[256];

static const char *find_key(void *ctx, const char *identity, size_t len, uint8_t key[IA_PSK_KEY_MAX], size_t *key_len)
{
    (void)ctx;
    n_asked++;
    if (len == 7 && memcmp(identity, "meter-2", len) == 0)
        return "the key is INACTIVE";
    if (len != 7 || memcmp(identity, "meter-1", len) != 0)
        return "unknown";
    if (!registered_key)
        return "withdrawn";
    memcpy(key, registered_key, KEY_LEN);
    *key_len = KEY_LEN;
    return NULL;
}

static void note_proven(void *ctx, SSL *ssl, const char *identity)
{
    (void)ctx, (void)ssl;
    snprintf(proven, sizeof proven, "%s", identity);
    n_proven++;
}

static void note_refused(void *ctx, SSL *ssl, const char *identity, const char *why)
{
    (void)ctx, (void)ssl;
    snprintf(refused, sizeof refused, "%s", identity ? identity : "(none)");
    snprintf(why_refused, sizeof why_refused, "%s", why);
    n_refused++;
}

static void note_unused(void *ctx, const char *identity, uint16_t port)
{
    (void)ctx;
    ck_assert_uint_gt(port, 0);
    ck_assert_str_eq(identity, "meter-1");
    n_unused++;
}

static void note_warning(void *ctx, const char *text)
{
    (void)ctx;
    snprintf(warning, sizeof warning, "%s", text);
    n_warned++;
}

/* --- both ends */

static const uint8_t *client_key;
static const char *client_identity;
static int client_alert; /* that the client received */
static SSL_CTX *server, *client;
static char owner; /* what stands for Mosquitto's client object */
static int owner_index = -1;

static unsigned client_key_12(SSL *ssl, const char *hint, char *identity, unsigned max_identity, unsigned char *key,
                              unsigned max_key)
{
    (void)ssl, (void)hint;
    ck_assert_uint_ge(max_key, KEY_LEN);
    snprintf(identity, max_identity, "%s", client_identity);
    memcpy(key, client_key, KEY_LEN);
    return KEY_LEN;
}

/* A key of TLS 1.3 that is bound to SHA-384. */
static int use_sha384_session(SSL *ssl, const EVP_MD *md, const unsigned char **id, size_t *id_len, SSL_SESSION **out)
{
    static const unsigned char suite[] = {0x13, 0x02}; /* TLS_AES_256_GCM_SHA384 */
    (void)md;
    *id = (const unsigned char *)client_identity;
    *id_len = strlen(client_identity);
    *out = SSL_SESSION_new();
    return SSL_SESSION_set1_master_key(*out, client_key, KEY_LEN) &&
           SSL_SESSION_set_cipher(*out, SSL_CIPHER_find(ssl, suite)) &&
           SSL_SESSION_set_protocol_version(*out, TLS1_3_VERSION);
}

static void note_client_alert(const SSL *ssl, int where, int alert)
{
    (void)ssl;
    if ((where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT && alert >> 8 == SSL3_AL_FATAL)
        client_alert = alert & 0xFF;
}

static int on_client_hello(SSL *ssl, int *alert, void *arg)
{
    (void)arg;
    if (ia_tls_psk_prepare(ssl))
        return SSL_CLIENT_HELLO_SUCCESS;
    *alert = SSL_AD_INTERNAL_ERROR;
    return SSL_CLIENT_HELLO_ERROR;
}

static void open_psk(bool allow_plain)
{
    const struct ia_tls_psk_hooks hooks = {.find_key = find_key,
                                           .proven = note_proven,
                                           .refused = note_refused,
                                           .unused = note_unused,
                                           .warn = note_warning};
    ck_assert_int_eq(ia_tls_psk_open(&hooks, allow_plain, NULL), IA_OK);
}

static void setup(void)
{
    if (owner_index < 0)
        owner_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    open_psk(false);
    server = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_client_hello_cb(server, on_client_hello, NULL);
    client = tls_client_ctx(0, NULL, NULL);
    SSL_CTX_set_psk_client_callback(client, client_key_12);
    client_key = right_key;
    client_identity = "meter-1";
}

static void teardown(void)
{
    SSL_CTX_free(server);
    SSL_CTX_free(client);
    ia_tls_psk_close();
}

static void speak(int version)
{
    ck_assert(SSL_CTX_set_min_proto_version(client, version) && SSL_CTX_set_max_proto_version(client, version));
}

static struct tls_pair connect_pair(void)
{
    struct tls_pair p = tls_pair_connect(server, client, 0);
    ck_assert_int_eq(SSL_set_ex_data(p.server, owner_index, &owner), 1);
    SSL_set_info_callback(p.client, note_client_alert);
    return p;
}

static bool handshake(void)
{
    struct tls_pair p = connect_pair();
    bool ok = tls_pair_handshake(&p);
    tls_pair_close(&p);
    return ok;
}

/* --- cases */

START_TEST(a_listener_without_a_certificate_is_one_with_keys)
{
    SSL_CTX *with = tls_server_ctx(SSL_VERIFY_NONE);
    SSL *one = SSL_new(server), *other = SSL_new(with);
    ck_assert(ia_tls_psk_concerns(one));
    ck_assert(!ia_tls_psk_concerns(other));
    ia_tls_psk_close();
    ck_assert(!ia_tls_psk_concerns(one));
    SSL_free(one);
    SSL_free(other);
    SSL_CTX_free(with);
}
END_TEST

START_TEST(the_key_proves_the_identity)
{
    speak(versions[_i]);
    struct tls_pair p = connect_pair();
    ck_assert(tls_pair_handshake(&p));
    ck_assert_uint_eq(n_proven, 1);
    ck_assert_str_eq(proven, "meter-1");
    ck_assert_uint_eq(n_refused, 0);
    ck_assert_int_eq(SSL_version(p.server), versions[_i]);
    tls_pair_close(&p);
}
END_TEST

START_TEST(the_identity_belongs_to_its_client_and_is_taken_once)
{
    SSL *ssl = NULL;
    char other;
    speak(versions[_i]);
    struct tls_pair p = connect_pair();
    ck_assert_ptr_null(ia_tls_psk_take(&owner, &ssl, &replaced));
    ck_assert(tls_pair_handshake(&p));
    ck_assert_ptr_null(ia_tls_psk_take(&other, &ssl, &replaced));
    ck_assert_ptr_null(ia_tls_psk_take(NULL, &ssl, &replaced));
    ck_assert_ptr_null(ia_tls_psk_taken(&owner));
    ck_assert_str_eq(ia_tls_psk_take(&owner, &ssl, &replaced), "meter-1");
    ck_assert_ptr_eq(ssl, p.server);
    ck_assert_ptr_null(ia_tls_psk_take(&owner, &ssl, &replaced));
    ck_assert_str_eq(ia_tls_psk_taken(&owner), "meter-1");
    ck_assert_ptr_null(ia_tls_psk_taken(&other));
    tls_pair_close(&p);
    ck_assert_ptr_null(ia_tls_psk_taken(&owner));
    ck_assert_uint_eq(n_unused, 0);
}
END_TEST

START_TEST(connections_with_several_clients_keep_their_identities_apart)
{
    char second;
    SSL *ssl = NULL;
    speak(versions[_i]);
    for (int round = 0; round < 2; round++) { /* before and after it is known where the client is kept */
        struct tls_pair a = connect_pair(), b = connect_pair();
        ck_assert_int_eq(SSL_set_ex_data(b.server, owner_index, &second), 1);
        ck_assert(tls_pair_handshake(&a) && tls_pair_handshake(&b));
        ck_assert_str_eq(ia_tls_psk_take(&second, &ssl, &replaced), "meter-1");
        ck_assert_ptr_eq(ssl, b.server);
        ck_assert_str_eq(ia_tls_psk_take(&owner, &ssl, &replaced), "meter-1");
        ck_assert_ptr_eq(ssl, a.server);
        tls_pair_close(&a);
        ck_assert_ptr_null(ia_tls_psk_taken(&owner));
        ck_assert_str_eq(ia_tls_psk_taken(&second), "meter-1");
        tls_pair_close(&b);
    }
}
END_TEST

START_TEST(an_identity_ends_with_its_connection)
{
    SSL *ssl = NULL;
    speak(versions[_i]);
    for (unsigned round = 1; round <= 2; round++) {
        struct tls_pair p = connect_pair();
        ck_assert(tls_pair_handshake(&p));
        tls_pair_close(&p);
        ck_assert_ptr_null(
            ia_tls_psk_take(&owner, &ssl, &replaced)); /* a client without a key under the same pointer */
        ck_assert_uint_eq(n_unused, round);
        p = connect_pair();
        ck_assert(tls_pair_handshake(&p));
        ck_assert_str_eq(ia_tls_psk_take(&owner, &ssl, &replaced), "meter-1");
        tls_pair_close(&p);
    }
}
END_TEST

START_TEST(a_failed_handshake_leaves_nothing_to_take)
{
    SSL *ssl = NULL;
    speak(versions[_i]);
    client_key = wrong_key;
    struct tls_pair p = connect_pair();
    ck_assert(!tls_pair_handshake(&p));
    ck_assert_ptr_null(ia_tls_psk_take(&owner, &ssl, &replaced));
    tls_pair_close(&p);
    ck_assert_ptr_null(ia_tls_psk_take(&owner, &ssl, &replaced));
}
END_TEST

static const struct {
    const uint8_t *later; /* the key of the identity after the handshake */
    bool is_current;
} successors[] = {{right_key, true}, {wrong_key, false}, {NULL, false}};
#define SUCCESSORS ((int)(sizeof successors / sizeof successors[0]))

START_TEST(an_identity_whose_key_is_another_one_at_connect_is_said_to_be_replaced)
{
    SSL *ssl = NULL;
    speak(versions[_i / SUCCESSORS]);
    struct tls_pair p = connect_pair();
    ck_assert(tls_pair_handshake(&p));
    registered_key = successors[_i % SUCCESSORS].later;
    ck_assert_str_eq(ia_tls_psk_take(&owner, &ssl, &replaced), "meter-1");
    ck_assert_int_eq(replaced, !successors[_i % SUCCESSORS].is_current);
    tls_pair_close(&p);
}
END_TEST

START_TEST(a_connection_is_current_as_long_as_its_key_is)
{
    SSL *ssl = NULL;
    speak(versions[_i / SUCCESSORS]);
    struct tls_pair p = connect_pair();
    ck_assert(tls_pair_handshake(&p));
    ck_assert(!ia_tls_psk_is_current(&owner)); /* not taken yet */
    ck_assert_str_eq(ia_tls_psk_take(&owner, &ssl, &replaced), "meter-1");
    ck_assert(!replaced);
    ck_assert(ia_tls_psk_is_current(&owner));
    registered_key = successors[_i % SUCCESSORS].later;
    ck_assert_int_eq(ia_tls_psk_is_current(&owner), successors[_i % SUCCESSORS].is_current);
    registered_key = right_key;
    tls_pair_close(&p);
    ck_assert(!ia_tls_psk_is_current(&owner));
}
END_TEST

static const struct {
    const char *identity;
    const uint8_t *key;
    const char *says, *why;
} failures[] = {
    {"meter-1", wrong_key, "meter-1", "the client has another key"},
    {"meter-2", right_key, "meter-2", "the key is INACTIVE"},
    {"meter-9", right_key, "meter-9", "unknown"},
    {"meter\n1", right_key, "(none)", "unknown"},
    {"\xFF\xFE", right_key, "(none)", "unknown"},
};
#define FAILURES ((int)(sizeof failures / sizeof failures[0]))

START_TEST(every_failure_looks_the_same_to_the_client)
{
    static const int alerts[] = {SSL_AD_BAD_RECORD_MAC, SSL_AD_ILLEGAL_PARAMETER};
    int version = _i / FAILURES;
    client_identity = failures[_i % FAILURES].identity;
    client_key = failures[_i % FAILURES].key;
    speak(versions[version]);
    ck_assert(!handshake());
    ck_assert_int_eq(client_alert, alerts[version]);
    ck_assert_uint_eq(n_proven, 0);
    ck_assert_uint_eq(n_refused, 1);
    ck_assert_str_eq(refused, failures[_i % FAILURES].says);
    ck_assert_str_eq(why_refused, failures[_i % FAILURES].why);
}
END_TEST

START_TEST(the_key_does_not_stay_in_the_session)
{
    speak(TLS1_3_VERSION);
    struct tls_pair p = connect_pair();
    uint8_t kept[SSL_MAX_MASTER_KEY_LENGTH], nothing[SSL_MAX_MASTER_KEY_LENGTH] = {0};
    ck_assert(tls_pair_handshake(&p));
    size_t len = SSL_SESSION_get_master_key(SSL_get_session(p.server), kept, sizeof kept);
    ck_assert_mem_eq(kept, nothing, len);
    tls_client_sends(&p, "still works");
    ck_assert_str_eq(tls_server_receives(&p), "still works");
    tls_pair_close(&p);
}
END_TEST

START_TEST(a_session_is_never_resumed)
{
    speak(versions[_i]);
    struct tls_pair p = connect_pair();
    ck_assert(tls_pair_handshake(&p));
    SSL_SESSION *session = SSL_get1_session(p.client);
    tls_pair_close(&p);
    p = connect_pair();
    ck_assert_int_eq(SSL_set_session(p.client, session), 1);
    client_key = wrong_key;
    ck_assert(!tls_pair_handshake(&p));
    ck_assert_uint_eq(n_proven, 1); /* the first time */
    SSL_SESSION_free(session);
    tls_pair_close(&p);
}
END_TEST

START_TEST(plain_keys_need_the_administrators_word)
{
    speak(TLS1_2_VERSION);
    ck_assert_int_eq(SSL_CTX_set_cipher_list(client, "PSK-AES128-GCM-SHA256"), 1);
    ck_assert(!handshake());
    ia_tls_psk_close();
    open_psk(true);
    SSL_CTX_free(server);
    server = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_client_hello_cb(server, on_client_hello, NULL);
    ck_assert(handshake());
}
END_TEST

static const char *const weak[] = {"DHE-PSK-AES128-GCM-SHA256", "RSA-PSK-AES128-GCM-SHA256",
                                   "ECDHE-PSK-NULL-SHA256:@SECLEVEL=0", "AECDH-AES128-SHA:@SECLEVEL=0"};

START_TEST(other_suites_are_refused_also_with_plain_keys)
{
    ia_tls_psk_close();
    open_psk(true);
    speak(TLS1_2_VERSION);
    ck_assert_int_eq(SSL_CTX_set_cipher_list(server, "ALL:eNULL:@SECLEVEL=0"), 1);
    ck_assert_int_eq(SSL_CTX_set_cipher_list(client, weak[_i]), 1);
    ck_assert(!handshake());
    ck_assert_uint_eq(n_proven, 0);
}
END_TEST

START_TEST(without_a_suite_tls_12_is_refused_and_13_stays)
{
    ck_assert_int_eq(SSL_CTX_set_cipher_list(server, "AES256-SHA"), 1);
    speak(TLS1_2_VERSION);
    ck_assert(!handshake());
    speak(TLS1_3_VERSION);
    ck_assert(handshake());
    ck_assert(handshake());
    ck_assert_uint_eq(n_warned, 1);
    ck_assert_msg(strstr(warning, "ECDHE-PSK"), "%s", warning);
}
END_TEST

START_TEST(a_listener_with_sha384_alone_is_named)
{
    ck_assert_int_eq(SSL_CTX_set_ciphersuites(server, "TLS_AES_256_GCM_SHA384"), 1);
    speak(TLS1_3_VERSION);
    ck_assert(!handshake());
    ck_assert_msg(strstr(warning, "SHA-256"), "%s", warning);
}
END_TEST

START_TEST(a_client_without_a_sha256_suite_is_refused_before_its_key_is_looked_for)
{
    speak(TLS1_3_VERSION);
    ck_assert_int_eq(SSL_CTX_set_ciphersuites(client, "TLS_AES_256_GCM_SHA384"), 1);
    SSL_CTX_set_psk_use_session_callback(client, use_sha384_session);
    ck_assert(!handshake());
    ck_assert_uint_eq(n_asked, 0);
    ck_assert_uint_eq(n_refused, 1);
    ck_assert_str_eq(refused, "meter-1");
    ck_assert_msg(strstr(why_refused, "SHA-256"), "%s", why_refused);
}
END_TEST

/* --- listeners with a certificate */

static unsigned mosquittos_key(SSL *ssl, const char *identity, unsigned char *key, unsigned max)
{
    (void)ssl, (void)identity, (void)max;
    ck_abort_msg("the listener's own callback is asked for a key");
    key[0] = 1;
    return 1;
}

static int on_mixed_hello(SSL *ssl, int *alert, void *arg)
{
    (void)alert, (void)arg;
    ia_tls_psk_refuse_beside_certificate(ssl);
    return SSL_CLIENT_HELLO_SUCCESS;
}

/* As Mosquitto makes it of certfile and psk_hint. */
static SSL_CTX *mixed_listener(void)
{
    SSL_CTX *ctx = tls_server_ctx(SSL_VERIFY_NONE);
    SSL_CTX_set_client_hello_cb(ctx, on_mixed_hello, NULL);
    SSL_CTX_set_psk_server_callback(ctx, mosquittos_key);
    ck_assert_int_eq(SSL_CTX_use_psk_identity_hint(ctx, "iot\n1"), 1);
    ia_psk_listeners_add(ctx);
    return ctx;
}

START_TEST(a_listener_with_certificate_and_keys_is_named_at_start)
{
    SSL_CTX *mixed = mixed_listener(), *with = tls_server_ctx(SSL_VERIFY_NONE);
    ia_psk_listeners_add(with);
    if (_i == 1) /* whatever it allows */
        ck_assert(SSL_CTX_set_cipher_list(mixed, "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256") &&
                  SSL_CTX_set_min_proto_version(mixed, TLS1_3_VERSION));
    for (int round = 0; round < 2; round++)
        ia_tls_psk_examine_listeners(true);
    ck_assert_uint_eq(n_warned, 1);
    ck_assert_msg(strstr(warning, "psk_hint 'iot?1' also has a certificate"), "%s", warning);
    ck_assert(ia_psk_listener_is_mixed(mixed) && !ia_psk_listener_is_mixed(with));
    ck_assert_uint_eq(n_refused, 0);
    ck_assert_uint_eq(ERR_peek_error(), 0);
    ia_psk_listeners_remove(mixed);
    ck_assert(!ia_psk_listener_is_mixed(mixed));
    SSL_CTX_free(mixed);
    SSL_CTX_free(with);
}
END_TEST

START_TEST(a_key_that_is_shown_beside_a_certificate_is_reported_and_proves_nothing)
{
    SSL_CTX_free(server);
    server = mixed_listener();
    ia_tls_psk_examine_listeners(true);
    speak(versions[_i]);
    ck_assert_int_eq(SSL_CTX_set_cipher_list(client, "kECDHEPSK"), 1);
    SSL *ssl = NULL;
    struct tls_pair p = connect_pair();
    ck_assert_int_eq(tls_pair_handshake(&p), versions[_i] == TLS1_3_VERSION); /* by the certificate */
    ck_assert_uint_eq(n_asked, 0);
    ck_assert_uint_eq(n_proven, 0);
    ck_assert_uint_eq(n_refused, 1);
    ck_assert_str_eq(refused, "meter-1");
    ck_assert_msg(strstr(why_refused, "certificate"), "%s", why_refused);
    ck_assert_ptr_null(ia_tls_psk_take(&owner, &ssl, &replaced));
    tls_pair_close(&p);
}
END_TEST

START_TEST(a_listener_of_keys_says_at_start_what_is_missing)
{
    ck_assert_int_eq(SSL_CTX_set_cipher_list(server, "AES256-SHA"), 1);
    ia_psk_listeners_add(server);
    ia_tls_psk_examine_listeners(_i);
    ck_assert_uint_eq(n_warned, (unsigned)_i); /* not of a port that may be none of the gate's */
    speak(TLS1_3_VERSION);
    ck_assert(handshake());
    ck_assert_uint_eq(n_warned, 1);
}
END_TEST

START_TEST(after_close_nobody_connects)
{
    speak(versions[_i]);
    ia_tls_psk_close();
    ck_assert(!handshake());
    open_psk(false);
    ck_assert(handshake());
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, a_listener_without_a_certificate_is_one_with_keys);
    tcase_add_loop_test(c, the_key_proves_the_identity, 0, VERSIONS);
    tcase_add_loop_test(c, the_identity_belongs_to_its_client_and_is_taken_once, 0, VERSIONS);
    tcase_add_loop_test(c, connections_with_several_clients_keep_their_identities_apart, 0, VERSIONS);
    tcase_add_loop_test(c, an_identity_whose_key_is_another_one_at_connect_is_said_to_be_replaced, 0,
                        VERSIONS * SUCCESSORS);
    tcase_add_loop_test(c, a_connection_is_current_as_long_as_its_key_is, 0, VERSIONS * SUCCESSORS);
    tcase_add_loop_test(c, a_failed_handshake_leaves_nothing_to_take, 0, VERSIONS);
    tcase_add_loop_test(c, an_identity_ends_with_its_connection, 0, VERSIONS);
    tcase_add_loop_test(c, every_failure_looks_the_same_to_the_client, 0, VERSIONS * FAILURES);
    tcase_add_test(c, the_key_does_not_stay_in_the_session);
    tcase_add_loop_test(c, a_session_is_never_resumed, 0, VERSIONS);
    tcase_add_test(c, plain_keys_need_the_administrators_word);
    tcase_add_loop_test(c, other_suites_are_refused_also_with_plain_keys, 0, (int)(sizeof weak / sizeof weak[0]));
    tcase_add_test(c, without_a_suite_tls_12_is_refused_and_13_stays);
    tcase_add_test(c, a_listener_with_sha384_alone_is_named);
    tcase_add_test(c, a_client_without_a_sha256_suite_is_refused_before_its_key_is_looked_for);
    tcase_add_loop_test(c, a_listener_with_certificate_and_keys_is_named_at_start, 0, 2);
    tcase_add_loop_test(c, a_key_that_is_shown_beside_a_certificate_is_reported_and_proves_nothing, 0, VERSIONS);
    tcase_add_loop_test(c, a_listener_of_keys_says_at_start_what_is_missing, 0, 2);
    tcase_add_loop_test(c, after_close_nobody_connects, 0, VERSIONS);
}

int main(void)
{
    return run_suite("tls psk", cases);
}
