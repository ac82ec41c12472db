// SPDX-License-Identifier: ISC
/* Asking the registry: once, for a bounded time, and never at the expense of the live sessions. */
#include "plugin/device_requests.h"
#include "tests/unit/plugin/world.h"
#include "tests/unit/suite.h"

#include <string.h>

static char detail[128];
static struct ia_device *found;

static struct ia_cert_info info_of(unsigned n)
{
    struct ia_cert_info info = {.serial = "01"};
    memcpy(info.fingerprint, &n, sizeof n);
    info.fingerprint[31] = 1;
    return info;
}

static enum ia_reason find(unsigned n)
{
    struct ia_cert_info info = info_of(n);
    struct ia_unregistered_device who = {.info = &info, .device_id = "dev", .ca_id = 1, .address = "192.0.2.1"};
    found = NULL;
    detail[0] = '\0';
    return ia_device_requests_find(world.core, &who, &found, detail, sizeof detail);
}

static void prefetch(unsigned n)
{
    struct ia_cert_info info = info_of(n);
    ia_device_requests_prefetch(world.core, info.fingerprint);
}

static struct ia_reply *answer(unsigned n, bool registering, enum ia_reason reason)
{
    struct ia_cert_info info = info_of(n);
    struct ia_reply *reply = ia_reply_new(IA_REPLY_ANSWER, "the registry says why");
    memcpy(reply->answer.fingerprint, info.fingerprint, sizeof reply->answer.fingerprint);
    reply->answer.registering = registering;
    reply->answer.reason = reason;
    return reply;
}

static struct ia_reply *answer_record(unsigned n, bool registering)
{
    struct ia_reply *reply = answer(n, registering, IA_R_NONE);
    struct ia_device_row row = {
        .device_id = "dev", .device_status = IA_DEVICE_ACTIVE, .certificate_status = IA_CERT_ACTIVE};
    memcpy(row.fingerprint, reply->answer.fingerprint, sizeof row.fingerprint);
    reply->answer.device = ia_device_new(&row);
    return reply;
}

#define ASKED worker_asked(IA_REQUEST_REGISTER)

START_TEST(record_in_memory_needs_no_question)
{
    world_start();
    worker_reply(answer_record(1, false));
    ia_replies_apply(world.core);
    ck_assert_int_eq(find(1), IA_R_NONE);
    ck_assert(found && strcmp(ia_device_id(found), "dev") == 0);
    ck_assert_uint_eq(ASKED, 0);
    ck_assert_uint_eq(world.core->counters.cache_hits, 1);
    world_stop();
}
END_TEST

START_TEST(missing_connection_refuses_at_once)
{
    world_start();
    world_database(false);
    ia_replies_apply(world.core);
    ck_assert_int_eq(find(1), IA_R_REGISTRY_UNAVAILABLE);
    ck_assert_str_eq(detail, "the database is not connected");
    prefetch(2);
    ck_assert_uint_eq(ASKED + worker_asked(IA_REQUEST_LOOKUP), 0);
    ck_assert_int_eq(worker_stub.waited_us, 0);
    world_stop();
}
END_TEST

static void loses_connection(void)
{
    world_database(false);
}

START_TEST(connection_lost_while_waiting_ends_the_wait)
{
    world_start();
    worker_stub.on_wait = loses_connection;
    worker_stub.answers_after_us = 3000;
    ck_assert_int_eq(find(1), IA_R_REGISTRY_UNAVAILABLE);
    ck_assert_str_eq(detail, "the database is not connected");
    ck_assert_int_eq(worker_stub.waited_us, 3000);
    world_stop();
}
END_TEST

START_TEST(device_on_ten_connections_is_asked_for_once)
{
    world_start_with("auth_wait_ms", "10");
    for (int i = 0; i < 10; i++) {
        ck_assert_int_eq(find(1), IA_R_REGISTRY_UNAVAILABLE);
        world_tick();
    }
    ck_assert_uint_eq(ASKED, 1);
    ck_assert_int_eq(worker_stub.waited_us, 100000);
    world_stop();
}
END_TEST

/* --- refusals by the registry
 * --------------------------------------------------------------------------------------- */

static void refuses_one(void)
{
    worker_reply(answer(1, true, IA_R_QUOTA_EXCEEDED));
}

START_TEST(refusal_stands_for_a_second_and_no_longer)
{
    world_start();
    worker_stub.on_wait = refuses_one;
    worker_stub.answers_after_us = 1000;
    ck_assert_int_eq(find(1), IA_R_QUOTA_EXCEEDED);
    ck_assert_str_eq(detail, "the registry says why");
    clock_advance_ms(999);
    ck_assert_int_eq(find(1), IA_R_QUOTA_EXCEEDED);
    ck_assert_uint_eq(ASKED, 1);
    ck_assert_int_eq(worker_stub.waited_us, 1000);
    clock_advance_ms(1);
    ck_assert_int_eq(find(1), IA_R_QUOTA_EXCEEDED);
    ck_assert_uint_eq(ASKED, 2);
    world_stop();
}
END_TEST

START_TEST(unavailable_is_never_believed_for_a_second)
{
    world_start_with("auth_wait_ms", "10");
    worker_reply(answer_record(9, false)); /* somebody is known */
    ck_assert_int_eq(find(1), IA_R_REGISTRY_UNAVAILABLE);
    worker_reply(answer(1, true, IA_R_REGISTRY_UNAVAILABLE));
    world_tick();
    ck_assert_int_eq(find(1), IA_R_REGISTRY_UNAVAILABLE);
    ck_assert_uint_eq(ASKED, 2);
    world_stop();
}
END_TEST

/* The registry has a record, but memory had no room for it. */
START_TEST(answer_without_record_and_reason_is_internal)
{
    world_start();
    worker_reply(answer(1, true, IA_R_NONE));
    (void)find(1);
    worker_reply(answer(1, true, IA_R_NONE));
    ck_assert_int_eq(find(1), IA_R_INTERNAL);
    world_stop();
}
END_TEST

/* --- looking up ahead
 * ----------------------------------------------------------------------------------------------- */

START_TEST(prefetch_brings_the_record_before_connect)
{
    world_start();
    prefetch(1);
    prefetch(1); /* on its way already */
    ck_assert_uint_eq(worker_asked(IA_REQUEST_LOOKUP), 1);
    worker_reply(answer_record(1, false));
    ia_replies_apply(world.core);
    ck_assert_int_eq(find(1), IA_R_NONE);
    ck_assert_uint_eq(ASKED, 0);
    prefetch(1); /* known */
    ck_assert_uint_eq(worker_asked(IA_REQUEST_LOOKUP), 1);
    world_stop();
}
END_TEST

static int step;

static void answers_lookup_then_registration(void)
{
    if (step++ == 0)
        worker_reply(answer(1, false, IA_R_DEVICE_UNKNOWN));
    else
        worker_reply(answer_record(1, true));
}

/* The look-up says 'unknown' while the registration is on its way: that is not the registration's answer. */
START_TEST(answer_to_the_lookup_is_not_the_registrations)
{
    world_start();
    prefetch(1);
    worker_stub.on_wait = answers_lookup_then_registration;
    worker_stub.answers_after_us = 1000;
    ck_assert_int_eq(find(1), IA_R_NONE);
    ck_assert_ptr_nonnull(found);
    ck_assert_uint_eq(ASKED, 1);
    ck_assert_int_eq(step, 2);
    world_stop();
}
END_TEST

/* A look-up never refuses: only registering shows whether the CA admits it. */
START_TEST(negative_lookup_still_registers)
{
    world_start();
    prefetch(1);
    worker_reply(answer(1, false, IA_R_DEVICE_UNKNOWN));
    ia_replies_apply(world.core);
    worker_stub.on_wait = answers_lookup_then_registration;
    step = 1;
    ck_assert_int_eq(find(1), IA_R_NONE);
    ck_assert_uint_eq(ASKED, 1);
    world_stop();
}
END_TEST

/* --- too much at once
 * ----------------------------------------------------------------------------------------------- */

START_TEST(full_queue_refuses_and_asks_again_later)
{
    world_start();
    worker_stub.full = true;
    prefetch(1);
    ck_assert_int_eq(find(1), IA_R_REGISTRY_UNAVAILABLE);
    ck_assert_str_eq(detail, "too many requests are waiting for the database");
    ck_assert_int_eq(worker_stub.waited_us, 0);
    worker_stub.full = false;
    (void)find(1);
    ck_assert_uint_eq(ASKED, 1);
    world_stop();
}
END_TEST

START_TEST(questions_are_bounded)
{
    world_start_with("auth_wait_ms", "0");
    for (unsigned n = 0; n < 20000; n++)
        prefetch(n);
    ck_assert_uint_eq(ia_device_requests_pending(world.core), 20000);
    ck_assert_int_eq(find(30000), IA_R_REGISTRY_UNAVAILABLE);
    ck_assert_str_eq(detail, "too many devices are waiting for the registry");
    ck_assert_uint_eq(ia_device_requests_pending(world.core), 20000);
    clock_advance_ms(61000); /* nobody answers any more */
    ia_device_requests_tidy(world.core);
    ck_assert_uint_eq(ia_device_requests_pending(world.core), 0);
    world_stop();
}
END_TEST

START_TEST(answered_questions_are_forgotten_after_a_second)
{
    world_start_with("auth_wait_ms", "0");
    (void)find(1);
    worker_reply(answer(1, true, IA_R_DEVICE_CONFLICT));
    ia_replies_apply(world.core);
    clock_advance_ms(999);
    ia_device_requests_tidy(world.core);
    ck_assert_uint_eq(ia_device_requests_pending(world.core), 1);
    clock_advance_ms(1);
    ia_device_requests_tidy(world.core);
    ck_assert_uint_eq(ia_device_requests_pending(world.core), 0);
    world_stop();
}
END_TEST

/* Waiting beyond 20 ms each is a debt, which shrinks by 250 ms a second. */
START_TEST(slow_database_and_a_storm_of_new_devices_wait_within_the_budget)
{
    world_start_with("auth_wait_ms", "500");
    int64_t begun = clock_us;
    for (unsigned n = 0; clock_us - begun < 20000000; n++) {
        ck_assert_int_eq(find(n), IA_R_REGISTRY_UNAVAILABLE);
        clock_advance_ms(5);
        world_tick();
    }
    /* 20 s: at most 250 ms of each, the 20 ms of each wait that are free, and the last wait. */
    ck_assert_int_le(worker_stub.waited_us, 20 * 250000 + 20000 * (int64_t)world.core->counters.waits + 500000);
    ck_assert_int_ge(worker_stub.waited_us, 20 * 250000 / 2);
    ck_assert_uint_eq(world.core->counters.longest_wait_us, 500000);
    ck_assert_uint_gt(ASKED, 2000); /* all of them go on */
    world_stop();
}
END_TEST

static unsigned next;

static void answers_next(void)
{
    worker_reply(answer_record(next, true));
}

/* A quick database costs no budget: fifty new devices at once are all in. */
START_TEST(quick_answers_are_not_counted)
{
    world_start();
    worker_stub.on_wait = answers_next;
    worker_stub.answers_after_us = 15000;
    for (next = 0; next < 200; next++) {
        ck_assert_int_eq(find(next), IA_R_NONE);
        if (next % 20 == 19)
            world_tick();
    }
    world_stop();
}
END_TEST

/* Live sessions have their turn at TICK: until then all waits together last no longer than one may. */
START_TEST(waits_between_two_ticks_last_auth_wait_ms_together)
{
    world_start_with("auth_wait_ms", "100");
    worker_stub.on_wait = answers_next;
    worker_stub.answers_after_us = 15000;
    for (next = 0; next < 20; next++)
        (void)find(next);
    ck_assert_int_le(worker_stub.waited_us, 100000);
    ck_assert_int_ge(worker_stub.waited_us, 90000);
    world_tick();
    ck_assert_int_eq(find(next), IA_R_NONE);
    world_stop();
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_test(c, record_in_memory_needs_no_question);
    tcase_add_test(c, missing_connection_refuses_at_once);
    tcase_add_test(c, connection_lost_while_waiting_ends_the_wait);
    tcase_add_test(c, device_on_ten_connections_is_asked_for_once);
    tcase_add_test(c, refusal_stands_for_a_second_and_no_longer);
    tcase_add_test(c, unavailable_is_never_believed_for_a_second);
    tcase_add_test(c, answer_without_record_and_reason_is_internal);
    tcase_add_test(c, prefetch_brings_the_record_before_connect);
    tcase_add_test(c, answer_to_the_lookup_is_not_the_registrations);
    tcase_add_test(c, negative_lookup_still_registers);
    tcase_add_test(c, full_queue_refuses_and_asks_again_later);
    tcase_add_test(c, questions_are_bounded);
    tcase_add_test(c, answered_questions_are_forgotten_after_a_second);
    tcase_add_test(c, slow_database_and_a_storm_of_new_devices_wait_within_the_budget);
    tcase_add_test(c, quick_answers_are_not_counted);
    tcase_add_test(c, waits_between_two_ticks_last_auth_wait_ms_together);
}

int main(void)
{
    return run_suite("registry", cases);
}
