// SPDX-License-Identifier: ISC
#include "worker/device_sync.h"

#include "common/clock.h"
#include "sql/devices.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHANGED_MAX   1000 /* changed devices that are read one by one */
#define FAULTS_LOGGED 10   /* lines of one resync about rows that cannot be read */
#define PAUSE_MIN_MS  500  /* between two resyncs */

struct ia_device_sync {
    struct ia_db *db;
    struct ia_config_sync *config;
    const struct ia_sink *sink;
    bool resyncing;
    bool restart; /* any device may have changed: another resync once this one is completed */
    bool refresh; /* read all devices again, in pages */
    bool locked;  /* records cannot be read now; then statuses are sent for what was notified since they were sent: */
    bool states_due; /* for changed devices */
    bool closed_due; /* for all devices, not before closed_from_ms: any role can send notifications */
    int64_t closed_from_ms;
    bool in_pages;
    int part;                       /* the part of the stream to read next … */
    struct ia_device_cursor cursor; /* … or where the pages have come to */
    int64_t begun_ms, pause_until_ms;
    size_t n_faults;            /* of this resync */
    char *changed[CHANGED_MAX]; /* ids of the devices to read again */
    size_t n_changed;
    int64_t heard_us;   /* the first notification of one of them; 0: none */
    bool policy_reread; /* the policy was already read again because a changed device holds an unknown role */
};

struct ia_device_sync *ia_device_sync_new(struct ia_db *db, struct ia_config_sync *config, const struct ia_sink *sink)
{
    struct ia_device_sync *sync = calloc(1, sizeof *sync);
    if (!sync)
        return NULL;
    sync->db = db;
    sync->config = config;
    sync->sink = sink;
    return sync;
}

static void forget_changes(struct ia_device_sync *sync)
{
    while (sync->n_changed > 0)
        free(sync->changed[--sync->n_changed]);
}

void ia_device_sync_free(struct ia_device_sync *sync)
{
    if (sync)
        forget_changes(sync);
    free(sync);
}

/* ---- faults */

static void log_fault(const struct ia_device_sync *sync, const struct ia_device_row *row)
{
    char line[512];
    (void)snprintf(line, sizeof line, "device %s is refused, because its row cannot be read: %s",
                   row->device_id[0] ? row->device_id : "(unknown)", row->fault);
    ia_sink_log(sync->sink, IA_LOG_WARNING, line);
}

static void log_faults(struct ia_device_sync *sync, const struct ia_device_rows *rows)
{
    for (size_t i = 0; i < rows->n; i++)
        if (rows->rows[i].fault && sync->n_faults++ < FAULTS_LOGGED)
            log_fault(sync, &rows->rows[i]);
}

/* ---- changed devices */

static void note_changed(struct ia_device_sync *sync, const char *device_id)
{
    sync->states_due = true;
    for (size_t i = 0; i < sync->n_changed; i++)
        if (strcmp(sync->changed[i], device_id) == 0)
            return;
    char *copy = sync->n_changed < CHANGED_MAX ? strdup(device_id) : NULL;
    if (copy)
        sync->changed[sync->n_changed++] = copy;
    else
        ia_device_sync_restart(sync);
}

void ia_device_sync_changed(struct ia_device_sync *sync, const char *device_id)
{
    if (!sync->heard_us)
        sync->heard_us = ia_monotonic_us();
    note_changed(sync, device_id);
}

void ia_device_sync_ask(struct ia_device_sync *sync, const char *device_id)
{
    if (sync->n_changed < CHANGED_MAX)
        note_changed(sync, device_id);
}

/* The policy is to be read again before the changed devices, and its reload is paused: for half a second at most. */
static bool waits_for_policy(const struct ia_device_sync *sync)
{
    return sync->policy_reread && ia_config_sync_is_paused(sync->config, IA_LOAD_POLICY);
}

bool ia_device_sync_changes_due(const struct ia_device_sync *sync)
{
    return sync->n_changed > 0 && !waits_for_policy(sync);
}

/* The records of `rows` as a reply.  NULL when out of memory: a missing record would count as deleted. */
static struct ia_reply *new_records(enum ia_reply_kind kind, const struct ia_device_rows *rows)
{
    struct ia_reply *reply = ia_reply_new(kind, NULL);
    if (!reply)
        return NULL;
    struct ia_device_records *records = &reply->records;
    records->items = calloc(rows->n + 1, sizeof *records->items);
    for (size_t i = 0; records->items && i < rows->n; i++) {
        records->items[i] = ia_device_new(&rows->rows[i]);
        if (!records->items[i])
            break;
        records->n++;
    }
    if (records->items && records->n == rows->n)
        return reply;
    ia_reply_free(reply);
    return NULL;
}

/* Move the changed ids into the reply, which thereby says for which devices its records are complete. */
static bool move_ids(struct ia_device_sync *sync, struct ia_reply *reply)
{
    reply->records.ids = calloc(sync->n_changed + 1, sizeof *reply->records.ids);
    if (!reply->records.ids)
        return false;
    memcpy(reply->records.ids, sync->changed, sync->n_changed * sizeof *reply->records.ids);
    reply->records.n_ids = sync->n_changed;
    sync->n_changed = 0;
    sync->states_due = false;
    return true;
}

static bool has_unknown_role(const struct ia_device_sync *sync, const struct ia_device_rows *rows)
{
    for (size_t i = 0; i < rows->n; i++)
        for (size_t k = 0; k < rows->rows[i].roles.n; k++)
            if (!ia_config_sync_has_role(sync->config, rows->rows[i].roles.items[k]))
                return true;
    return false;
}

/* Does a device hold a role that was created after the policy was read?  The device's record must not be sent before the
 * snapshot with that role: an unknown role denies everything.  The policy is read again once only, so that nothing can
 * hold a revocation back. */
static bool needs_policy(struct ia_device_sync *sync, const struct ia_device_rows *rows)
{
    sync->policy_reread = !sync->policy_reread && has_unknown_role(sync, rows);
    if (sync->policy_reread)
        ia_config_sync_invalidate(sync->config, IA_LOAD_POLICY);
    return sync->policy_reread;
}

static enum ia_rc send_changes(struct ia_device_sync *sync, const struct ia_device_rows *rows, struct ia_err *err)
{
    struct ia_reply *reply = new_records(IA_REPLY_DEVICES, rows);
    if (!reply || !move_ids(sync, reply)) {
        ia_reply_free(reply);
        return ia_nomem(err);
    }
    reply->heard_us = sync->heard_us;
    sync->heard_us = 0;
    ia_sink_send(sync->sink, reply);
    return IA_OK;
}

/* A copy of the changed ids: without all of them a device that is not among the rows could not be distinguished from a deleted
 * one. */
static bool copy_ids(const struct ia_device_sync *sync, struct ia_reply *reply)
{
    reply->records.ids = calloc(sync->n_changed + 1, sizeof *reply->records.ids);
    for (size_t i = 0; reply->records.ids && i < sync->n_changed; i++) {
        reply->records.ids[i] = strdup(sync->changed[i]);
        if (!reply->records.ids[i])
            return false;
        reply->records.n_ids++;
    }
    return reply->records.ids != NULL;
}

/* A table that records are joined from is locked.  A failure is not the lock's where the connection is lost. */
static void note_lock(struct ia_device_sync *sync, enum ia_rc rc)
{
    if (rc == IA_OK || (rc == IA_UNAVAILABLE && ia_db_connected(sync->db)))
        sync->locked = rc != IA_OK;
}

/* The ids stay until their records were sent: after a failure they are read again. */
enum ia_rc ia_device_sync_read_changes(struct ia_device_sync *sync, struct ia_err *err)
{
    struct ia_device_rows *rows = NULL;
    enum ia_rc rc = ia_db_devices_by_id(sync->db, (const char *const *)sync->changed, sync->n_changed, &rows, err);
    note_lock(sync, rc);
    if (rc == IA_OK && !needs_policy(sync, rows)) {
        log_faults(sync, rows);
        rc = send_changes(sync, rows, err);
    }
    ia_device_rows_free(rows);
    return rc;
}

/* ---- all devices */

void ia_device_sync_connected(struct ia_device_sync *sync)
{
    sync->resyncing = false;
    ia_device_sync_restart(sync);
    sync->pause_until_ms = sync->closed_from_ms = 0;
    sync->heard_us = 0; /* the outage is not the time that a change takes */
}

void ia_device_sync_restart(struct ia_device_sync *sync)
{
    sync->restart = sync->closed_due = true;
}

void ia_device_sync_refresh(struct ia_device_sync *sync)
{
    sync->refresh = true;
}

void ia_device_sync_abort(struct ia_device_sync *sync)
{
    sync->resyncing = false;
}

bool ia_device_sync_resync_due(const struct ia_device_sync *sync)
{
    return sync->resyncing || ((sync->restart || sync->refresh) && ia_monotonic_ms() >= sync->pause_until_ms);
}

int64_t ia_device_sync_wait_ms(const struct ia_device_sync *sync)
{
    if (!sync->restart && !sync->refresh)
        return -1;
    int64_t left = sync->pause_until_ms - ia_monotonic_ms();
    return left > 0 ? left : 0;
}

static enum ia_rc send_all(struct ia_device_sync *sync, enum ia_reply_kind kind, const struct ia_device_rows *batch,
                           struct ia_err *err)
{
    struct ia_reply *reply = new_records(kind, batch);
    if (!reply)
        return ia_fail(err, IA_NOMEM, "out of memory while reading devices");
    ia_sink_send(sync->sink, reply);
    return IA_OK;
}

static enum ia_rc send_batch(void *ctx, const struct ia_device_rows *batch, struct ia_err *err)
{
    enum ia_rc rc = send_all(ctx, IA_REPLY_PAGE, batch, err);
    if (rc == IA_OK)
        log_faults(ctx, batch);
    return rc;
}

/* A resync without its begin or its end would leave deleted devices in memory: the failure drops the connection, and
 * the next connection begins another resync. */
static enum ia_rc send_mark(struct ia_device_sync *sync, enum ia_reply_kind kind, struct ia_err *err)
{
    struct ia_reply *reply = ia_reply_new(kind, NULL);
    if (!reply)
        return ia_fail(err, IA_NOMEM, "out of memory while reading devices");
    ia_sink_send(sync->sink, reply);
    return IA_OK;
}

static enum ia_rc begin_resync(struct ia_device_sync *sync, struct ia_err *err)
{
    sync->in_pages = !sync->restart;
    sync->restart = sync->refresh = false;
    sync->resyncing = true;
    sync->part = 0;
    sync->cursor = (struct ia_device_cursor){0};
    sync->n_faults = 0;
    sync->begun_ms = ia_monotonic_ms();
    return send_mark(sync, IA_REPLY_RESYNC_BEGIN, err);
}

/* Any role can send notifications: half of the time at most goes to resyncs. */
static enum ia_rc end_resync(struct ia_device_sync *sync, struct ia_err *err)
{
    int64_t now = ia_monotonic_ms(), took = now - sync->begun_ms;
    char line[96];
    sync->resyncing = false;
    sync->closed_due = sync->restart;
    sync->pause_until_ms = now + (took < PAUSE_MIN_MS ? PAUSE_MIN_MS : took);
    if (sync->n_faults > FAULTS_LOGGED) {
        (void)snprintf(line, sizeof line, "%zu certificates in all are refused, because their rows cannot be read",
                       sync->n_faults);
        ia_sink_log(sync->sink, IA_LOG_WARNING, line);
    }
    return send_mark(sync, IA_REPLY_RESYNC_END, err);
}

static enum ia_rc read_page(struct ia_device_sync *sync, struct ia_err *err)
{
    struct ia_device_rows *rows = NULL;
    enum ia_rc rc = ia_db_device_page(sync->db, &sync->cursor, &rows, err);
    if (rc != IA_OK)
        return rc;
    rc = rows->n ? send_batch(sync, rows, err) : IA_OK;
    ia_device_rows_free(rows);
    if (rc != IA_OK)
        ia_db_disconnect(sync->db); /* a page is missing: as for the marks */
    return rc;
}

/* The stream is quick, and ends at the first row that the server cannot return; pages find that row and continue. */
static enum ia_rc read_stream(struct ia_device_sync *sync, struct ia_err *err)
{
    enum ia_rc rc = ia_db_device_part(sync->db, sync->part, send_batch, sync, err);
    if (rc == IA_OK)
        sync->part++;
    if (rc != IA_FORMAT || !ia_db_connected(sync->db))
        return rc;
    sync->in_pages = true;
    return IA_OK;
}

enum ia_rc ia_device_sync_read_part(struct ia_device_sync *sync, struct ia_err *err)
{
    enum ia_rc rc = sync->resyncing ? IA_OK : begin_resync(sync, err);
    if (rc == IA_OK)
        rc = sync->in_pages ? read_page(sync, err) : read_stream(sync, err);
    note_lock(sync, rc);
    if (rc != IA_OK)
        return rc;
    bool end = sync->in_pages ? sync->cursor.end : sync->part == IA_DEVICE_PARTS;
    return end ? end_resync(sync, err) : IA_OK;
}

/* ---- statuses alone: a revocation does not wait for the table that is locked */

static enum ia_rc send_states(struct ia_device_sync *sync, struct ia_err *err)
{
    struct ia_device_rows *rows = NULL;
    enum ia_rc rc = ia_db_device_states(sync->db, (const char *const *)sync->changed, sync->n_changed, &rows, err);
    if (rc != IA_OK)
        return rc;
    struct ia_reply *reply = new_records(IA_REPLY_STATES, rows);
    ia_device_rows_free(rows);
    if (!reply || !copy_ids(sync, reply)) {
        ia_reply_free(reply);
        return ia_nomem(err);
    }
    ia_sink_send(sync->sink, reply);
    sync->states_due = false;
    return IA_OK;
}

static enum ia_rc send_closed_batch(void *ctx, const struct ia_device_rows *batch, struct ia_err *err)
{
    return send_all(ctx, IA_REPLY_CLOSED, batch, err);
}

bool ia_device_sync_is_locked(const struct ia_device_sync *sync)
{
    return sync->locked;
}

bool ia_device_sync_states_due(const struct ia_device_sync *sync)
{
    return sync->locked && (sync->states_due || (sync->closed_due && ia_monotonic_ms() >= sync->closed_from_ms));
}

enum ia_rc ia_device_sync_read_states(struct ia_device_sync *sync, struct ia_err *err)
{
    if (sync->states_due)
        return send_states(sync, err);
    int64_t begun = ia_monotonic_ms();
    enum ia_rc rc = ia_db_closed_devices(sync->db, send_closed_batch, sync, err);
    int64_t now = ia_monotonic_ms(), took = now - begun;
    sync->closed_due = rc != IA_OK;
    sync->closed_from_ms = now + (took < PAUSE_MIN_MS ? PAUSE_MIN_MS : took);
    return rc;
}
