// SPDX-License-Identifier: ISC
#include "cli/database.h"

#include "cli/input.h"
#include "common/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PASSWORD_MAX 1024

/* ---- the database */

/* In UTF-8, which the schema requires whatever the server's default is. */
static bool create_database(PGconn *conn, const char *name)
{
    ia_autofree char *sql = NULL;
    char *quoted = PQescapeIdentifier(conn, name, strlen(name));
    if (!quoted || asprintf(&sql, "CREATE DATABASE %s ENCODING 'UTF8' TEMPLATE template0", quoted) < 0)
        sql = NULL;
    PQfreemem(quoted);
    if (!sql)
        return false;
    PGresult *result = PQexecParams(conn, sql, 0, NULL, NULL, NULL, NULL, 0);
    bool created = PQresultStatus(result) == PGRES_COMMAND_OK;
    PQclear(result);
    return created;
}

static bool is_there(const struct ia_call *call)
{
    PGconn *conn = ia_registry_connect(call, NULL);
    bool there = PQstatus(conn) == CONNECTION_OK;
    PQfinish(conn);
    return there;
}

/* By the list of databases: a connection fails for many reasons. */
static bool is_absent(PGconn *server, const char *name)
{
    PGresult *result =
        PQexecParams(server, "SELECT 1 FROM pg_catalog.pg_database WHERE datname = $1", 1, NULL, &name, NULL, NULL, 0);
    bool absent = PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 0;
    PQclear(result);
    return absent;
}

int ia_database_create(const struct ia_call *call)
{
    int status = ia_registry_check_conninfo(call);
    if (status != IA_EXIT_DONE)
        return status;
    PGconn *missing = ia_registry_connect(call, NULL);
    PGconn *server = PQstatus(missing) == CONNECTION_OK ? NULL : ia_registry_connect(call, "postgres");
    /* Where the server cannot be reached either, or has the database, opening the registry says why. */
    if (PQstatus(server) == CONNECTION_OK && is_absent(server, PQdb(missing)) &&
        !create_database(server, PQdb(missing)) && !is_there(call))
        status = ia_call_fail(call, IA_EXIT_REFUSED, "the database %s cannot be created: %s", PQdb(missing),
                              PQerrorMessage(server));
    PQfinish(missing);
    PQfinish(server);
    return status;
}

/* ---- passwords */

static const struct {
    const char *option, *role;
} passwords[] = {
    {"broker-password-file", "iot_auth_broker"},
    {"monitor-password-file", "iot_auth_monitor"},
};
_Static_assert(IA_COUNT(passwords) == IA_DATABASE_PASSWORDS, "one text for each");

bool ia_database_has_passwords(const struct ia_call *call)
{
    for (size_t i = 0; i < IA_COUNT(passwords); i++)
        if (ia_call_has(call, passwords[i].option))
            return true;
    return false;
}

/* The file has one line: of several, which one the password is would be a guess. */
static int read_password_file(const struct ia_call *call, const char *path, char **out)
{
    struct ia_err err = {0};
    if (ia_cli_read_text(path, PASSWORD_MAX, out, &err) != IA_OK)
        return ia_call_fail(call, IA_EXIT_USAGE, "%s", err.msg);
    size_t len = strlen(*out), line = strcspn(*out, "\r\n");
    if (line > 0 && strspn(*out + line, "\r\n") == len - line) {
        (*out)[line] = '\0';
        return IA_EXIT_DONE;
    }
    ia_cli_wipe_text(*out);
    *out = NULL;
    return ia_call_fail(call, IA_EXIT_USAGE, "%s: one line with a password is required", path);
}

int ia_database_set_password(struct ia_registry *registry, const char *role, const char *password)
{
    PGconn *conn = ia_registry_conn(registry);
    char *verifier = PQencryptPasswordConn(conn, password, role, "scram-sha-256");
    char *literal = verifier ? PQescapeLiteral(conn, verifier, strlen(verifier)) : NULL;
    ia_autofree char *sql = NULL;
    if (!literal || asprintf(&sql, "ALTER ROLE %s PASSWORD %s", role, literal) < 0)
        sql = NULL;
    int status = sql && ia_registry_do(registry, sql) ? IA_EXIT_DONE : IA_EXIT_REFUSED;
    PQfreemem(literal);
    PQfreemem(verifier);
    return status;
}

int ia_database_read_passwords(const struct ia_call *call, struct ia_database_passwords *out)
{
    int status = IA_EXIT_DONE;
    for (size_t i = 0; status == IA_EXIT_DONE && i < IA_COUNT(passwords); i++) {
        const char *path = ia_call_get(call, passwords[i].option);
        status = path ? read_password_file(call, path, &out->text[i]) : IA_EXIT_DONE;
    }
    return status;
}

void ia_database_wipe_passwords(struct ia_database_passwords *read)
{
    for (size_t i = 0; i < IA_COUNT(passwords); i++)
        ia_cli_wipe_text(read->text[i]);
    *read = (struct ia_database_passwords){0};
}

int ia_database_set_passwords(struct ia_registry *registry, const struct ia_database_passwords *read)
{
    int status = IA_EXIT_DONE;
    for (size_t i = 0; status == IA_EXIT_DONE && i < IA_COUNT(passwords); i++)
        if (read->text[i])
            status = ia_database_set_password(registry, passwords[i].role, read->text[i]);
    return status;
}
