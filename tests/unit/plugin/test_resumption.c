// SPDX-License-Identifier: ISC
/* Whose TLS session may be resumed: that of an accepted login, until its client is refused or its rights end. */
#include "tests/unit/plugin/world.h"
#include "tests/unit/suite.h"

#include <string.h>

static struct mosquitto device;

static bool was_dropped(const char *cert)
{
    uint8_t fingerprint[IA_FINGERPRINT_LEN];
    ck_assert(ia_cert_fingerprint(pki_cert(cert), fingerprint));
    return gate_stub.n_dropped > 0 && memcmp(gate_stub.dropped, fingerprint, sizeof fingerprint) == 0;
}

START_TEST(accepted_login_keeps_its_session)
{
    world_start_connected(&device, false);
    ck_assert_uint_eq(gate_stub.n_kept, 1);
    ck_assert_ptr_eq(gate_stub.kept[0], device.certificate);
    ck_assert_uint_eq(gate_stub.n_excluded, 0);
    world_stop();
}
END_TEST

START_TEST(refused_login_loses_its_session)
{
    world_start_connected(&device, false);
    world_disconnect(&device);
    gate_stub.n_kept = gate_stub.n_dropped = 0;
    device.id = "another";
    ck_assert_int_ne(world_connect(&device), MOSQ_ERR_SUCCESS);
    ck_assert_uint_eq(gate_stub.n_kept, 0);
    ck_assert(was_dropped("plain_leaf"));
    world_stop();
}
END_TEST

/* Mosquitto names no address: it is known from this handshake only.  On a WebSocket listener that concerns all clients,
 * over TCP one that comes by a balancer. */
START_TEST(client_without_an_address_keeps_no_session)
{
    world_start_connected(&device, false);
    world_disconnect(&device);
    gate_stub.n_kept = 0;
    device.address = NULL;
    device.protocol = _i == 0 ? mp_mqtt : mp_websockets;
    ck_assert_int_eq(world_connect(&device), MOSQ_ERR_SUCCESS);
    ck_assert_uint_eq(gate_stub.n_kept, 0);
    ck_assert_uint_eq(gate_stub.n_excluded, _i == 0 ? 0 : 1);
    world_stop();
}
END_TEST

/* Rows: what becomes of the device while it is connected, or not. */
static const enum ia_device_status statuses[] = {IA_DEVICE_INACTIVE, IA_DEVICE_PENDING, IA_DEVICE_REVOKED};

START_TEST(device_that_is_no_longer_active_loses_its_session)
{
    for (int connected = 0; connected < 2; connected++) {
        world_start_connected(&device, false);
        if (!connected)
            world_disconnect(&device);
        gate_stub.n_dropped = 0;
        if (connected)
            world_kicks(&device);
        world_dev1_is(statuses[_i]);
        world_tick();
        ck_assert_msg(was_dropped("plain_leaf"), "connected: %d", connected);
        world_stop();
    }
}
END_TEST

START_TEST(withdrawn_certificate_loses_its_session)
{
    world_start_connected(&device, false);
    world_disconnect(&device);
    gate_stub.n_dropped = 0;
    struct ia_device_row row = world_device("plain_leaf", "dev-1");
    row.certificate_status = IA_CERT_INACTIVE;
    world_device_now("dev-1", &row, 1);
    world_tick();
    ck_assert(was_dropped("plain_leaf"));
    world_stop();
}
END_TEST

START_TEST(deleted_device_loses_its_session)
{
    world_start_connected(&device, false);
    world_disconnect(&device);
    gate_stub.n_dropped = 0;
    world_device_now("dev-1", NULL, 0);
    world_tick();
    ck_assert(was_dropped("plain_leaf"));
    world_stop();
}
END_TEST

START_TEST(session_that_is_ended_by_a_change_is_not_resumed)
{
    world_start_connected(&device, false);
    gate_stub.n_dropped = 0;
    world.ips[world.n_ips++] = (struct ia_ip_rule){.rule_id = 1, .network = "192.0.2.0/24", .scope = IA_IP_GLOBAL};
    world_kicks(&device);
    world_snapshot();
    world_tick();
    ck_assert(was_dropped("plain_leaf"));
    world_stop();
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_test(c, accepted_login_keeps_its_session);
    tcase_add_test(c, refused_login_loses_its_session);
    tcase_add_loop_test(c, client_without_an_address_keeps_no_session, 0, 2);
    tcase_add_loop_test(c, device_that_is_no_longer_active_loses_its_session, 0, 3);
    tcase_add_test(c, withdrawn_certificate_loses_its_session);
    tcase_add_test(c, deleted_device_loses_its_session);
    tcase_add_test(c, session_that_is_ended_by_a_change_is_not_resumed);
}

int main(void)
{
    return run_suite("plugin_resumption", cases);
}
