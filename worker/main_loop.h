// SPDX-License-Identifier: ISC
/* What the worker's thread does from start to end:
 *
 *   connect (LISTEN is committed by then) → read the whole configuration → snapshot → resync of all devices
 *   → after each wake-up: what notifications have made due, requests, a part of the resync, rows to write
 *   → when the connection is lost: log it once, answer requests as unavailable, connect again with back-off
 *
 * Whatever changed while there was no connection is found by reading everything again, so a notification is only ever a
 * hint.  All replies go through one sink in the order in which they were read.
 *
 * Each part (config_sync, device_sync, registrar, status_events, inbox, outbox) owns its state and knows nothing of the
 * loop: it gets the database and a sink for its replies.  The loop decides which part works next and passes notifications
 * on. */
#pragma once

#include "common/error.h"
#include "worker/inbox.h"
#include "worker/sink.h"
#include "worker/worker.h"

#include <stdatomic.h>

struct ia_main_loop;

/* Shared by the threads. */
struct ia_loop_control {
    int wake_fd;           /* a non-blocking eventfd: write to it after any change below and after each request */
    atomic_bool leaving;   /* finish the step that is under way, write the queued rows, and return */
    atomic_bool stop;      /* return at once */
    atomic_bool connected; /* set by the loop: there is a database to write the queued rows to */
};

/* Borrows everything.  The caller owns *out. */
IA_MUST_USE enum ia_rc ia_main_loop_new(const struct ia_worker_options *options, struct ia_loop_control *control,
                                        const struct ia_sink *sink, struct ia_main_loop **out, struct ia_err *err);
void ia_main_loop_free(struct ia_main_loop *loop);

/* Where the broker thread puts its requests. */
struct ia_inbox *ia_main_loop_inbox(struct ia_main_loop *loop);

/* Run until `leaving` or `stop` is set.  All descriptors that the loop opened are closed then.  Worker thread. */
void ia_main_loop_run(struct ia_main_loop *loop);
