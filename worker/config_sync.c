// SPDX-License-Identifier: ISC
#include "worker/config_sync.h"

#include "common/clock.h"
#include "oauth/refresh.h"
#include "worker/snapshot_builder.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ia_config_sync {
    struct ia_db *db;
    struct ia_outbox *outbox;
    const struct ia_sink *sink;
    struct ia_builder *builder;
    struct ia_key_store *key_store; /* NULL: keys are not stored */
    struct ia_refresh *refresh;
    struct ia_fetcher *fetcher;
    unsigned changed_parts;      /* set of enum ia_load: to be read again */
    bool keys_changed;           /* fetched keys changed since the issuers were built */
    bool complete;               /* a snapshot has been sent */
    struct ia_rows *issuer_rows; /* as last read: for keys that change while the database is away */
};

/* ---- problems of rows */

struct problem_context {
    struct ia_config_sync *sync;
    const struct ia_rows *rows;
};

static void warn_of_row(const struct problem_context *c, const char *row, const char *problem, const char *rest)
{
    char line[IA_ISSUER_TEXT_MAX + 512];
    (void)snprintf(line, sizeof line, "%s: %s%s", row, problem, rest);
    ia_sink_log(c->sync->sink, IA_LOG_WARNING, line);
}

static void report_ca(void *ctx, const struct ia_ca_row *row, const struct ia_cert_info *info, const char *problem)
{
    const struct problem_context *c = ctx;
    ia_outbox_ca(c->sync->outbox, row->ca_id, info, problem);
    char name[IA_VALUE_MAX + 8];
    (void)snprintf(name, sizeof name, "CA %s", row->name);
    if (problem)
        warn_of_row(c, name, problem, " (see iot_auth.ca.problem)");
}

static void report_rule(void *ctx, int64_t rule_id, const char *problem)
{
    const struct problem_context *c = ctx;
    ia_outbox_rule(c->sync->outbox, rule_id, problem);
    char name[32];
    (void)snprintf(name, sizeof name, "rule %" PRId64, rule_id);
    if (problem)
        warn_of_row(c, name, problem, ": its role denies everything (see iot_auth.role_rule.problem)");
}

static void report_issuer(void *ctx, int64_t index, const char *problem)
{
    const struct problem_context *c = ctx;
    const char *issuer = c->rows->issuers[index].name;
    ia_outbox_issuer(c->sync->outbox, issuer, problem);
    char name[IA_VALUE_MAX + 8];
    (void)snprintf(name, sizeof name, "issuer %s", issuer);
    if (problem)
        warn_of_row(c, name, problem, " (see iot_auth.oauth_issuer.problem)");
}

/* iot_auth.ip_rule has no column `problem`. */
static void report_ip_rule(void *ctx, int64_t rule_id, const char *problem)
{
    char name[32];
    (void)snprintf(name, sizeof name, "ip_rule %" PRId64, rule_id);
    warn_of_row(ctx, name, problem, "");
}

/* ---- snapshots */

static struct ia_refresh_time refresh_time(void)
{
    return (struct ia_refresh_time){.ms = ia_monotonic_ms(), .wall_s = ia_wall_s()};
}

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
    enum ia_rc rc = ia_refresh_configure(sync->refresh, sources, n, refresh_time(), err);
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
    ia_sink_send(sync->sink, reply);
    sync->complete = true;
}

static enum ia_rc build_snapshot(struct ia_config_sync *sync, unsigned parts, const struct ia_rows *rows,
                                 struct ia_snapshot **out, struct ia_err *err)
{
    struct problem_context context = {.sync = sync, .rows = rows};
    const struct ia_row_problems problems = {
        .ca = {report_ca, &context},
        .rule = {report_rule, &context},
        .issuer = {report_issuer, &context},
        .ip_rule = {report_ip_rule, &context},
    };
    enum ia_rc rc = parts & IA_LOAD_ISSUERS ? configure_refresh(sync, rows, err) : IA_OK;
    return rc == IA_OK ? ia_builder_build(sync->builder, parts, rows, sync->refresh, ia_wall_s(), &problems, out, err)
                       : rc;
}

/* Take the rows over: those of the issuers are kept. */
static void keep_issuer_rows(struct ia_config_sync *sync, unsigned parts, struct ia_rows *rows)
{
    struct ia_rows *unused = rows;
    if (parts & IA_LOAD_ISSUERS) {
        unused = sync->issuer_rows;
        sync->issuer_rows = rows;
    }
    ia_rows_free(unused);
}

void ia_config_sync_invalidate(struct ia_config_sync *sync, unsigned parts)
{
    sync->changed_parts |= parts;
}

bool ia_config_sync_due(const struct ia_config_sync *sync)
{
    return sync->changed_parts || sync->keys_changed;
}

enum ia_rc ia_config_sync_reload(struct ia_config_sync *sync, struct ia_err *err)
{
    unsigned parts = sync->changed_parts | (sync->keys_changed ? IA_LOAD_ISSUERS : 0u);
    if (parts & (IA_LOAD_CAS | IA_LOAD_CRLS))
        parts |= IA_LOAD_CAS | IA_LOAD_CRLS; /* they are built together */
    struct ia_rows *rows = NULL;
    enum ia_rc rc = ia_db_load(sync->db, parts, &rows, err);
    if (rc != IA_OK)
        return rc;
    struct ia_snapshot *snapshot = NULL;
    rc = build_snapshot(sync, parts, rows, &snapshot, err);
    keep_issuer_rows(sync, parts, rows);
    sync->changed_parts = rc == IA_OK ? 0 : IA_LOAD_ALL;
    sync->keys_changed = false;
    if (rc == IA_OK)
        send_snapshot(sync, snapshot);
    return rc;
}

bool ia_config_sync_complete(const struct ia_config_sync *sync)
{
    return sync->complete;
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
    bool changed = ia_refresh_accept(sync->refresh, result, refresh_time());
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
    if (!sync->keys_changed || !sync->issuer_rows)
        return;
    if (ia_builder_build(sync->builder, IA_LOAD_ISSUERS, sync->issuer_rows, sync->refresh, ia_wall_s(), &unreported,
                         &snapshot, &err) != IA_OK)
        return;
    sync->keys_changed = false;
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
    ia_rows_free(sync->issuer_rows);
    free(sync);
}
