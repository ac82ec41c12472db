// SPDX-License-Identifier: ISC
/* One client id is one principal's: a new connection inherits what the last one left, whoever it is. */
#include "tests/unit/plugin/world.h"
#include "tests/unit/suite.h"

#include <string.h>

/* --- client ids and their owners
 * ------------------------------------------------------------------------------------ */

/* Two devices whose CA lets them use any client id: dev-1 (plain_leaf) and dev-2 (leaf_of_root). */
static void start_with_two(void)
{
    static const char *const any[] = {"*"};
    struct ia_device_row one = world_device("plain_leaf", "dev-1"), two = world_device("leaf_of_root", "dev-2");
    world_rows();
    world.cas[0].client_id_templates = (struct ia_texts){any, 1};
    world_start();
    world_device_now("dev-1", &one, 1);
    world_device_now("dev-2", &two, 1);
}

START_TEST(take_over_by_the_same_device_is_harmless)
{
    start_with_two();
    struct mosquitto old = world_client("shared", "plain_leaf"), new = world_client("shared", "plain_leaf");
    ck_assert_int_eq(world_connect(&old), MOSQ_ERR_SUCCESS);
    ck_assert_int_eq(world_connect(&new), MOSQ_ERR_SUCCESS);
    world_disconnect(&old);
    world_tick();
    ck_assert_ptr_eq(ia_client_owner(world.core->clients, "shared"), world_session(&new));
    ck_assert_int_eq(world_acl(&new, MOSQ_ACL_WRITE, "devices/dev-1/x"), MOSQ_ERR_SUCCESS);
    world_stop();
}
END_TEST

START_TEST(take_over_by_another_device_is_refused)
{
    start_with_two();
    struct mosquitto owner = world_client("shared", "plain_leaf"), thief = world_client("shared", "leaf_of_root");
    ck_assert_int_eq(world_connect(&owner), MOSQ_ERR_SUCCESS);
    ck_assert_int_eq(world_connect(&thief), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(IA_R_CLIENT_ID_MISMATCH), 1);
    ck_assert_ptr_nonnull(strstr(broker.log, "the client id is in use by another"));
    world_disconnect(&owner); /* clean session: nothing is left under the id */
    world_tick();
    ck_assert_int_eq(world_connect(&thief), MOSQ_ERR_SUCCESS);
    world_stop();
}
END_TEST

START_TEST(persistent_session_keeps_its_client_id_after_the_connection)
{
    start_with_two();
    struct mosquitto owner = world_client("shared", "plain_leaf"), thief = world_client("shared", "leaf_of_root");
    owner.persistent = true;
    ck_assert_int_eq(world_connect(&owner), MOSQ_ERR_SUCCESS);
    world_disconnect(&owner);
    world_tick();
    ck_assert_int_eq(world_connect(&thief), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(IA_R_CLIENT_ID_MISMATCH), 1);
    struct mosquitto again = world_client("shared", "plain_leaf");
    ck_assert_int_eq(world_connect(&again), MOSQ_ERR_SUCCESS);
    world_stop();
}
END_TEST

/* A second connection that was let in and then failed took the client id's ownership with it: a third, of another
 * device, could have the first one's subscriptions and queue. */
START_TEST(client_id_stays_its_owners_when_a_newer_connection_fails)
{
    start_with_two();
    struct mosquitto owner = world_client("shared", "plain_leaf"), failing = world_client("shared", "plain_leaf"),
                     thief = world_client("shared", "leaf_of_root");
    ck_assert_int_eq(world_connect(&owner), MOSQ_ERR_SUCCESS);
    failing.refuses_username = true;
    ck_assert_int_eq(world_connect(&failing), MOSQ_ERR_AUTH);
    world_disconnect(&failing);
    world_tick();
    ck_assert_ptr_eq(ia_client_owner(world.core->clients, "shared"), world_session(&owner));
    ck_assert_int_eq(world_connect(&thief), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(IA_R_CLIENT_ID_MISMATCH), 1);
    world_stop();
}
END_TEST

/* 2.1 can be asked for what it has under an id, also what it restored from disk. */
START_TEST(session_that_the_broker_restored_is_its_users)
{
    broker.is_21 = true;
    start_with_two();
    struct mosquitto restored = {.id = "shared", .username = "dev-1"};
    broker.known[0] = &restored;
    struct mosquitto thief = world_client("shared", "leaf_of_root"), owner = world_client("shared", "plain_leaf");
    ck_assert_int_eq(world_connect(&thief), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(IA_R_CLIENT_ID_MISMATCH), 1);
    ck_assert_int_eq(world_connect(&owner), MOSQ_ERR_SUCCESS);
    world_stop();
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_test(c, take_over_by_the_same_device_is_harmless);
    tcase_add_test(c, take_over_by_another_device_is_refused);
    tcase_add_test(c, persistent_session_keeps_its_client_id_after_the_connection);
    tcase_add_test(c, client_id_stays_its_owners_when_a_newer_connection_fails);
    tcase_add_test(c, session_that_the_broker_restored_is_its_users);
}

int main(void)
{
    return run_suite("client_ids", cases);
}
