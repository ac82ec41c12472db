/* The life of the worker:
 *
 *   connect (LISTEN is committed by then) → read all configuration → snapshot → walk all devices in pages
 *   → for each wake-up: requests first, then what notifications made dirty, then a page, then rows to write
 *   → when the connection is lost: say so once, answer requests as unavailable, try again with back-off
 *
 * Whatever changed while the connection was down is found by reading everything again, so a notification is only ever a
 * hint.  All replies go through one queue in the order in which they were read. */
#include "plugin/worker.h"

#include "common/clock.h"
#include "plugin/outbox.h"
#include "plugin/waker.h"
#include "sql/backoff.h"
#include "sql/db.h"
#include "sql/devices.h"
#include "sql/records.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define REQUESTS_MAX    8192
#define REPLIES_MAX     256 /* pages are large: the broker thread applies them in slices */
#define REQUESTS_A_TURN 64  /* then changes get their turn, so that a storm cannot hold back a revocation */
#define HEARTBEAT_MS    5000
#define REREAD_MS       600000 /* certificates expire without a notification: their problem is told by then */
#define SETTLED_MS      10000
#define STOP_WAIT_S     2
#define FETCH_STEP_MS   20
#define IDLE_MS         1000
#define CHANGED_IDS_MAX 1000 /* changed devices read one by one; more: all are read again */

struct ia_worker {
    const struct ia_options *options;
    pthread_t thread;
    atomic_bool stop;
    int wake_fd;
    struct ia_queue *requests, *replies;
    struct ia_db *db;
    struct ia_builder *builder;
    struct ia_refresh *refresh;
    struct ia_fetcher *fetcher;
    struct ia_outbox *outbox;
    unsigned dirty;     /* set of enum ia_load to read again */
    bool issuers_stale; /* fetched keys changed: the issuers are built anew */
    bool events_due;    /* status events to publish */
    bool walking;       /* through the pages of all devices */
    bool walk_again;    /* all devices may have changed: begin at the first page (again) */
    bool walk_begun;    /* a page has been read: `after` counts */
    uint8_t after[IA_FINGERPRINT_LEN];
    char *changed[CHANGED_IDS_MAX]; /* ids of devices to read again */
    size_t n_changed;
    int64_t last_event;
    int64_t next_heartbeat_ms, next_reread_ms;
    unsigned attempts; /* to connect, since a connection last proved sound */
    int64_t connected_ms;
    bool was_up;
    char last_failure[192];
};

static int64_t now_ms(void)
{
    return ia_monotonic_us() / 1000;
}

static void send(struct ia_worker *w, struct ia_reply *reply)
{
    bool first = ia_queue_is_empty(w->replies);
    if (reply && !ia_queue_push_wait(w->replies, &reply->link))
        ia_reply_free(reply); /* closed: the broker thread is leaving */
    else if (first)
        ia_waker_wake();
}

static void say(struct ia_worker *w, int level, const char *text)
{
    struct ia_reply *reply = ia_reply_new(IA_REPLY_LOG, text);
    if (reply)
        reply->level = level;
    send(w, reply);
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

static void answer(struct ia_worker *w, const struct ia_request *request, enum ia_reason reason, const char *detail,
                   const struct ia_device_row *row, bool registered)
{
    struct ia_reply *reply = ia_reply_new(IA_REPLY_ANSWER, detail);
    if (!reply)
        return;
    reply->registering = request->kind == IA_REQUEST_REGISTER;
    reply->registered = registered;
    memcpy(reply->fingerprint, request->info.fingerprint, sizeof reply->fingerprint);
    reply->reason = reason;
    reply->devices = row ? calloc(1, sizeof *reply->devices) : NULL;
    if (reply->devices)
        reply->devices[0] = ia_device_new(row);
    if (reply->devices && reply->devices[0])
        reply->n_devices = 1;
    else if (row)
        reply->reason = IA_R_INTERNAL;
    send(w, reply);
}

static enum ia_rc look_up(struct ia_worker *w, const struct ia_request *request, struct ia_err *err)
{
    struct ia_device_rows *rows = NULL;
    enum ia_rc rc = ia_db_device_by_fingerprint(w->db, request->info.fingerprint, &rows, err);
    if (rc != IA_OK)
        return rc;
    answer(w, request, rows->n ? IA_R_NONE : IA_R_DEVICE_UNKNOWN, "", rows->n ? &rows->rows[0] : NULL, false);
    ia_device_rows_free(rows);
    return IA_OK;
}

static enum ia_rc register_device(struct ia_worker *w, const struct ia_request *request, struct ia_err *err)
{
    struct ia_registration what = {.info = &request->info,
                                   .device_id = request->name,
                                   .ca_id = request->ca_id,
                                   .node = w->options->node_name,
                                   .address = request->address[0] ? request->address : NULL};
    struct ia_registered *done = NULL;
    enum ia_rc rc = ia_db_register(w->db, &what, &done, err);
    if (rc != IA_OK)
        return rc;
    bool fresh = strcmp(done->outcome, "registered") == 0;
    bool known = fresh || strcmp(done->outcome, "known") == 0;
    enum ia_reason reason = known && done->device ? IA_R_NONE : ia_reason_from_name(done->outcome);
    answer(w, request, reason, done->detail, known ? done->device : NULL, fresh);
    ia_registered_free(done);
    return IA_OK;
}

/* --- changed devices ---------------------------------------------------------------------------------------------- */

static void take_ids(struct ia_worker *w, struct ia_reply *reply)
{
    reply->ids = calloc(w->n_changed + 1, sizeof *reply->ids);
    if (!reply->ids)
        return;
    memcpy(reply->ids, w->changed, w->n_changed * sizeof *reply->ids);
    reply->n_ids = w->n_changed;
    w->n_changed = 0;
}

/* The records of rows as a reply; NULL when out of memory. */
static struct ia_reply *records(enum ia_reply_kind kind, const struct ia_device_rows *rows)
{
    struct ia_reply *reply = ia_reply_new(kind, NULL);
    if (!reply)
        return NULL;
    reply->devices = calloc(rows->n + 1, sizeof(*reply->devices));
    if (!reply->devices) {
        ia_reply_free(reply);
        return NULL;
    }
    for (size_t i = 0; i < rows->n; i++) {
        struct ia_device *d = ia_device_new(&rows->rows[i]);
        if (d)
            reply->devices[reply->n_devices++] = d;
    }
    return reply;
}

static enum ia_rc read_changed(struct ia_worker *w, struct ia_err *err)
{
    if (w->n_changed == 0)
        return IA_OK;
    struct ia_device_rows *rows = NULL;
    enum ia_rc rc = ia_db_devices_by_id(w->db, (const char *const *)w->changed, w->n_changed, &rows, err);
    if (rc != IA_OK)
        return rc;
    struct ia_reply *reply = records(IA_REPLY_DEVICES, rows);
    ia_device_rows_free(rows);
    if (!reply)
        return ia_fail(err, IA_NOMEM, "out of memory"); /* the ids stay: they are read again */
    take_ids(w, reply);
    send(w, reply);
    return IA_OK;
}

static void forget_changed(struct ia_worker *w)
{
    while (w->n_changed > 0)
        free(w->changed[--w->n_changed]);
}

static void device_changed(struct ia_worker *w, const char *id)
{
    for (size_t i = 0; i < w->n_changed; i++)
        if (strcmp(w->changed[i], id) == 0)
            return;
    char *copy = w->n_changed < CHANGED_IDS_MAX ? strdup(id) : NULL;
    if (copy)
        w->changed[w->n_changed++] = copy;
    else
        w->walk_again = true;
}

/* --- all devices, page by page -------------------------------------------------------------------------------------
 */

static void walk_begin(struct ia_worker *w)
{
    w->walk_again = false;
    w->walking = true;
    w->walk_begun = false;
    forget_changed(w); /* they are among the pages */
    send(w, ia_reply_new(IA_REPLY_RESYNC_BEGIN, NULL));
}

static enum ia_rc walk_page(struct ia_worker *w, struct ia_err *err)
{
    struct ia_device_rows *rows = NULL;
    enum ia_rc rc = ia_db_device_page(w->db, w->walk_begun ? w->after : NULL, IA_DEVICE_PAGE, &rows, err);
    if (rc != IA_OK)
        return rc;
    w->walk_begun = true;
    bool last = rows->n < IA_DEVICE_PAGE;
    struct ia_reply *reply = records(IA_REPLY_PAGE, rows);
    bool whole = reply && reply->n_devices == rows->n;
    if (rows->n)
        memcpy(w->after, rows->rows[rows->n - 1].fingerprint, sizeof w->after);
    ia_device_rows_free(rows);
    send(w, reply);
    if (!whole)
        return ia_fail(err, IA_NOMEM, "out of memory while reading devices");
    if (last) {
        w->walking = false;
        send(w, ia_reply_new(IA_REPLY_RESYNC_END, NULL));
    }
    return IA_OK;
}

/* --- configuration -------------------------------------------------------------------------------------------------
 */

static void ca_problem(void *ctx, const struct ia_ca_row *row, const struct ia_cert_info *info, const char *problem)
{
    struct ia_worker *w = ctx;
    ia_outbox_ca(w->outbox, row->ca_id, info, problem);
    if (!problem)
        return;
    char line[512];
    (void)snprintf(line, sizeof line, "CA %s: %s (see iot_auth.ca.problem)", row->name, problem);
    say(w, MOSQ_LOG_WARNING, line);
}

static void rule_problem(void *ctx, int64_t rule_id, const char *problem)
{
    struct ia_worker *w = ctx;
    ia_outbox_rule(w->outbox, rule_id, problem);
    if (!problem)
        return;
    char line[320];
    (void)snprintf(line, sizeof line, "rule %lld: %s: its role denies everything (see iot_auth.role_rule.problem)",
                   (long long)rule_id, problem);
    say(w, MOSQ_LOG_WARNING, line);
}

static void issuer_problem(void *ctx, const char *name, const char *problem)
{
    struct ia_worker *w = ctx;
    ia_outbox_issuer(w->outbox, name, problem);
    if (!problem)
        return;
    char line[IA_ISSUER_TEXT_MAX + 256];
    (void)snprintf(line, sizeof line, "issuer %s: %s (see iot_auth.oauth_issuer.problem)", name, problem);
    say(w, MOSQ_LOG_WARNING, line);
}

static void note(void *ctx, const char *text)
{
    say(ctx, MOSQ_LOG_WARNING, text);
}

/* Tell the fetcher which issuers have their keys elsewhere. */
static enum ia_rc configure_refresh(struct ia_worker *w, const struct ia_rows *rows, struct ia_err *err)
{
    struct ia_refresh_source *sources = calloc(rows->n_issuers + 1, sizeof *sources);
    if (!sources)
        return ia_fail(err, IA_NOMEM, "out of memory");
    size_t n = 0;
    for (size_t i = 0; i < rows->n_issuers; i++) {
        const struct ia_issuer_row *row = &rows->issuers[i];
        if (row->active && !row->jwks)
            sources[n++] =
                (struct ia_refresh_source){.name = row->name, .issuer = row->issuer, .jwks_url = row->jwks_url};
    }
    enum ia_rc rc = ia_refresh_configure(w->refresh, sources, n, now_ms(), err);
    free(sources);
    return rc;
}

static void send_snapshot(struct ia_worker *w, struct ia_snapshot *snapshot)
{
    struct ia_reply *reply = ia_reply_new(IA_REPLY_SNAPSHOT, NULL);
    if (!reply) {
        ia_snapshot_free(snapshot);
        w->dirty = IA_LOAD_ALL; /* try again */
        return;
    }
    reply->snapshot = snapshot;
    send(w, reply);
}

static enum ia_rc reload(struct ia_worker *w, struct ia_err *err)
{
    const struct ia_problem_sink sink = {
        .ctx = w, .ca = ca_problem, .rule = rule_problem, .issuer = issuer_problem, .note = note};
    unsigned what = w->dirty | (w->issuers_stale ? IA_LOAD_ISSUERS : 0u);
    if (what == 0)
        return IA_OK;
    if (what & (IA_LOAD_CAS | IA_LOAD_CRLS))
        what |= IA_LOAD_CAS | IA_LOAD_CRLS;
    struct ia_rows *rows = NULL;
    enum ia_rc rc = ia_db_load(w->db, what, &rows, err);
    if (rc != IA_OK)
        return rc;
    if (what & IA_LOAD_ISSUERS)
        rc = configure_refresh(w, rows, err);
    struct ia_snapshot *snapshot = NULL;
    if (rc == IA_OK)
        rc = ia_builder_build(w->builder, what, rows, w->refresh, ia_wall_s(), &sink, &snapshot, err);
    ia_rows_free(rows);
    w->dirty = rc == IA_OK ? 0 : IA_LOAD_ALL;
    w->issuers_stale = false;
    if (rc == IA_OK)
        send_snapshot(w, snapshot);
    return rc;
}

static void notice(struct ia_worker *w, const struct ia_notice *n)
{
    static const unsigned parts[] = {
        [IA_NOTICE_UNKNOWN] = IA_LOAD_ALL,
        [IA_NOTICE_CA] = IA_LOAD_CAS | IA_LOAD_CRLS,
        [IA_NOTICE_ROLE] = IA_LOAD_POLICY,
        [IA_NOTICE_DEVICE] = 0,
        [IA_NOTICE_ISSUER] = IA_LOAD_ISSUERS,
        [IA_NOTICE_IP] = IA_LOAD_IPS,
        [IA_NOTICE_EVENT] = 0,
    };
    w->dirty |= parts[n->topic];
    w->events_due |= n->topic == IA_NOTICE_EVENT;
    bool devices = n->topic == IA_NOTICE_DEVICE || n->topic == IA_NOTICE_UNKNOWN;
    if (devices && n->all)
        w->walk_again = true;
    for (size_t i = 0; devices && i < n->n_keys; i++)
        device_changed(w, n->keys[i]);
}

static void take_notices(struct ia_worker *w)
{
    struct ia_notice n;
    while (ia_db_notification(w->db, &n))
        notice(w, &n);
}

/* --- events by administrators ---------------------------------------------------------------------------------------
 */

static void publish(struct ia_worker *w, const char *kind, const char *json)
{
    struct ia_reply *reply = ia_reply_new(IA_REPLY_EVENT, json);
    if (reply)
        (void)snprintf(reply->name, sizeof reply->name, "%s", kind);
    send(w, reply);
}

static enum ia_rc publish_status_events(struct ia_worker *w, struct ia_err *err)
{
    struct ia_tail_rows *rows = NULL;
    enum ia_rc rc = ia_db_event_tail(w->db, w->last_event, &rows, err);
    if (rc != IA_OK)
        return rc;
    for (size_t i = 0; i < rows->n; i++) {
        w->last_event = rows->rows[i].event_id;
        publish(w, rows->rows[i].kind, rows->rows[i].detail ? rows->rows[i].detail : "{}");
    }
    w->events_due = rows->n > 0; /* there may be more */
    ia_tail_rows_free(rows);
    return IA_OK;
}

/* --- keys -----------------------------------------------------------------------------------------------------------
 */

static void fetched(void *ctx, const struct ia_fetch_result *result)
{
    struct ia_worker *w = ctx;
    bool had_problem = *ia_refresh_problem(w->refresh, result->name) != '\0';
    bool changed = ia_refresh_take(w->refresh, result, now_ms());
    bool has_problem = *ia_refresh_problem(w->refresh, result->name) != '\0';
    if (changed || had_problem != has_problem)
        w->issuers_stale = true;
}

static void fetch_keys(struct ia_worker *w)
{
    ia_refresh_run(w->refresh, w->fetcher, now_ms());
    if (ia_fetcher_busy(w->fetcher))
        ia_fetcher_run(w->fetcher);
}

/* --- requests -------------------------------------------------------------------------------------------------------
 */

static enum ia_rc serve(struct ia_worker *w, struct ia_request *request, struct ia_err *err)
{
    switch (request->kind) {
    case IA_REQUEST_LOOKUP:
        return look_up(w, request, err);
    case IA_REQUEST_REGISTER:
        return register_device(w, request, err);
    case IA_REQUEST_DEVICE:
        device_changed(w, request->name);
        return IA_OK;
    case IA_REQUEST_KEYS:
        ia_refresh_want(w->refresh, request->name, now_ms());
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

static enum ia_rc serve_requests(struct ia_worker *w, struct ia_err *err)
{
    enum ia_rc rc = IA_OK;
    for (int i = 0; i < REQUESTS_A_TURN && rc == IA_OK; i++) {
        struct ia_request *request = next_request(w);
        if (!request)
            break;
        if (shelve(w, request))
            continue;
        rc = serve(w, request, err);
        if (rc != IA_OK)
            answer(w, request, IA_R_REGISTRY_UNAVAILABLE, err->msg, NULL, false);
        ia_request_free(request);
        if (rc != IA_OK && ia_db_connected(w->db)) {
            say(w, MOSQ_LOG_ERR, err->msg); /* this one was refused: the others go on */
            rc = IA_OK;
        }
    }
    return rc;
}

/* While there is no connection nobody queues behind it. */
static void refuse_requests(struct ia_worker *w)
{
    struct ia_request *request;
    while ((request = next_request(w)) != NULL) {
        if (shelve(w, request))
            continue;
        if (request->kind == IA_REQUEST_LOOKUP || request->kind == IA_REQUEST_REGISTER)
            answer(w, request, IA_R_REGISTRY_UNAVAILABLE, "the database is not connected", NULL, false);
        if (request->kind == IA_REQUEST_KEYS)
            ia_refresh_want(w->refresh, request->name, now_ms());
        ia_request_free(request);
    }
}

/* --- the connection -------------------------------------------------------------------------------------------------
 */

static void tell_state(struct ia_worker *w, bool up)
{
    struct ia_reply *reply = ia_reply_new(IA_REPLY_STATE, NULL);
    if (reply)
        reply->up = up;
    send(w, reply);
}

static void tell_failure(struct ia_worker *w, const struct ia_err *err)
{
    char line[256];
    (void)snprintf(line, sizeof line, "%s: %s", w->was_up ? "lost the database" : "no database", err->msg);
    if (w->was_up || strcmp(w->last_failure, err->msg) != 0)
        say(w, MOSQ_LOG_ERR, line);
    (void)snprintf(w->last_failure, sizeof w->last_failure, "%s", err->msg);
    w->was_up = false;
}

/* Connect and read everything. */
static enum ia_rc begin(struct ia_worker *w, struct ia_err *err)
{
    enum ia_rc rc = ia_db_connect(w->db, err);
    if (rc != IA_OK)
        return rc;
    w->dirty = IA_LOAD_ALL;
    if (w->last_event == 0)
        rc = ia_db_last_event(w->db, &w->last_event, err);
    else
        w->events_due = true;
    if (rc == IA_OK)
        rc = reload(w, err);
    if (rc != IA_OK)
        return rc;
    w->walk_again = true;
    w->next_heartbeat_ms = 0;
    w->next_reread_ms = now_ms() + REREAD_MS;
    tell_state(w, true);
    if (w->last_failure[0])
        say(w, MOSQ_LOG_NOTICE, "the database is back");
    w->last_failure[0] = '\0';
    w->was_up = true;
    w->connected_ms = now_ms();
    return IA_OK;
}

static enum ia_rc beat(struct ia_worker *w, struct ia_err *err)
{
    if (now_ms() >= w->next_reread_ms) {
        w->dirty = IA_LOAD_ALL;
        w->next_reread_ms = now_ms() + REREAD_MS;
    }
    if (now_ms() < w->next_heartbeat_ms)
        return IA_OK;
    if (now_ms() - w->connected_ms > SETTLED_MS)
        w->attempts = 0; /* a connection that is lost at once again is tried with back-off */
    enum ia_rc rc = ia_outbox_heartbeat(w->outbox, w->db, err);
    w->next_heartbeat_ms = now_ms() + HEARTBEAT_MS;
    if (rc == IA_OK)
        send(w, ia_reply_new(IA_REPLY_CONTACT, NULL));
    return rc;
}

/* One turn of everything that is due, in the order of urgency. */
static enum ia_rc turn(struct ia_worker *w, struct ia_err *err)
{
    take_notices(w);
    enum ia_rc rc = reload(w, err);
    if (rc == IA_OK)
        rc = read_changed(w, err);
    if (rc == IA_OK)
        rc = serve_requests(w, err);
    if (rc == IA_OK && w->events_due)
        rc = publish_status_events(w, err);
    if (rc == IA_OK && w->walk_again)
        walk_begin(w);
    if (rc == IA_OK && w->walking)
        rc = walk_page(w, err);
    if (rc == IA_OK)
        rc = beat(w, err);
    if (rc == IA_OK)
        rc = ia_outbox_write(w->outbox, w->db, err);
    fetch_keys(w);
    return rc;
}

/* How long nothing is due. */
static int idle_ms(const struct ia_worker *w)
{
    if (w->walking || w->walk_again || w->dirty || w->issuers_stale || w->n_changed || w->events_due ||
        !ia_queue_is_empty(w->requests) || ia_outbox_due(w->outbox))
        return 0;
    if (ia_fetcher_busy(w->fetcher))
        return FETCH_STEP_MS;
    int64_t wait = ia_refresh_wait_ms(w->refresh, now_ms());
    return wait >= 0 && wait < IDLE_MS ? (int)wait : IDLE_MS;
}

static void run_connected(struct ia_worker *w, struct ia_err *err)
{
    enum ia_rc rc = begin(w, err);
    while (rc == IA_OK && !atomic_load(&w->stop)) {
        rc = turn(w, err);
        if (rc == IA_OK)
            rc = ia_db_wait(w->db, idle_ms(w), err);
    }
}

/* Wait for the next attempt, still answering. */
static void pause_disconnected(struct ia_worker *w)
{
    struct ia_err ignored = {0};
    int64_t until = now_ms() + ia_backoff_ms(w->attempts++, (uint32_t)ia_monotonic_us() * 2654435761u);
    while (!atomic_load(&w->stop)) {
        refuse_requests(w);
        fetch_keys(w);
        int64_t left = until - now_ms();
        if (left <= 0)
            return;
        int wait = ia_fetcher_busy(w->fetcher) && left > FETCH_STEP_MS ? FETCH_STEP_MS : (int)left;
        if (ia_db_wait(w->db, wait, &ignored) != IA_OK)
            return;
    }
}

static void *worker_main(void *arg)
{
    struct ia_worker *w = arg;
    while (!atomic_load(&w->stop)) {
        struct ia_err err = {0};
        run_connected(w, &err);
        if (atomic_load(&w->stop))
            break;
        ia_db_disconnect(w->db);
        w->walking = false;
        tell_state(w, false);
        tell_failure(w, &err);
        pause_disconnected(w);
    }
    return NULL;
}

/* --- start and stop -------------------------------------------------------------------------------------------------
 */

static void worker_free(struct ia_worker *w)
{
    struct ia_link *link;
    while (w->requests && (link = ia_queue_pop(w->requests)) != NULL)
        ia_request_free((struct ia_request *)(void *)link);
    while (w->replies && (link = ia_queue_pop(w->replies)) != NULL)
        ia_reply_free((struct ia_reply *)(void *)link);
    ia_queue_free(w->requests);
    ia_queue_free(w->replies);
    ia_fetcher_free(w->fetcher);
    ia_refresh_free(w->refresh);
    ia_builder_free(w->builder);
    ia_outbox_free(w->outbox);
    ia_db_free(w->db);
    forget_changed(w);
    if (w->wake_fd >= 0)
        close(w->wake_fd);
    free(w);
}

static enum ia_rc worker_init(struct ia_worker *w, const struct ia_options *options, struct ia_err *err)
{
    w->options = options;
    w->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (w->wake_fd < 0)
        return ia_fail(err, IA_IO, "eventfd: %s", strerror(errno));
    w->requests = ia_queue_new(REQUESTS_MAX);
    w->replies = ia_queue_new(REPLIES_MAX);
    w->builder = ia_builder_new();
    w->refresh = ia_refresh_new();
    w->outbox = ia_outbox_new(options->node_name);
    if (!w->requests || !w->replies || !w->builder || !w->refresh || !w->outbox)
        return ia_fail(err, IA_NOMEM, "out of memory");
    struct ia_fetch_options fetch = {.ca_file = options->jwks_ca_file, .insecure_http = options->insecure_http_jwks};
    enum ia_rc rc = ia_fetcher_new(&fetch, fetched, w, &w->fetcher, err);
    if (rc != IA_OK)
        return rc;
    struct ia_db_config config = {
        .conninfo = options->db_conninfo, .node_name = options->node_name, .wake_fd = w->wake_fd, .stop = &w->stop};
    struct ia_err wrong = {0};
    rc = ia_db_new(&config, &w->db, &wrong);
    return rc == IA_OK ? rc : ia_fail(err, rc, "option db_conninfo: %s", wrong.msg);
}

/* The broker's signals are for the broker's thread. */
static int create_thread(struct ia_worker *w)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&w->thread, NULL, worker_main, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

enum ia_rc ia_worker_start(const struct ia_options *options, struct ia_worker **out, struct ia_err *err)
{
    struct ia_worker *w = calloc(1, sizeof *w);
    if (!w)
        return ia_fail(err, IA_NOMEM, "out of memory");
    enum ia_rc rc = worker_init(w, options, err);
    if (rc == IA_OK && create_thread(w) != 0)
        rc = ia_fail(err, IA_IO, "cannot start a thread");
    if (rc != IA_OK) {
        worker_free(w);
        return rc;
    }
    *out = w;
    return IA_OK;
}

static void wake(const struct ia_worker *w)
{
    uint64_t one = 1;
    ssize_t ignored = write(w->wake_fd, &one, sizeof one); /* full means that a wake-up is pending already */
    (void)ignored;
}

bool ia_worker_ask(struct ia_worker *worker, struct ia_request *request)
{
    if (!request)
        return false;
    if (!ia_queue_push(worker->requests, &request->link)) {
        ia_request_free(request);
        return false;
    }
    wake(worker);
    return true;
}

struct ia_reply *ia_worker_reply(struct ia_worker *worker, int64_t wait_us)
{
    struct ia_link *link = wait_us > 0 ? ia_queue_pop_wait(worker->replies, wait_us) : ia_queue_pop(worker->replies);
    return (struct ia_reply *)(void *)link;
}

bool ia_worker_has_reply(const struct ia_worker *worker)
{
    return !ia_queue_is_empty(worker->replies);
}

void ia_worker_stop(struct ia_worker *worker)
{
    if (!worker)
        return;
    atomic_store(&worker->stop, true);
    ia_queue_close(worker->requests);
    ia_queue_close(worker->replies);
    wake(worker);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += STOP_WAIT_S;
    /* Only a resolver that hangs can hold the thread that long.  The process is about to end, and the code stays mapped
     * (-z nodelete): leave the thread to it. */
    if (pthread_timedjoin_np(worker->thread, NULL, &until) == 0)
        worker_free(worker);
}
