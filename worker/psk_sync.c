// SPDX-License-Identifier: ISC
#include "worker/psk_sync.h"

#include "common/clock.h"
#include "psk/keyring.h"
#include "sql/psks.h"
#include "worker/psk_problems.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHANGED_MAX   1000 /* changed identities; after more, all rows are read */
#define PAUSE_MIN_MS  500  /* between two resyncs */
#define KEYS_PAUSE_MS 2000 /* between two readings of the key file that rows cause */

enum key_state {
    KEY_UNKNOWN,
    KEY_KNOWN,
    KEY_WANTED, /* by a row, and the file has not been read since */
    KEY_MISSED  /* by a row, and not in the file, which has been read since */
};

struct ia_psk_sync {
    struct ia_db *db;
    const char *key_file;
    const struct ia_sink *sink;
    struct ia_psk_problems *problems;
    uint8_t keys[IA_KEYRING_ID_MAX + 1]; /* enum key_state of each id */
    bool keys_wanted;                    /* a row names a key that is not known */
    int64_t keys_read_ms;
    bool restart, resyncing;
    char after[IA_PSK_IDENTITY_MAX + 1]; /* the identity that the resync has come to */
    int64_t begun_ms, pause_until_ms;
    char *changed[CHANGED_MAX];
    size_t n_changed;
    int64_t heard_us; /* the first notification of one of them; 0: none */
};

struct ia_psk_sync *ia_psk_sync_new(struct ia_db *db, struct ia_outbox *outbox, const char *key_file,
                                    const struct ia_sink *sink)
{
    struct ia_psk_sync *sync = calloc(1, sizeof *sync);
    if (!sync)
        return NULL;
    sync->problems = ia_psk_problems_new(outbox, sink);
    if (!sync->problems) {
        free(sync);
        return NULL;
    }
    sync->db = db;
    sync->key_file = key_file;
    sync->sink = sink;
    return sync;
}

static void forget_changes(struct ia_psk_sync *sync)
{
    while (sync->n_changed > 0)
        free(sync->changed[--sync->n_changed]);
}

void ia_psk_sync_free(struct ia_psk_sync *sync)
{
    if (!sync)
        return;
    forget_changes(sync);
    ia_psk_problems_free(sync->problems);
    free(sync);
}

/* ---- the key file */

static void note_keys(struct ia_psk_sync *sync, const struct ia_keyring *keyring)
{
    for (int id = 0; id <= IA_KEYRING_ID_MAX; id++) {
        uint8_t before = sync->keys[id];
        bool named = before == KEY_WANTED || before == KEY_MISSED;
        sync->keys[id] = ia_keyring_find(keyring, id) ? KEY_KNOWN : named ? KEY_MISSED : KEY_UNKNOWN;
    }
}

void ia_psk_sync_read_keys(struct ia_psk_sync *sync)
{
    struct ia_keyring *keyring = NULL;
    struct ia_err err = {0};
    char line[512];
    if (!sync->key_file)
        return;
    sync->keys_wanted = false;
    sync->keys_read_ms = ia_monotonic_ms();
    if (ia_keyring_read(sync->key_file, &keyring, &err) != IA_OK) {
        (void)snprintf(line, sizeof line, "psk_key_file: %s; the keys that were read before stay in use", err.msg);
        ia_sink_log(sync->sink, IA_LOG_ERROR, line);
        return;
    }
    struct ia_reply *reply = ia_reply_new(IA_REPLY_KEYRING, NULL);
    if (!reply) {
        ia_keyring_free(keyring);
        sync->keys_wanted = true; /* the broker has not got them: again after the pause */
        return;
    }
    note_keys(sync, keyring);
    if (ia_psk_problems_use(sync->problems, keyring))
        sync->restart = true; /* rows may have lost or gained a problem */
    reply->keyring = keyring;
    ia_sink_send(sync->sink, reply);
}

/* A row was sealed under this key. */
static void need_key(struct ia_psk_sync *sync, int id)
{
    if (id < 0 || id > IA_KEYRING_ID_MAX || sync->keys[id] == KEY_KNOWN || sync->keys[id] == KEY_MISSED)
        return;
    sync->keys[id] = KEY_WANTED;
    sync->keys_wanted = true;
    if (ia_monotonic_ms() - sync->keys_read_ms >= KEYS_PAUSE_MS)
        ia_psk_sync_read_keys(sync);
}

/* ---- what has changed */

static void note_changed(struct ia_psk_sync *sync, const char *identity)
{
    for (size_t i = 0; i < sync->n_changed; i++)
        if (strcmp(sync->changed[i], identity) == 0)
            return;
    char *copy = sync->n_changed < CHANGED_MAX ? strdup(identity) : NULL;
    if (copy)
        sync->changed[sync->n_changed++] = copy;
    else
        sync->restart = true;
}

void ia_psk_sync_changed(struct ia_psk_sync *sync, const char *identity)
{
    if (!sync->key_file)
        return;
    if (!sync->heard_us)
        sync->heard_us = ia_monotonic_us();
    note_changed(sync, identity);
}

void ia_psk_sync_ask(struct ia_psk_sync *sync, const char *identity)
{
    if (sync->key_file && sync->n_changed < CHANGED_MAX)
        note_changed(sync, identity);
}

void ia_psk_sync_connected(struct ia_psk_sync *sync)
{
    sync->restart = sync->key_file != NULL;
    sync->resyncing = false;
    sync->pause_until_ms = 0;
    sync->heard_us = 0;
}

void ia_psk_sync_refresh(struct ia_psk_sync *sync)
{
    sync->restart |= sync->key_file != NULL;
}

/* ---- rows as a reply */

static char *append_octets(char **to, const void *from, size_t len)
{
    char *at = *to;
    if (len > 0)
        memcpy(at, from, len);
    *to += len;
    return at;
}

static bool is_among(const struct ia_psk_rows *rows, const char *identity)
{
    for (size_t i = 0; i < rows->n; i++)
        if (strcmp(rows->rows[i].identity, identity) == 0)
            return true;
    return false;
}

/* Everything in one block: the rows, the list of those that are deleted, and what both refer to. */
static size_t size_batch(const struct ia_psk_sync *sync, const struct ia_psk_rows *rows)
{
    size_t size = rows->n * sizeof *rows->rows + sync->n_changed * sizeof(char *) + 1;
    for (size_t i = 0; i < rows->n; i++)
        size += strlen(rows->rows[i].identity) + strlen(rows->rows[i].device_id) + 2 + rows->rows[i].sealed.len;
    for (size_t i = 0; i < sync->n_changed; i++)
        size += strlen(sync->changed[i]) + 1;
    return size;
}

static struct ia_reply *new_batch(const struct ia_psk_sync *sync, const struct ia_psk_rows *rows)
{
    struct ia_reply *reply = ia_reply_new(IA_REPLY_PSKS, NULL);
    struct ia_psk_batch *batch = reply ? &reply->psks : NULL;
    if (!batch || !(batch->rows = malloc(size_batch(sync, rows)))) {
        ia_reply_free(reply);
        return NULL;
    }
    batch->n = rows->n;
    batch->deleted = (const char **)(void *)(batch->rows + rows->n);
    char *to = (char *)(batch->deleted + sync->n_changed);
    for (size_t i = 0; i < rows->n; i++) {
        const struct ia_psk_row *row = &rows->rows[i];
        batch->rows[i] = *row;
        batch->rows[i].problem = NULL;
        batch->rows[i].identity = append_octets(&to, row->identity, strlen(row->identity) + 1);
        batch->rows[i].device_id = append_octets(&to, row->device_id, strlen(row->device_id) + 1);
        batch->rows[i].sealed.at = (const uint8_t *)append_octets(&to, row->sealed.at, row->sealed.len);
    }
    for (size_t i = 0; i < sync->n_changed; i++)
        if (!is_among(rows, sync->changed[i]))
            batch->deleted[batch->n_deleted++] = append_octets(&to, sync->changed[i], strlen(sync->changed[i]) + 1);
    return reply;
}

static enum ia_rc send_rows(struct ia_psk_sync *sync, const struct ia_psk_rows *rows, struct ia_err *err)
{
    for (size_t i = 0; i < rows->n; i++) {
        need_key(sync, rows->rows[i].key_id);
        ia_psk_problems_check(sync->problems, &rows->rows[i]);
    }
    struct ia_reply *reply = new_batch(sync, rows);
    if (!reply)
        return ia_nomem(err);
    ia_sink_send(sync->sink, reply);
    return IA_OK;
}

/* The identities stay until their rows were sent: after a failure they are read again. */
static enum ia_rc read_changes(struct ia_psk_sync *sync, struct ia_err *err)
{
    struct ia_psk_rows *rows = NULL;
    enum ia_rc rc = ia_db_psks_by_identity(sync->db, (const char *const *)sync->changed, sync->n_changed, &rows, err);
    if (rc != IA_OK)
        return rc;
    rc = send_rows(sync, rows, err);
    ia_psk_rows_free(rows);
    if (rc == IA_OK)
        forget_changes(sync);
    sync->heard_us = rc == IA_OK ? 0 : sync->heard_us;
    return rc;
}

/* ---- all rows */

/* A resync without its begin or its end would leave deleted rows in memory: the failure drops the connection, and the next
 * one begins another resync. */
static enum ia_rc send_mark(const struct ia_psk_sync *sync, enum ia_reply_kind kind, struct ia_err *err)
{
    struct ia_reply *reply = ia_reply_new(kind, NULL);
    if (!reply)
        return ia_nomem(err);
    ia_sink_send(sync->sink, reply);
    return IA_OK;
}

static enum ia_rc begin_resync(struct ia_psk_sync *sync, struct ia_err *err)
{
    sync->restart = false;
    sync->resyncing = true;
    sync->after[0] = '\0';
    sync->begun_ms = ia_monotonic_ms();
    ia_psk_problems_begin(sync->problems);
    if (sync->keys_read_ms == 0)
        ia_psk_sync_read_keys(sync);
    return send_mark(sync, IA_REPLY_PSK_BEGIN, err);
}

/* Any role can send notifications: half of the time at most goes to resyncs. */
static enum ia_rc end_resync(struct ia_psk_sync *sync, struct ia_err *err)
{
    int64_t now = ia_monotonic_ms(), took = now - sync->begun_ms;
    sync->resyncing = false;
    sync->pause_until_ms = now + (took < PAUSE_MIN_MS ? PAUSE_MIN_MS : took);
    return send_mark(sync, IA_REPLY_PSK_END, err);
}

static enum ia_rc read_page(struct ia_psk_sync *sync, struct ia_err *err)
{
    struct ia_psk_rows *rows = NULL;
    enum ia_rc rc = sync->resyncing ? IA_OK : begin_resync(sync, err);
    if (rc == IA_OK)
        rc = ia_db_psk_page(sync->db, sync->after, &rows, err);
    if (rc != IA_OK)
        return rc;
    bool end = rows->n == 0;
    if (!end) {
        (void)snprintf(sync->after, sizeof sync->after, "%s", rows->rows[rows->n - 1].identity);
        rc = send_rows(sync, rows, err);
    }
    ia_psk_rows_free(rows);
    if (rc != IA_OK)
        ia_db_disconnect(sync->db); /* a page is missing: as for the marks */
    return end ? end_resync(sync, err) : rc;
}

/* ---- due */

static bool resync_due(const struct ia_psk_sync *sync)
{
    return sync->resyncing || (sync->restart && ia_monotonic_ms() >= sync->pause_until_ms);
}

static int64_t keys_left_ms(const struct ia_psk_sync *sync)
{
    int64_t left = sync->keys_read_ms + KEYS_PAUSE_MS - ia_monotonic_ms();
    return left > 0 ? left : 0;
}

bool ia_psk_sync_due(const struct ia_psk_sync *sync)
{
    return sync->n_changed > 0 || resync_due(sync) || (sync->keys_wanted && keys_left_ms(sync) == 0);
}

int64_t ia_psk_sync_wait_ms(const struct ia_psk_sync *sync)
{
    int64_t pause = sync->pause_until_ms - ia_monotonic_ms();
    if (ia_psk_sync_due(sync))
        return 0;
    if (sync->keys_wanted)
        return keys_left_ms(sync);
    if (!sync->restart)
        return -1;
    return pause > 0 ? pause : 0;
}

enum ia_rc ia_psk_sync_read(struct ia_psk_sync *sync, struct ia_err *err)
{
    if (sync->keys_wanted && keys_left_ms(sync) == 0)
        ia_psk_sync_read_keys(sync);
    if (sync->n_changed > 0)
        return read_changes(sync, err);
    return resync_due(sync) ? read_page(sync, err) : IA_OK;
}
