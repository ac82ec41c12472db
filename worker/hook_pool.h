// SPDX-License-Identifier: ISC
/* Registrations under CAs with a hook: a hook may take its time, so they have connections and threads of their own, started
 * when the first such registration comes, and hold up nothing else.  One registration of a CA at a time; a slow hook holds
 * up its own CA only (worker/hook_lanes.h).
 *
 * What was registered is not answered from here: only one connection may say what the registry holds, because its answers
 * and the changes that it hears of have one order.  The registrar looks the device up there. */
#pragma once

#include "common/error.h"
#include "worker/channel.h"

#include <stdbool.h>

#define IA_HOOK_THREADS 8

struct ia_hook_pool;

struct ia_hook_pool_options {
    const char *conninfo, *node_name; /* borrowed */
    bool insecure;
    int timeout_ms; /* of one hook */
    int wake_fd;    /* eventfd: written to when a registration is done */
};

struct ia_hook_pool *ia_hook_pool_new(const struct ia_hook_pool_options *options); /* NULL: out of memory */

/* Take over a registration.  False (too many of its CA are waiting): it is still the caller's. */
bool ia_hook_pool_add(struct ia_hook_pool *pool, struct ia_request *request);

/* A registration that is done: `request` is the caller's again, with request->registration.hook_outcome, hook_detail and
 * hook_in_doubt set.  One that has waited too long is done as a failure, whatever the threads are at.  NULL: none. */
struct ia_request *ia_hook_pool_take(struct ia_hook_pool *pool);

/* The milliseconds until ia_hook_pool_take has one, as far as is known (a thread that is done writes to wake_fd); -1: nothing
 * waits. */
int64_t ia_hook_pool_wait_ms(struct ia_hook_pool *pool);

/* End the threads and close what they opened; by the thread that has added the requests, whose descriptors these are.  A
 * thread that waits in the resolver of the C library is left to itself, with the pool. */
void ia_hook_pool_stop(struct ia_hook_pool *pool);
void ia_hook_pool_free(struct ia_hook_pool *pool);
