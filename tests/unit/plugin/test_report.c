// SPDX-License-Identifier: ISC
/* What log, events and counters say of decisions: enough, once, and nothing forged. */
#include "tests/unit/plugin/world.h"
#include "tests/unit/suite.h"

#include <string.h>

/* --- what is reported
 * --------------------------------------------------------------------------------------------------- */

START_TEST(known_device_that_is_refused_again_and_again_makes_one_event)
{
    struct ia_device_row row = world_device("plain_leaf", "dev-1");
    world_start();
    row.device_status = IA_DEVICE_PENDING;
    world_device_now("dev-1", &row, 1);
    struct mosquitto client = world_client("dev-1", "plain_leaf");
    for (int i = 0; i < 30; i++)
        ck_assert_int_eq(world_connect(&client), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(IA_R_DEVICE_PENDING), 30);
    ck_assert_uint_eq(worker_asked(IA_REQUEST_EVENT), 1);
    row.device_status = IA_DEVICE_INACTIVE; /* a transition */
    world_device_now("dev-1", &row, 1);
    for (int i = 0; i < 30; i++)
        ck_assert_int_eq(world_connect(&client), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(worker_asked(IA_REQUEST_EVENT), 2);
    row.device_status = IA_DEVICE_ACTIVE; /* it was in: the next refusal is news again */
    world_device_now("dev-1", &row, 1);
    ck_assert_int_eq(world_connect(&client), MOSQ_ERR_SUCCESS);
    world_disconnect(&client);
    row.device_status = IA_DEVICE_INACTIVE;
    world_device_now("dev-1", &row, 1);
    ck_assert_int_eq(world_connect(&client), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(worker_asked(IA_REQUEST_EVENT), 2); /* the third in one second */
    clock_advance_ms(1000);
    ck_assert_int_eq(world_connect(&client), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(worker_asked(IA_REQUEST_EVENT), 3);
    world_stop();
}
END_TEST

/* Anyone can mint certificates. */
START_TEST(unregistered_clients_are_limited_to_ten_events_a_second)
{
    world_start();
    struct mosquitto client = world_client("dev-1", "self_leaf");
    for (int i = 0; i < 50; i++)
        ck_assert_int_eq(world_connect(&client), MOSQ_ERR_TLS);
    ck_assert_uint_eq(worker_asked(IA_REQUEST_EVENT), 10);
    ck_assert_uint_eq(broker_published("$iot-auth/events/device/refused"), 10);
    ck_assert_uint_eq(world.core->counters.events_dropped, 40);
    clock_advance_ms(1000);
    ck_assert_int_eq(world_connect(&client), MOSQ_ERR_TLS);
    ck_assert_uint_eq(worker_asked(IA_REQUEST_EVENT), 11);
    world_stop();
}
END_TEST

/* Else the administrator of a fleet sees device=- client=- ca=- and cannot know which device it is. */
START_TEST(refused_chain_is_reported_with_what_its_certificate_claims)
{
    world_start();
    struct mosquitto client = world_client("dev-1", "self_leaf");
    ck_assert_int_eq(world_connect(&client), MOSQ_ERR_TLS);
    const char *event = worker_last(IA_REQUEST_EVENT)->text;
    static const char *const members[] = {"\"cn\":\"",
                                          "\"serial\":\"",
                                          "\"fingerprint\":\"",
                                          "\"claimed_subject\":\"",
                                          "\"claimed_issuer\":\"",
                                          "\"claimed_not_after\":\""};
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        ck_assert_msg(strstr(event, members[i]) != NULL, "%s: %s", members[i], event);
    ck_assert_ptr_nonnull(strstr(broker.log, " claimed_subject=\""));
    ck_assert_ptr_nonnull(strstr(broker.log, " cn=\""));
    world_stop();
}
END_TEST

/* A client id can hold anything: it must not forge a line, or a member of one. */
START_TEST(log_line_of_a_hostile_client_id_stays_one_line)
{
    world_start();
    struct mosquitto client = world_client("x\nverdict=accepted \"y", NULL);
    broker_forget();
    ck_assert_int_eq(world_basic_auth(&client, NULL), MOSQ_ERR_AUTH);
    ck_assert_ptr_nonnull(strstr(broker.log, "client=x?verdict=accepted??y "));
    ck_assert_str_eq(strchr(broker.log, '\n'), "\n");
    world_stop();
}
END_TEST

START_TEST(log_line_of_a_hostile_device_id_has_no_more_members)
{
    struct ia_device_row row = world_device("plain_leaf", "a ca=b status=ACTIVE");
    world_start();
    world_answer("plain_leaf", &row, IA_R_NONE);
    world_tick();
    ck_assert_msg(strstr(broker.log, "registered device=a?ca=b?status=ACTIVE ca=acme "), "%s", broker.log);
    world_stop();
}
END_TEST

START_TEST(json_log_has_one_object_a_decision)
{
    world_start_with("log_format", "json");
    struct mosquitto client = world_client("x\n\"y", NULL);
    broker_forget();
    ck_assert_int_eq(world_basic_auth(&client, NULL), MOSQ_ERR_AUTH);
    ck_assert_ptr_nonnull(strstr(broker.log, " {\"verdict\":\"refused\","));
    ck_assert_ptr_nonnull(strstr(broker.log, "\"client\":\"x\\u000a\\\"y\""));
    ck_assert_ptr_nonnull(strstr(broker.log, "\"reason\":\"no_credential\""));
    ck_assert_str_eq(strchr(broker.log, '\n'), "\n");
    world_stop();
}
END_TEST

START_TEST(event_that_finds_no_room_is_counted)
{
    world_start();
    struct mosquitto client = world_client("dev-1", NULL);
    worker_stub.full = true;
    ck_assert_int_eq(world_basic_auth(&client, NULL), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world.core->counters.events_dropped, 1);
    ck_assert_uint_eq(broker_published("$iot-auth/events/device/refused"), 1);
    worker_stub.full = false;
    world_stop();
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_test(c, known_device_that_is_refused_again_and_again_makes_one_event);
    tcase_add_test(c, refused_chain_is_reported_with_what_its_certificate_claims);
    tcase_add_test(c, unregistered_clients_are_limited_to_ten_events_a_second);
    tcase_add_test(c, log_line_of_a_hostile_client_id_stays_one_line);
    tcase_add_test(c, log_line_of_a_hostile_device_id_has_no_more_members);
    tcase_add_test(c, json_log_has_one_object_a_decision);
    tcase_add_test(c, event_that_finds_no_room_is_counted);
}

int main(void)
{
    return run_suite("report", cases);
}
