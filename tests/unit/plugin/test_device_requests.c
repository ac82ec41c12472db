// SPDX-License-Identifier: ISC
/* Asking the registry: once for each certificate, never more than it can take, and never waiting. */
#include "jitr/registration.h"
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

static bool is_pending(unsigned n)
{
    struct ia_cert_info info = info_of(n);
    return ia_device_requests_is_pending(world.core, info.fingerprint);
}

static struct ia_reply *answer(unsigned n, enum ia_reason reason)
{
    struct ia_cert_info info = info_of(n);
    struct ia_reply *reply = ia_reply_new(IA_REPLY_ANSWER, "the registry says why");
    memcpy(reply->answer.fingerprint, info.fingerprint, sizeof reply->answer.fingerprint);
    reply->answer.reason = reason;
    return reply;
}

static struct ia_reply *answer_record(unsigned n)
{
    struct ia_reply *reply = answer(n, IA_R_NONE);
    struct ia_device_row row = {
        .device_id = "dev", .device_status = IA_DEVICE_ACTIVE, .certificate_status = IA_CERT_ACTIVE};
    memcpy(row.fingerprint, reply->answer.fingerprint, sizeof row.fingerprint);
    reply->answer.device = ia_device_new(&row);
    return reply;
}

static void answered(struct ia_reply *reply)
{
    worker_reply(reply);
    ia_replies_apply(world.core);
}

#define ASKED worker_asked(IA_REQUEST_REGISTER)

START_TEST(record_in_memory_needs_no_question)
{
    world_start();
    answered(answer_record(1));
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
    ck_assert_uint_eq(ASKED, 0);
    ck_assert(!is_pending(1));
    world_stop();
}
END_TEST

START_TEST(device_on_ten_connections_is_asked_for_once)
{
    world_start();
    for (int i = 0; i < 10; i++) {
        ck_assert_int_eq(find(1), IA_R_REGISTRY_UNAVAILABLE);
        ck_assert_str_eq(detail, "the registry has been asked and has not answered yet");
        ck_assert(is_pending(1));
    }
    ck_assert_uint_eq(ASKED, 1);
    answered(answer_record(1));
    ck_assert(!is_pending(1));
    ck_assert_int_eq(find(1), IA_R_NONE);
    world_stop();
}
END_TEST

START_TEST(nothing_waits_for_an_answer)
{
    world_start();
    for (unsigned n = 0; n < 1000; n++)
        ck_assert_int_eq(find(n), IA_R_REGISTRY_UNAVAILABLE);
    ck_assert_uint_eq(ASKED, 1000);
    ck_assert_int_eq(worker_stub.waited_us, 0);
    world_stop();
}
END_TEST

/* --- refusals by the registry
 * --------------------------------------------------------------------------------------- */

START_TEST(refusal_stands_for_a_second_and_no_longer)
{
    world_start();
    (void)find(1);
    answered(answer(1, IA_R_QUOTA_EXCEEDED));
    ck_assert_int_eq(find(1), IA_R_QUOTA_EXCEEDED);
    ck_assert_str_eq(detail, "the registry says why");
    clock_advance_ms(999);
    ck_assert_int_eq(find(1), IA_R_QUOTA_EXCEEDED);
    ck_assert_uint_eq(ASKED, 1);
    clock_advance_ms(1);
    ck_assert_int_eq(find(1), IA_R_REGISTRY_UNAVAILABLE);
    ck_assert_uint_eq(ASKED, 2);
    world_stop();
}
END_TEST

START_TEST(unavailable_is_never_believed_for_a_second)
{
    world_start();
    (void)find(1);
    answered(answer(1, IA_R_REGISTRY_UNAVAILABLE));
    ck_assert(!is_pending(1));
    ck_assert_int_eq(find(1), IA_R_REGISTRY_UNAVAILABLE);
    ck_assert_uint_eq(ASKED, 2);
    world_stop();
}
END_TEST

/* The registry has a record, but memory had no room for it. */
START_TEST(answer_without_record_and_reason_asks_again)
{
    world_start();
    (void)find(1);
    answered(answer(1, IA_R_NONE));
    ck_assert_int_eq(find(1), IA_R_REGISTRY_UNAVAILABLE);
    ck_assert_uint_eq(ASKED, 2);
    world_stop();
}
END_TEST

/* --- too much at once
 * ----------------------------------------------------------------------------------------------- */

START_TEST(full_queue_refuses_and_asks_again_later)
{
    world_start();
    worker_stub.full = true;
    ck_assert_int_eq(find(1), IA_R_REGISTRY_UNAVAILABLE);
    ck_assert_str_eq(detail, "too many requests are waiting for the database");
    ck_assert(!is_pending(1));
    worker_stub.full = false;
    (void)find(1);
    ck_assert_uint_eq(ASKED, 1);
    world_stop();
}
END_TEST

START_TEST(questions_are_bounded)
{
    world_start();
    for (unsigned n = 0; n < 20000; n++)
        (void)find(n);
    ck_assert_uint_eq(ia_registrations_count(world.core->registrations), 20000);
    ck_assert_int_eq(find(30000), IA_R_REGISTRY_UNAVAILABLE);
    ck_assert_str_eq(detail, "too many devices are waiting for the registry");
    ck_assert(!is_pending(30000));
    ck_assert_uint_eq(ia_registrations_count(world.core->registrations), 20000);
    clock_advance_ms(61000); /* nobody answers any more */
    ia_device_requests_tidy(world.core);
    ck_assert_uint_eq(ia_registrations_count(world.core->registrations), 0);
    world_stop();
}
END_TEST

START_TEST(answered_questions_are_forgotten_after_a_second)
{
    world_start();
    (void)find(1);
    answered(answer(1, IA_R_DEVICE_CONFLICT));
    clock_advance_ms(999);
    ia_device_requests_tidy(world.core);
    ck_assert_uint_eq(ia_registrations_count(world.core->registrations), 1);
    clock_advance_ms(1);
    ia_device_requests_tidy(world.core);
    ck_assert_uint_eq(ia_registrations_count(world.core->registrations), 0);
    world_stop();
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_test(c, record_in_memory_needs_no_question);
    tcase_add_test(c, missing_connection_refuses_at_once);
    tcase_add_test(c, device_on_ten_connections_is_asked_for_once);
    tcase_add_test(c, nothing_waits_for_an_answer);
    tcase_add_test(c, refusal_stands_for_a_second_and_no_longer);
    tcase_add_test(c, unavailable_is_never_believed_for_a_second);
    tcase_add_test(c, answer_without_record_and_reason_asks_again);
    tcase_add_test(c, full_queue_refuses_and_asks_again_later);
    tcase_add_test(c, questions_are_bounded);
    tcase_add_test(c, answered_questions_are_forgotten_after_a_second);
}

int main(void)
{
    return run_suite("device requests", cases);
}
