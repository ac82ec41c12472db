// SPDX-License-Identifier: ISC
/* The small shared pieces: list, reference count, hash, problem callback, out-of-memory error. */
#include "common/error.h"
#include "common/fifo.h"
#include "common/hash.h"
#include "common/problem.h"
#include "common/ref.h"

#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct numbered {
    int number;
    struct ia_link link; /* not the first member */
};

static int take_number(struct ia_fifo *list)
{
    struct ia_link *link = ia_fifo_take(list);
    return link ? ia_container_of(link, struct numbered, link)->number : -1;
}

START_TEST(fifo_gives_back_in_the_order_of_appending_also_after_it_was_empty)
{
    struct ia_fifo list = {0};
    struct numbered items[3] = {{.number = 1}, {.number = 2}, {.number = 3}};
    for (int round = 0; round < 2; round++) {
        ck_assert_int_eq(take_number(&list), -1);
        for (int i = 0; i < 3; i++)
            ia_fifo_append(&list, &items[i].link);
        ck_assert_uint_eq(list.n, 3);
        for (int i = 0; i < 3; i++)
            ck_assert_int_eq(take_number(&list), i + 1);
        ck_assert_uint_eq(list.n, 0);
    }
}
END_TEST

START_TEST(fifo_item_may_be_appended_again_after_it_was_taken)
{
    struct ia_fifo list = {0};
    struct numbered items[2] = {{.number = 1}, {.number = 2}};
    ia_fifo_append(&list, &items[0].link);
    ia_fifo_append(&list, &items[1].link);
    ia_fifo_append(&list, ia_fifo_take(&list));
    ck_assert_int_eq(take_number(&list), 2);
    ck_assert_int_eq(take_number(&list), 1);
    ck_assert_int_eq(take_number(&list), -1);
}
END_TEST

START_TEST(ref_last_drop_is_known_once)
{
    struct ia_ref ref;
    ia_ref_init(&ref);
    ia_ref_take(&ref);
    ck_assert(!ia_ref_drop(&ref));
    ck_assert(ia_ref_drop(&ref));
}
END_TEST

#define THREADS 4
#define TURNS   100000

static struct ia_ref shared;

static void *take_and_drop(void *arg)
{
    int *last = arg;
    for (int i = 0; i < TURNS; i++) {
        ia_ref_take(&shared);
        *last += ia_ref_drop(&shared);
    }
    *last += ia_ref_drop(&shared); /* the one that was taken for this thread */
    return NULL;
}

START_TEST(ref_of_several_threads_has_one_last_drop)
{
    pthread_t threads[THREADS];
    int last[THREADS] = {0}, total = 0;
    ia_ref_init(&shared);
    for (int i = 0; i < THREADS; i++) {
        ia_ref_take(&shared);
        ck_assert_int_eq(pthread_create(&threads[i], NULL, take_and_drop, &last[i]), 0);
    }
    total += ia_ref_drop(&shared);
    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        total += last[i];
    }
    ck_assert_int_eq(total, 1);
}
END_TEST

/* Test vectors of FNV-1a (64 bits) by its authors, with our final mix on top. */
static const struct {
    const char *text;
    uint64_t fnv1a;
} vectors[] = {
    {"", UINT64_C(0xcbf29ce484222325)},
    {"a", UINT64_C(0xaf63dc4c8601ec8c)},
    {"foobar", UINT64_C(0x85944171f73967e8)},
};

START_TEST(hash_is_fnv1a_with_a_final_mix)
{
    uint64_t want = vectors[_i].fnv1a ^ vectors[_i].fnv1a >> 32;
    ck_assert_uint_eq(ia_hash_text(0, vectors[_i].text), want);
    ck_assert_uint_eq(ia_hash_bytes(0, vectors[_i].text, strlen(vectors[_i].text)), want);
}
END_TEST

START_TEST(hash_depends_on_the_seed_and_counts_nul_bytes)
{
    ck_assert_uint_ne(ia_hash_text(1, "a"), ia_hash_text(2, "a"));
    ck_assert_uint_ne(ia_hash_bytes(0, "a\0", 2), ia_hash_bytes(0, "a", 1));
}
END_TEST

static void keep_problem(void *ctx, int64_t id, const char *text)
{
    char *out = ctx;
    (void)snprintf(out, 32, "%d %s", (int)id, text);
}

START_TEST(problem_reaches_its_callback_and_may_have_none)
{
    char got[32] = "";
    const struct ia_problem_callback to = {keep_problem, got}, silent = {0};
    ia_problem_report(NULL, 1, "x");
    ia_problem_report(&silent, 1, "x");
    ck_assert_str_eq(got, "");
    ia_problem_report(&to, 7, "bad row");
    ck_assert_str_eq(got, "7 bad row");
}
END_TEST

START_TEST(nomem_fills_the_error_and_is_its_code)
{
    struct ia_err err = {0};
    ck_assert_int_eq(ia_nomem(&err), IA_NOMEM);
    ck_assert_int_eq(err.rc, IA_NOMEM);
    ck_assert_str_eq(err.msg, "out of memory");
    ck_assert_int_eq(ia_nomem(NULL), IA_NOMEM);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("containers");
    TCase *c = tcase_create("containers");
    tcase_add_test(c, fifo_gives_back_in_the_order_of_appending_also_after_it_was_empty);
    tcase_add_test(c, fifo_item_may_be_appended_again_after_it_was_taken);
    tcase_add_test(c, ref_last_drop_is_known_once);
    tcase_add_test(c, ref_of_several_threads_has_one_last_drop);
    tcase_add_loop_test(c, hash_is_fnv1a_with_a_final_mix, 0, (int)(sizeof vectors / sizeof vectors[0]));
    tcase_add_test(c, hash_depends_on_the_seed_and_counts_nul_bytes);
    tcase_add_test(c, problem_reaches_its_callback_and_may_have_none);
    tcase_add_test(c, nomem_fills_the_error_and_is_its_code);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
