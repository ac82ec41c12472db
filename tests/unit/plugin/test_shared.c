// SPDX-License-Identifier: ISC
/* Shared subscriptions: Mosquitto deals their messages in turn and drops what a member may not read (mosquitto #2662), so
 * a member that may not read them must not be one. */
#include "plugin/mosquitto_compat.h"
#include "tests/unit/plugin/world.h"
#include "tests/unit/suite.h"

#include <stdio.h>
#include <string.h>

#define JOBS "$share/g/jobs/#"

static struct mosquitto device;

static void add_rule(int64_t rule_id, unsigned actions, const char *filter)
{
    world.rules[world.n_rules++] = (struct ia_rule){.rule_id = rule_id,
                                                    .role = "device",
                                                    .allow = true,
                                                    .actions = actions,
                                                    .topic_filter = filter,
                                                    .max_qos = 2,
                                                    .allow_retain = true};
}

static void connect_device(void)
{
    struct ia_device_row row = world_device("plain_leaf", "dev-1");
    world_start();
    world_device_now("dev-1", &row, 1);
    device = world_client("dev-1", "plain_leaf");
    ck_assert_int_eq(world_connect(&device), MOSQ_ERR_SUCCESS);
    world_kicks(&device);
}

static const struct {
    const char *subscribe, *receive, *filter;
    int rc;
} filters[] = {
    {"jobs/#", "jobs/#", JOBS, MOSQ_ERR_SUCCESS},
    {"jobs/#", "#", JOBS, MOSQ_ERR_SUCCESS},
    {"jobs/#", "jobs/1", JOBS, MOSQ_ERR_ACL_DENIED}, /* one topic of many */
    {"jobs/#", "jobs/+", JOBS, MOSQ_ERR_ACL_DENIED}, /* one level of many */
    {"jobs/#", "jobs/+", "$share/g/jobs/+", MOSQ_ERR_SUCCESS},
    {"jobs/#", "jobs/1", "$share/g/jobs/1", MOSQ_ERR_SUCCESS},
    {"jobs/#", "other/#", JOBS, MOSQ_ERR_ACL_DENIED},
    {"other/#", "jobs/#", JOBS, MOSQ_ERR_ACL_DENIED},
    {"jobs/#", "other/#", "jobs/#", MOSQ_ERR_SUCCESS}, /* not shared: nothing of another's is lost */
    {"#", "#", "$share/g", MOSQ_ERR_ACL_DENIED},
};

START_TEST(shared_subscription_needs_the_right_to_receive_all_of_it)
{
    world_rows();
    add_rule(50, IA_SUBSCRIBE, filters[_i].subscribe);
    add_rule(51, IA_RECEIVE, filters[_i].receive);
    connect_device();
    ck_assert_msg(world_acl(&device, MOSQ_ACL_SUBSCRIBE, filters[_i].filter) == filters[_i].rc, "row %d", _i);
    world_stop();
}
END_TEST

START_TEST(session_that_may_no_longer_read_its_shared_subscription_is_ended)
{
    world_rows();
    add_rule(50, IA_SUBSCRIBE | IA_RECEIVE, "jobs/#");
    connect_device();
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_SUBSCRIBE, JOBS), MOSQ_ERR_SUCCESS);
    if (_i) /* it has given the subscription up */
        ck_assert_int_eq(world_acl(&device, MOSQ_ACL_UNSUBSCRIBE, JOBS), MOSQ_ERR_SUCCESS);
    world.rules[world.n_rules - 1].actions = IA_SUBSCRIBE;
    world_snapshot();
    world_tick();
    world_tick();
    ck_assert_uint_eq(broker.n_kicked, _i ? 0 : 1);
    ck_assert_uint_eq(world.core->counters.ended[IA_R_RIGHTS_CHANGED], _i ? 0 : 1);
    world_stop();
}
END_TEST

START_TEST(shared_subscriptions_of_one_client_are_bounded)
{
    char filter[64];
    world_rows();
    add_rule(50, IA_SUBSCRIBE | IA_RECEIVE, "jobs/#");
    connect_device();
    for (int i = 0; i < 40; i++) {
        (void)snprintf(filter, sizeof filter, "$share/g%d/jobs/#", i);
        ck_assert_int_eq(world_acl(&device, MOSQ_ACL_SUBSCRIBE, filter),
                         i < 32 ? MOSQ_ERR_SUCCESS : MOSQ_ERR_ACL_DENIED);
    }
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_SUBSCRIBE, "$share/g0/jobs/#"), MOSQ_ERR_SUCCESS); /* again */
    world_stop();
}
END_TEST

/* ---- sessions that are resumed */

static struct mosquitto again;

static void subscribe_and_leave(bool persistent)
{
    world_rows();
    add_rule(50, IA_SUBSCRIBE | IA_RECEIVE, "jobs/#");
    add_rule(51, IA_SUBSCRIBE, "plan/#");
    world_start_connected(&device, persistent);
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_SUBSCRIBE, JOBS), MOSQ_ERR_SUCCESS);
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_SUBSCRIBE, "plan/#"), MOSQ_ERR_SUCCESS);
}

/* 2.1 says of a session that it keeps CLIENT_OFFLINE. */
static void go_away(void)
{
    struct mosquitto_evt_disconnect ev = {.client = &device};
    (void)broker_event(broker.is_21 ? IA_EVT_CLIENT_OFFLINE : MOSQ_EVT_DISCONNECT, &ev);
    device.address = NULL;
    device.certificate = NULL;
    device.id = "disconnected"; /* for the stub, which would kick this one by its id */
    world_tick();
}

static void come_back(bool persistent)
{
    again = world_client("dev-1", "plain_leaf");
    again.persistent = persistent;
    ck_assert_int_eq(world_connect(&again), MOSQ_ERR_SUCCESS);
    world_kicks(&again);
}

static void lose_jobs(void)
{
    world.rules[world.n_rules - 2].actions = IA_SUBSCRIBE;
    world_snapshot();
    world_tick();
    world_tick();
}

START_TEST(resumed_session_has_its_shared_subscriptions)
{
    bool takes_over = _i & 1, persistent = !(_i & 2); /* else the session is a new one, without subscriptions */
    subscribe_and_leave(true);
    if (!takes_over)
        go_away();
    come_back(persistent);
    if (takes_over)
        go_away();
    lose_jobs();
    ck_assert_uint_eq(broker.n_kicked, persistent ? 1 : 0);
    ck_assert_uint_eq(world.core->counters.ended[IA_R_RIGHTS_CHANGED], persistent ? 1 : 0);
    world_stop();
}
END_TEST

static int subscribe_numbered(struct mosquitto *client, int i)
{
    char filter[64];
    (void)snprintf(filter, sizeof filter, "$share/g%d/jobs/#", i);
    return world_acl(client, MOSQ_ACL_SUBSCRIBE, filter);
}

/* The broker may have dropped the old session: its subscriptions refuse no new ones. */
START_TEST(full_list_of_a_resumed_session_takes_new_subscriptions_for_old_ones)
{
    world_rows();
    add_rule(50, IA_SUBSCRIBE | IA_RECEIVE, "jobs/#");
    world_start_connected(&device, true);
    for (int i = 0; i < 32; i++)
        ck_assert_int_eq(subscribe_numbered(&device, i), MOSQ_ERR_SUCCESS);
    go_away();
    come_back(true);
    ck_assert_int_eq(subscribe_numbered(&again, 0), MOSQ_ERR_SUCCESS); /* again: no old one now */
    for (int i = 100; i < 131; i++)
        ck_assert_int_eq(subscribe_numbered(&again, i), MOSQ_ERR_SUCCESS);
    ck_assert_int_eq(subscribe_numbered(&again, 131), MOSQ_ERR_ACL_DENIED);
    ck_assert_int_eq(subscribe_numbered(&again, 0), MOSQ_ERR_SUCCESS);
    ck_assert_int_eq(subscribe_numbered(&again, 31), MOSQ_ERR_ACL_DENIED);
    world_stop();
}
END_TEST

static int jobs_at_the_end, plan_at_the_end;

/* As Mosquitto does where it keeps the session: each subscription is asked for, and deleted where it is denied. */
static void ask_and_disconnect(const char *client_id)
{
    (void)client_id;
    jobs_at_the_end = world_acl(&again, MOSQ_ACL_SUBSCRIBE, JOBS);
    plan_at_the_end = world_acl(&again, MOSQ_ACL_SUBSCRIBE, "plan/#");
    (void)world_disconnect(&again);
    again.address = NULL;
    again.certificate = NULL;
}

START_TEST(session_that_lost_its_shared_subscription_while_away_loses_it_when_it_is_back)
{
    subscribe_and_leave(true);
    go_away();
    lose_jobs();
    ck_assert_uint_eq(broker.n_kicked, 0);
    come_back(true);
    broker.on_kick = ask_and_disconnect;
    world_tick();
    ck_assert_uint_eq(world.core->counters.ended[IA_R_RIGHTS_CHANGED], 1);
    ck_assert_int_eq(jobs_at_the_end, MOSQ_ERR_ACL_DENIED);
    ck_assert_int_eq(plan_at_the_end, MOSQ_ERR_SUCCESS); /* what it still has is kept */
    come_back(true);
    world_tick();
    world_tick();
    ck_assert_uint_eq(world.core->counters.ended[IA_R_RIGHTS_CHANGED], 1); /* not again */
    world_stop();
}
END_TEST

START_TEST(mosquitto_21_deletes_a_shared_subscription_of_a_session_that_is_away)
{
    broker.is_21 = true;
    subscribe_and_leave(true);
    broker.known[0] = &device;
    go_away();
    ck_assert_uint_eq(broker.n_unsubscribed, 0);
    if (_i) { /* by a change of the device, not of the rules */
        struct ia_device_row row = world_device("plain_leaf", "dev-1");
        static const char *const roles[] = {"unknown"};
        row.roles = (struct ia_texts){roles, 1};
        world_device_now("dev-1", &row, 1);
        world_tick();
    } else {
        lose_jobs();
    }
    ck_assert_uint_eq(broker.n_unsubscribed, 1);
    ck_assert_str_eq(broker.unsubscribed, "dev-1 " JOBS);
    lose_jobs();
    ck_assert_uint_eq(broker.n_unsubscribed, 1); /* once */
    world_stop();
}
END_TEST

static void revoke_dev1(void)
{
    world_dev1_is(IA_DEVICE_REVOKED);
    world_tick();
}

static void delete_dev1(void)
{
    world_device_now("dev-1", NULL, 0);
    world_tick();
}

static void delete_dev1_by_resync(void)
{
    worker_reply(ia_reply_new(IA_REPLY_RESYNC_BEGIN, NULL));
    worker_reply(ia_reply_new(IA_REPLY_RESYNC_END, NULL));
    world_tick();
}

static void (*const ends[])(void) = {revoke_dev1, delete_dev1, delete_dev1_by_resync};

/* Its messages are dropped: a place in the group would cost the other members their share. */
START_TEST(mosquitto_21_deletes_the_shared_subscriptions_of_a_revoked_or_deleted_device_that_is_away)
{
    broker.is_21 = true;
    subscribe_and_leave(true);
    broker.known[0] = &device;
    go_away();
    ends[_i]();
    ck_assert_uint_eq(broker.n_unsubscribed, 1);
    ck_assert_str_eq(broker.unsubscribed, "dev-1 " JOBS);
    world_stop();
}
END_TEST

START_TEST(session_that_another_has_replaced_deletes_none_of_the_newer_ones_subscriptions)
{
    broker.is_21 = true;
    subscribe_and_leave(true);
    broker.known[0] = &device;
    go_away();
    broker.known[0] = NULL;
    come_back(false);
    ck_assert_int_eq(world_acl(&again, MOSQ_ACL_SUBSCRIBE, JOBS), MOSQ_ERR_SUCCESS);
    revoke_dev1();
    ck_assert_uint_eq(broker.n_unsubscribed, 0);
    world_stop();
}
END_TEST

static void shared_cases(TCase *c)
{
    tcase_add_loop_test(c, mosquitto_21_deletes_the_shared_subscriptions_of_a_revoked_or_deleted_device_that_is_away, 0,
                        (int)(sizeof ends / sizeof ends[0]));
    tcase_add_test(c, session_that_another_has_replaced_deletes_none_of_the_newer_ones_subscriptions);
    tcase_add_test(c, full_list_of_a_resumed_session_takes_new_subscriptions_for_old_ones);
    tcase_add_loop_test(c, resumed_session_has_its_shared_subscriptions, 0, 4);
    tcase_add_test(c, session_that_lost_its_shared_subscription_while_away_loses_it_when_it_is_back);
    tcase_add_loop_test(c, mosquitto_21_deletes_a_shared_subscription_of_a_session_that_is_away, 0, 2);
    tcase_add_loop_test(c, shared_subscription_needs_the_right_to_receive_all_of_it, 0,
                        (int)(sizeof filters / sizeof filters[0]));
    tcase_add_loop_test(c, session_that_may_no_longer_read_its_shared_subscription_is_ended, 0, 2);
    tcase_add_test(c, shared_subscriptions_of_one_client_are_bounded);
}

int main(void)
{
    return run_suite("shared_subscriptions", shared_cases);
}
