// SPDX-License-Identifier: ISC
#include "worker/main_loop.h"

#include "common/clock.h"
#include "sql/backoff.h"
#include "sql/db.h"
#include "worker/client_id_releases.h"
#include "worker/config_sync.h"
#include "worker/connection_log.h"
#include "worker/device_sync.h"
#include "worker/error_log.h"
#include "worker/listen_check.h"
#include "worker/notifications.h"
#include "worker/outbox.h"
#include "worker/psk_sync.h"
#include "worker/registrar.h"
#include "worker/rereads.h"
#include "worker/status_events.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEARTBEAT_MS 4000  /* a node row is at most five seconds old: its counters were under way for up to one */
#define STABLE_MS    10000 /* a connection that lasts this long ends the back-off */
#define BUSY_MS      250   /* pause of a step whose statement was refused for now */
#define REFUSED_MS   1000  /* … or for another reason */
#define IDLE_MS      1000
#define RESYNC_S     3600

enum {
    STEP_STATES,
    STEP_RELOAD,
    STEP_CHANGES,
    STEP_PSKS,
    STEP_REQUESTS,
    STEP_EVENTS,
    STEP_RELEASES,
    STEP_RESYNC,
    STEP_HEARTBEAT,
    STEP_WRITE,
    STEPS
};

struct ia_main_loop {
    struct ia_loop_control *control;
    const struct ia_sink *sink;
    const char *program; /* the options' */
    struct ia_db *db;
    struct ia_error_log *errors;
    struct ia_outbox *outbox;
    struct ia_config_sync *config;
    struct ia_device_sync *devices;
    struct ia_psk_sync *psks;
    struct ia_registrar *registrar;
    struct ia_status_events *events;
    struct ia_releases *releases;
    struct ia_inbox *inbox;
    struct ia_listen_check listening;
    struct ia_notification_targets targets;

    unsigned attempts; /* to connect, since a connection was last stable */
    bool was_connected;
    struct ia_rereads rereads;
    int64_t connected_ms, next_heartbeat_ms;
    bool busy;                    /* a statement was refused for now, with the connection sound */
    int64_t not_before_ms[STEPS]; /* the pause of its step */
};

static bool is_ending(const struct ia_main_loop *loop)
{
    return atomic_load(&loop->control->stop) || atomic_load(&loop->control->leaving);
}

static enum ia_rc send_state(struct ia_main_loop *loop, bool connected, struct ia_err *err)
{
    char database[128];
    if (connected)
        ia_db_describe(loop->db, database, sizeof database);
    struct ia_reply *reply = ia_reply_new(IA_REPLY_STATE, connected ? database : NULL);
    atomic_store(&loop->control->connected, connected);
    if (!reply)
        return ia_nomem(err);
    reply->connected = connected;
    ia_sink_send(loop->sink, reply);
    return IA_OK;
}

/* ---- steps */

#define STEP_OF_PART(name, part, is_due, read)                                                                         \
    static bool name##_due(const struct ia_main_loop *loop)                                                            \
    {                                                                                                                  \
        return is_due(loop->part);                                                                                     \
    }                                                                                                                  \
    static enum ia_rc run_##name(struct ia_main_loop *loop, struct ia_err *err)                                        \
    {                                                                                                                  \
        return read(loop->part, err);                                                                                  \
    }

STEP_OF_PART(states, devices, ia_device_sync_states_due, ia_device_sync_read_states)
STEP_OF_PART(reload, config, ia_config_sync_due, ia_config_sync_reload)
STEP_OF_PART(changes, devices, ia_device_sync_changes_due, ia_device_sync_read_changes)
STEP_OF_PART(psks, psks, ia_psk_sync_due, ia_psk_sync_read)
STEP_OF_PART(requests, inbox, ia_inbox_due, ia_inbox_serve)
STEP_OF_PART(events, events, ia_status_events_due, ia_status_events_publish)
STEP_OF_PART(releases, releases, ia_releases_due, ia_releases_read)
STEP_OF_PART(resync, devices, ia_device_sync_resync_due, ia_device_sync_read_part)

static bool heartbeat_due(const struct ia_main_loop *loop)
{
    return ia_monotonic_ms() >= loop->next_heartbeat_ms;
}

static enum ia_rc run_heartbeat(struct ia_main_loop *loop, struct ia_err *err)
{
    if (ia_monotonic_ms() - loop->connected_ms > STABLE_MS)
        loop->attempts = 0;
    loop->next_heartbeat_ms = ia_monotonic_ms() + HEARTBEAT_MS;
    enum ia_rc rc = ia_listen_check_run(&loop->listening, loop->db, loop->sink, loop->rereads.resync_ms / 1000, err);
    if (rc == IA_OK)
        rc = ia_outbox_heartbeat(loop->outbox, loop->db, ia_config_sync_cas(loop->config), err);
    if (rc == IA_OK && !ia_listen_check_is_deaf(&loop->listening))
        ia_sink_send(loop->sink, ia_reply_new(IA_REPLY_CONTACT, NULL));
    return rc;
}

static bool write_due(const struct ia_main_loop *loop)
{
    return ia_outbox_due(loop->outbox);
}

static enum ia_rc run_write(struct ia_main_loop *loop, struct ia_err *err)
{
    return ia_outbox_write(loop->outbox, loop->db, err);
}

/* In the order of urgency. */
static const struct {
    bool (*due)(const struct ia_main_loop *loop);
    enum ia_rc (*run)(struct ia_main_loop *loop, struct ia_err *err);
} steps[STEPS] = {
    [STEP_STATES] = {states_due, run_states},          [STEP_RELOAD] = {reload_due, run_reload},
    [STEP_CHANGES] = {changes_due, run_changes},       [STEP_PSKS] = {psks_due, run_psks},
    [STEP_REQUESTS] = {requests_due, run_requests},    [STEP_EVENTS] = {events_due, run_events},
    [STEP_RELEASES] = {releases_due, run_releases},    [STEP_RESYNC] = {resync_due, run_resync},
    [STEP_HEARTBEAT] = {heartbeat_due, run_heartbeat}, [STEP_WRITE] = {write_due, run_write},
};

/* A statement that the server refuses, with the connection sound, is tried again later and holds up no other step. */
static enum ia_rc settle_step(struct ia_main_loop *loop, size_t i, enum ia_rc rc, const struct ia_err *err)
{
    if (rc == IA_OK || rc == IA_NOMEM || !ia_db_connected(loop->db))
        return rc;
    ia_error_log_report(loop->errors, IA_LOG_WARNING,
                        rc == IA_UNAVAILABLE ? "the database is busy" : "the database refuses a statement", err);
    loop->not_before_ms[i] = ia_monotonic_ms() + (rc == IA_UNAVAILABLE ? BUSY_MS : REFUSED_MS);
    loop->busy = true;
    return IA_OK;
}

/* Run one step, if it is due.  What goes wrong with the registrations before it is charged to their own step. */
static enum ia_rc run_step(struct ia_main_loop *loop, size_t i, struct ia_err *err)
{
    if (!steps[i].due(loop) || ia_monotonic_ms() < loop->not_before_ms[i])
        return IA_OK;
    enum ia_rc rc = i == STEP_REQUESTS ? IA_OK : ia_inbox_finish(loop->inbox, err);
    rc = settle_step(loop, STEP_REQUESTS, rc, err);
    return rc == IA_OK ? settle_step(loop, i, steps[i].run(loop, err), err) : rc;
}

/* Each step may wait for a lock: no revocation waits for more than one of them. */
static enum ia_rc run_states_and_step(struct ia_main_loop *loop, size_t i, struct ia_err *err)
{
    if (ia_device_sync_is_locked(loop->devices))
        ia_notifications_take(loop->db, &loop->targets);
    enum ia_rc rc = run_step(loop, STEP_STATES, err);
    return rc == IA_OK ? run_step(loop, i, err) : rc;
}

/* One turn of everything that is due. */
static enum ia_rc run_turn(struct ia_main_loop *loop, struct ia_err *err)
{
    bool was_busy = loop->busy;
    enum ia_rc rc = IA_OK;
    loop->busy = false;
    ia_notifications_take(loop->db, &loop->targets);
    ia_rereads_start(&loop->rereads, &loop->targets);
    for (size_t i = STEP_STATES + 1; rc == IA_OK && i < STEPS; i++) {
        rc = run_states_and_step(loop, i, err);
        loop->busy |= steps[i].due(loop) && ia_monotonic_ms() < loop->not_before_ms[i];
    }
    if (rc == IA_OK && was_busy && !loop->busy)
        ia_error_log_recovered(loop->errors, "the database is no longer busy");
    ia_config_sync_run_fetches(loop->config);
    return rc;
}

/* How long no step is due. */
static int idle_ms(const struct ia_main_loop *loop)
{
    int64_t now = ia_monotonic_ms(), wait = ia_sooner_ms(IDLE_MS, ia_config_sync_fetch_wait_ms(loop->config));
    wait = ia_sooner_ms(wait, ia_config_sync_wait_ms(loop->config));
    wait = ia_sooner_ms(wait, ia_device_sync_wait_ms(loop->devices));
    wait = ia_sooner_ms(wait, ia_psk_sync_wait_ms(loop->psks));
    wait = ia_sooner_ms(wait, ia_rereads_wait_ms(&loop->rereads));
    wait = ia_sooner_ms(wait, ia_inbox_wait_ms(loop->inbox));
    wait = ia_sooner_ms(wait, ia_outbox_wait_ms(loop->outbox));
    for (size_t i = 0; i < STEPS; i++)
        if (steps[i].due(loop))
            wait = ia_sooner_ms(wait, loop->not_before_ms[i] > now ? loop->not_before_ms[i] - now : 0);
    return (int)wait;
}

/* ---- with a connection */

static void begin_schedule(struct ia_main_loop *loop)
{
    ia_psk_sync_connected(loop->psks);
    ia_rereads_schedule(&loop->rereads);
    loop->connected_ms = ia_monotonic_ms();
    loop->next_heartbeat_ms = 0;
    memset(loop->not_before_ms, 0, sizeof loop->not_before_ms);
    loop->busy = false;
}

/* Connect, and send the configuration before anything is admitted by it.  Its step reads a part that is refused again. */
static enum ia_rc begin_connected(struct ia_main_loop *loop, struct ia_err *err)
{
    enum ia_rc rc = ia_db_connect(loop->db, err);
    if (rc != IA_OK)
        return rc;
    ia_listen_check_begin(&loop->listening);
    ia_config_sync_connected(loop->config);
    rc = ia_releases_begin(loop->releases, err);
    if (rc == IA_OK)
        rc = ia_status_events_begin(loop->events, err);
    if (rc == IA_OK)
        rc = ia_config_sync_reload(loop->config, err);
    if (rc == IA_OK)
        rc = send_state(loop, true, err);
    if (rc != IA_OK)
        return rc;
    ia_device_sync_connected(loop->devices);
    begin_schedule(loop);
    loop->was_connected = true;
    ia_error_log_recovered(loop->errors, "the database is back");
    ia_connection_log(loop->db, loop->program, loop->sink);
    return IA_OK;
}

/* At shutdown requests are no longer answered, but queued rows are written while the database accepts them. */
static void write_remaining_rows(struct ia_main_loop *loop)
{
    struct ia_err err = {0};
    ia_inbox_refuse(loop->inbox);
    while (ia_outbox_wait_ms(loop->outbox) >= 0 && !atomic_load(&loop->control->stop))
        if (ia_outbox_write(loop->outbox, loop->db, &err) != IA_OK)
            return;
    ia_outbox_stopped(loop->outbox, loop->db);
}

static void run_connected(struct ia_main_loop *loop, struct ia_err *err)
{
    enum ia_rc rc = begin_connected(loop, err);
    while (rc == IA_OK && !is_ending(loop)) {
        rc = run_turn(loop, err);
        if (rc == IA_OK)
            rc = ia_db_wait(loop->db, ia_config_sync_fetch_fd(loop->config), idle_ms(loop), err);
    }
    if (rc == IA_OK && ia_inbox_finish(loop->inbox, err) == IA_OK)
        write_remaining_rows(loop);
}

/* ---- without a connection */

static void end_connected(struct ia_main_loop *loop, const struct ia_err *err)
{
    ia_db_disconnect(loop->db);
    ia_device_sync_abort(loop->devices);
    (void)send_state(loop, false, NULL); /* out of memory: it is sent again after the next attempt */
    ia_error_log_report(loop->errors, IA_LOG_ERROR, loop->was_connected ? "lost the database" : "no database", err);
    loop->was_connected = false;
}

/* Wait for the next attempt, still serving requests as far as possible. */
static void pause_disconnected(struct ia_main_loop *loop)
{
    struct ia_err ignored = {0};
    int64_t until = ia_monotonic_ms() + ia_backoff_ms(loop->attempts++, (uint32_t)ia_monotonic_us() * 2654435761u);
    while (!is_ending(loop)) {
        ia_inbox_refuse(loop->inbox);
        ia_config_sync_run_fetches(loop->config);
        ia_config_sync_adopt_keys(loop->config);
        int64_t left = until - ia_monotonic_ms();
        if (left <= 0)
            return;
        left = ia_sooner_ms(left, ia_config_sync_fetch_wait_ms(loop->config));
        if (ia_db_wait(loop->db, ia_config_sync_fetch_fd(loop->config), (int)left, &ignored) != IA_OK)
            return;
    }
}

void ia_main_loop_run(struct ia_main_loop *loop)
{
    while (!is_ending(loop)) {
        struct ia_err err = {0};
        run_connected(loop, &err);
        if (is_ending(loop))
            break;
        end_connected(loop, &err);
        pause_disconnected(loop);
    }
    ia_db_disconnect(loop->db);
    ia_config_sync_stop_fetches(loop->config);
    ia_inbox_stop(loop->inbox);
}

/* ---- life */

static enum ia_rc create_db(struct ia_main_loop *loop, const struct ia_worker_options *options, struct ia_err *err)
{
    struct ia_db_config config = {.conninfo = options->db_conninfo,
                                  .node_name = options->node_name,
                                  .versions = options->versions,
                                  .insecure = options->insecure_db_conninfo,
                                  .wake_fd = loop->control->wake_fd,
                                  .stop = &loop->control->stop};
    struct ia_err invalid = {0};
    enum ia_rc rc = ia_db_new(&config, &loop->db, &invalid);
    return rc == IA_OK ? rc : ia_fail(err, rc, "option db_conninfo: %s", invalid.msg);
}

/* The parts, each after those that it uses. */
static enum ia_rc create_parts(struct ia_main_loop *loop, const struct ia_worker_options *options, struct ia_err *err)
{
    const struct ia_key_options keys = {
        .fetch = {.ca_file = options->jwks_ca_file, .insecure_http = options->insecure_http_jwks},
        .stale_max_s = options->jwks_stale_max_s,
        .state_dir = options->state_dir};
    loop->errors = ia_error_log_new(loop->sink);
    loop->program = options->program;
    loop->outbox = ia_outbox_new(options->node_name);
    if (!loop->errors || !loop->outbox)
        return ia_nomem(err);
    enum ia_rc rc = ia_config_sync_new(&keys, loop->db, loop->outbox, loop->sink, &loop->config, err);
    if (rc != IA_OK)
        return rc;
    loop->devices = ia_device_sync_new(loop->db, loop->config, loop->sink);
    loop->psks = ia_psk_sync_new(loop->db, loop->outbox, options->psk_key_file, loop->sink);
    loop->registrar = ia_registrar_new(loop->db, options->node_name, loop->sink);
    loop->releases = ia_releases_new(loop->db, options->node_name, loop->sink);
    loop->events = ia_status_events_new(loop->db, loop->sink);
    const struct ia_inbox_parts parts = {.db = loop->db,
                                         .outbox = loop->outbox,
                                         .config = loop->config,
                                         .devices = loop->devices,
                                         .psks = loop->psks,
                                         .registrar = loop->registrar};
    loop->inbox = ia_inbox_new(&parts, options, loop->control->wake_fd);
    loop->targets = (struct ia_notification_targets){.config = loop->config,
                                                     .devices = loop->devices,
                                                     .psks = loop->psks,
                                                     .events = loop->events,
                                                     .releases = loop->releases,
                                                     .listening = &loop->listening};
    bool complete = loop->devices && loop->psks && loop->registrar && loop->releases && loop->events && loop->inbox;
    return complete ? IA_OK : ia_nomem(err);
}

enum ia_rc ia_main_loop_new(const struct ia_worker_options *options, struct ia_loop_control *control,
                            const struct ia_sink *sink, struct ia_main_loop **out, struct ia_err *err)
{
    struct ia_main_loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return ia_nomem(err);
    loop->control = control;
    loop->sink = sink;
    loop->rereads.resync_ms = (options->resync_s > 0 ? options->resync_s : RESYNC_S) * 1000;
    enum ia_rc rc = create_db(loop, options, err);
    rc = rc == IA_OK ? create_parts(loop, options, err) : rc;
    if (rc == IA_OK)
        *out = loop;
    else
        ia_main_loop_free(loop);
    return rc;
}

void ia_main_loop_free(struct ia_main_loop *loop)
{
    if (!loop)
        return;
    ia_inbox_free(loop->inbox);
    ia_status_events_free(loop->events);
    ia_releases_free(loop->releases);
    ia_registrar_free(loop->registrar);
    ia_psk_sync_free(loop->psks);
    ia_device_sync_free(loop->devices);
    ia_config_sync_free(loop->config);
    ia_outbox_free(loop->outbox);
    ia_error_log_free(loop->errors);
    ia_db_free(loop->db);
    free(loop);
}

struct ia_inbox *ia_main_loop_inbox(struct ia_main_loop *loop)
{
    return loop->inbox;
}
