// SPDX-License-Identifier: ISC
#include "tests/unit/plugin/worker_stub.h"

#include "common/clock.h"
#include "tests/unit/x509/make_cert.h"

#include <check.h>
#include <stdlib.h>

struct ia_worker {
    struct ia_queue *replies;
};

struct worker_stub worker_stub;
static struct ia_worker the_worker;

/* --- the clock
 * ------------------------------------------------------------------------------------------------------ */

int64_t clock_us = 1000000000;

int64_t __wrap_ia_monotonic_us(void);
int64_t __wrap_ia_wall_us(void);
int64_t __wrap_ia_wall_s(void);

int64_t __wrap_ia_monotonic_us(void)
{
    return clock_us;
}

int64_t __wrap_ia_wall_us(void)
{
    return (int64_t)MC_NOW * 1000000 + clock_us - 1000000000;
}

int64_t __wrap_ia_wall_s(void)
{
    return __wrap_ia_wall_us() / 1000000;
}

void clock_advance_ms(int64_t ms)
{
    clock_us += ms * 1000;
}

/* --- the worker
 * ----------------------------------------------------------------------------------------------------- */

static struct ia_queue *replies(void)
{
    if (!the_worker.replies)
        the_worker.replies = ia_queue_new(100000);
    ck_assert_ptr_nonnull(the_worker.replies);
    return the_worker.replies;
}

enum ia_rc ia_worker_start(const struct ia_worker_options *options, struct ia_worker **out, struct ia_err *err)
{
    ck_assert_ptr_nonnull(options->db_conninfo);
    if (worker_stub.refuses)
        return ia_fail(err, IA_UNAVAILABLE, "no thread");
    (void)replies();
    worker_stub.started = true;
    *out = &the_worker;
    return IA_OK;
}

bool ia_worker_ask(struct ia_worker *worker, struct ia_request *request)
{
    ck_assert_ptr_eq(worker, &the_worker);
    if (!request)
        return false;
    if (worker_stub.full) {
        ia_request_free(request);
        return false;
    }
    ck_assert_uint_lt(worker_stub.n_requests, WORKER_REQUESTS_MAX);
    worker_stub.requests[worker_stub.n_requests++] = request;
    return true;
}

struct ia_reply *ia_worker_reply(struct ia_worker *worker)
{
    return (struct ia_reply *)ia_queue_pop(worker->replies);
}

struct ia_reply *ia_worker_reply_wait(struct ia_worker *worker, int64_t wait_us)
{
    struct ia_link *link = ia_queue_pop(worker->replies);
    if (!link) {
        clock_us += wait_us;
        worker_stub.waited_us += wait_us;
    }
    return (struct ia_reply *)link;
}

bool ia_worker_has_reply(const struct ia_worker *worker)
{
    return !ia_queue_is_empty(worker->replies);
}

bool ia_worker_stop(struct ia_worker *worker)
{
    struct ia_link *link;
    if (!worker)
        return true;
    while ((link = ia_queue_pop(worker->replies)) != NULL)
        ia_reply_free((struct ia_reply *)link);
    ia_queue_free(worker->replies);
    worker->replies = NULL;
    worker_forget();
    worker_stub.stopped = true;
    return !worker_stub.hangs;
}

void worker_reply(struct ia_reply *reply)
{
    ck_assert_ptr_nonnull(reply);
    ck_assert(ia_queue_push(replies(), &reply->link));
}

size_t worker_asked(enum ia_request_kind kind)
{
    size_t n = 0;
    for (size_t i = 0; i < worker_stub.n_requests; i++)
        n += worker_stub.requests[i]->kind == kind;
    return n;
}

const struct ia_request *worker_last(enum ia_request_kind kind)
{
    for (size_t i = worker_stub.n_requests; i > 0; i--)
        if (worker_stub.requests[i - 1]->kind == kind)
            return worker_stub.requests[i - 1];
    return NULL;
}

void worker_forget(void)
{
    for (size_t i = 0; i < worker_stub.n_requests; i++)
        ia_request_free(worker_stub.requests[i]);
    worker_stub.n_requests = 0;
}
