// SPDX-License-Identifier: ISC
/* The worker's thread and the two queues between it and the broker thread: the inbox of the loop for requests, and the
 * queue of replies. */
#include "worker/worker.h"

#include "common/queue.h"
#include "worker/main_loop.h"
#include "worker/thread.h"
#include "worker/waker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define REPLIES_MAX   256  /* batches of devices are large: the broker thread applies them in slices */
#define WRITE_WAIT_MS 1000 /* at the end, for rows that are queued … */
#define STOP_WAIT_MS  900  /* … and then for the thread */

struct ia_worker {
    pthread_t thread;
    struct ia_loop_control control;
    struct ia_queue *replies;
    struct ia_sink sink;
    struct ia_main_loop *loop; /* the worker thread's, but for its inbox */
    struct ia_inbox *inbox;    /* the loop's */
};

/* Waits while too many replies are queued.  Worker thread. */
static void push_reply(void *ctx, struct ia_reply *reply)
{
    struct ia_worker *w = ctx;
    bool first = ia_queue_is_empty(w->replies);
    if (!ia_queue_push_wait(w->replies, &reply->link))
        ia_reply_free(reply); /* closed: the broker thread is leaving */
    else if (first)
        ia_waker_wake();
}

static void *run_worker(void *arg)
{
    struct ia_worker *w = arg;
    ia_thread_unshare_files(w->control.wake_fd);
    ia_main_loop_run(w->loop);
    return NULL;
}

/* ---- start */

static void free_replies(struct ia_queue *replies)
{
    struct ia_link *link;
    while (replies && (link = ia_queue_pop(replies)) != NULL)
        ia_reply_free(ia_container_of(link, struct ia_reply, link));
    ia_queue_free(replies);
}

static void worker_free(struct ia_worker *w)
{
    ia_main_loop_free(w->loop);
    free_replies(w->replies);
    if (w->control.wake_fd >= 0)
        close(w->control.wake_fd);
    free(w);
}

static enum ia_rc worker_init(struct ia_worker *w, const struct ia_worker_options *options, struct ia_err *err)
{
    w->sink = (struct ia_sink){.send = push_reply, .ctx = w};
    w->control.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (w->control.wake_fd < 0)
        return ia_fail(err, IA_IO, "eventfd: %s", strerror(errno));
    w->replies = ia_queue_new(REPLIES_MAX);
    if (!w->replies)
        return ia_nomem(err);
    enum ia_rc rc = ia_main_loop_new(options, &w->control, &w->sink, &w->loop, err);
    if (rc == IA_OK)
        w->inbox = ia_main_loop_inbox(w->loop);
    return rc;
}

enum ia_rc ia_worker_start(const struct ia_worker_options *options, struct ia_worker **out, struct ia_err *err)
{
    struct ia_worker *w = calloc(1, sizeof *w);
    if (!w)
        return ia_nomem(err);
    enum ia_rc rc = worker_init(w, options, err);
    if (rc == IA_OK && !ia_thread_start(&w->thread, run_worker, w))
        rc = ia_fail(err, IA_IO, "cannot start a thread");
    if (rc != IA_OK) {
        worker_free(w);
        return rc;
    }
    *out = w;
    return IA_OK;
}

/* ---- requests, replies, stop */

static void wake_worker(const struct ia_worker *w)
{
    uint64_t one = 1;
    ssize_t ignored = write(w->control.wake_fd, &one, sizeof one); /* full means that a wake-up is pending already */
    (void)ignored;
}

bool ia_worker_ask(struct ia_worker *worker, struct ia_request *request)
{
    if (!request || !ia_inbox_put(worker->inbox, request))
        return false;
    wake_worker(worker);
    return true;
}

static struct ia_reply *reply_of(struct ia_link *link)
{
    return link ? ia_container_of(link, struct ia_reply, link) : NULL;
}

struct ia_reply *ia_worker_reply(struct ia_worker *worker)
{
    return reply_of(ia_queue_pop(worker->replies));
}

struct ia_reply *ia_worker_reply_wait(struct ia_worker *worker, int64_t wait_us)
{
    return reply_of(ia_queue_pop_wait(worker->replies, wait_us));
}

bool ia_worker_has_reply(const struct ia_worker *worker)
{
    return !ia_queue_is_empty(worker->replies);
}

bool ia_worker_stop(struct ia_worker *worker)
{
    if (!worker)
        return true;
    atomic_store(&worker->control.leaving, true);
    ia_inbox_close(worker->inbox);
    ia_queue_close(worker->replies);
    wake_worker(worker);
    bool ended = atomic_load(&worker->control.connected) && ia_thread_join(worker->thread, WRITE_WAIT_MS);
    atomic_store(&worker->control.stop, true);
    wake_worker(worker);
    /* Only a resolver that does not return can hold the thread longer.  The process is about to end, and the code stays
     * mapped (-z nodelete): leave the worker to the thread. */
    if (!ended && !ia_thread_join(worker->thread, STOP_WAIT_MS))
        return false;
    worker_free(worker);
    return true;
}
