// SPDX-License-Identifier: ISC
/* Following is reading again once a second.  Transactions do not commit in the order of their event ids, so that a higher
 * id says nothing about the lower ones: each round reads the last minute again and leaves out the ids that were shown. */
#include "cli/events.h"

#include "cli/cell.h"
#include "cli/registry.h"
#include "cli/run.h"
#include "common/str.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EVENT_COLUMNS                                                                                                  \
    "e.event_id, e.at, e.node, e.kind, e.reason, e.principal, a.name AS ca, e.address, "                               \
    "e.detail - ARRAY['device_id', 'app', 'ca', 'address', 'reason', 'node', 'at'] AS detail "                         \
    "FROM iot_auth.event e LEFT JOIN iot_auth.ca a ON a.ca_id = e.ca_id "

/* $1 since, $2 kind, $3 max */
static const struct ia_query list_query = {
    .sql = "SELECT l.* FROM (SELECT " EVENT_COLUMNS "WHERE e.at > now() - coalesce($1::interval, interval '24 hours') "
           "AND ($2 IS NULL OR e.kind = $2) ORDER BY e.at DESC, e.event_id DESC LIMIT coalesce($3::bigint, 50)) l "
           "ORDER BY l.at, l.event_id"};

/* $1 kind, $2 ids that were shown */
static const char next_sql[] = "SELECT " EVENT_COLUMNS "WHERE e.at > now() - interval '1 minute' "
                               "AND ($1 IS NULL OR e.kind = $1) AND e.event_id <> ALL ($2::bigint[]) "
                               "ORDER BY e.at, e.event_id";
/* $1 kind */
static const char recent_sql[] = "SELECT coalesce(array_agg(e.event_id), '{}') FROM iot_auth.event e "
                                 "WHERE e.at > now() - interval '1 minute' AND ($1 IS NULL OR e.kind = $1)";

static volatile sig_atomic_t interrupted;

static void note_interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

/* One event a line: a table cannot grow. */
static void print_event(const PGresult *result, int row, bool utc)
{
    for (int c = 1; c < PQnfields(result); c++) {
        ia_autofree char *text = ia_cell_text(result, row, c, utc);
        if (text && *text)
            printf("%s%s", c > 1 ? "  " : "", text);
    }
    putchar('\n');
}

static bool show_next(struct ia_registry *registry, const struct ia_call *call, const char *const *values)
{
    ia_autofree char *sql = NULL;
    if (asprintf(&sql, call->json ? "SELECT to_json(q) FROM (%s) q" : "%s", next_sql) < 0)
        return false;
    PGresult *result = ia_registry_run(registry, sql, values, 2);
    for (int i = 0; result && i < PQntuples(result); i++)
        call->json ? (void)puts(PQgetvalue(result, i, 0)) : print_event(result, i, call->utc);
    PQclear(result);
    return result && fflush(stdout) == 0;
}

/* One snapshot for what is shown and for the ids that count as shown. */
static bool begin_snapshot(struct ia_registry *registry)
{
    return ia_registry_do(registry, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY");
}

/* Show what is new since the ids of *shown, and replace those. */
static bool run_round(struct ia_registry *registry, const struct ia_call *call, char **shown)
{
    const char *const values[] = {ia_call_get(call, "kind"), *shown};
    if (!begin_snapshot(registry))
        return false;
    char *recent = ia_registry_value(registry, recent_sql, values, 1);
    if (!recent || !show_next(registry, call, values) || !ia_registry_do(registry, "COMMIT")) {
        free(recent);
        return false;
    }
    free(*shown);
    *shown = recent;
    return true;
}

static void follow_events(struct ia_registry *registry, const struct ia_call *call, char *shown)
{
    const struct sigaction action = {.sa_handler = note_interrupt};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    while (shown && !interrupted && run_round(registry, call, &shown))
        (void)nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
    free(shown);
}

static int show_events(struct ia_registry *registry, const struct ia_call *call)
{
    const char *const values[] = {ia_call_get(call, "since"), ia_call_get(call, "kind"), ia_call_get(call, "max")};
    if (!ia_call_has(call, "follow"))
        return ia_run_query(registry, call, &list_query, values, 3);
    if (!begin_snapshot(registry) || ia_run_query(registry, call, &list_query, values, 3) != IA_EXIT_DONE)
        return ia_registry_status(registry);
    (void)fflush(stdout);
    char *shown = ia_registry_value(registry, recent_sql, values + 1, 1);
    if (shown && ia_registry_do(registry, "COMMIT"))
        follow_events(registry, call, shown);
    else
        free(shown);
    return ia_registry_status(registry);
}

int ia_events_run(const struct ia_call *call)
{
    int status = IA_EXIT_DONE;
    struct ia_registry *registry = ia_registry_open(call, &status);
    if (!registry)
        return status;
    status = show_events(registry, call);
    ia_registry_close(registry);
    return status;
}
