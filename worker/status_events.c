// SPDX-License-Identifier: ISC
#include "worker/status_events.h"

#include "sql/records.h"

#include <stdio.h>
#include <stdlib.h>

#define OVERLAP 65536 /* ids below the highest published one that may still appear: transactions commit out of order */

struct ia_status_events {
    struct ia_db *db;
    const struct ia_sink *sink;
    int64_t due_after;          /* events with a higher id are to be published; INT64_MAX: none */
    int64_t highest;            /* the highest id that was published; -1: not yet known */
    int64_t at_start;           /* the highest id at start-up: events up to this id are older than this process */
    int64_t published[OVERLAP]; /* ids that were published, by id modulo OVERLAP: each may be read again */
};

struct ia_status_events *ia_status_events_new(struct ia_db *db, const struct ia_sink *sink)
{
    struct ia_status_events *events = calloc(1, sizeof *events);
    if (!events)
        return NULL;
    events->db = db;
    events->sink = sink;
    events->due_after = INT64_MAX;
    events->highest = -1;
    return events;
}

void ia_status_events_free(struct ia_status_events *events)
{
    free(events);
}

enum ia_rc ia_status_events_begin(struct ia_status_events *events, struct ia_err *err)
{
    if (events->highest >= 0) {
        events->due_after = 0;
        return IA_OK;
    }
    enum ia_rc rc = ia_db_last_event(events->db, &events->highest, err);
    events->at_start = events->highest;
    return rc;
}

/* Exact for ids within the overlap: two ids that share a slot are further apart. */
static bool is_published(const struct ia_status_events *events, int64_t id)
{
    return events->published[id % OVERLAP] == id;
}

/* Ids are assigned before their transactions commit: the id of a long transaction may be far below the highest. */
void ia_status_events_notified(struct ia_status_events *events, const struct ia_notification *notification)
{
    int64_t after = notification->all ? 0 : events->highest;
    for (size_t i = 0; i < notification->n_keys; i++) {
        int64_t id = strtoll(notification->keys[i], NULL, 10);
        if (id > 0 && id <= after && !is_published(events, id))
            after = id - 1;
    }
    if (after < events->due_after)
        events->due_after = after;
}

bool ia_status_events_due(const struct ia_status_events *events)
{
    return events->due_after < INT64_MAX;
}

static void send_event(const struct ia_status_events *events, const struct ia_tail_row *row)
{
    struct ia_reply *reply = ia_reply_new(IA_REPLY_EVENT, row->detail ? row->detail : "{}");
    if (reply)
        (void)snprintf(reply->event, sizeof reply->event, "%s", row->kind);
    ia_sink_send(events->sink, reply);
}

static void publish_once(struct ia_status_events *events, const struct ia_tail_row *row)
{
    if (is_published(events, row->event_id))
        return;
    events->published[row->event_id % OVERLAP] = row->event_id;
    if (row->event_id > events->highest)
        events->highest = row->event_id;
    send_event(events, row);
}

static int64_t greater_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

enum ia_rc ia_status_events_publish(struct ia_status_events *events, struct ia_err *err)
{
    struct ia_tail_rows *rows = NULL;
    int64_t oldest = greater_of(events->at_start, events->highest - OVERLAP);
    enum ia_rc rc = ia_db_event_tail(events->db, greater_of(events->due_after, oldest), &rows, err);
    if (rc != IA_OK)
        return rc;
    for (size_t i = 0; i < rows->n; i++)
        publish_once(events, &rows->rows[i]);
    events->due_after = rows->n ? rows->rows[rows->n - 1].event_id : INT64_MAX; /* there may be more */
    ia_tail_rows_free(rows);
    return IA_OK;
}
