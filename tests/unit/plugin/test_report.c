// SPDX-License-Identifier: ISC
/* What log, events and counters say of decisions: enough, once, and nothing forged. */
#include "plugin/report.h"
#include "tests/unit/plugin/world.h"
#include "tests/unit/suite.h"

#include <stdio.h>
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

static const struct {
    const char *client_id, *shown;
} hostile[] = {
    {"caf\xC3\xA9", "caf\xC3\xA9 "},
    {"a\xC2\x9B"
     "2Jb",
     "a?2Jb "}, /* C1: the terminal's CSI in UTF-8 … */
    {"a\x9B"
     "2Jb",
     "a?2Jb "}, /* … and as a byte */
    {"a\xE2\x80\xAE"
     "b",
     "a?b "}, /* right to left, until the end of the line */
    {"a\xE2\x81\xA6"
     "b\xE2\x81\xA9",
     "a?b? "}, /* isolates */
    {"a\xE2\x80\xA8"
     "b",
     "a?b "},              /* line separator */
    {"a\xE2\x82", "a?? "}, /* no UTF-8 */
};

/* What is claimed by certificates and tokens passes the same function. */
START_TEST(log_line_shows_no_character_that_misleads_its_reader)
{
    char expected[64];
    world_start();
    struct mosquitto client = world_client(hostile[_i].client_id, NULL);
    broker_forget();
    ck_assert_int_eq(world_basic_auth(&client, NULL), MOSQ_ERR_AUTH);
    (void)snprintf(expected, sizeof expected, " client=%s", hostile[_i].shown);
    ck_assert_msg(strstr(broker.log, expected) != NULL, "%s", broker.log);
    world_stop();
}
END_TEST

/* Mosquitto cuts a line at 1,000 bytes. */
START_TEST(json_line_is_whole_however_long_its_values_are)
{
    char client_id[400], *end = NULL;
    memset(client_id, _i ? '\x01' : '\xFF', sizeof client_id - 1);
    client_id[sizeof client_id - 1] = '\0';
    world_start_with("log_format", "json");
    struct ia_audit_entry entry = {.client_id = client_id, .address = client_id, .principal = client_id};
    struct ia_token_claimed claimed = {.iss = "\x01\x01"};
    memset(entry.detail, '"', sizeof entry.detail - 1);
    for (char *p = (char *)&claimed; p < (char *)(&claimed + 1); p += IA_CLAIMED_MAX)
        memset(p, '\x02', IA_CLAIMED_MAX - 1);
    entry.claimed = &claimed;
    broker_forget();
    ia_report_refused(world.core, &entry, IA_R_TOKEN_ISSUER);
    ck_assert_uint_le(strlen(broker.log), 960 + strlen("0 \n") + 4);
    end = strrchr(broker.log, '}');
    ck_assert(end && strcmp(end, "}\n") == 0);
    ck_assert_ptr_nonnull(strstr(broker.log, "\"at\":\""));
    const char *event = worker_last(IA_REQUEST_EVENT)->text; /* whole as well: it is not dropped */
    ck_assert_ptr_nonnull(strstr(event, "\"claimed_typ\":\""));
    ck_assert_ptr_nonnull(strstr(event, "\"reason\":\"token_issuer\""));
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

/* A bad AUTH, one without content, a token of less rights, one that expires in a moment: a client can do each as often as
 * it connects. */
START_TEST(sessions_that_a_client_ends_by_itself_are_limited)
{
    const struct mosquitto_evt_extended_auth ev = {.auth_method = "OAUTHBEARER"};
    const char *good = world_token("board", "read", 300);
    world_start();
    for (int i = 0; i < 20; i++) {
        struct mosquitto client = world_client("app:idp:board", NULL);
        struct mosquitto_evt_extended_auth empty = ev;
        client.version = 5;
        empty.client = &client;
        ck_assert_int_eq(world_ext_auth(&client, good), MOSQ_ERR_SUCCESS);
        world_kicks(&client);
        if (i % 2)
            ck_assert_int_eq(world_ext_auth(&client, "rubbish"), MOSQ_ERR_SUCCESS);
        else
            ck_assert_int_eq(broker_event(MOSQ_EVT_EXT_AUTH_CONTINUE, &empty), MOSQ_ERR_AUTH_CONTINUE);
        world_tick();
    }
    ck_assert_uint_eq(world.core->counters.ended[IA_R_TOKEN_MALFORMED], 20);
    ck_assert_uint_le(worker_asked(IA_REQUEST_EVENT), 2);
    clock_advance_ms(1000);
    world_stop();
}
END_TEST

START_TEST(session_that_an_administrator_ends_has_its_event_however_many_there_are)
{
    struct mosquitto clients[6];
    char ids[6][32];
    const char *token = world_token("board", "read", 300);
    world_start();
    for (int i = 0; i < 6; i++) {
        (void)snprintf(ids[i], sizeof ids[i], "app:idp:board/%d", i);
        clients[i] = world_client(ids[i], NULL);
        ck_assert_int_eq(world_basic_auth(&clients[i], token), MOSQ_ERR_SUCCESS);
        world_kicks(&clients[i]);
    }
    world.issuers[0].active = false;
    world_snapshot();
    world_tick();
    world_tick();
    ck_assert_uint_eq(worker_asked(IA_REQUEST_EVENT), 6);
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
    tcase_add_loop_test(c, log_line_shows_no_character_that_misleads_its_reader, 0,
                        (int)(sizeof hostile / sizeof hostile[0]));
    tcase_add_loop_test(c, json_line_is_whole_however_long_its_values_are, 0, 2);
    tcase_add_test(c, sessions_that_a_client_ends_by_itself_are_limited);
    tcase_add_test(c, session_that_an_administrator_ends_has_its_event_however_many_there_are);
    tcase_add_test(c, json_log_has_one_object_a_decision);
    tcase_add_test(c, event_that_finds_no_room_is_counted);
}

int main(void)
{
    return run_suite("report", cases);
}
