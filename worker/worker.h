// SPDX-License-Identifier: ISC
/* The worker: the one thread that owns the connection to PostgreSQL and the fetching of keys.  It takes requests from
 * the broker thread and answers in order; it listens for changes, reads again what changed and sends whole
 * snapshots. */
#pragma once

#include "common/error.h"
#include "worker/channel.h"

struct ia_worker;

struct ia_worker_options {
    char *db_conninfo; /* secret */
    char *node_name;
    char *jwks_ca_file; /* NULL: the system's CAs */
    bool insecure_http_jwks;
};

/* Start the thread.  It connects, loads and goes on trying for ever.  `options` must outlive it. */
IA_MUST_USE enum ia_rc ia_worker_start(const struct ia_worker_options *options, struct ia_worker **out,
                                       struct ia_err *err);

/* Give a request over.  False when too many are waiting: the request has been freed.  Broker thread. */
bool ia_worker_ask(struct ia_worker *worker, struct ia_request *request);

/* The next reply, or NULL: at once, or after at most wait_us.  Owned by the caller.  Broker thread. */
struct ia_reply *ia_worker_reply(struct ia_worker *worker, int64_t wait_us);
bool ia_worker_has_reply(const struct ia_worker *worker);

/* Stop within two seconds, in whatever state the database is, and free.  Events that are still queued are written where
 * the database answers in that time.  False: the thread hangs in a resolver; it goes on using its options until the
 * process ends. */
bool ia_worker_stop(struct ia_worker *worker);
