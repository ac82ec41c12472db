// SPDX-License-Identifier: ISC
/* The database of the registry: it, its schema, the administrator's role, and the password of the broker's role.
 *
 * Without --conninfo and without a role in the environment, setup is the operating system's user postgres while it
 * connects: that is who Debian's PostgreSQL admits, by peer authentication on its Unix socket.  Then root becomes an
 * administrator of the registry in the same way.  The broker runs as another user and needs its password, by TCP.
 *
 * A password is never taken away from brokers that use it already: it is set only where the role has none, or where the
 * passfile of this machine says it, or with --new-password. */
#include "cli/database.h"
#include "cli/input.h"
#include "cli/migrate.h"
#include "cli/migrations.h"
#include "cli/setup.h"
#include "common/clock.h"
#include "common/str.h"
#include "sql/db_tls.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OLDEST_SERVER   150000
#define PASSWORD_OCTETS 24
#define PASSWORD_LEN    (2 * PASSWORD_OCTETS)
#define CLOCK_APART_S   5
#define PASSFILE_MAX    65536

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

/* ---- the broker's password */

/* Does the passfile admit the broker?  As the broker's user: libpq ignores a passfile that others can read. */
static bool admits_broker(struct ia_setup *setup)
{
    const char *sslmode = ia_host_is_local(setup->db_host, NULL) ? NULL : "verify-full";
    const char *const keywords[] = {"host",    "port",        "dbname",          "user", "passfile", "password",
                                    "sslmode", "sslrootcert", "connect_timeout", NULL};
    const char *const values[] = {setup->db_host,
                                  setup->db_port,
                                  setup->database,
                                  "iot_auth_broker",
                                  setup->passfile,
                                  "",
                                  sslmode,
                                  setup->db_sslrootcert,
                                  "10",
                                  NULL};
    if (!ia_user_become(&setup->broker))
        return false;
    PGconn *conn = PQconnectdbParams(keywords, values, 0);
    bool admitted = conn && PQstatus(conn) == CONNECTION_OK;
    PQfinish(conn);
    ia_user_return();
    return admitted;
}

/* The password of the passfile's line, which setup has written: the text after the last ':'.  NULL: there is none. */
static char *read_password(const struct ia_setup *setup)
{
    ia_autofree char *text = NULL;
    struct ia_err err = {0};
    if (ia_cli_read_text(setup->passfile, PASSFILE_MAX, &text, &err) != IA_OK)
        return NULL;
    text[strcspn(text, "\r\n")] = '\0';
    const char *colon = strrchr(text, ':');
    char *password = colon && strlen(colon + 1) == PASSWORD_LEN ? strdup(colon + 1) : NULL;
    OPENSSL_cleanse(text, strlen(text));
    return password;
}

/* A field of a passfile: ':' and '\\' are escaped (libpq, "The Password File").  The caller owns it. */
static char *passfile_field(const char *text)
{
    char *field = malloc(2 * strlen(text) + 1), *end = field;
    for (; field && *text; text++) {
        if (*text == ':' || *text == '\\')
            *end++ = '\\';
        *end++ = *text;
    }
    if (field)
        *end = '\0';
    return field;
}

static char *make_password(struct ia_setup *setup)
{
    uint8_t octets[PASSWORD_OCTETS];
    char *password = malloc(PASSWORD_LEN + 1);
    ia_autofree char *line = NULL, *host = passfile_field(setup->db_host);
    if (!password || !host || RAND_priv_bytes(octets, sizeof octets) != 1) {
        ia_setup_say(setup, IA_SETUP_PROBLEM, "no random numbers for a password");
        free(password);
        return NULL;
    }
    ia_hex(octets, sizeof octets, password);
    OPENSSL_cleanse(octets, sizeof octets);
    bool written =
        asprintf(&line, "%s:%s:%s:iot_auth_broker:%s\n", host, setup->db_port, setup->database, password) > 0;
    if (written && ia_call_has(setup->call, "new-password"))
        (void)unlink(setup->passfile);
    written = written && ia_setup_write(setup, setup->passfile, line, 0600, setup->broker.uid, setup->broker.gid);
    if (line)
        OPENSSL_cleanse(line, strlen(line));
    if (written)
        return password;
    free(password);
    return NULL;
}

static int renew_password(struct ia_setup *setup, struct ia_registry *registry, bool has_file)
{
    bool is_new = !has_file || ia_call_has(setup->call, "new-password");
    if (setup->dry_run) {
        ia_setup_say(setup, IA_SETUP_MADE, "password of role iot_auth_broker, in passfile %s (0600, user %s)",
                     setup->passfile, setup->broker.name);
        return IA_EXIT_DONE;
    }
    char *password = is_new ? make_password(setup) : read_password(setup);
    if (!password && !is_new)
        return ia_call_fail(setup->call, IA_EXIT_REFUSED,
                            "passfile %s does not admit role iot_auth_broker, and setup has not written it: correct or "
                            "remove it",
                            setup->passfile);
    if (!password)
        return IA_EXIT_REFUSED;
    int status = ia_database_set_password(registry, "iot_auth_broker", password);
    OPENSSL_cleanse(password, strlen(password));
    free(password);
    if (status == IA_EXIT_DONE)
        ia_setup_say(setup, IA_SETUP_MADE, "password of role iot_auth_broker, in passfile %s (0600, user %s)",
                     setup->passfile, setup->broker.name);
    return status;
}

/* Who may not read pg_authid knows only of a schema that is new. */
static bool has_password(struct ia_registry *registry, bool is_new_schema)
{
    ia_autofree char *answer =
        ia_registry_value(registry, "SELECT has_table_privilege('pg_catalog.pg_authid', 'SELECT')", NULL, 0);
    if (!answer || strcmp(answer, "t") != 0)
        return !is_new_schema;
    ia_autofree char *set = ia_registry_value(
        registry, "SELECT 1 FROM pg_authid WHERE rolname = 'iot_auth_broker' AND rolpassword IS NOT NULL", NULL, 0);
    return set != NULL;
}

/* libpq ignores a passfile that others can read, and says so only on the broker's standard error. */
static bool is_passfile_fit(struct ia_setup *setup)
{
    struct stat info;
    if (stat(setup->passfile, &info) != 0 || (info.st_uid == setup->broker.uid && !(info.st_mode & 077)))
        return true;
    (void)ia_call_fail(setup->call, 0, "passfile %s must be the broker's user's alone: chown %s and chmod 600",
                       setup->passfile, setup->broker.name);
    return false;
}

static int make_password_step(struct ia_setup *setup, struct ia_registry *registry, bool is_new_schema)
{
    bool has_file = access(setup->passfile, F_OK) == 0;
    if (!is_passfile_fit(setup))
        return IA_EXIT_REFUSED;
    if (ia_call_has(setup->call, "new-password"))
        return renew_password(setup, registry, has_file);
    if (has_file && admits_broker(setup)) {
        ia_setup_say(setup, IA_SETUP_KEPT, "passfile %s, which admits the broker to the database", setup->passfile);
        return IA_EXIT_DONE;
    }
    if (has_password(registry, is_new_schema))
        return ia_call_fail(setup->call, IA_EXIT_REFUSED,
                            "role iot_auth_broker has a password already, which other brokers may use: copy their "
                            "passfile to %s (0600, user %s), or give --new-password, which locks them out",
                            setup->passfile, setup->broker.name);
    return renew_password(setup, registry, has_file);
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
        status = make_password_step(setup, registry, is_new);
    ia_registry_close(registry);
    if (status == IA_EXIT_DONE && !setup->dry_run && !admits_broker(setup))
        return ia_call_fail(setup->call, IA_EXIT_DISCONNECTED,
                            "role iot_auth_broker cannot connect to %s, port %s, database %s with passfile %s: see "
                            "listen_addresses in postgresql.conf, and pg_hba.conf",
                            setup->db_host, setup->db_port, setup->database, setup->passfile);
    return status;
}

int ia_setup_database(struct ia_setup *setup)
{
    int status = IA_EXIT_DONE;
    bool exists = false;
    struct ia_registry *registry = connect_database(setup, "postgres", &status);
    if (!registry)
        return status;
    if (!note_place(setup, ia_registry_conn(registry)))
        status = ia_call_fail(setup->call, IA_EXIT_REFUSED, IA_NOMEM_TEXT);
    if (status == IA_EXIT_DONE)
        check_server(setup, registry);
    if (status == IA_EXIT_DONE && setup->problems == 0)
        status = make_database(setup, registry, &exists);
    ia_registry_close(registry);
    if (status != IA_EXIT_DONE || setup->problems)
        return status != IA_EXIT_DONE ? status : IA_EXIT_USAGE;
    if (exists)
        return fill_database(setup);
    ia_setup_say(setup, IA_SETUP_MADE, "schema iot_auth, version %zu", ia_n_migrations);
    return renew_password(setup, NULL, false);
}
