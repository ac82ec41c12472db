// SPDX-License-Identifier: ISC
/* A worker without a thread, in place of plugin/worker.c: keeps the requests for the test to look at, and returns the
 * replies that the test has put down.  Time is the test's too: waiting moves the clock. */
#pragma once

#include "worker/worker.h"

#include <stddef.h>

#define WORKER_REQUESTS_MAX 65536

extern struct worker_stub {
    struct ia_request *requests[WORKER_REQUESTS_MAX]; /* oldest first */
    size_t n_requests;
    bool full; /* requests are refused */
    bool started, stopped;
    bool refuses;      /* to start */
    bool hangs;        /* cannot be stopped in time */
    int64_t waited_us; /* by the broker thread, all in all */
} worker_stub;

/* Put a reply down, as the next one. */
void worker_reply(struct ia_reply *reply);

/* Requests of that kind so far; the newest of them, or NULL. */
size_t worker_asked(enum ia_request_kind kind);
const struct ia_request *worker_last(enum ia_request_kind kind);

/* Forget the requests so far. */
void worker_forget(void);

/* The clock that everything under test reads (linked with --wrap). */
extern int64_t clock_us;
void clock_advance_ms(int64_t ms);
