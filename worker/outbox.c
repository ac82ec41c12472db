// SPDX-License-Identifier: ISC
#include "worker/outbox.h"

#include "common/clock.h"
#include "x509/leaf_problem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX   20000
#define PSK_UP_TO     (COLUMNS_MAX / 2) /* a wrong key file makes a million of them: others need room, too */
#define EVENTS_MAX    10000
#define REFUSALS_MAX  6000
#define OWNERS_MAX    100000
#define CONNECTS_MAX  100000
#define CONNECTS_MS   3000 /* connects are collected that long: nobody waits for the time of a connect */
#define BATCH         500
#define COLUMNS_BATCH 32
#define PRUNE_EVERY_S 3600
#define EVENT_AGE_S   (90 * 86400)

enum column_kind { COLUMN_CA, COLUMN_RULE, COLUMN_ISSUER, COLUMN_ISSUER_NOTE, COLUMN_PSK };

/* Columns of one configuration row. */
struct column {
    struct ia_link link;
    enum column_kind kind;
    int64_t id;
    bool parsed;
    struct ia_cert_info info;
    char name[IA_VALUE_MAX + 1]; /* or identity */
    uint8_t sealed[IA_PSK_SEALED_MAX];
    size_t sealed_len;
    char *problem; /* or note; NULL: none */
};

/* The last connect of a device.  There may be many during an outage, so it is not a whole request. */
struct connect {
    struct ia_link link;
    int64_t at_us;
    const char *psk_identity; /* in texts; NULL: none */
    char texts[];             /* the device id first */
};

struct ia_outbox {
    const char *node_name;
    struct ia_fifo columns;  /* struct column */
    struct ia_fifo events;   /* struct ia_request */
    struct ia_fifo refusals; /* likewise */
    struct ia_fifo owners;   /* likewise */
    struct ia_fifo connects; /* struct connect */
    int64_t connects_due_ms; /* when the oldest of them is written */
    size_t batch; /* events and connects written at once: 1 after a refusal, so that one bad row costs no other row */
    struct ia_request *counters; /* newest */
    int64_t next_prune_s;
    uint8_t parsed_to[IA_FINGERPRINT_LEN]; /* certificates registered by hand were read up to this fingerprint */
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

static struct column *take_column(struct ia_outbox *o)
{
    struct ia_link *link = ia_fifo_take(&o->columns);
    return link ? ia_container_of(link, struct column, link) : NULL;
}

static void column_free(struct column *c)
{
    if (c)
        free(c->problem);
    free(c);
}

static void drop_requests(struct ia_fifo *fifo, size_t n)
{
    for (; n > 0; n--)
        ia_request_free(ia_container_of(ia_fifo_take(fifo), struct ia_request, link));
}

static void drop_connects(struct ia_outbox *o, size_t n)
{
    for (; n > 0; n--)
        free(ia_container_of(ia_fifo_take(&o->connects), struct connect, link));
}

void ia_outbox_free(struct ia_outbox *outbox)
{
    if (!outbox)
        return;
    while (outbox->columns.n > 0)
        column_free(take_column(outbox));
    drop_requests(&outbox->events, outbox->events.n);
    drop_requests(&outbox->refusals, outbox->refusals.n);
    drop_requests(&outbox->owners, outbox->owners.n);
    drop_connects(outbox, outbox->connects.n);
    ia_request_free(outbox->counters);
    free(outbox);
}

/* ---- queueing */

static struct column *add_column(struct ia_outbox *o, enum column_kind kind, const char *problem)
{
    struct column *c = o->columns.n < COLUMNS_MAX ? calloc(1, sizeof *c) : NULL;
    if (!c)
        return NULL;
    c->kind = kind;
    c->problem = problem ? strdup(problem) : NULL;
    if (problem && !c->problem) { /* written as NULL, it would say that the row is fine */
        free(c);
        return NULL;
    }
    ia_fifo_append(&o->columns, &c->link);
    return c;
}

void ia_outbox_ca(struct ia_outbox *outbox, int64_t ca_id, const struct ia_cert_info *info, const char *problem)
{
    struct column *c = add_column(outbox, COLUMN_CA, problem);
    if (!c)
        return;
    c->id = ca_id;
    c->parsed = info != NULL;
    if (info)
        c->info = *info;
}

void ia_outbox_rule(struct ia_outbox *outbox, int64_t rule_id, const char *problem)
{
    struct column *c = add_column(outbox, COLUMN_RULE, problem);
    if (c)
        c->id = rule_id;
}

static void add_issuer_column(struct ia_outbox *o, enum column_kind kind, const char *name, const char *text)
{
    struct column *c = add_column(o, kind, text);
    if (c)
        (void)snprintf(c->name, sizeof c->name, "%s", name);
}

void ia_outbox_issuer(struct ia_outbox *outbox, const char *name, const char *problem)
{
    add_issuer_column(outbox, COLUMN_ISSUER, name, problem);
}

void ia_outbox_issuer_note(struct ia_outbox *outbox, const char *name, const char *note)
{
    add_issuer_column(outbox, COLUMN_ISSUER_NOTE, name, note);
}

void ia_outbox_psk(struct ia_outbox *outbox, const struct ia_psk_row *row, const char *problem)
{
    if (row->sealed.len > IA_PSK_SEALED_MAX || outbox->columns.n >= PSK_UP_TO)
        return;
    struct column *c = add_column(outbox, COLUMN_PSK, problem);
    if (!c)
        return;
    (void)snprintf(c->name, sizeof c->name, "%s", row->identity);
    memcpy(c->sealed, row->sealed.at, row->sealed.len);
    c->sealed_len = row->sealed.len;
}

void ia_outbox_event(struct ia_outbox *outbox, struct ia_request *request)
{
    if (outbox->events.n >= EVENTS_MAX)
        drop_requests(&outbox->events, 1);
    ia_fifo_append(&outbox->events, &request->link);
}

void ia_outbox_refusal(struct ia_outbox *outbox, struct ia_request *request)
{
    if (outbox->refusals.n >= REFUSALS_MAX)
        drop_requests(&outbox->refusals, 1);
    ia_fifo_append(&outbox->refusals, &request->link);
}

void ia_outbox_owner(struct ia_outbox *outbox, struct ia_request *request)
{
    if (outbox->owners.n >= OWNERS_MAX)
        drop_requests(&outbox->owners, 1);
    ia_fifo_append(&outbox->owners, &request->link);
}

void ia_outbox_connected(struct ia_outbox *outbox, struct ia_request *request)
{
    const char *identity = request->connected.psk_identity;
    size_t size = strlen(request->connected.device_id) + 1, identity_size = strlen(identity) + 1;
    struct connect *c = malloc(sizeof *c + size + identity_size);
    if (c) {
        c->at_us = request->connected.at_us;
        memcpy(c->texts, request->connected.device_id, size);
        memcpy(c->texts + size, identity, identity_size);
        c->psk_identity = identity[0] ? c->texts + size : NULL;
        if (outbox->connects.n >= CONNECTS_MAX)
            drop_connects(outbox, 1);
        if (outbox->connects.n == 0)
            outbox->connects_due_ms = ia_monotonic_ms() + CONNECTS_MS;
        ia_fifo_append(&outbox->connects, &c->link);
    }
    ia_request_free(request);
}

void ia_outbox_counters(struct ia_outbox *outbox, struct ia_request *request)
{
    ia_request_free(outbox->counters);
    outbox->counters = request;
}

int64_t ia_outbox_wait_ms(const struct ia_outbox *outbox)
{
    if (outbox->columns.n || outbox->events.n || outbox->refusals.n || outbox->owners.n)
        return 0;
    if (outbox->connects.n == 0)
        return -1;
    int64_t left = outbox->connects.n < BATCH ? outbox->connects_due_ms - ia_monotonic_ms() : 0;
    return left > 0 ? left : 0;
}

bool ia_outbox_due(const struct ia_outbox *outbox)
{
    return ia_outbox_wait_ms(outbox) == 0;
}

/* ---- writing */

static enum ia_rc write_column(struct ia_db *db, const struct column *c, struct ia_err *err)
{
    switch (c->kind) {
    case COLUMN_CA:
        return ia_db_set_ca_parsed(db, c->id, c->parsed ? &c->info : NULL, c->problem, err);
    case COLUMN_RULE:
        return ia_db_set_rule_problem(db, c->id, c->problem, err);
    case COLUMN_ISSUER:
        return ia_db_set_issuer_problem(db, c->name, c->problem, err);
    case COLUMN_ISSUER_NOTE:
        return ia_db_set_issuer_note(db, c->name, c->problem, err);
    case COLUMN_PSK: {
        const struct ia_octets sealed = {c->sealed, c->sealed_len};
        return ia_db_set_psk_problem(db, c->name, &sealed, c->problem, err);
    }
    }
    return IA_OK;
}

/* Did the database refuse the statement itself, permanently, with the connection sound?  Such a row is dropped: it must
 * not hold up the rows after it. */
static bool is_refused(struct ia_db *db, enum ia_rc rc)
{
    return rc != IA_OK && rc != IA_UNAVAILABLE && ia_db_connected(db);
}

/* An administrator may hold a lock on the row: the next try begins with another row. */
static void postpone_column(struct ia_outbox *o)
{
    struct column *c = take_column(o);
    ia_fifo_append(&o->columns, &c->link);
}

static enum ia_rc write_columns(struct ia_outbox *o, struct ia_db *db, struct ia_err *err)
{
    for (int i = 0; i < COLUMNS_BATCH && o->columns.n > 0; i++) {
        enum ia_rc rc = write_column(db, ia_container_of(o->columns.head, struct column, link), err);
        if (rc == IA_UNAVAILABLE && ia_db_connected(db))
            postpone_column(o);
        if (rc != IA_OK && !is_refused(db, rc))
            return rc;
        column_free(take_column(o));
    }
    return IA_OK;
}

/* How many rows of a batch of n are finished: all when they were written, and a single row that was refused. */
static size_t finished_rows(struct ia_outbox *o, size_t n, struct ia_db *db, enum ia_rc *rc)
{
    bool refused = is_refused(db, *rc);
    o->batch = refused ? 1 : BATCH;
    size_t finished = *rc == IA_OK || (refused && n == 1) ? n : 0;
    if (refused)
        *rc = IA_OK;
    return finished;
}

static struct ia_event_row event_row(const struct ia_event_request *e, const char *detail)
{
    return (struct ia_event_row){
        .at_us = e->at_us,
        .kind = e->kind,
        .principal = e->principal[0] ? e->principal : NULL,
        .ca_id = e->ca_id,
        .address = e->address[0] ? e->address : NULL,
        .reason = e->reason == IA_R_NONE ? NULL : ia_reason_name(e->reason),
        .detail = detail[0] ? detail : NULL,
    };
}

static enum ia_rc write_events(struct ia_outbox *o, struct ia_db *db, struct ia_err *err)
{
    struct ia_event_row rows[BATCH];
    size_t n = 0;
    for (struct ia_link *link = o->events.head; link && n < o->batch; link = link->next) {
        const struct ia_request *request = ia_container_of(link, struct ia_request, link);
        rows[n++] = event_row(&request->event, request->text);
    }
    if (n == 0)
        return IA_OK;
    enum ia_rc rc = ia_db_write_events(db, o->node_name, rows, n, err);
    drop_requests(&o->events, finished_rows(o, n, db, &rc));
    return rc;
}

static struct ia_refusal_row refusal_row(const struct ia_request *request)
{
    const struct ia_refusal_request *r = &request->refusal;
    return (struct ia_refusal_row){.key_kind = r->key_kind,
                                   .key = r->key,
                                   .first_us = r->first_us,
                                   .count = r->count,
                                   .event = event_row(&r->event, request->text)};
}

static enum ia_rc write_refusals(struct ia_outbox *o, struct ia_db *db, struct ia_err *err)
{
    struct ia_refusal_row rows[BATCH];
    size_t n = 0;
    for (struct ia_link *link = o->refusals.head; link && n < o->batch; link = link->next)
        rows[n++] = refusal_row(ia_container_of(link, struct ia_request, link));
    if (n == 0)
        return IA_OK;
    enum ia_rc rc = ia_db_write_refusals(db, o->node_name, rows, n, err);
    drop_requests(&o->refusals, finished_rows(o, n, db, &rc));
    return rc;
}

static struct ia_owner_row owner_row(const struct ia_request *request)
{
    const struct ia_owner_request *o = &request->owner;
    return (struct ia_owner_row){
        .key = o->key, .client_id = request->text, .principal = o->principal[0] ? o->principal : NULL};
}

static enum ia_rc write_owners(struct ia_outbox *o, struct ia_db *db, struct ia_err *err)
{
    struct ia_owner_row rows[BATCH];
    size_t n = 0;
    for (struct ia_link *link = o->owners.head; link && n < o->batch; link = link->next)
        rows[n++] = owner_row(ia_container_of(link, struct ia_request, link));
    if (n == 0)
        return IA_OK;
    enum ia_rc rc = ia_db_write_owners(db, o->node_name, rows, n, err);
    drop_requests(&o->owners, finished_rows(o, n, db, &rc));
    return rc;
}

static enum ia_rc write_connects(struct ia_outbox *o, struct ia_db *db, struct ia_err *err)
{
    struct ia_connect_row rows[BATCH];
    size_t n = 0;
    for (struct ia_link *link = o->connects.head; link && n < o->batch; link = link->next) {
        const struct connect *c = ia_container_of(link, struct connect, link);
        rows[n++] = (struct ia_connect_row){.device_id = c->texts, .psk_identity = c->psk_identity, .at_us = c->at_us};
    }
    if (n == 0)
        return IA_OK;
    enum ia_rc rc = ia_db_connected_devices(db, rows, n, err);
    drop_connects(o, finished_rows(o, n, db, &rc));
    return rc;
}

enum ia_rc ia_outbox_write(struct ia_outbox *outbox, struct ia_db *db, struct ia_err *err)
{
    enum ia_rc rc = write_owners(outbox, db, err);
    if (rc == IA_OK)
        rc = write_events(outbox, db, err);
    if (rc == IA_OK)
        rc = write_refusals(outbox, db, err);
    if (rc == IA_OK)
        rc = write_connects(outbox, db, err);
    return rc == IA_OK ? write_columns(outbox, db, err) : rc;
}

static enum ia_rc parse_certificate(struct ia_db *db, const struct ia_ca_set *cas, const struct ia_unparsed_row *row,
                                    struct ia_err *err)
{
    struct ia_cert *cert = NULL;
    struct ia_err wrong = {0};
    char problem[IA_LEAF_PROBLEM_MAX] = "";
    enum ia_rc rc = ia_cert_parse_pem(row->pem, &cert, &wrong);
    if (rc == IA_NOMEM)
        return IA_OK; /* the row gets another turn */
    if (rc != IA_OK)
        (void)snprintf(problem, sizeof problem, "%s", wrong.msg);
    else if (cas)
        ia_leaf_problem(cas, ia_cert_x509(cert), ia_wall_s(), problem);
    rc = ia_db_set_certificate_parsed(db, row->fingerprint, cert ? ia_cert_info(cert) : NULL,
                                      problem[0] ? problem : NULL, err);
    ia_cert_free(cert);
    return is_refused(db, rc) ? IA_OK : rc;
}

/* A certificate that an administrator registered has no parsed columns: SQL cannot read X.509.  Page by page and then
 * from the beginning again, so that certificates that never parse do not hold up the others. */
static enum ia_rc parse_registered(struct ia_outbox *o, struct ia_db *db, const struct ia_ca_set *cas,
                                   struct ia_err *err)
{
    struct ia_unparsed_rows *rows = NULL;
    size_t i = 0;
    enum ia_rc rc = ia_db_unparsed(db, o->parsed_to, &rows, err);
    for (; rc == IA_OK && i < rows->n; i++) {
        memcpy(o->parsed_to, rows->rows[i].fingerprint, sizeof o->parsed_to);
        rc = parse_certificate(db, cas, &rows->rows[i], err);
    }
    if (rc == IA_OK && i < IA_UNPARSED_PAGE)
        memset(o->parsed_to, 0, sizeof o->parsed_to);
    ia_unparsed_rows_free(rows);
    return ia_db_connected(db) ? IA_OK : rc; /* a row that is locked now gets another turn */
}

enum ia_rc ia_outbox_heartbeat(struct ia_outbox *outbox, struct ia_db *db, const struct ia_ca_set *cas,
                               struct ia_err *err)
{
    enum ia_rc rc = ia_db_heartbeat(db, outbox->node_name, outbox->counters ? outbox->counters->text : "{}", err);
    if (rc == IA_OK)
        rc = parse_registered(outbox, db, cas, err);
    if (rc == IA_OK && ia_wall_s() >= outbox->next_prune_s) {
        rc = ia_db_prune(db, EVENT_AGE_S, err);
        outbox->next_prune_s = ia_wall_s() + PRUNE_EVERY_S;
    }
    return rc;
}

void ia_outbox_stopped(struct ia_outbox *outbox, struct ia_db *db)
{
    struct ia_err ignored = {0};
    (void)ia_db_node_stopped(db, outbox->node_name, &ignored);
}
