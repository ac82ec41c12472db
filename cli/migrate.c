// SPDX-License-Identifier: ISC
/* The migrations are files of several statements each, one transaction a file, applied as psql would. */
#include "cli/migrate.h"

#include "cli/database.h"
#include "cli/migrations.h"
#include "cli/progress.h"
#include "common/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int ia_migrate_version(struct ia_registry *registry)
{
    ia_autofree char *table =
        ia_registry_value(registry, "SELECT to_regclass('iot_auth.schema_version')::text", NULL, 0);
    if (ia_registry_status(registry) != IA_EXIT_DONE)
        return -1;
    if (!table)
        return 0;
    ia_autofree char *version =
        ia_registry_value(registry, "SELECT coalesce(max(version), 0) FROM iot_auth.schema_version", NULL, 0);
    return version ? (int)strtol(version, NULL, 10) : -1;
}

/* A file of statements by the simple protocol: the first error ends it. */
static int apply_migration(struct ia_registry *registry, const struct ia_migration *migration)
{
    PGconn *conn = ia_registry_conn(registry);
    PGresult *failed = NULL, *result;
    if (!PQsendQuery(conn, migration->sql))
        return ia_registry_fail(registry, NULL);
    while ((result = PQgetResult(conn)) != NULL) {
        if (PQresultStatus(result) == PGRES_FATAL_ERROR && !failed)
            failed = result;
        else
            PQclear(result);
    }
    if (!failed && PQstatus(conn) == CONNECTION_OK)
        return IA_EXIT_DONE;
    return ia_registry_fail(registry, failed);
}

int ia_migrate_apply(struct ia_registry *registry, const struct ia_call *call, size_t *applied)
{
    struct ia_progress progress;
    int version = ia_migrate_version(registry), status = ia_registry_status(registry);
    *applied = 0;
    if (version < 0)
        return status;
    if ((size_t)version > ia_n_migrations)
        return ia_call_fail(call, IA_EXIT_REFUSED,
                            "the schema has version %d, but this program knows %zu only: use a newer program", version,
                            ia_n_migrations);
    if (!ia_registry_take_time(registry))
        return ia_registry_status(registry);
    ia_progress_begin(&progress, "migrations", (int64_t)ia_n_migrations - version, call->quiet);
    for (size_t i = (size_t)version; status == IA_EXIT_DONE && i < ia_n_migrations; i++) {
        status = apply_migration(registry, &ia_migrations[i]);
        *applied += status == IA_EXIT_DONE;
        ia_progress_show(&progress, (int64_t)*applied);
    }
    ia_progress_end(&progress);
    return status;
}

static int list_missing(struct ia_registry *registry, const struct ia_call *call)
{
    int version = ia_migrate_version(registry);
    if (version < 0)
        return ia_registry_status(registry);
    for (size_t i = (size_t)version; i < ia_n_migrations && !call->quiet; i++)
        call->json ? printf("{\"migration\": \"%s\", \"applied\": false}\n", ia_migrations[i].name)
                   : printf("%s\n", ia_migrations[i].name);
    return IA_EXIT_DONE;
}

static int apply_missing(struct ia_registry *registry, const struct ia_call *call)
{
    size_t applied = 0;
    int status = ia_migrate_apply(registry, call, &applied);
    if (status != IA_EXIT_DONE || call->quiet)
        return status;
    if (call->json)
        printf("{\"schema_version\": %zu, \"applied\": %zu}\n", ia_n_migrations, applied);
    else if (applied > 0)
        printf("schema iot_auth is at version %zu; %zu applied\n", ia_n_migrations, applied);
    else
        printf("schema iot_auth is at version %zu; nothing to do\n", ia_n_migrations);
    return status;
}

static int migrate_with(const struct ia_call *call, const struct ia_database_passwords *read)
{
    int status = ia_call_has(call, "create-database") ? ia_database_create(call) : IA_EXIT_DONE;
    struct ia_registry *registry = status == IA_EXIT_DONE ? ia_registry_open(call, &status) : NULL;
    if (!registry)
        return status;
    status = apply_missing(registry, call);
    if (status == IA_EXIT_DONE)
        status = ia_database_set_passwords(registry, read);
    ia_registry_close(registry);
    return status;
}

/* The files come first, so that a wrong one leaves nothing half done. */
static int migrate_database(const struct ia_call *call)
{
    struct ia_database_passwords read = {0};
    int status = ia_database_read_passwords(call, &read);
    if (status == IA_EXIT_DONE)
        status = migrate_with(call, &read);
    ia_database_wipe_passwords(&read);
    return status;
}

int ia_migrate_run(const struct ia_call *call)
{
    int status = IA_EXIT_DONE;
    if (!ia_call_has(call, "dry-run"))
        return migrate_database(call);
    if (ia_call_has(call, "create-database") || ia_database_has_passwords(call))
        return ia_call_fail(call, IA_EXIT_USAGE, "--dry-run changes nothing and takes no other option");
    struct ia_registry *registry = ia_registry_open(call, &status);
    if (!registry)
        return status;
    status = list_missing(registry, call);
    ia_registry_close(registry);
    return status;
}
