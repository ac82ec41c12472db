// SPDX-License-Identifier: ISC
/* ACL_CHECK for clients that are not connected: wills, queues and retained messages. */
#include "tests/unit/plugin/world.h"
#include "tests/unit/suite.h"

#include <stdio.h>
#include <string.h>

#define OK     MOSQ_ERR_SUCCESS
#define DENIED MOSQ_ERR_ACL_DENIED

static struct mosquitto device;

/* --- disconnected
 * ----------------------------------------------------------------------------------------------------------- */

static void leave(void)
{
    world_disconnect(&device); /* the address goes with the socket, a moment later */
}

START_TEST(will_is_checked_after_disconnect_with_the_rights_of_before)
{
    world_start_connected(&device, false);
    leave();
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_WRITE, "devices/dev-1/status"), OK);
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_WRITE, "devices/dev-2/status"), DENIED);
    device.address = NULL;
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_WRITE, "devices/dev-1/status"), OK);
    world_stop();
}
END_TEST

START_TEST(delayed_will_of_a_device_that_lost_its_right_is_withheld)
{
    world_start_connected(&device, true);
    leave();
    device.address = NULL;
    world_dev1_is(IA_DEVICE_INACTIVE);
    world_tick();
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_WRITE, "devices/dev-1/status"), DENIED);
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_READ, "devices/dev-1/cmd"), OK);
    world_dev1_is(IA_DEVICE_ACTIVE);
    world.cas[0].status = IA_CA_INACTIVE;
    world_snapshot();
    world_tick();
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_WRITE, "devices/dev-1/status"), DENIED);
    world_stop();
}
END_TEST

START_TEST(delayed_will_of_a_deleted_device_is_withheld)
{
    world_start_connected(&device, true);
    leave();
    device.address = NULL;
    world_device_now("dev-1", NULL, 0);
    world_tick();
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_WRITE, "devices/dev-1/status"), DENIED);
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_READ, "devices/dev-1/cmd"), DENIED);
    world_stop();
}
END_TEST

static void nothing(void)
{
}

static void token_expires(void)
{
    clock_advance_ms(3600000);
}

static void issuer_is_disabled(void)
{
    world.issuers[0].active = false;
}

static void scope_loses_its_role(void)
{
    world.n_scopes = 0;
}

/* An app's will, perhaps an hour after it left: that its token has run out meanwhile is no fault of its. */
static const struct {
    const char *label;
    void (*change)(void);
    int answer;
} app_wills[] = {
    {"nothing", nothing, OK},
    {"its token has expired since", token_expires, OK},
    {"its issuer was disabled", issuer_is_disabled, DENIED},
    {"its scope means nothing any more", scope_loses_its_role, DENIED},
};

START_TEST(delayed_will_of_an_app_follows_the_rights_of_now)
{
    world_rows();
    world.rules[1].actions |= IA_PUBLISH;
    world_start();
    struct mosquitto app = world_client("app:idp:board", NULL);
    app.persistent = true;
    ck_assert_int_eq(world_basic_auth(&app, world_token("board", "read", 300)), MOSQ_ERR_SUCCESS);
    world_disconnect(&app);
    app.address = NULL;
    app_wills[_i].change();
    world_snapshot();
    world_tick();
    ck_assert_msg(world_acl(&app, MOSQ_ACL_WRITE, "devices/board/will") == app_wills[_i].answer, "%s",
                  app_wills[_i].label);
    world_stop();
}
END_TEST

/* CVE-2021-34434's shape: what may no longer be read is not delivered because the session is old. */
START_TEST(queue_of_an_offline_session_follows_the_rights_of_now)
{
    world_start_connected(&device, true);
    leave();
    device.address = NULL;
    world.rules[0].topic_filter = "elsewhere/${device_id}/#";
    world_snapshot();
    world_tick();
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_READ, "devices/dev-1/cmd"), DENIED);
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_READ, "elsewhere/dev-1/cmd"), OK);
    world_stop();
}
END_TEST

START_TEST(pointer_of_an_ended_session_speaks_for_nobody_else)
{
    world_start_connected(&device, true);
    leave();
    device.id = "other";
    device.username = "dev-1";
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_WRITE, "devices/dev-1/x"), DENIED); /* connected, never through us */
    world_stop();
}
END_TEST

/* A TLS-PSK client under use_identity_as_username shows no certificate and never asks us. */
START_TEST(pointer_of_an_ended_session_speaks_for_no_other_username)
{
    world_start_connected(&device, true);
    leave();
    device.certificate = NULL;
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_WRITE, "devices/dev-1/x"), OK); /* its own will */
    device.username = "meter";
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_WRITE, "devices/dev-1/x"), DENIED);
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_SUBSCRIBE, "devices/dev-1/x"), DENIED);
    world_stop();
}
END_TEST

START_TEST(ended_sessions_certificate_must_be_its_own)
{
    world_start_connected(&device, true);
    leave();
    device.certificate = pki_cert("self_leaf"); /* same id, same pointer, another client */
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_WRITE, "devices/dev-1/x"), DENIED);
    world_stop();
}
END_TEST

START_TEST(disconnect_of_one_who_was_refused_gives_no_rights)
{
    world_start();
    world_dev1_is(IA_DEVICE_ACTIVE);
    struct mosquitto refused = world_client("dev-1", NULL);
    refused.username = "dev-1";
    ck_assert_int_eq(world_connect(&refused), MOSQ_ERR_AUTH);
    world_disconnect(&refused);
    world_disconnect(&refused);
    refused.address = NULL;
    ck_assert_int_eq(world_acl(&refused, MOSQ_ACL_WRITE, "devices/dev-1/x"), DENIED); /* a will */
    world_tick();
    ck_assert_int_eq(world_acl(&refused, MOSQ_ACL_WRITE, "devices/dev-1/x"), DENIED); /* a delayed one */
    world_stop();
}
END_TEST

START_TEST(disconnect_without_an_id_is_harmless)
{
    world_start_connected(&device, false);
    struct mosquitto nameless = {.address = "192.0.2.1"};
    world_disconnect(&nameless);
    ck_assert_ptr_null(world_session(&nameless));
    ck_assert_uint_eq(ia_clients_live(world.core->clients), 1);
    world_stop();
}
END_TEST

/* --- restored after a restart, or a context on the stack
 * ------------------------------------------------------------ */

static struct mosquitto restored(const char *username)
{
    return (struct mosquitto){.id = "dev-1", .username = username};
}

START_TEST(unknown_publisher_of_a_retained_message_passes_and_is_looked_up)
{
    world_start();
    struct mosquitto client = restored("dev-1"), other = restored(NULL), app = restored("app:idp:x");
    ck_assert_int_eq(world_acl(&client, MOSQ_ACL_WRITE, "devices/dev-1/x"), OK); /* exception 2 */
    ck_assert_uint_eq(worker_asked(IA_REQUEST_DEVICE), 1);
    ck_assert_str_eq(worker_last(IA_REQUEST_DEVICE)->device_id, "dev-1");
    ck_assert_int_eq(world_acl(&other, MOSQ_ACL_WRITE, "devices/dev-1/x"), OK);
    ck_assert_int_eq(world_acl(&app, MOSQ_ACL_WRITE, "devices/dev-1/x"), OK);
    ck_assert_uint_eq(worker_asked(IA_REQUEST_DEVICE), 1); /* neither is a device */
    world_stop();
}
END_TEST

/* What an app has left behind: by its session while there is one, else by its issuer alone. */
START_TEST(retained_message_of_an_app_is_withheld_with_its_right_to_it)
{
    world_rows();
    world.rules[world.n_rules++] = (struct ia_rule){
        .rule_id = 9, .role = "reader", .allow = true, .actions = IA_PUBLISH, .topic_filter = "boards/#", .max_qos = 2};
    world_start();
    struct mosquitto app = world_client("app:idp:board", NULL);
    struct mosquitto left = {.id = "app:idp:board", .username = "app:idp:board"};
    struct mosquitto offline = {.id = "app:idp:x", .username = "app:idp:x"};
    struct mosquitto nobodys = {.id = "app:other:x", .username = "app:other:x"};
    app.persistent = true;
    ck_assert_int_eq(world_basic_auth(&app, world_token("board", "read", 3600)), OK);
    for (int i = 0; i < 2; i++) { /* connected, and not */
        ck_assert_int_eq(world_acl(&left, MOSQ_ACL_WRITE, "boards/x"), OK);
        ck_assert_int_eq(world_acl(&left, MOSQ_ACL_WRITE, "other/x"), DENIED);
        world_disconnect(&app);
    }
    ck_assert_int_eq(world_acl(&offline, MOSQ_ACL_WRITE, "boards/x"), OK);
    ck_assert_int_eq(world_acl(&nobodys, MOSQ_ACL_WRITE, "boards/x"), DENIED);
    world.issuers[0].active = false;
    world_snapshot();
    world_tick();
    ck_assert_int_eq(world_acl(&left, MOSQ_ACL_WRITE, "boards/x"), DENIED);
    ck_assert_int_eq(world_acl(&offline, MOSQ_ACL_WRITE, "boards/x"), DENIED);
    ck_assert_int_eq(world_acl(&offline, MOSQ_ACL_READ, "boards/x"), OK); /* its queue is another matter */
    world_stop();
}
END_TEST

START_TEST(retained_message_of_a_deferred_client_is_left_to_other_plugins)
{
    world_start_with("other_clients", "defer");
    struct mosquitto client = world_client("ops1", NULL), left = {.id = "ops1", .username = "ops"};
    client.username = "ops";
    client.persistent = true;
    ck_assert_int_eq(world_basic_auth(&client, "pass"), MOSQ_ERR_PLUGIN_DEFER);
    ck_assert_int_eq(world_acl(&left, MOSQ_ACL_WRITE, "ops/x"), MOSQ_ERR_PLUGIN_DEFER);
    world_disconnect(&client);
    ck_assert_int_eq(world_acl(&left, MOSQ_ACL_WRITE, "ops/x"), MOSQ_ERR_PLUGIN_DEFER);
    left.username = "another"; /* no device, no app: a password user as well */
    ck_assert_int_eq(world_acl(&left, MOSQ_ACL_WRITE, "ops/x"), MOSQ_ERR_PLUGIN_DEFER);
    world_stop();
}
END_TEST

/* One subscription can ask for the publishers of ten thousand retained messages. */
START_TEST(unknown_publishers_are_looked_up_a_few_a_second)
{
    char name[24];
    world_start();
    for (int i = 0; i < 1000; i++) {
        (void)snprintf(name, sizeof name, "dev-%d", i);
        struct mosquitto client = {.id = "x", .username = name};
        ck_assert_int_eq(world_acl(&client, MOSQ_ACL_WRITE, "t"), OK);
    }
    size_t asked = worker_asked(IA_REQUEST_DEVICE);
    ck_assert_uint_gt(asked, 10);
    ck_assert_uint_lt(asked, 100);
    clock_advance_ms(1000);
    struct mosquitto client = {.id = "x", .username = "another"};
    ck_assert_int_eq(world_acl(&client, MOSQ_ACL_WRITE, "t"), OK);
    ck_assert_uint_eq(worker_asked(IA_REQUEST_DEVICE), asked + 1);
    world_database(false);
    world_tick();
    clock_advance_ms(1000);
    ck_assert_int_eq(world_acl(&client, MOSQ_ACL_WRITE, "t"), OK);
    ck_assert_uint_eq(worker_asked(IA_REQUEST_DEVICE), asked + 1); /* nobody is there to answer */
    world_stop();
}
END_TEST

START_TEST(known_publisher_of_a_retained_message_is_judged)
{
    world_start();
    struct mosquitto client = restored("dev-1");
    world_dev1_is(IA_DEVICE_ACTIVE);
    world_tick();
    ck_assert_int_eq(world_acl(&client, MOSQ_ACL_WRITE, "devices/dev-1/x"), OK);
    ck_assert_int_eq(world_acl(&client, MOSQ_ACL_WRITE, "devices/dev-2/x"), DENIED);
    world_dev1_is(IA_DEVICE_INACTIVE);
    world_tick();
    ck_assert_int_eq(world_acl(&client, MOSQ_ACL_WRITE, "devices/dev-1/x"), DENIED); /* withheld */
    ck_assert_uint_eq(worker_asked(IA_REQUEST_DEVICE), 0);
    world_stop();
}
END_TEST

START_TEST(unknown_offline_reader_loses_nothing)
{
    world_start();
    struct mosquitto client = restored("dev-1");
    ck_assert_int_eq(world_acl(&client, MOSQ_ACL_READ, "anything"), OK); /* exception 1 */
    ck_assert_int_eq(world_acl(&client, MOSQ_ACL_SUBSCRIBE, "devices/dev-1/#"), DENIED);
    world_dev1_is(IA_DEVICE_ACTIVE);
    world_tick();
    ck_assert_int_eq(world_acl(&client, MOSQ_ACL_READ, "devices/dev-1/cmd"), OK);
    ck_assert_int_eq(world_acl(&client, MOSQ_ACL_READ, "anything"), DENIED); /* memory forbids it */
    world_dev1_is(IA_DEVICE_INACTIVE);
    world_tick();
    ck_assert_int_eq(world_acl(&client, MOSQ_ACL_READ, "devices/dev-1/cmd"), OK); /* kept for a better day */
    world_dev1_is(IA_DEVICE_REVOKED);
    world_tick();
    ck_assert_int_eq(world_acl(&client, MOSQ_ACL_READ, "devices/dev-1/cmd"), DENIED);
    world_stop();
}
END_TEST

/* Under rotation a device has two certificates; one of them is enough. */
START_TEST(offline_device_has_the_rights_of_its_better_certificate)
{
    world_rows();
    world.cas[world.n_cas++] = world_ca(2, "old", "root2");
    world.cas[1].status = IA_CA_INACTIVE;
    world_start();
    struct ia_device_row rows[] = {world_device("leaf_of_root", "dev-1"), world_device("plain_leaf", "dev-1")};
    struct mosquitto client = restored("dev-1");
    rows[0].certificate_ca_id = 2;
    world_device_now("dev-1", rows, 2);
    world_tick();
    ck_assert_int_eq(world_acl(&client, MOSQ_ACL_WRITE, "devices/dev-1/x"), OK);
    world_device_now("dev-1", rows, 1);
    world_tick();
    ck_assert_int_eq(world_acl(&client, MOSQ_ACL_WRITE, "devices/dev-1/x"), DENIED);
    world_stop();
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_test(c, will_is_checked_after_disconnect_with_the_rights_of_before);
    tcase_add_test(c, delayed_will_of_a_device_that_lost_its_right_is_withheld);
    tcase_add_test(c, delayed_will_of_a_deleted_device_is_withheld);
    tcase_add_loop_test(c, delayed_will_of_an_app_follows_the_rights_of_now, 0,
                        (int)(sizeof app_wills / sizeof app_wills[0]));
    tcase_add_test(c, queue_of_an_offline_session_follows_the_rights_of_now);
    tcase_add_test(c, pointer_of_an_ended_session_speaks_for_nobody_else);
    tcase_add_test(c, pointer_of_an_ended_session_speaks_for_no_other_username);
    tcase_add_test(c, ended_sessions_certificate_must_be_its_own);
    tcase_add_test(c, disconnect_of_one_who_was_refused_gives_no_rights);
    tcase_add_test(c, disconnect_without_an_id_is_harmless);
    tcase_add_test(c, unknown_publisher_of_a_retained_message_passes_and_is_looked_up);
    tcase_add_test(c, unknown_publishers_are_looked_up_a_few_a_second);
    tcase_add_test(c, known_publisher_of_a_retained_message_is_judged);
    tcase_add_test(c, retained_message_of_an_app_is_withheld_with_its_right_to_it);
    tcase_add_test(c, retained_message_of_a_deferred_client_is_left_to_other_plugins);
    tcase_add_test(c, unknown_offline_reader_loses_nothing);
    tcase_add_test(c, offline_device_has_the_rights_of_its_better_certificate);
}

int main(void)
{
    return run_suite("offline", cases);
}
