// SPDX-License-Identifier: ISC
/* Clients with neither certificate nor token, under other_clients defer. */
#include "tests/unit/plugin/world.h"
#include "tests/unit/suite.h"

/* --- other_clients
 * -------------------------------------------------------------------------------------------------- */

START_TEST(others_are_handed_on_where_that_is_wanted)
{
    world_start_with("other_clients", "defer");
    struct mosquitto client = world_client("browser", NULL);
    client.username = "alice";
    ck_assert_int_eq(world_basic_auth(&client, "pass"), MOSQ_ERR_PLUGIN_DEFER);
    ck_assert_str_eq(client.username, "alice");
    ck_assert_int_eq(world_acl(&client, MOSQ_ACL_WRITE, "anything"), MOSQ_ERR_PLUGIN_DEFER);
    ck_assert_int_eq(world_acl(&client, MOSQ_ACL_WRITE, "$iot-auth/events/x"), MOSQ_ERR_ACL_DENIED);
    world_stop();
}
END_TEST

/* Whoever has a name of ours must show its credential: the name would carry its rights. */
static const struct {
    const char *label, *id, *username;
} impostors[] = {
    {"a device's name", "browser", "dev-1"},
    {"an app's name", "browser", "app:idp:board"},
    {"a device's client id", "dev-1", "alice"},
    {"an app's client id", "app:idp:board", "alice"},
    {"a device's client id, without a username", "dev-1", NULL},
};

START_TEST(others_may_not_use_our_names)
{
    struct ia_device_row row = world_device("plain_leaf", "dev-1");
    world_start_with("other_clients", "defer");
    world_device_now("dev-1", &row, 1);
    struct mosquitto client = world_client(impostors[_i].id, NULL);
    client.username = impostors[_i].username;
    ck_assert_msg(world_basic_auth(&client, "pass") == MOSQ_ERR_AUTH, "%s", impostors[_i].label);
    ck_assert_uint_eq(world_refused(IA_R_CLIENT_ID_MISMATCH), 1);
    ck_assert_ptr_null(world_session(&client));
    world_stop();
}
END_TEST

START_TEST(others_may_not_take_over_a_connected_client)
{
    static const char *const any[] = {"*"};
    struct ia_device_row row = world_device("plain_leaf", "dev-1");
    world_rows();
    world.cas[0].client_id_templates = (struct ia_texts){any, 1};
    world_start_with("other_clients", "defer");
    world_device_now("dev-1", &row, 1);
    struct mosquitto device = world_client("pump", "plain_leaf"), other = world_client("pump", NULL);
    ck_assert_int_eq(world_connect(&device), MOSQ_ERR_SUCCESS);
    other.username = "alice";
    ck_assert_int_eq(world_basic_auth(&other, "pass"), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(IA_R_CLIENT_ID_MISMATCH), 1);
    world_stop();
}
END_TEST

START_TEST(others_are_held_to_the_global_address_rules)
{
    world_rows();
    world.ips[world.n_ips++] = (struct ia_ip_rule){.rule_id = 1, .network = "192.0.2.0/24", .scope = IA_IP_GLOBAL};
    world_start_with("other_clients", "defer");
    struct mosquitto client = world_client("browser", NULL);
    ck_assert_int_eq(world_basic_auth(&client, "pass"), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(IA_R_ADDRESS_DENIED), 1);
    world_stop();
}
END_TEST

/* Mosquitto gives a context's memory to the next client: the pointer of a session that has ended proves nothing. */
START_TEST(client_on_the_pointer_of_one_that_left_is_decided_by_itself)
{
    world_start_with("other_clients", "defer");
    struct mosquitto client = world_client("browser", NULL);
    client.username = "alice";
    client.version = 5; /* might persist, so its session is kept */
    ck_assert_int_eq(world_basic_auth(&client, "pass"), MOSQ_ERR_PLUGIN_DEFER);
    world_disconnect(&client);
    world.ips[world.n_ips++] = (struct ia_ip_rule){.rule_id = 77, .network = "192.0.2.0/24"};
    world_snapshot();
    ck_assert_int_eq(world_basic_auth(&client, "pass"), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(IA_R_ADDRESS_DENIED), 1);
    world.n_ips = 0;
    world_snapshot();
    ck_assert_int_eq(world_basic_auth(&client, "pass"), MOSQ_ERR_PLUGIN_DEFER);
    ck_assert(world_session(&client)->live); /* so that it can be kicked */
    world_stop();
}
END_TEST

START_TEST(reload_asks_again_of_one_that_is_not_connected)
{
    world_start_with("other_clients", "defer");
    struct mosquitto client = world_client("browser", NULL);
    client.username = "alice";
    client.persistent = true;
    ck_assert_int_eq(world_basic_auth(&client, "pass"), MOSQ_ERR_PLUGIN_DEFER);
    world_disconnect(&client);
    client.address = NULL;
    world_tick();
    world_reload();
    ck_assert_int_eq(world_basic_auth(&client, "pass"), MOSQ_ERR_PLUGIN_DEFER);
    ck_assert(!world_session(&client) || !world_session(&client)->live);
    world_stop();
}
END_TEST

START_TEST(token_is_never_handed_on)
{
    world_start_with("other_clients", "defer");
    struct mosquitto client = world_client("app:idp:board", NULL);
    ck_assert_int_eq(world_basic_auth(&client, world_token("board", "read", -100)), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(IA_R_TOKEN_EXPIRED), 1);
    world_stop();
}
END_TEST

/* A silent SUBACK 0x80 is hard to explain. */
START_TEST(defer_is_explained_in_the_log)
{
    world_start_with("other_clients", _i ? "defer" : "deny");
    ck_assert_int_eq(strstr(broker.log, "no acl_file and no other plugin allows") != NULL, _i);
    world_stop();
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_loop_test(c, defer_is_explained_in_the_log, 0, 2);
    tcase_add_test(c, others_are_handed_on_where_that_is_wanted);
    tcase_add_loop_test(c, others_may_not_use_our_names, 0, (int)(sizeof impostors / sizeof impostors[0]));
    tcase_add_test(c, others_may_not_take_over_a_connected_client);
    tcase_add_test(c, others_are_held_to_the_global_address_rules);
    tcase_add_test(c, client_on_the_pointer_of_one_that_left_is_decided_by_itself);
    tcase_add_test(c, reload_asks_again_of_one_that_is_not_connected);
    tcase_add_test(c, token_is_never_handed_on);
}

int main(void)
{
    return run_suite("other_clients", cases);
}
