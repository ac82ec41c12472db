// SPDX-License-Identifier: ISC
#include "common/queue.h"

#include "common/clock.h"

#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

struct item {
    struct ia_link link;
    int number;
};

static int number_of(struct ia_link *link)
{
    return link ? ((struct item *)link)->number : -1;
}

START_TEST(queue_gives_back_in_the_order_of_pushing)
{
    struct ia_queue *q = ia_queue_new(3);
    struct item items[3] = {{.number = 1}, {.number = 2}, {.number = 3}};
    ck_assert(ia_queue_is_empty(q));
    ck_assert_ptr_null(ia_queue_pop(q));
    for (int round = 0; round < 2; round++) { /* also after it has been empty */
        for (int i = 0; i < 3; i++)
            ck_assert(ia_queue_push(q, &items[i].link));
        ck_assert(!ia_queue_is_empty(q));
        for (int i = 0; i < 3; i++)
            ck_assert_int_eq(number_of(ia_queue_pop(q)), i + 1);
        ck_assert_ptr_null(ia_queue_pop(q));
        ck_assert(ia_queue_is_empty(q));
    }
    ia_queue_free(q);
}
END_TEST

START_TEST(queue_full_refuses_until_one_is_taken)
{
    struct ia_queue *q = ia_queue_new(2);
    struct item items[3] = {{.number = 1}, {.number = 2}, {.number = 3}};
    ck_assert(ia_queue_push(q, &items[0].link));
    ck_assert(ia_queue_push(q, &items[1].link));
    ck_assert(!ia_queue_push(q, &items[2].link));
    ck_assert_int_eq(number_of(ia_queue_pop(q)), 1);
    ck_assert(ia_queue_push(q, &items[2].link));
    ck_assert_int_eq(number_of(ia_queue_pop(q)), 2);
    ck_assert_int_eq(number_of(ia_queue_pop(q)), 3);
    ia_queue_free(q);
}
END_TEST

START_TEST(queue_closed_takes_nothing_and_gives_what_is_there)
{
    struct ia_queue *q = ia_queue_new(2);
    struct item items[2] = {{.number = 1}, {.number = 2}};
    ck_assert(ia_queue_push(q, &items[0].link));
    ia_queue_close(q);
    ck_assert(!ia_queue_push(q, &items[1].link));
    ck_assert(!ia_queue_push_wait(q, &items[1].link));
    ck_assert_int_eq(number_of(ia_queue_pop_wait(q, 60000000)), 1);
    ck_assert_ptr_null(ia_queue_pop_wait(q, 60000000)); /* at once: nothing more can come */
    ia_queue_free(q);
}
END_TEST

START_TEST(queue_pop_wait_comes_back_empty_when_its_time_is_over)
{
    struct ia_queue *q = ia_queue_new(2);
    int64_t begun = ia_monotonic_us();
    ck_assert_ptr_null(ia_queue_pop_wait(q, 30000));
    ck_assert_int_ge(ia_monotonic_us() - begun, 30000);
    ck_assert_ptr_null(ia_queue_pop_wait(q, 0));
    ia_queue_free(q);
}
END_TEST

START_TEST(queue_free_takes_null)
{
    ia_queue_free(NULL);
}
END_TEST

/* --- two threads
 * ---------------------------------------------------------------------------------------------------- */

struct peer {
    struct ia_queue *q;
    struct item item;
    atomic_int begun;
    bool pushed;
    struct ia_link *popped;
};

static void *push_when_there_is_room(void *arg)
{
    struct peer *peer = arg;
    peer->begun = 1;
    peer->pushed = ia_queue_push_wait(peer->q, &peer->item.link);
    return NULL;
}

static void *pop_when_there_is_something(void *arg)
{
    struct peer *peer = arg;
    peer->begun = 1;
    peer->popped = ia_queue_pop_wait(peer->q, 60000000);
    return NULL;
}

static pthread_t start(void *(*run)(void *), struct peer *peer)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, run, peer), 0);
    while (!peer->begun)
        sched_yield();
    return thread;
}

START_TEST(queue_push_wait_goes_on_when_one_is_taken)
{
    struct peer peer = {.q = ia_queue_new(1), .item = {.number = 2}};
    struct item first = {.number = 1};
    ck_assert(ia_queue_push(peer.q, &first.link));
    pthread_t thread = start(push_when_there_is_room, &peer);
    ck_assert_int_eq(number_of(ia_queue_pop_wait(peer.q, 60000000)), 1);
    ck_assert_int_eq(number_of(ia_queue_pop_wait(peer.q, 60000000)), 2);
    pthread_join(thread, NULL);
    ck_assert(peer.pushed);
    ia_queue_free(peer.q);
}
END_TEST

START_TEST(queue_close_wakes_one_that_waits_for_room)
{
    struct peer peer = {.q = ia_queue_new(1), .item = {.number = 2}};
    struct item first = {.number = 1};
    ck_assert(ia_queue_push(peer.q, &first.link));
    pthread_t thread = start(push_when_there_is_room, &peer);
    ia_queue_close(peer.q);
    pthread_join(thread, NULL);
    ck_assert(!peer.pushed);
    ck_assert_int_eq(number_of(ia_queue_pop(peer.q)), 1);
    ck_assert_ptr_null(ia_queue_pop(peer.q));
    ia_queue_free(peer.q);
}
END_TEST

START_TEST(queue_close_wakes_one_that_waits_for_items)
{
    struct peer peer = {.q = ia_queue_new(1)};
    pthread_t thread = start(pop_when_there_is_something, &peer);
    ia_queue_close(peer.q);
    pthread_join(thread, NULL);
    ck_assert_ptr_null(peer.popped);
    ia_queue_free(peer.q);
}
END_TEST

START_TEST(queue_push_wakes_one_that_waits_for_items)
{
    struct peer peer = {.q = ia_queue_new(1), .item = {.number = 7}};
    pthread_t thread = start(pop_when_there_is_something, &peer);
    ck_assert(ia_queue_push(peer.q, &peer.item.link));
    pthread_join(thread, NULL);
    ck_assert_int_eq(number_of(peer.popped), 7);
    ia_queue_free(peer.q);
}
END_TEST

enum { MANY = 20000 };

struct stream {
    struct ia_queue *q;
    struct item items[MANY];
};

static void *produce(void *arg)
{
    struct stream *stream = arg;
    for (int i = 0; i < MANY; i++) {
        stream->items[i].number = i; /* written before, read after the queue: what TSan looks at */
        if (!ia_queue_push_wait(stream->q, &stream->items[i].link))
            break;
    }
    return NULL;
}

START_TEST(queue_between_threads_loses_nothing_and_keeps_the_order)
{
    struct stream *stream = calloc(1, sizeof *stream);
    pthread_t thread;
    ck_assert_ptr_nonnull(stream);
    stream->q = ia_queue_new(8);
    ck_assert_int_eq(pthread_create(&thread, NULL, produce, stream), 0);
    for (int i = 0; i < MANY; i++) { /* both ways of taking */
        struct ia_link *link = i % 2 ? ia_queue_pop(stream->q) : NULL;
        ck_assert_int_eq(number_of(link ? link : ia_queue_pop_wait(stream->q, 60000000)), i);
    }
    pthread_join(thread, NULL);
    ck_assert(ia_queue_is_empty(stream->q));
    ia_queue_free(stream->q);
    free(stream);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("queue");
    TCase *c = tcase_create("queue");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, queue_gives_back_in_the_order_of_pushing);
    tcase_add_test(c, queue_full_refuses_until_one_is_taken);
    tcase_add_test(c, queue_closed_takes_nothing_and_gives_what_is_there);
    tcase_add_test(c, queue_pop_wait_comes_back_empty_when_its_time_is_over);
    tcase_add_test(c, queue_free_takes_null);
    tcase_add_test(c, queue_push_wait_goes_on_when_one_is_taken);
    tcase_add_test(c, queue_close_wakes_one_that_waits_for_room);
    tcase_add_test(c, queue_close_wakes_one_that_waits_for_items);
    tcase_add_test(c, queue_push_wakes_one_that_waits_for_items);
    tcase_add_test(c, queue_between_threads_loses_nothing_and_keeps_the_order);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
