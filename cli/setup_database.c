// SPDX-License-Identifier: ISC
/* The database of the registry: it, its schema, and the administrator's role.
 *
 * Without --conninfo and without a role in the environment, setup is the operating system's user postgres while it
 * connects: that is who Debian's PostgreSQL admits, by peer authentication on its Unix socket.  Then root becomes an
 * administrator of the registry in the same way.  The broker runs as another user and needs its password, by TCP
 * (setup_password.c). */
#include "cli/input.h"
#include "cli/migrate.h"
#include "cli/migrations.h"
#include "cli/setup.h"
#include "common/clock.h"
#include "common/str.h"
#include "sql/db_tls.h"

#include <openssl/crypto.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OLDEST_SERVER 150000
#define CLOCK_APART_S 5
#define CONF_MAX      (1 << 20)

/* ---- connecting */

static bool is_own_socket(const struct ia_call *call)
{
    const char *host = getenv("PGHOST");
    return !call->conninfo && !getenv("PGUSER") && !getenv("PGSERVICE") && !getenv("PGHOSTADDR") &&
           (!host || *host == '/');
}

static struct ia_registry *connect_database(struct ia_setup *setup, const char *database, int *status)
{
    struct ia_user postgres = {0};
    const char *source = "--conninfo";
    setup->has_socket = is_own_socket(setup->call);
    if (!setup->has_socket) {
        const char *conninfo = setup->call->conninfo ? setup->call->conninfo : "";
        return ia_registry_open_database(setup->call, conninfo, setup->call->conninfo ? source : "the environment",
                                         database, status);
    }
    if (!ia_user_find("postgres", &postgres)) {
        *status =
            ia_call_fail(setup->call, IA_EXIT_DISCONNECTED,
                         "this machine has no user postgres: install PostgreSQL, or say where it is with --conninfo");
        return NULL;
    }
    struct ia_registry *registry = NULL;
    if (ia_user_become(&postgres))
        registry =
            ia_registry_open_database(setup->call, "user=postgres", "user postgres of this machine", database, status);
    else
        *status = ia_call_fail(setup->call, IA_EXIT_USAGE, "setup cannot become user postgres");
    ia_user_return();
    free(postgres.home);
    return registry;
}

static char *option_copy(const PQconninfoOption *options, const char *keyword)
{
    for (const PQconninfoOption *o = options; o && o->keyword; o++)
        if (strcmp(o->keyword, keyword) == 0 && o->val && *o->val)
            return strdup(o->val);
    return NULL;
}

/* Where the database is, for the broker and for the service. */
static bool note_place(struct ia_setup *setup, PGconn *conn)
{
    const char *host = PQhost(conn);
    PQconninfoOption *options = PQconninfo(conn);
    bool is_socket = !host || !*host || *host == '/' || *host == '@';
    setup->db_socket = strdup(is_socket && host ? host : "/var/run/postgresql");
    setup->db_host = strdup(is_socket ? "127.0.0.1" : host);
    setup->db_port = strdup(PQport(conn));
    setup->db_user = strdup(PQuser(conn));
    setup->db_sslmode = option_copy(options, "sslmode");
    setup->db_sslrootcert = option_copy(options, "sslrootcert");
    PQconninfoFree(options);
    if (setup->db_sslmode && strcmp(setup->db_sslmode, "prefer") == 0) { /* libpq's default */
        free(setup->db_sslmode);
        setup->db_sslmode = NULL;
    }
    return setup->db_socket && setup->db_host && setup->db_port && setup->db_user;
}

/* One of the items of a list as libpq takes it, "a,b". */
static bool is_listed(const char *list, const char *item)
{
    size_t len = strlen(item);
    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, item, len) == 0 && (at[len] == ',' || at[len] == '\0'))
            return true;
    }
    return false;
}

/* Does the configuration's option say this too?  What it does not say is libpq's choice on the broker's machine. */
static bool is_same_place(const struct ia_setup *setup, const PQconninfoOption *options)
{
    ia_autofree char *host = option_copy(options, "host"), *port = option_copy(options, "port");
    ia_autofree char *database = option_copy(options, "dbname");
    bool is_local = ia_host_is_local(host, NULL) && ia_host_is_local(setup->db_host, NULL);
    return (!host || is_local || is_listed(host, setup->db_host)) && (!port || is_listed(port, setup->db_port)) &&
           (!database || strcmp(database, setup->database) == 0);
}

/* The configuration that is there is kept: it must be of this registry. */
static void check_conninfo(struct ia_setup *setup, const char *conninfo)
{
    char *text = NULL; /* may repeat a password */
    PQconninfoOption *options = PQconninfoParse(conninfo, &text);
    PQfreemem(text);
    if (options && !is_same_place(setup, options))
        ia_setup_say(setup, IA_SETUP_PROBLEM,
                     "%s: plugin_opt_db_conninfo names another database than %s, port %s, database %s: give setup that "
                     "one (--conninfo, --database), or edit the file",
                     setup->conf, setup->db_host, setup->db_port, setup->database);
    PQconninfoFree(options);
}

static void check_kept_configuration(struct ia_setup *setup)
{
    static const char option[] = "plugin_opt_db_conninfo";
    char *text = NULL, *rest = NULL;
    struct ia_err err = {0};
    if (!setup->has_conf)
        return;
    if (ia_cli_read_text(setup->conf, CONF_MAX, &text, &err) != IA_OK) {
        ia_setup_say(setup, IA_SETUP_PROBLEM, "%s", err.msg);
        return;
    }
    size_t len = strlen(text);
    for (char *line = strtok_r(text, "\r\n", &rest); line; line = strtok_r(NULL, "\r\n", &rest)) {
        line += strspn(line, " \t");
        if (strncmp(line, option, strlen(option)) == 0 && strchr(" \t", line[strlen(option)]))
            check_conninfo(setup, line + strlen(option) + strspn(line + strlen(option), " \t"));
    }
    OPENSSL_cleanse(text, len);
    free(text);
}

/* The broker's configuration names it in a connection string, and the broker starts in another folder. */
static void check_root_certificate(struct ia_setup *setup)
{
    const char *path = setup->db_sslrootcert;
    if (path && strcmp(path, "system") != 0 && !ia_setup_is_plain_path(path))
        ia_setup_say(
            setup, IA_SETUP_PROBLEM,
            "sslrootcert %s: a path that is absolute and has no white space, quotes or backslashes is required", path);
}

/* ---- the server */

static void check_server(struct ia_setup *setup, struct ia_registry *registry)
{
    int version = PQserverVersion(ia_registry_conn(registry));
    ia_autofree char *standby = ia_registry_value(registry, "SELECT pg_is_in_recovery()", NULL, 0);
    ia_autofree char *clock =
        ia_registry_value(registry, "SELECT extract(epoch FROM clock_timestamp())::bigint", NULL, 0);
    int64_t apart = clock ? strtoll(clock, NULL, 10) - ia_wall_s() : 0;
    if (version < OLDEST_SERVER)
        ia_setup_say(setup, IA_SETUP_PROBLEM, "PostgreSQL %d is too old: 15 or newer is required", version / 10000);
    if (standby && strcmp(standby, "t") == 0)
        ia_setup_say(setup, IA_SETUP_PROBLEM, "the database server is a standby; the primary is required");
    if (apart > CLOCK_APART_S || apart < -CLOCK_APART_S)
        ia_setup_say(setup, IA_SETUP_WARNING, "the clock of the database server is %lld s %s this machine's",
                     (long long)(apart < 0 ? -apart : apart), apart < 0 ? "behind" : "ahead of");
    if (setup->problems == 0)
        ia_setup_say(setup, IA_SETUP_FOUND, "PostgreSQL %d at %s, port %s", version / 10000,
                     setup->has_socket ? setup->db_socket : setup->db_host, setup->db_port);
}

/* *exists: it is there now. */
static int make_database(struct ia_setup *setup, struct ia_registry *registry, bool *exists)
{
    const char *const values[] = {setup->database};
    ia_autofree char *found =
        ia_registry_value(registry, "SELECT datname FROM pg_database WHERE datname = $1", values, 1);
    *exists = found != NULL;
    if (ia_registry_status(registry) != IA_EXIT_DONE)
        return ia_registry_status(registry);
    if (found) {
        ia_setup_say(setup, IA_SETUP_KEPT, "database %s", setup->database);
        return IA_EXIT_DONE;
    }
    ia_autofree char *sql = NULL;
    if (asprintf(&sql, "CREATE DATABASE \"%s\" ENCODING 'UTF8' TEMPLATE template0", setup->database) < 0)
        return IA_EXIT_REFUSED;
    if (!setup->dry_run && !ia_registry_do(registry, sql))
        return ia_registry_status(registry);
    *exists = !setup->dry_run;
    ia_setup_say(setup, IA_SETUP_MADE, "database %s", setup->database);
    return IA_EXIT_DONE;
}

static int make_schema(struct ia_setup *setup, struct ia_registry *registry, bool *is_new)
{
    int version = ia_migrate_version(registry), status = ia_registry_status(registry);
    size_t applied = 0;
    if (version < 0)
        return status;
    *is_new = version == 0;
    if (!setup->dry_run)
        status = ia_migrate_apply(registry, setup->call, &applied);
    else
        applied = (size_t)version < ia_n_migrations ? ia_n_migrations - (size_t)version : 0;
    if (status == IA_EXIT_DONE && applied > 0)
        ia_setup_say(setup, IA_SETUP_MADE, "schema iot_auth, version %zu (%zu migrations)", ia_n_migrations, applied);
    else if (status == IA_EXIT_DONE)
        ia_setup_say(setup, IA_SETUP_KEPT, "schema iot_auth, version %d", version);
    return status;
}

/* root, by peer authentication: the role that has the name of the user who runs this. */
static int make_administrator(struct ia_setup *setup, struct ia_registry *registry)
{
    const struct passwd *me = getpwuid(getuid()); // NOLINT(concurrency-mt-unsafe): one thread
    const char *const values[] = {me ? me->pw_name : "root"};
    if (!setup->has_socket)
        return IA_EXIT_DONE;
    ia_autofree char *sql = ia_registry_value(
        registry,
        "SELECT CASE WHEN r.oid IS NULL THEN format('CREATE ROLE %I LOGIN IN ROLE iot_auth_admin', n.name) "
        "WHEN NOT pg_has_role(r.oid, 'iot_auth_admin', 'MEMBER') THEN format('GRANT iot_auth_admin TO %I', n.name) END "
        "FROM (VALUES ($1)) n(name) LEFT JOIN pg_roles r ON r.rolname = n.name",
        values, 1);
    if (ia_registry_status(registry) != IA_EXIT_DONE)
        return ia_registry_status(registry);
    if (sql && !setup->dry_run && !ia_registry_do(registry, sql))
        return ia_registry_status(registry);
    ia_setup_say(setup, sql ? IA_SETUP_MADE : IA_SETUP_KEPT,
                 "role %s, an administrator of the registry (for another user: CREATE ROLE name LOGIN IN ROLE "
                 "iot_auth_admin)",
                 values[0]);
    return IA_EXIT_DONE;
}

/* ---- all of it */

static int fill_database(struct ia_setup *setup)
{
    int status = IA_EXIT_DONE;
    bool is_new = false;
    struct ia_registry *registry = connect_database(setup, setup->database, &status);
    if (!registry)
        return status;
    status = make_schema(setup, registry, &is_new);
    if (status == IA_EXIT_DONE && !(setup->dry_run && is_new))
        status = make_administrator(setup, registry);
    if (status == IA_EXIT_DONE)
        status = ia_setup_password(setup, registry);
    ia_registry_close(registry);
    return status == IA_EXIT_DONE && !setup->dry_run ? ia_setup_password_check(setup) : status;
}

/* What can refuse comes before what is made. */
static int check_database(struct ia_setup *setup, struct ia_registry *registry)
{
    if (!note_place(setup, ia_registry_conn(registry)))
        return ia_call_fail(setup->call, IA_EXIT_REFUSED, IA_NOMEM_TEXT);
    check_server(setup, registry);
    check_root_certificate(setup);
    check_kept_configuration(setup);
    if (setup->problems)
        return ia_call_fail(setup->call, IA_EXIT_USAGE, "nothing was done");
    return ia_setup_password_decide(setup, registry);
}

int ia_setup_database(struct ia_setup *setup)
{
    int status = IA_EXIT_DONE;
    bool exists = false;
    struct ia_registry *registry = connect_database(setup, "postgres", &status);
    if (!registry)
        return status;
    status = check_database(setup, registry);
    if (status == IA_EXIT_DONE)
        status = make_database(setup, registry, &exists);
    ia_registry_close(registry);
    if (status != IA_EXIT_DONE || exists)
        return status == IA_EXIT_DONE ? fill_database(setup) : status;
    ia_setup_say(setup, IA_SETUP_MADE, "schema iot_auth, version %zu", ia_n_migrations);
    return ia_setup_password(setup, NULL); /* a dry run */
}
