// SPDX-License-Identifier: ISC
/* How much may be under way, and how long a locked CA pauses. */
#include "worker/batch_pace.h"

#include "tests/unit/suite.h"
#include "worker/locked_cas.h"

START_TEST(pace_follows_the_work_of_the_server_and_not_its_distance)
{
    static const int64_t round_trips[] = {100, 10000, 40000};
    for (size_t i = 0; i < 3; i++) {
        struct ia_batch_pace pace = {0};
        ck_assert_uint_eq(ia_batch_pace_limit(&pace), IA_PACE_START);
        for (int k = 0; k < 10; k++)
            ia_batch_pace_note(&pace, k ? 50 : 1, round_trips[i] + (k ? 50 * 500 : 500), -1);
        ck_assert_uint_ge(ia_batch_pace_limit(&pace), 60); /* 40 ms at 0.5 ms each */
        ck_assert_uint_le(ia_batch_pace_limit(&pace), 100);
    }
}
END_TEST

START_TEST(pace_counts_no_waiting_behind_another_batch)
{
    struct ia_batch_pace pace = {0};
    ia_batch_pace_note(&pace, 1, 1000, -1);
    for (int k = 0; k < 20; k++)
        ia_batch_pace_note(&pace, 10, 100000, 10 * 400); /* 0.4 ms each, far back in the queue */
    ck_assert_uint_ge(ia_batch_pace_limit(&pace), 90);
    ck_assert_uint_le(ia_batch_pace_limit(&pace), 110);
}
END_TEST

START_TEST(pace_has_bounds)
{
    struct ia_batch_pace slow = {0}, fast = {0};
    for (int k = 0; k < 20; k++) {
        ia_batch_pace_note(&slow, 1, k ? 5000000 : 100, -1);
        ia_batch_pace_note(&fast, 256, 100, -1);
    }
    ck_assert_uint_eq(ia_batch_pace_limit(&slow), IA_PACE_MIN);
    ck_assert_uint_eq(ia_batch_pace_limit(&fast), IA_PACE_MAX);
}
END_TEST

START_TEST(locked_ca_pauses_longer_each_time_until_it_is_free)
{
    struct ia_locked_cas locked = {0};
    int64_t now = 1000;
    ck_assert_int_eq(ia_locked_cas_try(&locked, 7, 1, now), 0);
    ck_assert_int_eq(ia_locked_cas_note(&locked, 7, now), 1050);
    ck_assert_int_eq(ia_locked_cas_note(&locked, 7, now), 1050); /* another item of the same batch */
    ck_assert_int_eq(ia_locked_cas_try(&locked, 7, 1, now), 1050);
    ck_assert_int_eq(ia_locked_cas_try(&locked, 8, 1, now), 0);
    ck_assert_int_eq(ia_locked_cas_try(&locked, 7, 1, 1050), 0);
    ck_assert_int_eq(ia_locked_cas_note(&locked, 7, 1050), 1150);
    for (int i = 0; i < 10; i++)
        now = ia_locked_cas_note(&locked, 7, 1300 + 10000 * i);
    ck_assert_int_eq(now, 1300 + 90000 + IA_LOCKED_PAUSE_MAX);
    ia_locked_cas_clear(&locked, 7 + IA_LOCKED_CAS); /* another CA with the same place */
    ck_assert_int_ne(ia_locked_cas_try(&locked, 7, 1, now - 1), 0);
    ia_locked_cas_clear(&locked, 7);
    ck_assert_int_eq(ia_locked_cas_try(&locked, 7, 1, now - 1), 0);
    ck_assert_int_eq(ia_locked_cas_note(&locked, 7, now), now + IA_LOCKED_PAUSE_MIN);
}
END_TEST

START_TEST(after_a_pause_one_batch_alone_tries_the_ca)
{
    struct ia_locked_cas locked = {0};
    ck_assert_int_eq(ia_locked_cas_note(&locked, 7, 1000), 1050);
    ck_assert_int_eq(ia_locked_cas_try(&locked, 7, 3, 1050), 0);
    ck_assert_int_eq(ia_locked_cas_try(&locked, 7, 3, 1050), 0); /* another item of the same batch */
    ck_assert_int_eq(ia_locked_cas_try(&locked, 7, 4, 1060), 1060 + IA_LOCKED_PAUSE_MIN);
    ck_assert_int_eq(ia_locked_cas_try(&locked, 8, 4, 1060), 0); /* another CA */
    if (_i == 0) {                                               /* it is free */
        ia_locked_cas_clear(&locked, 7);
        ck_assert_int_eq(ia_locked_cas_try(&locked, 7, 4, 1070), 0);
        ck_assert_int_eq(ia_locked_cas_try(&locked, 7, 5, 1070), 0);
    } else if (_i == 1) { /* it is not */
        ck_assert_int_eq(ia_locked_cas_note(&locked, 7, 1150), 1250);
        ck_assert_int_eq(ia_locked_cas_try(&locked, 7, 4, 1249), 1250);
        ck_assert_int_eq(ia_locked_cas_try(&locked, 7, 5, 1250), 0);
    } else { /* no result */
        ck_assert_int_eq(ia_locked_cas_try(&locked, 7, 4, 1050 + IA_LOCKED_TRIAL_MS), 0);
    }
}
END_TEST

static void cases(TCase *c)
{
    tcase_add_test(c, pace_follows_the_work_of_the_server_and_not_its_distance);
    tcase_add_test(c, pace_counts_no_waiting_behind_another_batch);
    tcase_add_test(c, pace_has_bounds);
    tcase_add_test(c, locked_ca_pauses_longer_each_time_until_it_is_free);
    tcase_add_loop_test(c, after_a_pause_one_batch_alone_tries_the_ca, 0, 3);
}

int main(void)
{
    return run_suite("batch_pace", cases);
}
