// SPDX-License-Identifier: ISC
/* Events of refusals are sampled; the last refusal of each client is kept, and written at most once a minute. */
#include "plugin/last_refusals.h"
#include "tests/unit/plugin/world.h"
#include "tests/unit/suite.h"

#include <stdio.h>
#include <string.h>

static void second_passes(void)
{
    clock_advance_ms(1000);
    world_tick();
}

/* The refusal of that key that was handed over last; NULL: none. */
static const struct ia_request *written_refusal(const char *key)
{
    for (size_t i = worker_stub.n_requests; i-- > 0;) {
        const struct ia_request *r = worker_stub.requests[i];
        if (r->kind == IA_REQUEST_REFUSAL && strcmp(r->refusal.key, key) == 0)
            return r;
    }
    return NULL;
}

START_TEST(refusal_that_has_no_event_is_written)
{
    world_start();
    struct mosquitto many = world_client("dev-1", "self_leaf");
    for (int i = 0; i < 40; i++)
        ck_assert_int_eq(world_connect(&many), MOSQ_ERR_TLS);
    struct mosquitto sought = world_client("sought", NULL);
    sought.address = "192.0.2.77";
    ck_assert_int_eq(world_basic_auth(&sought, NULL), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(worker_asked(IA_REQUEST_EVENT), 10);
    second_passes();
    const struct ia_request *r = written_refusal("192.0.2.77");
    ck_assert_ptr_nonnull(r);
    ck_assert_str_eq(r->refusal.key_kind, "address");
    ck_assert_int_eq(r->refusal.event.reason, IA_R_NO_CREDENTIAL);
    ck_assert_ptr_nonnull(strstr(r->text, "\"client_id\":\"sought\""));
    world_stop();
}
END_TEST

START_TEST(each_client_is_written_once_a_minute_with_the_number_of_its_refusals)
{
    world_start();
    struct mosquitto client = world_client("dev-1", NULL);
    client.address = "192.0.2.1";
    for (int second = 0; second < 61; second++) {
        ck_assert_int_eq(world_basic_auth(&client, NULL), MOSQ_ERR_AUTH);
        second_passes();
    }
    ck_assert_uint_eq(worker_asked(IA_REQUEST_REFUSAL), 2);
    ck_assert_int_eq(written_refusal("192.0.2.1")->refusal.count, 60);
    world_stop();
}
END_TEST

/* Anyone can mint certificates and tokens: neither memory nor rows grow with them. */
START_TEST(the_latest_thousand_addresses_are_kept_and_fifty_a_second_written)
{
    char address[32];
    world_start();
    struct mosquitto client = world_client("dev-1", NULL);
    client.address = address;
    for (int i = 0; i < 3 * IA_LAST_REFUSALS_MAX; i++) {
        (void)snprintf(address, sizeof address, "10.0.%d.%d", i / 256, i % 256);
        ck_assert_int_eq(world_basic_auth(&client, NULL), MOSQ_ERR_AUTH);
    }
    second_passes();
    ck_assert_uint_eq(worker_asked(IA_REQUEST_REFUSAL), IA_REFUSALS_A_SECOND);
    for (int second = 0; second < 60; second++)
        second_passes();
    ck_assert_uint_eq(worker_asked(IA_REQUEST_REFUSAL), IA_LAST_REFUSALS_MAX);
    ck_assert_ptr_null(written_refusal("10.0.0.1"));
    ck_assert_ptr_nonnull(written_refusal(address));
    world_stop();
}
END_TEST

START_TEST(app_is_known_by_what_its_token_claims)
{
    world_start();
    struct mosquitto client = world_client("app:idp:dashboard", NULL);
    char token[4096];
    (void)snprintf(token, sizeof token, "%s", world_token("dashboard", "read", 600));
    char *signature = strrchr(token, '.');
    signature[1] = signature[1] == 'A' ? 'B' : 'A';
    ck_assert_int_ne(world_basic_auth(&client, token), MOSQ_ERR_SUCCESS);
    second_passes();
    const struct ia_request *r = worker_last(IA_REQUEST_REFUSAL);
    ck_assert_str_eq(r->refusal.event.kind, "app/refused");
    ck_assert_uint_ge(worker_asked(IA_REQUEST_REFUSAL), 1);
    ck_assert_ptr_nonnull(strstr(r->text, "\"claimed_iss\":\""));
    world_stop();
}
END_TEST

START_TEST(without_the_database_the_refusals_wait)
{
    world_start();
    struct mosquitto client = world_client("dev-1", NULL);
    client.address = "192.0.2.1";
    world_database(false);
    ck_assert_int_eq(world_basic_auth(&client, NULL), MOSQ_ERR_AUTH);
    second_passes();
    ck_assert_uint_eq(worker_asked(IA_REQUEST_REFUSAL), 0);
    ck_assert_int_eq(world_basic_auth(&client, NULL), MOSQ_ERR_AUTH);
    world_database(true);
    second_passes();
    ck_assert_int_eq(written_refusal("192.0.2.1")->refusal.count, 2);
    world_stop();
}
END_TEST

/* Another reason is another story: the number says how often in a row. */
START_TEST(another_reason_is_counted_from_one_again)
{
    struct ia_device_row row = world_device("plain_leaf", "dev-1");
    world_start();
    struct mosquitto client = world_client("dev-1", "plain_leaf");
    row.device_status = IA_DEVICE_PENDING;
    world_device_now("dev-1", &row, 1);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(world_connect(&client), MOSQ_ERR_AUTH);
    row.device_status = IA_DEVICE_INACTIVE;
    world_device_now("dev-1", &row, 1);
    ck_assert_int_eq(world_connect(&client), MOSQ_ERR_AUTH);
    second_passes();
    const struct ia_request *r = worker_last(IA_REQUEST_REFUSAL);
    ck_assert_int_eq(r->refusal.event.reason, IA_R_DEVICE_INACTIVE);
    ck_assert_int_eq(r->refusal.count, 1);
    ck_assert_str_eq(r->refusal.event.principal, "dev-1");
    ck_assert_msg(strstr(r->text, "\"serial\":\"") != NULL, "%s", r->text);
    world_stop();
}
END_TEST

START_TEST(refusal_that_the_worker_has_no_room_for_is_tried_again)
{
    world_start();
    struct mosquitto client = world_client("dev-1", NULL);
    client.address = "192.0.2.1";
    ck_assert_int_eq(world_basic_auth(&client, NULL), MOSQ_ERR_AUTH);
    worker_stub.full = true;
    second_passes();
    worker_stub.full = false;
    second_passes();
    ck_assert_int_eq(written_refusal("192.0.2.1")->refusal.count, 1);
    world_stop();
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_test(c, refusal_that_has_no_event_is_written);
    tcase_add_test(c, each_client_is_written_once_a_minute_with_the_number_of_its_refusals);
    tcase_add_test(c, the_latest_thousand_addresses_are_kept_and_fifty_a_second_written);
    tcase_add_test(c, app_is_known_by_what_its_token_claims);
    tcase_add_test(c, without_the_database_the_refusals_wait);
    tcase_add_test(c, another_reason_is_counted_from_one_again);
    tcase_add_test(c, refusal_that_the_worker_has_no_room_for_is_tried_again);
}

int main(void)
{
    return run_suite("last_refusals", cases);
}
