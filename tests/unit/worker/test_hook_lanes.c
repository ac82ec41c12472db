// SPDX-License-Identifier: ISC
/* Which registration is made next where CAs have hooks, and what is published of it. */
#include "worker/hook_lanes.h"

#include "tests/unit/suite.h"
#include "worker/provisioned.h"

#include <stdlib.h>
#include <string.h>

static struct ia_hook_lanes lanes;

static void empty_lanes(void)
{
    ia_hook_lanes_clear(&lanes);
    lanes = (struct ia_hook_lanes){0};
}

static struct ia_request *registration(int64_t ca_id, int64_t taken_ms)
{
    struct ia_request *request = ia_request_new(IA_REQUEST_REGISTER, NULL);
    ck_assert_ptr_nonnull(request);
    request->registration.ca_id = ca_id;
    request->taken_ms = taken_ms;
    return request;
}

static void add(int64_t ca_id, int64_t taken_ms)
{
    ck_assert(ia_hook_lanes_add(&lanes, registration(ca_id, taken_ms)));
}

/* The CA of the next registration, 0: none. */
static int64_t take(int64_t now_ms)
{
    struct ia_request *request = ia_hook_lanes_take(&lanes, now_ms);
    int64_t ca_id = request ? request->registration.ca_id : 0;
    ia_request_free(request);
    return ca_id;
}

START_TEST(lane_has_one_registration_at_a_time_and_the_oldest_first)
{
    add(1, 10);
    add(1, 11);
    add(2, 12);
    ck_assert_uint_eq(ia_hook_lanes_ready(&lanes, 20), 2);
    ck_assert_int_eq(take(20), 1);
    ck_assert_int_eq(take(20), 2);
    ck_assert_int_eq(take(20), 0);
    ia_hook_lanes_finish(&lanes, 1, IA_HOOK_FAST, 20);
    ck_assert_int_eq(take(20), 1);
    ck_assert_uint_eq(lanes.n_waiting, 0);
}
END_TEST

/* The bound was once shared by all CAs. */
START_TEST(full_lane_leaves_the_others_their_room)
{
    for (int i = 0; i < IA_HOOK_LANE_MAX; i++)
        add(1, i);
    struct ia_request *more = registration(1, 0);
    ck_assert(!ia_hook_lanes_add(&lanes, more));
    ia_request_free(more);
    add(2, 5000);
    ck_assert_int_eq(take(0), 1);
    ck_assert_int_eq(take(0), 2);
}
END_TEST

/* A registration was once given up only when a thread took it. */
START_TEST(registrations_are_given_up_in_time_while_their_lane_is_in_work)
{
    add(1, 0);
    add(1, 100);
    add(2, 200);
    ck_assert_int_eq(take(300), 1);
    ck_assert_int_eq(ia_hook_lanes_give_up_ms(&lanes, 300), 100 + IA_HOOK_GIVE_UP_MS - 300);
    ck_assert_ptr_null(ia_hook_lanes_give_up(&lanes, 99 + IA_HOOK_GIVE_UP_MS));
    struct ia_request *given_up = ia_hook_lanes_give_up(&lanes, 100 + IA_HOOK_GIVE_UP_MS);
    ck_assert_ptr_nonnull(given_up);
    ck_assert_int_eq(given_up->taken_ms, 100);
    ia_request_free(given_up);
    ck_assert_ptr_null(ia_hook_lanes_give_up(&lanes, 100 + IA_HOOK_GIVE_UP_MS));
    ck_assert_int_eq(take(300), 2);
    ck_assert_int_eq(ia_hook_lanes_give_up_ms(&lanes, 300), -1);
}
END_TEST

/* A thread once slept instead. */
START_TEST(hook_that_did_not_end_rests_and_no_other_does)
{
    add(1, 0);
    add(1, 1);
    add(2, 2);
    ck_assert_int_eq(take(10), 1);
    ia_hook_lanes_finish(&lanes, 1, IA_HOOK_UNENDED, 10);
    ck_assert_int_eq(ia_hook_lanes_rest_ms(&lanes, 10), IA_HOOK_REST_MS);
    ck_assert_int_eq(take(10), 2);
    ck_assert_int_eq(take(9 + IA_HOOK_REST_MS), 0);
    ck_assert_int_eq(take(10 + IA_HOOK_REST_MS), 1);
}
END_TEST

START_TEST(slow_hooks_leave_threads_to_the_others)
{
    enum { SLOW = IA_HOOK_SLOW_MAX + 2 };
    for (int ca_id = 1; ca_id <= SLOW; ca_id++) {
        add(ca_id, ca_id);
        ck_assert_int_eq(take(10), ca_id);
        ia_hook_lanes_finish(&lanes, ca_id, IA_HOOK_SLOW, 10);
    }
    for (int ca_id = 1; ca_id <= SLOW; ca_id++)
        add(ca_id, ca_id);
    add(100, 100);
    ck_assert_uint_eq(ia_hook_lanes_ready(&lanes, 20), IA_HOOK_SLOW_MAX + 1);
    for (int i = 0; i < IA_HOOK_SLOW_MAX; i++)
        ck_assert_int_ne(take(20), 100);
    ck_assert_int_eq(take(20), 100);
    ck_assert_int_eq(take(20), 0);
    ia_hook_lanes_finish(&lanes, 1, IA_HOOK_FAST, 20);
    ck_assert_int_ne(take(20), 0);
    ck_assert_int_ne(take(11 + IA_HOOK_SLOW_MS), 0); /* no longer slow */
}
END_TEST

/* ---- events */

static struct ia_reply *replies[4];
static size_t n_replies;

static void keep_reply(void *ctx, struct ia_reply *reply)
{
    (void)ctx;
    ck_assert_uint_lt(n_replies, 4);
    replies[n_replies++] = reply;
}

static const struct ia_sink sink = {.send = keep_reply};

static struct ia_request *hook_registration(const char *outcome, bool in_doubt)
{
    struct ia_request *request = registration(1, 0);
    request->registration.hook_outcome = strdup(outcome);
    request->registration.hook_detail = strdup("{\"device_id\": \"d\"}");
    request->registration.hook_in_doubt = in_doubt;
    n_replies = 0;
    return request;
}

static void forget_replies(void)
{
    while (n_replies > 0)
        ia_reply_free(replies[--n_replies]);
}

/* It was once lost where the look-up that follows was refused. */
START_TEST(event_of_a_committed_registration_is_published_whatever_follows)
{
    const struct ia_registered refused = {.outcome = "device_inactive"};
    struct ia_request *request = hook_registration("registered", false);
    ia_provisioned_publish(&sink, request);
    ck_assert_uint_eq(n_replies, 1);
    ck_assert_int_eq(replies[0]->kind, IA_REPLY_EVENT);
    ck_assert_str_eq(replies[0]->event, "device/registered");
    ck_assert_str_eq(replies[0]->text, "{\"device_id\": \"d\"}");
    ia_provisioned_answer(&sink, request, &refused);
    ck_assert_uint_eq(n_replies, 2);
    ck_assert(!replies[1]->answer.registered);
    forget_replies();
}
END_TEST

START_TEST(event_of_a_committed_registration_is_not_in_its_answer_again)
{
    const struct ia_registered known = {.outcome = "known"};
    struct ia_request *request = hook_registration("registered", false);
    ia_provisioned_publish(&sink, request);
    ia_provisioned_answer(&sink, request, &known);
    ck_assert(replies[1]->answer.registered);
    ck_assert_str_eq(replies[1]->text, "");
    forget_replies();
}
END_TEST

START_TEST(event_of_a_commit_in_doubt_comes_with_the_answer_that_it_was_made)
{
    const struct ia_registered known = {.outcome = "known"};
    struct ia_request *request = hook_registration("registered", true);
    ia_provisioned_publish(&sink, request);
    ck_assert_uint_eq(n_replies, 0);
    ia_provisioned_answer(&sink, request, &known);
    ck_assert(replies[0]->answer.registered);
    ck_assert_str_eq(replies[0]->text, "{\"device_id\": \"d\"}");
    forget_replies();
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_checked_fixture(c, NULL, empty_lanes);
    tcase_add_test(c, lane_has_one_registration_at_a_time_and_the_oldest_first);
    tcase_add_test(c, full_lane_leaves_the_others_their_room);
    tcase_add_test(c, registrations_are_given_up_in_time_while_their_lane_is_in_work);
    tcase_add_test(c, hook_that_did_not_end_rests_and_no_other_does);
    tcase_add_test(c, slow_hooks_leave_threads_to_the_others);
    tcase_add_test(c, event_of_a_committed_registration_is_published_whatever_follows);
    tcase_add_test(c, event_of_a_committed_registration_is_not_in_its_answer_again);
    tcase_add_test(c, event_of_a_commit_in_doubt_comes_with_the_answer_that_it_was_made);
}

int main(void)
{
    return run_suite("hook_lanes", cases);
}
