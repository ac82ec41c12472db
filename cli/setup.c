// SPDX-License-Identifier: ISC
#include "cli/setup.h"

#include "common/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DATABASE_MAX 63 /* of a name in PostgreSQL */
#define ANSWER_MAX   4096

/* ---- what it is about */

static char *join_path(const char *folder, const char *name)
{
    char *path = NULL;
    return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}

static const char *option_or(const struct ia_call *call, const char *name, const char *fallback)
{
    const char *value = ia_call_get(call, name);
    return value ? value : fallback;
}

/* The same path seen from the broker's folder; NULL: there is no such file, or no memory. */
static char *full_path(struct ia_setup *setup, const char *path)
{
    char *full = realpath(path, NULL);
    if (!full)
        ia_setup_say(setup, IA_SETUP_PROBLEM, "%s: there is no such file", path);
    return full;
}

/* A question on a terminal; an empty answer, or nobody to ask, is NULL.  The caller owns the answer. */
static char *ask_path(const struct ia_call *call, const char *question)
{
    char answer[ANSWER_MAX];
    if (call->yes || call->json || call->quiet || !isatty(STDIN_FILENO))
        return NULL;
    fprintf(stderr, "%s ", question);
    if (!fgets(answer, sizeof answer, stdin))
        return NULL;
    answer[strcspn(answer, "\r\n")] = '\0';
    return *answer ? strdup(answer) : NULL;
}

static void choose_pair(struct ia_setup *setup)
{
    ia_autofree char *cert = NULL, *key = NULL;
    const char *cert_path = ia_call_get(setup->call, "server-cert"), *key_path = ia_call_get(setup->call, "server-key");
    if (!cert_path && access(setup->conf, F_OK) != 0) {
        cert = ask_path(setup->call, "Server certificate (PEM file; empty: a self-signed one, for trying out):");
        key = cert ? ask_path(setup->call, "Its private key (PEM file):") : NULL;
        cert_path = cert;
        key_path = key;
    }
    setup->is_self_signed = !cert_path;
    if (setup->is_self_signed) {
        setup->certificate = join_path(setup->folder, "certs/iot-auth-server.crt");
        setup->key = join_path(setup->folder, "certs/iot-auth-server.key");
        return;
    }
    setup->certificate = full_path(setup, cert_path);
    setup->key = full_path(setup, key_path ? key_path : cert_path);
}

static char *service_path(const struct ia_call *call)
{
    const char *path = ia_call_get(call, "service-file"), *folder = getenv("PGSYSCONFDIR");
    return path ? strdup(path) : join_path(folder ? folder : "/etc/postgresql-common", "pg_service.conf");
}

static bool is_plain_name(const char *name)
{
    size_t len = strlen(name);
    return len > 0 && len <= DATABASE_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == len;
}

static int fill_setup(struct ia_setup *setup)
{
    const struct ia_call *call = setup->call;
    const char *user = option_or(call, "broker-user", "mosquitto");
    setup->dry_run = ia_call_has(call, "dry-run");
    setup->database = option_or(call, "database", "iot_auth");
    setup->plugin = option_or(call, "plugin", IA_PLUGIN_PATH);
    setup->mosquitto = option_or(call, "mosquitto", "/usr/sbin/mosquitto");
    setup->device_port = option_or(call, "device-port", "8883");
    setup->app_port = option_or(call, "app-port", "8884");
    if (ia_call_has(call, "server-cert") != ia_call_has(call, "server-key"))
        return ia_call_fail(call, IA_EXIT_USAGE, "--server-cert and --server-key belong together");
    if (!is_plain_name(setup->database))
        return ia_call_fail(call, IA_EXIT_USAGE, "--database: letters, digits, _ and - only");
    if (!ia_user_find(user, &setup->broker))
        return ia_call_fail(call, IA_EXIT_USAGE, "this machine has no user %.60s: is Mosquitto installed?", user);
    if (geteuid() != 0 && geteuid() != setup->broker.uid)
        return ia_call_fail(call, IA_EXIT_USAGE, "setup writes files for user %.60s: run it as root", user);
    setup->folder = full_path(setup, option_or(call, "mosquitto-dir", "/etc/mosquitto"));
    if (!setup->folder)
        return IA_EXIT_USAGE;
    setup->conf = join_path(setup->folder, "conf.d/iot-auth.conf");
    setup->passfile = join_path(setup->folder, "iot-auth.pgpass");
    setup->service_file = service_path(call);
    if (!setup->conf || !setup->passfile || !setup->service_file)
        return ia_call_fail(call, IA_EXIT_USAGE, IA_NOMEM_TEXT);
    choose_pair(setup);
    if (!setup->certificate || !setup->key)
        return IA_EXIT_USAGE;
    if (!ia_setup_is_plain_path(setup->folder) || !ia_setup_is_plain_path(setup->plugin) ||
        !ia_setup_is_plain_path(setup->certificate) || !ia_setup_is_plain_path(setup->key))
        return ia_call_fail(call, IA_EXIT_USAGE,
                            "a path is not absolute, or has white space, quotes or backslashes: "
                            "Mosquitto's configuration cannot name it");
    return IA_EXIT_DONE;
}

static void clear_setup(struct ia_setup *setup)
{
    char *const owned[] = {setup->folder,      setup->conf,    setup->passfile,   setup->service_file,
                           setup->certificate, setup->key,     setup->db_socket,  setup->db_host,
                           setup->db_port,     setup->db_user, setup->db_sslmode, setup->db_sslrootcert,
                           setup->broker.home};
    for (size_t i = 0; i < IA_COUNT(owned); i++)
        free(owned[i]);
}

/* ---- all of it */

static void say_next(const struct ia_setup *setup)
{
    static const char restart[] = "systemctl restart mosquitto";
    static const char add[] = "iot-auth ca add NAME --pem FILE --auto-registration";
    if (setup->call->quiet)
        return;
    if (setup->call->json)
        ia_setup_print_json("next", setup->dry_run ? "run it without --dry-run"
                                    : setup->made  ? restart
                                                   : "iot-auth status");
    else if (setup->dry_run)
        puts("\nnext: the same without --dry-run; nothing was done");
    else if (setup->made)
        printf("\nnext: %s\nthen: %s\n", restart, add);
    else
        puts("\nnothing to do; next: iot-auth status");
}

/* The checks come first, so that a refusal leaves nothing half done; the configuration comes last of what the broker
 * reads, so that a broker which is restarted meanwhile finds either all of it or nothing. */
static int run_steps(struct ia_setup *setup)
{
    ia_setup_check(setup);
    if (setup->problems)
        return ia_call_fail(setup->call, IA_EXIT_USAGE, "nothing was done");
    int status = ia_setup_database(setup);
    if (status != IA_EXIT_DONE)
        return status;
    if (!ia_setup_certificate(setup) || !ia_setup_configuration(setup) || !ia_setup_service(setup))
        return IA_EXIT_REFUSED;
    say_next(setup);
    return IA_EXIT_DONE;
}

int ia_setup_run(const struct ia_call *call)
{
    struct ia_setup setup = {.call = call};
    int status = fill_setup(&setup);
    if (status == IA_EXIT_DONE)
        status = run_steps(&setup);
    clear_setup(&setup);
    return status;
}
