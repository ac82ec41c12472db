// SPDX-License-Identifier: ISC
/* What the worker sends, in its order: records, the resync of all devices, snapshots, and what is passed on. */
#include "tests/unit/plugin/world.h"
#include "tests/unit/suite.h"

#include <stdio.h>
#include <string.h>

static struct mosquitto device;

static uint64_t ended(enum ia_reason reason)
{
    return world.core->counters.ended[reason];
}

/* --- order
 * ---------------------------------------------------------------------------------------------------------- */

/* What was read before the revocation is applied before it, so nothing can bring the device back. */
START_TEST(replies_are_applied_in_their_order)
{
    struct ia_device_row row = world_device("plain_leaf", "dev-1");
    world_start();
    world_answer("plain_leaf", &row, IA_R_NONE);
    world_dev1_is(IA_DEVICE_REVOKED);
    device = world_client("dev-1", "plain_leaf");
    ck_assert_int_eq(world_connect(&device), MOSQ_ERR_AUTH);
    ck_assert_uint_eq(world_refused(IA_R_DEVICE_REVOKED), 1);
    world_stop();
}
END_TEST

static bool cache_has_no_memory;

bool __real_ia_device_cache_put(struct ia_device_cache *cache, struct ia_device *record);
bool __wrap_ia_device_cache_put(struct ia_device_cache *cache, struct ia_device *record);

bool __wrap_ia_device_cache_put(struct ia_device_cache *cache, struct ia_device *record)
{
    if (!cache_has_no_memory)
        return __real_ia_device_cache_put(cache, record);
    ia_device_cache_remove(cache, record->fingerprint);
    ia_device_free(record);
    return false;
}

/* A record that could not be kept was not given to its sessions either: a revoked device stayed when memory ran out. */
START_TEST(session_is_judged_also_when_its_record_cannot_be_kept)
{
    world_start_connected(&device, false);
    cache_has_no_memory = true;
    world_dev1_is(IA_DEVICE_REVOKED);
    world_tick();
    ck_assert_uint_eq(ended(IA_R_DEVICE_REVOKED), 1);
    world_stop();
}
END_TEST

/* --- the resync of all devices
 * ----------------------------------------------------------------------------------- */

static void page(const struct ia_device_row *rows, size_t n)
{
    struct ia_reply *reply = ia_reply_new(IA_REPLY_PAGE, NULL);
    reply->records.items = calloc(n + 1, sizeof(struct ia_device *));
    for (size_t i = 0; i < n; i++)
        reply->records.items[reply->records.n++] = ia_device_new(&rows[i]);
    worker_reply(reply);
}

static void begin(void)
{
    worker_reply(ia_reply_new(IA_REPLY_RESYNC_BEGIN, NULL));
}

static void end(void)
{
    worker_reply(ia_reply_new(IA_REPLY_RESYNC_END, NULL));
}

static void sweep(void)
{
    for (int i = 0; i < 1000 && (world_tick(), ia_resync_is_sweeping(world.core)); i++)
        ;
    ck_assert(!ia_resync_is_sweeping(world.core));
}

struct ia_device *__real_ia_device_with_status(const struct ia_device *record, enum ia_device_status status,
                                               enum ia_cert_status certificate_status);
struct ia_device *__wrap_ia_device_with_status(const struct ia_device *record, enum ia_device_status status,
                                               enum ia_cert_status certificate_status);

static bool no_copies; /* there is no memory for them */

struct ia_device *__wrap_ia_device_with_status(const struct ia_device *record, enum ia_device_status status,
                                               enum ia_cert_status certificate_status)
{
    return no_copies ? NULL : __real_ia_device_with_status(record, status, certificate_status);
}

/* The statuses of dev-1 alone; `cert` NULL: it has no certificate; n 0: it is deleted. */
static void states_say(const char *cert, enum ia_device_status status, enum ia_cert_status certificate_status, size_t n)
{
    struct ia_reply *reply = ia_reply_new(IA_REPLY_STATES, NULL);
    struct ia_device_row row = world_device(cert ? cert : "plain_leaf", "dev-1");
    row.device_status = status;
    row.certificate_status = certificate_status;
    row.certificate_ca_id = row.device_ca_id = 0;
    row.tenant = NULL;
    row.roles = row.attrs = (struct ia_texts){0};
    if (!cert)
        memset(row.fingerprint, 0, sizeof row.fingerprint);
    reply->records.ids = calloc(1, sizeof(char *));
    reply->records.ids[reply->records.n_ids++] = strdup("dev-1");
    reply->records.items = calloc(1, sizeof *reply->records.items);
    if (n)
        reply->records.items[reply->records.n++] = ia_device_new(&row);
    worker_reply(reply);
    world_tick();
    world_tick();
}

static const struct {
    const char *label, *cert;
    enum ia_device_status status;
    enum ia_cert_status certificate_status;
    size_t n;
    enum ia_reason ended; /* IA_R_NONE: the session goes on */
} states[] = {
    {"nothing has changed", "plain_leaf", IA_DEVICE_ACTIVE, IA_CERT_ACTIVE, 1, IA_R_NONE},
    {"device", "plain_leaf", IA_DEVICE_REVOKED, IA_CERT_ACTIVE, 1, IA_R_DEVICE_REVOKED},
    {"device that waits", "plain_leaf", IA_DEVICE_PENDING, IA_CERT_ACTIVE, 1, IA_R_DEVICE_PENDING},
    {"certificate", "plain_leaf", IA_DEVICE_ACTIVE, IA_CERT_REVOKED, 1, IA_R_CERTIFICATE_REVOKED},
    {"another certificate alone", "self_leaf", IA_DEVICE_ACTIVE, IA_CERT_REVOKED, 1, IA_R_DEVICE_UNKNOWN},
    {"without certificate", NULL, IA_DEVICE_INACTIVE, IA_CERT_ACTIVE, 1, IA_R_DEVICE_INACTIVE},
    {"deleted", "plain_leaf", IA_DEVICE_ACTIVE, IA_CERT_ACTIVE, 0, IA_R_DEVICE_UNKNOWN},
};

START_TEST(statuses_without_their_record_close_what_is_not_active)
{
    struct mosquitto client, second = world_client("dev-1", "plain_leaf");
    world_start_connected(&client, false);
    states_say(states[_i].cert, states[_i].status, states[_i].certificate_status, states[_i].n);
    bool closes = states[_i].ended != IA_R_NONE, is_deleted = states[_i].ended == IA_R_DEVICE_UNKNOWN;
    ck_assert_msg(broker.n_kicked == (closes ? 1 : 0), "%s", states[_i].label);
    if (closes) {
        ck_assert_msg(world.core->counters.ended[states[_i].ended] == 1, "%s", states[_i].label);
        ck_assert_int_eq(world_connect(&second), is_deleted ? MOSQ_ERR_UNKNOWN : MOSQ_ERR_AUTH);
    }
    ck_assert_uint_eq(ia_device_cache_count(world.core->devices), is_deleted ? 0 : 1);
    world_stop();
}
END_TEST

#define MANY_DEVICES 3
#define MANY_CERTS   200 /* of each */

static struct ia_device_row many_row(unsigned device_no, unsigned cert)
{
    static const char *const ids[MANY_DEVICES] = {"dev-0", "dev-1", "dev-2"};
    struct ia_device_row row = world_device("plain_leaf", ids[device_no]);
    memset(row.fingerprint, 0, sizeof row.fingerprint);
    row.fingerprint[0] = (uint8_t)cert;
    row.fingerprint[1] = (uint8_t)device_no;
    return row;
}

static void cache_many(void)
{
    for (unsigned i = 0; i < MANY_DEVICES; i++)
        for (unsigned j = 0; j < MANY_CERTS; j++) {
            struct ia_device_row row = many_row(i, j);
            ia_resync_keep(world.core, ia_device_new(&row));
        }
}

/* In the order of the statement: device id, fingerprint. */
static void states_of_many(const enum ia_device_status *status, const bool *deleted)
{
    struct ia_reply *reply = ia_reply_new(IA_REPLY_STATES, NULL);
    reply->records.ids = calloc(MANY_DEVICES, sizeof(char *));
    reply->records.items = calloc((size_t)MANY_DEVICES * MANY_CERTS, sizeof(struct ia_device *));
    for (unsigned i = 0; i < MANY_DEVICES; i++) {
        struct ia_device_row row = many_row(i, 0);
        reply->records.ids[reply->records.n_ids++] = strdup(row.device_id);
        for (unsigned j = 0; j < MANY_CERTS && !deleted[i]; j++) {
            row = many_row(i, j);
            row.device_status = status[i];
            row.certificate_status = j % 3 ? IA_CERT_ACTIVE : IA_CERT_REVOKED;
            reply->records.items[reply->records.n++] = ia_device_new(&row);
        }
    }
    worker_reply(reply);
    world_tick();
}

START_TEST(statuses_of_many_certificates_reach_each_record_of_their_devices)
{
    const enum ia_device_status status[MANY_DEVICES] = {IA_DEVICE_ACTIVE, IA_DEVICE_ACTIVE, IA_DEVICE_REVOKED};
    const bool deleted[MANY_DEVICES] = {false, true, false};
    world_rows();
    world_start();
    cache_many();
    states_of_many(status, deleted);
    for (unsigned i = 0; i < MANY_DEVICES; i++)
        for (unsigned j = 0; j < MANY_CERTS; j++) {
            struct ia_device_row row = many_row(i, j);
            const struct ia_device *record = ia_device_cache_find(world.core->devices, row.fingerprint);
            ck_assert_msg((record == NULL) == deleted[i], "%u %u", i, j);
            if (!record)
                continue;
            ck_assert_int_eq(record->status, status[i]);
            ck_assert_int_eq(record->certificate_status, j % 3 ? IA_CERT_ACTIVE : IA_CERT_REVOKED);
        }
    world_stop();
}
END_TEST

/* Else the device would stay admitted until the record comes. */
START_TEST(record_that_cannot_be_closed_for_want_of_memory_is_removed)
{
    struct mosquitto client;
    world_start_connected(&client, false);
    no_copies = true;
    states_say("plain_leaf", IA_DEVICE_REVOKED, IA_CERT_ACTIVE, 1);
    no_copies = false;
    ck_assert_uint_eq(ia_device_cache_count(world.core->devices), 0);
    ck_assert_uint_eq(world.core->counters.ended[IA_R_INTERNAL], 1);
    world_stop();
}
END_TEST

/* Rights are in the record alone, and PENDING may be the newer status. */
START_TEST(statuses_without_their_record_open_nothing)
{
    struct mosquitto client;
    world_start_connected(&client, false);
    world_dev1_is(IA_DEVICE_INACTIVE);
    world_tick();
    world_tick();
    ck_assert_uint_eq(broker.n_kicked, 1);
    states_say("plain_leaf", IA_DEVICE_ACTIVE, IA_CERT_ACTIVE, 1);
    client = world_client("dev-1", "plain_leaf");
    ck_assert_int_eq(world_connect(&client), MOSQ_ERR_AUTH);
    world_dev1_is(IA_DEVICE_ACTIVE);
    ck_assert_int_eq(world_connect(&client), MOSQ_ERR_SUCCESS);
    world_stop();
}
END_TEST

START_TEST(statuses_reach_a_session_whose_record_is_not_in_the_cache)
{
    struct mosquitto client;
    world_start_connected(&client, false);
    ia_device_cache_remove(world.core->devices, world_session(&client)->device->fingerprint);
    states_say("plain_leaf", IA_DEVICE_REVOKED, IA_CERT_ACTIVE, 1);
    ck_assert_uint_eq(world.core->counters.ended[IA_R_DEVICE_REVOKED], 1);
    world_stop();
}
END_TEST

START_TEST(resync_repairs_what_was_missed)
{
    struct ia_device_row rows[] = {world_device("leaf_of_root", "dev-2"), world_device("ed_leaf", "dev-3")};
    world_start_connected(&device, false);
    world_device_now("dev-2", &rows[0], 1);
    ia_replies_apply(world.core);
    begin();
    page(rows, 2); /* dev-1 was deleted, dev-3 made while we were away */
    end();
    sweep();
    ck_assert_uint_eq(ended(IA_R_DEVICE_UNKNOWN), 1);
    ck_assert_uint_eq(ia_device_cache_count(world.core->devices), 2);
    world_stop();
}
END_TEST

/* The sweep takes a hundred TICKs where a million devices are in memory; a kicked device is back in milliseconds. */
START_TEST(deleted_device_is_unknown_before_the_sweep_has_come_by)
{
    world_start_connected(&device, false);
    begin();
    end();
    ia_replies_apply(world.core);
    ck_assert(ia_resync_is_sweeping(world.core));
    size_t asked = worker_asked(IA_REQUEST_REGISTER);
    struct mosquitto again = world_client("dev-1", "plain_leaf");
    ck_assert_int_ne(world_connect(&again), MOSQ_ERR_SUCCESS);
    ck_assert_uint_eq(worker_asked(IA_REQUEST_REGISTER), asked + 1);
    sweep();
    ck_assert_uint_eq(ia_clients_live(world.core->clients), 0);
    world_stop();
}
END_TEST

/* The next resync begins before the sweep has removed the record, and stops the sweep. */
START_TEST(deleted_device_stays_unknown_while_the_next_resync_is_under_way)
{
    world_start_connected(&device, false);
    begin();
    end();
    begin();
    ia_replies_apply(world.core);
    size_t asked = worker_asked(IA_REQUEST_REGISTER);
    struct mosquitto again = world_client("dev-1", "plain_leaf");
    ck_assert_int_ne(world_connect(&again), MOSQ_ERR_SUCCESS);
    ck_assert_uint_eq(worker_asked(IA_REQUEST_REGISTER), asked + 1);
    world_stop();
}
END_TEST

/* The connection is lost again and again, each time in the middle of the resync. */
START_TEST(resyncs_that_are_never_completed_make_no_device_unknown)
{
    world_start_connected(&device, false);
    begin();
    world_dev1_is(IA_DEVICE_ACTIVE); /* found by the first of them */
    for (int i = 0; i < 600; i++) {  /* the mark is one byte */
        begin();
        ia_replies_apply(world.core);
        struct mosquitto again = world_client("dev-1", "plain_leaf");
        ck_assert_int_eq(world_connect(&again), MOSQ_ERR_SUCCESS);
        world_disconnect(&again);
    }
    world_stop();
}
END_TEST

START_TEST(resync_that_finds_all_unchanged_changes_nothing)
{
    struct ia_device_row row = world_device("plain_leaf", "dev-1");
    world_start_connected(&device, false);
    const struct ia_device *before = world_session(&device)->device;
    for (int i = 0; i < 300; i++) { /* the mark is one byte */
        begin();
        page(&row, 1);
        end();
        sweep();
    }
    ck_assert_ptr_eq(world_session(&device)->device, before);
    ck_assert_uint_eq(broker.n_kicked, 0);
    ck_assert_uint_eq(ia_device_cache_count(world.core->devices), 1);
    world_stop();
}
END_TEST

START_TEST(resync_brings_a_changed_record_to_its_session)
{
    struct ia_device_row row = world_device("plain_leaf", "dev-1");
    world_start_connected(&device, false);
    row.device_status = IA_DEVICE_INACTIVE;
    begin();
    page(&row, 1);
    end();
    sweep();
    ck_assert_uint_eq(ended(IA_R_DEVICE_INACTIVE), 1);
    world_stop();
}
END_TEST

/* A cache that is too small for all: who is connected is found, and judged, all the same. */
START_TEST(resync_with_a_full_cache_still_revalidates_connected_devices)
{
    struct ia_device_row row = world_device("plain_leaf", "dev-1"), fill = world_device("leaf_of_root", "dev-2");
    world_start_with("device_cache_size", "1");
    world_dev1_is(IA_DEVICE_ACTIVE);
    device = world_client("dev-1", "plain_leaf");
    ck_assert_int_eq(world_connect(&device), MOSQ_ERR_SUCCESS);
    world_kicks(&device);
    world_device_now("dev-2", &fill, 1); /* dev-1's record makes room */
    begin();
    page(&fill, 1);
    page(&row, 1);
    end();
    sweep();
    ck_assert_uint_eq(broker.n_kicked, 0);
    row.device_status = IA_DEVICE_REVOKED;
    world_device_now("dev-2", &fill, 1);
    begin();
    page(&fill, 1);
    page(&row, 1);
    end();
    sweep();
    ck_assert_uint_eq(ended(IA_R_DEVICE_REVOKED), 1);
    world_stop();
}
END_TEST

/* --- the rest of what the worker sends
 * ------------------------------------------------------------------------------ */

START_TEST(log_lines_and_events_of_the_worker_are_passed_on)
{
    world_start();
    struct ia_reply *log = ia_reply_new(IA_REPLY_LOG, "the database is slow: 100%s"),
                    *event = ia_reply_new(IA_REPLY_EVENT, "{\"ca\":\"acme\"}");
    log->level = IA_LOG_WARNING;
    (void)snprintf(event->event, sizeof event->event, "ca/status");
    worker_reply(log);
    worker_reply(event);
    world_tick();
    ck_assert_ptr_nonnull(strstr(broker.log, "4 iot-auth: the database is slow: 100%s\n"));
    ck_assert_str_eq(broker_payload("$iot-auth/events/ca/status"), "{\"ca\":\"acme\"}");
    world_stop();
}
END_TEST

/* Only what a notification announced is counted: the configuration at the start is no change. */
START_TEST(time_until_a_change_is_in_force_is_counted)
{
    world_start();
    world_snapshot();
    world_tick();
    ck_assert_uint_eq(world.core->counters.applied.count, 0);
    struct ia_reply *reply = ia_reply_new(IA_REPLY_CONTACT, NULL);
    reply->heard_us = ia_monotonic_us() - 3000;
    worker_reply(reply);
    world_tick();
    ck_assert_uint_eq(world.core->counters.applied.count, 1);
    ck_assert_uint_ge(world.core->counters.applied.sum_us, 3000);
    world_stop();
}
END_TEST

START_TEST(counters_are_published_and_kept)
{
    world_start_connected(&device, false);
    clock_advance_ms(6000);
    world_tick();
    ck_assert_str_eq(broker_payload("$SYS/broker/iot-auth/connects/accepted/devices"), "1");
    ck_assert_str_eq(broker_payload("$SYS/broker/iot-auth/sessions"), "1");
    ck_assert_uint_eq(worker_asked(IA_REQUEST_COUNTERS), 1);
    ck_assert_ptr_nonnull(strstr(worker_last(IA_REQUEST_COUNTERS)->text, "\"connects/accepted/devices\":1"));
    ck_assert_str_eq(broker_payload("$SYS/broker/iot-auth/histogram/connect_us/count"), "1");
    ck_assert_str_eq(broker_payload("$SYS/broker/iot-auth/database/up"), "1");
    world_tick(); /* every second */
    ck_assert_uint_eq(worker_asked(IA_REQUEST_COUNTERS), 1);
    world_stop();
}
END_TEST

/* A large snapshot takes milliseconds to free: the worker does it, unless it cannot. */
START_TEST(old_snapshot_goes_to_the_worker_or_is_freed_here)
{
    world_start();
    world_snapshot();
    world_tick();
    ck_assert_uint_eq(worker_asked(IA_REQUEST_RETIRE), 1);
    ck_assert_ptr_nonnull(worker_last(IA_REQUEST_RETIRE)->snapshot);
    worker_stub.full = true;
    world_snapshot();
    world_tick();
    worker_stub.full = false;
    world_stop(); /* leaks are the sanitizer's to find */
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_test(c, replies_are_applied_in_their_order);
    tcase_add_test(c, session_is_judged_also_when_its_record_cannot_be_kept);
    tcase_add_loop_test(c, statuses_without_their_record_close_what_is_not_active, 0,
                        (int)(sizeof states / sizeof states[0]));
    tcase_add_test(c, statuses_of_many_certificates_reach_each_record_of_their_devices);
    tcase_add_test(c, record_that_cannot_be_closed_for_want_of_memory_is_removed);
    tcase_add_test(c, statuses_without_their_record_open_nothing);
    tcase_add_test(c, statuses_reach_a_session_whose_record_is_not_in_the_cache);
    tcase_add_test(c, resync_repairs_what_was_missed);
    tcase_add_test(c, deleted_device_is_unknown_before_the_sweep_has_come_by);
    tcase_add_test(c, deleted_device_stays_unknown_while_the_next_resync_is_under_way);
    tcase_add_test(c, resyncs_that_are_never_completed_make_no_device_unknown);
    tcase_add_test(c, resync_that_finds_all_unchanged_changes_nothing);
    tcase_add_test(c, resync_brings_a_changed_record_to_its_session);
    tcase_add_test(c, resync_with_a_full_cache_still_revalidates_connected_devices);
    tcase_add_test(c, log_lines_and_events_of_the_worker_are_passed_on);
    tcase_add_test(c, time_until_a_change_is_in_force_is_counted);
    tcase_add_test(c, counters_are_published_and_kept);
    tcase_add_test(c, old_snapshot_goes_to_the_worker_or_is_freed_here);
}

int main(void)
{
    return run_suite("apply", cases);
}
