// SPDX-License-Identifier: ISC
#include "cli/registry.h"

#include "common/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARAMETERS_MAX 32
#define TEXT_OID       25 /* of type text, in every PostgreSQL */

struct ia_registry {
    const struct ia_call *call;
    PGconn *conn;
    int status;
};

/* ---- connecting */

/* Which variables of the environment say where the database is. */
static bool environment_counts(void)
{
    static const char *const names[] = {"PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (getenv(names[i]))
            return true;
    return false;
}

/* The last line of libpq's words: those before it are of other hosts.  A line that begins with a tab is advice. */
static const char *last_line(char *text)
{
    for (;;) {
        size_t len = strlen(text);
        while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' '))
            text[--len] = '\0';
        char *newline = strrchr(text, '\n');
        if (!newline)
            return text;
        if (newline[1] != '\t')
            return newline + 1;
        *newline = '\0';
    }
}

static const char *or_default(const char *text)
{
    return text && *text ? text : "libpq's default";
}

static int refuse_connection(const struct ia_call *call, PGconn *conn, const char *source)
{
    ia_autofree char *text = strdup(conn ? PQerrorMessage(conn) : IA_NOMEM_TEXT);
    return ia_call_fail(call, IA_EXIT_DISCONNECTED,
                        "no connection to the registry (by %s: host %s, database %s, role %s): %s", source,
                        or_default(conn ? PQhost(conn) : NULL), or_default(conn ? PQdb(conn) : NULL),
                        or_default(conn ? PQuser(conn) : NULL), text ? last_line(text) : IA_NOMEM_TEXT);
}

/* Our settings come first, so that the connection string may say otherwise.  Only the first dbname is a connection
 * string to libpq; `database`, where it is given, counts before the one that stands in it. */
static PGconn *connect_by(const char *conninfo, const char *database)
{
    const char *const keywords[] = {"connect_timeout", "application_name",         "dbname",
                                    "client_encoding", database ? "dbname" : NULL, NULL};
    const char *const values[] = {
        getenv("PGCONNECT_TIMEOUT") ? NULL : "10", "iot-auth", conninfo, "UTF8", database, NULL};
    return PQconnectdbParams(keywords, values, 1);
}

int ia_registry_check_conninfo(const struct ia_call *call)
{
    char *text = NULL; /* would repeat pieces of the string, which may be pieces of the password */
    PQconninfoOption *options = call->conninfo ? PQconninfoParse(call->conninfo, &text) : NULL;
    PQfreemem(text);
    PQconninfoFree(options);
    return options || !call->conninfo
               ? IA_EXIT_DONE
               : ia_call_fail(call, IA_EXIT_USAGE, "--conninfo is not a connection string or URI of libpq");
}

/* libpq looks a service up before it connects, and fails at once where there is none. */
static bool has_service(void)
{
    PGconn *conn = PQconnectStart("service=iot-auth");
    bool has = conn && PQstatus(conn) != CONNECTION_BAD;
    bool is_elsewhere = conn && !has && !strstr(PQerrorMessage(conn), "service");
    PQfinish(conn);
    return has || is_elsewhere; /* it is there, and the connection failed: connecting will say why */
}

const char *ia_registry_conninfo(const struct ia_call *call, const char **source)
{
    *source = "--conninfo";
    if (call->conninfo)
        return call->conninfo;
    *source = "the environment";
    if (environment_counts())
        return "";
    *source = "service iot-auth";
    if (has_service())
        return "service=iot-auth";
    *source = "libpq's defaults";
    return "";
}

/* Notices of the server: what else a change does. */
static void print_notice(void *ctx, const PGresult *result)
{
    const struct ia_call *call = ctx;
    const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);
    if (call->quiet || !text)
        return;
    fprintf(stderr, "%s: note: %s%s%s\n", call->program, text, hint ? "; " : "", hint ? hint : "");
}

/* Nothing of the role's or database's settings may change what statements mean. */
static const char *const session_settings =
    "SELECT pg_catalog.set_config(s.name, s.setting, false) FROM (VALUES ('search_path', 'pg_catalog, pg_temp'), "
    "('standard_conforming_strings', 'on'), ('datestyle', 'ISO'), ('intervalstyle', 'postgres'), ('timezone', 'UTC'), "
    "('bytea_output', 'hex'), ('client_min_messages', 'notice'), ('statement_timeout', '60s'), "
    "('lock_timeout', '10s')) s(name, setting)";

PGconn *ia_registry_connect(const struct ia_call *call, const char *database)
{
    const char *source = NULL;
    return connect_by(ia_registry_conninfo(call, &source), database);
}

struct ia_registry *ia_registry_open_database(const struct ia_call *call, const char *conninfo, const char *source,
                                              const char *database, int *status)
{
    *status = ia_registry_check_conninfo(call);
    if (*status != IA_EXIT_DONE)
        return NULL;
    PGconn *conn = connect_by(conninfo, database);
    struct ia_registry *registry = calloc(1, sizeof *registry);
    if (!conn || !registry || PQstatus(conn) != CONNECTION_OK) {
        *status = refuse_connection(call, conn, source);
        PQfinish(conn);
        free(registry);
        return NULL;
    }
    *registry = (struct ia_registry){.call = call, .conn = conn};
    PQsetNoticeReceiver(conn, print_notice, (void *)call);
    if (ia_registry_do(registry, session_settings))
        return registry;
    *status = registry->status;
    ia_registry_close(registry);
    return NULL;
}

struct ia_registry *ia_registry_open(const struct ia_call *call, int *status)
{
    const char *source = NULL;
    const char *conninfo = ia_registry_conninfo(call, &source);
    return ia_registry_open_database(call, conninfo, source, NULL, status);
}

void ia_registry_close(struct ia_registry *registry)
{
    if (!registry)
        return;
    PQfinish(registry->conn);
    free(registry);
}

PGconn *ia_registry_conn(struct ia_registry *registry)
{
    return registry->conn;
}

int ia_registry_status(const struct ia_registry *registry)
{
    return registry->status;
}

/* ---- statements */

/* Errors that mean: the schema is not the one that this command is made for. */
static bool is_schema_error(const char *state)
{
    static const char *const states[] = {"3F000", "42P01", "42883", "42703"};
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        if (state && strcmp(state, states[i]) == 0)
            return true;
    return false;
}

int ia_registry_fail(struct ia_registry *registry, PGresult *result)
{
    const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);
    const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (PQstatus(registry->conn) != CONNECTION_OK || !text) {
        ia_autofree char *words = strdup(PQerrorMessage(registry->conn));
        registry->status =
            ia_call_fail(registry->call, IA_EXIT_DISCONNECTED, "the connection to the registry failed: %s",
                         words ? last_line(words) : IA_NOMEM_TEXT);
        PQclear(result);
        return registry->status;
    }
    registry->status = ia_call_fail(registry->call, IA_EXIT_REFUSED, "%s", text);
    if (detail)
        fprintf(stderr, "detail: %s\n", detail);
    if (hint)
        fprintf(stderr, "hint: %s\n", hint);
    else if (is_schema_error(state))
        fputs("hint: the database has no schema iot_auth, or one of another version: see iot-auth migrate\n", stderr);
    PQclear(result);
    return registry->status;
}

PGresult *ia_registry_run(struct ia_registry *registry, const char *sql, const char *const *values, int n)
{
    Oid types[PARAMETERS_MAX];
    for (int i = 0; i < PARAMETERS_MAX; i++)
        types[i] = TEXT_OID;
    registry->status = IA_EXIT_DONE;
    PGresult *result = PQexecParams(registry->conn, sql, n, types, values, NULL, NULL, 0);
    ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
        return result;
    (void)ia_registry_fail(registry, result);
    return NULL;
}

bool ia_registry_do(struct ia_registry *registry, const char *sql)
{
    PGresult *result = ia_registry_run(registry, sql, NULL, 0);
    PQclear(result);
    return result != NULL;
}

char *ia_registry_value(struct ia_registry *registry, const char *sql, const char *const *values, int n)
{
    PGresult *result = ia_registry_run(registry, sql, values, n);
    char *value = NULL;
    if (result && PQntuples(result) > 0 && !PQgetisnull(result, 0, 0))
        value = strdup(PQgetvalue(result, 0, 0));
    PQclear(result);
    return value;
}

bool ia_registry_take_time(struct ia_registry *registry)
{
    return ia_registry_do(registry, "SET statement_timeout = 0");
}
