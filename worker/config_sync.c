// SPDX-License-Identifier: ISC
#include "worker/config_sync.h"

#include "common/clock.h"
#include "config/snapshot_builder.h"
#include "oauth/refresh.h"
#include "worker/problem_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_LOCKED_MS  250  /* a part whose table is locked, say */
#define RETRY_REFUSED_MS 2000 /* a part that the server refuses for another reason */
#define PAUSE_MAX_MS     500  /* between two reloads: half of the time at most is spent on them */

struct ia_config_sync {
    struct ia_db *db;
    struct ia_outbox *outbox;
    const struct ia_sink *sink;
    struct ia_builder *builder;
    struct ia_key_store *key_store; /* NULL: keys are not stored */
    struct ia_refresh *refresh;
    struct ia_fetcher *fetcher;
    unsigned changed_parts; /* set of enum ia_load: to be read again */
    int64_t heard_us;       /* the first notification of a part that is not sent yet; 0: none */
    bool keys_changed;      /* fetched keys changed since the issuers were built */
    bool complete;          /* a snapshot has been sent */
    unsigned refused_parts; /* could not be read: again at retry_ms, and as last read until then */
    int64_t retry_ms;
    int64_t pause_until_ms;                   /* any role can send notifications: they must not keep the worker busy */
    char refusal[192];                        /* as logged, "" where all parts are read */
    struct ia_rows *issuer_rows, *scope_rows; /* as last read: one may change while the other cannot be read */
    struct ia_crl_row *crls;                  /* as last read, without their texts: likewise */
    size_t n_crls;
    bool crls_known;
};

/* ---- snapshots */

/* Give the list of issuers whose keys come by URL to the refresh schedule. */
static enum ia_rc configure_refresh(struct ia_config_sync *sync, const struct ia_rows *rows, struct ia_err *err)
{
    struct ia_refresh_source *sources = calloc(rows->n_issuers + 1, sizeof *sources);
    if (!sources)
        return ia_nomem(err);
    size_t n = 0;
    for (size_t i = 0; i < rows->n_issuers; i++) {
        const struct ia_issuer_row *row = &rows->issuers[i];
        if (row->active && !row->jwks)
            sources[n++] =
                (struct ia_refresh_source){.name = row->name, .issuer = row->issuer, .jwks_url = row->jwks_url};
    }
    enum ia_rc rc =
        ia_refresh_configure(sync->refresh, sources, n, (struct ia_refresh_time){ia_monotonic_ms(), ia_wall_s()}, err);
    free(sources);
    return rc;
}

static void send_snapshot(struct ia_config_sync *sync, struct ia_snapshot *snapshot)
{
    struct ia_reply *reply = ia_reply_new(IA_REPLY_SNAPSHOT, NULL);
    if (!reply) {
        ia_snapshot_free(snapshot);
        sync->changed_parts = IA_LOAD_ALL; /* try again */
        return;
    }
    reply->snapshot = snapshot;
    reply->heard_us = sync->heard_us;
    sync->heard_us = 0;
    ia_sink_send(sync->sink, reply);
    sync->complete = true;
}

static enum ia_rc build_snapshot(struct ia_config_sync *sync, unsigned parts, const struct ia_rows *rows,
                                 struct ia_snapshot **out, struct ia_err *err)
{
    const struct ia_problem_writer writer = {.outbox = sync->outbox, .sink = sync->sink, .rows = rows};
    const struct ia_row_problems problems = ia_problem_writer_callbacks(&writer);
    enum ia_rc rc = parts & IA_LOAD_ISSUERS ? configure_refresh(sync, rows, err) : IA_OK;
    const struct ia_build_input input = {
        .parts = parts, .rows = rows, .refresh = sync->refresh, .now = ia_wall_s(), .problems = &problems};
    return rc == IA_OK ? ia_builder_build(sync->builder, &input, out, err) : rc;
}

/* ---- rows of parts that cannot be read now */

/* Take the rows over: those of issuers and scopes are kept. */
static void keep_rows(struct ia_config_sync *sync, unsigned loaded, struct ia_rows *rows)
{
    struct ia_rows *old[] = {rows, sync->issuer_rows, sync->scope_rows};
    if (loaded & IA_LOAD_ISSUER_ROWS)
        sync->issuer_rows = rows;
    if (loaded & IA_LOAD_SCOPES)
        sync->scope_rows = rows;
    if (old[2] == old[1])
        old[2] = NULL;
    for (size_t i = 0; i < 3; i++)
        if (old[i] != sync->issuer_rows && old[i] != sync->scope_rows)
            ia_rows_free(old[i]);
}

/* The texts are in the builder's cache: a list of a hundred thousand entries is not kept twice. */
static enum ia_rc keep_crls(struct ia_config_sync *sync, const struct ia_rows *rows, struct ia_err *err)
{
    struct ia_crl_row *crls = calloc(rows->n_crls + 1, sizeof *crls);
    if (!crls)
        return ia_nomem(err);
    for (size_t i = 0; i < rows->n_crls; i++)
        crls[i] = (struct ia_crl_row){.crl_id = rows->crls[i].crl_id,
                                      .ca_id = rows->crls[i].ca_id,
                                      .fault = rows->crls[i].fault ? "a CRL of the CA cannot be read" : NULL};
    free(sync->crls);
    sync->crls = crls;
    sync->n_crls = rows->n_crls;
    sync->crls_known = true;
    return IA_OK;
}

/* Fill in what is missing beside a part that was read, from what was read last: a CA that is no longer ACTIVE must not
 * wait for the table of CRLs. */
static void fill_in(const struct ia_config_sync *sync, unsigned missing, struct ia_rows *rows)
{
    if ((missing & IA_LOAD_CRLS) && sync->crls_known) {
        rows->crls = sync->crls;
        rows->n_crls = sync->n_crls;
    }
    if ((missing & IA_LOAD_ISSUER_ROWS) && sync->issuer_rows) {
        rows->issuers = sync->issuer_rows->issuers;
        rows->n_issuers = sync->issuer_rows->n_issuers;
    }
    if ((missing & IA_LOAD_SCOPES) && sync->scope_rows) {
        rows->scopes = sync->scope_rows->scopes;
        rows->n_scopes = sync->scope_rows->n_scopes;
    }
}

/* The parts that can be built although these are missing: what is built together is there, now or from before. */
static unsigned buildable_parts(const struct ia_config_sync *sync, unsigned parts, unsigned missing)
{
    bool crls = !(missing & IA_LOAD_CRLS) || sync->crls_known;
    bool issuers = !(missing & IA_LOAD_ISSUER_ROWS) || sync->issuer_rows;
    bool scopes = !(missing & IA_LOAD_SCOPES) || sync->scope_rows;
    if ((missing & IA_LOAD_CAS) || !crls)
        parts &= ~(unsigned)(IA_LOAD_CAS | IA_LOAD_CRLS);
    if (missing & IA_LOAD_POLICY)
        parts &= ~(unsigned)IA_LOAD_POLICY;
    if (missing & IA_LOAD_IPS)
        parts &= ~(unsigned)IA_LOAD_IPS;
    if (missing & IA_LOAD_RESERVED)
        parts &= ~(unsigned)IA_LOAD_RESERVED;
    if (missing & IA_LOAD_REVOCATIONS)
        parts &= ~(unsigned)IA_LOAD_REVOCATIONS;
    if (!issuers || !scopes || (missing & IA_LOAD_ISSUERS) == IA_LOAD_ISSUERS)
        parts &= ~(unsigned)IA_LOAD_ISSUERS;
    return parts;
}

/* Each refusal is logged once, until all parts are read again. */
static void note_refused(struct ia_config_sync *sync, const struct ia_rows *rows)
{
    char line[320];
    int64_t wait = rows->refusal.rc == IA_UNAVAILABLE ? RETRY_LOCKED_MS : RETRY_REFUSED_MS;
    sync->refused_parts = rows->missing;
    sync->retry_ms = ia_monotonic_ms() + wait;
    if (!rows->missing) {
        if (sync->refusal[0])
            ia_sink_log(sync->sink, IA_LOG_NOTICE, "the whole configuration can be read again");
        sync->refusal[0] = '\0';
        return;
    }
    if (strcmp(sync->refusal, rows->refusal.msg) == 0)
        return;
    (void)snprintf(sync->refusal, sizeof sync->refusal, "%s", rows->refusal.msg);
    (void)snprintf(line, sizeof line, "the configuration cannot be read completely: %s%s", rows->refusal.msg,
                   sync->complete ? "" : " (no client is admitted until it is)");
    ia_sink_log(sync->sink, IA_LOG_WARNING, line);
}

static void log_notes(const struct ia_config_sync *sync, const struct ia_rows *rows)
{
    for (size_t i = 0; i < rows->n_notes; i++)
        ia_sink_log(sync->sink, IA_LOG_WARNING, rows->notes[i]);
}

void ia_config_sync_invalidate(struct ia_config_sync *sync, unsigned parts)
{
    sync->changed_parts |= parts;
}

void ia_config_sync_notified(struct ia_config_sync *sync, unsigned parts)
{
    if (parts && !sync->heard_us)
        sync->heard_us = ia_monotonic_us();
    ia_config_sync_invalidate(sync, parts);
}

static unsigned due_parts(const struct ia_config_sync *sync)
{
    int64_t now = ia_monotonic_ms();
    unsigned parts = now >= sync->pause_until_ms ? sync->changed_parts : 0u;
    return parts | (sync->keys_changed ? IA_LOAD_ISSUERS : 0u) | (now >= sync->retry_ms ? sync->refused_parts : 0u);
}

bool ia_config_sync_due(const struct ia_config_sync *sync)
{
    return due_parts(sync) != 0;
}

bool ia_config_sync_is_paused(const struct ia_config_sync *sync, unsigned parts)
{
    return (sync->changed_parts & parts) && ia_monotonic_ms() < sync->pause_until_ms;
}

int64_t ia_config_sync_wait_ms(const struct ia_config_sync *sync)
{
    int64_t now = ia_monotonic_ms(), at = INT64_MAX;
    if (sync->changed_parts)
        at = sync->pause_until_ms;
    if (sync->refused_parts && sync->retry_ms < at)
        at = sync->retry_ms;
    if (at == INT64_MAX)
        return -1;
    return at > now ? at - now : 0;
}

/* With the parts that are built together. */
static unsigned whole_groups(unsigned parts)
{
    static const unsigned groups[] = {IA_LOAD_CAS | IA_LOAD_CRLS, IA_LOAD_POLICY,     IA_LOAD_IPS, IA_LOAD_ISSUERS,
                                      IA_LOAD_RESERVED,           IA_LOAD_REVOCATIONS};
    unsigned whole = 0;
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        whole |= parts & groups[i] ? groups[i] : 0u;
    return whole;
}

static enum ia_rc build_and_send(struct ia_config_sync *sync, unsigned parts, const struct ia_rows *rows,
                                 struct ia_err *err)
{
    struct ia_rows view = *rows;
    struct ia_snapshot *snapshot = NULL;
    fill_in(sync, rows->missing, &view);
    parts = buildable_parts(sync, parts, rows->missing);
    enum ia_rc rc = parts ? build_snapshot(sync, parts, &view, &snapshot, err) : IA_OK;
    if (rc == IA_OK && (parts & IA_LOAD_CRLS) && !(rows->missing & IA_LOAD_CRLS))
        rc = keep_crls(sync, rows, err);
    if (rc == IA_OK && snapshot)
        send_snapshot(sync, snapshot);
    else
        ia_snapshot_free(snapshot);
    return rc;
}

enum ia_rc ia_config_sync_reload(struct ia_config_sync *sync, struct ia_err *err)
{
    int64_t begun = ia_monotonic_ms();
    unsigned parts = whole_groups(due_parts(sync));
    struct ia_rows *rows = NULL;
    enum ia_rc rc = ia_db_load(sync->db, parts, &rows, err);
    if (rc != IA_OK)
        return rc;
    note_refused(sync, rows);
    log_notes(sync, rows);
    sync->changed_parts &= ~parts;
    sync->keys_changed = false;
    rc = build_and_send(sync, parts, rows, err);
    if (rc != IA_OK)
        sync->changed_parts = IA_LOAD_ALL;
    if (rc == IA_OK && !rows->missing)
        sync->heard_us = 0; /* a change after which the snapshot is as before */
    keep_rows(sync, parts & ~rows->missing, rows);
    int64_t took = ia_monotonic_ms() - begun;
    sync->pause_until_ms = ia_monotonic_ms() + (took < PAUSE_MAX_MS ? took : PAUSE_MAX_MS);
    return rc;
}

void ia_config_sync_connected(struct ia_config_sync *sync)
{
    sync->changed_parts = IA_LOAD_ALL;
    sync->refused_parts = 0;
    sync->pause_until_ms = 0;
    sync->heard_us = 0;
}

const struct ia_ca_set *ia_config_sync_cas(const struct ia_config_sync *sync)
{
    return ia_builder_cas(sync->builder);
}

const struct ia_ca_settings_set *ia_config_sync_ca_settings(const struct ia_config_sync *sync)
{
    return ia_builder_ca_settings(sync->builder);
}

bool ia_config_sync_has_role(const struct ia_config_sync *sync, const char *role)
{
    return ia_builder_has_role(sync->builder, role);
}

/* ---- keys */

static void take_fetched_keys(void *ctx, const struct ia_fetch_result *result)
{
    struct ia_config_sync *sync = ctx;
    char before[IA_ISSUER_TEXT_MAX];
    (void)snprintf(before, sizeof before, "%s", ia_refresh_problem(sync->refresh, result->name));
    bool changed = ia_refresh_accept(sync->refresh, result, (struct ia_refresh_time){ia_monotonic_ms(), ia_wall_s()});
    if (changed || strcmp(before, ia_refresh_problem(sync->refresh, result->name)) != 0)
        sync->keys_changed = true;
}

void ia_config_sync_request_keys(struct ia_config_sync *sync, const char *issuer)
{
    ia_refresh_request(sync->refresh, issuer, ia_monotonic_ms());
}

void ia_config_sync_run_fetches(struct ia_config_sync *sync)
{
    if (ia_refresh_run(sync->refresh, sync->fetcher, ia_monotonic_ms()))
        sync->keys_changed = true;
    if (ia_fetcher_busy(sync->fetcher))
        ia_fetcher_run(sync->fetcher);
}

/* Problems are not reported: that is done when the rows are read again. */
void ia_config_sync_adopt_keys(struct ia_config_sync *sync)
{
    static const struct ia_row_problems unreported;
    struct ia_snapshot *snapshot = NULL;
    struct ia_err err = {0};
    struct ia_rows rows = {0};
    if (!sync->keys_changed || !sync->issuer_rows || !sync->scope_rows)
        return;
    fill_in(sync, IA_LOAD_ISSUERS, &rows);
    const struct ia_build_input input = {
        .parts = IA_LOAD_ISSUERS, .rows = &rows, .refresh = sync->refresh, .now = ia_wall_s(), .problems = &unreported};
    if (ia_builder_build(sync->builder, &input, &snapshot, &err) != IA_OK)
        return;
    sync->keys_changed = false;
    if (snapshot)
        send_snapshot(sync, snapshot);
}

int64_t ia_config_sync_fetch_wait_ms(const struct ia_config_sync *sync)
{
    return ia_refresh_wait_ms(sync->refresh, ia_monotonic_ms());
}

int ia_config_sync_fetch_fd(const struct ia_config_sync *sync)
{
    return ia_fetcher_fd(sync->fetcher);
}

void ia_config_sync_stop_fetches(struct ia_config_sync *sync)
{
    ia_fetcher_free(sync->fetcher);
    sync->fetcher = NULL;
}

/* ---- life */

static enum ia_rc create_parts(struct ia_config_sync *sync, const struct ia_key_options *keys, struct ia_err *err)
{
    if (keys->state_dir) {
        enum ia_rc rc = ia_key_store_open(keys->state_dir, &sync->key_store, err);
        if (rc != IA_OK)
            return rc;
    }
    const struct ia_refresh_options refresh = {.stale_max_s = keys->stale_max_s, .store = sync->key_store};
    sync->builder = ia_builder_new();
    sync->refresh = ia_refresh_new(&refresh);
    if (!sync->builder || !sync->refresh)
        return ia_nomem(err);
    return ia_fetcher_new(&keys->fetch, take_fetched_keys, sync, &sync->fetcher, err);
}

enum ia_rc ia_config_sync_new(const struct ia_key_options *keys, struct ia_db *db, struct ia_outbox *outbox,
                              const struct ia_sink *sink, struct ia_config_sync **out, struct ia_err *err)
{
    struct ia_config_sync *sync = calloc(1, sizeof *sync);
    if (!sync)
        return ia_nomem(err);
    sync->db = db;
    sync->outbox = outbox;
    sync->sink = sink;
    enum ia_rc rc = create_parts(sync, keys, err);
    if (rc == IA_OK)
        *out = sync;
    else
        ia_config_sync_free(sync);
    return rc;
}

void ia_config_sync_free(struct ia_config_sync *sync)
{
    if (!sync)
        return;
    ia_fetcher_free(sync->fetcher);
    ia_refresh_free(sync->refresh);
    ia_key_store_free(sync->key_store);
    ia_builder_free(sync->builder);
    if (sync->scope_rows != sync->issuer_rows)
        ia_rows_free(sync->scope_rows);
    ia_rows_free(sync->issuer_rows);
    free(sync->crls);
    free(sync);
}
