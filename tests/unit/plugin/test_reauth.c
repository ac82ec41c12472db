// SPDX-License-Identifier: ISC
/* SIGHUP: BASIC_AUTH once more for every context.  Only the broker's own may be answered from memory: a name, a moment
 * or a pointer proves nothing. */
#include "tests/unit/plugin/world.h"
#include "tests/unit/suite.h"

#include <string.h>

static struct mosquitto device;

/* dev-1 is connected as `device`. */
static void start_connected(void)
{
    struct ia_device_row row = world_device("plain_leaf", "dev-1");
    world_start();
    world_device_now("dev-1", &row, 1);
    device = world_client("dev-1", "plain_leaf");
    ck_assert_int_eq(world_connect(&device), MOSQ_ERR_SUCCESS);
    worker_forget();
    broker_forget();
}

START_TEST(connected_device_is_answered_from_memory)
{
    start_connected();
    const struct ia_client *before = world_session(&device);
    for (int i = 0; i < 20; i++) {
        world_reload();
        ck_assert_int_eq(world_basic_auth(&device, NULL), MOSQ_ERR_SUCCESS);
        world_tick();
    }
    ck_assert_ptr_eq(world_session(&device), before);
    ck_assert_uint_eq(worker_stub.n_requests, worker_asked(IA_REQUEST_COUNTERS));
    ck_assert_uint_eq(world.core->counters.accepted_devices, 1);
    world_stop();
}
END_TEST

/* An error would make the broker free what it goes on using; ACL and kick do the rest. */
START_TEST(disabled_device_is_answered_with_success_and_disconnected)
{
    start_connected();
    world_kicks(&device);
    struct ia_device_row row = world_device("plain_leaf", "dev-1");
    row.device_status = IA_DEVICE_INACTIVE;
    world_device_now("dev-1", &row, 1);
    world_reload();
    ck_assert_int_eq(world_basic_auth(&device, NULL), MOSQ_ERR_SUCCESS);
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_WRITE, "devices/dev-1/x"), MOSQ_ERR_ACL_DENIED);
    ck_assert_uint_eq(broker.n_kicked, 0);
    world_tick();
    ck_assert_uint_eq(broker.n_kicked, 1);
    world_stop();
}
END_TEST

/* DISCONNECT may never come, and contexts are allocated again: the same pointer with other things in it is another. */
START_TEST(reused_pointer_is_decided_as_a_new_connection)
{
    start_connected();
    device.certificate = pki_cert("self_leaf");
    device.username = "root";
    ck_assert_int_eq(world_basic_auth(&device, NULL), MOSQ_ERR_AUTH); /* under the same id, with another certificate */
    device.certificate = NULL;
    ck_assert_int_eq(world_basic_auth(&device, NULL), MOSQ_ERR_AUTH); /* without any */
    ck_assert_uint_eq(world_refused(IA_R_NO_CREDENTIAL), 1);
    device.certificate = pki_cert("plain_leaf");
    device.id = "dev-9";
    ck_assert_int_eq(world_basic_auth(&device, NULL), MOSQ_ERR_AUTH); /* under another id */
    ck_assert_uint_eq(world_refused(IA_R_CLIENT_ID_MISMATCH), 1);
    world_stop();
}
END_TEST

/* On 2.0, offline clients come without certificate between RELOAD and TICK.  WebSocket packets are served there too. */
START_TEST(window_of_2_0_covers_contexts_that_we_do_not_know_but_no_websockets)
{
    world_start();
    struct mosquitto offline = {.id = "dev-7", .username = "dev-7", .version = 4, .persistent = true};
    struct mosquitto socket = world_client("dev-7", NULL);
    socket.protocol = mp_websockets;
    ck_assert_int_eq(world_basic_auth(&offline, NULL), MOSQ_ERR_AUTH);
    ck_assert_int_eq(world_reload(), MOSQ_ERR_PLUGIN_DEFER);
    ck_assert_int_eq(world_basic_auth(&offline, NULL), MOSQ_ERR_SUCCESS);
    ck_assert_int_eq(world_basic_auth(&socket, NULL), MOSQ_ERR_AUTH);
    ck_assert_ptr_null(world_session(&offline)); /* an answer, no login */
    world_tick();
    ck_assert_int_eq(world_basic_auth(&offline, NULL), MOSQ_ERR_AUTH);
    world_stop();
}
END_TEST

/* 2.1 skips TICK while next_ms runs, but can be asked what it has. */
START_TEST(window_of_2_1_proves_nothing_but_the_brokers_own_context_does)
{
    broker.is_21 = true;
    world_start();
    struct mosquitto offline = {.id = "dev-7", .username = "dev-7", .version = 4},
                     unauthenticated = world_client("dev-7", NULL);
    broker.known[0] = &offline;
    ck_assert_int_eq(world_reload(), MOSQ_ERR_SUCCESS); /* an error would end 2.1 */
    ck_assert_int_eq(world_basic_auth(&unauthenticated, NULL), MOSQ_ERR_AUTH);
    ck_assert_int_eq(world_basic_auth(&offline, NULL), MOSQ_ERR_SUCCESS);
    offline.id = NULL;
    broker.known[0] = NULL;
    ck_assert_int_eq(world_basic_auth(&offline, NULL), MOSQ_ERR_AUTH);
    world_stop();
}
END_TEST

START_TEST(app_is_known_by_its_token)
{
    world_start();
    struct mosquitto app = world_client("app:idp:board", NULL);
    const char *token = world_token("board", "read", 300), *other = world_token("board", "read", 301);
    ck_assert_int_eq(world_basic_auth(&app, token), MOSQ_ERR_SUCCESS);
    clock_advance_ms(400000); /* expired meanwhile: still an answer from memory, TICK ends it */
    world_reload();
    ck_assert_int_eq(world_basic_auth(&app, token), MOSQ_ERR_SUCCESS);
    ck_assert_int_eq(world_basic_auth(&app, other), MOSQ_ERR_AUTH); /* another token: decided, and expired */
    ck_assert_uint_eq(world_refused(IA_R_TOKEN_EXPIRED), 1);
    world_stop();
}
END_TEST

/* Its token came in an AUTH packet and is not passed on again. */
START_TEST(app_by_extended_authentication_is_known_without_a_password)
{
    world_start();
    struct mosquitto app = world_client("app:idp:board", NULL);
    ck_assert_int_eq(world_ext_auth(&app, world_token("board", "read", 300)), MOSQ_ERR_SUCCESS);
    world_reload();
    ck_assert_int_eq(world_basic_auth(&app, NULL), MOSQ_ERR_SUCCESS);
    world_stop();
}
END_TEST

START_TEST(handed_on_client_is_handed_on_again)
{
    world_start_with("other_clients", "defer");
    struct mosquitto client = world_client("browser", NULL);
    client.username = "alice";
    ck_assert_int_eq(world_basic_auth(&client, "pass"), MOSQ_ERR_PLUGIN_DEFER);
    world_reload();
    ck_assert_int_eq(world_basic_auth(&client, "pass"), MOSQ_ERR_PLUGIN_DEFER);
    world_stop();
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_test(c, connected_device_is_answered_from_memory);
    tcase_add_test(c, disabled_device_is_answered_with_success_and_disconnected);
    tcase_add_test(c, reused_pointer_is_decided_as_a_new_connection);
    tcase_add_test(c, window_of_2_0_covers_contexts_that_we_do_not_know_but_no_websockets);
    tcase_add_test(c, window_of_2_1_proves_nothing_but_the_brokers_own_context_does);
    tcase_add_test(c, app_is_known_by_its_token);
    tcase_add_test(c, app_by_extended_authentication_is_known_without_a_password);
    tcase_add_test(c, handed_on_client_is_handed_on_again);
}

int main(void)
{
    return run_suite("reauth", cases);
}
