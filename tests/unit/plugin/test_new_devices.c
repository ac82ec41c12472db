// SPDX-License-Identifier: ISC
/* New devices: who is asked for and parked at the end of a handshake, for how long, and what ends it. */
#include "plugin/new_devices.h"
#include "tests/unit/plugin/world.h"
#include "tests/unit/suite.h"

#include <string.h>

static struct mosquitto client;
static struct ia_device_row dev1;

#define ASKED worker_asked(IA_REQUEST_REGISTER)

static void start_with(const char *option, const char *value)
{
    world_start_with(option, value);
    client = world_client("dev-1", "plain_leaf");
    dev1 = world_device("plain_leaf", "dev-1");
}

static void start(void)
{
    start_with(NULL, NULL);
}

static void shake_hands(void)
{
    ck_assert(gate_handshake(client.certificate, NULL, client.address));
}

/* How long the newest parked connection is held back. */
static int64_t parked_ms(void)
{
    ck_assert_uint_gt(parking_stub.n, 0);
    return (parking_stub.connections[parking_stub.n - 1].until_us - clock_us) / 1000;
}

START_TEST(new_device_is_asked_for_and_parked)
{
    start();
    shake_hands();
    const struct ia_request *asked = worker_last(IA_REQUEST_REGISTER);
    ck_assert_ptr_nonnull(asked);
    ck_assert_str_eq(asked->registration.device_id, "dev-1");
    ck_assert_str_eq(asked->registration.address, "192.0.2.1");
    ck_assert_int_eq(asked->registration.ca_id, 1);
    ck_assert_mem_eq(asked->registration.info.fingerprint, dev1.fingerprint, 32);
    ck_assert_uint_eq(ia_parking_count(), 1);
    ck_assert_mem_eq(parking_stub.connections[0].key, dev1.fingerprint, 32);
    ck_assert_int_eq(parked_ms(), 3000);
    ck_assert_uint_eq(world.core->counters.parked_total, 1);
    world_stop();
}
END_TEST

START_TEST(known_device_is_not_parked)
{
    start();
    world_device_now("dev-1", &dev1, 1);
    shake_hands();
    ck_assert_uint_eq(parking_stub.n + ASKED, 0);
    ck_assert_int_eq(world_basic_auth(&client, NULL), MOSQ_ERR_SUCCESS);
    world_stop();
}
END_TEST

START_TEST(new_device_is_admitted_when_the_answer_is_there)
{
    start();
    shake_hands();
    world_answer("plain_leaf", &dev1, IA_R_NONE);
    world_tick();
    ck_assert_uint_eq(ia_parking_count(), 0);
    ck_assert_int_eq(world_basic_auth(&client, NULL), MOSQ_ERR_SUCCESS);
    ck_assert_uint_eq(ASKED, 1);
    ck_assert_uint_eq(world.core->counters.parked_expired, 0);
    ck_assert_uint_eq(broker_published("$iot-auth/events/device/registered"), 1);
    world_stop();
}
END_TEST

/* One answer serves all connections of the certificate, and no other's. */
START_TEST(answer_releases_the_connections_of_its_certificate)
{
    start();
    shake_hands();
    shake_hands();
    client = world_client("dev-2", "leaf_of_root");
    shake_hands();
    ck_assert_uint_eq(ASKED, 2);
    ck_assert_uint_eq(ia_parking_count(), 3);
    world_answer("plain_leaf", NULL, IA_R_QUOTA_EXCEEDED);
    world_tick();
    ck_assert_uint_eq(ia_parking_count(), 1);
    ck_assert(!parking_stub.connections[0].held && !parking_stub.connections[1].held);
    world_stop();
}
END_TEST

START_TEST(refusal_by_the_registry_is_reported_once_and_at_connect)
{
    start();
    shake_hands();
    world_answer("plain_leaf", NULL, IA_R_DEVICE_CONFLICT);
    world_tick();
    ck_assert_uint_eq(world_refused(IA_R_DEVICE_CONFLICT), 0);
    ck_assert_int_eq(world_basic_auth(&client, NULL), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(IA_R_DEVICE_CONFLICT), 1);
    shake_hands(); /* within a second: the answer stands, and nobody is parked for it */
    ck_assert_uint_eq(parking_stub.n, 1);
    ck_assert_uint_eq(ASKED, 1);
    world_stop();
}
END_TEST

START_TEST(new_device_without_an_answer_in_time_is_refused_as_retryable)
{
    start_with("auth_wait_ms", "300");
    shake_hands();
    clock_advance_ms(299);
    world_tick();
    ck_assert_uint_eq(ia_parking_count(), 1);
    clock_advance_ms(1);
    world_tick();
    ck_assert_uint_eq(ia_parking_count(), 0);
    ck_assert_uint_eq(world.core->counters.parked_expired, 1);
    ck_assert_int_eq(world_basic_auth(&client, NULL), MOSQ_ERR_UNKNOWN); /* closed without CONNACK: it will try again */
    ck_assert_uint_eq(world_refused(IA_R_REGISTRY_UNAVAILABLE), 1);
    world_answer("plain_leaf", &dev1, IA_R_NONE); /* the registration went on */
    ck_assert_int_eq(world_connect(&client), MOSQ_ERR_SUCCESS);
    ck_assert_uint_eq(ASKED, 1);
    world_stop();
}
END_TEST

START_TEST(lost_database_releases_all)
{
    start();
    shake_hands();
    world_database(false);
    world_tick();
    ck_assert_uint_eq(ia_parking_count(), 0);
    ck_assert_uint_eq(world.core->counters.parked_expired, 0);
    ck_assert_int_eq(world_basic_auth(&client, NULL), MOSQ_ERR_UNKNOWN);
    shake_hands(); /* known to be down: nobody is parked */
    ck_assert_uint_eq(ia_parking_count(), 0);
    ck_assert_uint_eq(ASKED, 1);
    world_stop();
}
END_TEST

START_TEST(stopping_releases_all)
{
    start();
    shake_hands();
    world_stop();
    ck_assert_uint_eq(ia_parking_count(), 0);
    ck_assert(!parking_stub.open);
}
END_TEST

/* --- who is not parked
 * ---------------------------------------------------------------------------------------------- */

START_TEST(nobody_is_parked_where_auth_wait_ms_is_0)
{
    start_with("auth_wait_ms", "0");
    shake_hands();
    ck_assert_uint_eq(parking_stub.n, 0);
    ck_assert_uint_eq(ASKED, 1); /* so that the answer is there at the next try */
    ck_assert_int_eq(world_basic_auth(&client, NULL), MOSQ_ERR_UNKNOWN);
    ck_assert_uint_eq(ASKED, 1);
    world_stop();
}
END_TEST

START_TEST(beyond_parked_max_new_devices_are_refused_as_retryable)
{
    start_with("parked_max", "1");
    shake_hands();
    client = world_client("dev-2", "leaf_of_root");
    shake_hands();
    ck_assert_uint_eq(ia_parking_count(), 1);
    ck_assert_uint_eq(ASKED, 2);
    ck_assert_uint_eq(world.core->counters.parked_total, 1);
    ck_assert_int_eq(world_basic_auth(&client, NULL), MOSQ_ERR_UNKNOWN);
    world_stop();
}
END_TEST

START_TEST(full_queue_parks_nobody)
{
    start();
    worker_stub.full = true;
    shake_hands();
    ck_assert_uint_eq(parking_stub.n, 0);
    ck_assert_int_eq(world_basic_auth(&client, NULL), MOSQ_ERR_UNKNOWN);
    world_stop();
}
END_TEST

static void deny_at_ca(void)
{
    world.ips[world.n_ips++] =
        (struct ia_ip_rule){.rule_id = 7, .network = "192.0.2.0/24", .scope = IA_IP_CA, .scope_key = "acme"};
}

static void deny_everywhere(void)
{
    world.ips[world.n_ips++] = (struct ia_ip_rule){.rule_id = 7, .network = "192.0.2.0/24", .scope = IA_IP_GLOBAL};
}

static void want_two_names(void)
{
    world.cas[0].device_id_template = "${cert.subject.O}-${cert.cn}";
}

static void reserve_name(void)
{
    world.reserved[world.n_reserved++] = "dev-1";
}

static void (*const refusals[])(void) = {deny_at_ca, deny_everywhere, want_two_names, reserve_name};

/* What needs no database is decided first: nobody is registered who is refused anyway. */
START_TEST(certificate_that_memory_refuses_is_neither_asked_for_nor_parked)
{
    world_rows();
    refusals[_i]();
    start();
    shake_hands();
    ck_assert_uint_eq(parking_stub.n + ASKED, 0);
    ck_assert_uint_eq(world.core->counters.refused[IA_R_ADDRESS_DENIED], 0); /* CONNECT reports it */
    ck_assert_int_eq(world_basic_auth(&client, NULL), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(ASKED, 0);
    world_stop();
}
END_TEST

/* The address that denies this connection is not the one that asked. */
START_TEST(refused_connection_is_not_parked_for_another_ones_question)
{
    world_rows();
    deny_at_ca();
    start();
    client.address = "198.51.100.1";
    shake_hands();
    ck_assert_uint_eq(ia_parking_count(), 1);
    ck_assert(gate_handshake(client.certificate, NULL, "192.0.2.1"));
    ck_assert_uint_eq(ia_parking_count(), 1);
    world_stop();
}
END_TEST

/* A handshake's chain is decided again where the CAs have changed since (a resumed session). */
START_TEST(chain_of_a_disabled_ca_is_not_asked_for)
{
    start();
    shake_hands();
    ck_assert_uint_eq(ASKED, 1);
    world_answer("plain_leaf", NULL, IA_R_REGISTRY_UNAVAILABLE);
    world.cas[0].status = IA_CA_INACTIVE;
    world_snapshot();
    world_tick();
    gate_stub.hooks.proven(gate_stub.hooks.ctx, NULL, client.certificate, &gate_stub.results[0].chain);
    ck_assert_uint_eq(ASKED, 1);
    ck_assert_uint_eq(ia_parking_count(), 0);
    world_stop();
}
END_TEST

/* After a restart a fleet's first handshakes end before Mosquitto's loop comes to its first TICK. */
START_TEST(broker_that_has_sent_no_tick_in_its_first_two_seconds_parks_nobody_later)
{
    start();
    world_forget_ticks();
    shake_hands();
    ck_assert_uint_eq(ASKED, 1);
    ck_assert_uint_eq(parking_stub.n, 1);
    clock_advance_ms(2000);
    client = world_client("dev-2", "leaf_of_root");
    shake_hands();
    ck_assert_uint_eq(ASKED, 1); /* nothing would end its parking */
    ck_assert_uint_eq(parking_stub.n, 1);
    world_stop();
}
END_TEST

START_TEST(parked_connections_are_released_by_a_pre_shared_key_too_where_no_tick_comes)
{
    start();
    world_forget_ticks();
    shake_hands();
    ck_assert_uint_eq(ia_parking_count(), 1);
    clock_advance_ms(2000);
    ia_new_devices_arrive_with_psk(world.core, NULL, "meter-1");
    ck_assert_uint_eq(ia_parking_count(), 0);
    world_stop();
}
END_TEST

/* --- WebSocket listeners
 * -------------------------------------------------------------------------------------------- */

START_TEST(listener_of_an_unknown_protocol_parks_for_four_seconds)
{
    start_with("auth_wait_ms", "60000");
    shake_hands();
    ck_assert_int_eq(parked_ms(), 4000);
    world_stop();
}
END_TEST

START_TEST(listener_where_mqtt_was_spoken_parks_for_auth_wait_ms)
{
    start_with("auth_wait_ms", "60000");
    world_device_now("dev-1", &dev1, 1);
    ck_assert_int_eq(world_connect(&client), MOSQ_ERR_SUCCESS);
    struct mosquitto other = world_client("dev-2", "leaf_of_root");
    ck_assert(gate_handshake(other.certificate, NULL, other.address));
    ck_assert_int_eq(parked_ms(), 60000);
    ck_assert(gate_handshake_at(9001, other.certificate, NULL, other.address)); /* another listener */
    ck_assert_int_eq(parked_ms(), 4000);
    world_stop();
}
END_TEST

START_TEST(websocket_listener_parks_for_four_seconds)
{
    start_with("auth_wait_ms", "60000");
    world_device_now("dev-1", &dev1, 1);
    client.protocol = mp_websockets;
    ck_assert_int_eq(world_connect(&client), MOSQ_ERR_SUCCESS);
    struct mosquitto other = world_client("dev-2", "leaf_of_root");
    ck_assert(gate_handshake(other.certificate, NULL, other.address));
    ck_assert_int_eq(parked_ms(), 4000);
    world_stop();
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_test(c, new_device_is_asked_for_and_parked);
    tcase_add_test(c, known_device_is_not_parked);
    tcase_add_test(c, new_device_is_admitted_when_the_answer_is_there);
    tcase_add_test(c, answer_releases_the_connections_of_its_certificate);
    tcase_add_test(c, refusal_by_the_registry_is_reported_once_and_at_connect);
    tcase_add_test(c, new_device_without_an_answer_in_time_is_refused_as_retryable);
    tcase_add_test(c, lost_database_releases_all);
    tcase_add_test(c, stopping_releases_all);
    tcase_add_test(c, nobody_is_parked_where_auth_wait_ms_is_0);
    tcase_add_test(c, beyond_parked_max_new_devices_are_refused_as_retryable);
    tcase_add_test(c, full_queue_parks_nobody);
    tcase_add_loop_test(c, certificate_that_memory_refuses_is_neither_asked_for_nor_parked, 0,
                        (int)(sizeof refusals / sizeof refusals[0]));
    tcase_add_test(c, refused_connection_is_not_parked_for_another_ones_question);
    tcase_add_test(c, chain_of_a_disabled_ca_is_not_asked_for);
    tcase_add_test(c, broker_that_has_sent_no_tick_in_its_first_two_seconds_parks_nobody_later);
    tcase_add_test(c, parked_connections_are_released_by_a_pre_shared_key_too_where_no_tick_comes);
    tcase_add_test(c, listener_of_an_unknown_protocol_parks_for_four_seconds);
    tcase_add_test(c, listener_where_mqtt_was_spoken_parks_for_auth_wait_ms);
    tcase_add_test(c, websocket_listener_parks_for_four_seconds);
}

int main(void)
{
    return run_suite("new devices", cases);
}
