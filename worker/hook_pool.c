// SPDX-License-Identifier: ISC
#include "worker/hook_pool.h"

#include "common/clock.h"
#include "sql/hook.h"
#include "worker/hook_lanes.h"
#include "worker/thread.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define IDLE_S  5 /* then the connection is closed */
#define JOIN_MS 400
#define SLOW_MS 1000 /* a call that takes longer, or its whole limit, is slow */

struct hook_thread {
    struct ia_hook_pool *pool;
    pthread_t thread;
    int wake_fd;  /* ends the waits of its connection */
    bool is_idle; /* counted in n_idle */
};

struct ia_hook_pool {
    struct ia_hook_pool_options options;
    pthread_mutex_t lock; /* of all below but `stop` */
    pthread_cond_t more;  /* by the monotonic clock */
    struct ia_hook_lanes lanes;
    struct ia_fifo done; /* struct ia_request */
    struct hook_thread threads[IA_HOOK_THREADS];
    size_t n_threads, n_idle;
    atomic_bool stop;
    bool abandoned; /* a thread has not ended: it uses the pool for ever */
};

struct ia_hook_pool *ia_hook_pool_new(const struct ia_hook_pool_options *options)
{
    struct ia_hook_pool *pool = calloc(1, sizeof *pool);
    pthread_condattr_t monotonic;
    if (!pool)
        return NULL;
    pool->options = *options;
    (void)pthread_mutex_init(&pool->lock, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&pool->more, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    return pool;
}

/* ---- threads */

static struct timespec time_of_ms(int64_t ms)
{
    return (struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
}

/* The next registration; NULL: none came for IDLE_S, or the pool stops. */
static struct ia_request *next_request(struct hook_thread *t)
{
    struct ia_hook_pool *pool = t->pool;
    struct ia_request *request = NULL;
    int64_t now = ia_monotonic_ms(), until = now + IDLE_S * 1000;
    (void)pthread_mutex_lock(&pool->lock);
    pool->n_idle += !t->is_idle;
    t->is_idle = true;
    while (!atomic_load(&pool->stop) && now < until && (request = ia_hook_lanes_take(&pool->lanes, now)) == NULL) {
        int64_t rest = ia_hook_lanes_rest_ms(&pool->lanes, now);
        struct timespec wake = time_of_ms(rest >= 0 && now + rest < until ? now + rest : until);
        (void)pthread_cond_timedwait(&pool->more, &pool->lock, &wake);
        now = ia_monotonic_ms();
    }
    t->is_idle = false;
    pool->n_idle--;
    (void)pthread_mutex_unlock(&pool->lock);
    return request;
}

/* The lane of the CA is free again, and another thread may go on with it. */
static void finish_lane(struct ia_hook_pool *pool, int64_t ca_id, enum ia_hook_pace pace)
{
    (void)pthread_mutex_lock(&pool->lock);
    ia_hook_lanes_finish(&pool->lanes, ca_id, pace, ia_monotonic_ms());
    (void)pthread_cond_broadcast(&pool->more);
    (void)pthread_mutex_unlock(&pool->lock);
}

static void finish_request(struct ia_hook_pool *pool, struct ia_request *request)
{
    uint64_t one = 1;
    (void)pthread_mutex_lock(&pool->lock);
    ia_fifo_append(&pool->done, &request->link);
    /* With the lock: once the pool stops, the descriptor may be closed, and its number that of another file. */
    ssize_t ignored = atomic_load(&pool->stop) ? 0 : write(pool->options.wake_fd, &one, sizeof one);
    (void)pthread_mutex_unlock(&pool->lock);
    (void)ignored;
}

static void set_failure(struct ia_register_request *r, const char *text)
{
    r->hook_outcome = strdup("registry_unavailable");
    r->hook_detail = strdup(text);
}

/* What the hook did, in the CA's problem. */
static void note_hook(struct ia_db *db, const struct ia_registration *item, const char *problem)
{
    struct ia_err ignored = {0};
    if (!ia_db_connected(db) && ia_db_connect_for_hooks(db, item, &ignored) != IA_OK)
        return;
    if (ia_db_note_hook(db, item->ca_id, problem, &ignored) != IA_OK)
        ia_db_disconnect(db);
}

/* Did the hook answer, or fail? */
static bool was_asked(const struct ia_hook_outcome *outcome)
{
    static const char *const outcomes[] = {"registered", "hook_refused", "registry_unavailable"};
    for (size_t i = 0; i < sizeof outcomes / sizeof outcomes[0]; i++)
        if (strcmp(outcome->outcome, outcomes[i]) == 0)
            return true;
    return false;
}

static enum ia_hook_pace ask_hook(struct hook_thread *t, struct ia_db *db, const struct ia_registration *item,
                                  struct ia_register_request *r)
{
    struct ia_hook_outcome outcome = {0};
    struct ia_err err = {0};
    char unended[160];
    int limit = t->pool->options.timeout_ms;
    int64_t begun = ia_monotonic_ms();
    if (ia_db_register_asking(db, item, limit, &outcome, &err) == IA_OK) {
        bool is_failure = strcmp(outcome.outcome, "registry_unavailable") == 0;
        r->hook_outcome = outcome.outcome;
        r->hook_detail = outcome.detail;
        r->hook_in_doubt = outcome.in_doubt;
        int64_t took = ia_monotonic_ms() - begun;
        if (was_asked(&outcome))
            note_hook(db, item, is_failure ? outcome.detail : NULL);
        return took >= limit || took >= SLOW_MS ? IA_HOOK_SLOW : IA_HOOK_FAST;
    }
    set_failure(r, err.msg);
    if (!outcome.unended)
        return ia_monotonic_ms() - begun >= limit ? IA_HOOK_SLOW : IA_HOOK_FAST;
    (void)snprintf(unended, sizeof unended, "the registration hook did not end %d ms after its time limit of %d ms",
                   IA_HOOK_GRACE_MS, limit);
    note_hook(db, item, unended);
    return IA_HOOK_UNENDED;
}

static enum ia_hook_pace register_request(struct hook_thread *t, struct ia_db *db, struct ia_request *request)
{
    struct ia_register_request *r = &request->registration;
    const struct ia_registration item = {.info = &r->info,
                                         .device_id = r->device_id,
                                         .ca_id = r->ca_id,
                                         .node = t->pool->options.node_name,
                                         .address = r->address[0] ? r->address : NULL,
                                         .terms = r->terms[0] ? r->terms : NULL,
                                         .provision = r->provision};
    struct ia_err err = {0};
    if (ia_db_connected(db) || ia_db_connect_for_hooks(db, &item, &err) == IA_OK)
        return ask_hook(t, db, &item, r);
    set_failure(r, err.msg);
    return IA_HOOK_FAST;
}

static void *run_hook_thread(void *arg)
{
    struct hook_thread *t = arg;
    struct ia_hook_pool *pool = t->pool;
    const struct ia_db_config config = {.conninfo = pool->options.conninfo,
                                        .node_name = pool->options.node_name,
                                        .insecure = pool->options.insecure,
                                        .wake_fd = t->wake_fd,
                                        .stop = &pool->stop};
    struct ia_db *db = NULL;
    struct ia_err err = {0};
    bool usable = ia_db_new(&config, &db, &err) == IA_OK;
    while (!atomic_load(&pool->stop)) {
        struct ia_request *request = next_request(t);
        if (!request && usable) {
            ia_db_disconnect(db);
            continue;
        }
        if (!request)
            continue;
        int64_t ca_id = request->registration.ca_id;
        enum ia_hook_pace pace = IA_HOOK_FAST;
        if (usable)
            pace = register_request(t, db, request);
        else
            set_failure(&request->registration, err.msg);
        finish_request(pool, request);
        finish_lane(pool, ca_id, pace);
    }
    ia_db_free(db);
    return NULL;
}

/* A thread connects when it has something to do.  With the lock. */
static bool start_thread(struct ia_hook_pool *pool)
{
    struct hook_thread *t = &pool->threads[pool->n_threads];
    t->pool = pool;
    t->is_idle = true;
    t->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (t->wake_fd >= 0 && ia_thread_start(&t->thread, run_hook_thread, t)) {
        pool->n_threads++;
        pool->n_idle++;
        return true;
    }
    if (t->wake_fd >= 0)
        close(t->wake_fd);
    return false;
}

/* ---- the worker's side */

bool ia_hook_pool_add(struct ia_hook_pool *pool, struct ia_request *request)
{
    (void)pthread_mutex_lock(&pool->lock);
    bool added = !atomic_load(&pool->stop) && ia_hook_lanes_add(&pool->lanes, request);
    if (added && ia_hook_lanes_ready(&pool->lanes, ia_monotonic_ms()) > pool->n_idle &&
        pool->n_threads < IA_HOOK_THREADS)
        (void)start_thread(pool); /* without one, the registration is given up in time */
    (void)pthread_cond_signal(&pool->more);
    (void)pthread_mutex_unlock(&pool->lock);
    return added;
}

/* With the lock. */
static void give_up_waiting(struct ia_hook_pool *pool)
{
    struct ia_request *request;
    while ((request = ia_hook_lanes_give_up(&pool->lanes, ia_monotonic_ms())) != NULL) {
        set_failure(&request->registration, "too many registrations wait for the CA's hook");
        ia_fifo_append(&pool->done, &request->link);
    }
}

struct ia_request *ia_hook_pool_take(struct ia_hook_pool *pool)
{
    (void)pthread_mutex_lock(&pool->lock);
    give_up_waiting(pool);
    struct ia_request *request = ia_requests_take(&pool->done);
    (void)pthread_mutex_unlock(&pool->lock);
    return request;
}

int64_t ia_hook_pool_wait_ms(struct ia_hook_pool *pool)
{
    (void)pthread_mutex_lock(&pool->lock);
    int64_t wait = pool->done.n > 0 ? 0 : ia_hook_lanes_give_up_ms(&pool->lanes, ia_monotonic_ms());
    (void)pthread_mutex_unlock(&pool->lock);
    return wait;
}

void ia_hook_pool_stop(struct ia_hook_pool *pool)
{
    uint64_t one = 1;
    (void)pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->stop, true);
    (void)pthread_cond_broadcast(&pool->more);
    (void)pthread_mutex_unlock(&pool->lock);
    for (size_t i = 0; i < pool->n_threads; i++) {
        struct hook_thread *t = &pool->threads[i];
        ssize_t ignored = write(t->wake_fd, &one, sizeof one);
        (void)ignored;
        if (!ia_thread_join(t->thread, JOIN_MS))
            pool->abandoned = true;
        else
            close(t->wake_fd);
    }
    if (!pool->abandoned)
        pool->n_threads = 0;
}

void ia_hook_pool_free(struct ia_hook_pool *pool)
{
    if (!pool || pool->abandoned)
        return;
    ia_hook_lanes_clear(&pool->lanes);
    ia_requests_free(&pool->done);
    (void)pthread_cond_destroy(&pool->more);
    (void)pthread_mutex_destroy(&pool->lock);
    free(pool);
}
