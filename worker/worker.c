// SPDX-License-Identifier: ISC
/* The life of the worker:
 *
 *   connect (LISTEN is committed by then) → read all configuration → snapshot → walk all devices
 *   → for each wake-up: what notifications made dirty, then requests, then a part of the walk, then rows to write
 *   → when the connection is lost: say so once, answer requests as unavailable, try again with back-off
 *
 * Whatever changed while the connection was down is found by reading everything again, so a notification is only ever a
 * hint.  All replies go through one queue in the order in which they were read. */
#include "worker/private.h"

#include "sql/backoff.h"
#include "worker/waker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define REQUESTS_MAX  8192
#define REPLIES_MAX   256 /* batches of devices are large: the broker thread applies them in slices */
#define HEARTBEAT_MS  5000
#define REREAD_MS     600000 /* certificates expire without a notification: their problem is told by then */
#define SETTLED_MS    10000
#define BUSY_MS       250
#define WRITE_WAIT_MS 1000 /* at the end, for rows that are queued … */
#define STOP_WAIT_MS  900  /* … and then for the thread */
#define FETCH_STEP_MS 20
#define IDLE_MS       1000

void ia_worker_send(struct ia_worker *w, struct ia_reply *reply)
{
    bool first = ia_queue_is_empty(w->replies);
    if (reply && !ia_queue_push_wait(w->replies, &reply->link))
        ia_reply_free(reply); /* closed: the broker thread is leaving */
    else if (first)
        ia_waker_wake();
}

void ia_worker_say(struct ia_worker *w, enum ia_log_level level, const char *text)
{
    struct ia_reply *reply = ia_reply_new(IA_REPLY_LOG, text);
    if (reply)
        reply->level = level;
    ia_worker_send(w, reply);
}

static bool is_ending(const struct ia_worker *w)
{
    return atomic_load(&w->stop) || atomic_load(&w->leaving);
}

/* ---- what is told of troubles */

/* Each trouble is told once, however often the worker runs into it, until all is well again. */
static bool is_news(struct ia_worker *w, const char *text)
{
    for (size_t i = 0; i < w->n_troubles; i++)
        if (strcmp(w->troubles[i], text) == 0)
            return false;
    if (w->n_troubles == IA_TROUBLES_MAX)
        return false;
    (void)snprintf(w->troubles[w->n_troubles++], sizeof w->troubles[0], "%s", text);
    return true;
}

static void tell_trouble(struct ia_worker *w, enum ia_log_level level, const char *what, const struct ia_err *err)
{
    char line[256];
    (void)snprintf(line, sizeof line, "%s: %s", what, err->msg);
    if (is_news(w, err->msg))
        ia_worker_say(w, level, line);
}

static void tell_well(struct ia_worker *w, const char *text)
{
    if (w->n_troubles)
        ia_worker_say(w, IA_LOG_NOTICE, text);
    w->n_troubles = 0;
    w->busy = false;
}

static enum ia_rc tell_state(struct ia_worker *w, bool up, struct ia_err *err)
{
    struct ia_reply *reply = ia_reply_new(IA_REPLY_STATE, NULL);
    atomic_store(&w->up, up);
    if (!reply)
        return ia_nomem(err);
    reply->connected = up;
    ia_worker_send(w, reply);
    return IA_OK;
}

/* ---- connected */

/* Connect and read everything. */
static enum ia_rc begin(struct ia_worker *w, struct ia_err *err)
{
    enum ia_rc rc = ia_db_connect(w->db, err);
    if (rc != IA_OK)
        return rc;
    w->dirty = IA_LOAD_ALL;
    if (w->last_event < 0) {
        rc = ia_db_last_event(w->db, &w->last_event, err);
        w->first_event = w->last_event;
    } else {
        w->events_from = 0;
    }
    if (rc == IA_OK)
        rc = ia_worker_reload(w, err);
    if (rc == IA_UNAVAILABLE && ia_db_connected(w->db) && w->configured)
        rc = IA_OK; /* a table is locked: its step tries again, and devices need not wait for that */
    if (rc == IA_OK)
        rc = tell_state(w, true, err);
    if (rc != IA_OK)
        return rc;
    w->walk_again = true;
    w->next_heartbeat_ms = 0;
    w->next_reread_ms = ia_worker_now_ms() + REREAD_MS;
    memset(w->not_before_ms, 0, sizeof w->not_before_ms);
    tell_well(w, "the database is back");
    w->was_up = true;
    w->connected_ms = ia_worker_now_ms();
    return IA_OK;
}

static enum ia_rc beat(struct ia_worker *w, struct ia_err *err)
{
    if (ia_worker_now_ms() - w->connected_ms > SETTLED_MS)
        w->attempts = 0; /* a connection that is lost at once again is tried with back-off */
    enum ia_rc rc = ia_outbox_heartbeat(w->outbox, w->db, err);
    if (rc != IA_OK)
        return rc;
    w->next_heartbeat_ms = ia_worker_now_ms() + HEARTBEAT_MS;
    ia_worker_send(w, ia_reply_new(IA_REPLY_CONTACT, NULL));
    return IA_OK;
}

static enum ia_rc write_rows(struct ia_worker *w, struct ia_err *err)
{
    return ia_outbox_write(w->outbox, w->db, err);
}

static bool reload_due(const struct ia_worker *w)
{
    return w->dirty || w->issuers_stale;
}

static bool changed_due(const struct ia_worker *w)
{
    return w->n_changed > 0;
}

static bool requests_due(const struct ia_worker *w)
{
    return !ia_queue_is_empty(w->requests);
}

static bool publish_due(const struct ia_worker *w)
{
    return w->events_from < INT64_MAX;
}

static bool walk_due(const struct ia_worker *w)
{
    return w->walking || w->walk_again;
}

static bool beat_due(const struct ia_worker *w)
{
    return ia_worker_now_ms() >= w->next_heartbeat_ms;
}

static bool write_due(const struct ia_worker *w)
{
    return ia_outbox_due(w->outbox);
}

/* What there is to do, in the order of urgency. */
static const struct {
    bool (*due)(const struct ia_worker *w);
    enum ia_rc (*run)(struct ia_worker *w, struct ia_err *err);
} steps[IA_STEPS] = {
    {reload_due, ia_worker_reload},  {changed_due, ia_worker_read_changed},
    {requests_due, ia_worker_serve}, {publish_due, ia_worker_publish},
    {walk_due, ia_worker_walk},      {beat_due, beat},
    {write_due, write_rows},
};

/* One step, if it is due.  A statement that the database refuses for now (a lock, say), with the connection sound, is
 * tried again a little later, and holds up none of the other steps. */
static enum ia_rc take_step(struct ia_worker *w, size_t i, struct ia_err *err)
{
    if (!steps[i].due(w) || ia_worker_now_ms() < w->not_before_ms[i])
        return IA_OK;
    enum ia_rc rc = steps[i].run(w, err);
    if (rc != IA_UNAVAILABLE || !ia_db_connected(w->db))
        return rc;
    tell_trouble(w, IA_LOG_WARNING, "the database is busy", err);
    w->not_before_ms[i] = ia_worker_now_ms() + BUSY_MS;
    w->busy = true;
    return IA_OK;
}

/* One turn of everything that is due. */
static enum ia_rc turn(struct ia_worker *w, struct ia_err *err)
{
    bool was_busy = w->busy;
    enum ia_rc rc = IA_OK;
    w->busy = false;
    ia_worker_take_notifications(w);
    if (ia_worker_now_ms() >= w->next_reread_ms) {
        w->dirty = IA_LOAD_ALL;
        w->next_reread_ms = ia_worker_now_ms() + REREAD_MS;
    }
    for (size_t i = 0; rc == IA_OK && i < IA_STEPS; i++) {
        rc = take_step(w, i, err);
        w->busy |= steps[i].due(w) && ia_worker_now_ms() < w->not_before_ms[i];
    }
    if (rc == IA_OK && was_busy && !w->busy)
        tell_well(w, "the database is no longer busy");
    ia_worker_fetch_keys(w);
    return rc;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* How long nothing is due. */
static int idle_ms(const struct ia_worker *w)
{
    int64_t now = ia_worker_now_ms(), wait = IDLE_MS;
    for (size_t i = 0; i < IA_STEPS; i++)
        if (steps[i].due(w))
            wait = least(wait, w->not_before_ms[i] - now);
    if (ia_fetcher_busy(w->fetcher))
        wait = least(wait, FETCH_STEP_MS);
    int64_t keys = ia_refresh_wait_ms(w->refresh, now);
    if (keys >= 0)
        wait = least(wait, keys);
    return wait > 0 ? (int)wait : 0;
}

/* The end: requests are no longer answered, but rows are written where the database takes them. */
static void write_the_rest(struct ia_worker *w)
{
    struct ia_err err = {0};
    ia_worker_refuse(w);
    while (ia_outbox_due(w->outbox) && !atomic_load(&w->stop))
        if (ia_outbox_write(w->outbox, w->db, &err) != IA_OK)
            return;
}

static void run_connected(struct ia_worker *w, struct ia_err *err)
{
    enum ia_rc rc = begin(w, err);
    while (rc == IA_OK && !is_ending(w)) {
        rc = turn(w, err);
        if (rc == IA_OK)
            rc = ia_db_wait(w->db, idle_ms(w), err);
    }
    if (rc == IA_OK)
        write_the_rest(w);
}

/* ---- not connected */

/* Wait for the next attempt, still answering. */
static void pause_disconnected(struct ia_worker *w)
{
    struct ia_err ignored = {0};
    int64_t until = ia_worker_now_ms() + ia_backoff_ms(w->attempts++, (uint32_t)ia_monotonic_us() * 2654435761u);
    while (!is_ending(w)) {
        ia_worker_refuse(w);
        ia_worker_fetch_keys(w);
        ia_worker_adopt_keys(w);
        int64_t left = until - ia_worker_now_ms();
        if (left <= 0)
            return;
        if (ia_fetcher_busy(w->fetcher))
            left = least(left, FETCH_STEP_MS);
        if (ia_db_wait(w->db, (int)left, &ignored) != IA_OK)
            return;
    }
}

/* A table of file descriptors of the thread's own, with nothing of the broker's in it: where threads share one, the
 * kernel counts references in each of their system calls, which costs the broker 5 % of its CPU for a message.  From
 * here on what the thread opens it must close itself; wake_fd alone is in both tables.  A kernel (before 5.9) or
 * sandbox that refuses leaves the table shared, which is only slower. */
static void part_from_broker_files(const struct ia_worker *w)
{
    unsigned wake = (unsigned)w->wake_fd, first = STDERR_FILENO + 1;
    if (close_range(wake + 1, ~0U, CLOSE_RANGE_UNSHARE) == 0 && wake > first)
        (void)close_range(first, wake - 1, 0);
}

static void close_own_files(struct ia_worker *w)
{
    ia_db_disconnect(w->db);
    ia_fetcher_free(w->fetcher);
    w->fetcher = NULL;
}

static void *worker_main(void *arg)
{
    struct ia_worker *w = arg;
    part_from_broker_files(w);
    while (!is_ending(w)) {
        struct ia_err err = {0};
        run_connected(w, &err);
        if (is_ending(w))
            break;
        ia_db_disconnect(w->db);
        w->walking = false;
        (void)tell_state(w, false, NULL); /* it is told after each attempt */
        tell_trouble(w, IA_LOG_ERROR, w->was_up ? "lost the database" : "no database", &err);
        w->was_up = false;
        pause_disconnected(w);
    }
    close_own_files(w);
    return NULL;
}

/* ---- start and stop */

static void worker_free(struct ia_worker *w)
{
    struct ia_link *link;
    while (w->requests && (link = ia_queue_pop(w->requests)) != NULL)
        ia_request_free((struct ia_request *)(void *)link);
    while (w->replies && (link = ia_queue_pop(w->replies)) != NULL)
        ia_reply_free((struct ia_reply *)(void *)link);
    ia_queue_free(w->requests);
    ia_queue_free(w->replies);
    ia_fetcher_free(w->fetcher);
    ia_refresh_free(w->refresh);
    ia_builder_free(w->builder);
    ia_rows_free(w->issuer_rows);
    ia_outbox_free(w->outbox);
    ia_db_free(w->db);
    ia_worker_forget_changed(w);
    if (w->wake_fd >= 0)
        close(w->wake_fd);
    free(w);
}

static enum ia_rc worker_init(struct ia_worker *w, const struct ia_worker_options *options, struct ia_err *err)
{
    w->options = options;
    w->events_from = INT64_MAX;
    w->last_event = -1;
    w->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (w->wake_fd < 0)
        return ia_fail(err, IA_IO, "eventfd: %s", strerror(errno));
    w->requests = ia_queue_new(REQUESTS_MAX);
    w->replies = ia_queue_new(REPLIES_MAX);
    w->builder = ia_builder_new();
    w->refresh = ia_refresh_new();
    w->outbox = ia_outbox_new(options->node_name);
    if (!w->requests || !w->replies || !w->builder || !w->refresh || !w->outbox)
        return ia_nomem(err);
    struct ia_fetch_options fetch = {.ca_file = options->jwks_ca_file, .insecure_http = options->insecure_http_jwks};
    enum ia_rc rc = ia_fetcher_new(&fetch, ia_worker_fetched, w, &w->fetcher, err);
    if (rc != IA_OK)
        return rc;
    struct ia_db_config config = {
        .conninfo = options->db_conninfo, .node_name = options->node_name, .wake_fd = w->wake_fd, .stop = &w->stop};
    struct ia_err wrong = {0};
    rc = ia_db_new(&config, &w->db, &wrong);
    return rc == IA_OK ? rc : ia_fail(err, rc, "option db_conninfo: %s", wrong.msg);
}

/* The broker's signals are for the broker's thread. */
static int create_thread(struct ia_worker *w)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&w->thread, NULL, worker_main, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

enum ia_rc ia_worker_start(const struct ia_worker_options *options, struct ia_worker **out, struct ia_err *err)
{
    struct ia_worker *w = calloc(1, sizeof *w);
    if (!w)
        return ia_nomem(err);
    enum ia_rc rc = worker_init(w, options, err);
    if (rc == IA_OK && create_thread(w) != 0)
        rc = ia_fail(err, IA_IO, "cannot start a thread");
    if (rc != IA_OK) {
        worker_free(w);
        return rc;
    }
    *out = w;
    return IA_OK;
}

static void wake(const struct ia_worker *w)
{
    uint64_t one = 1;
    ssize_t ignored = write(w->wake_fd, &one, sizeof one); /* full means that a wake-up is pending already */
    (void)ignored;
}

bool ia_worker_ask(struct ia_worker *worker, struct ia_request *request)
{
    if (!request)
        return false;
    if (!ia_queue_push(worker->requests, &request->link)) {
        ia_request_free(request);
        return false;
    }
    wake(worker);
    return true;
}

struct ia_reply *ia_worker_reply(struct ia_worker *worker, int64_t wait_us)
{
    struct ia_link *link = wait_us > 0 ? ia_queue_pop_wait(worker->replies, wait_us) : ia_queue_pop(worker->replies);
    return (struct ia_reply *)(void *)link;
}

bool ia_worker_has_reply(const struct ia_worker *worker)
{
    return !ia_queue_is_empty(worker->replies);
}

/* Wait for the thread's end. */
static bool join(struct ia_worker *w, int64_t wait_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    int64_t ns = until.tv_nsec + wait_ms % 1000 * 1000000;
    until.tv_sec += wait_ms / 1000 + ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    return pthread_timedjoin_np(w->thread, NULL, &until) == 0;
}

bool ia_worker_stop(struct ia_worker *worker)
{
    if (!worker)
        return true;
    atomic_store(&worker->leaving, true);
    ia_queue_close(worker->requests);
    ia_queue_close(worker->replies);
    wake(worker);
    bool ended = atomic_load(&worker->up) && join(worker, WRITE_WAIT_MS);
    atomic_store(&worker->stop, true);
    wake(worker);
    /* Only a resolver that hangs can hold the thread longer.  The process is about to end, and the code stays mapped
     * (-z nodelete): leave the thread to it. */
    if (!ended && !join(worker, STOP_WAIT_MS))
        return false;
    worker_free(worker);
    return true;
}
