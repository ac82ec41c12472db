// SPDX-License-Identifier: ISC
/* The broker thread's requests: a bounded queue, from which the worker hands each request to the part that serves it. */
#pragma once

#include "common/error.h"
#include "worker/config_sync.h"
#include "worker/device_sync.h"
#include "worker/outbox.h"
#include "worker/psk_sync.h"
#include "worker/registrar.h"
#include "worker/worker.h"

struct ia_inbox;

/* The parts that serve requests; borrowed. */
struct ia_inbox_parts {
    struct ia_db *db;
    struct ia_outbox *outbox;
    struct ia_config_sync *config;
    struct ia_device_sync *devices;
    struct ia_psk_sync *psks;
    struct ia_registrar *registrar;
};

/* NULL: out of memory, also where a part is NULL.  `options` must outlive it; wake_fd: an eventfd that wakes the worker. */
struct ia_inbox *ia_inbox_new(const struct ia_inbox_parts *parts, const struct ia_worker_options *options, int wake_fd);
void ia_inbox_free(struct ia_inbox *inbox); /* with the requests in it */

/* ---- broker thread */

/* Takes the request over.  False when too many are waiting or the inbox is closed: the request has been freed. */
bool ia_inbox_put(struct ia_inbox *inbox, struct ia_request *request);

/* Accept no more requests. */
void ia_inbox_close(struct ia_inbox *inbox);

/* ---- worker thread */

bool ia_inbox_due(const struct ia_inbox *inbox);

/* Milliseconds until a request that waits for its time is due, -1: there is none. */
int64_t ia_inbox_wait_ms(const struct ia_inbox *inbox);

/* Serve the requests that are there and those that arrive meanwhile, for a bounded time: a notified change gets its turn
 * at once.  Questions may still be under way then, which ia_inbox_serve continues.  A failure means that the connection was
 * lost. */
IA_MUST_USE enum ia_rc ia_inbox_serve(struct ia_inbox *inbox, struct ia_err *err);

/* Wait for the answers to what is under way: before any other statement on the connection. */
IA_MUST_USE enum ia_rc ia_inbox_finish(struct ia_inbox *inbox, struct ia_err *err);

/* At the end: no registration waits for a hook any more, and all descriptors are closed. */
void ia_inbox_stop(struct ia_inbox *inbox);

/* Without a connection: refuse the questions, so that none waits for the next connection, and keep the rows that are to
 * be written. */
void ia_inbox_refuse(struct ia_inbox *inbox);
