// SPDX-License-Identifier: ISC
/* Owners of client ids whose sessions are no longer in memory: compared with a plain list. */
#include "plugin/kept_sessions.h"
#include "tests/unit/plugin/broker_stub.h"
#include "tests/unit/suite.h"

#include <stdio.h>
#include <string.h>

static struct mosquitto contexts[4096];

START_TEST(owner_is_the_one_that_was_added)
{
    struct ia_kept_sessions *kept = ia_kept_new();
    ck_assert(ia_kept_add(kept, &contexts[0], "id", "dev-1"));
    ck_assert(!ia_kept_conflicts(kept, "id", "dev-1"));
    ck_assert(ia_kept_conflicts(kept, "id", "dev-2"));
    ck_assert(!ia_kept_conflicts(kept, "other", "dev-2"));
    ck_assert(ia_kept_is_of(kept, &contexts[0], "id", "dev-1"));
    ck_assert(!ia_kept_is_of(kept, &contexts[0], "id", "dev-2"));
    ck_assert(!ia_kept_is_of(kept, &contexts[0], "other", "dev-1"));
    ck_assert(!ia_kept_is_of(kept, &contexts[0], NULL, "dev-1"));
    ck_assert(!ia_kept_is_of(kept, &contexts[0], "id", NULL));
    ck_assert(!ia_kept_is_of(kept, &contexts[1], "id", "dev-1"));
    ia_kept_forget_client_id(kept, "id");
    ck_assert(!ia_kept_conflicts(kept, "id", "dev-2"));
    ia_kept_free(kept);
}
END_TEST

START_TEST(client_that_was_left_to_others_owns_nothing)
{
    struct ia_kept_sessions *kept = ia_kept_new();
    ck_assert(ia_kept_add(kept, &contexts[0], "id", NULL));
    ck_assert(ia_kept_is_of(kept, &contexts[0], "id", NULL));
    ck_assert(!ia_kept_conflicts(kept, "id", "dev-1"));
    ck_assert_uint_eq(ia_kept_count(kept), 0);
    ia_kept_free(kept);
}
END_TEST

/* A pointer is used again, while the client id's session goes on under another one. */
START_TEST(forgotten_context_takes_only_its_own_client_id_along)
{
    struct ia_kept_sessions *kept = ia_kept_new();
    ck_assert(ia_kept_add(kept, &contexts[0], "id", "dev-1"));
    ck_assert(ia_kept_add(kept, &contexts[1], "id", "dev-1"));
    ia_kept_forget_context(kept, &contexts[0]);
    ck_assert(ia_kept_conflicts(kept, "id", "dev-2"));
    ia_kept_forget_context(kept, &contexts[1]);
    ck_assert(!ia_kept_conflicts(kept, "id", "dev-2"));
    ia_kept_free(kept);
}
END_TEST

START_TEST(many_entries_come_and_go_as_in_a_list)
{
    enum { MANY = 4096 };
    static bool there[MANY];
    struct ia_kept_sessions *kept = ia_kept_new();
    char id[24];
    for (int round = 0; round < 40000; round++) {
        int i = rand() % MANY;
        (void)snprintf(id, sizeof id, "c%d", i);
        if (there[i])
            ia_kept_forget_context(kept, &contexts[i]);
        else
            ck_assert(ia_kept_add(kept, &contexts[i], id, id));
        there[i] = !there[i];
    }
    size_t n = 0;
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(id, sizeof id, "c%d", i);
        ck_assert_int_eq(ia_kept_conflicts(kept, id, "other"), there[i]);
        ck_assert_int_eq(ia_kept_is_of(kept, &contexts[i], id, id), there[i]);
        n += there[i];
    }
    ck_assert_uint_eq(ia_kept_count(kept), n);
    ia_kept_free(kept);
}
END_TEST

START_TEST(table_stops_growing_at_its_bound)
{
    struct ia_kept_sessions *kept = ia_kept_new();
    char id[24];
    for (int i = 0; i < IA_KEPT_MAX + 10000; i++) {
        (void)snprintf(id, sizeof id, "c%d", i);
        ck_assert(ia_kept_add(kept, &contexts[i % 4096], id, id));
    }
    ck_assert_uint_le(ia_kept_count(kept), IA_KEPT_MAX);
    ck_assert(ia_kept_conflicts(kept, id, "other")); /* the newest is there */
    ia_kept_free(kept);
    ia_kept_free(NULL);
}
END_TEST

static void kept_cases(TCase *c)
{
    tcase_add_test(c, owner_is_the_one_that_was_added);
    tcase_add_test(c, client_that_was_left_to_others_owns_nothing);
    tcase_add_test(c, forgotten_context_takes_only_its_own_client_id_along);
    tcase_add_test(c, many_entries_come_and_go_as_in_a_list);
    tcase_add_test(c, table_stops_growing_at_its_bound);
}

int main(void)
{
    return run_suite("kept_sessions", kept_cases);
}
