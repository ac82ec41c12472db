// SPDX-License-Identifier: ISC
/* Requests of the broker thread: answered in order, bounded in each turn. */
#include "worker/private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUESTS_A_TURN 64 /* then changes get their turn, so that a storm cannot hold back a revocation … */
#define TURN_MS         50 /* … nor slow statements */
#define COMPLAIN_MS     10000
#define LOCKED_MS       1000 /* no further registration is tried on a CA's row that is locked */

/* ---- answers */

static void answer(struct ia_worker *w, const struct ia_request *request, enum ia_reason reason, const char *detail,
                   const struct ia_device_row *row, bool registered)
{
    struct ia_reply *reply = ia_reply_new(IA_REPLY_ANSWER, detail);
    if (!reply)
        return;
    bool registering = request->kind == IA_REQUEST_REGISTER;
    reply->answer.registering = registering;
    reply->answer.registered = registered;
    memcpy(reply->answer.fingerprint, registering ? request->registration.info.fingerprint : request->fingerprint,
           sizeof reply->answer.fingerprint);
    reply->answer.reason = reason;
    reply->answer.device = row ? ia_device_new(row) : NULL;
    if (row && !reply->answer.device)
        reply->answer.reason = IA_R_INTERNAL;
    ia_worker_send(w, reply);
}

static enum ia_rc look_up(struct ia_worker *w, const struct ia_request *request, struct ia_err *err)
{
    struct ia_device_rows *rows = NULL;
    enum ia_rc rc = ia_db_device_by_fingerprint(w->db, request->fingerprint, &rows, err);
    if (rc != IA_OK)
        return rc;
    answer(w, request, rows->n ? IA_R_NONE : IA_R_DEVICE_UNKNOWN, "", rows->n ? &rows->rows[0] : NULL, false);
    ia_device_rows_free(rows);
    return IA_OK;
}

/* An administrator's open transaction on one CA must not cost the newcomers of the others a lock's time-out for each of
 * its own. */
static bool is_locked(const struct ia_worker *w, int64_t ca_id)
{
    size_t at = (size_t)ca_id % IA_LOCKED_CAS;
    return w->locked[at].ca_id == ca_id && ia_worker_now_ms() < w->locked[at].until_ms;
}

/* The more there are, the longer each is left alone: together they take a third of the time, the others the rest. */
static void note_locked(struct ia_worker *w, int64_t ca_id)
{
    size_t at = (size_t)ca_id % IA_LOCKED_CAS;
    int64_t now = ia_worker_now_ms(), pause = 0;
    w->locked[at].ca_id = ca_id;
    w->locked[at].until_ms = now + LOCKED_MS;
    for (size_t i = 0; i < IA_LOCKED_CAS; i++)
        pause += w->locked[i].until_ms > now ? LOCKED_MS : 0;
    w->locked[at].until_ms = now + pause;
}

static enum ia_rc register_device(struct ia_worker *w, const struct ia_request *request, struct ia_err *err)
{
    const struct ia_register_request *r = &request->registration;
    if (is_locked(w, r->ca_id))
        return ia_fail(err, IA_UNAVAILABLE, "the CA's row is locked by another transaction");
    struct ia_registration what = {.info = &r->info,
                                   .device_id = r->device_id,
                                   .ca_id = r->ca_id,
                                   .node = w->options->node_name,
                                   .address = r->address[0] ? r->address : NULL};
    struct ia_registered *done = NULL;
    enum ia_rc rc = ia_db_register(w->db, &what, &done, err);
    if (rc == IA_UNAVAILABLE && ia_db_connected(w->db))
        note_locked(w, r->ca_id);
    if (rc != IA_OK)
        return rc;
    bool fresh = strcmp(done->outcome, "registered") == 0;
    bool known = fresh || strcmp(done->outcome, "known") == 0;
    enum ia_reason reason = known && done->device ? IA_R_NONE : ia_reason_from_name(done->outcome);
    answer(w, request, reason, done->detail, known ? done->device : NULL, fresh);
    ia_registered_free(done);
    return IA_OK;
}

/* ---- requests */

static enum ia_rc serve(struct ia_worker *w, struct ia_request *request, struct ia_err *err)
{
    switch (request->kind) {
    case IA_REQUEST_LOOKUP:
        return look_up(w, request, err);
    case IA_REQUEST_REGISTER:
        return register_device(w, request, err);
    case IA_REQUEST_DEVICE:
        if (w->n_changed < IA_CHANGED_IDS_MAX) /* else it is asked for another time: no reason to read all devices */
            ia_worker_device_changed(w, request->device_id);
        return IA_OK;
    case IA_REQUEST_KEYS:
        ia_refresh_request(w->refresh, request->issuer, ia_worker_now_ms());
        return IA_OK;
    default:
        return IA_OK;
    }
}

/* Requests that need no connection: they wait in the outbox, or are done with here. */
static bool shelve(struct ia_worker *w, struct ia_request *request)
{
    switch (request->kind) {
    case IA_REQUEST_EVENT:
        ia_outbox_event(w->outbox, request);
        return true;
    case IA_REQUEST_CONNECTED:
        ia_outbox_connected(w->outbox, request);
        return true;
    case IA_REQUEST_COUNTERS:
        ia_outbox_counters(w->outbox, request);
        return true;
    case IA_REQUEST_RETIRE:
        ia_request_free(request);
        return true;
    default:
        return false;
    }
}

static struct ia_request *next_request(struct ia_worker *w)
{
    struct ia_link *link = ia_queue_pop(w->requests);
    return (struct ia_request *)(void *)link; /* link is the first member */
}

/* The database has refused this one request, with the connection sound: the others go on. */
static void complain(struct ia_worker *w, const char *text)
{
    int64_t now = ia_worker_now_ms();
    if (now < w->next_complaint_ms)
        return;
    w->next_complaint_ms = now + COMPLAIN_MS;
    ia_worker_say(w, IA_LOG_ERROR, text);
}

static enum ia_rc serve_one(struct ia_worker *w, struct ia_request *request, struct ia_err *err)
{
    enum ia_rc rc = serve(w, request, err);
    if (rc != IA_OK)
        answer(w, request, IA_R_REGISTRY_UNAVAILABLE, err->msg, NULL, false);
    ia_request_free(request);
    if (rc == IA_OK || !ia_db_connected(w->db))
        return rc;
    complain(w, err->msg);
    return IA_OK;
}

enum ia_rc ia_worker_serve(struct ia_worker *w, struct ia_err *err)
{
    int64_t until = ia_worker_now_ms() + TURN_MS;
    enum ia_rc rc = IA_OK;
    for (int i = 0; i < REQUESTS_A_TURN && rc == IA_OK && ia_worker_now_ms() < until; i++) {
        struct ia_request *request = next_request(w);
        if (!request)
            break;
        if (!shelve(w, request))
            rc = serve_one(w, request, err);
    }
    return rc;
}

void ia_worker_refuse(struct ia_worker *w)
{
    struct ia_request *request;
    while ((request = next_request(w)) != NULL) {
        if (shelve(w, request))
            continue;
        if (request->kind == IA_REQUEST_LOOKUP || request->kind == IA_REQUEST_REGISTER)
            answer(w, request, IA_R_REGISTRY_UNAVAILABLE, "the database is not connected", NULL, false);
        if (request->kind == IA_REQUEST_KEYS)
            ia_refresh_request(w->refresh, request->issuer, ia_worker_now_ms());
        ia_request_free(request);
    }
}

/* ---- events by administrators */

static void publish(struct ia_worker *w, const char *kind, const char *json)
{
    struct ia_reply *reply = ia_reply_new(IA_REPLY_EVENT, json);
    if (reply)
        (void)snprintf(reply->event, sizeof reply->event, "%s", kind);
    ia_worker_send(w, reply);
}

/* Exact for ids in the overlap: two that share a slot are further apart. */
static bool is_published(const struct ia_worker *w, int64_t id)
{
    return w->published[id % IA_TAIL_OVERLAP] == id;
}

static void publish_once(struct ia_worker *w, const struct ia_tail_row *row)
{
    if (is_published(w, row->event_id))
        return;
    w->published[row->event_id % IA_TAIL_OVERLAP] = row->event_id;
    if (row->event_id > w->last_event)
        w->last_event = row->event_id;
    publish(w, row->kind, row->detail ? row->detail : "{}");
}

/* Ids are given out before their transactions commit: one of a long transaction may be far below the last. */
void ia_worker_events_noted(struct ia_worker *w, const struct ia_notification *n)
{
    int64_t from = n->all ? 0 : w->last_event;
    for (size_t i = 0; i < n->n_keys; i++) {
        int64_t id = strtoll(n->keys[i], NULL, 10);
        if (id > 0 && id <= from && !is_published(w, id))
            from = id - 1;
    }
    if (from < w->events_from)
        w->events_from = from;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

enum ia_rc ia_worker_publish(struct ia_worker *w, struct ia_err *err)
{
    struct ia_tail_rows *rows = NULL;
    int64_t from = most(w->events_from, most(w->first_event, w->last_event - IA_TAIL_OVERLAP));
    enum ia_rc rc = ia_db_event_tail(w->db, from, &rows, err);
    if (rc != IA_OK)
        return rc;
    for (size_t i = 0; i < rows->n; i++)
        publish_once(w, &rows->rows[i]);
    w->events_from = rows->n ? rows->rows[rows->n - 1].event_id : INT64_MAX; /* there may be more */
    ia_tail_rows_free(rows);
    return IA_OK;
}
