// SPDX-License-Identifier: ISC
/* The worker's parts, for plugin/worker*.c alone.  All of it is the worker thread's, but for the queues, the flags and
 * wake_fd.  So are its files: the two threads have a table of descriptors each. */
#pragma once

#include "common/clock.h"
#include "sql/db.h"
#include "sql/devices.h"
#include "sql/records.h"
#include "worker/outbox.h"
#include "worker/snapshot_builder.h"
#include "worker/worker.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define IA_TAIL_OVERLAP    65536 /* event ids that may still come after the last: transactions commit out of order */
#define IA_CHANGED_IDS_MAX 1000  /* changed devices read one by one; more: all are read again */
#define IA_LOCKED_CAS      64
#define IA_TROUBLES_MAX    16
#define IA_STEPS           7

struct ia_worker {
    const struct ia_worker_options *options;
    pthread_t thread;
    atomic_bool leaving; /* finish what is begun, write what is queued */
    atomic_bool stop;    /* at once */
    atomic_bool up;      /* connected: there is somewhere to write to */
    int wake_fd;
    struct ia_queue *requests, *replies;
    struct ia_db *db;
    struct ia_builder *builder;
    struct ia_refresh *refresh;
    struct ia_fetcher *fetcher;
    struct ia_outbox *outbox;

    unsigned dirty;              /* set of enum ia_load to read again */
    bool configured;             /* a snapshot has been sent */
    bool issuers_stale;          /* fetched keys changed: the issuers are built anew */
    struct ia_rows *issuer_rows; /* as last read: for keys that change while the database is away */

    bool walking;                      /* through all devices … */
    int part;                          /* … of which this is the next part */
    bool walk_again;                   /* all devices may have changed: once more from the beginning */
    char *changed[IA_CHANGED_IDS_MAX]; /* ids of devices to read again */
    size_t n_changed;
    bool roles_read; /* the policy was read again for their sake */

    int64_t events_from;                /* status events after this id are to be published, INT64_MAX: none */
    int64_t last_event;                 /* the highest id published, -1: not yet known */
    int64_t first_event;                /* those up to this one were there before us */
    int64_t published[IA_TAIL_OVERLAP]; /* by id modulo its size: ids that may come once more */
    int64_t next_heartbeat_ms, next_reread_ms;

    unsigned attempts; /* to connect, since a connection last proved sound */
    int64_t connected_ms;
    bool was_up;
    bool busy;                       /* a statement was refused for now, with the connection sound */
    int64_t not_before_ms[IA_STEPS]; /* then its step has to wait a little */
    int64_t next_complaint_ms;       /* about a refused request */
    struct {
        int64_t ca_id, until_ms;
    } locked[IA_LOCKED_CAS];             /* by ca_id modulo their number: CAs whose rows somebody else holds */
    char troubles[IA_TROUBLES_MAX][192]; /* told since all was well */
    size_t n_troubles;
};

static inline int64_t ia_worker_now_ms(void)
{
    return ia_monotonic_us() / 1000;
}

/* ---- worker.c */

/* Takes the reply over; NULL is fine.  Waits while too many are queued. */
void ia_worker_send(struct ia_worker *w, struct ia_reply *reply);
void ia_worker_say(struct ia_worker *w, enum ia_log_level level, const char *text);

/* ---- worker_load.c: configuration */

/* Read what is dirty again and send a snapshot. */
IA_MUST_USE enum ia_rc ia_worker_reload(struct ia_worker *w, struct ia_err *err);

/* Note what the notifications that have arrived made dirty. */
void ia_worker_take_notifications(struct ia_worker *w);

/* Build the issuers anew from the rows read last, without the database. */
void ia_worker_adopt_keys(struct ia_worker *w);

/* Go on with fetching keys; never waits. */
void ia_worker_fetch_keys(struct ia_worker *w);
void ia_worker_fetched(void *ctx, const struct ia_fetch_result *result);

/* ---- worker_devices.c */

void ia_worker_device_changed(struct ia_worker *w, const char *id);
void ia_worker_forget_changed(struct ia_worker *w);
IA_MUST_USE enum ia_rc ia_worker_read_changed(struct ia_worker *w, struct ia_err *err);

/* One step of the walk through all devices. */
IA_MUST_USE enum ia_rc ia_worker_walk(struct ia_worker *w, struct ia_err *err);

/* ---- worker_serve.c: requests */

/* Some of them: changes get their turn in between. */
IA_MUST_USE enum ia_rc ia_worker_serve(struct ia_worker *w, struct ia_err *err);

/* While there is no connection nobody queues behind it: refuse all, but keep what is to be written. */
void ia_worker_refuse(struct ia_worker *w);

/* Note which status events a notification speaks of. */
void ia_worker_events_noted(struct ia_worker *w, const struct ia_notification *n);

/* Publish the status events that administrators have caused. */
IA_MUST_USE enum ia_rc ia_worker_publish(struct ia_worker *w, struct ia_err *err);
