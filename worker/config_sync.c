// SPDX-License-Identifier: ISC
/* Configuration: read again what changed, build a snapshot, say what is wrong with which row. */
#include "worker/private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- configuration */

static void ca_problem(void *ctx, const struct ia_ca_row *row, const struct ia_cert_info *info, const char *problem)
{
    struct ia_worker *w = ctx;
    ia_outbox_ca(w->outbox, row->ca_id, info, problem);
    if (!problem)
        return;
    char line[512];
    (void)snprintf(line, sizeof line, "CA %s: %s (see iot_auth.ca.problem)", row->name, problem);
    ia_worker_say(w, IA_LOG_WARNING, line);
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
    ia_worker_say(w, IA_LOG_WARNING, line);
}

static void issuer_problem(void *ctx, const char *name, const char *problem)
{
    struct ia_worker *w = ctx;
    ia_outbox_issuer(w->outbox, name, problem);
    if (!problem)
        return;
    char line[IA_ISSUER_TEXT_MAX + 256];
    (void)snprintf(line, sizeof line, "issuer %s: %s (see iot_auth.oauth_issuer.problem)", name, problem);
    ia_worker_say(w, IA_LOG_WARNING, line);
}

static void note(void *ctx, const char *text)
{
    ia_worker_say(ctx, IA_LOG_WARNING, text);
}

/* Tell the fetcher which issuers have their keys elsewhere. */
static enum ia_rc configure_refresh(struct ia_worker *w, const struct ia_rows *rows, struct ia_err *err)
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
    enum ia_rc rc = ia_refresh_configure(w->refresh, sources, n, ia_worker_now_ms(), err);
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
    ia_worker_send(w, reply);
    w->configured = true;
}

static void ignore_issuer(void *ctx, const char *name, const char *problem)
{
    (void)ctx, (void)name, (void)problem;
}

enum ia_rc ia_worker_reload(struct ia_worker *w, struct ia_err *err)
{
    const struct ia_row_problem_sink sink = {
        .ctx = w, .ca = ca_problem, .rule = rule_problem, .issuer = issuer_problem, .note = note};
    unsigned what = w->dirty | (w->issuers_stale ? IA_LOAD_ISSUERS : 0u);
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
    if (what & IA_LOAD_ISSUERS) {
        ia_rows_free(w->issuer_rows);
        w->issuer_rows = rows;
    } else {
        ia_rows_free(rows);
    }
    w->dirty = rc == IA_OK ? 0 : IA_LOAD_ALL;
    w->issuers_stale = false;
    if (rc == IA_OK)
        send_snapshot(w, snapshot);
    return rc;
}

void ia_worker_adopt_keys(struct ia_worker *w)
{
    const struct ia_row_problem_sink silent = {.issuer = ignore_issuer};
    struct ia_snapshot *snapshot = NULL;
    struct ia_err err = {0};
    if (!w->issuers_stale || !w->issuer_rows)
        return;
    if (ia_builder_build(w->builder, IA_LOAD_ISSUERS, w->issuer_rows, w->refresh, ia_wall_s(), &silent, &snapshot,
                         &err) != IA_OK)
        return;
    w->issuers_stale = false; /* what is wrong with them is told when all is read again */
    send_snapshot(w, snapshot);
}

/* ---- notifications */

static void notice(struct ia_worker *w, const struct ia_notification *n)
{
    static const unsigned parts[] = {
        [IA_NOTIFICATION_UNKNOWN] = IA_LOAD_ALL,
        [IA_NOTIFICATION_CA] = IA_LOAD_CAS | IA_LOAD_CRLS,
        [IA_NOTIFICATION_ROLE] = IA_LOAD_POLICY,
        [IA_NOTIFICATION_DEVICE] = 0,
        [IA_NOTIFICATION_ISSUER] = IA_LOAD_ISSUERS,
        [IA_NOTIFICATION_IP] = IA_LOAD_IPS,
        [IA_NOTIFICATION_EVENT] = 0,
    };
    w->dirty |= parts[n->topic];
    if (n->topic == IA_NOTIFICATION_EVENT)
        ia_worker_events_noted(w, n);
    bool devices = n->topic == IA_NOTIFICATION_DEVICE || n->topic == IA_NOTIFICATION_UNKNOWN;
    if (devices && n->all)
        w->walk_again = true;
    for (size_t i = 0; devices && i < n->n_keys; i++)
        ia_worker_device_changed(w, n->keys[i]);
}

void ia_worker_take_notifications(struct ia_worker *w)
{
    struct ia_notification n;
    while (ia_db_notification(w->db, &n))
        notice(w, &n);
}

/* ---- keys */

void ia_worker_fetched(void *ctx, const struct ia_fetch_result *result)
{
    struct ia_worker *w = ctx;
    char before[IA_ISSUER_TEXT_MAX];
    (void)snprintf(before, sizeof before, "%s", ia_refresh_problem(w->refresh, result->name));
    bool changed = ia_refresh_accept(w->refresh, result, ia_worker_now_ms());
    if (changed || strcmp(before, ia_refresh_problem(w->refresh, result->name)) != 0)
        w->issuers_stale = true;
}

void ia_worker_fetch_keys(struct ia_worker *w)
{
    ia_refresh_run(w->refresh, w->fetcher, ia_worker_now_ms());
    if (ia_fetcher_busy(w->fetcher))
        ia_fetcher_run(w->fetcher);
}
