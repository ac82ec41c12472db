// SPDX-License-Identifier: ISC
#include "worker/outbox.h"

#include "common/clock.h"

#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX   20000
#define EVENTS_MAX    10000
#define SEEN_MAX      100000
#define BATCH         500
#define COLUMNS_BATCH 32
#define PRUNE_EVERY_S 3600
#define EVENT_AGE_S   (90 * 86400)

enum column_kind { COLUMN_CA, COLUMN_RULE, COLUMN_ISSUER };

struct column {
    struct column *next;
    enum column_kind kind;
    int64_t id;
    bool parsed;
    struct ia_cert_info info;
    char name[IA_VALUE_MAX + 1];
    char *problem; /* NULL: none */
};

struct list {
    struct ia_request *head, *tail;
    size_t n;
};

/* A device that has connected.  There may be many during an outage, so not a whole request for each. */
struct seen {
    struct seen *next;
    int64_t at_us;
    char device_id[];
};

struct ia_outbox {
    const char *node_name;
    struct column *columns, *columns_tail;
    size_t n_columns;
    struct list events;
    struct seen *seen, *seen_tail;
    size_t n_seen;
    size_t batch; /* events and connects written at once: 1 after a refusal, so that one bad row costs no other */
    struct ia_request *counters; /* newest */
    int64_t next_prune_s;
    uint8_t parsed_to[IA_FINGERPRINT_LEN]; /* certificates registered by hand have been looked at up to this one */
};

struct ia_outbox *ia_outbox_new(const char *node_name)
{
    struct ia_outbox *o = calloc(1, sizeof *o);
    if (!o)
        return NULL;
    o->node_name = node_name;
    o->batch = BATCH;
    return o;
}

static void column_free(struct column *c)
{
    if (c)
        free(c->problem);
    free(c);
}

static struct column *column_take(struct ia_outbox *o)
{
    struct column *c = o->columns;
    if (!c)
        return NULL;
    o->columns = c->next;
    if (!o->columns)
        o->columns_tail = NULL;
    o->n_columns--;
    return c;
}

static struct ia_request *list_take(struct list *list)
{
    struct ia_request *r = list->head;
    if (!r)
        return NULL;
    list->head = (struct ia_request *)(void *)r->link.next;
    if (!list->head)
        list->tail = NULL;
    list->n--;
    return r;
}

static void list_add(struct list *list, struct ia_request *r, size_t most)
{
    if (list->n >= most)
        ia_request_free(list_take(list));
    r->link.next = NULL;
    if (list->tail)
        list->tail->link.next = &r->link;
    else
        list->head = r;
    list->tail = r;
    list->n++;
}

static void list_drop(struct list *list, size_t n)
{
    while (n-- > 0)
        ia_request_free(list_take(list));
}

static void seen_drop(struct ia_outbox *o, size_t n)
{
    for (; n > 0; n--) {
        struct seen *s = o->seen;
        o->seen = s->next;
        o->n_seen--;
        free(s);
    }
    if (!o->seen)
        o->seen_tail = NULL;
}

void ia_outbox_free(struct ia_outbox *outbox)
{
    if (!outbox)
        return;
    struct column *c;
    while ((c = column_take(outbox)) != NULL)
        column_free(c);
    list_drop(&outbox->events, outbox->events.n);
    seen_drop(outbox, outbox->n_seen);
    ia_request_free(outbox->counters);
    free(outbox);
}

static void column_append(struct ia_outbox *o, struct column *c)
{
    c->next = NULL;
    if (o->columns_tail)
        o->columns_tail->next = c;
    else
        o->columns = c;
    o->columns_tail = c;
    o->n_columns++;
}

static struct column *column_add(struct ia_outbox *o, enum column_kind kind, const char *problem)
{
    struct column *c = o->n_columns < COLUMNS_MAX ? calloc(1, sizeof *c) : NULL;
    if (!c)
        return NULL;
    c->kind = kind;
    c->problem = problem ? strdup(problem) : NULL;
    column_append(o, c);
    return c;
}

void ia_outbox_ca(struct ia_outbox *outbox, int64_t ca_id, const struct ia_cert_info *info, const char *problem)
{
    struct column *c = column_add(outbox, COLUMN_CA, problem);
    if (!c)
        return;
    c->id = ca_id;
    c->parsed = info != NULL;
    if (info)
        c->info = *info;
}

void ia_outbox_rule(struct ia_outbox *outbox, int64_t rule_id, const char *problem)
{
    struct column *c = column_add(outbox, COLUMN_RULE, problem);
    if (c)
        c->id = rule_id;
}

void ia_outbox_issuer(struct ia_outbox *outbox, const char *name, const char *problem)
{
    struct column *c = column_add(outbox, COLUMN_ISSUER, problem);
    if (c)
        strncpy(c->name, name, sizeof c->name - 1);
}

void ia_outbox_event(struct ia_outbox *outbox, struct ia_request *request)
{
    list_add(&outbox->events, request, EVENTS_MAX);
}

void ia_outbox_connected(struct ia_outbox *outbox, struct ia_request *request)
{
    size_t len = strlen(request->connected.device_id);
    struct seen *s = malloc(sizeof *s + len + 1);
    if (s) {
        s->next = NULL;
        s->at_us = request->connected.at_us;
        memcpy(s->device_id, request->connected.device_id, len + 1);
        if (outbox->n_seen >= SEEN_MAX)
            seen_drop(outbox, 1);
        if (outbox->seen_tail)
            outbox->seen_tail->next = s;
        else
            outbox->seen = s;
        outbox->seen_tail = s;
        outbox->n_seen++;
    }
    ia_request_free(request);
}

void ia_outbox_counters(struct ia_outbox *outbox, struct ia_request *request)
{
    ia_request_free(outbox->counters);
    outbox->counters = request;
}

bool ia_outbox_due(const struct ia_outbox *outbox)
{
    return outbox->columns || outbox->events.n || outbox->seen;
}

static enum ia_rc write_column(struct ia_db *db, const struct column *c, struct ia_err *err)
{
    switch (c->kind) {
    case COLUMN_CA:
        return ia_db_set_ca_parsed(db, c->id, c->parsed ? &c->info : NULL, c->problem, err);
    case COLUMN_RULE:
        return ia_db_set_rule_problem(db, c->id, c->problem, err);
    case COLUMN_ISSUER:
        return ia_db_set_issuer_problem(db, c->name, c->problem, err);
    }
    return IA_OK;
}

/* Did the database refuse the statement itself, for good, with the connection sound?  No row may hold up what comes
 * after it. */
static bool is_refused(struct ia_db *db, enum ia_rc rc)
{
    return rc != IA_OK && rc != IA_UNAVAILABLE && ia_db_connected(db);
}

/* An administrator may hold a lock on the row: the next try begins with another. */
static void column_postpone(struct ia_outbox *o)
{
    column_append(o, column_take(o));
}

static enum ia_rc write_columns(struct ia_outbox *o, struct ia_db *db, struct ia_err *err)
{
    for (int i = 0; i < COLUMNS_BATCH && o->columns; i++) {
        enum ia_rc rc = write_column(db, o->columns, err);
        if (rc == IA_UNAVAILABLE && ia_db_connected(db))
            column_postpone(o);
        if (rc != IA_OK && !is_refused(db, rc))
            return rc;
        column_free(column_take(o));
    }
    return IA_OK;
}

/* How many of a batch of n are done with: those that were written, and a single row that was refused. */
static size_t settle(struct ia_outbox *o, size_t n, struct ia_db *db, enum ia_rc *rc)
{
    bool refused = is_refused(db, *rc);
    o->batch = refused ? 1 : BATCH;
    size_t done = *rc == IA_OK || (refused && n == 1) ? n : 0;
    if (refused)
        *rc = IA_OK;
    return done;
}

static enum ia_rc write_events(struct ia_outbox *o, struct ia_db *db, struct ia_err *err)
{
    struct ia_event_row rows[BATCH];
    size_t n = 0;
    for (struct ia_request *r = o->events.head; r && n < o->batch; r = (struct ia_request *)(void *)r->link.next)
        rows[n++] = (struct ia_event_row){
            .at_us = r->event.at_us,
            .kind = r->event.kind,
            .principal = r->event.principal[0] ? r->event.principal : NULL,
            .ca_id = r->event.ca_id,
            .address = r->event.address[0] ? r->event.address : NULL,
            .reason = r->event.reason == IA_R_NONE ? NULL : ia_reason_name(r->event.reason),
            .detail = r->text[0] ? r->text : NULL,
        };
    if (n == 0)
        return IA_OK;
    enum ia_rc rc = ia_db_write_events(db, o->node_name, rows, n, err);
    list_drop(&o->events, settle(o, n, db, &rc));
    return rc;
}

static enum ia_rc write_seen(struct ia_outbox *o, struct ia_db *db, struct ia_err *err)
{
    const char *ids[BATCH];
    int64_t at[BATCH];
    size_t n = 0;
    for (const struct seen *s = o->seen; s && n < o->batch; s = s->next) {
        ids[n] = s->device_id;
        at[n++] = s->at_us;
    }
    if (n == 0)
        return IA_OK;
    enum ia_rc rc = ia_db_connected_devices(db, ids, at, n, err);
    seen_drop(o, settle(o, n, db, &rc));
    return rc;
}

enum ia_rc ia_outbox_write(struct ia_outbox *outbox, struct ia_db *db, struct ia_err *err)
{
    enum ia_rc rc = write_events(outbox, db, err);
    if (rc == IA_OK)
        rc = write_seen(outbox, db, err);
    return rc == IA_OK ? write_columns(outbox, db, err) : rc;
}

static enum ia_rc parse_one(struct ia_db *db, const struct ia_unparsed_row *row, struct ia_err *err)
{
    struct ia_cert *cert = NULL;
    if (ia_cert_parse_pem(row->pem, &cert, NULL) != IA_OK)
        return IA_OK;
    enum ia_rc rc = ia_db_set_certificate_parsed(db, ia_cert_info(cert), err);
    ia_cert_free(cert);
    return is_refused(db, rc) ? IA_OK : rc;
}

/* An administrator's register_device has no parsed columns: SQL cannot read X.509.  Page by page and then from the
 * beginning, so that those that never parse stand in nobody's way. */
static enum ia_rc parse_registered(struct ia_outbox *o, struct ia_db *db, struct ia_err *err)
{
    struct ia_unparsed_rows *rows = NULL;
    size_t i = 0;
    enum ia_rc rc = ia_db_unparsed(db, o->parsed_to, &rows, err);
    for (; rc == IA_OK && i < rows->n; i++) {
        memcpy(o->parsed_to, rows->rows[i].fingerprint, sizeof o->parsed_to);
        rc = parse_one(db, &rows->rows[i], err);
    }
    if (rc == IA_OK && i < IA_UNPARSED_PAGE)
        memset(o->parsed_to, 0, sizeof o->parsed_to);
    ia_unparsed_rows_free(rows);
    return ia_db_connected(db) ? IA_OK : rc; /* what is locked now has its turn another time */
}

enum ia_rc ia_outbox_heartbeat(struct ia_outbox *outbox, struct ia_db *db, struct ia_err *err)
{
    enum ia_rc rc = ia_db_heartbeat(db, outbox->node_name, outbox->counters ? outbox->counters->text : "{}", err);
    if (rc == IA_OK)
        rc = parse_registered(outbox, db, err);
    if (rc == IA_OK && ia_wall_s() >= outbox->next_prune_s) {
        rc = ia_db_prune(db, EVENT_AGE_S, err);
        outbox->next_prune_s = ia_wall_s() + PRUNE_EVERY_S;
    }
    return rc;
}
