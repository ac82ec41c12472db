// SPDX-License-Identifier: ISC
/* Ownership and memory come from accepted logins: what remains of a client that was refused, left to others, or has
 * disconnected. */
#include "plugin/clients_private.h"
#include "tests/unit/plugin/world.h"
#include "tests/unit/suite.h"

#include <stdio.h>
#include <string.h>

static size_t in_memory(void)
{
    return HASH_COUNT(world.core->clients->by_context);
}

static struct mosquitto v5_client(const char *id, const char *cert)
{
    struct mosquitto client = world_client(id, cert);
    client.version = 5;
    return client;
}

/* Each under a pointer of its own, as when nothing is freed in between. */
START_TEST(refused_client_leaves_nothing)
{
    enum { MANY = 1000 };
    static struct mosquitto clients[MANY];
    if (_i)
        world_start_with("other_clients", "defer");
    else
        world_start();
    for (size_t i = 0; i < MANY; i++) {
        clients[i] = v5_client("dev-1/#", NULL);
        clients[i].username = "app:idp:forged";
        ck_assert_int_ne(world_basic_auth(&clients[i], NULL), MOSQ_ERR_SUCCESS);
        world_disconnect(&clients[i]);
        world_tick();
    }
    ck_assert_uint_eq(in_memory(), 0);
    ck_assert_uint_eq(ia_clients_kept(world.core->clients), 0);
    world_stop();
}
END_TEST

START_TEST(deferred_client_leaves_nothing)
{
    enum { MANY = 1000 };
    static struct mosquitto clients[MANY];
    world_start_with("other_clients", "defer");
    for (size_t i = 0; i < MANY; i++) {
        clients[i] = v5_client("legacy", NULL);
        clients[i].username = "legacy";
        ck_assert_int_eq(world_basic_auth(&clients[i], NULL), MOSQ_ERR_PLUGIN_DEFER);
        world_disconnect(&clients[i]);
        world_tick();
    }
    ck_assert_uint_eq(in_memory(), 0);
    ck_assert_uint_eq(ia_clients_kept(world.core->clients), 0);
    world_stop();
}
END_TEST

static void start_with_device(void)
{
    struct ia_device_row row = world_device("plain_leaf", "dev-1");
    world_start();
    world_device_now("dev-1", &row, 1);
}

/* MQTT 5 on 2.0: a plugin does not see how long the session lasts. */
START_TEST(newer_session_of_a_client_id_ends_all_older_ones)
{
    static struct mosquitto clients[50];
    start_with_device();
    for (size_t i = 0; i < 50; i++) {
        clients[i] = v5_client("dev-1", "plain_leaf");
        ck_assert_int_eq(world_connect(&clients[i]), MOSQ_ERR_SUCCESS);
        if (i)
            world_disconnect(&clients[i - 1]); /* taken over, or once more */
        if (i % 3 == 0)
            world_disconnect(&clients[i]);
        world_tick();
        ck_assert_uint_le(in_memory(), 2);
    }
    world_disconnect(&clients[49]);
    world_tick();
    ck_assert_uint_eq(in_memory(), 1);
    ck_assert_ptr_eq(ia_client_owner(world.core->clients, "dev-1"), world_session(&clients[49]));
    world_stop();
}
END_TEST

START_TEST(disconnect_on_2_1_means_that_nothing_is_kept)
{
    broker.is_21 = true;
    start_with_device();
    struct mosquitto client = v5_client("dev-1", "plain_leaf");
    ck_assert_int_eq(world_connect(&client), MOSQ_ERR_SUCCESS);
    struct mosquitto_evt_disconnect ev = {.client = &client};
    broker_event(_i ? 28 : MOSQ_EVT_DISCONNECT, &ev);
    world_tick();
    ck_assert_uint_eq(in_memory(), _i ? 1 : 0);
    if (_i) { /* the session has expired */
        world_disconnect(&client);
        world_tick();
        ck_assert_uint_eq(in_memory(), 0);
    }
    world_stop();
}
END_TEST

/* An app with random client ids on 2.0: whole records of 500 sessions, of the others the owner alone. */
START_TEST(sessions_that_may_be_kept_are_reduced_to_their_owner_beyond_a_bound)
{
    enum { MANY = 2000 };
    static struct mosquitto clients[MANY];
    static char ids[MANY][32];
    static struct mosquitto thief;
    world_rows();
    static const char *const any[] = {"shared/*"};
    world.issuers[0].client_id_templates = (struct ia_texts){any, 1};
    world_start();
    const char *board = world_token("board", "read", 3600), *other = world_token("other", "read", 3600);
    for (size_t i = 0; i < MANY; i++) {
        (void)snprintf(ids[i], sizeof ids[i], "shared/%zu", i);
        clients[i] = v5_client(ids[i], NULL);
        ck_assert_int_eq(world_basic_auth(&clients[i], board), MOSQ_ERR_SUCCESS);
        world_disconnect(&clients[i]);
        clients[i].address = NULL;
        world_tick();
    }
    ck_assert_uint_eq(in_memory(), IA_ENDED_MAYBE_MAX);
    ck_assert_uint_eq(ia_clients_kept(world.core->clients), MANY - IA_ENDED_MAYBE_MAX);
    thief = v5_client(ids[0], NULL); /* reduced long ago, and still its owner's */
    ck_assert_int_eq(world_basic_auth(&thief, other), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(IA_R_CLIENT_ID_MISMATCH), 1);
    ck_assert_int_eq(world_acl(&clients[0], MOSQ_ACL_READ, "devices/d/x"), MOSQ_ERR_SUCCESS);
    ck_assert_int_eq(world_basic_auth(&thief, board), MOSQ_ERR_SUCCESS);
    world_stop();
}
END_TEST

/* Mosquitto reuses the pointers of contexts that it has freed. */
START_TEST(ended_session_under_the_pointer_of_a_new_client_is_over)
{
    static const char *const any[] = {"*"};
    struct ia_device_row one = world_device("plain_leaf", "dev-1"), two = world_device("leaf_of_root", "dev-2");
    world_rows();
    world.cas[0].client_id_templates = (struct ia_texts){any, 1};
    world_start();
    world_device_now("dev-1", &one, 1);
    world_device_now("dev-2", &two, 1);
    static struct mosquitto context;
    context = v5_client("shared", "plain_leaf");
    ck_assert_int_eq(world_connect(&context), MOSQ_ERR_SUCCESS);
    world_disconnect(&context);
    world_tick();
    context = v5_client("shared", "leaf_of_root");
    ck_assert_int_eq(world_connect(&context), MOSQ_ERR_SUCCESS);
    ck_assert_str_eq(context.username, "dev-2");
    world_stop();
}
END_TEST

/* --- client ids and clients that are left to others */

START_TEST(deferred_client_with_a_devices_client_id_does_not_take_it)
{
    world_start_with("other_clients", "defer");
    struct mosquitto wrong_password = v5_client("meter-7", NULL), device;
    wrong_password.username = "legacy";
    ck_assert_int_eq(world_basic_auth(&wrong_password, "no"), MOSQ_ERR_PLUGIN_DEFER);
    world_disconnect(&wrong_password); /* the password file has refused it */
    world_tick();
    world.cas[0].client_id_templates = (struct ia_texts){(const char *const[]){"meter-7"}, 1};
    world_snapshot();
    struct ia_device_row row = world_device("plain_leaf", "dev-1");
    world_device_now("dev-1", &row, 1);
    device = v5_client("meter-7", "plain_leaf");
    ck_assert_int_eq(world_connect(&device), MOSQ_ERR_SUCCESS);
    world_stop();
}
END_TEST

static const struct {
    bool is_21, released;
    int rc;
} moves[] = {
    {false, false, MOSQ_ERR_SUCCESS},
    {true, false, MOSQ_ERR_SUCCESS},
};

/* A legacy client with a password gets a certificate, and keeps its client id. */
START_TEST(client_that_was_deferred_moves_to_a_certificate_under_its_client_id)
{
    broker.is_21 = moves[_i].is_21;
    world_rows();
    world.cas[0].client_id_templates = (struct ia_texts){(const char *const[]){"pump"}, 1};
    world_start_with("other_clients", "defer");
    struct ia_device_row row = world_device("plain_leaf", "dev-1");
    world_device_now("dev-1", &row, 1);
    struct mosquitto legacy = v5_client("pump", NULL), device = v5_client("pump", "plain_leaf");
    legacy.username = "legacy";
    legacy.persistent = true;
    ck_assert_int_eq(world_basic_auth(&legacy, "secret"), MOSQ_ERR_PLUGIN_DEFER);
    struct mosquitto_evt_disconnect ev = {.client = &legacy};
    broker_event(broker.is_21 ? 28 : MOSQ_EVT_DISCONNECT, &ev);
    legacy.address = NULL;
    broker.known[0] = &legacy;
    world_tick();
    ck_assert_int_eq(world_connect(&device), moves[_i].rc);
    world_stop();
}
END_TEST

/* 2.1 restored a session whose user is not known here. */
START_TEST(released_client_id_may_be_taken_unless_its_owner_is_connected)
{
    broker.is_21 = true;
    start_with_device();
    struct mosquitto restored = {.id = "dev-1", .username = "someone"}, device = v5_client("dev-1", "plain_leaf");
    broker.known[0] = &restored;
    ck_assert_int_ne(world_connect(&device), MOSQ_ERR_SUCCESS);
    ck_assert_ptr_nonnull(strstr(broker.log, "iot_auth.release_client_id"));
    restored.address = "192.0.2.9";
    ck_assert(ia_clients_release_client_id(world.core->clients, "dev-1"));
    ck_assert_int_ne(world_connect(&device), MOSQ_ERR_SUCCESS);
    restored.address = NULL;
    ck_assert_int_eq(world_connect(&device), MOSQ_ERR_SUCCESS);
    bool ended = false;
    ck_assert(!ia_clients_is_released(world.core->clients, "dev-1", &ended)); /* it has an owner again */
    ck_assert(!ia_clients_release_client_id(world.core->clients, "dev-1"));
    world_stop();
}
END_TEST

START_TEST(released_client_id_on_2_0_has_no_owner)
{
    static const char *const any[] = {"*"};
    struct ia_device_row one = world_device("plain_leaf", "dev-1"), two = world_device("leaf_of_root", "dev-2");
    world_rows();
    world.cas[0].client_id_templates = (struct ia_texts){any, 1};
    world_start();
    world_device_now("dev-1", &one, 1);
    world_device_now("dev-2", &two, 1);
    struct mosquitto owner = world_client("shared", "plain_leaf"), next = world_client("shared", "leaf_of_root");
    owner.persistent = true;
    ck_assert_int_eq(world_connect(&owner), MOSQ_ERR_SUCCESS);
    world_disconnect(&owner);
    world_tick();
    ck_assert_int_eq(world_connect(&next), MOSQ_ERR_AUTH);
    worker_reply(ia_reply_new(IA_REPLY_RELEASED, "shared"));
    ck_assert_int_eq(world_connect(&next), MOSQ_ERR_SUCCESS);
    world_stop();
}
END_TEST

static void client_memory_cases(TCase *c)
{
    tcase_add_loop_test(c, refused_client_leaves_nothing, 0, 2);
    tcase_add_test(c, deferred_client_leaves_nothing);
    tcase_add_test(c, newer_session_of_a_client_id_ends_all_older_ones);
    tcase_add_loop_test(c, disconnect_on_2_1_means_that_nothing_is_kept, 0, 2);
    tcase_add_test(c, sessions_that_may_be_kept_are_reduced_to_their_owner_beyond_a_bound);
    tcase_add_test(c, ended_session_under_the_pointer_of_a_new_client_is_over);
    tcase_add_test(c, deferred_client_with_a_devices_client_id_does_not_take_it);
    tcase_add_loop_test(c, client_that_was_deferred_moves_to_a_certificate_under_its_client_id, 0, 2);
    tcase_add_test(c, released_client_id_may_be_taken_unless_its_owner_is_connected);
    tcase_add_test(c, released_client_id_on_2_0_has_no_owner);
}

int main(void)
{
    return run_suite("client_memory", client_memory_cases);
}
