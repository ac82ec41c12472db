// SPDX-License-Identifier: ISC
#include "worker/hook_pool.h"

#include "common/clock.h"
#include "sql/hook.h"
#include "worker/thread.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define WAITING_MAX   1024
#define GIVE_UP_MS    2500 /* a registration that has waited that long is refused: its client may try again */
#define GRACE_MS      1000 /* beyond the hook's limit, until the connection is dropped */
#define IDLE_S        5    /* then the connection is closed */
#define JOIN_MS       400
#define UNENDED_PAUSE 2000 /* ms without calls of a hook that did not end */

struct hook_thread {
    struct ia_hook_pool *pool;
    pthread_t thread;
    int wake_fd;   /* ends the waits of its connection */
    int64_t ca_id; /* of the registration that it works on, 0: none */
};

struct ia_hook_pool {
    struct ia_hook_pool_options options;
    pthread_mutex_t lock; /* of all below but `stop` */
    pthread_cond_t more;
    struct ia_fifo waiting, done; /* struct ia_request */
    struct hook_thread threads[IA_HOOK_THREADS];
    size_t n_threads;
    atomic_size_t n_done;
    atomic_bool stop;
    bool abandoned; /* a thread has not ended: it uses the pool for ever */
};

struct ia_hook_pool *ia_hook_pool_new(const struct ia_hook_pool_options *options)
{
    struct ia_hook_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return NULL;
    pool->options = *options;
    (void)pthread_mutex_init(&pool->lock, NULL);
    (void)pthread_cond_init(&pool->more, NULL);
    return pool;
}

/* ---- threads */

static bool is_ca_in_work(const struct ia_hook_pool *pool, int64_t ca_id)
{
    for (size_t i = 0; i < pool->n_threads; i++)
        if (pool->threads[i].ca_id == ca_id)
            return true;
    return false;
}

/* The oldest registration whose CA has no other under way. */
static struct ia_request *take_waiting(struct ia_hook_pool *pool)
{
    struct ia_request *found = NULL;
    for (size_t n = pool->waiting.n; n > 0; n--) {
        struct ia_link *link = ia_fifo_take(&pool->waiting);
        struct ia_request *request = ia_container_of(link, struct ia_request, link);
        if (!found && !is_ca_in_work(pool, request->registration.ca_id))
            found = request;
        else
            ia_fifo_append(&pool->waiting, link);
    }
    return found;
}

/* The next registration; NULL: none came for IDLE_S, or the pool stops. */
static struct ia_request *next_request(struct hook_thread *t)
{
    struct ia_hook_pool *pool = t->pool;
    struct ia_request *request = NULL;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += IDLE_S;
    (void)pthread_mutex_lock(&pool->lock);
    t->ca_id = 0;
    (void)pthread_cond_broadcast(&pool->more); /* another of this CA may go on now */
    while (!atomic_load(&pool->stop) && (request = take_waiting(pool)) == NULL)
        if (pthread_cond_timedwait(&pool->more, &pool->lock, &until) != 0)
            break;
    if (request)
        t->ca_id = request->registration.ca_id;
    (void)pthread_mutex_unlock(&pool->lock);
    return request;
}

static void finish_request(struct ia_hook_pool *pool, struct ia_request *request)
{
    uint64_t one = 1;
    (void)pthread_mutex_lock(&pool->lock);
    ia_fifo_append(&pool->done, &request->link);
    atomic_store(&pool->n_done, pool->done.n);
    (void)pthread_mutex_unlock(&pool->lock);
    ssize_t ignored = write(pool->options.wake_fd, &one, sizeof one);
    (void)ignored;
}

static enum ia_rc connect_thread(struct ia_db *db, struct ia_err *err)
{
    if (ia_db_connected(db))
        return IA_OK;
    enum ia_rc rc = ia_db_connect(db, err);
    return rc == IA_OK ? ia_db_unlisten(db, err) : rc;
}

/* A hook that does not end although it was cancelled.  The next calls wait, so that not every server process runs it. */
static void report_unended(struct hook_thread *t, struct ia_db *db)
{
    struct ia_err ignored = {0};
    char text[160];
    (void)snprintf(text, sizeof text, "the registration hook did not end %d ms after its time limit of %d ms", GRACE_MS,
                   t->pool->options.timeout_ms);
    if (connect_thread(db, &ignored) == IA_OK && ia_db_note_hook(db, t->ca_id, text, &ignored) != IA_OK)
        ia_db_disconnect(db);
    for (int i = 0; i < UNENDED_PAUSE / 100 && !atomic_load(&t->pool->stop); i++) {
        const struct timespec pause = {.tv_nsec = 100000000L};
        (void)nanosleep(&pause, NULL);
    }
}

static void set_failure(struct ia_register_request *r, const char *text)
{
    r->hook_outcome = strdup("registry_unavailable");
    r->hook_detail = strdup(text);
}

static void register_request(struct hook_thread *t, struct ia_db *db, struct ia_request *request)
{
    struct ia_register_request *r = &request->registration;
    const struct ia_hook_pool_options *options = &t->pool->options;
    const struct ia_registration item = {.info = &r->info,
                                         .device_id = r->device_id,
                                         .ca_id = r->ca_id,
                                         .node = options->node_name,
                                         .address = r->address[0] ? r->address : NULL,
                                         .provision = r->provision};
    struct ia_hook_outcome outcome = {0};
    struct ia_err err = {0};
    if (ia_monotonic_ms() - request->taken_ms >= GIVE_UP_MS) {
        set_failure(r, "too many registrations wait for the CA's hook");
        return;
    }
    enum ia_rc rc = connect_thread(db, &err);
    bool asked = rc == IA_OK;
    if (asked)
        rc = ia_db_register_asking(db, &item, options->timeout_ms, &outcome, &err);
    if (rc == IA_OK) {
        r->hook_outcome = outcome.outcome;
        r->hook_detail = outcome.detail;
        return;
    }
    set_failure(r, err.msg);
    if (asked && !ia_db_connected(db) && strstr(err.msg, "timeout"))
        report_unended(t, db);
}

static void *run_hook_thread(void *arg)
{
    struct hook_thread *t = arg;
    struct ia_hook_pool *pool = t->pool;
    const struct ia_db_config config = {.conninfo = pool->options.conninfo,
                                        .node_name = pool->options.node_name,
                                        .insecure = pool->options.insecure,
                                        .query_timeout_ms = pool->options.timeout_ms + GRACE_MS,
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
        if (usable)
            register_request(t, db, request);
        else
            set_failure(&request->registration, err.msg);
        finish_request(pool, request);
    }
    ia_db_free(db);
    return NULL;
}

/* A thread connects when it has something to do.  With the lock. */
static bool start_thread(struct ia_hook_pool *pool)
{
    struct hook_thread *t = &pool->threads[pool->n_threads];
    t->pool = pool;
    t->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (t->wake_fd >= 0 && ia_thread_start(&t->thread, run_hook_thread, t)) {
        pool->n_threads++;
        return true;
    }
    if (t->wake_fd >= 0)
        close(t->wake_fd);
    return false;
}

static size_t n_busy(const struct ia_hook_pool *pool)
{
    size_t n = 0;
    for (size_t i = 0; i < pool->n_threads; i++)
        n += pool->threads[i].ca_id != 0;
    return n;
}

/* ---- the worker's side */

bool ia_hook_pool_add(struct ia_hook_pool *pool, struct ia_request *request)
{
    (void)pthread_mutex_lock(&pool->lock);
    bool may = pool->waiting.n < WAITING_MAX && !atomic_load(&pool->stop);
    if (may && n_busy(pool) + pool->waiting.n >= pool->n_threads && pool->n_threads < IA_HOOK_THREADS)
        may = start_thread(pool) || pool->n_threads > 0;
    if (may)
        ia_fifo_append(&pool->waiting, &request->link);
    (void)pthread_cond_broadcast(&pool->more);
    (void)pthread_mutex_unlock(&pool->lock);
    return may;
}

bool ia_hook_pool_has_done(const struct ia_hook_pool *pool)
{
    return atomic_load(&pool->n_done) > 0;
}

struct ia_request *ia_hook_pool_take(struct ia_hook_pool *pool)
{
    if (!ia_hook_pool_has_done(pool))
        return NULL;
    (void)pthread_mutex_lock(&pool->lock);
    struct ia_link *link = ia_fifo_take(&pool->done);
    atomic_store(&pool->n_done, pool->done.n);
    (void)pthread_mutex_unlock(&pool->lock);
    return link ? ia_container_of(link, struct ia_request, link) : NULL;
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

static void free_requests_of(struct ia_fifo *list)
{
    struct ia_link *link;
    while ((link = ia_fifo_take(list)) != NULL)
        ia_request_free(ia_container_of(link, struct ia_request, link));
}

void ia_hook_pool_free(struct ia_hook_pool *pool)
{
    if (!pool || pool->abandoned)
        return;
    free_requests_of(&pool->waiting);
    free_requests_of(&pool->done);
    (void)pthread_cond_destroy(&pool->more);
    (void)pthread_mutex_destroy(&pool->lock);
    free(pool);
}
