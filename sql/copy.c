// SPDX-License-Identifier: ISC
/* The registry as a stream: COPY in binary, decoded row by row from libpq's buffers, which stay until their batch has
 * been handed over.  One CopyData message holds one row; the first has the file header before it. */
#include "sql/copy.h"

#include "sql/private.h"

#include <stdlib.h>
#include <string.h>

#define SIGNATURE     "PGCOPY\n\377\r\n\0"
#define SIGNATURE_LEN 11

static int32_t get_int(const uint8_t *p, size_t width)
{
    int64_t value = 0;
    (void)ia_pg_int((struct ia_pg_value){p, width}, &value);
    return (int32_t)value;
}

bool ia_copy_header(const uint8_t *bytes, size_t len, size_t *used)
{
    if (len < SIGNATURE_LEN + 8 || memcmp(bytes, SIGNATURE, SIGNATURE_LEN) != 0)
        return false;
    int32_t flags = get_int(bytes + SIGNATURE_LEN, 4);
    int32_t extension = get_int(bytes + SIGNATURE_LEN + 4, 4);
    size_t rest = len - SIGNATURE_LEN - 8;
    if (((uint32_t)flags & 0xFFFF0000u) != 0 || extension < 0 || (size_t)extension > rest)
        return false;
    *used = SIGNATURE_LEN + 8 + (size_t)extension;
    return true;
}

bool ia_copy_row(uint8_t *bytes, size_t len, struct ia_pg_value *values, size_t n, bool *end)
{
    *end = false;
    if (len < 2)
        return false;
    *end = len == 2 && get_int(bytes, 2) == -1;
    if (*end)
        return true;
    if (get_int(bytes, 2) != (int32_t)n)
        return false;
    size_t at = 2;
    for (size_t i = 0; i < n; i++) {
        if (len - at < 4)
            return false;
        int32_t size = get_int(bytes + at, 4);
        bytes[at] = '\0'; /* NUL-terminate the previous text field; this length word has been read */
        at += 4;
        if (size < -1 || (size > 0 && (size_t)size > len - at))
            return false;
        values[i] = (struct ia_pg_value){.bytes = size < 0 ? NULL : bytes + at, .len = size < 0 ? 0 : (size_t)size};
        at += values[i].len;
    }
    return at == len;
}

/* What is being read: rows[] of the batch and the messages that they point into. */
struct stream {
    struct ia_db *db;
    ia_device_batch_fn *fn;
    void *ctx;
    bool header_read, end;
    bool refused; /* by the server, with an answer that leaves the connection sound */
    size_t n_rows, n_messages;
    struct ia_arena arena;
    char *messages[IA_DEVICE_BATCH];
    struct ia_device_row rows[IA_DEVICE_BATCH];
};

static void drop_batch(struct stream *s)
{
    for (size_t i = 0; i < s->n_messages; i++)
        PQfreemem(s->messages[i]);
    s->n_messages = s->n_rows = 0;
    ia_arena_clear(&s->arena);
}

static enum ia_rc give_batch(struct stream *s, struct ia_err *err)
{
    struct ia_device_rows batch = {.rows = s->rows, .n = s->n_rows};
    enum ia_rc rc = batch.n ? s->fn(s->ctx, &batch, err) : IA_OK;
    drop_batch(s);
    return rc;
}

/* Take one message into the batch, which owns it from here on. */
static enum ia_rc take_message(struct stream *s, char *message, size_t len, struct ia_err *err)
{
    struct ia_pg_value values[IA_DEVICE_COLUMNS];
    uint8_t *bytes = (uint8_t *)message;
    size_t used = 0;
    s->messages[s->n_messages++] = message;
    if (!s->header_read && !ia_copy_header(bytes, len, &used))
        return ia_fail(err, IA_FORMAT, "PostgreSQL: COPY without its header");
    s->header_read = true;
    if (used == len && used > 0)
        return IA_OK;
    if (s->end || !ia_copy_row(bytes + used, len - used, values, IA_DEVICE_COLUMNS, &s->end))
        return ia_fail(err, IA_FORMAT, "PostgreSQL: COPY row is malformed");
    if (s->end)
        return IA_OK;
    struct ia_device_row *row = &s->rows[s->n_rows++];
    memset(row, 0, sizeof *row);
    return ia_device_row_decode(values, &s->arena, row, err);
}

/* Read messages until the server has sent all.  libpq ends each with a NUL, which the last text of a row needs. */
static enum ia_rc read_messages(struct stream *s, struct ia_err *err)
{
    int64_t deadline = ia_monotonic_ms() + s->db->query_timeout_ms;
    for (;;) {
        char *message = NULL;
        enum ia_rc rc;
        int len = PQgetCopyData(s->db->conn, &message, 1);
        if (len == -1)
            return give_batch(s, err);
        if (len == -2)
            return ia_db_lost(s->db, err);
        if (len == 0)
            rc = ia_db_read_more(s->db, deadline, "device stream", err);
        else
            rc = take_message(s, message, (size_t)len, err);
        if (rc == IA_OK && s->n_messages == IA_DEVICE_BATCH)
            rc = give_batch(s, err);
        if (rc != IA_OK)
            return rc;
        deadline = ia_monotonic_ms() + s->db->query_timeout_ms;
    }
}

/* The answers to the statements of the text in order, one of which is the stream. */
static enum ia_rc read_answers(struct stream *s, struct ia_err *err)
{
    static const ExecStatusType expected[] = {PGRES_COMMAND_OK, PGRES_COMMAND_OK, PGRES_COMMAND_OK, PGRES_COPY_OUT,
                                              PGRES_COMMAND_OK};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        enum ia_rc rc = ia_db_expect(s->db, "device stream", expected[i], err);
        s->refused = rc != IA_OK && s->db->conn;
        if (rc == IA_OK && expected[i] == PGRES_COPY_OUT)
            rc = read_messages(s, err);
        if (rc != IA_OK)
            return rc;
    }
    return ia_db_expect_end(s->db, "device stream", err);
}

static enum ia_rc read_stream(struct ia_db *db, const char *sql, ia_device_batch_fn *fn, void *ctx, struct ia_err *err)
{
    if (!db->conn)
        return ia_fail(err, IA_UNAVAILABLE, "PostgreSQL: not connected");
    struct stream *s = calloc(1, sizeof *s);
    if (!s)
        return ia_nomem(err);
    s->db = db;
    s->fn = fn;
    s->ctx = ctx;
    enum ia_rc rc = PQsendQuery(db->conn, sql) ? read_answers(s, err) : ia_db_lost(db, err);
    bool refused = s->refused && db->conn; /* a table is locked, or a row cannot be returned */
    drop_batch(s);
    free(s);
    if (rc != IA_OK && !(refused && ia_db_expect_end(db, "device stream", NULL) == IA_OK))
        ia_db_disconnect(db);
    return rc;
}

enum ia_rc ia_db_device_part(struct ia_db *db, int part, ia_device_batch_fn *fn, void *ctx, struct ia_err *err)
{
    if (part < 0 || part >= IA_DEVICE_PARTS)
        return ia_fail(err, IA_USAGE, "device part %d: there are %d", part, IA_DEVICE_PARTS);
    return read_stream(db, ia_device_parts[part], fn, ctx, err);
}

enum ia_rc ia_db_closed_devices(struct ia_db *db, ia_device_batch_fn *fn, void *ctx, struct ia_err *err)
{
    return read_stream(db, ia_closed_devices, fn, ctx, err);
}
