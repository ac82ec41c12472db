// SPDX-License-Identifier: ISC
/* The plugin's start and end. */
#include "plugin/mosquitto_compat.h"
#include "tests/unit/plugin/world.h"
#include "tests/unit/suite.h"

#include <string.h>

int mosquitto_plugin_version(int supported_version_count, const int *supported_versions);
int mosquitto_plugin_init(mosquitto_plugin_id_t *identifier, void **userdata, struct mosquitto_opt *options,
                          int option_count);
int mosquitto_plugin_cleanup(void *userdata, struct mosquitto_opt *options, int option_count);

static struct mosquitto_opt options[] = {{(char *)"db_conninfo", (char *)"password=geheim"},
                                         {(char *)"startup_wait_ms", (char *)"50"},
                                         {(char *)"unknown", (char *)"1"}};

START_TEST(version_5_of_the_interface_is_taken)
{
    const int both[] = {4, 5}, old[] = {2, 3, 4};
    ck_assert_int_eq(mosquitto_plugin_version(2, both), 5);
    ck_assert_int_eq(mosquitto_plugin_version(3, old), -1);
    ck_assert_int_eq(mosquitto_plugin_version(0, NULL), -1);
}
END_TEST

START_TEST(bad_option_stops_the_broker_with_its_name_and_without_secrets)
{
    void *core = NULL;
    ck_assert_int_eq(mosquitto_plugin_init(NULL, &core, options, 3), MOSQ_ERR_INVAL);
    ck_assert_ptr_null(core);
    ck_assert_ptr_nonnull(strstr(broker.log, "unknown option 'unknown'"));
    ck_assert_ptr_null(strstr(broker.log, "geheim"));
    ck_assert(!worker_stub.started);
}
END_TEST

START_TEST(worker_that_does_not_start_stops_the_broker)
{
    void *core = NULL;
    worker_stub.refuses = true;
    ck_assert_int_eq(mosquitto_plugin_init(NULL, &core, options, 2), MOSQ_ERR_INVAL);
    ck_assert_ptr_null(core);
    ck_assert_ptr_nonnull(strstr(broker.log, "cannot start: no thread"));
}
END_TEST

START_TEST(callback_that_is_not_taken_stops_the_broker_and_all_is_undone)
{
    void *core = NULL;
    broker.refused_event = MOSQ_EVT_ACL_CHECK;
    ck_assert_int_eq(mosquitto_plugin_init(NULL, &core, options, 2), MOSQ_ERR_INVAL);
    ck_assert(worker_stub.stopped && !gate_stub.open);
    broker.refused_event = 0; /* and it can be loaded again */
    ck_assert_int_eq(mosquitto_plugin_init(NULL, &core, options, 2), MOSQ_ERR_SUCCESS);
    ck_assert_int_eq(mosquitto_plugin_cleanup(core, NULL, 0), MOSQ_ERR_SUCCESS);
}
END_TEST

START_TEST(event_that_2_0_does_not_know_is_done_without)
{
    void *core = NULL;
    broker.refused_event = IA_EVT_CLIENT_OFFLINE;
    ck_assert_int_eq(mosquitto_plugin_init(NULL, &core, options, 2), MOSQ_ERR_SUCCESS);
    ck_assert_int_eq(mosquitto_plugin_cleanup(core, NULL, 0), MOSQ_ERR_SUCCESS);
}
END_TEST

/* Its answer would come first, so a device that is called `admin` would administer the broker. */
START_TEST(dynamic_security_in_front_is_refused)
{
    void *core = NULL;
    broker.has_dynamic_security = true;
    ck_assert_int_eq(mosquitto_plugin_init(NULL, &core, options, 2), MOSQ_ERR_INVAL);
    ck_assert_ptr_nonnull(strstr(broker.log, "dynamic-security plugin is loaded before this one"));
}
END_TEST

/* per_listener_settings true loads it for each listener. */
START_TEST(second_instance_fails_and_leaves_the_first_alone)
{
    void *first = NULL, *second = NULL;
    ck_assert_int_eq(mosquitto_plugin_init(NULL, &first, options, 2), MOSQ_ERR_SUCCESS);
    ck_assert_int_eq(mosquitto_plugin_init(NULL, &second, options, 2), MOSQ_ERR_INVAL);
    ck_assert_ptr_null(second);
    ck_assert_ptr_nonnull(strstr(broker.log, "loaded a second time"));
    ck_assert_int_eq(mosquitto_plugin_cleanup(second, NULL, 0), MOSQ_ERR_SUCCESS);
    ck_assert(!worker_stub.stopped && gate_stub.open);
    ck_assert_int_eq(mosquitto_plugin_cleanup(first, NULL, 0), MOSQ_ERR_SUCCESS);
    ck_assert(worker_stub.stopped && !gate_stub.open);
}
END_TEST

START_TEST(end_takes_every_callback_back)
{
    world_start();
    world_stop();
    for (size_t i = 0; i < sizeof broker.callbacks / sizeof broker.callbacks[0]; i++)
        ck_assert_ptr_null((void *)(uintptr_t)broker.callbacks[i].fn);
}
END_TEST

/* A thread that hangs in a resolver goes on reading its options: they must outlive the plugin. */
START_TEST(options_stay_where_the_worker_cannot_be_stopped)
{
    world_start();
    worker_stub.hangs = true;
    world_stop();
    ck_assert_str_eq(world.core->options.worker.db_conninfo, "dbname=none");
}
END_TEST

START_TEST(start_waits_no_longer_than_it_may)
{
    void *core = NULL;
    ck_assert_int_eq(mosquitto_plugin_init(NULL, &core, options, 2), MOSQ_ERR_SUCCESS);
    ck_assert_int_eq(worker_stub.waited_us, 50000);
    ck_assert_ptr_nonnull(strstr(broker.log, "everything is refused until the database answers"));
    ck_assert_int_eq(mosquitto_plugin_cleanup(core, NULL, 0), MOSQ_ERR_SUCCESS);
}
END_TEST

START_TEST(start_goes_on_when_all_devices_are_there)
{
    world_start();
    ck_assert_int_eq(worker_stub.waited_us, 0);
    ck_assert_ptr_nonnull(strstr(broker.log, "ready: 1 CAs registered"));
    ck_assert_ptr_nonnull(strstr(broker.log, "0 device certificates and 0 pre-shared keys in memory"));
    world_stop();
}
END_TEST

/* 2.0 ends an event's callbacks at the first that answers other than DEFER; an error would end 2.1. */
START_TEST(reload_ends_no_version)
{
    broker.is_21 = _i == 1;
    world_start();
    ck_assert_int_ne(world_reload(), MOSQ_ERR_INVAL);
    world_tick();
    ck_assert(!ia_broker_is_reloading(world.core));
    world_stop();
}
END_TEST

START_TEST(tick_asks_2_1_to_come_back)
{
    struct mosquitto_evt_tick ev = {0};
    broker.is_21 = true;
    world_start();
    (void)broker_event(MOSQ_EVT_TICK, &ev);
    ck_assert_int_gt(ev.next_ns, 1);
    ck_assert_int_le(ev.next_ns, 100);
    world_stop();
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_test(c, version_5_of_the_interface_is_taken);
    tcase_add_test(c, bad_option_stops_the_broker_with_its_name_and_without_secrets);
    tcase_add_test(c, worker_that_does_not_start_stops_the_broker);
    tcase_add_test(c, callback_that_is_not_taken_stops_the_broker_and_all_is_undone);
    tcase_add_test(c, event_that_2_0_does_not_know_is_done_without);
    tcase_add_test(c, dynamic_security_in_front_is_refused);
    tcase_add_test(c, second_instance_fails_and_leaves_the_first_alone);
    tcase_add_test(c, end_takes_every_callback_back);
    tcase_add_test(c, options_stay_where_the_worker_cannot_be_stopped);
    tcase_add_test(c, start_waits_no_longer_than_it_may);
    tcase_add_test(c, start_goes_on_when_all_devices_are_there);
    tcase_add_loop_test(c, reload_ends_no_version, 0, 2);
    tcase_add_test(c, tick_asks_2_1_to_come_back);
}

int main(void)
{
    return run_suite("plugin", cases);
}
