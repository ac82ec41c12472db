// SPDX-License-Identifier: ISC
/* The password of the broker's role, and the passfile of this machine that has it.
 *
 * What is to be done is decided before anything is made.  A password is never taken away from brokers that use it
 * already: it is set only where the role has none, or with --new-password.  The passfile is replaced after the server
 * has taken the new password, so that an error leaves the old pair. */
#include "cli/database.h"
#include "cli/input.h"
#include "cli/setup.h"
#include "common/clock.h"
#include "common/str.h"
#include "sql/db_tls.h"
#include "sql/pg_error.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PASSWORD_OCTETS 24
#define PASSWORD_LEN    (2 * PASSWORD_OCTETS)
#define PASSFILE_MAX    65536
#define LOGIN_MS        10000

/* ---- a login as the broker */

struct login {
    bool admitted, wrong_password; /* neither: another reason */
    char reason[256];              /* libpq's; no password is in it */
};

/* libpq's environment variables are not the broker's: libpq would use PGPASSWORD, not the passfile.  The array is the
 * caller's to free, its texts are not.  NULL: no memory. */
static char **environment_without_libpq(void)
{
    size_t n = 0, kept = 0;
    while (environ[n])
        n++;
    char **rest = calloc(n + 1, sizeof *rest);
    for (size_t i = 0; rest && i < n; i++)
        if (strncmp(environ[i], "PG", 2) != 0)
            rest[kept++] = environ[i];
    return rest;
}

/* Connects in steps, because only then is the SQLSTATE of an error available: its text may be translated. */
static void connect_broker(PGconn *conn)
{
    int64_t deadline_ms = ia_monotonic_ms() + LOGIN_MS;
    PostgresPollingStatusType state = PQstatus(conn) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
    PQsetErrorVerbosity(conn, PQERRORS_VERBOSE);
    while (state == PGRES_POLLING_READING || state == PGRES_POLLING_WRITING) {
        struct pollfd wait = {.fd = PQsocket(conn), .events = state == PGRES_POLLING_READING ? POLLIN : POLLOUT};
        int64_t left = deadline_ms - ia_monotonic_ms();
        if (left <= 0 || poll(&wait, 1, (int)left) <= 0)
            return;
        state = PQconnectPoll(conn);
    }
}

/* A database that is not there is reported after the password was accepted. */
static void read_outcome(PGconn *conn, struct login *login)
{
    const char *message = PQerrorMessage(conn);
    login->admitted = PQstatus(conn) == CONNECTION_OK || strstr(message, ":  3D000: ");
    login->wrong_password = strstr(message, ":  28P01: ") || PQconnectionNeedsPassword(conn);
    if (*message)
        ia_pg_error_text(message, NULL, login->reason, sizeof login->reason);
    else
        (void)snprintf(login->reason, sizeof login->reason, "no answer within %d s", LOGIN_MS / 1000);
}

/* As the broker's user: libpq ignores a passfile that others can read. */
static struct login log_in(struct ia_setup *setup)
{
    struct login login = {.reason = IA_NOMEM_TEXT};
    const char *sslmode = ia_host_is_local(setup->db_host, NULL) ? NULL : "verify-full";
    const char *const keywords[] = {"host", "port", "dbname", "user", "passfile", "sslmode", "sslrootcert", NULL};
    const char *const values[] = {setup->db_host,  setup->db_port, setup->database,       "iot_auth_broker",
                                  setup->passfile, sslmode,        setup->db_sslrootcert, NULL};
    if (!ia_user_become(&setup->broker)) {
        (void)snprintf(login.reason, sizeof login.reason, "setup cannot become user %s", setup->broker.name);
        return login;
    }
    char **own = environ, **rest = environment_without_libpq();
    if (rest) {
        environ = rest;
        PGconn *conn = PQconnectStartParams(keywords, values, 0);
        if (conn) {
            connect_broker(conn);
            read_outcome(conn, &login);
        }
        PQfinish(conn);
        environ = own;
    }
    free(rest);
    ia_user_return();
    return login;
}

static int refuse_login(struct ia_setup *setup, const struct login *login)
{
    return ia_call_fail(setup->call, IA_EXIT_DISCONNECTED,
                        "role iot_auth_broker cannot connect to %s, port %s, database %s with passfile %s: %s; see "
                        "listen_addresses in postgresql.conf, and pg_hba.conf",
                        setup->db_host, setup->db_port, setup->database, setup->passfile, login->reason);
}

int ia_setup_password_check(struct ia_setup *setup)
{
    struct login login = log_in(setup);
    return login.admitted ? IA_EXIT_DONE : refuse_login(setup, &login);
}

/* ---- the passfile */

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

/* What the line of this registry begins with.  The caller owns it. */
static char *line_start(const struct ia_setup *setup)
{
    char *start = NULL;
    ia_autofree char *host = passfile_field(setup->db_host);
    if (!host || asprintf(&start, "%s:%s:%s:iot_auth_broker:", host, setup->db_port, setup->database) < 0)
        return NULL;
    return start;
}

/* The password of the line that setup has written for this registry.  NULL: there is none.  The caller wipes it. */
static char *read_password(const struct ia_setup *setup)
{
    char *text = NULL, *password = NULL;
    struct ia_err err = {0};
    ia_autofree char *start = line_start(setup);
    if (!start || ia_cli_read_text(setup->passfile, PASSFILE_MAX, &text, &err) != IA_OK)
        return NULL;
    for (const char *line = text; line && !password; line = strchr(line, '\n')) {
        line += *line == '\n';
        const char *value = line + strlen(start);
        if (strncmp(line, start, strlen(start)) == 0 && strcspn(value, "\r\n") == PASSWORD_LEN)
            password = strndup(value, PASSWORD_LEN);
    }
    ia_cli_wipe_text(text);
    return password;
}

/* A second line may be the password of another server, which --new-password would lose. */
static int check_single_line(struct ia_setup *setup)
{
    char *text = NULL;
    struct ia_err err = {0};
    if (ia_cli_read_text(setup->passfile, PASSFILE_MAX, &text, &err) != IA_OK)
        return ia_call_fail(setup->call, IA_EXIT_REFUSED, "%s", err.msg);
    size_t line = strcspn(text, "\r\n"), end = line + strspn(text + line, "\r\n");
    bool single = text[end] == '\0';
    ia_cli_wipe_text(text);
    return single ? IA_EXIT_DONE
                  : ia_call_fail(setup->call, IA_EXIT_REFUSED,
                                 "passfile %s has several lines, and --new-password would replace all of them: move it "
                                 "away, and add the other lines afterwards",
                                 setup->passfile);
}

/* libpq ignores a passfile that others can read, and says so only on the broker's standard error. */
static bool is_passfile_fit(struct ia_setup *setup)
{
    struct stat info;
    if (stat(setup->passfile, &info) != 0 || (info.st_uid == setup->broker.uid && !(info.st_mode & 077)))
        return true;
    (void)ia_call_fail(setup->call, 0,
                       "passfile %s must belong to the broker's user and be accessible to no other user: chown %s and "
                       "chmod 600",
                       setup->passfile, setup->broker.name);
    return false;
}

/* ---- the decision */

/* Who may not read pg_authid knows only whether the role exists: another registry of the same server has made it then,
 * and its brokers use it. */
static bool has_password(struct ia_registry *registry)
{
    ia_autofree char *role =
        ia_registry_value(registry, "SELECT 1 FROM pg_roles WHERE rolname = 'iot_auth_broker'", NULL, 0);
    if (!role)
        return ia_registry_status(registry) != IA_EXIT_DONE;
    ia_autofree char *readable =
        ia_registry_value(registry, "SELECT has_table_privilege('pg_catalog.pg_authid', 'SELECT')", NULL, 0);
    if (!readable || strcmp(readable, "t") != 0)
        return true;
    ia_autofree char *set = ia_registry_value(
        registry, "SELECT 1 FROM pg_authid WHERE rolname = 'iot_auth_broker' AND rolpassword IS NOT NULL", NULL, 0);
    return set || ia_registry_status(registry) != IA_EXIT_DONE;
}

static int refuse_taken(struct ia_setup *setup, bool has_file)
{
    return ia_call_fail(setup->call, IA_EXIT_REFUSED,
                        "role iot_auth_broker already has a password, which other brokers may use%s: copy their "
                        "passfile to %s (0600, user %s), or give --new-password; those brokers then need the new "
                        "passfile to log in",
                        has_file ? ", and the passfile holds a different one" : "", setup->passfile,
                        setup->broker.name);
}

static int decide_by_file(struct ia_setup *setup, bool is_taken)
{
    struct login login = log_in(setup);
    setup->password = login.admitted ? IA_SETUP_PASSWORD_KEPT : IA_SETUP_PASSWORD_OF_FILE;
    if (login.admitted)
        return IA_EXIT_DONE;
    if (is_taken)
        return login.wrong_password ? refuse_taken(setup, true) : refuse_login(setup, &login);
    char *password = read_password(setup);
    ia_cli_wipe_text(password);
    return password ? IA_EXIT_DONE
                    : ia_call_fail(setup->call, IA_EXIT_REFUSED,
                                   "passfile %s does not admit role iot_auth_broker, and setup has not written it for "
                                   "%s, port %s, database %s: correct or remove it",
                                   setup->passfile, setup->db_host, setup->db_port, setup->database);
}

int ia_setup_password_decide(struct ia_setup *setup, struct ia_registry *registry)
{
    bool has_file = access(setup->passfile, F_OK) == 0;
    setup->password = IA_SETUP_PASSWORD_NEW;
    if (!is_passfile_fit(setup))
        return IA_EXIT_REFUSED;
    if (ia_call_has(setup->call, "new-password"))
        return has_file ? check_single_line(setup) : IA_EXIT_DONE;
    bool is_taken = has_password(registry);
    if (ia_registry_status(registry) != IA_EXIT_DONE)
        return ia_registry_status(registry);
    if (has_file)
        return decide_by_file(setup, is_taken);
    return is_taken ? refuse_taken(setup, false) : IA_EXIT_DONE;
}

/* ---- what was decided */

static char *make_password(struct ia_setup *setup)
{
    uint8_t octets[PASSWORD_OCTETS];
    char *password = malloc(PASSWORD_LEN + 1);
    if (!password || RAND_priv_bytes(octets, sizeof octets) != 1) {
        ia_setup_say(setup, IA_SETUP_PROBLEM, "no random numbers for a password");
        free(password);
        return NULL;
    }
    ia_hex(octets, sizeof octets, password);
    OPENSSL_cleanse(octets, sizeof octets);
    return password;
}

/* A file beside the passfile; the caller frees *name. */
static bool write_line(struct ia_setup *setup, const char *password, char **name)
{
    char *line = NULL;
    ia_autofree char *start = line_start(setup);
    if (!start || asprintf(&line, "%s%s\n", start, password) < 0) {
        (void)ia_call_fail(setup->call, 0, IA_NOMEM_TEXT);
        return false;
    }
    bool written =
        ia_setup_write_beside(setup, setup->passfile, line, 0600, setup->broker.uid, setup->broker.gid, name);
    ia_cli_wipe_text(line);
    return written;
}

static int set_new_password(struct ia_setup *setup, struct ia_registry *registry, const char *password)
{
    ia_autofree char *name = NULL;
    if (!write_line(setup, password, &name))
        return IA_EXIT_REFUSED;
    int status = ia_database_set_password(registry, "iot_auth_broker", password);
    if (status != IA_EXIT_DONE && ia_registry_status(registry) == IA_EXIT_DISCONNECTED)
        (void)ia_call_fail(setup->call, 0,
                           "the server may have taken the new password, whose passfile is %s: rename it to %s if role "
                           "iot_auth_broker can connect with it, else remove it",
                           name, setup->passfile);
    else if (status != IA_EXIT_DONE)
        (void)unlink(name); /* the old passfile stays */
    else if (rename(name, setup->passfile) != 0)
        status = ia_call_fail(setup->call, IA_EXIT_REFUSED, "the new passfile is %s: rename it to %s", name,
                              setup->passfile);
    return status;
}

static int set_password(struct ia_setup *setup, struct ia_registry *registry)
{
    bool is_new = setup->password == IA_SETUP_PASSWORD_NEW;
    char *password = is_new ? make_password(setup) : read_password(setup);
    if (!password)
        return IA_EXIT_REFUSED;
    int status = is_new ? set_new_password(setup, registry, password)
                        : ia_database_set_password(registry, "iot_auth_broker", password);
    ia_cli_wipe_text(password);
    return status;
}

int ia_setup_password(struct ia_setup *setup, struct ia_registry *registry)
{
    if (setup->password == IA_SETUP_PASSWORD_KEPT) {
        ia_setup_say(setup, IA_SETUP_KEPT, "passfile %s, which admits the broker to the database", setup->passfile);
        return IA_EXIT_DONE;
    }
    int status = setup->dry_run ? IA_EXIT_DONE : set_password(setup, registry);
    if (status == IA_EXIT_DONE)
        ia_setup_say(setup, IA_SETUP_MADE, "password of role iot_auth_broker, in passfile %s (0600, user %s)",
                     setup->passfile, setup->broker.name);
    return status;
}
