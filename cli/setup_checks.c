// SPDX-License-Identifier: ISC
/* What setup can check before it changes anything, and without the database: the broker's program and its version, the
 * plugin's file, the configuration that is there, the ports, the server's certificate and key, the clock. */
#include "cli/input.h"
#include "cli/setup.h"
#include "common/clock.h"
#include "common/str.h"
#include "x509/server_credential.h"

#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILE_MAX_BYTES (1 << 20)
#define OLDEST_BROKER  2000011 /* 2.0.11: major * 1000000 + minor * 1000 + patch */

/* ---- the broker's program */

/* The first line that `mosquitto -h` prints; false: it cannot be run. */
static bool ask_version(const char *program, char *line, size_t size)
{
    int ends[2];
    pid_t pid = 0;
    posix_spawn_file_actions_t actions;
    char *const argv[] = {(char *)program, (char *)"-h", NULL};
    if (pipe(ends) != 0)
        return false;
    bool ready = posix_spawn_file_actions_init(&actions) == 0;
    bool started = ready && posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO) == 0 &&
                   posix_spawn_file_actions_addclose(&actions, ends[0]) == 0 &&
                   posix_spawn(&pid, program, &actions, NULL, argv, environ) == 0;
    if (ready)
        (void)posix_spawn_file_actions_destroy(&actions);
    (void)close(ends[1]);
    FILE *in = fdopen(ends[0], "r");
    bool has_line = started && in && fgets(line, (int)size, in);
    while (in && fgetc(in) != EOF) /* so that it can write the rest */
        ;
    if (in)
        (void)fclose(in);
    if (started)
        (void)waitpid(pid, NULL, 0);
    return has_line;
}

/* "mosquitto version 2.0.11"; 0: it is not that. */
static long version_number(const char *line)
{
    const char *at = strstr(line, "version ");
    long number = 0;
    if (!at)
        return 0;
    at += strlen("version ");
    for (int i = 0; i < 3; i++) {
        char *end = NULL;
        long part = strtol(at, &end, 10);
        if (end == at || part < 0 || part > 999)
            return 0;
        number = number * 1000 + part;
        at = *end == '.' ? end + 1 : end;
    }
    return number;
}

static void check_broker(struct ia_setup *setup)
{
    char line[128] = "";
    if (!ask_version(setup->mosquitto, line, sizeof line)) {
        ia_setup_say(setup, IA_SETUP_PROBLEM, "%s cannot be run: is Mosquitto installed?", setup->mosquitto);
        return;
    }
    line[strcspn(line, "\r\n")] = '\0';
    if (version_number(line) < OLDEST_BROKER)
        ia_setup_say(setup, IA_SETUP_PROBLEM, "%s: '%.60s', but Mosquitto 2.0.11 or newer is required",
                     setup->mosquitto, line);
    else
        ia_setup_say(setup, IA_SETUP_FOUND, "%s", line);
}

/* ---- files that the broker's user has to read */

static int open_error_as(const struct ia_setup *setup, const char *path)
{
    int error = 0;
    if (!ia_user_become(&setup->broker))
        return EPERM;
    FILE *in = fopen(path, "re");
    if (!in)
        error = errno;
    else
        (void)fclose(in);
    ia_user_return();
    return error;
}

static bool check_readable(struct ia_setup *setup, const char *path, const char *remedy)
{
    int error = open_error_as(setup, path);
    if (error)
        ia_setup_say(setup, IA_SETUP_PROBLEM, "the broker's user %s cannot read %s: %s%s%s", setup->broker.name, path,
                     strerror(error), error == EACCES ? "; " : "", error == EACCES ? remedy : "");
    return !error;
}

static void check_key_mode(struct ia_setup *setup)
{
    struct stat info;
    if (stat(setup->key, &info) == 0 && info.st_mode & S_IROTH)
        ia_setup_say(setup, IA_SETUP_WARNING, "everybody on this machine can read %s: chown root:%s and chmod 640",
                     setup->key, setup->broker.name);
}

/* Of the pair that setup makes by itself neither file is there, or one of them only. */
static bool is_pair_missing(struct ia_setup *setup)
{
    bool has_cert = access(setup->certificate, F_OK) == 0, has_key = access(setup->key, F_OK) == 0;
    if (has_cert != has_key)
        ia_setup_say(setup, IA_SETUP_PROBLEM,
                     "%s exists without %s: move it away, so that setup makes both, or give --server-cert and "
                     "--server-key",
                     has_cert ? setup->certificate : setup->key, has_cert ? setup->key : setup->certificate);
    return !has_cert || !has_key;
}

/* The pair that the options name, or that an earlier run has made; one that is to be made needs no check. */
static void check_credential(struct ia_setup *setup)
{
    char *cert_pem = NULL, *key_pem = NULL;
    struct ia_err err = {0};
    if (setup->has_conf || (setup->is_self_signed && is_pair_missing(setup)))
        return;
    enum ia_rc rc = ia_cli_read_text(setup->certificate, FILE_MAX_BYTES, &cert_pem, &err);
    if (rc == IA_OK)
        rc = ia_cli_read_text(setup->key, FILE_MAX_BYTES, &key_pem, &err);
    if (rc == IA_OK)
        rc = ia_server_credential_check(cert_pem, key_pem, ia_wall_s(), &err);
    if (rc != IA_OK)
        ia_setup_say(setup, IA_SETUP_PROBLEM, "%s with %s: %s", setup->certificate, setup->key, err.msg);
    else if (check_readable(setup, setup->certificate, "chmod 644 it") &&
             check_readable(setup, setup->key, "chown root:mosquitto and chmod 640 it"))
        check_key_mode(setup);
    if (key_pem)
        OPENSSL_cleanse(key_pem, strlen(key_pem));
    free(key_pem);
    free(cert_pem);
}

/* ---- the configuration that is there */

struct seen {
    bool includes, has_plugin, has_listener;
};

static bool is_word(const char *line, const char *word)
{
    size_t len = strlen(word);
    return strncmp(line, word, len) == 0 && (line[len] == ' ' || line[len] == '\t');
}

static bool has_in_line(const char *line, const char *text)
{
    const char *found = strstr(line, text);
    return found && found < line + strcspn(line, "\r\n");
}

/* Does the line include the folder into which setup writes?  Another spelling of the path is the same folder. */
static bool includes_folder(const struct ia_setup *setup, const char *line)
{
    const char *path = line + strlen("include_dir");
    path += strspn(path, " \t");
    size_t len = strcspn(path, "\r\n");
    while (len > 0 && (path[len - 1] == ' ' || path[len - 1] == '\t'))
        len--;
    ia_autofree char *named = strndup(path, len), *own = strdup(setup->conf);
    ia_autofree char *full = named ? realpath(named, NULL) : NULL,
                     *own_full = own ? realpath(dirname(own), NULL) : NULL;
    return full && own_full && strcmp(full, own_full) == 0;
}

/* Mosquitto skips the blanks before an option. */
static void read_line(struct ia_setup *setup, const char *path, const char *line, struct seen *seen)
{
    line += strspn(line, " \t");
    bool is_plugin = is_word(line, "plugin") || is_word(line, "global_plugin") || is_word(line, "auth_plugin");
    if (is_word(line, "include_dir") && includes_folder(setup, line))
        seen->includes = true;
    if (is_plugin && has_in_line(line, "mosquitto_iot_auth"))
        ia_setup_say(setup, IA_SETUP_PROBLEM, "%s loads the plugin already, and may do so only once: remove this line",
                     path);
    if (is_word(line, "per_listener_settings") && has_in_line(line, "true"))
        ia_setup_say(setup, IA_SETUP_PROBLEM,
                     "%s sets per_listener_settings true, but the plugin requires false: remove the line", path);
    if (is_word(line, "listener") || is_word(line, "port") || is_word(line, "password_file"))
        seen->has_listener = true;
}

static void read_configuration(struct ia_setup *setup, const char *path, struct seen *seen)
{
    char *text = NULL;
    struct ia_err err = {0};
    if (ia_cli_read_text(path, FILE_MAX_BYTES, &text, &err) != IA_OK) {
        ia_setup_say(setup, IA_SETUP_PROBLEM, "%s", err.msg);
        return;
    }
    for (char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        read_line(setup, path, line, seen);
    }
    free(text);
}

static void read_folder(struct ia_setup *setup, const char *folder, struct seen *seen)
{
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    if (!dir) {
        ia_setup_say(setup, IA_SETUP_PROBLEM, "%s: %s", folder, strerror(errno));
        return;
    }
    while ((entry = readdir(dir)) != NULL) { // NOLINT(concurrency-mt-unsafe): one thread
        ia_autofree char *path = NULL;
        size_t len = strlen(entry->d_name);
        if (len < 5 || strcmp(entry->d_name + len - 5, ".conf") != 0 ||
            asprintf(&path, "%s/%s", folder, entry->d_name) < 0)
            continue;
        if (strcmp(path, setup->conf) != 0)
            read_configuration(setup, path, seen);
    }
    (void)closedir(dir);
}

static void check_configuration(struct ia_setup *setup)
{
    struct seen seen = {0};
    ia_autofree char *main_file = NULL, *folder = NULL;
    if (asprintf(&main_file, "%s/mosquitto.conf", setup->folder) < 0 ||
        asprintf(&folder, "%s/conf.d", setup->folder) < 0)
        return;
    read_configuration(setup, main_file, &seen);
    if (setup->problems == 0 && !seen.includes)
        ia_setup_say(setup, IA_SETUP_PROBLEM,
                     "%s does not include the folder of setup's configuration: add the line include_dir %s", main_file,
                     folder);
    read_folder(setup, folder, &seen);
    if (seen.has_listener)
        ia_setup_say(setup, IA_SETUP_WARNING,
                     "the configuration has listeners or a password_file already; the plugin decides about their "
                     "clients too, and denies those without certificate and token unless "
                     "plugin_opt_other_clients is defer");
}

/* ---- ports and clock */

static int bind_error(int family, const struct sockaddr *address, socklen_t len)
{
    int on = 1, error = 0, fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return 0; /* no such family here */
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(fd, address, len) != 0)
        error = errno;
    (void)close(fd);
    return error;
}

static void check_port(struct ia_setup *setup, const char *option, const char *text)
{
    char *end = NULL;
    long port = strtol(text, &end, 10);
    if (*end || port < 1 || port > 65535) {
        ia_setup_say(setup, IA_SETUP_PROBLEM, "--%s %.20s is not a port", option, text);
        return;
    }
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    int error = bind_error(AF_INET, (const struct sockaddr *)&v4, sizeof v4);
    if (!error)
        error = bind_error(AF_INET6, (const struct sockaddr *)&v6, sizeof v6);
    if (error == EADDRINUSE)
        ia_setup_say(setup, IA_SETUP_PROBLEM, "port %ld is in use: end that program, or choose another with --%s", port,
                     option);
}

/* The broker that already runs with our configuration holds the ports. */
static void check_ports(struct ia_setup *setup)
{
    if (setup->has_conf)
        return;
    check_port(setup, "device-port", setup->device_port);
    check_port(setup, "app-port", setup->app_port);
    if (strcmp(setup->device_port, setup->app_port) == 0)
        ia_setup_say(setup, IA_SETUP_PROBLEM, "--device-port and --app-port are the same");
}

/* Brokers check the expiry of certificates and tokens against this machine's clock. */
static void check_clock(struct ia_setup *setup)
{
    struct timex state = {.modes = 0};
    if (adjtimex(&state) >= 0 && state.status & STA_UNSYNC)
        ia_setup_say(setup, IA_SETUP_WARNING,
                     "the clock is not synchronized; the expiry checks depend on it: run an NTP client");
}

/* The folder of the service file is made where it is missing, but not the folders above it. */
static void check_service_folder(struct ia_setup *setup)
{
    ia_autofree char *path = strdup(setup->service_file);
    char *folder = path ? dirname(path) : NULL;
    if (folder && access(folder, F_OK) != 0 && access(dirname(folder), F_OK) != 0)
        ia_setup_say(setup, IA_SETUP_PROBLEM, "%s cannot be written: make its folder, or choose another --service-file",
                     setup->service_file);
}

void ia_setup_check(struct ia_setup *setup)
{
    setup->has_conf = access(setup->conf, F_OK) == 0;
    check_broker(setup);
    (void)check_readable(setup, setup->plugin, "chmod 644 it");
    check_configuration(setup);
    check_ports(setup);
    check_credential(setup);
    check_service_folder(setup);
    check_clock(setup);
}
