// SPDX-License-Identifier: ISC
/* A pre-shared key that was proved counts for nothing else than itself: what CONNECT and a live session make of a row that
 * has changed since the handshake.  The handshakes are real. */
#include "plugin/psk_keys.h"
#include "tests/unit/plugin/world.h"
#include "tests/unit/suite.h"
#include "tests/unit/tls/tls_pair.h"
#include "tls/psk.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define KEY_LEN  32
#define KEY_1    "1 0101010101010101010101010101010101010101010101010101010101010101\n"
#define KEY_2    "2 0202020202020202020202020202020202020202020202020202020202020202\n"
#define KEY_3    "3 0303030303030303030303030303030303030303030303030303030303030303\n"
#define REPLACED "the key has been replaced since the handshake"

static const uint8_t old_key[KEY_LEN] = {1, 2, 3}, new_key[KEY_LEN] = {4, 5, 6};
static struct ia_keyring *sealer; /* also has a key that is missing in the broker */
static SSL_CTX *server, *client;
static struct tls_pair pair;
static struct mosquitto meter;
static int owner_index = -1;

/* --- the registry: the identity "meter-1" */

static void put_sealed(const struct ia_psk_label *label, const char *device_id, const uint8_t *key)
{
    uint8_t sealed[IA_PSK_SEALED_MAX];
    size_t len = 0;
    ck_assert_int_eq(ia_psk_seal(sealer, label, key, KEY_LEN, sealed, &len, NULL), IA_OK);
    struct ia_psk_row row = {.identity = label->identity,
                             .device_id = device_id,
                             .sealed = {.at = sealed, .len = len},
                             .key_id = label->key_id,
                             .status = IA_PSK_ACTIVE};
    const struct ia_psk_batch batch = {.rows = &row, .n = 1};
    ia_psk_keys_apply(world.core, &batch);
}

/* The row has that key now, sealed under key `key_id`. */
static void key_is(const uint8_t *key, int key_id)
{
    const struct ia_psk_label label = {.key_id = key_id, .identity = "meter-1", .device_id = "dev-1"};
    put_sealed(&label, "dev-1", key);
}

/* The row names another device, and its key is sealed for the first one. */
static void row_is_moved(void)
{
    const struct ia_psk_label label = {.key_id = 1, .identity = "meter-1", .device_id = "dev-1"};
    put_sealed(&label, "dev-2", old_key);
}

static void row_is_deleted(void)
{
    const char *identity = "meter-1";
    const struct ia_psk_batch batch = {.deleted = &identity, .n_deleted = 1};
    ia_psk_keys_apply(world.core, &batch);
}

static void device_is(const char *id)
{
    struct ia_device_row row = world_device("plain_leaf", id);
    ck_assert(ia_psk_identity_digest("meter-1", row.fingerprint));
    row.device_ca_id = row.certificate_ca_id = 0;
    world_device_now(id, &row, 1);
}

/* --- both ends */

static unsigned client_key(SSL *ssl, const char *hint, char *identity, unsigned max_identity, unsigned char *key,
                           unsigned max_key)
{
    (void)ssl, (void)hint;
    ck_assert_uint_ge(max_key, KEY_LEN);
    snprintf(identity, max_identity, "%s", "meter-1");
    memcpy(key, old_key, KEY_LEN);
    return KEY_LEN;
}

static int on_client_hello(SSL *ssl, int *alert, void *arg)
{
    (void)arg, (void)alert;
    return ia_tls_psk_prepare(ssl) ? SSL_CLIENT_HELLO_SUCCESS : SSL_CLIENT_HELLO_ERROR;
}

static void start_with_key_file(void)
{
    char path[] = "/tmp/iot-auth-psk-XXXXXX"; /* mkstemp makes it the user's alone */
    int fd = mkstemp(path);
    ck_assert_int_eq(write(fd, KEY_1 KEY_2, strlen(KEY_1 KEY_2)), (ssize_t)strlen(KEY_1 KEY_2));
    close(fd);
    worker_reply(ia_reply_new(IA_REPLY_PSK_BEGIN, NULL));
    worker_reply(ia_reply_new(IA_REPLY_PSK_END, NULL));
    world_start_with("psk_key_file", path);
    unlink(path);
}

/* The client has proved the old key, as dev-1. */
static void setup(void)
{
    ck_assert_int_eq(ia_keyring_parse(KEY_1 KEY_2 KEY_3, strlen(KEY_1 KEY_2 KEY_3), &sealer, NULL), IA_OK);
    owner_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    start_with_key_file();
    server = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_client_hello_cb(server, on_client_hello, NULL);
    client = tls_client_ctx(0, NULL, NULL);
    SSL_CTX_set_psk_client_callback(client, client_key);
    device_is("dev-1");
    key_is(old_key, 1);
    meter = world_client("dev-1", NULL);
    pair = tls_pair_connect(server, client, 0);
    ck_assert_int_eq(SSL_set_ex_data(pair.server, owner_index, &meter), 1);
    ck_assert(tls_pair_handshake(&pair));
}

static void teardown(void)
{
    tls_pair_close(&pair);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
    ia_keyring_free(sealer);
    world_stop();
}

static void assert_refused_as_replaced(void)
{
    ck_assert_int_eq(world_basic_auth(&meter, NULL), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(IA_R_PSK_UNKNOWN), 1);
    ck_assert_msg(strstr(broker.log, REPLACED), "%s", broker.log);
}

/* --- CONNECT */

START_TEST(the_key_that_was_proved_is_admitted)
{
    ck_assert_int_eq(world_basic_auth(&meter, NULL), MOSQ_ERR_SUCCESS);
    ck_assert_str_eq(meter.username, "dev-1");
}
END_TEST

START_TEST(a_key_that_is_replaced_after_the_handshake_is_refused)
{
    key_is(new_key, 1);
    assert_refused_as_replaced();
}
END_TEST

START_TEST(a_row_that_is_deleted_and_inserted_with_another_key_is_refused)
{
    row_is_deleted();
    key_is(new_key, 1);
    assert_refused_as_replaced();
}
END_TEST

START_TEST(a_row_that_is_moved_after_the_handshake_is_not_admitted_as_the_other_device)
{
    row_is_moved();
    device_is("dev-2");
    meter.id = "dev-2";
    assert_refused_as_replaced();
}
END_TEST

START_TEST(a_replaced_key_is_not_left_to_other_plugins)
{
    world.core->options.defer_others = true;
    key_is(new_key, 1);
    assert_refused_as_replaced();
}
END_TEST

START_TEST(a_key_that_was_sealed_again_after_the_handshake_is_admitted)
{
    key_is(old_key, _i);
    ck_assert_int_eq(world_basic_auth(&meter, NULL), MOSQ_ERR_SUCCESS);
}
END_TEST

/* --- live sessions */

static void connect_meter(void)
{
    ck_assert_int_eq(world_basic_auth(&meter, NULL), MOSQ_ERR_SUCCESS);
    world_kicks(&meter);
}

START_TEST(a_live_session_ends_when_its_key_is_replaced)
{
    connect_meter();
    if (_i)
        row_is_deleted();
    key_is(new_key, 1);
    ck_assert_int_eq(world_session(&meter)->disconnect_reason, IA_R_PSK_UNKNOWN);
    world_tick();
    ck_assert_uint_eq(broker.n_kicked, 1);
}
END_TEST

/* Under key 3, which is missing in the broker, it cannot be compared. */
START_TEST(a_live_session_stays_when_its_key_is_sealed_again)
{
    connect_meter();
    key_is(old_key, _i);
    ck_assert_int_eq(world_session(&meter)->disconnect_reason, IA_R_NONE);
    world_tick();
    ck_assert_uint_eq(broker.n_kicked, 0);
}
END_TEST

static struct ia_keyring *keyring_of(const char *text)
{
    struct ia_keyring *keyring = NULL;
    ck_assert_int_eq(ia_keyring_parse(text, strlen(text), &keyring, NULL), IA_OK);
    return keyring;
}

/* The worker has read the key file again. */
static void key_file_is(const char *text)
{
    struct ia_reply *reply = ia_reply_new(IA_REPLY_KEYRING, NULL);
    reply->keyring = keyring_of(text);
    worker_reply(reply);
    ia_replies_apply(world.core);
}

/* It could not be compared before. */
START_TEST(a_live_session_with_another_key_ends_when_the_missing_key_encryption_key_is_read)
{
    connect_meter();
    key_is(_i ? new_key : old_key, 3);
    world_tick();
    ck_assert_uint_eq(broker.n_kicked, 0);
    key_file_is(KEY_1 KEY_2 KEY_3);
    world_tick();
    ck_assert_uint_eq(broker.n_kicked, _i ? 1 : 0);
}
END_TEST

START_TEST(a_live_session_stays_when_its_key_encryption_key_leaves_the_file)
{
    connect_meter();
    key_file_is(KEY_2 KEY_3);
    world_tick();
    ck_assert_uint_eq(broker.n_kicked, 0);
}
END_TEST

/* --- key-encryption keys that are missing */

static void put_other(const char *identity, int key_id)
{
    uint8_t sealed[IA_PSK_SEALED_MAX] = {0};
    struct ia_psk_row row = {.identity = identity,
                             .device_id = "other",
                             .sealed = {.at = sealed, .len = 60},
                             .key_id = key_id,
                             .status = IA_PSK_ACTIVE};
    const struct ia_psk_batch batch = {.rows = &row, .n = 1};
    ia_psk_keys_apply(world.core, &batch);
}

static void later_tick(void)
{
    clock_advance_ms(4000);
    world_tick();
}

START_TEST(all_missing_key_encryption_keys_are_logged_once)
{
    put_other("other-7", 7);
    put_other("other-9", 9);
    world_tick();
    ck_assert_ptr_null(strstr(broker.log, "psk_key_file has no key")); /* the worker reads the file again first */
    later_tick();
    ck_assert_msg(strstr(broker.log, "psk_key_file has no key 7, 9, under which"), "%s", broker.log);
    broker.log[0] = '\0';
    put_other("other-7b", 7);
    later_tick();
    ck_assert_ptr_null(strstr(broker.log, "psk_key_file has no key"));
    put_other("other-5", 5);
    key_file_is(KEY_2 KEY_3); /* without the one that seals meter-1 */
    later_tick();
    ck_assert_msg(strstr(broker.log, "psk_key_file has no key 1, 5, under which"), "%s", broker.log);
}
END_TEST

/* --- resyncs */

static void reply_psks(enum ia_reply_kind kind)
{
    worker_reply(ia_reply_new(kind, NULL));
    ia_replies_apply(world.core);
}

/* A sweep of many rows takes many TICKs: the next resync begins before it has ended, and neither waits for the other. */
START_TEST(a_sweep_goes_on_in_slices_while_the_next_resync_has_begun)
{
    char identity[32];
    enum { ROWS = 60000 };
    for (int i = 0; i < ROWS; i++) {
        snprintf(identity, sizeof identity, "deleted-%d", i);
        put_other(identity, 1);
    }
    reply_psks(IA_REPLY_PSK_BEGIN);
    key_is(old_key, 1);
    reply_psks(IA_REPLY_PSK_END);
    world_tick();
    size_t left = ia_psk_keys_count(world.core);
    ck_assert(left > 1 && left < ROWS);
    reply_psks(IA_REPLY_PSK_BEGIN);
    ck_assert_uint_eq(ia_psk_keys_count(world.core), left);
    put_other("new", 1);
    for (int i = 0; i < 20; i++)
        world_tick();
    ck_assert_uint_eq(ia_psk_keys_count(world.core), 2);
    reply_psks(IA_REPLY_PSK_END); /* without meter-1 */
    for (int i = 0; i < 20; i++)
        world_tick();
    ck_assert_uint_eq(ia_psk_keys_count(world.core), 1);
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, the_key_that_was_proved_is_admitted);
    tcase_add_test(c, a_key_that_is_replaced_after_the_handshake_is_refused);
    tcase_add_test(c, a_row_that_is_deleted_and_inserted_with_another_key_is_refused);
    tcase_add_test(c, a_row_that_is_moved_after_the_handshake_is_not_admitted_as_the_other_device);
    tcase_add_test(c, a_replaced_key_is_not_left_to_other_plugins);
    tcase_add_loop_test(c, a_key_that_was_sealed_again_after_the_handshake_is_admitted, 1, 3);
    tcase_add_loop_test(c, a_live_session_ends_when_its_key_is_replaced, 0, 2);
    tcase_add_loop_test(c, a_live_session_with_another_key_ends_when_the_missing_key_encryption_key_is_read, 0, 2);
    tcase_add_test(c, a_live_session_stays_when_its_key_encryption_key_leaves_the_file);
    tcase_add_test(c, all_missing_key_encryption_keys_are_logged_once);
    tcase_add_test(c, a_sweep_goes_on_in_slices_while_the_next_resync_has_begun);
    tcase_add_loop_test(c, a_live_session_stays_when_its_key_is_sealed_again, 1, 4);
}

int main(void)
{
    return run_suite("plugin psk keys", cases);
}
