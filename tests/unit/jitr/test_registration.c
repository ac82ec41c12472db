// SPDX-License-Identifier: ISC
/* Pending registrations, negative answers and the wait budget: by arguments alone. */
#include "jitr/registration.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t one[32] = {1}, two[32] = {2};

START_TEST(answer_counts_only_for_the_question_that_was_asked)
{
    struct ia_registrations *all = ia_registrations_new();
    ck_assert(ia_registration_ask(all, one, 200));
    ck_assert(ia_registration_is_pending(ia_registration_find(all, one)));
    ia_registration_answer(all, one, IA_R_QUOTA_EXCEEDED, "full", 400);
    const struct ia_registration *r = ia_registration_find(all, one);
    ck_assert(!ia_registration_is_pending(r) && r->reason == IA_R_QUOTA_EXCEEDED);
    ck_assert_str_eq(r->detail, "full");
    ck_assert_ptr_null(ia_registration_find(all, two));
    ia_registration_answer(all, two, IA_R_NONE, "", 400); /* of nothing that was asked */
    ck_assert_uint_eq(ia_registrations_count(all), 1);
    ia_registrations_free(all);
}
END_TEST

START_TEST(refusal_stands_for_a_second_but_not_one_of_the_database)
{
    struct ia_registrations *all = ia_registrations_new();
    ck_assert(ia_registration_ask(all, one, 0) && ia_registration_ask(all, two, 0));
    ia_registration_answer(all, one, IA_R_DEVICE_CONFLICT, "", 0);
    ia_registration_answer(all, two, IA_R_REGISTRY_UNAVAILABLE, "", 0);
    ck_assert(ia_registration_is_refused(ia_registration_find(all, one), 999999));
    ck_assert(!ia_registration_is_refused(ia_registration_find(all, one), 1000000));
    ck_assert(!ia_registration_is_refused(ia_registration_find(all, two), 0));
    ck_assert(!ia_registration_is_refused(NULL, 0));
    ia_registrations_tidy(all, 1000000);
    ck_assert_uint_eq(ia_registrations_count(all), 0);
    ia_registrations_free(all);
    ia_registrations_free(NULL);
}
END_TEST

START_TEST(questions_stop_at_their_bound)
{
    struct ia_registrations *all = ia_registrations_new();
    for (uint32_t i = 0; i < IA_REGISTRATIONS_MAX; i++) {
        uint8_t fingerprint[32] = {0};
        memcpy(fingerprint, &i, sizeof i);
        ck_assert(ia_registration_ask(all, fingerprint, 0));
    }
    const uint8_t more[32] = {[31] = 1}, known[32] = {0};
    ck_assert(!ia_registration_has_room(all, more) && !ia_registration_ask(all, more, 0));
    ck_assert(ia_registration_has_room(all, known) && ia_registration_ask(all, known, 0));
    ia_registrations_tidy(all, 59999999);
    ck_assert_uint_eq(ia_registrations_count(all), IA_REGISTRATIONS_MAX);
    ia_registrations_tidy(all, 60000000); /* lost with their connection */
    ck_assert_uint_eq(ia_registrations_count(all), 0);
    ia_registrations_free(all);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("registration");
    TCase *c = tcase_create("registration");
    tcase_add_test(c, answer_counts_only_for_the_question_that_was_asked);
    tcase_add_test(c, refusal_stands_for_a_second_but_not_one_of_the_database);
    tcase_add_test(c, questions_stop_at_their_bound);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
