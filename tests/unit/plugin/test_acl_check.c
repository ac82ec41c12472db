// SPDX-License-Identifier: ISC
/* ACL_CHECK: connected clients, and those that are about to be kicked. */
#include "tests/unit/plugin/world.h"
#include "tests/unit/suite.h"

#include <stdio.h>
#include <string.h>

#define OK     MOSQ_ERR_SUCCESS
#define DENIED MOSQ_ERR_ACL_DENIED

static struct mosquitto device;

/* --- connected
 * ------------------------------------------------------------------------------------------------------ */

static const struct {
    int access;
    const char *topic;
    int answer;
} connected[] = {
    {MOSQ_ACL_WRITE, "devices/dev-1/data", OK},
    {MOSQ_ACL_READ, "devices/dev-1/cmd", OK},
    {MOSQ_ACL_SUBSCRIBE, "devices/dev-1/#", OK},
    {MOSQ_ACL_SUBSCRIBE, "$share/group/devices/dev-1/#", OK},
    {MOSQ_ACL_WRITE, "devices/dev-2/data", DENIED},
    {MOSQ_ACL_READ, "devices/dev-2/cmd", DENIED},
    {MOSQ_ACL_SUBSCRIBE, "devices/+/data", DENIED},
    {MOSQ_ACL_SUBSCRIBE, "#", DENIED},
    {MOSQ_ACL_READ, "$SYS/broker/uptime", DENIED},
    {MOSQ_ACL_WRITE, "$CONTROL/dynamic-security/v1", DENIED},
    {MOSQ_ACL_WRITE, "$iot-auth/events/device/registered", DENIED},
    {MOSQ_ACL_WRITE, "", DENIED},
    {MOSQ_ACL_WRITE, NULL, DENIED},
    {MOSQ_ACL_UNSUBSCRIBE, "devices/dev-2/data", OK}, /* giving up is always allowed */
    {MOSQ_ACL_UNSUBSCRIBE, NULL, OK},
    {0, "devices/dev-1/data", DENIED},
    {3, "devices/dev-1/data", DENIED}, /* READ and WRITE at once: nobody asks so */
    {16, "devices/dev-1/data", DENIED},
};

START_TEST(connected_device_may_do_what_its_rules_say)
{
    world_start_connected(&device, false);
    ck_assert_msg(world_acl(&device, connected[_i].access, connected[_i].topic) == connected[_i].answer, "%d %s",
                  connected[_i].access, connected[_i].topic ? connected[_i].topic : "(null)");
    ck_assert_uint_eq(worker_asked(IA_REQUEST_DEVICE), 0);
    world_stop();
}
END_TEST

/* An administrator who allows everything has not allowed that: events are ours alone. */
static const struct {
    const char *prefix, *topic;
    int answer;
} events[] = {
    {"$iot-auth/events", "$iot-auth/events/device/registered", DENIED},
    {"$iot-auth/events", "$iot-auth/events", DENIED},
    {"$iot-auth/events", "$iot-auth/eventsother", OK}, /* another topic that begins alike */
    {"audit", "audit/device/registered", DENIED},
    {"audit", "audit", DENIED},
    {"audit", "auditor/x", OK},
};

START_TEST(event_topics_are_never_anybody_elses)
{
    world_rows();
    world.rules[0].topic_filter = "#";
    world.rules[world.n_rules] = world.rules[0];
    world.rules[world.n_rules].rule_id = 50;
    world.rules[world.n_rules++].topic_filter = "$iot-auth/#";
    world_start_with("event_prefix", events[_i].prefix);
    world_dev1_is(IA_DEVICE_ACTIVE);
    device = world_client("dev-1", "plain_leaf");
    ck_assert_int_eq(world_connect(&device), MOSQ_ERR_SUCCESS);
    ck_assert_msg(world_acl(&device, MOSQ_ACL_WRITE, events[_i].topic) == events[_i].answer, "%s", events[_i].topic);
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_READ, events[_i].topic), OK); /* reading is a matter of rules */
    struct mosquitto offline = {.id = "x", .username = "nobody"};
    ck_assert_int_eq(world_acl(&offline, MOSQ_ACL_WRITE, events[_i].topic), events[_i].answer);
    world_stop();
}
END_TEST

START_TEST(rule_change_takes_effect_on_the_next_check)
{
    world_start_connected(&device, false);
    world.rules[0].topic_filter = "elsewhere/${device_id}/#";
    world_snapshot();
    world_tick();
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_WRITE, "devices/dev-1/x"), DENIED);
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_WRITE, "elsewhere/dev-1/x"), OK);
    ck_assert_uint_eq(ia_clients_live(world.core->clients), 1);
    world_stop();
}
END_TEST

START_TEST(role_of_its_own_takes_effect_on_the_next_check)
{
    static const char *const roles[] = {"reader"};
    struct ia_device_row row = world_device("plain_leaf", "dev-1");
    world_start_connected(&device, false);
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_READ, "devices/dev-2/x"), DENIED);
    row.roles = (struct ia_texts){roles, 1};
    world_device_now("dev-1", &row, 1);
    world_tick();
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_READ, "devices/dev-2/x"), OK);
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_WRITE, "devices/dev-1/x"), OK); /* beside its CA's */
    world_stop();
}
END_TEST

/* The topic that was allowed last is remembered: not beyond the rules or roles that allowed it, nor for another
 * topic. */
START_TEST(remembered_topic_is_forgotten_with_the_right_to_it)
{
    static const char *const roles[] = {"reader"};
    struct ia_device_row row = world_device("plain_leaf", "dev-1");
    world_start_connected(&device, false);
    row.roles = (struct ia_texts){roles, 1};
    world_device_now("dev-1", &row, 1);
    world_tick();
    for (int again = 0; again < 2; again++) {
        ck_assert_int_eq(world_acl(&device, MOSQ_ACL_READ, "devices/dev-2/x"), OK);
        ck_assert_int_eq(world_acl(&device, MOSQ_ACL_WRITE, "devices/dev-1/x"), OK);
        ck_assert_int_eq(world_acl(&device, MOSQ_ACL_WRITE, "devices/dev-2/x"), DENIED);
    }
    row.roles.n = 0; /* the same snapshot: only the device's row is another */
    world_device_now("dev-1", &row, 1);
    world_tick();
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_READ, "devices/dev-2/x"), DENIED);
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_WRITE, "devices/dev-1/x"), OK);
    world.rules[0].topic_filter = "elsewhere/${device_id}/#";
    world_snapshot();
    world_tick();
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_WRITE, "devices/dev-1/x"), DENIED);
    world_stop();
}
END_TEST

/* One event for a session and action, with the rule; a client that keeps trying is only counted. */
START_TEST(denial_is_reported_once_for_each_action_with_its_rule)
{
    world_rows();
    world.rules[world.n_rules++] = (struct ia_rule){
        .rule_id = 42, .role = "device", .actions = IA_PUBLISH, .topic_filter = "devices/+/secret", .max_qos = 2};
    world_start_connected(&device, false);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(world_acl(&device, MOSQ_ACL_WRITE, "devices/dev-1/secret"), DENIED);
    ck_assert_uint_eq(worker_asked(IA_REQUEST_EVENT), 1);
    ck_assert_ptr_nonnull(strstr(worker_last(IA_REQUEST_EVENT)->text, "publish devices/dev-1/secret: rule 42"));
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_SUBSCRIBE, "#"), DENIED);
    ck_assert_uint_eq(worker_asked(IA_REQUEST_EVENT), 2);
    ck_assert_ptr_nonnull(strstr(worker_last(IA_REQUEST_EVENT)->text, "subscribe #: no rule allows it"));
    ck_assert_int_eq(worker_last(IA_REQUEST_EVENT)->event.reason, IA_R_TOPIC_DENIED);
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_READ, "devices/dev-2/x"),
                     DENIED); /* others' messages: no fault of its */
    ck_assert_uint_eq(worker_asked(IA_REQUEST_EVENT), 2);
    ck_assert_uint_eq(world.core->counters.acl_denied, 7);
    world_stop();
}
END_TEST

/* A topic may hold quotes: it stays one member of one line. */
START_TEST(denied_topic_cannot_forge_the_log_line)
{
    world_start_connected(&device, false);
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_WRITE,
                               "a\" reason=\n\x7F"
                               "b"),
                     DENIED);
    ck_assert_ptr_nonnull(strstr(broker.log, "detail=\"publish a? reason=??b: no rule allows it\"\n"));
    world_stop();
}
END_TEST

/* use_identity_as_username lets it past BASIC_AUTH under its CN: with rights of a username this were impersonation. */
START_TEST(connected_unauthenticated_client_is_denied_and_disconnected)
{
    world_start();
    world_dev1_is(IA_DEVICE_ACTIVE);
    struct mosquitto unauthenticated = world_client("x", "self_leaf");
    unauthenticated.username = "dev-1";
    world_kicks(&unauthenticated);
    ck_assert_int_eq(world_acl(&unauthenticated, MOSQ_ACL_WRITE, "devices/dev-1/data"), DENIED);
    ck_assert_int_eq(world_acl(&unauthenticated, MOSQ_ACL_SUBSCRIBE, "devices/dev-1/#"), DENIED);
    ck_assert_int_eq(world_acl(&unauthenticated, MOSQ_ACL_READ, "devices/dev-1/data"), DENIED);
    ck_assert_uint_eq(broker.n_kicked, 0); /* never from inside another callback */
    world_tick();
    ck_assert_uint_eq(broker.n_kicked, 1);
    ck_assert_str_eq(broker.kicked[0], "x");
    ck_assert_int_eq(world_acl(&unauthenticated, MOSQ_ACL_WRITE, "devices/dev-1/data"), DENIED); /* its will */
    world_stop();
}
END_TEST

/* Without TICK nobody would ever be kicked. */
START_TEST(no_tick_denies_also_who_is_connected)
{
    world_start_connected(&device, false);
    world_forget_ticks();
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_WRITE, "devices/dev-1/x"), OK);
    clock_advance_ms(2001);
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_WRITE, "devices/dev-1/x"), DENIED);
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_UNSUBSCRIBE, "devices/dev-1/x"), OK);
    world_stop();
}
END_TEST

START_TEST(binding_that_needs_more_roles_than_fit_denies)
{
    static char names[300][16];
    static const char *roles[300];
    struct ia_device_row row = world_device("plain_leaf", "dev-1");
    for (int i = 0; i < 300; i++) {
        (void)snprintf(names[i], sizeof names[i], "role-%d", i);
        roles[i] = names[i];
    }
    row.roles = (struct ia_texts){roles, 300};
    world_start_connected(&device, false);
    world_device_now("dev-1", &row, 1);
    world_tick();
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_WRITE, "devices/dev-1/data"), DENIED); /* one of the rest may deny */
    world_stop();
}
END_TEST

/* --- marked for disconnect
 * -------------------------------------------------------------------------------------- */

static const struct {
    enum ia_device_status status;
    int access;
    const char *topic;
    int answer;
} marked[] = {
    {IA_DEVICE_INACTIVE, MOSQ_ACL_WRITE, "devices/dev-1/x", DENIED},
    {IA_DEVICE_INACTIVE, MOSQ_ACL_READ, "devices/dev-1/x", OK}, /* a denied READ loses the message */
    {IA_DEVICE_INACTIVE, MOSQ_ACL_READ, "devices/dev-2/x", DENIED},
    {IA_DEVICE_REVOKED, MOSQ_ACL_WRITE, "devices/dev-1/x", DENIED},
    {IA_DEVICE_REVOKED, MOSQ_ACL_READ, "devices/dev-1/x", DENIED},
    {IA_DEVICE_REVOKED, MOSQ_ACL_SUBSCRIBE, "devices/dev-1/#", DENIED},
};

START_TEST(session_marked_for_disconnect_keeps_its_queue_unless_revoked)
{
    world_start_connected(&device, true);
    world_dev1_is(marked[_i].status);
    ia_replies_apply(world.core);
    ck_assert_msg(world_acl(&device, marked[_i].access, marked[_i].topic) == marked[_i].answer, "%d %s", _i,
                  marked[_i].topic);
    world_stop();
}
END_TEST

static int kick_answer, old_answer;

static void asks_for_subscription(const char *client_id)
{
    (void)client_id;
    kick_answer = world_acl(&device, MOSQ_ACL_SUBSCRIBE, "devices/dev-1/#");
    old_answer = world_acl(&device, MOSQ_ACL_SUBSCRIBE, "from/before/#");
    (void)world_disconnect(&device);
}

/* A kick asks for each subscription again and deletes what is denied: only REVOKED may cost them. */
static const struct {
    enum ia_device_status status;
    int answer;
} kicks[] = {{IA_DEVICE_INACTIVE, OK}, {IA_DEVICE_PENDING, OK}, {IA_DEVICE_REVOKED, DENIED}};

START_TEST(kick_leaves_subscriptions_unless_revoked)
{
    world_start_connected(&device, true);
    broker.on_kick = asks_for_subscription;
    world_dev1_is(kicks[_i].status);
    world_tick();
    ck_assert_uint_eq(broker.n_kicked, 1);
    ck_assert_int_eq(kick_answer, kicks[_i].answer);
    ck_assert_int_eq(old_answer, kicks[_i].answer); /* it is about what it has, not about what it might get */
    world_stop();
}
END_TEST

START_TEST(kicked_session_has_no_will)
{
    world_start_connected(&device, true);
    world_dev1_is(IA_DEVICE_INACTIVE);
    world_tick();
    ck_assert_uint_eq(broker.n_kicked, 1);
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_WRITE, "devices/dev-1/status"), DENIED);
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_READ, "devices/dev-1/cmd"), OK); /* its queue is kept */
    world_dev1_is(IA_DEVICE_REVOKED);
    ia_replies_apply(world.core);
    ck_assert_int_eq(world_acl(&device, MOSQ_ACL_READ, "devices/dev-1/cmd"), DENIED);
    world_stop();
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_loop_test(c, connected_device_may_do_what_its_rules_say, 0,
                        (int)(sizeof connected / sizeof connected[0]));
    tcase_add_loop_test(c, event_topics_are_never_anybody_elses, 0, (int)(sizeof events / sizeof events[0]));
    tcase_add_test(c, rule_change_takes_effect_on_the_next_check);
    tcase_add_test(c, role_of_its_own_takes_effect_on_the_next_check);
    tcase_add_test(c, remembered_topic_is_forgotten_with_the_right_to_it);
    tcase_add_test(c, denial_is_reported_once_for_each_action_with_its_rule);
    tcase_add_test(c, denied_topic_cannot_forge_the_log_line);
    tcase_add_test(c, connected_unauthenticated_client_is_denied_and_disconnected);
    tcase_add_test(c, no_tick_denies_also_who_is_connected);
    tcase_add_test(c, binding_that_needs_more_roles_than_fit_denies);
    tcase_add_loop_test(c, session_marked_for_disconnect_keeps_its_queue_unless_revoked, 0,
                        (int)(sizeof marked / sizeof marked[0]));
    tcase_add_loop_test(c, kick_leaves_subscriptions_unless_revoked, 0, (int)(sizeof kicks / sizeof kicks[0]));
    tcase_add_test(c, kicked_session_has_no_will);
}

int main(void)
{
    return run_suite("access", cases);
}
