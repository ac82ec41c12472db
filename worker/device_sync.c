// SPDX-License-Identifier: ISC
/* Device records: those that a notification names, and the walk through all of them.  The walk is a stream in a few
 * parts: each holds the connection for as long as it lasts, and everything else has its turn in between. */
#include "worker/private.h"

#include <stdlib.h>
#include <string.h>

/* The records of rows as a reply; NULL when out of memory: a record that is missing would count as gone. */
static struct ia_reply *records(enum ia_reply_kind kind, const struct ia_device_rows *rows)
{
    struct ia_reply *reply = ia_reply_new(kind, NULL);
    if (!reply)
        return NULL;
    reply->records.items = calloc(rows->n + 1, sizeof(*reply->records.items));
    for (size_t i = 0; reply->records.items && i < rows->n; i++) {
        reply->records.items[i] = ia_device_new(&rows->rows[i]);
        if (!reply->records.items[i])
            break;
        reply->records.n++;
    }
    if (reply->records.items && reply->records.n == rows->n)
        return reply;
    ia_reply_free(reply);
    return NULL;
}

/* ---- changed devices */

void ia_worker_device_changed(struct ia_worker *w, const char *id)
{
    for (size_t i = 0; i < w->n_changed; i++)
        if (strcmp(w->changed[i], id) == 0)
            return;
    char *copy = w->n_changed < IA_CHANGED_IDS_MAX ? strdup(id) : NULL;
    if (copy)
        w->changed[w->n_changed++] = copy;
    else
        w->walk_again = true;
}

void ia_worker_forget_changed(struct ia_worker *w)
{
    while (w->n_changed > 0)
        free(w->changed[--w->n_changed]);
}

/* The reply says which devices were asked for: what it does not hold of them is gone. */
static bool take_ids(struct ia_worker *w, struct ia_reply *reply)
{
    reply->records.ids = calloc(w->n_changed + 1, sizeof *reply->records.ids);
    if (!reply->records.ids)
        return false;
    memcpy(reply->records.ids, w->changed, w->n_changed * sizeof *reply->records.ids);
    reply->records.n_ids = w->n_changed;
    w->n_changed = 0;
    return true;
}

static bool has_unknown_role(const struct ia_worker *w, const struct ia_device_rows *rows)
{
    for (size_t i = 0; i < rows->n; i++)
        for (size_t k = 0; k < rows->rows[i].roles.n; k++)
            if (!ia_builder_knows_role(w->builder, rows->rows[i].roles.items[k]))
                return true;
    return false;
}

/* A role was made and granted since the policy was read.  A device is not told of it before the snapshot that has it:
 * until then it would be denied everything.  Tried once, so that nothing can hold a revocation back. */
static bool roles_first(struct ia_worker *w, const struct ia_device_rows *rows)
{
    w->roles_read = !w->roles_read && has_unknown_role(w, rows);
    if (w->roles_read)
        w->dirty |= IA_LOAD_POLICY;
    return w->roles_read;
}

enum ia_rc ia_worker_read_changed(struct ia_worker *w, struct ia_err *err)
{
    struct ia_device_rows *rows = NULL;
    enum ia_rc rc = ia_db_devices_by_id(w->db, (const char *const *)w->changed, w->n_changed, &rows, err);
    if (rc != IA_OK)
        return rc;
    if (roles_first(w, rows)) {
        ia_device_rows_free(rows);
        return IA_OK; /* the ids stay: they are read again */
    }
    struct ia_reply *reply = records(IA_REPLY_DEVICES, rows);
    ia_device_rows_free(rows);
    if (!reply || !take_ids(w, reply)) {
        ia_reply_free(reply);
        return ia_nomem(err); /* the ids stay: they are read again */
    }
    ia_worker_send(w, reply);
    return IA_OK;
}

/* ---- all devices */

static enum ia_rc send_batch(void *ctx, const struct ia_device_rows *batch, struct ia_err *err)
{
    struct ia_worker *w = ctx;
    struct ia_reply *reply = records(IA_REPLY_PAGE, batch);
    if (!reply)
        return ia_fail(err, IA_NOMEM, "out of memory while reading devices");
    ia_worker_send(w, reply);
    return IA_OK;
}

/* Without its begin or its end a walk leaves in what was deleted: the new connection makes another. */
static enum ia_rc mark(struct ia_worker *w, enum ia_reply_kind kind, struct ia_err *err)
{
    struct ia_reply *reply = ia_reply_new(kind, NULL);
    if (!reply)
        return ia_fail(err, IA_NOMEM, "out of memory while reading devices");
    ia_worker_send(w, reply);
    return IA_OK;
}

static enum ia_rc walk_begin(struct ia_worker *w, struct ia_err *err)
{
    w->walk_again = false;
    w->walking = true;
    w->part = 0;
    ia_worker_forget_changed(w); /* they are among the others */
    return mark(w, IA_REPLY_RESYNC_BEGIN, err);
}

enum ia_rc ia_worker_walk(struct ia_worker *w, struct ia_err *err)
{
    enum ia_rc rc = w->walking ? IA_OK : walk_begin(w, err);
    if (rc == IA_OK)
        rc = ia_db_device_part(w->db, w->part, send_batch, w, err);
    if (rc != IA_OK || ++w->part < IA_DEVICE_PARTS)
        return rc;
    w->walking = false;
    return mark(w, IA_REPLY_RESYNC_END, err);
}
