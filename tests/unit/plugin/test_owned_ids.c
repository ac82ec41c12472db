// SPDX-License-Identifier: ISC
/* On Mosquitto 2.0 the registry remembers who owns a client id whose session the broker may have on disk. */
#include "plugin/kept_sessions.h"
#include "plugin/owned_ids.h"
#include "tests/unit/plugin/world.h"
#include "tests/unit/suite.h"

#include <stdlib.h>
#include <string.h>

static struct ia_device_row first, second;

/* dev-1 (plain_leaf) and dev-2 (leaf_of_root), of a CA that admits any client id. */
static void start_shared(void)
{
    static const char *const any[] = {"*"};
    first = world_device("plain_leaf", "dev-1");
    second = world_device("leaf_of_root", "dev-2");
    world_rows();
    world.cas[0].client_id_templates = (struct ia_texts){any, 1};
    world_start();
    world_device_now("dev-1", &first, 1);
    world_device_now("dev-2", &second, 1);
}

/* Each under a pointer of its own: a pointer that is used again means that Mosquitto has freed the session. */
static int connect_as(const char *client_id, const char *cert, bool persistent)
{
    static struct mosquitto clients[16];
    static size_t n;
    struct mosquitto *client = &clients[n++];
    *client = world_client(client_id, cert);
    client->persistent = persistent;
    int rc = world_connect(client);
    if (rc == MOSQ_ERR_SUCCESS)
        world_disconnect(client);
    world_tick();
    return rc;
}

/* What the registry held when the broker ended. */
static void registry_says_owned(const char *client_id, const char *principal)
{
    struct ia_reply *reply = ia_reply_new(IA_REPLY_OWNERS, NULL);
    struct ia_owner_key *key = malloc(sizeof *key);
    *key = (struct ia_owner_key){(int64_t)ia_kept_name_key(client_id), (int64_t)ia_kept_name_key(principal)};
    reply->owners = (struct ia_owner_page){.keys = key, .n = 1};
    worker_reply(reply);
    world_tick();
}

START_TEST(owner_of_before_the_restart_has_its_client_id_alone)
{
    start_shared();
    registry_says_owned("shared", "dev-1");
    ck_assert_int_eq(connect_as("shared", "leaf_of_root", true), MOSQ_ERR_AUTH);
    ck_assert_int_eq(connect_as("shared", "leaf_of_root", false), MOSQ_ERR_AUTH);
    ck_assert_int_eq(connect_as("shared", "plain_leaf", true), MOSQ_ERR_SUCCESS);
    ck_assert_uint_eq(worker_asked(IA_REQUEST_OWNER), 0); /* as the registry has it */
    ck_assert_int_eq(connect_as("shared", "leaf_of_root", true), MOSQ_ERR_AUTH);
    world_stop();
}
END_TEST

START_TEST(owner_is_written_once_and_removed_when_nothing_is_kept)
{
    start_shared();
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(connect_as("shared", "plain_leaf", true), MOSQ_ERR_SUCCESS);
    ck_assert_uint_eq(worker_asked(IA_REQUEST_OWNER), 1);
    const struct ia_request *written = worker_last(IA_REQUEST_OWNER);
    ck_assert_str_eq(written->text, "shared");
    ck_assert_str_eq(written->owner.principal, "dev-1");
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(connect_as("shared", "plain_leaf", false), MOSQ_ERR_SUCCESS);
    ck_assert_uint_eq(worker_asked(IA_REQUEST_OWNER), 2);
    ck_assert_str_eq(worker_last(IA_REQUEST_OWNER)->owner.principal, "");
    ck_assert_int_eq(connect_as("shared", "leaf_of_root", true), MOSQ_ERR_SUCCESS);
    ck_assert_str_eq(worker_last(IA_REQUEST_OWNER)->owner.principal, "dev-2");
    world_stop();
}
END_TEST

/* A million devices whose client id is their own name write nothing: nobody else can have it. */
START_TEST(own_name_is_not_written_and_is_nobody_elses)
{
    start_shared();
    ck_assert_int_eq(connect_as("dev-1", "plain_leaf", true), MOSQ_ERR_SUCCESS);
    ck_assert_uint_eq(worker_asked(IA_REQUEST_OWNER), 0);
    ck_assert_int_eq(connect_as("dev-1", "leaf_of_root", true), MOSQ_ERR_AUTH);
    ck_assert_int_eq(connect_as("dev-2", "plain_leaf", true), MOSQ_ERR_AUTH); /* it never came */
    ck_assert_int_eq(connect_as("app:idp:dash", "plain_leaf", true), MOSQ_ERR_AUTH);
    ck_assert_int_eq(connect_as("app:idp:dash/1", "plain_leaf", true), MOSQ_ERR_AUTH);
    ck_assert_int_eq(connect_as("dev-1/x", "plain_leaf", false), MOSQ_ERR_SUCCESS);
    world_stop();
}
END_TEST

/* Else a tenant could lock another's device out with a certificate of that name. */
START_TEST(owner_keeps_its_client_id_when_a_device_of_that_name_is_registered)
{
    start_shared();
    ck_assert_int_eq(connect_as("shared", "plain_leaf", true), MOSQ_ERR_SUCCESS);
    struct ia_device_row named = world_device("leaf_of_root", "shared");
    world_device_now("shared", &named, 1);
    ck_assert_int_eq(connect_as("shared", "plain_leaf", true), MOSQ_ERR_SUCCESS);
    world_stop();
}
END_TEST

START_TEST(app_with_many_client_ids_below_its_name_writes_nothing)
{
    start_shared();
    struct mosquitto app = world_client("app:idp:dash/1", NULL);
    app.persistent = true;
    ck_assert_int_eq(world_basic_auth(&app, world_token("dash", "read", 600)), MOSQ_ERR_SUCCESS);
    ck_assert_uint_eq(worker_asked(IA_REQUEST_OWNER), 0);
    world_stop();
}
END_TEST

START_TEST(released_client_id_is_written_again_where_its_owner_is_connected)
{
    start_shared();
    struct mosquitto owner = world_client("shared", "plain_leaf");
    owner.persistent = true;
    ck_assert_int_eq(world_connect(&owner), MOSQ_ERR_SUCCESS);
    worker_reply(ia_reply_new(IA_REPLY_RELEASED, "shared")); /* its row is deleted */
    world_tick();
    ck_assert_uint_eq(worker_asked(IA_REQUEST_OWNER), 2);
    world_disconnect(&owner);
    world_tick();
    worker_reply(ia_reply_new(IA_REPLY_RELEASED, "shared"));
    ck_assert_int_eq(connect_as("shared", "leaf_of_root", true), MOSQ_ERR_SUCCESS);
    ck_assert_str_eq(worker_last(IA_REQUEST_OWNER)->owner.principal, "dev-2");
    world_stop();
}
END_TEST

/* It can be asked what it has restored. */
START_TEST(on_2_1_nothing_is_written)
{
    broker.is_21 = true;
    start_shared();
    ck_assert_int_eq(connect_as("shared", "plain_leaf", true), MOSQ_ERR_SUCCESS);
    ck_assert_uint_eq(worker_asked(IA_REQUEST_OWNER), 0);
    world_stop();
}
END_TEST

START_TEST(owner_that_the_worker_has_no_room_for_is_written_at_the_next_login)
{
    start_shared();
    worker_stub.full = true;
    ck_assert_int_eq(connect_as("shared", "plain_leaf", true), MOSQ_ERR_SUCCESS);
    worker_stub.full = false;
    ck_assert_int_eq(connect_as("shared", "plain_leaf", true), MOSQ_ERR_SUCCESS);
    ck_assert_uint_eq(worker_asked(IA_REQUEST_OWNER), 1);
    world_stop();
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_test(c, owner_of_before_the_restart_has_its_client_id_alone);
    tcase_add_test(c, owner_is_written_once_and_removed_when_nothing_is_kept);
    tcase_add_test(c, own_name_is_not_written_and_is_nobody_elses);
    tcase_add_test(c, owner_keeps_its_client_id_when_a_device_of_that_name_is_registered);
    tcase_add_test(c, app_with_many_client_ids_below_its_name_writes_nothing);
    tcase_add_test(c, released_client_id_is_written_again_where_its_owner_is_connected);
    tcase_add_test(c, on_2_1_nothing_is_written);
    tcase_add_test(c, owner_that_the_worker_has_no_room_for_is_written_at_the_next_login);
}

int main(void)
{
    return run_suite("owned_ids", cases);
}
